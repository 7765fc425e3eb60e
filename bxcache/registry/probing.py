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
    """The result of looking up a ref.

    Attributes:
        repository: the ref's repository.
        manifest: its manifest; None if it does not exist.
        error: why the lookup failed, or None.
    """

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
    """Look up refs in parallel.

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
