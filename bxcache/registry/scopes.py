"""The scopes in a repository: label, copy, list, remove.

All functions raise RegistryError if a request fails or the registry refuses it.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from bxcache.config.json_documents import make_part
from bxcache.errors import RegistryError, StoreError, Trouble
from bxcache.oci.documents import compute_digest
from bxcache.oci.merging import merge_caches
from bxcache.oci.succession import choose_successor
from bxcache.oci.union import unite_caches
from bxcache.place.scope import describe_identity
from bxcache.registry.labels import (
    EMPTY,
    MANIFEST_TYPE,
    Label,
    find_labelled,
    is_leaving,
    name_label,
    parse_label,
    render_label,
    render_leaving,
)
from bxcache.registry.repository import RemoteManifest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from bxcache.oci.documents import CacheManifest
    from bxcache.oci.merging import Merged
    from bxcache.registry.repository import Repository

_AT_ONCE = 8
OVERWRITTEN, GONE = "another client has overwritten it", "its cache no longer exists"
"""What is wrong with a scope."""


class RemoteScope(Struct, frozen=True):
    """A scope that bxcache has written.

    Attributes:
        tag: the scope's name, under which the repository has its cache.
        label: what bxcache wrote beside it: whose it is, when it was saved and last used.
        layers: the size in bytes of each layer, by digest; empty if the cache no longer exists.
        changed: why the tag is left alone: another client wrote it last.
        lost: the label exists, but the cache does not.
        stages: the existing tags of its stages' images, as listed in the label.
    """

    tag: str
    label: Label
    layers: dict[str, int]
    changed: str = ""
    lost: bool = False
    stages: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """The size of its layers."""
        return sum(self.layers.values())

    def to_dict(self, shared_bytes: int = 0) -> dict[str, Any]:
        """Return the scope's part of the document that `bxcache registry ls --json` prints.

        Args:
            shared_bytes: the size of the layers that other scopes need, too.
        """
        label = self.label
        return make_part(
            {
                "name": self.tag,
                "tag": self.tag,
                **describe_identity(label.scope),
                "digest": label.digest,
                "bytes": self.bytes,
                "own_bytes": self.bytes - shared_bytes,
                "shared_bytes": shared_bytes,
                "layers": len(self.layers),
                "steps": label.steps,
                "stages": self.stages,
                "saved": label.created,
                "created": label.created,
                "last_used": label.used,
                "damage": GONE if self.lost else OVERWRITTEN if self.changed else "",
                "changed": bool(self.changed),
                "lost": self.lost,
            }
        )


def write_label(
    repository: Repository,
    tag: str,
    label: Label,
    record: bytes | None = None,
    *,
    is_first: bool = False,
) -> None:
    """Write a scope's label, with the record of the build that wrote it added to its records.

    If it may be the repository's first label, the blob that all labels share is uploaded, too.
    """
    name = name_label(tag)
    if name is None:
        return
    if record is not None:
        blobs = (record, EMPTY) if is_first else (record,)
        with ThreadPoolExecutor(len(blobs)) as pool:
            list(pool.map(repository.write_blob, blobs))
        label = label.with_record(record)
    try:
        repository.write_manifest(name, render_label(label), MANIFEST_TYPE)
    except RegistryError as error:
        if error.trouble is not Trouble.REFUSED:
            raise
        # A listed record, or the shared blob, no longer exists.
        repository.write_blob(EMPTY)
        known = label.records[: record is not None]
        repository.write_manifest(name, render_label(replace(label, records=known)), MANIFEST_TYPE)


def read_label(repository: Repository, tag: str) -> Label | None:
    """The label of a tag, or None."""
    name = name_label(tag)
    found = repository.read_manifest(name) if name is not None else None
    return parse_label(found.body) if found is not None else None


def copy_scope(repository: Repository, manifest: RemoteManifest, tag: str) -> None:
    """Give a cache in the repository another tag; no layer is copied."""
    repository.write_manifest(tag, manifest.body, manifest.media_type or MANIFEST_TYPE)


def join_scopes(repository: Repository, tag: str, digests: Iterable[str]) -> str:
    """Merge several caches under a tag, and return the digest of the result.

    Raises:
        StoreError: one is missing or not a cache, or the merged cache is too large.
    """
    caches = []
    for digest in digests:
        cache = _read_cache(repository, repository.read_manifest(digest))
        if cache is None:
            raise StoreError(f"`{digest}` is no longer a cache")
        caches.append(cache)
    return _write_merged(repository, tag, caches[0][0], merge_caches(caches)).digest


def keep_results(
    repository: Repository, tag: str, digest: str, before: RemoteManifest, *, executed: bool
) -> RemoteManifest | None:
    """Give a tag the results that its new manifest, of this digest, lost from an earlier one.

    Return the tag's manifest after that; None if the new one does not exist. If one of both is not
    in BuildKit's format, the new one stays as it is.
    """
    if digest == before.digest:
        return before
    written = repository.read_manifest(digest)
    cache, after = (_read_cache(repository, each) for each in (before, written))
    if cache is None or after is None:
        return written
    try:
        successor = choose_successor(cache, after, executed=executed)
    except StoreError:
        return written
    if successor.is_before:
        copy_scope(repository, before, tag)
        return before
    if successor.merged is not None:
        return _write_merged(repository, tag, after[0], successor.merged)
    return written


def add_results(
    repository: Repository, tag: str, digest: str, before: RemoteManifest | None
) -> RemoteManifest:
    """Give a tag all that an earlier manifest has, and what its new one, of this digest, adds.

    Without an earlier one, it gets what the new one has. If that fails, the tag is the earlier
    manifest again. A RegistryError or a StoreError says why.
    """
    try:
        written = repository.read_manifest(digest)
        cache, after = (_read_cache(repository, each) for each in (before, written))
        if (cache is None and before is not None) or after is None or written is None:
            raise StoreError("what the scope has is not a cache")  # noqa: TRY301  # as below
        united = unite_caches(cache, after)
        if united.merged is not None:
            return _write_merged(repository, tag, after[0], united.merged)
    except BaseException:
        if before is not None:
            copy_scope(repository, before, tag)
        raise
    if before is None:
        return written
    copy_scope(repository, before, tag)
    return before


def _read_cache(
    repository: Repository, found: RemoteManifest | None
) -> tuple[CacheManifest, bytes] | None:
    content = found.parse() if found is not None else None
    named = content.cache_config if content is not None else None
    config = repository.read_blob(named.digest) if named is not None else None
    return None if content is None or config is None else (content, config)


def _write_merged(
    repository: Repository, tag: str, first: CacheManifest, merged: Merged
) -> RemoteManifest:
    kind = first.media_type or MANIFEST_TYPE
    repository.write_with_config(tag, merged.manifest, kind, merged.config)
    return RemoteManifest(compute_digest(merged.manifest), kind, merged.manifest)


def list_scopes(repository: Repository) -> list[RemoteScope]:
    """Every scope that bxcache has written, sorted by tag."""
    tags = frozenset(repository.list_tags())
    labelled = filter(None, map(find_labelled, sorted(tags)))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda tag: _read_scope(repository, tag, tags), labelled)
        return [scope for scope in found if scope is not None]


def _read_scope(repository: Repository, tag: str, tags: Collection[str]) -> RemoteScope | None:
    label = read_label(repository, tag)
    if label is None:
        return None
    manifest = repository.read_manifest(tag)
    stages = tuple(name for part, _ in label.stages if (name := f"{tag}.{part}") in tags)
    if manifest is None or is_leaving(manifest.body):
        return RemoteScope(tag, label, {}, lost=True, stages=stages)
    content = manifest.parse() or manifest.parse_image()
    changed = "" if manifest.digest == label.digest else "another client has overwritten it"
    return RemoteScope(
        tag, label, dict(content.layer_sizes if content else {}), changed, stages=stages
    )


def measure_shared(scopes: Collection[RemoteScope]) -> dict[str, int]:
    """The size of the layers of each scope that another one of them needs, too, by tag."""
    uses = Counter(digest for scope in scopes for digest in scope.layers)
    return {
        scope.tag: sum(size for digest, size in scope.layers.items() if uses[digest] > 1)
        for scope in scopes
    }


def describe_scopes(scopes: Collection[RemoteScope]) -> list[dict[str, Any]]:
    """Describe all scopes of a repository."""
    shared = measure_shared(scopes)
    return [each.to_dict(shared[each.tag]) for each in scopes]


def find_own(repository: Repository, scope: RemoteScope) -> RemoteScope:
    """The scope with only the images that bxcache wrote.

    A tag that another client created or overwrote belongs to that client.
    """
    written = {f"{scope.tag}.{part}": digest for part, digest in scope.label.stages}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = zip(scope.stages, pool.map(repository.read_manifest, scope.stages), strict=True)
        own = tuple(
            name
            for name, each in found
            if each is not None and (each.digest == written[name] or is_leaving(each.body))
        )
    return replace(scope, stages=own)


def read_digests(repository: Repository, tags: Iterable[str]) -> set[str]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {digest for digest in pool.map(repository.read_digest, tags) if digest}


def remove_scope(repository: Repository, scope: RemoteScope, shared: Collection[str]) -> None:
    """Remove the images of a scope's stages, then its tag, then its label.

    Deleting a manifest deletes all its tags. So a manifest that another tag needs is kept, and only
    the tag is deleted: directly if the registry supports that, otherwise by first overwriting it.
    The tags to keep have the digests `shared`.
    """
    for stage in scope.stages:
        digest = repository.read_digest(stage)
        if digest:
            _remove_tag(repository, stage, digest, shared)
    if scope.lost:
        _finish_leaving(repository, scope.tag)
    else:
        _remove_tag(repository, scope.tag, scope.label.digest, shared)
    name = name_label(scope.tag)
    written = repository.read_manifest(name) if name is not None else None
    # Keep a label that a build has written since.
    if name is not None and written is not None and parse_label(written.body) == scope.label:
        _remove_tag(repository, name, written.digest, shared)


def _remove_tag(repository: Repository, tag: str, digest: str, shared: Collection[str]) -> None:
    if digest not in shared:
        repository.delete_manifest(digest)
    elif not repository.delete_tag(tag):
        # A unique manifest, so deleting it deletes only this tag.
        repository.write_manifest(tag, render_leaving(), MANIFEST_TYPE)
        _finish_leaving(repository, tag)


def _finish_leaving(repository: Repository, tag: str) -> None:
    found = repository.read_manifest(tag)
    if found is not None and is_leaving(found.body):
        repository.delete_manifest(found.digest)
