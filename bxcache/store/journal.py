"""The journal of a store, with one page per scope, and the records of each scope's builds.

::

    DIR/.bxcache/scopes/NAME@DIGEST.json
    DIR/.bxcache/records/NAME.jsonl     one JSON document per line, the last build's at the end

`NAME` is the scope, shortened if it is long or unusual, `DIGEST` the start of its manifest's
digest, so file names alone show which pages belong to the index. A page's modification time is
the scope's last use. The index can be rebuilt from the pages. Records are opaque lines;
`schemas/bxcache-record.schema.json` describes one.
"""

from __future__ import annotations

import hashlib
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

from bxcache.config.quantities import WrittenMoment, WrittenSeconds, WrittenSize, format_size
from bxcache.errors import StoreError
from bxcache.oci.documents import MOST_RECORDS, Descriptor, Index
from bxcache.store.layout import Layout, read_manifest

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from bxcache.store.folders import Folder

_PAGE_NAME = re.compile(r"[^/]+@[0-9a-f]{12}\.json")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
LARGEST_FILE = 4 << 20
"""The maximum size of a page, and of a scope's records together, in bytes."""
LARGEST_RECORD = 2_000_000
"""The maximum size of one record, which leaves room for another to compare it with."""
_SUFFIX = ".jsonl"
_STRAYS_STAY = 30 * 86_400
"""How long to keep records of a scope without a cache (its builds failed), in seconds."""
_MOST_AHEAD = 3600
"""The tolerated difference between two machines' clocks, in seconds."""


class Work(Struct, frozen=True):
    """The work behind the layers that a build saves.

    Attributes:
        steps: how many steps the build has.
        seconds: how long each layer's steps took, by digest, for executed steps; 0 for the layers
            of base images, which no step creates.
        state: a guess of what was built, equal for equal files; empty if unknown.
    """

    steps: int = 0
    seconds: Mapping[str, float] | None = None
    state: str = ""


class Page(BaseModel):
    """A scope's page. Keys of later versions are kept.

    Attributes:
        manifest: the scope's entry in the index.
        saved: when it was saved, in seconds since the epoch; 0 if unknown.
        steps: as in `Work`; 0 if unknown.
        seconds: as in `Work`, also from earlier builds; unknown for layers that are not listed.
        state: as in `Work`.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    version: Literal[1] = 1
    scope: str
    manifest: Descriptor
    saved: WrittenMoment = 0.0
    steps: WrittenSize = 0
    seconds: dict[str, WrittenSeconds] = Field(default_factory=dict)
    state: str = ""

    def to_json(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"

    def renewed(self, entry: Descriptor) -> Page:
        """The scope's page for a manifest with fewer layers.

        It keeps the times of lost layers: an engine that still has one can restore it unexecuted.
        """
        return self.model_copy(update={"manifest": entry, "state": ""})


def make_page(
    scope: str, entry: Descriptor, layers: Iterable[str], work: Work, before: Sequence[Page]
) -> Page:
    """The page of a build's scope. The times of reused layers come from earlier pages.

    An unchanged scope keeps the time when it was first saved.
    """
    known: dict[str, float] = {}
    saved = float(round(time.time()))
    for page in before:
        known |= page.seconds
        if page.scope == scope and page.manifest.digest == entry.digest:
            saved = page.saved
    for digest, seconds in (work.seconds or {}).items():
        # Several steps can create one layer, and this build may have executed only the shortest.
        known[digest] = max(seconds, known.get(digest, 0.0))
    took = {digest: round(known[digest], 3) for digest in layers if digest in known}
    return Page(
        scope=scope,
        manifest=entry,
        saved=saved,
        steps=work.steps,
        seconds=took,
        state=work.state,
    )


def spell_scope(scope: str) -> str:
    """A scope's name for use in a file name: shortened if it is long or unusual."""
    if _PLAIN_NAME.fullmatch(scope):
        return scope
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", scope)[:40].lstrip(".-")
    return f"{plain}+{hashlib.sha256(scope.encode()).hexdigest()[:16]}"


def name_page(entry: Descriptor) -> str:
    return f"{spell_scope(entry.ref_name)}@{entry.digest[7:19]}.json"


