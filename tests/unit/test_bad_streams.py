"""Tests that a damaged stream, or one with a wrong clock, is read as far as possible without
errors.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import tracemalloc
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.bake.stream import BakeReader
from bxcache.buildx.metadata import Metadata
from bxcache.buildx.stream.events import (
    Event,
    Outcome,
    Said,
    StepFinished,
    StepLogged,
    StepStarted,
    Transferred,
)
from bxcache.buildx.stream.names import StepName, parse_step_name
from bxcache.buildx.stream.raw import StreamRedactor, join_documents
from bxcache.buildx.stream.reader import TraceReader, parse_status
from bxcache.buildx.stream.trace import Trace
from bxcache.buildx.stream.vertices import LONGEST_LINE
from bxcache.console.board import Board
from bxcache.console.drawing import draw_board, fit_lines
from bxcache.console.progress import PlainProgress
from bxcache.console.report.rendering import FORMS, render_report
from bxcache.console.report.timeline import measure_time, place_bars
from bxcache.insight.record import parse_record
from bxcache.insight.record_steps import Account, list_recorded_steps
from bxcache.insight.reporting import make_report
from bxcache.process import RunningProcess, _drain
from bxcache.redaction import Redactor, mask_url
from tests.support.histories import make_record

STREAMS = Path(__file__).parents[1] / "streams"
LINES = {
    path.stem: list(join_documents(path.read_text().splitlines()))
    for path in sorted(STREAMS.glob("*.ndjson"))
}
DEEP = "[" * 600 + "]" * 600
NAME = "[build 1/2] RUN make"
STEP = parse_step_name(NAME)
BEGUN = "2026-01-01T00:00:00Z"


def read(lines: Iterable[str]) -> tuple[Trace, list[Event]]:
    reader = TraceReader()
    events = [event for line in join_documents(lines) for event in reader.feed(line)]
    return reader.finish(), events


def vertex(**more: object) -> str:
    return json.dumps({"vertexes": [{"digest": "a", "name": NAME, "started": BEGUN, **more}]})


def log(data: bytes, stream: int = 1) -> str:
    text = base64.b64encode(data).decode()
    return json.dumps({"logs": [{"vertex": "a", "stream": stream, "data": text}]})


def list_lines(events: Iterable[Event]) -> list[str]:
    return [event.line for event in events if isinstance(event, StepLogged)]


def show_all(trace: Trace, events: Iterable[Event]) -> None:
    """Render everything made from a stream: lines, a live view, a record, a report in each form."""
    plain, board = PlainProgress(io.StringIO()), Board()
    for now, event in enumerate(events):
        plain(event)
        board.take(event, float(now))
        fit_lines(draw_board(board, now + 1.0, 80, 24), 23)
    steps = list_recorded_steps(Account(trace, trace, Metadata()), Redactor(["hunter2"]))
    record = parse_record(make_record(*steps).to_json(), "here")
    for form in FORMS:
        render_report(make_report([record]), cast("Any", form))


WRONG: st.SearchStrategy[object] = st.sampled_from(
    [None, True, 0, -1, 2**70, 10**400, 1e308, "", "x", "\ud800", "\0\x1b[2J", [], {}, [None], [[]]]
) | st.sampled_from(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", BEGUN, "sha256:a"])


def replace_value(value: Any, wrong: object, draw: st.DataObject) -> Any:  # noqa: ANN401  # any JSON
    """Replace a random value in a document."""
    if isinstance(value, dict) and value and draw.draw(st.integers(0, 9)):
        key = draw.draw(st.sampled_from(sorted(value)))
        return {**value, key: replace_value(value[key], wrong, draw)}
    if isinstance(value, list) and value and draw.draw(st.integers(0, 9)):
        at = draw.draw(st.integers(0, len(value) - 1))
        return [*value[:at], replace_value(value[at], wrong, draw), *value[at + 1 :]]
    return wrong


def mutate(line: str, draw: st.DataObject) -> list[str]:
    """Cut, tear, repeat or change a line."""
    at = draw.draw(st.integers(0, len(line)))
    kind = draw.draw(st.sampled_from(["cut", "torn", "twice", "left out", "other", "value"]))
    wrong = draw.draw(WRONG)
    # The line may already be damaged.
    document = parse_status(line) if kind == "value" else None
    changed = line if document is None else json.dumps(replace_value(document, wrong, draw))
    return {
        "cut": [line[:at]],
        "torn": [line[:at], line[at:]],
        "twice": [line, line],
        "left out": [],
        "other": [line[:at] + draw.draw(st.text(max_size=3)) + line[at + 1 :]],
        "value": [changed],
    }[kind]


@given(st.sampled_from(sorted(LINES)), st.data())
def test_a_damaged_stream_breaks_no_reader(name: str, draw: st.DataObject) -> None:
    """A damaged stream can be read, shown, recorded and reported."""
    lines = list(LINES[name])
    for _ in range(draw.draw(st.integers(1, 6))):
        at = draw.draw(st.integers(0, len(lines) - 1))
        lines[at : at + 1] = mutate(lines[at], draw) or [""]
    trace, events = read(lines)
    show_all(trace, events)
    reader, mask = BakeReader(("app", "other")), StreamRedactor(Redactor(["hunter2"]))
    for line in lines:
        list(reader.feed(line))
        mask(line)
    list(mask.finish())
    reader.finish("app")


# None of these describes a vertex.
BAD_LINES = [
    '{"vertexes":[{"digest":"sha256:cut',
    "{",
    "}",
    "[]",
    "null",
    "12",
    '{"vertexes":null,"statuses":7,"logs":{},"warnings":"x"}',
    '{"vertexes":[null,7,[],"x",{"digest":null,"name":"[a 1/1] RUN x","started":null}]}',
    '{"logs":[null,{"vertex":null,"data":"eA=="},{"vertex":"","stream":[],"data":null}]}',
    '{"statuses":[{"id":null},{"vertex":[],"id":"writing cache manifest sha256:x"}]}',
    f'{{"vertexes":{DEEP}}}',
    '{"vertexes":' + "[" * 100_000,
    f'{{"statuses":[{{"id":"x","current":{"9" * 5_000}}}]}}',
    '{"vertexes":[{"digest":"","name":"[a 1/1] RUN x","completed":"2026-01-01T00:00:00Z"}]}',
]


@pytest.mark.parametrize("name", sorted(LINES))
@pytest.mark.parametrize("bad", BAD_LINES)
def test_lines_around_a_bad_line_are_read_as_usual(name: str, bad: str) -> None:
    """A bad line anywhere does not change how the others are read."""
    lines = LINES[name]
    trace, events = read([each for line in lines for each in (bad, line)])
    expected, seen = read(lines)
    assert trace.steps == expected.steps
    assert trace.transfers == expected.transfers
    assert (trace.sources, trace.began) == (expected.sources, expected.began)
    assert [e for e in events if not isinstance(e, Said)] == [
        e for e in seen if not isinstance(e, Said)
    ]


@pytest.mark.parametrize("name", [f"[a {'1' * 5_000}/2] RUN x", "[" + " " * 200_000, "[a ٣/٤] x"])
def test_a_malformed_name_is_not_a_step(name: str) -> None:
    """A long malformed name is not a step, and is scanned only once."""
    assert parse_step_name(name) is None


def test_impossible_counts_are_unknown() -> None:
    """A count that exceeds int64, which would not even be a float, counts as unknown."""
    status = {"id": "sha256:x", "vertex": "a", "current": 10**4_000, "total": -5, "completed": None}
    _, events = read([json.dumps({"statuses": [status]})])
    (moved,) = [event for event in events if isinstance(event, Transferred)]
    assert (moved.current, moved.total, moved.done) == (0, 0, False)


@pytest.mark.parametrize("depth", [100, 400, 900, 50_000])
def test_a_deeply_nested_document_is_masked(depth: int) -> None:
    """A document nested too deeply to parse is masked as text."""
    line = f'{{"a":{"[" * depth}"hunter2"{"]" * depth}}}'
    assert "hunter2" not in StreamRedactor(Redactor(["hunter2"]))(line)


@pytest.mark.parametrize("data", [b"\xff hunter2", b"hunter2 \xc3", "hunter2é".encode()])
def test_a_secret_among_invalid_bytes_is_masked(data: bytes) -> None:
    """A secret among bytes that are not UTF-8 is masked, and the other bytes stay unchanged."""
    masked = json.loads(StreamRedactor(Redactor(["hunter2"]))(log(data)))
    assert base64.b64decode(masked["logs"][0]["data"]) == data.replace(b"hunter2", b"***")


MOMENTS = st.sampled_from(
    [
        *(f"2026-01-01T00:00:{second:02}.5Z" for second in range(0, 60, 7)),
        *("1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01"),
        *("", "yesterday", "2026-13-45T99:00:00Z"),
    ]
)
SPANS = st.lists(
    st.tuples(st.sampled_from("abc"), MOMENTS, MOMENTS, st.booleans()), min_size=1, max_size=12
)


@given(SPANS)
def test_no_time_is_negative_for_any_clock(
    spans: list[tuple[str, str, str, bool]],
) -> None:
    """No event, step, record, report or drawing has a negative time, whatever the clock shows."""
    lines = []
    for digest, started, completed, cached in spans:
        name = f"[{digest} 1/1] RUN make"
        seen = {"started": started, "completed": completed, "cached": cached}
        lines.append(json.dumps({"vertexes": [{"digest": digest, "name": name, **seen}]}))
    trace, events = read(lines)
    assert all(event.seconds >= 0 for event in events if isinstance(event, StepFinished))
    assert all(step.seconds >= 0 and (step.began or 0) >= 0 for step in trace.steps)
    assert (trace.began or 0) >= 0
    # Unknown times are not read as 1970, so no step lasts from then until today.
    assert all(step.began is not None or not step.seconds for step in trace.steps)
    steps = list_recorded_steps(Account(trace, trace, Metadata()), Redactor())
    report = make_report([parse_record(make_record(*steps).to_json(), "here")])
    assert all(step.seconds >= 0 and (step.began or 0) >= 0 for step in report.steps)
    whole = measure_time(report)
    for stage in report.stages:
        assert all(bar.left >= 0 < bar.width for bar in place_bars(stage, report.steps, whole))


def test_a_step_that_ended_before_it_began_takes_no_time() -> None:
    """A step that ended before it began counts only its valid spans."""
    back = vertex(started="2026-01-01T00:00:09Z", completed="2026-01-01T00:00:03Z")
    assert [step.seconds for step in read([back])[0].steps] == [0.0]
    again = vertex(completed="2026-01-01T00:00:04Z")
    assert [step.seconds for step in read([back, again])[0].steps] == [4.0]


def test_no_elapsed_time_is_negative() -> None:
    """Elapsed time is not negative even if a monotonic clock goes back."""
    assert STEP is not None
    board = Board()
    board.take(StepStarted(STEP), 100.0)
    assert not [
        words for block in draw_board(board, 40.0, 80) for words, _ in block if "-" in words
    ]


def cut_anywhere(data: bytes, draw: st.DataObject) -> list[bytes]:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@given(st.text(alphabet="aé\U0001f40b\r\n", max_size=40), st.data())
def test_lines_do_not_depend_on_how_a_log_is_cut(text: str, draw: st.DataObject) -> None:
    """A log has the same lines wherever its messages are cut, and overwritten text is gone."""
    chunks = cut_anywhere(text.encode(), draw)
    lines = [vertex(), *map(log, chunks), vertex(completed="2026-01-01T00:00:01Z")]
    *whole, last = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    trace, events = read(lines)
    assert list_lines(events) == [*whole, *([last] if last else [])]
    assert [step.log for step in trace.steps] == [text]
    assert [step.log_bytes for step in trace.steps] == [len(text.encode())]


@given(st.binary(max_size=40), st.data())
def test_invalid_bytes_are_replaced(data: bytes, draw: st.DataObject) -> None:
    """Invalid bytes are replaced as Python does, even at a cut or at the end."""
    chunks = cut_anywhere(data, draw)
    lines = [vertex(), *map(log, chunks), vertex(completed="2026-01-01T00:00:01Z")]
    expected = data.decode(errors="replace").split("\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in expected]
    assert list_lines(read(lines)[1]) == (shown if shown[-1] else shown[:-1])


def test_two_streams_of_a_step_have_separate_lines() -> None:
    """Output of one stream does not end a line of the other."""
    lines = [vertex(), log(b"out", 1), log(b"err\n", 2), log(b"put\n", 1)]
    assert list_lines(read(lines)[1]) == ["err", "output"]


def measure_peak(lines: Iterable[str]) -> int:
    """Measure the peak memory of reading, without the lines."""
    reader = TraceReader()
    tracemalloc.start()
    try:
        for line in lines:
            for _ in reader.feed(line):
                pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("chunk", [b"x" * 32_000, b"10%\r" * 8_000, b"word " * 6_400])
def test_a_line_without_end_takes_bounded_memory(chunk: bytes) -> None:
    """A line of 30 MB takes as much memory as one of a few MB."""
    message = log(chunk)
    assert measure_peak([vertex(), *([message] * 1_000)]) < 12 * LONGEST_LINE


def test_a_long_line_in_one_message_takes_bounded_memory() -> None:
    """A message is decoded piece by piece, so it takes less than three times its size."""
    size = 20_000_000
    assert measure_peak([vertex(), log(b"x" * size)]) < 3 * size


def test_a_long_line_is_kept_completely() -> None:
    """A long line is split at the ends of words."""
    text = "".join(f"{number:07} " for number in range(500_000))
    chunks = [text[at : at + 30_011].encode() for at in range(0, len(text), 30_011)]
    lines = [vertex(), *map(log, chunks), log(b"\nnext\n")]
    *parts, last = list_lines(read(lines)[1])
    assert "".join(parts) == text
    assert len(parts) == 4
    assert all(len(part) <= LONGEST_LINE + 31_000 for part in parts)
    assert all(part.startswith(" ") for part in parts[1:])
    assert last == "next"


def test_dockers_own_output_is_bounded() -> None:
    """The first and the last lines of docker's own output are kept."""
    reader = TraceReader()
    for number in range(50_000):
        list(reader.read_output(f"line {number}" + "x" * 100))
    list(reader.read_output("ERROR: " + "y" * 1_000_000))
    said = reader.finish().said
    assert len(said) < 3_000
    assert [line.partition("x")[0] for line in said[:2]] == ["line 0", "line 1"]
    assert said[-1].startswith("ERROR: yyy")
    assert len(said[-1]) < 100_000


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("length", [0, 9, 10, 11, 200_000])
def test_an_endless_line_is_cut(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, length: int, end: str
) -> None:
    """Only the beginning of a line that is too long is read, and later lines are read as usual."""
    monkeypatch.setattr("bxcache.process.LONGEST_LINE", 10)
    said = f"first\n\n{'x' * length}\nlast{end}".encode() + b"\xff" * bool(end)
    ends = ["\ufffd"] if end else []
    (tmp_path / "said").write_bytes(said)
    with (tmp_path / "said").open("rb") as stderr:
        lines = [*RunningProcess(cast("Any", SimpleNamespace(stderr=stderr))).read_lines()]
    assert lines == ["first", "", "x" * min(length, 10), "last", *ends]


