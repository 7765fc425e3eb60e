"""Tests of a live view's state and lines."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.stream.events import (
    Outcome,
    Phase,
    Recalled,
    RunStarted,
    StepFinished,
    StepListed,
    StepLogged,
    StepShown,
    StepStarted,
    StepStopped,
    Transferred,
    Worked,
)
from bxcache.buildx.stream.names import StepName, Transfer
from bxcache.buildx.stream.reader import TraceReader
from bxcache.cli.progress import is_live
from bxcache.console.board import Board
from bxcache.console.drawing import draw_board, draw_tally, fit_lines
from bxcache.console.progress import PlainProgress
from tests.support.replay import STREAMS


def step(stage: str, index: int) -> StepName:
    return StepName(None, stage, index, 3, "RUN make")


def make(kind: Callable[..., object], *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[object]:
    """Make events; `builds` would evaluate their annotations, whose names only mypy imports."""
    return st.tuples(*parts).map(lambda values: kind(*values))


EVENTS = st.lists(
    st.one_of(
        make(StepStarted, st.builds(step, st.sampled_from("abc"), st.integers(1, 3))),
        make(
            StepFinished,
            st.builds(step, st.sampled_from("abc"), st.integers(1, 3)),
            st.sampled_from(Outcome),
            st.just(0.1),
        ),
        make(StepLogged, st.builds(step, st.sampled_from("abc"), st.integers(1, 3)), st.text()),
        make(
            Transferred,
            st.sampled_from(Transfer),
            st.sampled_from(["x", "y"]),
            st.integers(0, 10**9),
            st.integers(0, 10**9),
            st.booleans(),
        ),
    ),
    max_size=60,
)


def test_a_stopped_step_is_not_running() -> None:
    """A stopped step is not drawn as running and has no outcome."""
    board = Board()
    board.take(StepStarted(step("a", 1), "one"), 0.0)
    board.take(StepStarted(step("a", 1), "two"), 0.0)
    board.take(StepStopped(step("a", 1), 1.0, "one"), 1.0)
    assert (board.running, len(board.stages["a"].outcomes)) == (1, 0)
    stopped = PlainProgress(io.StringIO()).render(StepStopped(step("a", 1), 1.0))
    assert stopped == "stopped     1.0 s [a 1/3] RUN make"


def test_the_last_line_of_a_step_is_readable() -> None:
    """The line is shown without colours and tabs, even if it will be overwritten."""
    board, running = Board(), step("a", 1)
    board.take(StepStarted(running), 0.0)
    board.take(StepLogged(running, "\x1b[32mok\x1b[0m\tdone"), 1.0)
    assert draw_board(board, 2.0, 80)[0][-1][0].strip() == "ok      done"
    board.take(StepShown(running, "45 %"), 3.0)
    assert draw_board(board, 4.0, 80)[0][-1][0].strip() == "45 %"


@given(EVENTS, st.integers(20, 200), st.integers(2, 60))
def test_the_view_always_fits_the_terminal(events: list[object], width: int, height: int) -> None:
    """The view fits the terminal, and running steps come before finished stages."""
    board = Board()
    for now, event in enumerate(events):
        board.take(event, float(now))  # type: ignore[arg-type]  # any of the events
    blocks = draw_board(board, float(len(events)), width)
    lines = fit_lines(blocks, height - 1)
    assert len(lines) <= max(1, height - 2)
    running = [block for block in blocks if len(block) > 1]
    if sum(map(len, running)) < height - 2:
        shown = {words for words, _ in lines}
        assert all(words in shown for block in running for words, _ in block)


@given(EVENTS, st.integers(20, 200), st.integers(2, 12))
def test_hidden_stages_need_not_be_drawn(events: list[object], width: int, height: int) -> None:
    """Skipping hidden stages does not change the lines."""
    board = Board()
    for number, event in enumerate(events):
        # Many stages, mostly finished.
        board.take(event, float(number), label=str(number % 9))  # type: ignore[arg-type]  # any of the events
    every = draw_board(board, float(len(events)), width)
    some = draw_board(board, float(len(events)), width, height)
    assert fit_lines(some, height - 1) == fit_lines(every, height - 1)


@given(EVENTS)
def test_a_step_is_counted_once(events: list[object]) -> None:
    """A step counts by its last outcome, or as running."""
    board = Board()
    last: dict[StepName, object] = {}
    for now, event in enumerate(events):
        board.take(event, float(now))  # type: ignore[arg-type]  # any of the events
        if isinstance(event, StepStarted):
            last[event.step] = "running"
        if isinstance(event, StepFinished):
            last[event.step] = event.outcome
    for outcome in Outcome:
        assert board.count(outcome) == sum(each is outcome for each in last.values())
    assert board.running == sum(each == "running" for each in last.values())


def test_the_steps_of_two_platforms_are_counted_separately() -> None:
    """The counts match the stream at all times, though platforms share step names."""
    reader, board = TraceReader(), Board()
    begun: set[str] = set()
    done: set[str] = set()
    for line in (STREAMS / "two-platforms.ndjson").read_text().splitlines():
        for event in reader.feed(line):
            board.take(event, 0.0)
        for each in json.loads(line).get("vertexes") or [] if line.startswith("{") else []:
            if re.match(r"\[.*\d/\d\] (?!LINK)", each["name"]) and each.get("started"):
                (done if each.get("completed") else begun).add(each["digest"])
        assert (board.running, board.count(Outcome.EXECUTED)) == (len(begun - done), len(done))
    assert len(done) == 20
    for name, stage in board.stages.items():
        assert len(stage.outcomes) == len(stage.listed), name
    assert len(board.stages["base"].listed) == len(board.stages["deps"].listed) == 2


@pytest.mark.parametrize(
    ("indexes", "counts"), [((1, 2, 3), ["1/3", "2/3", "3/3"]), ((2, 3), ["1/2", "2/2"])]
)
def test_an_image_in_from_is_not_a_step(indexes: tuple[int, ...], counts: list[str]) -> None:
    """A finished stage shows all of its steps as done, though BuildKit counts its image too."""
    board, shown = Board(), []
    for index in indexes:
        board.take(StepListed(step("a", index)), 0.0)
    for index in indexes:
        board.take(StepFinished(step("a", index), Outcome.EXECUTED, 1.0), 1.0)
        ((line,),) = draw_board(board, 1.0, 80)
        shown.append(line[0].split()[2])
    assert shown == counts


def read_lines(board: Board, now: float, room: int | None = None) -> list[str]:
    blocks = draw_board(board, now, 80, room)
    return [words.strip() for block in blocks for words, _ in block]


def test_stages_that_wait_are_listed() -> None:
    """Stages that have not begun are in one line, and their steps in the tally."""
    board = Board()
    for stage, index in (("deps", 1), ("test", 1), ("test", 2), ("app", 1)):
        board.take(StepListed(step(stage, index)), 0.0)
    board.take(StepStarted(step("deps", 1)), 0.0)
    assert read_lines(board, 2.0) == ["> deps   0/1", "2.0 s RUN make", "waiting: test, app"]
    assert draw_tally(board, 2.0)[0] == "1 running, 3 waiting, 2.0 s"
    # The stage that begins moves up, and one whose only step was reused has begun, too.
    board.take(StepFinished(step("app", 1), Outcome.REUSED, 0.0), 2.0)
    assert [*board.stages] == ["deps", "app", "test"]
    assert read_lines(board, 2.0)[-1] == "waiting: test"


def test_work_beside_the_steps_is_shown() -> None:
    """What goes on when no step runs is shown with its time, a transfer with its bytes instead."""
    board = Board()
    board.take(Worked(Phase.LAYERS, "exporting layers"), 1.0)
    assert read_lines(board, 3.5) == ["2.5 s compressing layers"]
    board.take(Worked(Phase.LAYERS, "exporting layers", 2.5), 3.5)
    board.take(Worked(Phase.PUSH, "pushing layers"), 3.5)
    assert read_lines(board, 4.0) == ["0.5 s pushing the image"]
    board.take(Transferred(Transfer.PUSH, "a", 500, 1_000, done=False), 4.0)
    assert read_lines(board, 4.5) == ["pushing 1 layer [##########----------] 500 B of 1.0 kB"]
    board.take(RunStarted(), 5.0)
    assert not board.works


def test_short_work_beside_running_steps_is_not_shown() -> None:
    """Work that has just begun would only flicker beside a running step."""
    board = Board()
    board.take(StepStarted(step("a", 1)), 0.0)
    board.take(Worked(Phase.CONTEXT, "load build context"), 0.0)
    assert "sending the context" not in " ".join(read_lines(board, 0.1))
    assert "sending the context" in " ".join(read_lines(board, 0.6))


def test_a_running_step_shows_how_long_it_took_before() -> None:
    """A step shows the time of its last execution beside its own, for its own image alone."""
    board = Board()
    board.take(Recalled({("a", "RUN make"): 18.4}), 0.0, "api")
    for label in ("api", "web"):
        board.take(StepStarted(step("a", 1)), 0.0, label)
    lines = read_lines(board, 12.3)
    assert [line for line in lines if "make" in line] == [
        "12.3 s (last 18.4 s) RUN make",
        "12.3 s RUN make",
    ]


def test_the_output_of_running_steps_uses_the_height_that_is_there() -> None:
    """A tall terminal shows more of what a step prints; a progress bar takes one line."""
    board, running = Board(), step("a", 1)
    board.take(StepStarted(running), 0.0)
    for number in range(30):
        board.take(StepLogged(running, f"line {number}"), 1.0)
    for share in ("10 %", "20 %"):
        board.take(StepShown(running, share), 1.0)
    assert read_lines(board, 2.0, 12)[2:] == [*(f"line {n}" for n in range(24, 30)), "20 %"]
    assert read_lines(board, 2.0, 4)[2:] == ["20 %"]
    assert len(fit_lines(draw_board(board, 2.0, 80, 12), 11)) <= 10


@pytest.mark.parametrize("name", ["docker-28-cold", "fresh-builder-source-edit", "two-platforms"])
def test_work_that_begins_ends(name: str) -> None:
    """In a recorded stream, all work that begins also ends, and took as long as it was shown."""
    reader, begun = TraceReader(), set[tuple[str, str]]()
    ended = dict[tuple[str, str], float]()
    for line in (STREAMS / f"{name}.ndjson").read_text().splitlines():
        for event in reader.feed(line):
            if isinstance(event, Worked) and event.seconds is None:
                begun.add((event.phase, event.item))
            elif isinstance(event, Worked) and event.seconds is not None:
                ended[event.phase, event.item] = event.seconds
    assert begun == ended.keys()
    if name == "docker-28-cold":
        # exporting layers 1.214-1.245, exporting cache 1.282-1.378
        assert ended["layers", "exporting layers"] == pytest.approx(0.031, abs=0.001)
        assert ended["save", "exporting cache to client directory"] == pytest.approx(
            0.096, abs=0.001
        )


def test_long_work_has_a_line_in_the_log() -> None:
    """Work beside the steps that took a second is a line of the log; shorter work is none."""
    log = PlainProgress(io.StringIO())
    assert log.render(Worked(Phase.SAVE, "x", 12.34)) == "done       12.3 s exporting the cache"
    assert log.render(Worked(Phase.SAVE, "x", 0.9)) is None
    assert log.render(Worked(Phase.SAVE, "x")) is None


def test_a_second_run_resets_the_steps_of_its_image() -> None:
    """A second run resets its own image's steps only."""
    board = Board()
    for label in ("api", "web"):
        board.take(StepFinished(step("a", 1), Outcome.EXECUTED, 1.0, vertex="old"), 0.0, label)
    board.take(RunStarted(), 1.0, "api")
    assert [*board.stages] == ["web a"]
    board.take(StepFinished(step("a", 1), Outcome.REUSED, 1.0, vertex="new"), 2.0, "api")
    assert (board.count(Outcome.EXECUTED), board.count(Outcome.REUSED)) == (1, 1)


@pytest.mark.parametrize(
    ("ci", "expected"),
    [(None, True), ("", True), (" ", True), ("false", True), ("0", True), ("true", False)],
)
def test_a_terminal_of_a_ci_job_is_not_drawn_on(
    ci: str | None,
    expected: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A terminal in CI gets no live view, unless `CI` is empty or a word for "no"."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    if ci is not None:
        monkeypatch.setenv("CI", ci)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    assert is_live(stream) is expected


def test_transferred_bytes_are_added_up_by_layer() -> None:
    """The last status of each layer counts."""
    board = Board()
    for layer, current, total in [("a", 10, 100), ("b", 5, 50), ("a", 60, 100), ("b", 50, 50)]:
        board.take(Transferred(Transfer.PULL, layer, current, total, current == total), 1.0)
    movement = board.movements[Transfer.PULL]
    assert sum(each.current for each in movement.items.values()) == 110
    assert sum(each.total for each in movement.items.values()) == 150
    assert not movement.is_done
    board.take(Transferred(Transfer.PULL, "a", 100, 100, done=True), 2.0)
    assert movement.is_done
