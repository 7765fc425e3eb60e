"""The error of a failed request to a cache service."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bxcache.errors import Trouble


class ServiceError(Exception):
    """A request to a cache service failed; a build only warns of it.

    Attributes:
        service: its address.
        operation: the request, such as `looking up the scope x`.
        cause: what went wrong.
        trouble: the kind of failure.
    """

    def __init__(self, service: str, operation: str, cause: str, *, trouble: Trouble) -> None:
        super().__init__(f"the cache service `{service}`: {operation} failed: {cause}")
        self.service = service
        self.operation = operation
        self.cause = cause
        self.trouble = trouble

    @property
    def message(self) -> str:
        return str(self)
