"""Records and histories written by hand, and those of the recorded streams."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from bxcache.buildx.metadata import parse_metadata
from bxcache.buildx.run import RunResult
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.raw import join_documents
from bxcache.buildx.stream.reader import TraceReader
from bxcache.insight.history import History, view_stages
from bxcache.insight.record import Record
from bxcache.insight.record_parts import RecordedLayer, RecordedScope, RecordedStage, RecordedStep
from bxcache.insight.record_steps import Account, list_recorded_stages, list_recorded_steps
from bxcache.pipeline.timeline import Timeline
from bxcache.redaction import Redactor

STREAMS = Path(__file__).parents[1] / "streams"
SCOPE = "image.linux-amd64.main"
STARTED = 1_700_000_000.0


def name_digest(name: str) -> str:
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def make_layer(name: str, size: int = 100) -> RecordedLayer:
    return RecordedLayer(digest=name_digest(name), size=size)


def make_step(text: str, *lines: int, layers: str = "", **more: Any) -> RecordedStep:  # noqa: ANN401  # a step's fields
    """Return a step; `layers` contains names with sizes, such as `a:100 b:20`."""
    parts = (each.partition(":") for each in layers.split())
    known = {"outcome": None if text.startswith("FROM") else Outcome.EXECUTED, **more}
    if text.startswith("FROM"):
        known = {"kind": "from", **known}
    made = tuple(make_layer(name, int(size or 100)) for name, _, size in parts)
    return RecordedStep(text=text, lines=lines, layers=made, **known)


def make_stages(*heads: tuple[str, int, str]) -> tuple[RecordedStage, ...]:
    """Return stages made from name, line and base; a leading `-` marks an unneeded stage."""
    return tuple(
        RecordedStage(
            name=name.removeprefix("-"), line=line, base=base, needed=not name.startswith("-")
        )
        for name, line, base in heads
    )


def make_record(
    *steps: RecordedStep,
    stages: tuple[RecordedStage, ...] = (),
    **more: Any,  # noqa: ANN401  # a record's fields
) -> Record:
    known = {
        "version": 1,
        "scope": RecordedScope(name=SCOPE, image="image", platforms=("linux/amd64",)),
        "started": STARTED,
        "seconds": 12.34,
        **more,
    }
    return Record(steps=steps, stages=stages, **known)


def make_history(record: Record | None, **more: Any) -> History:  # noqa: ANN401  # a history's fields
    stages = view_stages(record) if record is not None else ()
    known = {"scope": SCOPE, "source": "/store", "record": record, "stages": stages, **more}
    return History(**known)


def read_recorded(name: str) -> Record:
    """Return the record of a build whose stream was recorded."""
    reader = TraceReader()
    for line in join_documents((STREAMS / f"{name}.ndjson").read_text().splitlines()):
        list(reader.feed(line))
    trace, path = reader.finish(), STREAMS / f"{name}.meta.json"
    metadata = parse_metadata(path.read_text() if path.exists() else "")
    account = Account(trace, trace, metadata)
    stages = list_recorded_stages(account, Redactor())
    # No time passes before the first and after the last message.
    ran = RunResult(0, trace, metadata, 0.0, trace.spans, 0.0)
    began, ended = trace.began or 0.0, max(each.ended for each in trace.spans)
    phases = Timeline(began).list_phases(ran, ended)
    steps = list_recorded_steps(account, Redactor())
    return make_record(*steps, stages=stages, phases=phases, seconds=round(ended - began, 3))
