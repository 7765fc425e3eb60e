"""Why the steps of a build were executed: the first causes, and what followed from each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.buildx.stream.events import Outcome
from bxcache.insight.causes import OF_FILES, Cause
from bxcache.insight.misses.pairs import list_below
from bxcache.insight.misses.steps import Comparison
from bxcache.insight.record_misses import RecordedBasis, RecordedChange, RecordedMiss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from bxcache.insight.record import Record

MOST_CHANGES = 20
"""How many changes of one step are listed."""
_EXECUTED = (Outcome.EXECUTED, Outcome.FAILED)


class Donor(Struct, frozen=True):
    """The build whose cache a build had.

    Attributes:
        record: its record; None if none is known.
        older: that of the last successful build, if `record` is that of a failed one.
        reason: what to say of the whole build without a record.
        is_imported: whether its cache was imported; if not, only the builder's own cache has it.
        find_layers: finds the layers in its cache, as it was imported; None if that is unknown.
    """

    record: Record | None
    reason: RecordedChange
    older: Record | None = None
    is_imported: bool = False
    find_layers: Callable[[], AbstractSet[str] | None] = lambda: None


def explain_misses(now: Record, donor: Donor) -> tuple[RecordedMiss, ...]:
    """Explain why steps were executed: one miss for each step that has a reason of its own."""
    executed = [at for at, step in enumerate(now.steps) if step.outcome in _EXECUTED]
    if not executed:
        return ()
    if now.uncached == ("*",):
        return (_blame_all(now, executed, RecordedChange(cause=Cause.NO_CACHE)),)
    if donor.record is None:
        return (_blame_all(now, executed, donor.reason),)
    found = _Explanation(now, donor.record, donor)
    return found.list_misses(executed)


def describe_basis(record: Record) -> RecordedBasis:
    """Describe the build that another one is compared with."""
    return RecordedBasis(
        scope=record.scope.name,
        branch=record.scope.branch,
        commit=record.place.commit,
        started=record.started,
    )


def _blame_all(now: Record, executed: list[int], change: RecordedChange) -> RecordedMiss:
    seconds = round(sum(now.steps[at].seconds for at in executed), 3)
    return RecordedMiss(changes=(change,), later=tuple(executed), seconds=seconds)


class _Explanation:
    """The reasons of one build's steps."""

    def __init__(self, now: Record, before: Record, donor: Donor) -> None:
        self._now, self._before, self._donor = now, before, donor
        self._comparison = Comparison.of(now, before)
        self._own: dict[int, tuple[RecordedChange, ...]] = {}
        self._roots: dict[int, frozenset[int]] = {}

    def list_misses(self, executed: Iterable[int]) -> tuple[RecordedMiss, ...]:
        """List the misses, in the order of the steps."""
        later: dict[int, list[int]] = {}
        # A step begins after those that it needs.
        for at in sorted(executed, key=lambda each: (self._now.steps[each].began or 0.0, each)):
            self._judge(at)
            if at in self._own:
                later.setdefault(at, [])
            else:
                later.setdefault(min(self._roots[at]), []).append(at)
        return tuple(self._describe(at, sorted(later[at])) for at in sorted(later))

    def _judge(self, at: int) -> None:
        """Find the reasons of a step, after those of all steps that it needs."""
        step = self._now.steps[at]
        needs = step.inputs.needs if step.inputs is not None else ()
        below = list_below(self._now.steps, at)
        above = [each for each in (*below, *needs) if each in self._roots]
        roots = frozenset[int]().union(*(self._roots[each] for each in above))
        known = {change for root in roots for change in self._own[root]}
        changes = [*self._list_own(at, is_alone=not roots)]
        own = tuple(each for each in changes if each not in known)
        if own or not roots:
            self._own[at] = own or (RecordedChange(cause=Cause.UNKNOWN),)
            roots = roots | {at}
        self._roots[at] = roots

    def _list_own(self, at: int, *, is_alone: bool) -> Iterator[RecordedChange]:
        step = self._now.steps[at]
        if step.stage in self._now.uncached:
            yield RecordedChange(cause=Cause.NO_CACHE, name=step.stage)
            return
        changes = self._comparison.list_changes(at)
        yield from changes
        if not changes and is_alone:
            yield self._explain_absence(at)

    def _explain_absence(self, at: int) -> RecordedChange:
        """Explain why a step whose inputs are the same was not in the cache."""
        twin = self._before.steps[self._comparison.pairs[at]]
        layers = {layer.digest for form in twin.forms for layer in form}
        unsaved = [each.unsaved for each in self._before.caches if each.unsaved is not None]
        if layers and any(not layers.isdisjoint(each) for each in unsaved):
            return RecordedChange(cause=Cause.NOT_EXPORTED)
        if not self._donor.is_imported:
            return self._donor.reason
        present = self._donor.find_layers()
        if layers and present is not None and layers.isdisjoint(present):
            return RecordedChange(cause=Cause.EVICTED)
        inputs = self._now.steps[at].inputs
        mounts = " and ".join(inputs.bypassing) if inputs is not None else ""
        return RecordedChange(cause=Cause.UNKNOWN, after=mounts)

    def _describe(self, at: int, later: list[int]) -> RecordedMiss:
        changes = self._own[at]
        files = [each for each in changes if each.cause in OF_FILES]
        others = [each for each in changes if each.cause not in OF_FILES]
        listed = (*others, *files)[:MOST_CHANGES]
        return RecordedMiss(
            step=at,
            changes=listed,
            more=len(changes) - len(listed),
            later=tuple(later),
            seconds=round(sum(self._now.steps[each].seconds for each in (at, *later)), 3),
        )
