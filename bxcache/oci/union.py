"""What a failed build adds to a cache: what finished of it, beside what the cache has. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bxcache.oci.graph import (
    Graph,
    has_all,
    is_same,
    match_records,
    reading,
    translate,
    write_cache,
)
from bxcache.oci.succession import Successor, mend_inputs

if TYPE_CHECKING:
    from bxcache.oci.graph import Cache

NOTHING = "/[b]xcache-copies-nothing"
"""What the stage that reaches all finished ones copies from each: a pattern that no file matches.
BuildKit then copies nothing, and reads only a folder's list."""
_SELECTOR = f"sha256:{hashlib.sha256(NOTHING.encode()).hexdigest()}"
"""https://github.com/moby/buildkit/blob/v0.32.2/solver/llbsolver/ops/file.go"""
_KNOT = f"sha256:{hashlib.sha256(b'bxcache: all ends of this cache').hexdigest()}"
"""A key that no step has."""


def unite_caches(before: Cache | None, after: Cache) -> Successor:
    """Choose what to save for a failed build: its export, and what the scope's cache has beside it.

    What is another version of a key in the export is left out, with all that depends on it: the
    build would not reuse it. The earlier cache stays as it is if it has all of the export, or if
    both are too large together. Without one, the export is saved alone. The keys of the stage that
    reaches all others are left out, and one key ties all ends together.

    Raises:
        StoreError: one is not in BuildKit's format.
    """
    with reading():
        new = Graph(*after)
        _clear_reaching(new)
        if before is None:
            mend_inputs(new, new, [{at} for at in range(len(new.records))])
            _tie_ends(new)
            return Successor(merged=write_cache(new, new, {}))
        old = Graph(*before)
        same = match_records(old, new)
        if has_all(old, new, same):
            return Successor(is_before=True)
        mend_inputs(old, new, same)
        _add_keys(old, new, same)
        lost = {
            at: same[at]
            for at in old.order
            if same[at] and not any(old.paths(at) <= new.paths(each) for each in same[at])
        }
        _tie_ends(new)
        merged = write_cache(old, new, lost)
    return Successor(is_before=merged is None, merged=merged)


def _clear_reaching(new: Graph) -> None:
    """Clear the keys of the stage that reaches all others, with which BuildKit misses, too."""
    for at, inputs in enumerate(new.inputs):
        if any(selector == _SELECTOR for ways in inputs for _, selector in ways):
            new.clear(at)


def _add_keys(old: Graph, new: Graph, same: list[set[int]]) -> None:
    """Add the keys of an earlier cache that an export has in no version."""
    exported = len(new.records)
    for at in old.order:
        if same[at] or old.digests[at] == _KNOT or _is_replaced(old, new, at, same, exported):
            continue
        ways = [translate(one, same) for one in old.inputs[at]]
        if all(ways):
            same[at] = {new.append(old.digests[at], ways)}


def _is_replaced(old: Graph, new: Graph, at: int, same: list[set[int]], exported: int) -> bool:
    """Whether the export has another version of a key: one that shares an input with it."""
    return any(
        new.digests[other] == old.digests[at]
        and any(
            is_same(ways, others, same)
            for ways, others in zip(old.inputs[at], new.inputs[other], strict=False)
        )
        for other in range(exported)
    )


def _tie_ends(new: Graph) -> None:
    """Let one key depend on all that no other depends on.

    Where a step needs two stages, BuildKit may execute again what the cache has of one of them, at
    random, if no key leads from there to the other one (seen with 0.25 and 0.33).
    """
    used = {link for inputs in new.inputs for ways in inputs for link, _ in ways}
    ends = [at for at, inputs in enumerate(new.inputs) if inputs and at not in used]
    if len(ends) > 1:
        new.append(_KNOT, [[(at, "")] for at in ends])
