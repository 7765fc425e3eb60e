"""A registry's scope after the build: left as it is, named anew, or saved.

Where every step was reused and the registry had all its layers, there is nothing to upload: the
scope that the build started from is the build's. If it is the build's own, it is left alone; if it
is another's, its manifest is put under the build's tag too. Else the build is run once more, which
finds everything built and only exports. What was written is labelled, with the build's record.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from bxcache.backends.base import CacheResult, save_quietly
from bxcache.backends.inline_push import Export
from bxcache.backends.inline_stages import copy_stages, export_stages
from bxcache.backends.transfers import find_failed_import
from bxcache.buildx.faults import explain_transfer
from bxcache.buildx.steps import find_layers
from bxcache.buildx.stream.events import Noted, Outcome
from bxcache.buildx.stream.names import CacheVertex
from bxcache.config.backends import InlineBackend
from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, StoreError, Trouble
from bxcache.registry.labels import Label
from bxcache.registry.probing import open_repository, probe_refs
from bxcache.registry.scopes import copy_scope, join_scopes, read_label, write_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bxcache.backends.base import CacheUse
    from bxcache.backends.registry import RegistrySave
    from bxcache.buildx.run import Runner, RunResult
    from bxcache.oci.documents import CacheManifest
    from bxcache.registry.probing import Sighting
    from bxcache.registry.repository import RemoteManifest, Repository

_HOPELESS = (Trouble.SICK, Trouble.REFUSED)
_SECONDS_BETWEEN_USES = 86_400
"""How old the note of a scope's last use may become."""


class Need(Enum):
    """What there is to do for a scope in a registry."""

    NOTHING = "it has everything already"
    ALIAS = "another scope has everything already"
    EXPORT = "there is something new"


