"""What a cache service can be asked: whether it has a scope, and with which content."""

from __future__ import annotations

import time
from functools import cached_property
from threading import Thread
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from bxcache.errors import StoreError, Trouble
from bxcache.services.cache_document import parse_cache
from bxcache.services.faults import ServiceError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from bxcache.oci.graph import Cache

SECONDS_TO_ANSWER, SECONDS_TO_CONNECT, SECONDS_IN_ALL = 5, 3, 10
"""How long a request may take, and a lookup with several requests."""
LATE = "it did not answer in time"


class Stored(Struct, frozen=True, dict=True):
    """A scope in a service.

    Attributes:
        data: its content, as BuildKit wrote it.
        modified: when it was written, in seconds since 1970; None if unknown.
    """

    data: bytes
    modified: float | None = None

    @cached_property
    def cache(self) -> Cache | None:
        """The content; None if it is not a build cache."""
        try:
            return parse_cache(self.data)
        except StoreError:
            return None


class Sighting(Struct, frozen=True):
    """The result of looking a scope up: `stored` is None if it does not exist."""

    stored: Stored | None = None
    error: ServiceError | None = None


class Service(Protocol):
    """A cache service. All methods raise ServiceError if a request fails."""

    name: str
    """Its address, for people."""

    credentials: str
    """Where its credentials come from, for people; empty without any."""

    def read(self, scope: str) -> Stored | None:
        """Read a scope; None if it does not exist."""

    def write(self, scope: str, data: bytes) -> None:
        """Write a scope."""

    def remove(self, scope: str) -> None:
        """Remove a scope, where that is possible."""

    def remove_damaged(self, sizes: Mapping[str, int], suspects: Container[str]) -> int:
        """Remove layers that are damaged, so that the next save uploads them again.

        Args:
            sizes: the size of each layer of a scope in bytes, by digest.
            suspects: the digests of those that are known to be damaged.

        Returns:
            How many were removed.
        """

    def list_scopes(self) -> list[str]:
        """List the names of scopes, as many as one request returns; empty if unknown."""


def look_up_all(service: Service, scopes: Iterable[str]) -> dict[str, Sighting]:
    """Look scopes up at once; one whose answer never ends does not hold up the others for ever."""
    late = ServiceError(service.name, "looking it up", LATE, trouble=Trouble.SICK)
    found = dict.fromkeys(scopes, Sighting(error=late))

    def look(scope: str) -> None:
        found[scope] = look_up(service, scope)

    # These end with the process at the latest.
    threads = [Thread(target=look, args=(scope,), daemon=True) for scope in found]
    for each in threads:
        each.start()
    end = time.monotonic() + SECONDS_IN_ALL
    for each in threads:
        each.join(max(0.0, end - time.monotonic()))
    return dict(found)


def look_up(service: Service, scope: str) -> Sighting:
    """Look a scope up; an error is a result, too."""
    try:
        return Sighting(service.read(scope))
    except ServiceError as error:
        return Sighting(error=error)