class _Head(BaseModel):
    """The first fields of a page, which can list thousands of layers."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal[1] = 1
    saved: WrittenMoment = 0.0
    steps: WrittenSize = 0


class Journal:
    """The journal of a store."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def read(self, entry: Descriptor) -> Page | None:
        """The page of an entry; None if it is missing or unreadable."""
        return parse_page(self._read(name_page(entry)))

    def read_head(self, entry: Descriptor) -> tuple[int, float]:
        """An entry's number of steps and time of saving; 0 if unknown."""
        try:
            head = _Head.model_validate_json(self._read(name_page(entry)))
        except ValueError:
            return 0, 0.0
        return head.steps, head.saved

    def read_or_make(self, entry: Descriptor) -> Page:
        """The page of an entry, or one that only names it."""
        return self.read(entry) or Page(scope=entry.ref_name, manifest=entry)

    def _read(self, name: str) -> bytes:
        with suppress(OSError, StoreError):
            return self._folder.read(name, LARGEST_FILE)
        return b""

    def write(self, page: Page, last_used: float | None = None) -> None:
        """Write a page; `last_used` defaults to now."""
        name = name_page(page.manifest.named(page.scope))
        # A power cut may lose a page, but not the index.
        self._folder.make().write(name, page.to_json(), durable=False)
        if last_used is not None:
            with suppress(OSError):
                self._folder.touch(name, last_used)

    def find_last_use(self, entry: Descriptor) -> float | None:
        """When a scope was last used, in seconds since the epoch; None if unknown."""
        status = self._folder.look(name_page(entry))
        return status.st_mtime if status is not None else None

    def touch(self, entry: Descriptor) -> None:
        try:
            self._folder.touch(name_page(entry))
        except OSError:
            # It is missing, or belongs to another user.
            with suppress(OSError):
                self.write(self.read_or_make(entry))

    def remove(self, name: str) -> None:
        self._folder.remove(name)

    def list_files(self) -> dict[str, os.stat_result]:
        files = self._folder.list_files()
        return {name: status for name, status in files.items() if _PAGE_NAME.fullmatch(name)}

    def rebuild_index(self, layout: Layout) -> Index:
        """An index of all scopes that have a page and a manifest.

        If a change was interrupted, a scope has two pages; the newer one counts.
        """
        files = self.list_files()
        found: dict[str, Descriptor | None] = {}
        for name in sorted(files, key=lambda each: files[each].st_mtime):
            page = parse_page(self._read(name))
            if page is not None:
                with suppress(StoreError):
                    read_manifest(layout, page.manifest)
                    found[page.scope] = page.manifest.named(page.scope)
        return Index().with_entries(found)


def is_ahead(when: float) -> bool:
    """Whether a wrong clock set a time, which must not count as the latest forever."""
    return when > time.time() + _MOST_AHEAD


def parse_page(data: bytes) -> Page | None:
    """Parse a page; None if it is not a page, or one of a later version."""
    with suppress(ValueError):
        return Page.model_validate_json(data)
    return None


class Records:
    """The records of a store. A caller that changes them holds the store's lock."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def read(self, scope: str) -> tuple[bytes, ...]:
        """The records of a scope, the last build's at the end; empty if they cannot be read."""
        with suppress(OSError, StoreError):
            return split_records(self._folder.read(name_file(scope), LARGEST_FILE))
        return ()

    def add(self, scope: str, records: Iterable[bytes]) -> None:
        """Add records of later builds, and drop the oldest beyond the limits.

        If a record is too large, it raises a StoreError, and the file is unchanged.
        """
        added = tuple(records)
        if any(len(each) > LARGEST_FILE for each in added):
            raise StoreError(
                f"the build record is larger than {format_size(LARGEST_FILE)}",
                hint="a build with fewer steps has a smaller record; the cache works without it",
            )
        kept = [each for each in self.read(scope) if each not in added]
        lines = [*kept, *added][-MOST_RECORDS:]
        while sum(map(len, lines)) > LARGEST_FILE:
            del lines[0]
        # The cache works without records, so do not wait for the disk.
        self._folder.make().write(name_file(scope), b"".join(lines), durable=False)

    def list_last_builds(self, scopes: Iterable[str]) -> dict[str, float]:
        """When each of these scopes was last built, if it has records."""
        files = self.list_files()
        names = {scope: name_file(scope) for scope in scopes}
        return {scope: files[name].st_mtime for scope, name in names.items() if name in files}

    def remove(self, scope: str) -> None:
        self._folder.remove(name_file(scope))

    def sweep(self, scopes: Collection[str]) -> None:
        """Remove old records that do not belong to a scope."""
        kept = {name_file(scope) for scope in scopes}
        for name, status in self.list_files().items():
            if name not in kept and time.time() - status.st_mtime > _STRAYS_STAY:
                self._folder.remove(name)

    def list_files(self) -> dict[str, os.stat_result]:
        files = self._folder.list_files()
        return {name: status for name, status in files.items() if name.endswith(_SUFFIX)}


def name_file(scope: str) -> str:
    return f"{spell_scope(scope)}{_SUFFIX}"


def split_records(data: bytes) -> tuple[bytes, ...]:
    """Split a file into records, each with its line break."""
    return tuple(line + b"\n" for line in data.split(b"\n") if line.strip())
