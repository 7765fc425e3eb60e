"""A registry's scope after the build: leave it as it is, copy another one, or export.

If every step was reused and the registry has all layers, there is nothing to upload: the imported
scope is the build's cache. If it is the build's own scope, nothing changes; otherwise its manifest
is copied to the build's tag. In all other cases, docker runs again, finds every step built and only
exports; or the build itself exports, if it is known before that the registry cannot have all. The
new tag gets a label with the build's record.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bxcache.backends.base import NO_LAYER, REFUSED
from bxcache.backends.inline_push import Export
from bxcache.backends.inline_stages import copy_stages, export_stages
from bxcache.backends.registry_tag import SavedTag, TagSave
from bxcache.backends.transfers import find_failed_import, save_quietly
from bxcache.buildx.faults import explain_transfer
from bxcache.buildx.metadata import reuses_only
from bxcache.buildx.stream.events import Noted
from bxcache.buildx.stream.names import CacheVertex
from bxcache.config.wording import name_call
from bxcache.errors import RegistryError, StoreError, Trouble
from bxcache.registry.labels import Label
from bxcache.registry.repository import open_repository, probe_refs
from bxcache.registry.scopes import (
    add_results,
    copy_scope,
    join_scopes,
    keep_results,
    read_label,
    write_label,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.backends.base import Built
    from bxcache.backends.cache_result import CacheResult
    from bxcache.buildx.run import RunResult
    from bxcache.registry.repository import RemoteManifest, Repository, Sighting

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
    known = _read_known(save)
    if known is None or not reuses_only(ran.trace.steps, ran.metadata, known.keys()):
        return Need.EXPORT
    return Need.NOTHING if save.source_ref == save.use.place else Need.ALIAS


def save_tag(save: TagSave, built: Built) -> SavedTag:
    if built.sound is not None:
        # An export to a registry cannot leave out layers.
        return SavedTag(save.use.result, save=save, why=REFUSED)
    if built.salvage is not None:
        return _save_finished(replace(save, find_state=str), built)
    failed = find_failed_import(built.imports, built.ran, save.reference.name)
    if not save.apart and (save.limit is None or built.trouble is None):
        return _finish_own(save, built, warns=failed is None)
    # A failed import is already reported, and writing to the same registry would fail too.
    if failed:
        return SavedTag(save.use.result, save=save, why="the registry failed")
    return _save(save, built)


def _save_finished(save: TagSave, built: Built) -> SavedTag:
    """Add what has finished of a failed build to the cache that it started from, if any."""
    begun, ref = time.monotonic(), save.use.place
    try:
        seen = _look(save)
        if seen.source is not None and seen.source.error is not None:
            # What the scope has is not known, and must not be replaced.
            raise seen.source.error
        if save.source is not None:
            seen = _look_again(save, save.source)
        elif _find_before(seen) is not None:
            return SavedTag(save.use.result, save=seen, why="its cache was not imported")
        seconds = save.use.backend.settings.timeout
        ran, transfers, error = save_quietly(
            built.runner, built.imports, save.use, seconds, built.salvage
        )
        if error is not None:
            raise explain_transfer(ref, "saving", error)
        written = [each.digest for each in transfers if each.digest]
        if not written:
            return SavedTag(save.use.result, ran, save=seen, why=NO_LAYER)
        manifest = _add_results(seen, _join_nodes(seen, written))
    except (RegistryError, StoreError) as failure:
        return SavedTag(save.use.result, warnings=(str(failure),), save=save)
    label, took = _read_label(seen), round(time.monotonic() - begun, 3)
    result = replace(_describe(seen, manifest), exported=True, seconds=took)
    key = label.key if label is not None else None
    return SavedTag(result, ran, save=seen, digest=manifest.digest, label=label, key=key)


def _add_results(save: TagSave, digest: str) -> RemoteManifest:
    return add_results(_find_repository(save), save.tag, digest, _find_before(save))


def _finish_own(save: TagSave, built: Built, *, warns: bool) -> SavedTag:
    """The scope after an export by the build itself."""
    label = _read_label(save)
    key = label.key if label is not None else None
    saved = SavedTag(save.use.result, save=save, label=label, key=key)
    if built.trouble is not None:
        why = explain_transfer(save.use.place, "saving", built.trouble)
        return replace(saved, warnings=(str(why),) if warns else ())
    exports = built.ran.trace.find_transfers(CacheVertex.EXPORT_REGISTRY)
    try:
        own = _choose_own(save, [each.digest for each in exports if each.digest])
        done = _finish_export(save, built, own)
    except RegistryError as failure:
        result = replace(saved.result, digest=built.transfers[0].digest, exported=True)
        return replace(saved, result=result, warnings=(str(failure),), digest=result.digest)
    return replace(done, label=label, key=key)


def _choose_own(save: TagSave, written: list[str]) -> list[str]:
    """The manifests that went to this registry: BuildKit does not report which of several did."""
    found, repository = list(dict.fromkeys(written)), _find_repository(save)
    return [each for each in found if len(found) == 1 or repository.read_digest(each)]


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
        return SavedTag(save.use.result, warnings=(str(error),), save=save)
    result = replace(saved.result, seconds=round(time.monotonic() - begun, 3))
    label = _read_label(seen)
    return replace(saved, result=result, label=label, key=label.key if label is not None else None)


def _look(save: TagSave) -> TagSave:
    """Look up the build's own scope, unless the build did; RegistryError if a save would fail."""
    if save.source is not None:
        return save
    ref = save.use.place
    source = probe_refs({ref: save.use.backend.settings.insecure}, os.environ)[ref]
    # Images of stages are joined here, in this process; only the engine writes a cache.
    if source.error is not None and (save.keeps_images or source.error.trouble in _HOPELESS):
        raise source.error
    return replace(save, source=source, source_ref=ref)


