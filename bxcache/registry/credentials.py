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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bxcache.config.reference import HUB
from bxcache.process import ask

if TYPE_CHECKING:
    from collections.abc import Mapping

_HUB_KEY = "https://index.docker.io/v1/"
_NO_USER = "<token>"
_SECONDS_FOR_HELPER = 20.0
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


def find_login(host: str, environment: Mapping[str, str]) -> Login | None:
    """Docker's login to a registry, named as in a reference; None without one."""
    folder = Path(environment.get("DOCKER_CONFIG") or Path.home() / ".docker")
    settings = _read_settings(folder / "config.json")
    key = _HUB_KEY if host == HUB else host
    helpers = _as_table(settings.get("credHelpers"))
    named = (helpers[name] for name in (key, host) if name in helpers)
    found = [_ask_helper(next(named, settings.get("credsStore")), key)]
    entries = _as_table(settings.get("auths"))
    # Old docker versions wrote URLs.
    names = (key, *(name for name in entries if _find_host(name) == host))
    found += (_parse_entry(entries.get(name)) for name in names)
    return next((each for each in found if each is not None), None)


def _find_host(key: str) -> str:
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _read_settings(path: Path) -> dict[str, Any]:
    # Docker itself reports an unreadable file.
    with suppress(OSError, ValueError, RecursionError), path.open("rb") as file:
        return _as_table(json.loads(file.read(_LARGEST_FILE)))
    return {}


def _as_table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _ask_helper(name: object, key: str) -> Login | None:
    if not isinstance(name, str) or not name:
        return None
    with suppress(OSError, TimeoutError, ValueError, RecursionError):
        answer = ask([f"docker-credential-{name}", "get"], stdin=key, seconds=_SECONDS_FOR_HELPER)
        document = _as_table(json.loads(answer.stdout)) if answer.status == 0 else {}
        return _make_login(document.get("Username"), document.get("Secret"))
    return None


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
