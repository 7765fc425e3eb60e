"""A store: its operations, from snapshots and commits to collection and repair."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from msgspec.structs import replace

from bxcache.config.wording import name_call
from bxcache.errors import StoreError
from bxcache.oci.documents import Descriptor, Index
from bxcache.store.catalog import Catalog, check_known
from bxcache.store.directory import LOSS_WARNING, Adopted, Directory, read_foreign_index
from bxcache.store.identity import identify_scopes
from bxcache.store.inventory import Usage, measure_usage, read_inventory
from bxcache.store.journal import Work
from bxcache.store.layout import read_manifest
from bxcache.store.locks import hold_lock
from bxcache.store.staging import (
    Saved,
    Staging,
    add_results,
    create_staging,
    cut_unsound,
    draw_name,
    keep_results,
    link_blobs,
    read_export,
    renew_scope,
    sweep_staging,
    take_export,
)
from bxcache.store.verification import (
    Verification,
    confirm,
    find_broken,
    find_spoiled,
    is_whole,
    list_donors,
    repair_scope,
    verify_scopes,
    verify_store,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from bxcache.store.collection import Collected
    from bxcache.store.packing import Packed, Unpacked

logger = logging.getLogger("bxcache.store")


class Store:
    """A local store at a directory. Creating the object does not access the disk.

    Any number of processes can use a store at once. The lock is held only during changes, never
    while a build runs. Operations raise a StoreError if the directory cannot be used, if its
    index is damaged and the journal is empty, or if a file cannot be read or changed.

    Example:
        >>> store = Store("/var/cache/app")  # doctest: +SKIP
        >>> store.collect(max_size=5_000_000_000).freed_bytes  # doctest: +SKIP
        1200000000
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Take the directory of a store, which need not exist."""
        self.path = Path(path)
        self._has_warned = False

    def _open(self) -> Catalog:
        """The store's current state; its folders are closed when it is garbage-collected."""
        return Catalog(Directory(self.path))

    def check(self) -> None:
        """Check that the directory is a store, or can become one, without writing to it."""
        self._check(adopting=False)

    def _check(self, *, adopting: bool) -> None:
        directory = Directory(self.path)
        directory.check(adopting=adopting)
        self._warn_of_loss(directory)

    def _warn_of_loss(self, directory: Directory) -> None:
        if directory.lacks_own_folder and not self._has_warned:
            self._has_warned = True
            logger.warning(LOSS_WARNING, self.path)

    def find_denied(self) -> str | None:
        """Why an existing store is not writable, or None."""
        return Directory(self.path).find_denied()

    def find_whole(self, scopes: Iterable[str]) -> Descriptor | None:
        """The first of the scopes that exists with all its blobs, without changing the store."""
        with self._reading() as catalog:
            known, layout = catalog.read().by_name(), catalog.layout
            entries = (known[name] for name in scopes if name in known)
            return next((each for each in entries if is_whole(layout, each)), None)

    def exists(self) -> bool:
        """Whether the directory is a store."""
        return Directory(self.path).is_store

    def read_scopes(self) -> dict[str, Descriptor]:
        """The manifest of each scope, by scope name."""
        with self._reading() as catalog:
            return catalog.read().by_name()

    def staging_path(self, name: str) -> Path:
        """The path of a staging layout, which need not exist."""
        return Directory(self.path).staging.path / name

    @contextmanager
    def snapshot(
        self, name: str, donors: Iterable[str] = (), *, every: bool = False
    ) -> Iterator[Staging]:
        """Create a staging layout with a scope's live set, and remove it at the end of the block.

        First, broken layers are cut out of that scope in the store. The first usable donor is
        imported, or all if `every`; the name is from `draw_name`.
        """
        with self._changing("starting a build") as catalog:
            directory = catalog.directory
            directory.sweep()
            swept = sweep_staging(directory.staging)
            found = list_donors(catalog, catalog.recover(), donors)
            chosen = list(found if every else islice(found, 1))
            staging = create_staging(directory.staging, catalog.layout, name, chosen)
        try:
            yield replace(staging, notes=tuple(catalog.notes), swept=swept)
        finally:
            staging.remove()

    def commit(  # noqa: PLR0913  # each describes the export
        self,
        staging: Staging,
        scope: str,
        digest: str | None,
        work: Work | None = None,
        *,
        others: Sequence[str] = (),
        suspect: bool = False,
        sound: AbstractSet[str] | None = None,
        executed: bool = True,
        adds: bool = False,
    ) -> Saved:
        """Save an export in a staging layout as the scope's content, all or nothing.

        Args:
            digest: the manifest that BuildKit reported. In a build with several exports, the
                layout's index can have another one's digest, so this one takes precedence.
            work: the build's work, which determines the value of layers.
            others: the manifests that the builder's other nodes wrote for the same scope.
            suspect: a part of the donor failed to load.
            sound: the only layers to save; layers above others are left out with them.
            executed: whether the build executed a step.
            adds: add the export to what the scope has, or to the donor if it has nothing yet.

        Raises:
            StoreError: nothing was exported, the export is incomplete, or the donor is damaged.
        """
        layout = staging.layout
        entry, manifest = read_export(layout, scope, digest, others)
        for donor in staging.donors:
            spoiled = find_spoiled(layout, donor, manifest, suspect=suspect)
            if spoiled:
                notes = self.repair(full=True, scopes=[donor.ref_name]) or spoiled
                raise StoreError(f"the imported cache is damaged: {'; '.join(notes)}")
        for donor in () if adds else staging.donors:
            entry, manifest = keep_results(layout, donor, entry, manifest, executed=executed)
        entry, manifest = cut_unsound(layout, entry, manifest, sound)
        with self._changing(f"saving the scope `{scope}`") as catalog:
            if adds:
                entry, manifest = add_results(catalog, staging, entry, manifest)
            return take_export(catalog, staging, entry, manifest, work or Work())

    def read_state(self, scope: str) -> str:
        """What a scope's last build was built from, as in `Work`; empty if unknown."""
        with self._reading() as catalog:
            entry = catalog.read().find(scope)
            page = catalog.journal.read(entry) if entry is not None else None
        return page.state if page is not None else ""

    def renew(self, scope: str, digest: str, state: str) -> Saved | None:
        """Mark a scope as used by a build that has nothing new; None if it is another one now."""
        with self._changing(f"renewing the scope `{scope}`") as catalog:
            return renew_scope(catalog, scope, digest, state)

    def read_records(self, scope: str) -> tuple[bytes, ...]:
        """The records of a scope's builds, the last one's at the end."""
        with self._reading() as catalog:
            return catalog.records.read(scope)

    def read_last_records(self, scopes: Iterable[str]) -> dict[str, bytes]:
        """The record of the last build of each of these scopes that has any."""
        with self._reading() as catalog:
            found = ((scope, catalog.records.read(scope)) for scope in scopes)
            return {scope: records[-1] for scope, records in found if records}

    def list_last_builds(self, scopes: Iterable[str]) -> dict[str, float]:
        """When each of these scopes was last built, in seconds since 1970, if it has records."""
        with self._reading() as catalog:
            return catalog.records.list_last_builds(scopes)

    def add_record(self, scope: str, record: bytes) -> None:
        """Keep a build's record, one line; the scope need not have a cache yet.

        A record that is too large is a StoreError.
        """
        with self._changing(f"recording a build of `{scope}`") as catalog:
            catalog.records.add(scope, [record])

    def remove(self, *scopes: str) -> None:
        """Remove scopes; the next collection removes their layers.

        If one does not exist, it raises a StoreError and removes none.
        """
        with self._changing("removing scopes") as catalog:
            check_known(catalog.recover(), scopes)
            removed = dict.fromkeys(scopes)
            catalog.directory.with_room(lambda: catalog.change(catalog.recover(), removed))

    def adopt(self) -> Adopted:
        """Turn a directory that plain buildx exported to into a store, in place.

        If it cannot be adopted, it raises a StoreError and changes nothing.
        """
        self._check(adopting=True)
        with self._reading() as catalog:
            index = read_foreign_index(catalog.layout)
        with self._changing("adopting the directory") as catalog:
            catalog.layout.remove_ingest()
            catalog.reconcile(index)
        notes = self.repair()
        usage = self.usage()
        names = tuple(scope.name for scope in usage.scopes)
        return Adopted(names, notes, usage.dead_bytes, self.path)

    def pack(self, target: BinaryIO, scopes: Sequence[str] = ()) -> Packed:
        """Write the store, or some of its scopes, as one `tar.zst` archive.

        The same content gives the same bytes: the archive has only the day of a scope's last use.
        Concurrent builds and collections do not affect it. An unknown or broken scope is a
        StoreError, an archive that cannot be written an OSError.
        """
        from bxcache.store.packing import write_pack  # noqa: PLC0415  # no build needs it

        with self.snapshot(draw_name()) as staging:
            index = self._pin(staging, scopes)
            return write_pack(target, staging.layout, index, self._open())

    def _pin(self, staging: Staging, scopes: Sequence[str]) -> Index:
        """Link scopes into a staging layout, so that nothing can remove their blobs."""
        with self._changing("packing") as catalog:
            index = catalog.recover()
            check_known(index, scopes)
            chosen = [each for each in index.manifests if not scopes or each.ref_name in scopes]
            for entry in chosen:
                manifest = read_manifest(catalog.layout, entry)
                for why in find_broken(catalog.layout, manifest).values():
                    raise StoreError(
                        f"the scope `{entry.ref_name}` is broken: {why}",
                        hint=f"`{name_call('store repair')}` cuts it out; a build saves it again",
                    )
                link_blobs(catalog.layout, staging.layout, manifest.list_sizes(entry))
        return Index().with_entries({each.ref_name: each for each in chosen})

    def unpack(self, source: BinaryIO) -> Unpacked:
        """Take the scopes of an archive into the store, all or nothing, checking every digest.

        The archive is read once. A scope that the store has in a later version is unchanged. What
        is not a packed store, or is damaged or unreadable, is a StoreError.
        """
        from bxcache.store.packing import Unpacked, Unpacking  # noqa: PLC0415  # no build needs it

        self.check()
        with self.snapshot(draw_name()) as staging:
            unpacking = Unpacking(staging.layout)
            with _naming_store(self.path, "filled"):
                packed = unpacking.read(source)
            with self._changing("unpacking") as catalog:
                index = catalog.recover()
                new = link_blobs(unpacking.layout, catalog.layout, unpacking.sizes)
                catalog.layout.blobs.sync()
                changes = unpacking.list_changes(index, catalog)
                catalog.change(index, changes)
                for scope in changes.keys() & unpacking.records.keys():
                    catalog.records.add(scope, unpacking.records[scope])
        names = tuple(each.ref_name for each in packed.manifests)
        kept = tuple(name for name in names if name not in changes)
        new_bytes = sum(unpacking.sizes[each] for each in new)
        return Unpacked(tuple(changes), kept, new_bytes, self.path)

    def usage(self, *, identify: bool = True) -> Usage:
        """Measure the store and its scopes.

        Args:
            identify: also find whose each scope is, for which a few records are read.
        """
        with self._reading() as catalog:
            usage = measure_usage(read_inventory(catalog.read(), catalog), catalog)
        if not identify:
            return usage
        known = identify_scopes((each.name for each in usage.scopes), self.read_last_records)
        scopes = (replace(each, scope=known[each.name]) for each in usage.scopes)
        return replace(usage, scopes=tuple(scopes))

    def collect(
        self,
        *,
        max_size: int | None = None,
        max_age: int | None = None,
        unwanted: Collection[str] = (),
        dry_run: bool = False,
    ) -> Collected:
        """Remove unused blobs, scopes that are too old, and layers beyond the maximum size.

        The size is in bytes, the age in seconds since the last use. A dry run changes nothing.
        Unwanted scopes are removed, too; if one does not exist, it is a StoreError, and nothing is.
        """
        from bxcache.store.collection import Collector, Limits  # noqa: PLC0415  # after the build

        limits = Limits(max_size, max_age)
        if dry_run:
            with self._reading() as catalog:
                preview = Collector(catalog, catalog.read(), limits, unwanted).preview()
                return replace(preview, dry_run=True)
        with self._changing("collecting") as catalog:
            catalog.directory.sweep()
            sweep_staging(catalog.directory.staging)
            return catalog.directory.with_room(
                lambda: Collector(catalog, catalog.recover(), limits, unwanted).collect()
            )

    def verify(self, *, full: bool = False) -> Verification:
        """Look for damage, with `full` by hashing every blob; the store does not change."""
        with self._reading() as catalog:
            return verify_store(catalog, full=full)

    def repair(self, *, full: bool = False, scopes: Sequence[str] = ()) -> tuple[str, ...]:
        """Cut out broken layers, so that a build misses them instead of failing.

        A damaged index is rebuilt from the journal, or set aside if the journal is empty. With
        `full`, every blob is hashed, on all cores. By default, all scopes are checked. Returns what
        was repaired, for people.
        """
        with self._changing("repairing the index") as catalog:
            index = catalog.recover_or_set_aside()
        chosen = [each for each in index.manifests if not scopes or each.ref_name in scopes]
        notes = catalog.notes
        with self._reading() as catalog:
            checked = index.model_copy(update={"manifests": tuple(chosen)})
            found = verify_scopes(catalog.layout, checked, full=full)
        if found.damages:
            with self._changing("cutting out broken layers") as catalog:
                index = catalog.recover()
                broken = confirm(catalog.layout, index, found).broken
                for entry in index.manifests:
                    index, _ = repair_scope(catalog, index, entry, broken)
            notes += catalog.notes
        return tuple(notes)

    @contextmanager
    def _reading(self) -> Iterator[Catalog]:
        with _naming_store(self.path, "read"):
            yield self._open()

    @contextmanager
    def _changing(self, purpose: str) -> Iterator[Catalog]:
        """Hold the store's lock; create the directory if needed."""
        with _naming_store(self.path, "changed"):
            directory = Directory(self.path)
            self._warn_of_loss(directory)
            directory.make()
            with hold_lock(directory.own, purpose):
                directory.mark()
                yield Catalog(directory)


@contextmanager
def _naming_store(path: Path, what: str) -> Iterator[None]:
    """Turn an OSError into a StoreError that names the store."""
    try:
        yield
    except OSError as error:
        where = f": `{error.filename}`" if error.filename not in (None, str(path)) else ""
        raise StoreError(
            f"the store `{path}` cannot be {what}: {error.strerror or error}{where}",
            hint="free some space or check the directory's permissions",
        ) from error