def _look_again(save: TagSave, source: Sighting) -> TagSave:
    """Look up the build's own scope as it is now: another build may have saved it meanwhile."""
    own = source.repository.read_manifest(save.tag)
    if own is None:
        return save
    return replace(save, source=replace(source, manifest=own), source_ref=save.use.place)


def _leave(save: TagSave) -> SavedTag:
    """Leave the scope; only update its label, once a day or if it was built from other files."""
    manifest, label, now = _expect_source(save), _read_label(save), time.time()
    if label is not None and label.digest == manifest.digest:
        state = save.find_state() or label.state
        if now - label.used > _SECONDS_BETWEEN_USES or state != label.state:
            write_label(_find_repository(save), save.tag, replace(label, used=now, state=state))
    return SavedTag(replace(_describe(save, manifest), unchanged=True), save=save)


def _read_label(save: TagSave) -> Label | None:
    """Read the scope's previous label; None if the registry does not answer."""
    if save.source is not None and save.source.error is not None:
        return None
    with suppress(RegistryError):
        return read_label(_find_repository(save), save.tag)
    return None


def _alias(save: TagSave, built: Built) -> SavedTag:
    manifest = _expect_source(save)
    stages = copy_stages(_to_export(save, built)) if save.keeps_images else {}
    copy_scope(_find_repository(save), manifest, save.tag)
    note = f"{save.use.place} is now what {save.source_ref} is; nothing was uploaded"
    built.runner.report(Noted(note))
    result = replace(_describe(save, manifest), aliased=True)
    return SavedTag(result, save=save, digest=manifest.digest, stages=stages)


def _expect_source(save: TagSave) -> RemoteManifest:
    if save.source is None or save.source.manifest is None:
        raise ValueError(save)
    return save.source.manifest


def _export(save: TagSave, built: Built) -> SavedTag:
    built.runner.report(Noted(f"saving the cache to {save.use.place}"))
    seconds = save.use.backend.settings.timeout
    export = partial(save_quietly, built.runner, built.imports, save.use, seconds)
    ran, transfers, error = export()
    for _ in range(_MORE_ATTEMPTS):
        if error is not None and _COLLISION in error:
            ran, transfers, error = export()
    if error is not None:
        raise explain_transfer(save.use.place, "saving", error)
    return _finish_export(save, built, [each.digest for each in transfers if each.digest], ran)


def _finish_export(
    save: TagSave, built: Built, digests: list[str], run: RunResult | None = None
) -> SavedTag:
    """The scope after an export of these manifests, by a separate run if there was one."""
    if not digests:
        # BuildKit writes no manifest if no step made a layer.
        result = replace(save.use.result, contents=frozenset())
        return SavedTag(result, run, save=save, why=NO_LAYER)
    digest = _join_nodes(save, digests)
    written, before = _keep_results(save, built, digest), _find_before(save)
    if before is None:
        with suppress(RegistryError):
            written = _find_repository(save).read_manifest(digest)
    elif written is not None and written.digest == before.digest:
        return _stay(save, before, run)
    digest = written.digest if written is not None else digest
    result = replace(_describe(save, written), digest=digest, exported=True)
    return SavedTag(result, run, save=save, digest=digest)


