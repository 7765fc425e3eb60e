"""Tests that builds of thousands of steps are read, recorded and reported in linear time."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
from msgspec.structs import replace

from bxcache.buildx.metadata import Layer, Metadata, parse_metadata
from bxcache.buildx.run import RunResult
from bxcache.buildx.stream.events import Outcome, StepFinished, StepStarted
from bxcache.buildx.stream.names import StepName
from bxcache.buildx.stream.reader import TraceReader
from bxcache.buildx.stream.trace import Reads, Trace
from bxcache.console.board import Board
from bxcache.console.drawing import draw_board, fit_lines
from bxcache.console.report.rendering import render_report
from bxcache.errors import StoreError
from bxcache.insight.record import Record, parse_record
from bxcache.insight.record_steps import Account, list_recorded_stages, list_recorded_steps
from bxcache.insight.reporting import make_report
from bxcache.redaction import Redactor
from bxcache.store.journal import LARGEST_FILE, LARGEST_RECORD
from bxcache.store.store import Store
from tests.benchmarks.recording_once import SCOPE, record_build
from tests.support.histories import make_record
from tests.support.synthetic_build import make_build, make_prepared

FEW, MANY = 200, 800
MOST = 4.6
"""Four times the steps cause at most so many times the calls; quadratic work causes 16 times."""


def count_calls(action: Callable[[], object]) -> int:
    """Count the calls of functions, including those of Python itself."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    # The collector calls the callbacks that other code registered.
    gc.disable()
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


def read_chain(count: int) -> TraceReader:
    """Read a build in which each step copies from the context and builds on the one before."""
    reader = TraceReader()
    told = {"started": "2026-01-01T00:00:00Z", "completed": "2026-01-01T00:00:01Z"}
    context = {"digest": "context", "name": "[internal] load build context", **told}
    list(reader.feed(json.dumps({"vertexes": [context]})))
    for at in range(count):
        inputs = ["context", f"step{at - 1}"]
        step = {"digest": f"step{at}", "name": f"[{at + 1}/{count}] COPY {at} /", **told}
        list(reader.feed(json.dumps({"vertexes": [{**step, "inputs": inputs}]})))
    return reader


def record(count: int) -> Record:
    trace, metadata = make_build(count)
    account = Account(trace, trace, metadata)
    steps = list_recorded_steps(account, Redactor())
    return make_record(*steps, stages=list_recorded_stages(account, Redactor()))


def prepare_reading(count: int) -> Callable[[], object]:
    return lambda: read_chain(count).finish()


def prepare_recording(count: int) -> Callable[[], object]:
    trace, metadata = make_build(count)
    return lambda: list_recorded_steps(Account(trace, trace, metadata), Redactor())


def prepare_report(count: int) -> Callable[[], object]:
    found = record(count)
    return lambda: make_report([found, found])


def prepare_page(count: int) -> Callable[[], object]:
    report = make_report([record(count)])
    return lambda: render_report(report, "html")


def prepare_view(count: int) -> Callable[[], object]:
    board = Board()
    for at in range(count):
        board.take(StepFinished(StepName(None, f"stage-{at}", 1, 1, "RUN x"), Outcome.REUSED, 0), 0)
    return lambda: fit_lines(draw_board(board, 1.0, 80, 24), 23)


@pytest.mark.parametrize(
    "prepare", [prepare_reading, prepare_recording, prepare_report, prepare_page, prepare_view]
)
def test_work_grows_linearly_with_the_steps(prepare: Callable[[int], Callable[[], object]]) -> None:
    """Reading, recording, reporting, rendering and drawing a build take linear time."""
    few, many = prepare(FEW), prepare(MANY)
    # The first run loads modules and fills caches.
    few()
    many()
    assert count_calls(many) <= MOST * count_calls(few)


def test_the_cost_of_drawing_does_not_depend_on_finished_steps() -> None:
    """The cost of drawing the view does not depend on how many steps are done."""

    def draw(count: int) -> int:
        board = Board()
        for at in range(1, count + 1):
            board.take(StepFinished(StepName(None, "a", at, count, "RUN"), Outcome.REUSED, 0.0), 0)
        return count_calls(lambda: fit_lines(draw_board(board, 1.0, 80, 24), 23))

    assert draw(5_000) == draw(50)


