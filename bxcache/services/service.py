"""What a cache service can be asked: whether it has a scope, and with which content."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from bxcache.errors import StoreError
from bxcache.services.cache_document import parse_cache
from bxcache.services.faults import ServiceError

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from bxcache.oci.graph import Cache

SECONDS_TO_ANSWER, SECONDS_TO_CONNECT = 5, 3
"""How long a request may take."""


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


def look_up(service: Service, scope: str) -> Sighting:
    """Look a scope up; an error is a result, too."""
    try:
        return Sighting(service.read(scope))
    except ServiceError as error:
        return Sighting(error=error)