def _keep_results(save: TagSave, built: Built, digest: str) -> RemoteManifest | None:
    """The scope's manifest after an export of this digest; None if it is not read."""
    before = _find_before(save)
    if before is None:
        return None
    repository = _find_repository(save)
    return keep_results(repository, save.tag, digest, before, executed=built.executed)


def _find_before(save: TagSave) -> RemoteManifest | None:
    """The manifest that the build started from, if it is in the same repository."""
    return save.source.manifest if save.source is not None else None


def _stay(save: TagSave, before: RemoteManifest, run: RunResult | None) -> SavedTag:
    """The scope after an export that had nothing new."""
    if save.source_ref == save.use.place:
        return replace(_leave(save), run=run)
    result = replace(_describe(save, before), aliased=True)
    return SavedTag(result, run, save=save, digest=before.digest)


def _export_stages(save: TagSave, built: Built) -> SavedTag:
    joined, run = export_stages(_to_export(save, built))
    if joined is None:
        # No stage has a layer that an image could hold.
        return SavedTag(replace(save.use.result, contents=frozenset()), save=save, why=NO_LAYER)
    result = replace(_describe(save, joined.manifest), exported=True)
    digest = joined.manifest.digest
    return SavedTag(result, run, save=save, digest=digest, stages=joined.digests)


def _to_export(save: TagSave, built: Built) -> Export:
    return Export(save, built, _find_repository(save), _read_known(save) or {})


def _join_nodes(save: TagSave, digests: list[str]) -> str:
    """Join the manifests of all nodes of the builder; each node wrote one to the same tag."""
    *others, last = dict.fromkeys(digests)
    if not others:
        return last
    repository = _find_repository(save)
    try:
        return join_scopes(repository, save.tag, [last, *others])
    except StoreError as error:
        operation, trouble = f"joining `{save.tag}`", Trouble.REFUSED
        raise RegistryError(repository.host, operation, error.message, trouble=trouble) from error


def label_scope(saved: SavedTag, record: bytes, key: str) -> str | None:
    """Label a scope's tag with the build's record. The cache works without a label.

    Return why it was not written; None if it was, if the tag was left alone, or if the registry is
    unreachable from here.
    """
    save, source, now = saved.save, saved.save.source, time.time()
    error = source.error if source is not None else None
    if saved.digest is None or (error is not None and error.trouble is Trouble.UNREACHABLE):
        return None
    tag, before = save.tag, saved.label
    # Keep the images of stages that the Dockerfile no longer has: they still exist.
    stages = dict(before.stages if before is not None else ())
    stages |= {name.removeprefix(f"{tag}."): digest for name, digest in saved.stages.items()}
    records = before.records if before is not None else ()
    made = [each for each in json.loads(record).get("steps", ()) if each.get("kind") != "from"]
    label = Label(
        save.owner,
        saved.digest,
        created=now,
        used=now,
        records=records,
        key=key,
        stages=tuple(stages.items()),
        steps=len(made),
        state=save.find_state(),
    )
    is_first = source is None or source.manifest is None
    try:
        write_label(_find_repository(save), tag, label, record, is_first=is_first)
    except RegistryError as failure:
        unknown = f"`{name_call('history')}` and the list of scopes will not know this scope"
        return f"{failure.message}; {unknown}"
    return None


def _find_repository(save: TagSave) -> Repository:
    """The scope's repository, reused from the lookup if there was one."""
    if save.source is not None:
        return save.source.repository
    insecure = save.use.backend.settings.insecure
    return open_repository(save.reference, os.environ, insecure=insecure)


def _describe(save: TagSave, manifest: RemoteManifest | None) -> CacheResult:
    """The scope's state with a manifest, as far as known."""
    sizes = _read_sizes(save, manifest)
    return replace(
        save.use.result,
        digest=manifest.digest if manifest is not None else None,
        bytes=sum((sizes or {}).values()) or None,
        layers=len(sizes or {}) or None,
        contents=frozenset(sizes) if sizes is not None else None,
    )


def _read_known(save: TagSave) -> Mapping[str, int] | None:
    return _read_sizes(save, _find_before(save))


def _read_sizes(save: TagSave, manifest: RemoteManifest | None) -> Mapping[str, int] | None:
    """The sizes of the layers; None if it is not of the kind that the backend stores."""
    if manifest is None:
        return None
    content = manifest.parse_image() if save.keeps_images else manifest.parse()
    return content.layer_sizes if content is not None else None
