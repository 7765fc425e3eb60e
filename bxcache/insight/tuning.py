"""Whether caching a stage is worth it, by the records of a scope's builds.

Reuse saves the time that a step took when it was last executed, less the time in which its layers
were fetched. What no record shows counts for neither side.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Unpack

from msgspec import Struct

from bxcache.buildx.stream.events import Outcome
from bxcache.config.json_documents import make_document, pick
from bxcache.insight.causes import Cause
from bxcache.insight.find import find_builds
from bxcache.insight.history import view_stages
from bxcache.insight.history_request import HistoryOptions, HistoryRequest
from bxcache.insight.record_steps import recall_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bxcache.insight.record import Record
    from bxcache.insight.record_misses import RecordedChange
    from bxcache.insight.record_parts import RecordedStep

# A filter names no stage without a name: `IsNoCache` of
# https://github.com/moby/buildkit/blob/v0.25.2/frontend/dockerui/config.go
_UNNAMED = re.compile(r"stage-\d+|")
_LEAST_SECONDS = 0.05
"""A difference below this, for each build, is not measured but noise."""
LEAST_BUILDS = 2
"""Fewer builds with a cache decide nothing."""


class Worth(StrEnum):
    """Whether caching a stage is worth it."""

    YES = "yes"
    """Reuse saved more time than fetching took."""
    EVEN = "even"
    """Reuse saved about as much time as fetching took."""
    NO = "no"
    """Fetching took longer than executing the steps would have."""
    NEVER = "never"
    """No step was reused, although builds had a cache."""
    UNKNOWN = "unknown"
    """The records do not show it."""


class Blocker(Struct, frozen=True):
    """What kept a stage from being reused in every build.

    Attributes:
        change: what changed each time.
        stage: the stage where it changed; that of the blocked one, or one that it is built on.
    """

    change: RecordedChange
    stage: str


class StageTuning(Struct, frozen=True):
    """What caching a stage was worth in the recorded builds.

    Attributes:
        stage: its name; `stage-N` for an unnamed one.
        builds: how many builds had a cache to reuse it from.
        reused: how many of its steps were reused, in all builds together.
        executed: how many were executed although there was a cache.
        ran: how long the reused steps took when they were last executed, as far as known.
        fetched: how long their layers were fetched.
        unknown: for how many reused steps no record has the time.
        moved_bytes: the size of the layers that were fetched or saved; None if unknown.
        layer_bytes: the size of its layers in the last build, which a build that executes them
            saves again; None if unknown.
        worth: whether caching it is worth it.
        separable: whether `no_cache_filter` can have this stage alone executed.
        blocker: what kept it from being reused in all these builds; None if that differs.
    """

    stage: str
    builds: int
    reused: int
    executed: int
    ran: float
    fetched: float
    unknown: int
    moved_bytes: int | None
    layer_bytes: int | None
    worth: Worth
    separable: bool
    blocker: Blocker | None = None

    @property
    def saved(self) -> float:
        """How long reuse saved at least; negative if fetching took longer."""
        return round(self.ran - self.fetched, 3)

    def to_dict(self) -> dict[str, Any]:
        """Return its part of a document."""
        blocker = self.blocker and {
            "cause": str(self.blocker.change.cause),
            "name": self.blocker.change.name,
            "stage": self.blocker.stage,
        }
        names = ("stage", "builds", "reused", "executed", "ran", "fetched", "saved", "unknown")
        own = pick(self, *names, "moved_bytes", "layer_bytes", "worth", "separable")
        return {**own, "worth": str(self.worth), "blocker": blocker}


class Tuning(Struct, frozen=True):
    """What caching was worth in the builds of a scope.

    Attributes:
        scope: the scope's name.
        builds: how many successful builds have a record.
        stages: each stage, in the order of the Dockerfile of the last build.
    """

    scope: str
    builds: int
    stages: tuple[StageTuning, ...]

    @property
    def setting(self) -> str:
        """What to add to `[build]`, for all stages together; empty if nothing would help."""
        filtered = [each for each in self.stages if each.worth is Worth.NO and each.separable]
        names = json.dumps([each.stage for each in filtered], ensure_ascii=False)
        return f"no_cache_filter = {names}" if filtered else ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as a document."""
        listed = [each.to_dict() for each in self.stages]
        return make_document({**pick(self, "scope", "builds", "setting"), "stages": listed})


class _Seen(Struct, frozen=True):
    """A stage in one build that had a cache."""

    steps: tuple[RecordedStep, ...]
    blocker: Blocker | None
    saves: bool


def tuning(name: str | None = None, **options: Unpack[HistoryOptions]) -> Tuning:
    """Say for each stage whether caching it was worth it in the recorded builds of a scope.

    Args:
        name: as for `history`; the scope of this build is meant.
        options: where to look and which build is meant, see `HistoryOptions`.

    Raises:
        ConfigError: the configuration is wrong.
        RecordError: there is no such scope or build, or a record is unusable.
        StoreError: the store cannot be read.
        RegistryError: the registry does not answer.
    """
    return tune_stages(find_builds(HistoryRequest.of(name, **options), "history"))


