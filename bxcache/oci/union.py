"""What a failed build adds to a cache: what finished of it, beside what the cache has. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bxcache.oci.documents import LARGEST_CONFIG
from bxcache.oci.graph import (
    Graph,
    follow,
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


def unite_caches(
    before: Cache | None, after: Cache, *, largest: float = LARGEST_CONFIG
) -> Successor:
    """Choose what to save for a failed build: its export, and what the scope's cache has beside it.

    The earlier version of a key is left out if the export has another one, with all that depends on
    it: the build would not reuse it. The earlier cache stays as it is if it has all of the export,
    or if both are too large together. Without one, the export is saved alone. The keys of the stage
    that reaches all others are left out, and one key ties all ends together.

    Raises:
        StoreError: one is not in BuildKit's format.
    """
    with reading():
        new = Graph(*after)
        if before is None:
            _drop_reaching(new)
            _tie_ends(new)
            return Successor(merged=write_cache(new, new, {}, largest))
        old = Graph(*before)
        same = match_records(old, new)
        mend_inputs(old, new, same)
        same = follow(same, _drop_reaching(new))
        if has_all(old, new, same):
            return Successor(is_before=True)
        _add_keys(old, new, same)
        lost = {
            at: same[at]
            for at in old.order
            if same[at] and not any(old.paths(at) <= new.paths(each) for each in same[at])
        }
        _tie_ends(new)
        merged = write_cache(old, new, lost, largest)
    return Successor(is_before=merged is None, merged=merged)


def _drop_reaching(new: Graph) -> dict[int, int]:
    """Drop the keys of the stage that reaches all others: with them, BuildKit misses at random."""
    own = enumerate(new.inputs)
    return new.drop(at for at, inputs in own if any(s == _SELECTOR for w in inputs for _, s in w))


def _add_keys(old: Graph, new: Graph, same: list[set[int]]) -> None:
    """Add the keys of an earlier cache that an export has in no version, as far as results need."""
    exported = len(new.records)
    kept: set[int] = set()
    for at in old.order:
        found = (any(same[link] or link in kept for link, _ in ways) for ways in old.inputs[at])
        is_gone = old.digests[at] == _KNOT or _is_replaced(old, new, at, same, exported)
        if not same[at] and all(found) and not is_gone:
            kept.add(at)
    needed: set[int] = set()
    for at in reversed(old.order):
        if at in kept and (old.results[at] or at in needed):
            needed |= {at, *(link for ways in old.inputs[at] for link, _ in ways)}
    for at in old.order:
        if at in needed & kept:
            same[at] = {new.append(old.digests[at], [translate(e, same) for e in old.inputs[at]])}


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
