"""What the doctor says about a repository of a registry: the answers as findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.backends.clock import judge_clock
from bxcache.backends.finding import Finding, Status, fine
from bxcache.config.wording import name_call
from bxcache.errors import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.errors import RegistryError
    from bxcache.registry.credentials import FoundLogin
    from bxcache.registry.soundings import Answered, Sounding

LOGIN = "login"
_UNUSED = "its caches are neither imported nor saved"
_NOTHING_SAVED = "nothing is saved there, so other machines and jobs execute every step again"
_NOT_PRUNED = "unused scopes stay until the registry's own policy removes them"


def judge_registry(sounding: Sounding, name: str) -> Iterator[Finding]:
    """Judge what a registry answered about the repository of this name."""
    if sounding.error is not None:
        remedy = sounding.error.hint or _advise_reaching(sounding)
        yield Finding(
            "registry", Status.ERROR, f"`{name}`: {sounding.error.cause}", _UNUSED, remedy
        )
    else:
        yield fine("registry", f"`{sounding.host}` answers")
    yield judge_login(sounding)
    if sounding.moments is not None:
        yield judge_clock(*sounding.moments, f"the registry `{sounding.host}`")
    if sounding.pull is not None:
        yield _judge_pull(sounding.pull, sounding.push, name)
    if sounding.push is not None:
        yield _judge_push(sounding.push, name)
    if sounding.delete is not None and sounding.push is not None and sounding.push.allowed:
        yield _judge_delete(sounding.delete, name)


def _advise_reaching(sounding: Sounding) -> str:
    host, error = sounding.host, sounding.error
    if error is not None and "certificate" in error.cause:
        place = f"`/etc/docker/certs.d/{host}/ca.crt`"
        dates = "if it is expired or not yet valid, check this machine's clock"
        return f"put the certificate of its authority into {place}; {dates}"
    check = "check the name, the network and HTTPS_PROXY"
    return f"`curl -v https://{host}/v2/` shows where the connection ends; {check}"


def judge_helper(found: FoundLogin, host: str = "") -> Finding:
    """Judge the trouble with a credential helper, asked about a `host` or about none."""
    status = Status.ERROR if found.hangs else Status.WARNING
    why = "docker waits for it in each build" if found.hangs else "docker has no login from it"
    remedy = "mend it, or remove it from `credsStore` or `credHelpers` in docker's config file"
    if host and found.login is None:
        remedy = f"{remedy} and run `docker login {host}`"
    return Finding(LOGIN, status, found.trouble, why, remedy)


def judge_login(sounding: Sounding) -> Finding:
    """Judge docker's login and its source; the secret is never in a text."""
    found, host = sounding.found, sounding.host
    if found.trouble:
        return judge_helper(found, host)
    if found.login is None:
        return fine(LOGIN, f"docker has none for `{host}`, so requests are anonymous")
    user = f"`{found.login.user}`" if found.login.user else "a token"
    if sounding.refused:
        what = f"`{host}` refuses the login of {user}, which may have expired"
        return Finding(LOGIN, Status.ERROR, what, _UNUSED, f"`docker login {host}`")
    return fine(LOGIN, f"{user} at `{host}`, from {found.source.strip('`')}")


def _judge_pull(pull: Answered, push: Answered | None, name: str) -> Finding:
    if pull.error is None:
        return fine("pull", f"`{name}` can be read")
    if pull.allowed is None:
        return _doubt("pull", f"whether `{name}` can be read", pull.error, _UNUSED)
    if push is not None and push.error is None:
        return fine("pull", f"`{name}` cannot be read, and may not exist yet")
    return _refuse("pull", f"`{name}` cannot be read", pull.error, _UNUSED)


def _judge_push(push: Answered, name: str) -> Finding:
    if push.error is None:
        return fine("push", f"`{name}` can be written")
    if push.allowed is None:
        return _doubt("push", f"whether `{name}` can be written", push.error, _NOTHING_SAVED)
    return _refuse("push", f"`{name}` cannot be written", push.error, _NOTHING_SAVED)


def _judge_delete(delete: Answered, name: str) -> Finding:
    if delete.error is None:
        return fine("delete", f"scopes of `{name}` can be removed")
    if delete.allowed is None:
        return _doubt(
            "delete", f"whether scopes of `{name}` can be removed", delete.error, _NOT_PRUNED
        )
    found = f"scopes of `{name}` cannot be removed: {delete.error.cause}"
    remedy = f"allow it in the registry, so that `{name_call('registry prune')}` works"
    return Finding("delete", Status.WARNING, found, _NOT_PRUNED, remedy)


def _refuse(check: str, found: str, error: RegistryError, why: str) -> Finding:
    remedy = error.hint if error.trouble is Trouble.DENIED else ""
    text = f"{found}: {error.cause}"
    remedy = remedy or "create the repository, or allow this in the registry's settings"
    return Finding(check, Status.ERROR, text, why, remedy)


def _doubt(check: str, found: str, error: RegistryError, why: str) -> Finding:
    return Finding(check, Status.WARNING, f"{found} is unknown: {error.cause}", why)