def choose_need(save: RegistrySave, ran: RunResult) -> Need:
    """What a build's own scope needs after it."""
    content = _read_content(save, save.source.manifest if save.source is not None else None)
    if content is None or not ran.trace.steps:
        return Need.EXPORT
    if any(step.outcome is not Outcome.REUSED for step in ran.trace.steps):
        return Need.EXPORT
    # An engine's own cache has more than the registry; an old buildx does not tell the layers.
    for step in ran.trace.steps:
        layers = {each.digest for each in find_layers(step, ran.metadata)}
        if layers.isdisjoint(content.layer_sizes):
            return Need.EXPORT
    return Need.NOTHING if save.source_ref == save.use.place else Need.ALIAS


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of one registry's scope.

    Attributes:
        result: the same for the caller.
        save: what was to be saved, with what was found there.
        digest: the manifest that the scope's tag has been given, if it has.
        told: what the run told that saved it, if there was one.
        label: what was written down of the scope before, if it was.
        warning: why it could not be saved, or an empty string.
        stages: the digests of the images of its stages, by their tags, where it has such.
    """

    result: CacheResult
    save: RegistrySave
    digest: str | None = None
    told: RunResult | None = None
    label: Label | None = None
    warning: str = ""
    stages: Mapping[str, str] = field(default_factory=dict)


def save_registries(
    runner: Runner,
    saves: Sequence[RegistrySave],
    imports: Sequence[CacheUse],
    ran: RunResult,
    caches: Iterable[CacheResult],
) -> Iterator[Kept]:
    """Bring each registry's scope up to date with a build that succeeded.

    Args:
        saves: the scopes to save.
        imports: what the build started from.
        ran: what became of it.
        caches: what it saved by itself.
    """
    own = {each.place: each for each in caches}
    for save in saves:
        if not save.apart:
            yield _settle_own(save, ran, own[save.use.place], is_only=len(saves) == 1)
        elif find_failed_import(imports, ran, save.use.place):
            # That has been told already, and the same registry will not be written either.
            yield Kept(_describe(save), save)
        else:
            yield _save(runner, imports, save, ran)


def leave_registries(saves: Iterable[RegistrySave]) -> tuple[Kept, ...]:
    """Save nothing to the registries."""
    return tuple(Kept(_describe(save), save) for save in saves)


def _settle_own(save: RegistrySave, ran: RunResult, result: CacheResult, *, is_only: bool) -> Kept:
    """What the build itself has saved."""
    label = _read_label(save)
    if not result.exported or result.digest is None:
        return Kept(result, save, label=label)
    transfers = ran.trace.find_transfers(CacheVertex.EXPORT_REGISTRY)
    written = [each.digest for each in transfers if each.digest]
    try:
        if not is_only:
            written = _choose_own(save, written)
        digest = _join_nodes(save, written) if written else result.digest
    except RegistryError as error:
        return Kept(result, save, result.digest, label=label, warning=str(error))
    return Kept(replace(result, digest=digest), save, digest, label=label)


def _choose_own(save: RegistrySave, written: list[str]) -> list[str]:
    """The manifests that went to this registry: of several, BuildKit does not tell which."""
    repository = _find_repository(save)
    return [each for each in dict.fromkeys(written) if repository.read_digest(each)]


def _save(runner: Runner, imports: Sequence[CacheUse], save: RegistrySave, ran: RunResult) -> Kept:
    begun = time.monotonic()
    try:
        seen = _look(save)
        need = choose_need(seen, ran)
        if need is Need.NOTHING:
            return _leave(seen)
        if need is Need.ALIAS:
            kept = _alias(runner, imports, seen, ran)
        elif isinstance(seen.backend, InlineBackend):
            kept = _export_stages(runner, imports, seen, ran)
        else:
            kept = _export(runner, imports, seen)
    except RegistryError as error:
        return Kept(_describe(save), save, warning=str(error))
    seconds = round(time.monotonic() - begun, 3)
    result = replace(kept.result, seconds=seconds)
    return replace(kept, result=result, label=_read_label(seen))


def _look(save: RegistrySave) -> RegistrySave:
    """The same, with what the own scope has, where the build had no reason to look there.

    Raises:
        RegistryError: the registry would hold up the export.
    """
    if save.source is not None:
        return save
    ref = save.use.place
    source = probe_refs({ref: save.backend.insecure}, os.environ)[ref]
    # What is read as images is joined from here; a cache is written by the engine alone.
    everything = isinstance(save.backend, InlineBackend)
    if source.error is not None and (everything or source.error.trouble in _HOPELESS):
        raise source.error
    return replace(save, source=source, source_ref=ref)


def _leave(save: RegistrySave) -> Kept:
    """Only note, once a day, that the scope is still used."""
    source, manifest = _expect_source(save)
    label, now = _read_label(save), time.time()
    known = label is not None and label.digest == manifest.digest
    if label is not None and known and now - label.used > _SECONDS_BETWEEN_USES:
        write_label(source.repository, _tag_of(save), replace(label, used=now))
    return Kept(replace(_describe(save, manifest), unchanged=True), save)


def _read_label(save: RegistrySave) -> Label | None:
    """What was written down of the scope before; nothing where the registry does not tell."""
    if save.source is not None and save.source.error is not None:
        return None
    repository = _find_repository(save)
    with suppress(RegistryError):
        return read_label(repository, _tag_of(save))
    return None


def _alias(runner: Runner, imports: Sequence[CacheUse], save: RegistrySave, ran: RunResult) -> Kept:
    source, manifest = _expect_source(save)
    stages: dict[str, str] = {}
    if isinstance(save.backend, InlineBackend):
        content = _read_content(save, manifest)
        known = content.layer_sizes if content is not None else {}
        stages = copy_stages(_to_export(runner, imports, save), ran, known)
    copy_scope(source.repository, manifest, _tag_of(save))
    runner.report(Noted(f"{save.use.place} is now what {save.source_ref} is; nothing was uploaded"))
    result = replace(_describe(save, manifest), aliased=True)
    return Kept(result, save, manifest.digest, stages=stages)


def _expect_source(save: RegistrySave) -> tuple[Sighting, RemoteManifest]:
    if save.source is None or save.source.manifest is None:
        raise ValueError(save)
    return save.source, save.source.manifest


def _export(runner: Runner, imports: Sequence[CacheUse], save: RegistrySave) -> Kept:
    runner.report(Noted(f"saving the cache to {save.use.place}"))
    ran, transfers, error = save_quietly(runner, imports, save.use, save.backend.timeout)
    if error:
        raise explain_transfer(save.use.place, "saving", error)
    digests = [each.digest for each in transfers if each.digest]
    if not digests:
        # BuildKit writes no manifest when no step made a layer.
        return Kept(replace(_describe(save), contents=frozenset()), save)
    digest = _join_nodes(save, digests)
    result = replace(_describe(save, _read_back(save, digest)), digest=digest)
    return Kept(replace(result, exported=True), save, digest, ran)


def _export_stages(
    runner: Runner, imports: Sequence[CacheUse], save: RegistrySave, ran: RunResult
) -> Kept:
    content = _read_content(save, save.source.manifest if save.source is not None else None)
    known = content.layer_sizes if content is not None else {}
    joined, told = export_stages(_to_export(runner, imports, save), ran, known)
    if joined is None:
        return Kept(replace(_describe(save), contents=frozenset()), save)
    result = replace(_describe(save, joined.manifest), exported=True)
    return Kept(result, save, joined.manifest.digest, told, stages=joined.digests)


def _to_export(runner: Runner, imports: Sequence[CacheUse], save: RegistrySave) -> Export:
    repository = _find_repository(save)
    source = Reference.parse(save.source_ref).tag if save.source_ref else None
    return Export(runner, imports, save, repository, _tag_of(save), source or "")


def _join_nodes(save: RegistrySave, digests: list[str]) -> str:
    """The manifest that has what all nodes of the builder wrote; each wrote one, to one tag.

    Raises:
        RegistryError: the registry does not take it.
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


