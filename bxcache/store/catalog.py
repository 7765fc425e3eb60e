"""A store's index, its journal and the records of its builds, read and changed together.

A change writes new pages, then the index, then removes old pages. Interrupted anywhere, it leaves
the old index or the new one, and the journal can rebuild either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.config.quantities import format_count
from bxcache.errors import StoreError
from bxcache.oci.documents import INDEX_NAME, Descriptor, Index
from bxcache.store.directory import DAMAGED_NAME, Directory
from bxcache.store.journal import Journal, Page, Records, is_ahead, name_page
from bxcache.store.layout import read_index, write_index

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Change(Struct, frozen=True):
    """A scope's new page, with the new entry, and when the scope was last used."""

    page: Page
    last_used: float | None = None


class Catalog:
    """The index, the journal and the records of a store.

    It holds open folders, so each operation creates its own. Whoever changes it holds the store's
    lock. A damaged index raises a StoreError if the journal is empty. `notes` describe the repairs
    that were made, for people.
    """

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.layout = directory.layout
        self.journal = Journal(directory.scopes)
        self.records = Records(directory.records)
        self.notes: list[str] = []

    def read(self) -> Index:
        """The index; if damaged, one rebuilt from the journal in memory."""
        return self._read()[0]

    def _read(self) -> tuple[Index, str | None]:
        """The index, and what is wrong with its file."""
        try:
            return read_index(self.layout), None
        except FileNotFoundError:
            rebuilt = self.journal.rebuild_index(self.layout)
            missing = f"the store `{self.layout.path}` had no {INDEX_NAME}"
            return (rebuilt, missing) if rebuilt.manifests else (Index(), None)
        except StoreError as error:
            rebuilt = self.journal.rebuild_index(self.layout)
            if not rebuilt.manifests:
                raise
            return rebuilt, error.message

    def recover(self) -> Index:
        """The index, repaired if needed; a damaged file is kept beside the new one."""
        index, damage = self._read()
        if damage:
            kept = f"; the damaged file is kept as `{DAMAGED_NAME}`" if self._keep_damaged() else ""
            write_index(self.layout, index)
            count = len(index.manifests)
            back = f"{format_count(count, 'scope')} {'is' if count == 1 else 'are'} back"
            self.notes.append(f"{damage}; {back} from the journal{kept}")
        return index

    def recover_or_set_aside(self) -> Index:
        """The index, repaired if needed; one beyond repair is set aside for an empty one."""
        try:
            return self.recover()
        except StoreError as error:
            self._keep_damaged()
            write_index(self.layout, Index().with_entries({}))
            self.notes.append(f"{error.message}; it was set aside, and the store is now empty")
            return self.read()

    def _keep_damaged(self) -> bool:
        """Rename the index, if there is one; return whether there was."""
        root = self.layout.root
        if root.look(INDEX_NAME) is None:
            return False
        root.remove(DAMAGED_NAME)
        root.rename(INDEX_NAME, DAMAGED_NAME)
        return True

    def change(self, index: Index, changes: Mapping[str, Change | None]) -> Index:
        """Change scopes, or remove those with None; after an OSError the index is old or new."""
        entries: dict[str, Descriptor | None] = {}
        for name, change in changes.items():
            entries[name] = change.page.manifest if change else None
            if change:
                self.journal.write(change.page, change.last_used)
        changed = index.with_entries(entries)
        if changed.manifests != index.manifests:
            write_index(self.layout, changed)
        before = index.by_name()
        for name, entry in entries.items():
            old = before.get(name)
            if old is not None and (entry is None or entry.digest != old.digest):
                self.journal.remove(name_page(old))
            if entry is None:
                self.records.remove(name)
        return changed

    def reconcile(self, index: Index) -> None:
        """Leave exactly one page for each scope."""
        strays = self.journal.list_files()
        files = [strays.pop(name_page(entry), None) for entry in index.manifests]
        for name in strays:
            self.journal.remove(name)
        for entry, file in zip(index.manifests, files, strict=True):
            # A power cut can leave an empty file.
            if file is None or not file.st_size:
                self.journal.write(Page(scope=entry.ref_name, manifest=entry))
            elif is_ahead(file.st_mtime):
                self.journal.touch(entry)
        self.records.sweep(index.by_name())


def check_known(index: Index, scopes: Iterable[str]) -> None:
    """Raise a StoreError if an index lacks one of these scopes; the hint lists those it has."""
    known = index.by_name()
    unknown = [scope for scope in scopes if scope not in known]
    if unknown:
        names = ", ".join(f"`{name}`" for name in known) or "no scopes"
        raise StoreError(f"the store has no scope `{unknown[0]}`", hint=f"it has {names}")
