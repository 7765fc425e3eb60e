"""The journal of a store: what it remembers of each scope, a page beside the layout for each.

::

    DIR/.bxcache/scopes/NAME@DIGEST.json

`NAME` is the scope, shortened where it is long or odd, `DIGEST` the beginning of its manifest's
digest: so the names alone tell which pages are those of the index. The file's modification time
is when the scope was last used. From the pages the index can be
made anew from them.
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
"""How far the clocks of two machines may differ, in seconds."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a build did for the layers it saves.

    Attributes:
        steps: how many steps the build has.
        seconds: what each layer's steps took, by digest, for those that were executed; 0 for the
            layers of base images, which no step makes.
    """

    steps: int = 0
    seconds: Mapping[str, float] | None = None


class Page(BaseModel):
    """A scope's page. Keys of later versions are kept as they are."""

    model_config = ConfigDict(extra="allow", frozen=True)

    version: Literal[1] = 1
    scope: str
    manifest: Descriptor
    """The scope's entry in the index."""

    saved: WrittenMoment = 0.0
    """When it was saved, in seconds since the epoch."""

    steps: WrittenSize = 0
    """How many steps the build has that saved it; 0 if unknown."""

    seconds: dict[str, WrittenSeconds] = Field(default_factory=dict)
    """What each layer's steps took when they were executed, by the layer's digest; 0 for the layers
    of base images. Of a layer that is not in it that is unknown."""

    def to_json(self) -> bytes:
        """The page as its file has it."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"

    def renewed(self, entry: Descriptor) -> Page:
        """The page of the same scope with fewer layers.

        What the others took is kept: an engine that still has them brings them back unexecuted.
        """
        return self.model_copy(update={"manifest": entry})


def make_page(
    scope: str, entry: Descriptor, layers: Iterable[str], work: Work, before: Sequence[Page]
) -> Page:
    """The page of a build's scope. What a reused layer once took is taken from earlier pages.

    A scope that did not change was saved when it was saved first.
    """
    known: dict[str, float] = {}
    saved = float(round(time.time()))
    for page in before:
        known |= page.seconds
        if page.scope == scope and page.manifest.digest == entry.digest:
            saved = page.saved
    for digest, seconds in (work.seconds or {}).items():
        # Several steps can make one layer, and this build may have executed the least of them.
        known[digest] = max(seconds, known.get(digest, 0.0))
    took = {digest: round(known[digest], 3) for digest in layers if digest in known}
    return Page(scope=scope, manifest=entry, saved=saved, steps=work.steps, seconds=took)


def spell_scope(scope: str) -> str:
    """A scope's name as a part of a file's name: shortened where it is long or odd."""
    if _PLAIN_NAME.fullmatch(scope):
        return scope
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", scope)[:40].lstrip(".-")
    return f"{plain}+{hashlib.sha256(scope.encode()).hexdigest()[:16]}"


def name_page(scope: str, digest: str) -> str:
    """The name of a page's file."""
    return f"{spell_scope(scope)}@{digest.partition(':')[2][:12]}.json"


class _Head(BaseModel):
    """What is shown of a page, which may know of thousands of layers."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal[1] = 1
    saved: WrittenMoment = 0.0
    steps: WrittenSize = 0


class Journal:
    """The journal of a store."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def read(self, entry: Descriptor) -> Page | None:
        """The page of an entry; None where there is none that can be read."""
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
        """The steps and the time of saving of an entry; 0 where they are not known."""
        try:
            head = _Head.model_validate_json(self._read_bytes(_name_entry(entry)) or b"")
        except ValueError:
            return 0, 0.0
        return head.steps, head.saved

    def write(self, page: Page, last_used: float | None = None) -> None:
        """Write a page; its scope was last used at `last_used`, or now."""
        name = _name_entry(page.manifest.named(page.scope))
        # What it says can be lost in a power cut; the index cannot.
        self._folder.make().write(name, page.to_json(), durable=False)
        if last_used is not None:
            with suppress(OSError):
                self._folder.touch(name, last_used)

    def find_last_use(self, entry: Descriptor) -> float | None:
        """When a scope was last used, in seconds since the epoch; None if unknown."""
        status = self._folder.look(_name_entry(entry))
        return status.st_mtime if status is not None else None

    def touch(self, entry: Descriptor) -> None:
        """Note that a scope is used now."""
        try:
            self._folder.touch(_name_entry(entry))
        except OSError:
            # There is none, or another user's that this one may not touch.
            with suppress(OSError):
                self.write(self.read(entry) or Page(scope=entry.ref_name, manifest=entry))

    def remove(self, entry: Descriptor) -> None:
        """Forget an entry."""
        self.remove_file(_name_entry(entry))

    def remove_file(self, name: str) -> None:
        """Remove one of the files."""
        self._folder.remove(name)

    def list_files(self) -> dict[str, os.stat_result]:
        """The pages there are, by the names of their files."""
        files = self._folder.list_files()
        return {name: status for name, status in files.items() if _PAGE_NAME.fullmatch(name)}

    def rebuild_index(self, layout: Layout) -> Index:
        """An index of all scopes that have a page and whose manifests are there.

        Where a scope has two pages, a change was cut off; the newer one holds.
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
    """Whether a time is that of a wrong clock, so that it must not count as the latest for ever."""
    return when > time.time() + _MOST_AHEAD


def parse_page(data: bytes) -> Page | None:
    """A page from its bytes; None where they are none, or one of a later version."""
    try:
        return Page.model_validate_json(data)
    except ValueError:
        return None
