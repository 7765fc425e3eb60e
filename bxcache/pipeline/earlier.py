"""Which records of earlier builds a build needs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bxcache.config.quantities import format_age, format_count
from bxcache.insight.earlier import LAST_BUILDS, EarlierBuilds, EarlierQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bxcache.insight.record import Record
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared

_SHORT = 7


def ask_earlier(prepared: Prepared, plan: BuildPlan) -> EarlierBuilds | None:
    """Ask for the records of earlier builds; a build without caches needs none.

    Read all records if a report or a gate needs them; otherwise the last ones of each scope, which
    have the durations of its steps and show what makes them run again and again.
    """
    if not (prepared.trust.writes or plan.imports):
        return None
    scopes, now = (plan.scope.name, *(use.scope for use in plan.imports)), time.time()
    last = EarlierQuery(scopes, now, most=LAST_BUILDS - 1, everywhere=False)
    return EarlierBuilds(prepared.setup, EarlierQuery(scopes, now) if is_wanted(prepared) else last)


def find_salvaged(records: Iterable[Record], plan: BuildPlan) -> Record | None:
    """Find the failed build from whose finished steps a build starts.

    Return None if it starts from something else. The records begin with the last one.
    """
    scopes = [use.scope for use in plan.imports[:1]]
    own = (each for each in records if each.scope.name in scopes)
    last = next((each for each in own if each.is_salvaged or not each.exit_status), None)
    return last if last is not None and last.is_salvaged else None


def note_salvaged(records: Iterable[Record], plan: BuildPlan) -> Iterator[str]:
    """Note that a build starts from what a failed one had finished, as `find_salvaged`."""
    last = find_salvaged(records, plan)
    if last is not None:
        steps = max(each.salvaged for each in last.caches)
        commit = f"{last.scope.branch or 'the scope'}@{last.place.commit[:_SHORT]}".rstrip("@")
        yield (
            f"the cache has {format_count(steps, 'step')} that a failed build of {commit} had "
            f"finished {format_age(time.time() - last.started)} ago"
        )


def is_wanted(prepared: Prepared) -> bool:
    """Whether a report or a gate needs the records of earlier builds."""
    return prepared.request.with_earlier or prepared.setup.config.gate.is_set
