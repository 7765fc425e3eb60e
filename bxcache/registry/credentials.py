"""Docker's login for a registry, from its config file or a helper, and its certificates.

https://docs.docker.com/reference/cli/docker/login/#credential-stores
https://github.com/docker/docker-credential-helpers#development
https://docs.docker.com/engine/security/certificates/
"""

from __future__ import annotations

import base64
import json
import ssl
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bxcache.config.reference import HUB
from bxcache.process import Answer, ask

if TYPE_CHECKING:
    from collections.abc import Mapping

_HUB_KEY = "https://index.docker.io/v1/"
_NO_USER = "<token>"
_SECONDS_FOR_HELPER = 20.0
_NOT_FOUND = "credentials not found"
"""How a helper says that it has no login:
https://github.com/docker/docker-credential-helpers/blob/v0.9.3/credentials/error.go"""
_LARGEST_FILE = 1 << 20
_CERTIFICATES = Path("/etc/docker/certs.d")


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials for a registry; without a user, the secret is an identity token."""

    user: str
    secret: str = field(repr=False)

    @property
    def is_token(self) -> bool:
        """Whether the secret is an identity token instead of a password."""
        return not self.user

    @property
    def basic(self) -> str:
        """The value of an Authorization header with user and password."""
        pair = f"{self.user}:{self.secret}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


@dataclass(frozen=True, slots=True)
class FoundLogin:
    """Docker's login to a registry, and how it was found.

    Attributes:
        login: the login; None without one.
        source: the file or the program that has it; empty without a login.
        trouble: what is wrong with the credential helper that docker asks; empty if nothing.
        hangs: whether the trouble is that it does not answer.
    """

    login: Login | None = None
    source: str = ""
    trouble: str = ""
    hangs: bool = False


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """Docker's config file, as far as logins need it.

    Attributes:
        problem: why it cannot be read; empty if it can, or if it does not exist.
        helpers: the names of the credential helpers that it names.
    """

    file: Path
    exists: bool = False
    problem: str = ""
    helpers: tuple[str, ...] = ()


def read_docker_settings(environment: Mapping[str, str]) -> DockerSettings:
    """Read docker's config file; what is wrong with it is in the result."""
    file = _locate_settings(environment)
    try:
        settings = json.loads(file.read_bytes())
    except FileNotFoundError:
        return DockerSettings(file)
    except OSError as error:
        return DockerSettings(file, exists=True, problem=f"cannot be read: {error.strerror}")
    except (ValueError, RecursionError) as error:
        return DockerSettings(file, exists=True, problem=f"is not JSON: {error}")
    if not isinstance(settings, dict):
        return DockerSettings(file, exists=True, problem="is not a JSON object")
    named = (settings.get("credsStore"), *_as_table(settings.get("credHelpers")).values())
    helpers = dict.fromkeys(each for each in named if isinstance(each, str) and each)
    return DockerSettings(file, exists=True, helpers=tuple(helpers))


def find_login(
    host: str, environment: Mapping[str, str], seconds: float | None = None
) -> FoundLogin:
    """Docker's login to a registry, named as in a reference, and its source.

    A credential helper has so many seconds to answer, by default 20.
    """
    seconds = _SECONDS_FOR_HELPER if seconds is None else seconds
    file = _locate_settings(environment)
    settings = _read_settings(file)
    key = _HUB_KEY if host == HUB else host
    helpers = _as_table(settings.get("credHelpers"))
    named = (helpers[name] for name in (key, host) if name in helpers)
    asked = _ask_helper(next(named, settings.get("credsStore")), key, seconds)
    if asked.login is not None:
        return asked
    entries = _as_table(settings.get("auths"))
    # Old docker versions wrote URLs.
    names = (key, *(name for name in entries if _find_host(name) == host))
    found = (_parse_entry(entries.get(name)) for name in names)
    login = next((each for each in found if each is not None), None)
    return replace(asked, login=login, source=str(file) if login is not None else "")


def _locate_settings(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def _find_host(key: str) -> str:
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _read_settings(path: Path) -> dict[str, Any]:
    # Docker itself reports an unreadable file.
    with suppress(OSError, ValueError, RecursionError), path.open("rb") as file:
        return _as_table(json.loads(file.read(_LARGEST_FILE)))
    return {}


def _as_table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def find_helper_trouble(name: str, seconds: float) -> FoundLogin:
    """What is wrong with a credential helper, if it is asked for the names of its registries.

    That shows no secret. A helper that only fails may not support it.
    """
    answer = _run_helper(f"docker-credential-{name}", "list", "", seconds)
    if isinstance(answer, FoundLogin):
        return answer
    crashed = f"`docker-credential-{name}` crashes: signal {-answer.status}"
    return FoundLogin(trouble=crashed if answer.status < 0 else "")


def _ask_helper(name: object, key: str, seconds: float) -> FoundLogin:
    if not isinstance(name, str) or not name:
        return FoundLogin()
    program = f"docker-credential-{name}"
    answer = _run_helper(program, "get", key, seconds)
    if isinstance(answer, FoundLogin):
        return answer
    if answer.status < 0:
        return FoundLogin(trouble=f"`{program}` crashes: signal {-answer.status}")
    if answer.status:
        # What it prints could be a part of a secret.
        lacks = _NOT_FOUND in f"{answer.stdout}{answer.stderr}".lower()
        return FoundLogin(trouble="" if lacks else f"`{program}` fails: status {answer.status}")
    login = None
    with suppress(ValueError, RecursionError):
        document = _as_table(json.loads(answer.stdout))
        login = _make_login(document.get("Username"), document.get("Secret"))
    if login is None:
        return FoundLogin(trouble=f"`{program}` gives no login in docker's form")
    return FoundLogin(login, f"`{program}`")


def _run_helper(program: str, word: str, key: str, seconds: float) -> Answer | FoundLogin:
    """The answer of a credential helper, or why there is none."""
    try:
        return ask([program, word], stdin=key, seconds=seconds)
    except TimeoutError:
        why = f"`{program}` does not answer within {seconds:.0f} s"
        return FoundLogin(trouble=why, hangs=True)
    except FileNotFoundError:
        return FoundLogin(trouble=f"`{program}` is not on PATH")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        shown = program if program.isprintable() else ascii(program)
        return FoundLogin(trouble=f"`{shown}` cannot be run: {why}")


def _parse_entry(value: object) -> Login | None:
    entry = _as_table(value)
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Login("", token)
    user, _, secret = _decode(str(entry.get("auth") or "")).partition(":")
    found = _make_login(user, secret.rstrip("\0"))
    return found or _make_login(entry.get("username"), entry.get("password"))


def _decode(text: str) -> str:
    with suppress(ValueError):
        return base64.b64decode(text, validate=True).decode()
    return ""


def _make_login(user: object, secret: object) -> Login | None:
    if not isinstance(user, str) or not isinstance(secret, str) or not user or not secret:
        return None
    return Login("" if user == _NO_USER else user, secret)


def make_context(host: str, *, verify: bool) -> ssl.SSLContext:
    """The TLS context for a registry: the system's certificates, and docker's for this host."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for folder in (_CERTIFICATES / host, Path.home() / ".docker" / "certs.d" / host):
        # Docker itself reports unreadable files.
        with suppress(OSError, ssl.SSLError):
            for file in sorted(folder.glob("*.crt")):
                context.load_verify_locations(file)
            for file in sorted(folder.glob("*.cert")):
                context.load_cert_chain(file, file.with_suffix(".key"))
    return context
