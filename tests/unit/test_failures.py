"""Tests of the output at the end of failed builds."""

from __future__ import annotations

import io
import tempfile
import tracemalloc
from collections.abc import Iterable
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.stream.events import (
    Event,
    Outcome,
    RunStarted,
    Said,
    StepFinished,
    StepLogged,
    StepStarted,
    redact_event,
)
from bxcache.buildx.stream.names import StepName
from bxcache.console.failures import Failures
from bxcache.redaction import Redactor


def step(index: int = 1) -> StepName:
    return StepName(None, "build", index, 3, "RUN make\nRUN more")


def collect(events: Iterable[tuple[Event, str]], *forgiven: str) -> list[str]:
    """Return the lines printed for events, each with its image."""
    stream = io.StringIO()
    with Failures(stream) as failures:
        for event, label in events:
            failures.take(event, label)
        for label in forgiven:
            failures.forgive(label)
        assert stream.getvalue() == ""
    return stream.getvalue().splitlines()


def fail(label: str, *lines: str, index: int = 1) -> list[tuple[Event, str]]:
    each = step(index)
    logged = [(StepLogged(each, line), label) for line in lines]
    return [
        (StepStarted(each), label),
        *logged,
        (StepFinished(each, Outcome.FAILED, 1.0, "exit code: 1"), label),
        (Said(f"ERROR: {label} broke"), label),
    ]


def test_a_log_keeps_its_colours_and_tabs() -> None:
    """Only sequences that move the cursor are made visible in a log."""
    log = collect(fail("", "\tat com.foo.Bar", "\x1b[31mFAIL\x1b[0m", "\x1b[2Jx"))[-3:]
    assert log == ["\tat com.foo.Bar", "\x1b[31mFAIL\x1b[0m", r"\x1b[2Jx"]


def test_colours_of_a_line_do_not_affect_the_next() -> None:
    """Each line of a log resets its colours, unless it already does."""
    lines = ["\x1b[8mhidden", "\x1b[31mred\x1b[m", "\x1b[0;1mbold", "\x1b[38;5;0mblack", "plain"]
    assert collect(fail("", *lines))[-5:] == [
        *("\x1b[8mhidden\x1b[0m", "\x1b[31mred\x1b[m", "\x1b[0;1mbold\x1b[0m"),
        *("\x1b[38;5;0mblack\x1b[0m", "plain"),
    ]


def test_errors_come_first_and_then_each_log() -> None:
    """Lines begin with their image if there are several, and no logs are mixed."""
    both = zip(fail("api", "a", "b"), fail("web", "x", "y"), strict=True)
    events = [each for pair in both for each in pair]
    assert collect(events) == [
        *("api | ERROR: api broke", "web | ERROR: web broke", ""),
        *("log of api | [build 1/3] RUN make:", "a", "b", ""),
        *("log of web | [build 1/3] RUN make:", "x", "y"),
    ]


def test_successful_builds_have_no_output() -> None:
    """A successful build prints neither its logs nor the error of a failed first run."""
    done = StepFinished(step(), Outcome.EXECUTED, 1.0)
    assert collect([(StepLogged(step(), "a"), ""), (done, "")]) == []
    assert collect([*fail("api", "a"), *fail("web", "x")], "api", "web") == []
    seen = collect([*fail("api", "a"), *fail("web", "x")], "api")
    assert seen == ["web | ERROR: web broke", "", "log of web | [build 1/3] RUN make:", "x"]


def test_only_a_failing_run_holds_dockers_lines() -> None:
    """What docker says of an image that goes on is shown at once, as in a second run."""
    failures, said = Failures(io.StringIO()), Said("WARNING: No output specified")
    for event, label in fail("api", "a"):
        failures.take(event, label)
    assert (failures.take(said, "web"), failures.take(said, "api")) == (False, True)
    failures.take(RunStarted(), "api")
    assert not failures.take(said, "api")


def test_two_steps_of_one_name_are_distinguished() -> None:
    """The logs of two platforms' steps are not mixed."""
    ended = {"amd64": Outcome.EXECUTED, "arm64": Outcome.FAILED}
    events: list[Event] = [
        *(StepStarted(step(), vertex) for vertex in ended),
        *(StepLogged(step(), f"of {vertex}", vertex) for vertex in ended),
        *(StepFinished(step(), ended[each], 1.0, vertex=each) for each in ("arm64", "amd64")),
    ]
    assert collect((each, "") for each in events) == [
        "",
        "log of [build 1/3] RUN make:",
        "of arm64",
    ]


