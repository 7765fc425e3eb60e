"""A registry's scope after the build: leave it as it is, copy another one, or export.

If every step was reused and the registry has all layers, there is nothing to upload: the imported
scope is the build's cache. If it is the build's own scope, nothing changes; otherwise its manifest
is copied to the build's tag. In all other cases, docker runs again, finds every step built and only
exports. The new tag gets a label with the build's record.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from bxcache.backends.export import save_quietly
from bxcache.backends.inline_push import Export
from bxcache.backends.inline_stages import copy_stages, export_stages
from bxcache.backends.registry_tag import SavedTag, TagSave
from bxcache.backends.transfers import find_failed_import
from bxcache.buildx.faults import explain_transfer
from bxcache.buildx.metadata import find_layers
from bxcache.buildx.stream.events import Noted, Outcome
from bxcache.buildx.stream.names import CacheVertex
from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, StoreError, Trouble
from bxcache.registry.labels import Label
from bxcache.registry.probing import open_repository, probe_refs
from bxcache.registry.scopes import copy_scope, join_scopes, read_label, write_label

if TYPE_CHECKING:
    from bxcache.backends.base import Built
    from bxcache.backends.cache_result import CacheResult
    from bxcache.buildx.run import RunResult
    from bxcache.oci.documents import CacheManifest
    from bxcache.registry.probing import Sighting
    from bxcache.registry.repository import RemoteManifest, Repository

_HOPELESS = (Trouble.SICK, Trouble.REFUSED)
_COLLISION = "blob unknown to registry"
"""Docker's own registry refuses one of several concurrent exports that share a blob."""
_MORE_ATTEMPTS = 2
_SECONDS_BETWEEN_USES = 86_400
"""How old the time of a scope's last use in its label may become."""


class Need(Enum):
    """How to save a scope to a registry."""

    NOTHING = "it has everything already"
    ALIAS = "another scope has everything already"
    EXPORT = "there is something new"


def choose_need(save: TagSave, ran: RunResult) -> Need:
    """Choose how to save the build's own scope."""
    content = _read_content(save, save.source.manifest if save.source is not None else None)
    if content is None or not ran.trace.steps:
        return Need.EXPORT
    if any(step.outcome is not Outcome.REUSED for step in ran.trace.steps):
        return Need.EXPORT
    # The engine's own cache has more than the registry; old buildx does not report layers.
    for step in ran.trace.steps:
        layers = {each.digest for each in find_layers(step, ran.metadata)}
        if layers.isdisjoint(content.layer_sizes):
            return Need.EXPORT
    return Need.NOTHING if save.source_ref == save.use.place else Need.ALIAS


def save_tag(save: TagSave, built: Built) -> SavedTag:
    """Save a successful build to a registry's scope."""
    if built.sound is not None:
        # An export to a registry cannot leave out layers.
        return SavedTag(_describe(save), save=save)
    if not save.apart:
        return _finish_own(save, built)
    if find_failed_import(built.imports, built.ran, save.use.place):
        # This failure is already reported, and writing to the same registry would fail too.
        return SavedTag(_describe(save), save=save)
    return _save(save, built)


def _finish_own(save: TagSave, built: Built) -> SavedTag:
    """The scope after an export by the build itself."""
    place, label = save.use.place, _read_label(save)
    error = next((each.error for each in built.transfers if each.error), "")
    if error or not built.transfers:
        # Warn once for each registry.
        failed = find_failed_import(built.imports, built.ran, place)
        why = explain_transfer(place, "saving", error or "BuildKit did not export it")
        warnings = () if failed else (str(why),)
        return SavedTag(save.use.result, warnings=warnings, save=save, label=label)
    digest = built.transfers[0].digest
    layers = built.ran.metadata.layers if digest else {}
    result = replace(
        save.use.result,
        digest=digest,
        bytes=sum(layers.values()) or None,
        exported=digest is not None,
        layers=len(layers) or None,
    )
    if digest is None:
        return SavedTag(result, save=save, label=label)
    exports = built.ran.trace.find_transfers(CacheVertex.EXPORT_REGISTRY)
    try:
        own = _choose_own(save, [each.digest for each in exports if each.digest])
        digest = _join_nodes(save, own) if own else digest
    except RegistryError as failure:
        return SavedTag(result, warnings=(str(failure),), save=save, digest=digest, label=label)
    return SavedTag(replace(result, digest=digest), save=save, digest=digest, label=label)