def test_the_reads_of_a_chain_of_steps_take_little_memory() -> None:
    """The reads of 5,000 steps that rest on each other, 12 million entries, fit in 5 MB."""
    steps = read_chain(5_000).finish().steps
    first, last = steps[0], steps[-1]
    assert first.reads == {"[internal] load build context COPY 0 /"}
    assert len(last.reads) == 5_000
    kept = [each.reads._held for each in steps if isinstance(each.reads, Reads)]
    assert len(kept) == len(steps)
    assert sum(map(sys.getsizeof, kept)) < 5_000_000


def make_wordy_build(count: int) -> tuple[Trace, Metadata]:
    """Make a build in which each step has a long text in three-byte letters, a log and an error."""
    trace, metadata = make_build(count)
    steps = tuple(
        replace(
            step,
            name=replace(step.name, text="RUN " + "語" * 2_000),
            log="x" * 4_000 + f"end of {at}",
            outcome=Outcome.FAILED if at == count - 2 else step.outcome,
        )
        for at, step in enumerate(trace.steps)
    )
    [definition] = metadata.definitions
    other = Layer("sha256:" + "f" * 64, 5)
    operations = tuple(
        replace(each, chains=(*each.chains, (*each.chains[0][:-1], other))) if each.chains else each
        for each in definition.operations
    )
    definition = replace(definition, operations=operations)
    return replace(trace, steps=steps), replace(metadata, definitions=(definition,))


def test_the_record_of_5_000_steps_is_kept_beside_another(tmp_path: Path) -> None:
    """The record keeps all steps, their layers, and the end of a failed step's output."""
    store = Store(tmp_path / "store")
    prepared = make_prepared(tmp_path, store, SCOPE)
    found = record_build(prepared, RunResult(1, *make_wordy_build(5_000), 1.0))
    line = found.to_json()
    assert len(line) <= LARGEST_RECORD
    store.add_record("app", line)
    store.add_record("app", line.replace(b'"exit_status":1', b'"exit_status":2'))
    assert len(store.read_records("app")) == 2
    steps = parse_record(line, "here").steps
    assert len(steps) == 5_000
    assert all(step.layers and step.lines and step.text.startswith("RUN") for step in steps[1:])
    assert [step.parent for step in steps[:4]] == [None, 0, 1, 2]
    failed = [step for step in steps if step.outcome is Outcome.FAILED]
    assert [step.log[-11:] for step in failed] == ["end of 4998"]


def test_a_record_that_fits_is_unchanged() -> None:
    """A record is shortened only if it is larger than the limit."""
    found = record(50)
    size = len(found.to_json())
    assert found.fit(size) is found
    assert len(found.fit(size - 1).to_json()) < size


def test_a_record_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """Adding a record that is too large is an error, and the other records stay."""
    store = Store(tmp_path / "store")
    store.add_record("app", b'{"version":1}\n')
    with pytest.raises(StoreError, match=r"larger than 4\.2 MB"):
        store.add_record("app", b"x" * LARGEST_FILE + b"\n")
    assert store.read_records("app") == (b'{"version":1}\n',)


def test_circular_metadata_is_read() -> None:
    """Metadata whose steps form a circle, which no build has, is read without an endless loop."""
    trace, _ = make_build(3)
    vertices = {
        digest: f"step{at}" for at, step in enumerate(trace.steps) for digest in step.digests
    }
    vertices |= {"sha256:x": "x", "sha256:y": "y"}
    exec_op = {"op": {"Op": {"exec": {"mounts": [{"dest": "/"}]}}}}
    listed = [{"id": step, "inputs": ["x:0"], **exec_op} for step in vertices.values()]
    listed += [{"id": "x", "inputs": ["y:0"], **exec_op}, {"id": "y", "inputs": ["x:0"], **exec_op}]
    built = {"digestMapping": vertices, "llbDefinition": listed}
    metadata = parse_metadata(json.dumps({"buildx.build.provenance": {"buildConfig": built}}))
    steps = list_recorded_steps(Account(trace, trace, metadata), Redactor())
    assert {step.parent for step in steps} == {None}


def test_a_step_that_was_started_again_is_counted_once() -> None:
    """A step that was started again counts as running, and its earlier outcomes do not count."""
    step = StepName(None, "a", 1, 1, "RUN x")
    board = Board()
    board.take(StepFinished(step, Outcome.REUSED, 0.0), 0.0)
    board.take(StepFinished(step, Outcome.EXECUTED, 0.0), 0.0)
    board.take(StepStarted(step), 0.0)
    assert [board.count(each) for each in Outcome] == [0, 0, 0]
    assert board.running == 1