def _read_back(save: RegistrySave, digest: str) -> RemoteManifest | None:
    with suppress(RegistryError):
        return save.source.repository.read_manifest(digest) if save.source else None
    return None


def label_scope(runner: Runner, kept: Kept, record: bytes, key: str) -> None:
    """Write down what a scope's tag is now. The cache is as good without.

    Args:
        run: the build.
        kept: what became of the scope.
        record: the build's record.
        key: the key of the hashes in it.
    """
    save, source, now = kept.save, kept.save.source, time.time()
    error = source.error if source is not None else None
    if kept.digest is None or (error is not None and error.trouble is Trouble.UNREACHABLE):
        # Only the engine reaches it: nobody here can look after it.
        return
    repository = _find_repository(save)
    tag, before = _tag_of(save), kept.label
    # Of a stage that the Dockerfile has no more the image is still there.
    stages = dict(before.stages if before is not None else ())
    stages |= {name.removeprefix(f"{tag}."): digest for name, digest in kept.stages.items()}
    records = before.records if before is not None else ()
    label = Label(save.owner, kept.digest, now, now, records, key, tuple(stages.items()))
    try:
        is_first = source is None or source.manifest is None
        write_label(repository, tag, label, record, is_first=is_first)
    except RegistryError as failure:
        unknown = "`bxcache registry` and `bxcache history` will not know this scope"
        runner.report(Noted(f"{failure.message}; {unknown}"))


def _find_repository(save: RegistrySave) -> Repository:
    """Where the scope is; with what is known of it already, if it was looked up."""
    if save.source is not None:
        return save.source.repository
    reference = Reference.parse(save.use.place)
    return open_repository(reference, os.environ, insecure=save.backend.insecure)


def _tag_of(save: RegistrySave) -> str:
    return Reference.parse(save.use.place).tag or save.use.scope


def _describe(save: RegistrySave, manifest: RemoteManifest | None = None) -> CacheResult:
    """The scope with what it has now, as far as that is known."""
    content = _read_content(save, manifest)
    sizes = content.layer_sizes if content is not None else {}
    return CacheResult(
        backend=save.use.backend,
        place=save.use.place,
        scope=save.use.scope,
        digest=manifest.digest if manifest is not None else None,
        bytes=sum(sizes.values()) or None,
        layers=len(sizes) or None,
        contents=frozenset(sizes) if content is not None else None,
    )


def _read_content(save: RegistrySave, manifest: RemoteManifest | None) -> CacheManifest | None:
    """What a manifest has, where it is what the backend keeps."""
    if manifest is None:
        return None
    is_image = isinstance(save.backend, InlineBackend)
    return manifest.parse_image() if is_image else manifest.parse()
