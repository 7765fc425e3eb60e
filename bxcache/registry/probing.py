"""What several refs hold, asked of their registries at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.config.reference import Reference
from bxcache.errors import RegistryError
from bxcache.registry.connection import Connection
from bxcache.registry.repository import Repository

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.registry.repository import RemoteManifest

_MOST_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was found at a ref.

    Attributes:
        repository: where the ref is.
        manifest: what is there, or None.
        error: why that is not known, or None.
    """

    repository: Repository
    manifest: RemoteManifest | None = None
    error: RegistryError | None = None


def open_repository(
    reference: Reference, environment: Mapping[str, str], *, insecure: bool
) -> Repository:
    """The repository of a reference; nothing is asked yet."""
    connection = Connection(reference.host, environment, insecure=insecure)
    return Repository(connection, reference.path)


def probe_refs(refs: Mapping[str, bool], environment: Mapping[str, str]) -> dict[str, Sighting]:
    """Look at several refs at once; it takes as long as the slowest of them.

    Args:
        refs: the refs, each with whether its registry may be insecure.
        environment: the process's variables, for docker's settings.
    """
    if not refs:
        return {}
    repositories: dict[tuple[str, bool], Repository] = {}
    for ref, insecure in refs.items():
        parsed = Reference.parse(ref)
        key = parsed.name, insecure
        if key not in repositories:
            repositories[key] = open_repository(parsed, environment, insecure=insecure)
    with ThreadPoolExecutor(min(len(refs), _MOST_AT_ONCE)) as pool:
        jobs = {
            ref: pool.submit(_look, repositories[Reference.parse(ref).name, insecure], ref)
            for ref, insecure in refs.items()
        }
        return {ref: job.result() for ref, job in jobs.items()}


def _look(repository: Repository, ref: str) -> Sighting:
    try:
        return Sighting(repository, repository.read_manifest(Reference.parse(ref).tag or "latest"))
    except RegistryError as error:
        return Sighting(repository, error=error)
