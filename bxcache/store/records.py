"""What a store remembers of each scope, one small file beside the layout for each.

::

    DIR/.bxcache/scopes/NAME@DIGEST.json

`NAME` is the scope, shortened where it is long or odd, `DIGEST` the beginning of its manifest's
digest: so the names alone tell which records are those of the index. The file's modification time
is when the scope was last used. Together the records are the store's journal: the index can be
made anew from them.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from bxcache.errors import StoreError
from bxcache.store.documents import Descriptor, Index
from bxcache.store.files import read_bounded, write_atomically
from bxcache.store.layout import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
LARGEST_RECORD = 4 << 20


@dataclass(frozen=True, slots=True)
class Work:
    """What a build did for the layers it saves.

    Attributes:
        steps: how many steps the build has.
        seconds: what each layer's steps took, by digest, for those that were executed.
    """

    steps: int = 0
    seconds: Mapping[str, float] | None = None


class Record(BaseModel):
    """A scope's record. Keys of later versions are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True)

    version: Literal[1] = 1
    scope: str
    manifest: Descriptor
    """The scope's entry in the index."""

    saved: float = 0.0
    """When it was saved, in seconds since the epoch."""

    steps: Annotated[int, Field(ge=0)] = 0
    """How many steps the build has that saved it; 0 if unknown."""

    seconds: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    """What each layer's steps took when they were executed, by the layer's digest."""

    def to_json(self) -> bytes:
        """The record as its file has it."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"

    def renewed(self, entry: Descriptor) -> Record:
        """The record of the same scope with fewer layers.

        What the others took is kept: an engine that still has them brings them back unexecuted.
        """
        return self.model_copy(update={"manifest": entry})


def make_record(
    scope: str, entry: Descriptor, layers: Iterable[str], work: Work, before: Sequence[Record]
) -> Record:
    """The record of a build. What a reused layer once took is taken from earlier records.

    A scope that did not change was saved when it was saved first.
    """
    known: dict[str, float] = {}
    saved = float(round(time.time()))
    for record in before:
        known |= record.seconds
        if record.scope == scope and record.manifest.digest == entry.digest:
            saved = record.saved
    for digest, seconds in (work.seconds or {}).items():
        # Several steps can make one layer, and this build may have executed the least of them.
        known[digest] = max(seconds, known.get(digest, 0.0))
    took = {digest: round(known[digest], 3) for digest in layers if digest in known}
    return Record(scope=scope, manifest=entry, saved=saved, steps=work.steps, seconds=took)


def name_record(scope: str, digest: str) -> str:
    """The name of a record's file."""
    name = scope
    if not _PLAIN_NAME.fullmatch(scope):
        plain = re.sub(r"[^A-Za-z0-9._-]", "-", scope)[:40].lstrip(".-")
        name = f"{plain}+{hashlib.sha256(scope.encode()).hexdigest()[:16]}"
    return f"{name}@{digest.partition(':')[2][:12]}.json"


class _Head(BaseModel):
    """What is shown of a record, which may know of thousands of layers."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal[1] = 1
    saved: float = 0.0
    steps: Annotated[int, Field(ge=0)] = 0


class Records:
    """The records of a store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, entry: Descriptor) -> Path:
        """Where the record of an entry of the index lies."""
        return self._folder / name_record(entry.ref_name, entry.digest)

    def read(self, entry: Descriptor) -> Record | None:
        """The record of an entry; None where there is none that can be read."""
        return _read_record(self.path(entry))

    def read_head(self, entry: Descriptor) -> tuple[int, float]:
        """The steps and the time of saving of an entry; 0 where they are not known."""
        try:
            head = _Head.model_validate_json(read_bounded(self.path(entry), LARGEST_RECORD))
        except (OSError, ValueError):
            return 0, 0.0
        return head.steps, head.saved

    def write(self, record: Record, last_used: float | None = None) -> None:
        """Write a record; its scope was last used at `last_used`, or now."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self.path(record.manifest)
        # What it says can be lost in a power cut; the index cannot.
        write_atomically(path, record.to_json(), durable=False)
        if last_used is not None:
            os.utime(path, (last_used, last_used))

    def find_last_use(self, entry: Descriptor) -> float | None:
        """When a scope was last used, in seconds since the epoch; None if unknown."""
        try:
            return self.path(entry).lstat().st_mtime
        except FileNotFoundError:
            return None

    def touch(self, entry: Descriptor) -> None:
        """Note that a scope is used now."""
        try:
            os.utime(self.path(entry))
        except FileNotFoundError:
            self.write(Record(scope=entry.ref_name, manifest=entry))

    def remove(self, entry: Descriptor) -> None:
        """Forget an entry."""
        self.remove_file(self.path(entry).name)

    def remove_file(self, name: str) -> None:
        """Remove one of the files."""
        (self._folder / name).unlink(missing_ok=True)

    def list_files(self) -> dict[str, os.stat_result]:
        """The files there are, by name."""
        try:
            return {
                each.name: each.stat(follow_symlinks=False) for each in os.scandir(self._folder)
            }
        except FileNotFoundError:
            return {}

    def rebuild_index(self, layout: Path) -> Index:
        """An index of all scopes that have a record and whose manifests are there.

        Where a scope has two records, a change was cut off; the newer one holds.
        """
        files = self.list_files()
        found: dict[str, Descriptor] = {}
        for name in sorted(files, key=lambda each: files[each].st_mtime):
            record = _read_record(self._folder / name)
            if record is None:
                continue
            try:
                read_manifest(layout, record.manifest)
            except StoreError:
                continue
            found[record.scope] = record.manifest.named(record.scope)
        return Index().with_entries(dict(found))


def _read_record(path: Path) -> Record | None:
    try:
        return parse_record(read_bounded(path, LARGEST_RECORD))
    except (OSError, ValueError):
        return None


def parse_record(data: bytes) -> Record | None:
    """A record from its bytes; None where they are none, or one of a later version."""
    try:
        return Record.model_validate_json(data)
    except ValueError:
        return None
