"""Turn a directory that plain buildx exported a cache to into a store, in place."""

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
    """A directory that was adopted, with the repairs that were made.

    The names of its scopes are the tags that buildx exported with; the next collection removes its
    `dead_bytes`.
    """

    scopes: tuple[str, ...]
    notes: tuple[str, ...]
    dead_bytes: int


def read_foreign_index(layout: Layout) -> Index:
    """Read and check the index of a directory that buildx exported to.

    Raises:
        StoreError: the directory cannot be adopted; the message lists every reason.
    """
    try:
        index = read_index(layout)
    except FileNotFoundError as error:
        raise StoreError(
            f"`{layout.path}` has no index.json, so it is not a buildx cache",
            hint="adopt the `dest` directory of `--cache-to type=local`",
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
    # A broken manifest is repaired later.
    with suppress(StoreError):
        if problem := read_manifest(layout, entry).find_problem():
            yield f"the tag `{entry.ref_name}`: {problem}"