@pytest.mark.parametrize("vertex", ["", "sha256:ab"])
def test_a_masked_event_still_belongs_to_its_step(vertex: str) -> None:
    """Masking other parts of an event does not change its step."""
    redact, seen = Redactor(["make"]), StepLogged(step(), "to make", vertex)
    masked = StepName(None, "build", 1, 3, "RUN ***\nRUN more")
    assert redact_event(seen, redact) == StepLogged(masked, "to ***", vertex)
    assert redact_event(StepStarted(step(), vertex), redact) == StepStarted(masked, vertex)
    for each in (Outcome.EXECUTED, Outcome.FAILED):
        done = StepFinished(step(), each, 1.0, "make: no", vertex)
        assert redact_event(done, redact) == StepFinished(masked, each, 1.0, "***: no", vertex)


def test_a_second_run_discards_only_its_own_image() -> None:
    """The second run of an image discards the failures of its first run, and of no other image."""
    old, new = (StepFinished(step(), Outcome.FAILED, 1.0, vertex=each) for each in ("a", "b"))
    again: list[Event] = [RunStarted(), StepLogged(step(), "second", "b"), new]
    first: list[Event] = [StepLogged(step(), "first", "a"), old]
    seen = collect(
        [*((each, "api") for each in first), *fail("web", "x"), *((e, "api") for e in again)]
    )
    assert [line for line in seen if line in {"first", "second", "x"}] == ["x", "second"]


def test_a_second_run_counts_alone() -> None:
    """The log of a step's last run is printed, or none if that run succeeds."""
    assert collect([*fail("", "first"), *fail("", "second")])[-2:] == [
        "log of [build 1/3] RUN make:",
        "second",
    ]
    done = StepFinished(step(), Outcome.EXECUTED, 1.0)
    assert collect([*fail("", "first"), (StepStarted(step()), ""), (done, "")]) == ["ERROR:  broke"]


PRINTED = st.text(st.characters(categories=("L", "N"), include_characters=" "), max_size=50)


@given(st.lists(PRINTED, min_size=1))
def test_a_log_is_printed_line_by_line(lines: list[str]) -> None:
    """No line of a log is lost, joined or broken."""
    assert collect(fail("", *lines))[3:] == lines


def test_a_long_log_takes_little_memory() -> None:
    """At most 1 MB of a 64 MB log is in memory, and all of it is printed."""

    class Counting(io.StringIO):
        count = 0

        def write(self, text: str) -> int:
            self.count += len(text)
            return len(text)

    stream = Counting()
    line = "x" * 1000
    tracemalloc.start()
    with Failures(stream) as failures:
        for _ in range(64_000):
            failures.take(StepLogged(step(), line))
        failures.take(StepFinished(step(), Outcome.FAILED, 1.0))
        _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000
    assert stream.count > 64_000_000


def test_a_full_disk_loses_the_log_but_not_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """The output reports that the log could not be stored."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", refuse)
    assert collect(fail("", "a", "b")) == [
        *("ERROR:  broke", ""),
        "log of [build 1/3] RUN make: it could not be stored",
    ]


def test_an_exception_does_not_lose_the_output() -> None:
    """On an exception, the collected output is printed, and the exception propagates."""
    stream = io.StringIO()

    def build() -> NoReturn:
        with Failures(stream) as failures:
            for event, label in fail("", "a"):
                failures.take(event, label)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build()
    assert stream.getvalue().splitlines()[-1] == "a"


def test_no_file_stays_open() -> None:
    """Logs of steps without an end are closed too."""
    opened: list[tempfile.SpooledTemporaryFile[str]] = []
    make = tempfile.SpooledTemporaryFile

    def keep(*words: object, **more: object) -> tempfile.SpooledTemporaryFile[str]:
        opened.append(make(*words, **more))  # type: ignore[call-overload]  # as it is called
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "SpooledTemporaryFile", keep)
        collect([*fail("", "a"), (StepLogged(step(2), "b"), "")])
    assert len(opened) == 2
    assert all(each.closed for each in opened)
