"""Docker's login to a registry, from its config file or a credential helper.

https://docs.docker.com/reference/cli/docker/login/#credential-stores
https://github.com/docker/docker-credential-helpers#development
"""

from __future__ import annotations

import base64
import binascii
import json
from contextlib import suppress
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials for a registry.

    Attributes:
        user: the user name; empty if `secret` is an identity token.
        secret: the password or the identity token; never part of the repr.
    """

    user: str
    secret: str

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"

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
    """Docker's login to a registry, or None.

    Args:
        host: the registry as in a reference, with the port if it has one.
        environment: the process's variables.
    """
    settings = _read_settings(_find_folder(environment) / "config.json")
    key = _HUB_KEY if host == HUB else host
    helpers = _table(settings, "credHelpers")
    named = (helpers[name] for name in (key, host) if name in helpers)
    helper = next(named, settings.get("credsStore"))
    if isinstance(helper, str) and helper:
        found = _ask_helper(helper, key)
        if found is not None:
            return found
    entries = _table(settings, "auths")
    # Old docker versions wrote URLs.
    names = (key, *(name for name in entries if _find_host(name) == host))
    found_entries = (_parse_entry(entries.get(name)) for name in names)
    return next((found for found in found_entries if found is not None), None)


def _find_host(key: str) -> str:
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _find_folder(environment: Mapping[str, str]) -> Path:
    named = environment.get("DOCKER_CONFIG")
    return Path(named) if named else Path.home() / ".docker"


def _read_settings(path: Path) -> dict[str, Any]:
    # Docker itself reports an unreadable file.
    with suppress(OSError, ValueError, RecursionError):
        with path.open("rb") as file:
            document = json.loads(file.read(_LARGEST_FILE))
        return document if isinstance(document, dict) else {}
    return {}


def _table(settings: dict[str, Any], name: str) -> dict[str, Any]:
    found = settings.get(name)
    return found if isinstance(found, dict) else {}


def _ask_helper(name: str, key: str) -> Login | None:
    with suppress(OSError, TimeoutError, ValueError, RecursionError):
        answer = ask([f"docker-credential-{name}", "get"], stdin=key, seconds=_SECONDS_FOR_HELPER)
        document = json.loads(answer.stdout) if answer.status == 0 else None
        if isinstance(document, dict):
            return _make_login(document.get("Username"), document.get("Secret"))
    return None


def _parse_entry(entry: object) -> Login | None:
    if not isinstance(entry, dict):
        return None
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Login("", token)
    with suppress(binascii.Error, ValueError):
        text = base64.b64decode(str(entry.get("auth") or ""), validate=True).decode()
        user, _, secret = text.partition(":")
        found = _make_login(user, secret.rstrip("\0"))
        if found is not None:
            return found
    return _make_login(entry.get("username"), entry.get("password"))


def _make_login(user: object, secret: object) -> Login | None:
    if not isinstance(user, str) or not isinstance(secret, str) or not user or not secret:
        return None
    return Login("" if user == _NO_USER else user, secret)
