"""What the time of a build is spent on, from bxcache's start to its end."""

from __future__ import annotations

import time
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from msgspec import Struct, field

from bxcache.buildx.stream.events import Phase, Worked
from bxcache.buildx.stream.phases import Span, share_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bxcache.buildx.run import RunResult
    from bxcache.buildx.stream.events import Event
    from bxcache.insight.record_parts import RecordedPhase

_MOST_SPANS = 40
_OWN = (Phase.RERUN, Phase.COLLECT, Phase.COMMIT)


class Timeline(Struct, frozen=True):
    """The times of one build on this machine's clock, in seconds since 1970.

    Attributes:
        began: when bxcache began.
        spans: what bxcache did after docker, as far as it is more than a commit.
    """

    began: float = field(default_factory=time.time)
    spans: list[Span] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Take an event; the end of bxcache's own work has a span."""
        if isinstance(event, Worked) and event.phase in _OWN and event.seconds is not None:
            now = time.time()
            self.spans.append(Span(event.phase, now - event.seconds, now))

    def list_phases(self, ran: RunResult, now: float) -> tuple[RecordedPhase, ...]:
        """List the phases until now, in the order in which they began."""
        first = min((each.began for each in ran.spans), default=now)
        last = max((each.ended for each in ran.spans), default=now)
        edges = Span(Phase.START, self.began, first), Span(Phase.COMMIT, last, now)
        from bxcache.insight.record_parts import RecordedPhase  # noqa: PLC0415  # docker starts first

        spans = [*edges, *ran.spans, *self.spans]
        shares = share_time(spans, self.began, now)
        found = [
            RecordedPhase(
                name=phase.value,
                seconds=round(shares.get(phase, 0.0), 3),
                bytes=ran.trace.phase_bytes.get(phase, 0),
                spans=_merge(spans, phase, self.began),
            )
            for phase in Phase
        ]
        known = (each for each in found if each.seconds or each.spans)
        return tuple(sorted(known, key=lambda each: each.spans[:1] or ((now, now),)))


def _merge(spans: Iterable[Span], phase: Phase, start: float) -> tuple[tuple[float, float], ...]:
    """Merge the spans of a phase that overlap, and the nearest of many; relative to a start."""
    own = sorted(
        (max(0.0, each.began - start), max(0.0, each.ended - start))
        for each in spans
        if each.phase is phase
    )
    ends = [*accumulate((ended for _, ended in own), max)]
    gaps = sorted(after[0] - end for end, (_, after) in zip(ends, pairwise(own), strict=False))
    least = max(0.0, gaps[-_MOST_SPANS]) if len(gaps) >= _MOST_SPANS else 0.0
    merged: list[tuple[float, float]] = []
    for began, ended in own:
        if merged and began - merged[-1][1] <= least:
            merged[-1] = merged[-1][0], max(merged[-1][1], ended)
        else:
            merged.append((began, ended))
    rounded = ((round(began, 3), round(ended, 3)) for began, ended in merged)
    return tuple((began, ended) for began, ended in rounded if began < ended)