def _choose_own(save: TagSave, written: list[str]) -> list[str]:
    """The manifests that went to this registry: BuildKit does not report which of several did."""
    found = list(dict.fromkeys(written))
    if len(found) == 1:
        return found
    repository = _find_repository(save)
    return [each for each in found if repository.read_digest(each)]


def _save(save: TagSave, built: Built) -> SavedTag:
    begun = time.monotonic()
    try:
        seen = _look(save)
        need = choose_need(seen, built.ran)
        if need is Need.NOTHING:
            return _leave(seen)
        if need is Need.ALIAS:
            saved = _alias(seen, built)
        elif seen.keeps_images:
            saved = _export_stages(seen, built)
        else:
            saved = _export(seen, built)
    except RegistryError as error:
        return SavedTag(_describe(save), warnings=(str(error),), save=save)
    seconds = round(time.monotonic() - begun, 3)
    label = _read_label(seen)
    result, key = replace(saved.result, seconds=seconds), label.key if label is not None else None
    return replace(saved, result=result, label=label, key=key)


def _look(save: TagSave) -> TagSave:
    """Look up the build's own scope, unless the build did before.

    Raises:
        RegistryError: the lookup shows that an export would fail.
    """
    if save.source is not None:
        return save
    ref = save.use.place
    source = probe_refs({ref: save.insecure}, os.environ)[ref]
    # Images of stages are joined here, in this process; only the engine writes a cache.
    everything = save.keeps_images
    if source.error is not None and (everything or source.error.trouble in _HOPELESS):
        raise source.error
    return replace(save, source=source, source_ref=ref)


def _leave(save: TagSave) -> SavedTag:
    """Leave the scope; only update the time of its last use, once a day."""
    source, manifest = _expect_source(save)
    label, now = _read_label(save), time.time()
    known = label is not None and label.digest == manifest.digest
    if label is not None and known and now - label.used > _SECONDS_BETWEEN_USES:
        write_label(source.repository, _tag_of(save), replace(label, used=now))
    return SavedTag(replace(_describe(save, manifest), unchanged=True), save=save)


def _read_label(save: TagSave) -> Label | None:
    """Read the scope's previous label; None if the registry does not answer."""
    if save.source is not None and save.source.error is not None:
        return None
    repository = _find_repository(save)
    with suppress(RegistryError):
        return read_label(repository, _tag_of(save))
    return None


def _alias(save: TagSave, built: Built) -> SavedTag:
    source, manifest = _expect_source(save)
    stages: dict[str, str] = {}
    if save.keeps_images:
        content = _read_content(save, manifest)
        known = content.layer_sizes if content is not None else {}
        stages = copy_stages(_to_export(save, built), built.ran, known)
    copy_scope(source.repository, manifest, _tag_of(save))
    note = f"{save.use.place} is now what {save.source_ref} is; nothing was uploaded"
    built.runner.report(Noted(note))
    result = replace(_describe(save, manifest), aliased=True)
    return SavedTag(result, save=save, digest=manifest.digest, stages=stages)


def _expect_source(save: TagSave) -> tuple[Sighting, RemoteManifest]:
    if save.source is None or save.source.manifest is None:
        raise ValueError(save)
    return save.source, save.source.manifest


def _export(save: TagSave, built: Built) -> SavedTag:
    runner, imports = built.runner, built.imports
    runner.report(Noted(f"saving the cache to {save.use.place}"))
    ran, transfers, error = save_quietly(runner, imports, save.use, save.timeout)
    for _ in range(_MORE_ATTEMPTS):
        if _COLLISION in error:
            ran, transfers, error = save_quietly(runner, imports, save.use, save.timeout)
    if error:
        raise explain_transfer(save.use.place, "saving", error)
    digests = [each.digest for each in transfers if each.digest]
    if not digests:
        # BuildKit writes no manifest if no step made a layer.
        return SavedTag(replace(_describe(save), contents=frozenset()), save=save)
    digest = _join_nodes(save, digests)
    result = replace(_describe(save, _read_back(save, digest)), digest=digest)
    return SavedTag(replace(result, exported=True), ran, save=save, digest=digest)


