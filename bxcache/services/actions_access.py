"""How a job of GitHub Actions reaches GitHub's cache service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.config.services import GhaSettings

TOKEN = "ACTIONS_RUNTIME_TOKEN"  # noqa: S105  # a variable's name
_URL, _URL_V2, _SERVICE_V2 = "ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL", "ACTIONS_CACHE_SERVICE_V2"
_RECEIVER = "results-receiver.actions.githubusercontent.com"
"""BuildKit takes this host for one of version 2."""
_TRUE = ("1", "t", "true")
FIRST, SECOND = 1, 2
"""The versions of the service's API."""


class Access(Struct, frozen=True):
    """How docker reaches the service: its address, the API's version, and the job's token."""

    url: str
    version: int
    token: str


def find_access(settings: GhaSettings, environment: Mapping[str, str]) -> Access | None:
    """Find how docker would reach the service; None where it would leave the cache out in silence.

    https://github.com/docker/buildx/blob/v0.29.1/build/opt.go
    https://github.com/moby/buildkit/blob/v0.25.2/cache/remotecache/gha/gha.go
    """
    token = environment.get(TOKEN)
    if not token:
        return None
    wants_second = environment.get(_SERVICE_V2, "").lower() in _TRUE
    if settings.version is not None:
        wants_second = settings.version == SECOND
    second = settings.url_v2 or (environment.get(_URL_V2) if wants_second else None)
    if settings.version != FIRST and second:
        return Access(second, SECOND, token)
    first = settings.url or environment.get(_URL) or environment.get(_URL_V2)
    if not first:
        return None
    return Access(first, settings.version or (SECOND if _RECEIVER in first else FIRST), token)
