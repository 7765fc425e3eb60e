"""What the doctor says about a cache service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.backends.finding import Finding, Status, fine
from bxcache.errors import Trouble
from bxcache.services.faults import ServiceError
from bxcache.services.service import look_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.services.service import Service

SERVICE = "service"
_SCOPE = "bxcache-doctor"
"""A scope that need not exist."""
_UNUSED = "its caches are neither imported nor saved"
_REMEDIES = {
    Trouble.DENIED: "give this job credentials that may read and write there",
    Trouble.UNREACHABLE: "check the address in the configuration, and the network",
    Trouble.SICK: "try again later, or check the address in the configuration",
    Trouble.REFUSED: "check the settings of the backend and the variables of this job",
}


def judge_service(place: str, refusal: str, opened: Service | ServiceError) -> Iterator[Finding]:
    """Judge a service: whether the builder refuses it, its credentials, and its answer."""
    if refusal:
        why, _, remedy = refusal.partition("; ")
        yield Finding("export", Status.ERROR, why, _UNUSED, remedy)
    if isinstance(opened, ServiceError):
        yield _explain(place, opened)
        return
    source = opened.credentials
    known = f"from {source}" if source else "none, so requests are anonymous"
    yield fine("login", f"credentials for {place}: {known}")
    error = look_up(opened, _SCOPE).error
    yield _explain(place, error) if error is not None else fine(SERVICE, f"{place} answers")


def _explain(place: str, error: ServiceError) -> Finding:
    remedy = _REMEDIES[error.trouble]
    return Finding(SERVICE, Status.ERROR, f"{place}: {error.cause}", _UNUSED, remedy)
