"""Ask a registry what is allowed in a repository, by requests that leave nothing behind.

Reading is tried with a tag that need not exist, writing with an upload that is canceled, and
deleting with a manifest that cannot exist.
https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#endpoints
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.errors import RegistryError, Trouble
from bxcache.oci.documents import compute_digest
from bxcache.registry.connection import Connection, Query
from bxcache.registry.repository import Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bxcache.config.reference import Reference
    from bxcache.registry.credentials import FoundLogin

_TAG = "bxcache-doctor"
_IMPOSSIBLE = compute_digest(b"no manifest is this text")
"""The digest of a text that is no JSON, so that no registry has a manifest with it."""
_OK, _UNAUTHORIZED = 200, 401


class Answered(Struct, frozen=True):
    """Whether a registry allows an operation; `error` says why not, or why that is unknown."""

    error: RegistryError | None = None

    @property
    def allowed(self) -> bool | None:
        """Whether it is allowed; None if unknown."""
        if self.error is None:
            return True
        known = self.error.trouble in (Trouble.DENIED, Trouble.REFUSED)
        return False if known else None


class Sounding(Struct, frozen=True):
    """What a registry answers to a client with docker's login.

    Attributes:
        host: the registry.
        found: docker's login.
        error: why the registry does not answer; None if it does.
        refused: whether it refuses docker's login itself.
        moments: this clock and the registry's, both in seconds since 1970; None if unknown.
        pull, push, delete: the operations; None if it was not asked for one.
    """

    host: str
    found: FoundLogin
    error: RegistryError | None = None
    refused: bool = False
    moments: tuple[float, float] | None = None
    pull: Answered | None = None
    push: Answered | None = None
    delete: Answered | None = None


def sound_repository(
    reference: Reference,
    environment: Mapping[str, str],
    *,
    insecure: bool,
    writes: bool,
    seconds: float,
) -> Sounding:
    """Ask a registry what is allowed in a repository; writing only if `writes`.

    A credential helper has so many `seconds` to answer, and so have all requests together.
    """
    connection = Connection(reference.host, environment, insecure=insecure, limit=seconds)
    sounding = _reach(connection, f"repository:{reference.path}:pull")
    if sounding.error is not None:
        return sounding
    repository = Repository(connection, reference.path)
    pull = _try(lambda: repository.read_digest(_TAG))
    # A server of tokens can refuse a login for this repository alone.
    sounding = replace(sounding, refused=sounding.refused and pull.allowed is not True)
    if not writes:
        return replace(sounding, pull=pull)
    return replace(
        sounding,
        pull=pull,
        push=_try(repository.try_upload),
        delete=_try(lambda: repository.delete_manifest(_IMPOSSIBLE)),
    )


def _reach(connection: Connection, access: str) -> Sounding:
    """Ask a registry for its version, with a token for this access; a wrong login shows here."""
    sounding = Sounding(connection.host, connection.docker_login)
    has_login = sounding.found.login is not None
    try:
        expected = (_OK, _UNAUTHORIZED)
        reply = connection.ask(Query("GET", "/v2/", "reaching it", expected, access))
    except RegistryError as error:
        if error.trouble is Trouble.DENIED:
            is_unknown = error.cause.startswith(str(_UNAUTHORIZED))
            return replace(sounding, refused=has_login and is_unknown)
        return replace(sounding, error=error)
    return replace(
        sounding,
        refused=has_login and reply.status == _UNAUTHORIZED,
        moments=_read_moments(reply.headers.get("Date", "")),
    )


def _read_moments(date: str) -> tuple[float, float] | None:
    try:
        return time.time(), parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _try(operation: Callable[[], object]) -> Answered:
    try:
        operation()
    except RegistryError as error:
        return Answered(error)
    return Answered()
