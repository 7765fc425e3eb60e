"""The journal of a store: one page per scope, beside the layout.

::

    DIR/.bxcache/scopes/NAME@DIGEST.json

`NAME` is the scope, shortened if it is long or unusual, `DIGEST` the start of its manifest's
digest, so file names alone show which pages belong to the index. A file's modification time is
the scope's last use. The index can be rebuilt from the pages.
"""

from __future__ import annotations

import hashlib
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from bxcache.config.quantities import WrittenMoment, WrittenSeconds, WrittenSize
from bxcache.errors import StoreError
from bxcache.oci.documents import Descriptor, Index
from bxcache.store.layout import Layout, read_manifest

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from bxcache.store.folders import Folder

_PAGE_NAME = re.compile(r"[^/]+@[0-9a-f]{12}\.json")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
LARGEST_PAGE = 4 << 20
_MOST_AHEAD = 3600
"""The tolerated difference between two machines' clocks, in seconds."""


@dataclass(frozen=True, slots=True)
class Work:
    """The work behind the layers that a build saves.

    Attributes:
        steps: how many steps the build has.
        seconds: how long each layer's steps took, by digest, for executed steps; 0 for the layers
            of base images, which no step creates.
    """

    steps: int = 0
    seconds: Mapping[str, float] | None = None


class Page(BaseModel):
    """A scope's page. Keys of later versions are kept."""

    model_config = ConfigDict(extra="allow", frozen=True)

    version: Literal[1] = 1
    scope: str
    manifest: Descriptor
    """The scope's entry in the index."""

    saved: WrittenMoment = 0.0
    """When it was saved, in seconds since the epoch."""

    steps: WrittenSize = 0
    """How many steps the saving build has; 0 if unknown."""

    seconds: dict[str, WrittenSeconds] = Field(default_factory=dict)
    """How long each layer's steps took when executed, by the layer's digest; 0 for the layers of
    base images. Unknown for layers that are not listed."""

    def to_json(self) -> bytes:
        """The content of the page's file."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"

    def renewed(self, entry: Descriptor) -> Page:
        """The scope's page for a manifest with fewer layers.

        It keeps the times of lost layers: an engine that still has one can restore it unexecuted.
        """
        return self.model_copy(update={"manifest": entry})


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
    return Page(scope=scope, manifest=entry, saved=saved, steps=work.steps, seconds=took)


def spell_scope(scope: str) -> str:
    """A scope's name for use in a file name: shortened if it is long or unusual."""
    if _PLAIN_NAME.fullmatch(scope):
        return scope
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", scope)[:40].lstrip(".-")
    return f"{plain}+{hashlib.sha256(scope.encode()).hexdigest()[:16]}"


def name_page(scope: str, digest: str) -> str:
    """The file name of a page."""
    return f"{spell_scope(scope)}@{digest.partition(':')[2][:12]}.json"


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
        return self._read(_name_entry(entry))

    def _read(self, name: str) -> Page | None:
        data = self._read_bytes(name)
        return parse_page(data) if data is not None else None

    def _read_bytes(self, name: str) -> bytes | None:
        try:
            return self._folder.read(name, LARGEST_PAGE)
        except (OSError, StoreError):
            return None

    def read_head(self, entry: Descriptor) -> tuple[int, float]:
        """An entry's number of steps and time of saving; 0 if unknown."""
        try:
            head = _Head.model_validate_json(self._read_bytes(_name_entry(entry)) or b"")
        except ValueError:
            return 0, 0.0
        return head.steps, head.saved

    def write(self, page: Page, last_used: float | None = None) -> None:
        """Write a page; `last_used` defaults to now."""
        name = _name_entry(page.manifest.named(page.scope))
        # A power cut may lose a page, but not the index.
        self._folder.make().write(name, page.to_json(), durable=False)
        if last_used is not None:
            with suppress(OSError):
                self._folder.touch(name, last_used)

    def find_last_use(self, entry: Descriptor) -> float | None:
        """When a scope was last used, in seconds since the epoch; None if unknown."""
        status = self._folder.look(_name_entry(entry))
        return status.st_mtime if status is not None else None

    def touch(self, entry: Descriptor) -> None:
        """Set a scope's last use to now."""
        try:
            self._folder.touch(_name_entry(entry))
        except OSError:
            # It is missing, or belongs to another user.
            with suppress(OSError):
                self.write(self.read(entry) or Page(scope=entry.ref_name, manifest=entry))

    def remove(self, entry: Descriptor) -> None:
        """Remove the page of an entry."""
        self.remove_file(_name_entry(entry))

    def remove_file(self, name: str) -> None:
        """Remove a page by its file name."""
        self._folder.remove(name)

    def list_files(self) -> dict[str, os.stat_result]:
        """All pages, by file name."""
        files = self._folder.list_files()
        return {name: status for name, status in files.items() if _PAGE_NAME.fullmatch(name)}

    def rebuild_index(self, layout: Layout) -> Index:
        """An index of all scopes that have a page and a manifest.

        If a change was interrupted, a scope has two pages; the newer one counts.
        """
        files = self.list_files()
        found: dict[str, Descriptor] = {}
        for name in sorted(files, key=lambda each: files[each].st_mtime):
            page = self._read(name)
            if page is None:
                continue
            try:
                read_manifest(layout, page.manifest)
            except StoreError:
                continue
            found[page.scope] = page.manifest.named(page.scope)
        return Index().with_entries(dict(found))


def _name_entry(entry: Descriptor) -> str:
    return name_page(entry.ref_name, entry.digest)


def is_ahead(when: float) -> bool:
    """Whether a wrong clock set a time, which must not count as the latest forever."""
    return when > time.time() + _MOST_AHEAD


def parse_page(data: bytes) -> Page | None:
    """Parse a page; None if it is not a page, or one of a later version."""
    try:
        return Page.model_validate_json(data)
    except ValueError:
        return None
