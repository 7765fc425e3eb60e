"""What is told last of builds that fail: all of it, whatever happens, and nothing else."""

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


def tell(events: Iterable[tuple[Event, str]], *forgiven: str) -> list[str]:
    """What is told of events, each with its image."""
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
    """As it was printed while it ran; only what moves the cursor is made visible."""
    log = tell(fail("", "\tat com.foo.Bar", "\x1b[31mFAIL\x1b[0m", "\x1b[2Jx"))[-3:]
    assert log == ["\tat com.foo.Bar", "\x1b[31mFAIL\x1b[0m", r"\x1b[2Jx"]


def test_what_one_line_hides_does_not_hide_the_next() -> None:
    """Each ends its own colours; one that has ended them already is left as it is."""
    lines = ["\x1b[8mhidden", "\x1b[31mred\x1b[m", "\x1b[0;1mbold", "\x1b[38;5;0mblack", "plain"]
    assert tell(fail("", *lines))[-5:] == [
        *("\x1b[8mhidden\x1b[0m", "\x1b[31mred\x1b[m", "\x1b[0;1mbold\x1b[0m"),
        *("\x1b[38;5;0mblack\x1b[0m", "plain"),
    ]


def test_words_come_first_then_the_log_of_each() -> None:
    """With the image, where there are several; no log is mixed with another."""
    both = zip(fail("api", "a", "b"), fail("web", "x", "y"), strict=True)
    events = [each for pair in both for each in pair]
    assert tell(events) == [
        *("api | ERROR: api broke", "web | ERROR: web broke", ""),
        *("log of api | [build 1/3] RUN make:", "a", "b", ""),
        *("log of web | [build 1/3] RUN make:", "x", "y"),
    ]


def test_nothing_is_told_of_what_went_well() -> None:
    """Neither its log nor, of an image that was built in the end, what its first run said."""
    done = StepFinished(step(), Outcome.EXECUTED, 1.0)
    assert tell([(StepLogged(step(), "a"), ""), (done, "")]) == []
    assert tell([*fail("api", "a"), *fail("web", "x")], "api", "web") == []
    told = tell([*fail("api", "a"), *fail("web", "x")], "api")
    assert told == ["web | ERROR: web broke", "", "log of web | [build 1/3] RUN make:", "x"]


def test_two_steps_of_one_name_are_told_apart() -> None:
    """As those of two platforms; the log of one that fails is not mixed with the other's."""
    ended = {"amd64": Outcome.EXECUTED, "arm64": Outcome.FAILED}
    events: list[Event] = [
        *(StepStarted(step(), vertex) for vertex in ended),
        *(StepLogged(step(), f"of {vertex}", vertex) for vertex in ended),
        *(StepFinished(step(), ended[each], 1.0, vertex=each) for each in ("arm64", "amd64")),
    ]
    assert tell((each, "") for each in events) == ["", "log of [build 1/3] RUN make:", "of arm64"]


@pytest.mark.parametrize("vertex", ["", "sha256:ab"])
def test_an_event_that_is_masked_is_still_of_its_step(vertex: str) -> None:
    """Whatever else of it is a secret."""
    redact, told = Redactor(["make"]), StepLogged(step(), "to make", vertex)
    masked = StepName(None, "build", 1, 3, "RUN ***\nRUN more")
    assert redact_event(told, redact) == StepLogged(masked, "to ***", vertex)
    assert redact_event(StepStarted(step(), vertex), redact) == StepStarted(masked, vertex)
    for each in (Outcome.EXECUTED, Outcome.FAILED):
        done = StepFinished(step(), each, 1.0, "make: no", vertex)
        assert redact_event(done, redact) == StepFinished(masked, each, 1.0, "***: no", vertex)


def test_of_a_second_run_other_vertices_have_the_same_names() -> None:
    """What failed in the first one is told no more; of another image it is."""
    old, new = (StepFinished(step(), Outcome.FAILED, 1.0, vertex=each) for each in ("a", "b"))
    again: list[Event] = [RunStarted(), StepLogged(step(), "second", "b"), new]
    first: list[Event] = [StepLogged(step(), "first", "a"), old]
    told = tell(
        [*((each, "api") for each in first), *fail("web", "x"), *((e, "api") for e in again)]
    )
    assert [line for line in told if line in {"first", "second", "x"}] == ["x", "second"]


def test_a_second_run_counts_alone() -> None:
    """Of a step that fails twice the last log is told, of one that then succeeds none."""
    assert tell([*fail("", "first"), *fail("", "second")])[-2:] == [
        "log of [build 1/3] RUN make:",
        "second",
    ]
    done = StepFinished(step(), Outcome.EXECUTED, 1.0)
    assert tell([*fail("", "first"), (StepStarted(step()), ""), (done, "")]) == ["ERROR:  broke"]


PRINTED = st.text(st.characters(categories=("L", "N"), include_characters=" "), max_size=50)


@given(st.lists(PRINTED, min_size=1))
def test_a_log_is_told_line_by_line(lines: list[str]) -> None:
    """None is lost, joined or broken."""
    assert tell(fail("", *lines))[3:] == lines


def test_a_long_log_takes_no_memory() -> None:
    """Of 64 MB at most one is in memory, and all of it is told."""

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


def test_a_full_disk_costs_the_log_and_not_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said that there is none."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", refuse)
    assert tell(fail("", "a", "b")) == [
        *("ERROR:  broke", ""),
        "log of [build 1/3] RUN make: it could not be kept",
    ]


def test_an_error_in_between_is_told_too() -> None:
    """What is known by then, and the error goes on."""
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
    """Also that of a step that never came to its end."""
    opened: list[tempfile.SpooledTemporaryFile[str]] = []
    make = tempfile.SpooledTemporaryFile

    def keep(*words: object, **more: object) -> tempfile.SpooledTemporaryFile[str]:
        opened.append(make(*words, **more))  # type: ignore[call-overload]  # as it is called
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "SpooledTemporaryFile", keep)
        tell([*fail("", "a"), (StepLogged(step(2), "b"), "")])
    assert len(opened) == 2
    assert all(each.closed for each in opened)
