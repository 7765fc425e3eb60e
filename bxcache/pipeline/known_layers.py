"""The layers that trusted builds have saved, as far as a build has to know of them.

A build that took nothing from the builder's own cache asks nobody: what it started from explains
all that it reused. They are looked up before anything is saved.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from bxcache.config.backends import LocalBackend
from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, StoreError
from bxcache.pipeline.borrowing import Known, find_borrowing
from bxcache.store.layout import Layout, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bxcache.buildx.run import RunResult
    from bxcache.oci.documents import CacheManifest, Descriptor
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared
    from bxcache.registry.repository import RemoteManifest, Repository
    from bxcache.store.staging import Staging

_MOST_SCOPES = 32
"""How many scopes beside the build's own are looked at in a repository."""


def find_known(
    prepared: Prepared, plan: BuildPlan, ran: RunResult, staging: Staging | None
) -> Known | None:
    """The layers that trusted builds have saved; None where it does not matter who filled a cache.

    Args:
        prepared: the build.
        plan: what it was to do about caches.
        ran: what became of it.
        staging: where it has exported to, for the store.
    """
    wanted = prepared.setup.config.cache.shared_builder
    if not prepared.trust.is_guarded or wanted == "trust" or ran.exit_status:
        return None
    known: set[str] = set()
    for contents in (
        _read_imports(prepared, plan, staging),
        _read_store(prepared, plan),
        _read_candidates(prepared),
        _read_repositories(plan),
    ):
        for content in contents:
            if content is None:
                return Known(known, "what the build started from cannot be read here")
            known |= content.layer_sizes.keys()
        if not find_borrowing(ran, ran.metadata, Known(known)).steps:
            break
    return Known(known)


def _read_imports(
    prepared: Prepared, plan: BuildPlan, staging: Staging | None
) -> Iterator[CacheManifest | None]:
    """What the build started from; None for what does not tell."""
    local = any(use.backend == "local" for use in plan.imports)
    if local and staging is not None:
        yield from (_read(staging.layout, donor) for donor in staging.donors)
    seen = {save.source_ref: save.source for save in plan.saves}
    places = [use.place for use in plan.imports if use.backend != "local"]
    for place in places:
        source = seen.get(place)
        if source is not None:
            yield _parse(source.manifest)
    yield from _probe(prepared, [place for place in places if seen.get(place) is None])


def _read_store(prepared: Prepared, plan: BuildPlan) -> Iterator[CacheManifest]:
    """The scopes of the store that a trusted build has saved, such as those of other images.

    What is imported from a store that is only read is among them.
    """
    store, imported = prepared.store, {use.scope for use in plan.imports if use.backend == "local"}
    if store is None:
        return
    with suppress(StoreError, OSError):
        for name, entry in store.read_scopes().items():
            content = _read(Layout.at(store.path), entry)
            last = next(reversed(store.read_records(name)), None)
            if content is not None and (name in imported or _is_trusted(last)):
                yield content


def _read(layout: Layout, entry: Descriptor) -> CacheManifest | None:
    with suppress(StoreError, OSError):
        return read_manifest(layout, entry)
    return None


def _read_candidates(prepared: Prepared) -> Iterator[CacheManifest]:
    """What else the build might have started from, in registries."""
    found = prepared.candidates
    places = [each.place for each in found if not isinstance(each.backend, LocalBackend)]
    yield from filter(None, _probe(prepared, places))


def _probe(prepared: Prepared, places: Iterable[str]) -> Iterator[CacheManifest | None]:
    insecure = {
        each.place: each.backend.insecure
        for each in prepared.candidates
        if not isinstance(each.backend, LocalBackend)
    }
    refs = {place: insecure.get(place, False) for place in places}
    if not refs:
        return
    from bxcache.registry.probing import probe_refs  # noqa: PLC0415  # only a registry needs it

    yield from (_parse(each.manifest) for each in probe_refs(refs, os.environ).values())


def _parse(manifest: RemoteManifest | None) -> CacheManifest | None:
    return (manifest.parse() or manifest.parse_image()) if manifest is not None else None


def _read_repositories(plan: BuildPlan) -> Iterator[CacheManifest]:
    """The scopes of other images, in registries that the build saves to."""
    for save in plan.saves:
        from bxcache.registry.probing import open_repository  # noqa: PLC0415  # with all of HTTP

        reference = Reference.parse(save.use.place)
        repository = open_repository(reference, os.environ, insecure=save.backend.insecure)
        with suppress(RegistryError):
            yield from _read_scopes(repository)


def _read_scopes(repository: Repository) -> Iterator[CacheManifest]:
    from bxcache.registry.scopes import list_scopes  # noqa: PLC0415  # only a registry needs it

    found = sorted(list_scopes(repository), key=lambda each: -each.label.used)
    for each in found[:_MOST_SCOPES]:
        last = next(iter(each.label.records), None)
        if last is not None and not each.changed and _is_trusted(repository.read_blob(last.digest)):
            content = _parse(repository.read_manifest(each.tag))
            if content is not None:
                yield content


def _is_trusted(record: bytes | None) -> bool:
    """Whether a build was trusted, by its record."""
    with suppress(ValueError, AttributeError):
        return json.loads(record or b"{}").get("place", {}).get("trusted") is True
    return False
