"""Look up several refs at once."""

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
    """A ref after it was looked up; without a manifest, it does not exist or the lookup failed."""

    repository: Repository
    manifest: RemoteManifest | None = None
    error: RegistryError | None = None


def open_repository(
    reference: Reference, environment: Mapping[str, str], *, insecure: bool
) -> Repository:
    """The repository of a reference, without a request."""
    connection = Connection(reference.host, environment, insecure=insecure)
    return Repository(connection, reference.path)


def probe_refs(refs: Mapping[str, bool], environment: Mapping[str, str]) -> dict[str, Sighting]:
    """Look up refs in parallel, each given with whether its registry may be insecure."""
    repositories: dict[tuple[str, bool], Repository] = {}
    jobs = {}
    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        for ref, insecure in refs.items():
            parsed = Reference.parse(ref)
            key = parsed.name, insecure
            if key not in repositories:
                repositories[key] = open_repository(parsed, environment, insecure=insecure)
            jobs[ref] = pool.submit(_look, repositories[key], parsed.tag or "latest")
    return {ref: job.result() for ref, job in jobs.items()}


def _look(repository: Repository, tag: str) -> Sighting:
    try:
        return Sighting(repository, repository.read_manifest(tag))
    except RegistryError as error:
        return Sighting(repository, error=error)
