"""A directory that plain buildx exported a cache to becomes a store, in place."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.errors import StoreError
from bxcache.oci.documents import Index, check_scope_name
from bxcache.store.layout import Layout, read_index, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.oci.documents import Descriptor


@dataclass(frozen=True, slots=True)
class Adopted:
    """What became of an adopted directory.

    Attributes:
        scopes: the names of its scopes: the tags that buildx exported with.
        notes: what was mended.
        dead_bytes: the size of what no scope needs; the next collection drops it.
    """

    scopes: tuple[str, ...]
    notes: tuple[str, ...]
    dead_bytes: int


def read_foreign_index(layout: Layout) -> Index:
    """The index of a directory that buildx exported to, everything in it looked at.

    Raises:
        StoreError: all that is in the way of adopting it.
        OSError: something cannot be read.
    """
    try:
        index = read_index(layout)
    except FileNotFoundError as error:
        raise StoreError(
            f"`{layout.path}` has no index.json, so it is no cache of buildx",
            hint="adopt the directory that is the `dest` of `--cache-to type=local`",
        ) from error
    problems = [problem for entry in index.manifests for problem in _check_entry(layout, entry)]
    if problems:
        raise StoreError("\n  ".join([f"`{layout.path}` cannot be adopted:", *problems]))
    return index


def _check_entry(layout: Layout, entry: Descriptor) -> Iterator[str]:
    try:
        check_scope_name(entry.ref_name)
    except StoreError as error:
        yield error.message
    # A manifest that is broken is mended later.
    with suppress(StoreError):
        strange = read_manifest(layout, entry).find_strangeness()
        if strange:
            yield f"the tag `{entry.ref_name}`: {strange}"