def tune_stages(records: Sequence[Record]) -> Tuning:
    """Find what caching each stage was worth.

    Args:
        records: those of a scope and perhaps of others, the last one first.
    """
    scope = records[0].scope.name if records else ""
    own = [each for each in records if each.scope.name == scope and not each.exit_status]
    seen: dict[str, list[_Seen]] = {}
    for number, record in enumerate(own):
        for name, found in _list_seen(record, own[number + 1 :]):
            stages = seen.setdefault(name, [])
            stages.extend([found] if found is not None else [])
    # Observed: a stage that is built on a filtered one is executed, too; one that copies is not.
    below = {each.base.lower() for record in own[:1] for each in record.stages}
    tuned = (_tune(name, found, is_below=name.lower() in below) for name, found in seen.items())
    return Tuning(scope, len(own), tuple(tuned))


def _list_seen(record: Record, earlier: Sequence[Record]) -> Iterator[tuple[str, _Seen | None]]:
    """List the stages of a build; without a cache, none of them could be reused."""
    steps = recall_seconds(record.steps, earlier)
    record = record.model_copy(update={"steps": steps})
    imported = any(each.imported for each in record.caches)
    had_cache = imported or any(each.outcome is Outcome.REUSED for each in steps)
    saves = any(each.exported for each in record.caches)
    places = {id(step): at for at, step in enumerate(steps)}
    for view in view_stages(record):
        # A base image has no outcome.
        worked = tuple(each for each in view.steps if each.outcome is not None)
        if worked:
            blocker = _find_blocker(record, [places[id(each)] for each in worked])
            yield view.name, _Seen(worked, blocker, saves) if had_cache else None


def _find_blocker(record: Record, places: Iterable[int]) -> Blocker | None:
    """Find what had the first of these steps executed that was."""
    executed = (at for at in places if record.steps[at].outcome is Outcome.EXECUTED)
    first = next(executed, None)
    for miss in record.misses if first is not None else ():
        if miss.changes and (miss.step == first or first in miss.later):
            at = first if miss.step is None else miss.step
            return Blocker(miss.changes[0], record.steps[at or 0].stage)
    return None


def _tune(stage: str, seen: Sequence[_Seen], *, is_below: bool) -> StageTuning:
    steps = [step for each in seen for step in each.steps]
    reused = [each for each in steps if each.outcome is Outcome.REUSED]
    known = [each.ran for each in reused if each.ran is not None]
    ran, fetched = round(sum(known), 3), round(sum(each.seconds for each in reused), 3)
    unknown = len(reused) - len(known)
    worth = _judge(seen, len(reused), unknown, ran - fetched)
    return StageTuning(
        stage=stage,
        builds=len(seen),
        reused=len(reused),
        executed=Counter(each.outcome for each in steps)[Outcome.EXECUTED],
        ran=ran,
        fetched=fetched,
        unknown=unknown,
        moved_bytes=_measure_moved(seen),
        layer_bytes=_measure(seen[0].steps) if seen else None,
        worth=worth,
        separable=not is_below and not _UNNAMED.fullmatch(stage),
        blocker=_find_common(seen) if worth is Worth.NEVER else None,
    )


def _judge(seen: Sequence[_Seen], reused: int, unknown: int, saved: float) -> Worth:
    noise = _LEAST_SECONDS * len(seen)
    if len(seen) < LEAST_BUILDS:
        return Worth.UNKNOWN
    if not reused:
        return Worth.NEVER
    # A step whose time is unknown took some: the sum can only be more.
    if saved > noise:
        return Worth.YES
    if unknown:
        return Worth.UNKNOWN
    return Worth.NO if saved < -noise else Worth.EVEN


def _measure_moved(seen: Iterable[_Seen]) -> int | None:
    """Measure the layers that were fetched for reused steps, and saved of executed ones."""
    total = 0
    for each in seen:
        size = _measure(step for step in each.steps if _moves(step, saves=each.saves))
        if size is None:
            return None
        total += size
    return total


def _moves(step: RecordedStep, *, saves: bool) -> bool:
    is_fetched = step.outcome is Outcome.REUSED and step.seconds >= _LEAST_SECONDS
    return is_fetched or (step.outcome is Outcome.EXECUTED and saves)


def _measure(steps: Iterable[RecordedStep]) -> int | None:
    """Measure the layers of steps, each once; None if docker reports none, or no size."""
    sizes: dict[str, int] = {}
    for step in steps:
        if not step.layers or not all(layer.size for layer in step.layers):
            return None
        sizes |= {layer.digest: layer.size for layer in step.layers}
    return sum(sizes.values())


def _find_common(seen: Iterable[_Seen]) -> Blocker | None:
    """Find the blocker of all builds; a first build is blocked by nothing that recurs."""
    found = [each.blocker for each in seen]
    first = found[0]
    if first is None or first.change.cause in (Cause.FIRST_BUILD, Cause.UNKNOWN):
        return None
    same = all(each is not None and _identify(each) == _identify(first) for each in found)
    return first if same else None


def _identify(blocker: Blocker) -> tuple[str, str, str]:
    return blocker.change.cause, blocker.change.name, blocker.stage
