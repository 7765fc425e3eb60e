"""What a new export of a scope keeps of the cache that its build started from. Pure.

BuildKit loads an imported result only if a step needs it, and may export a result that it did not
load as a key without layers. The next build would find such a step's key and execute the step.

It also breaks loops in what it exports, which can leave an input without a key. It then refuses to
import any of that cache (`invalid empty input for record`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.oci.documents import LARGEST_CONFIG
from bxcache.oci.graph import (
    Graph,
    follow,
    has_all,
    match_records,
    reading,
    translate,
    write_cache,
)

if TYPE_CHECKING:
    from bxcache.oci.graph import Cache, Ways
    from bxcache.oci.merging import Merged


class Successor(Struct, frozen=True):
    """The cache to save: the earlier one, a merged one, or else the export as it is."""

    is_before: bool = False
    merged: Merged | None = None


def choose_successor(
    before: Cache, after: Cache, *, executed: bool, largest: float = LARGEST_CONFIG
) -> Successor:
    """Choose what to save for a build that started from one cache and exported another.

    A result that the export lost is taken from the earlier cache if the export still has its key:
    the build has that step. So is the key of an input without one. If the build executed no step
    and exported no result that the earlier cache lacks, the earlier cache stays as it is. Results
    of keys that the build does not have are dropped.

    Raises:
        StoreError: one is not in BuildKit's format.
    """
    with reading():
        old, new = Graph(*before), Graph(*after)
        same = match_records(old, new)
        if not executed and has_all(old, new, same):
            return Successor(is_before=True)
        mended = mend_inputs(old, new, same)
        lost = [
            at
            for at in old.order
            if old.results[at] and same[at] and not any(new.results[each] for each in same[at])
        ]
        if not lost and not mended:
            return Successor()
        return Successor(merged=write_cache(old, new, {at: same[at] for at in lost}, largest))


def mend_inputs(old: Graph, new: Graph, same: list[set[int]]) -> bool:
    """Give inputs without a key those of the old cache; return whether there were any.

    A record for which there are none is dropped, with all that needs it.
    """
    broken = {at for at, inputs in enumerate(new.inputs) if not all(inputs)}
    for at in old.order:
        for other in sorted(same[at] & broken):
            new.inputs[other] = [
                ways or _find_ways(new, other, before, same)
                for ways, before in zip(new.inputs[other], old.inputs[at], strict=True)
            ]
    if broken:
        same[:] = follow(same, new.drop(()))
    return bool(broken)


def _find_ways(new: Graph, at: int, before: Ways, same: list[set[int]]) -> Ways:
    return [way for way in translate(before, same) if not new.depends(way[0], at)]
