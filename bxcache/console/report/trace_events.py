"""A build as a trace for Perfetto and `chrome://tracing`, in the Trace Event Format.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

from bxcache.config.json_documents import pick
from bxcache.console.phases import name_phase
from bxcache.console.report.sections import NO_STAGE, label_stage, name_kind
from bxcache.console.tables import clean_log, clean_text
from bxcache.place.trace_context import parse_traceparent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bxcache.insight.report import Report, ReportedStep
    from bxcache.place.trace_context import TraceContext

    _Track = tuple[str, list[int]]
    """A name, and the positions of steps, in order of time: steps of one stage and the same
    platforms that do not overlap."""

_PROCESS = 1
_BUILD = 1
"""The track of the whole build. Perfetto first shows the track named like the process."""

_MICROSECONDS = 1_000_000


def render_trace(report: Report, traceparent: str | None = None) -> str:
    """Render a build as a JSON document in the Trace Event Format.

    The build and each step with a known beginning are events; `steps_left_out` counts the others.
    Times are microseconds since 1970.

    Args:
        report: the report, as `report` or `make_report` returns it.
        traceparent: the W3C trace and span that the build belongs to; each event then has its own
            span id. A malformed one is ignored.
    """
    context = parse_traceparent(traceparent) if traceparent else None
    tracks = [*_list_tracks(report)]
    about = _describe_build(report, tracks, context)
    document = {
        "displayTimeUnit": "ms",
        "otherData": about,
        "traceEvents": [
            *_name_tracks(report, tracks),
            _draw_build(report, tracks, about | _identify(report, context, None)),
            *_draw_steps(report, tracks, context),
            *_draw_phases(report, _BUILD + 1 + len(tracks)),
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _list_tracks(report: Report) -> Iterator[_Track]:
    """List the tracks in the Dockerfile's order. A step of several stages belongs to the first."""
    seen: set[int] = set()
    for stage in report.stages:
        groups: dict[tuple[str, ...], list[int]] = {}
        for at in stage.steps:
            step = report.steps[at]
            if step.began is not None and at not in seen:
                groups.setdefault(step.platforms, []).append(at)
                seen.add(at)
        for platforms, positions in groups.items():
            name = clean_text(label_stage(stage.name or NO_STAGE, platforms))
            for number, lane in enumerate(_split(report.steps, positions), 1):
                yield name if number == 1 else f"{name} {number}", lane


def _split(steps: Sequence[ReportedStep], positions: Iterable[int]) -> list[list[int]]:
    """Split steps into as few lanes without overlaps as possible."""
    lanes: list[list[int]] = []
    for at in sorted(positions, key=lambda at: _find_span(steps[at])):
        begins, _ = _find_span(steps[at])
        free = (lane for lane in lanes if sum(_find_span(steps[lane[-1]])) <= begins)
        lane = next(free, None)
        if lane is None:
            lanes.append([at])
        else:
            lane.append(at)
    return lanes


def _find_span(step: ReportedStep) -> tuple[int, int]:
    """Return when a step began, relative to the build, and its duration."""
    return _to_microseconds(step.began or 0.0), _to_microseconds(step.seconds)


def _to_microseconds(seconds: float) -> int:
    whole = math.floor(seconds)
    return whole * _MICROSECONDS + round((seconds - whole) * _MICROSECONDS)


def _describe_build(
    report: Report, tracks: Iterable[_Track], context: TraceContext | None
) -> dict[str, Any]:
    of_trace = {"trace_id": context.trace_id, "parent_span_id": context.span_id} if context else {}
    return {
        "scope": report.scope.name,
        "image": report.scope.image,
        "bxcache": report.tools.bxcache,
        **pick(report, "started", "seconds", "exit_status"),
        **pick(report.counts, "reused", "executed", "failed", "hit_ratio"),
        "bytes": report.bytes,
        "steps_left_out": len(report.steps) - sum(len(steps) for _, steps in tracks),
        **of_trace,
    }


def _identify(report: Report, context: TraceContext | None, step: int | None) -> dict[str, str]:
    """Return the ids of a step's or the build's span and of its parent; none without a trace."""
    if context is None:
        return {}
    parent = context.span_id if step is None else _name_span(report, context, None)
    return {"span_id": _name_span(report, context, step), "parent_span_id": parent}


def _name_span(report: Report, context: TraceContext, step: int | None) -> str:
    """Return a span's id, a hash of what identifies it, so that it is stable."""
    known = (context.trace_id, context.span_id, report.scope.name, report.started, step)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _name_tracks(report: Report, tracks: Iterable[_Track]) -> Iterator[dict[str, Any]]:
    """Yield the metadata events that name the process and the tracks, and order the tracks."""
    yield _make_metadata(_BUILD, "process_name", name=clean_text(report.scope.name))
    names = ("whole build", *(name for name, _ in tracks), *(["phases"] if report.phases else []))
    for number, name in enumerate(names, _BUILD):
        yield _make_metadata(number, "thread_name", name=name)
        yield _make_metadata(number, "thread_sort_index", sort_index=number)


def _make_metadata(track: int, what: str, **args: object) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": _PROCESS, "tid": track, "args": args}


def _draw_build(report: Report, tracks: Iterable[_Track], args: dict[str, Any]) -> dict[str, Any]:
    """Return the event of the whole build, which lasts at least as long as its steps."""
    spans = (_find_span(report.steps[at]) for _, steps in tracks for at in steps)
    took = max(_to_microseconds(report.seconds), *map(sum, spans), 0)
    kind = "failed" if report.exit_status else "built"
    span = (_to_microseconds(report.started), took)
    return _draw(_BUILD, f"build {report.scope.image}", kind, span, args)


def _draw_steps(
    report: Report, tracks: Iterable[_Track], context: TraceContext | None
) -> Iterator[dict[str, Any]]:
    started = _to_microseconds(report.started)
    for number, (_, steps) in enumerate(tracks, _BUILD + 1):
        for at, step in ((at, report.steps[at]) for at in steps):
            begins, took = _find_span(step)
            args = _describe_step(step) | _identify(report, context, at)
            yield _draw(number, step.text, name_kind(step), (started + begins, took), args)


def _draw_phases(report: Report, track: int) -> Iterator[dict[str, Any]]:
    """Yield the events of the phases, which can overlap, on a track of their own."""
    started = _to_microseconds(report.started)
    for phase in report.phases:
        for began, ended in phase.spans:
            span = started + _to_microseconds(began), _to_microseconds(ended - began)
            args = {"bytes": phase.bytes} if phase.bytes else {}
            yield _draw(track, name_phase(phase.name), "phase", span, args)


def _draw(
    track: int, name: str, kind: str, span: tuple[int, int], args: dict[str, Any]
) -> dict[str, Any]:
    timing = {"pid": _PROCESS, "tid": track, "ts": span[0], "dur": span[1]}
    return {"name": clean_text(name), "cat": kind, "ph": "X", **timing, "args": args}


def _describe_step(step: ReportedStep) -> dict[str, Any]:
    """Describe a step by its known values."""
    values = {
        "outcome": step.outcome,
        "stage": clean_text(step.stage),
        **pick(step, "lines", "platforms"),
        "bytes": sum(layer.size for layer in step.layers) or None,
        "layers": [pick(layer, "digest", "size") for layer in step.layers],
        **pick(step, "log_bytes", "ran", "fetched", "saved"),
        "critical": step.critical or None,
        "error": clean_log(step.error),
    }
    return {key: value for key, value in values.items() if value not in (None, "", (), [])}