class Talker:
    """A process that keeps printing after a signal to end."""

    args = "talker"

    def __init__(self, megabytes: int) -> None:
        reading, self._writing = os.pipe()
        self.stderr = os.fdopen(reading, "rb")
        self._talk = Thread(target=self._write, args=[megabytes])
        self._talk.start()

    def _write(self, megabytes: int) -> None:
        with suppress(BrokenPipeError), os.fdopen(self._writing, "wb") as stream:
            for _ in range(megabytes):
                stream.write(b"x" * 1_000_000)

    def wait(self, seconds: float) -> None:
        self._talk.join(seconds)
        assert not self._talk.is_alive()


def test_output_of_a_stopped_command_is_dropped() -> None:
    """The output of a stopped command is read, so that the command can end, but not stored."""
    process = cast("Any", Talker(50))
    tracemalloc.start()
    try:
        _drain(process, 60.0)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
        process.stderr.close()


def test_a_command_that_keeps_printing_is_not_waited_for() -> None:
    """A command that keeps printing gets the next, stronger signal in time."""
    process = cast("Any", Talker(100_000))
    with pytest.raises(subprocess.TimeoutExpired):
        _drain(process, 0.1)
    process.stderr.close()
    process.wait(10.0)


def test_an_endless_document_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless multi-line document of an old buildx is dropped."""
    monkeypatch.setattr("bxcache.buildx.stream.raw._LARGEST_DOCUMENT", 100)
    given = ["{", *([" x"] * 1_000)]
    reads = 0

    def count() -> Iterable[str]:
        nonlocal reads
        for line in given:
            reads += 1
            yield line

    joined = join_documents(count())
    assert next(iter(joined)) == "{"
    assert reads < 60
    assert [*joined] == given[1:]


HOSTILE = "a\x1b[2Jb\x1b]0;title\x07\x9b31mc\x1b[31mred\x1b[0m\td\x08"
SHOWN = "a\\x1b[2Jb\\x1b]0;title\\x07\\x9b31mc\x1b[31mred\x1b[0m\td\\x08"


def test_plain_lines_escape_control_sequences() -> None:
    """Colours are kept, and all other control sequences are made visible."""
    stream = io.StringIO()
    plain = PlainProgress(stream)
    step = StepName(None, "build\x1b[2J", 1, 1, f"RUN {HOSTILE}")
    for event in (StepStarted(step), StepLogged(step, HOSTILE), Said(HOSTILE)):
        plain(event)
    plain(StepFinished(step, Outcome.EXECUTED, 1.0))
    written = stream.getvalue()
    assert written.count(SHOWN) == 4
    assert "\x1b[2J" not in written
    assert not {"\x07", "\x08", "\x9b"} & {*written}


def test_masking_a_long_line_takes_linear_time() -> None:
    """Masking scans a long line once, though a URL's scheme could begin at any letter."""
    assert mask_url("a" * 3_000_000) == "a" * 3_000_000
    text = "a" * 1_000_000 + "://me:pw@example.com/"
    assert mask_url(text) == "a" * 1_000_000 + "://***@example.com/"
