"""An external backend: a folder that plain docker writes, in one file and one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from msgspec.structs import replace

from bxcache.backends.base import (
    EXPORT,
    IMPORT,
    Backend,
    Built,
    CacheUse,
    Candidate,
    KeptRecord,
    Save,
    SavedScope,
    SavePlan,
    Sight,
    Wish,
)
from bxcache.backends.declared import register
from bxcache.backends.holders import DirectoryHolder
from bxcache.config.declaration import Declaration
from bxcache.config.trust import HARMLESS, PATH
from bxcache.place.scope import Scope
from bxcache.store.layout import Layout, read_index
from bxcache.store.store import Store


class ToySettings(Declaration):
    """The settings of the backend."""

    type: Annotated[Literal["toy"], HARMLESS]

    folder: Annotated[str, PATH]
    """Where it is."""


class ToyBackend(Backend):
    """A folder that plain buildx exports to, with one tag per scope."""

    kind = "toy"
    is_remote = False
    import_mark = " from local:"

    settings: ToySettings

    def find_place(self, scope: str) -> str:  # noqa: ARG002  # it has them all
        """Return the folder."""
        return self.settings.folder

    def name_cache(self, scope: str) -> str:
        """Return the tag in the folder."""
        return f"the toy `{scope}` of {self.settings.folder}"

    def _read_digests(self) -> dict[str, str]:
        try:
            entries = read_index(Layout.at(Path(self.settings.folder))).by_name()
        except FileNotFoundError:
            return {}
        return {name: entry.digest for name, entry in entries.items()}

    def look(self, candidates: Sequence[Candidate]) -> None:
        """Do nothing: the folder is read when a candidate is judged."""

    def judge(self, candidate: Candidate) -> Sight:
        """Return whether the folder has the candidate's tag."""
        there = candidate.scope in self._read_digests()
        return Sight(there, "the toy is there" if there else "the toy is away")

    def import_flag(self, candidate: Candidate) -> CacheUse:
        """Return the flag that imports a tag."""
        digest = self._read_digests()[candidate.scope]
        attributes = (("type", "local"), ("src", self.settings.folder), ("digest", digest))
        return CacheUse(
            IMPORT, self, self.settings.folder, candidate.scope, attributes, "play with it"
        )

    def plan_save(self, wish: Wish, imports: Sequence[CacheUse]) -> SavePlan:  # noqa: ARG002
        """Plan the build's export to the folder."""
        folder, name = self.settings.folder, wish.scope.name
        attributes = (("type", "local"), ("dest", folder), ("tag", name), ("mode", "max"))
        return SavePlan((Save(CacheUse(EXPORT, self, folder, name, attributes, "put it back")),))

    def save(self, save: Save, built: Built) -> SavedScope:
        """Return the result of the build's export."""
        digest = next((each.digest for each in built.transfers if each.digest), None)
        return SavedScope(replace(save.use.result, digest=digest, exported=digest is not None))

    def keep_record(
        self, scope: Scope, record: bytes, key: str, saved: SavedScope | None
    ) -> KeptRecord:
        """Keep a record as a store does."""
        del key
        store = Store(Path(self.settings.folder))
        if not store.exists():
            store.adopt()
        store.add_record(scope.name, record)
        return KeptRecord(is_kept=True, saved=saved)

    def open_holder(self) -> DirectoryHolder:
        """Return the reader of the folder."""
        return DirectoryHolder(Path(self.settings.folder))


if __name__ == "__main__":
    from bxcache.cli.main import main

    register(ToySettings, ToyBackend)
    sys.exit(main())