def _export_stages(save: TagSave, built: Built) -> SavedTag:
    content = _read_content(save, save.source.manifest if save.source is not None else None)
    known = content.layer_sizes if content is not None else {}
    joined, run = export_stages(_to_export(save, built), built.ran, known)
    if joined is None:
        return SavedTag(replace(_describe(save), contents=frozenset()), save=save)
    result = replace(_describe(save, joined.manifest), exported=True)
    digest = joined.manifest.digest
    return SavedTag(result, run, save=save, digest=digest, stages=joined.digests)


def _to_export(save: TagSave, built: Built) -> Export:
    repository = _find_repository(save)
    source = Reference.parse(save.source_ref).tag if save.source_ref else None
    return Export(built.runner, built.imports, save, repository, _tag_of(save), source or "")


def _join_nodes(save: TagSave, digests: list[str]) -> str:
    """Join the manifests of all nodes of the builder; each node wrote one to the same tag.

    Raises:
        RegistryError: the registry rejects it.
    """
    *others, last = dict.fromkeys(digests)
    if not others:
        return last
    repository = _find_repository(save)
    try:
        return join_scopes(repository, _tag_of(save), [last, *others])
    except StoreError as error:
        operation = f"joining `{_tag_of(save)}`"
        refused = Trouble.REFUSED
        raise RegistryError(repository.host, operation, error.message, trouble=refused) from error


def _read_back(save: TagSave, digest: str) -> RemoteManifest | None:
    with suppress(RegistryError):
        return save.source.repository.read_manifest(digest) if save.source else None
    return None


def label_scope(saved: SavedTag, record: bytes, key: str) -> str | None:
    """Label a scope's tag. The cache works without a label.

    Args:
        saved: the scope after it was saved.
        record: the build's record.
        key: the hash key of the record.

    Returns:
        Why the label was not written; None if it was, or if the registry is unreachable from here.
    """
    save, source, now = saved.save, saved.save.source, time.time()
    error = source.error if source is not None else None
    if saved.digest is None or (error is not None and error.trouble is Trouble.UNREACHABLE):
        return None
    repository = _find_repository(save)
    tag, before = _tag_of(save), saved.label
    # Keep the images of stages that the Dockerfile no longer has: they still exist.
    stages = dict(before.stages if before is not None else ())
    stages |= {name.removeprefix(f"{tag}."): digest for name, digest in saved.stages.items()}
    records = before.records if before is not None else ()
    label = Label(save.owner, saved.digest, now, now, records, key, tuple(stages.items()))
    try:
        is_first = source is None or source.manifest is None
        write_label(repository, tag, label, record, is_first=is_first)
    except RegistryError as failure:
        unknown = "`bxcache registry` and `bxcache history` will not know this scope"
        return f"{failure.message}; {unknown}"
    return None


def _find_repository(save: TagSave) -> Repository:
    """The scope's repository, reused from the lookup if there was one."""
    if save.source is not None:
        return save.source.repository
    reference = Reference.parse(save.use.place)
    return open_repository(reference, os.environ, insecure=save.insecure)


def _tag_of(save: TagSave) -> str:
    return Reference.parse(save.use.place).tag or save.use.scope


def _describe(save: TagSave, manifest: RemoteManifest | None = None) -> CacheResult:
    """The scope's state with a manifest, as far as known."""
    content = _read_content(save, manifest)
    sizes = content.layer_sizes if content is not None else {}
    return replace(
        save.use.result,
        digest=manifest.digest if manifest is not None else None,
        bytes=sum(sizes.values()) or None,
        layers=len(sizes) or None,
        contents=frozenset(sizes) if content is not None else None,
    )


def _read_content(save: TagSave, manifest: RemoteManifest | None) -> CacheManifest | None:
    """Parse a manifest; None if it is not of the kind that the backend stores."""
    if manifest is None:
        return None
    return manifest.parse_image() if save.keeps_images else manifest.parse()
