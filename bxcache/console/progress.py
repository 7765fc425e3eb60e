"""Events of a build as lines of text, with a writer for each `--progress`."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, TextIO

from bxcache.buildx.stream import events
from bxcache.buildx.stream.events import Event, Outcome
from bxcache.config.quantities import format_seconds
from bxcache.console.phases import name_phase
from bxcache.console.tables import defuse_json, show_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from bxcache.buildx.stream.events import Phase
    from bxcache.buildx.stream.names import StepName

_LINE_ENDS = re.compile("[\x85\u2028\u2029]")
_CODES = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "dim": 2}
_COLORS = {Outcome.REUSED: "cyan", Outcome.EXECUTED: "green", Outcome.FAILED: "red"}
_STATE_WIDTH = 8
_LEAST_WORK = 1.0
"""In seconds. Shorter work beside the steps is not worth a line."""
_TIME_WIDTH = 8
_INDENT = " " * (_STATE_WIDTH + _TIME_WIDTH + 2)


class PlainProgress:
    """Writes each step with its outcome, and its log as it comes."""

    def __init__(
        self, stream: TextIO, label: str = "", defuse: Callable[[str], str] = show_line
    ) -> None:
        """Prefix each line with a label; `defuse` makes it safe to print."""
        self._stream, self._label, self._defuse = stream, label, defuse
        self._is_colored = shows_colors(stream)

    def __call__(self, event: Event) -> None:
        """Write an event, if it has text."""
        text = self.render(event)
        if text is not None:
            print(text, file=self._stream, flush=True)

    def render(self, event: Event) -> str | None:
        """Render an event as lines with the label; return None if it has no text."""
        text = self._render(event)
        if text is None:
            return None
        return "\n".join(self._defuse(f"{self._label}{line}") for line in text.split("\n"))

    def _render(self, event: Event) -> str | None:
        match event:
            case events.StepStarted(step):
                return self._line("started", "", step)
            case events.StepFinished(step, outcome, seconds):
                took = "" if outcome is Outcome.REUSED else format_seconds(seconds)
                return self._line(outcome.value, took, step, _COLORS[outcome])
            case events.StepStopped(step, seconds):
                return self._line("stopped", format_seconds(seconds), step)
            case events.StepLogged(step, line):
                return f"{_INDENT}{self._paint(step.label, 'dim')} {line}"
            case events.Worked(phase, _, seconds):
                return self._describe_work(phase, seconds)
            case events.Said(line):
                return line
            case events.Warned(text) | events.Noted(text):
                is_warning = isinstance(event, events.Warned)
                head = ("warning:", "yellow") if is_warning else ("note:", "dim")
                return f"{self._paint(*head)} {text}"
            case (
                events.RunStarted()
                | events.StepListed()
                | events.StepShown()
                | events.Streamed()
                | events.Transferred()
                | events.Recalled()
            ):
                return None

    def _describe_work(self, phase: Phase, seconds: float | None) -> str | None:
        """Describe work beside the steps that took long."""
        if seconds is None or seconds < _LEAST_WORK:
            return None
        shown = self._paint(f"{'done':<{_STATE_WIDTH}}", "dim")
        return f"{shown} {format_seconds(seconds):>{_TIME_WIDTH}} {name_phase(phase)}"

    def _line(self, state: str, took: str, step: StepName, color: str = "dim") -> str:
        shown = self._paint(f"{state:<{_STATE_WIDTH}}", color)
        first = step.text.splitlines()[0] if step.text else ""
        return f"{shown} {took:>{_TIME_WIDTH}} {step.label} {first}"

    def _paint(self, text: str, color: str) -> str:
        return paint(text, color) if self._is_colored else text


def paint(text: str, color: str) -> str:
    """Color a text for a terminal."""
    return f"\x1b[{_CODES[color]}m{text}\x1b[0m"


def shows_colors(stream: TextIO) -> bool:
    """Whether a stream shows colors, by https://no-color.org and https://force-color.org."""
    if os.environ.get("NO_COLOR"):
        return False
    forced = bool(os.environ.get("FORCE_COLOR"))
    return forced or (stream.isatty() and os.environ.get("TERM") != "dumb")


class RawProgress:
    """Writes only BuildKit's own stream; bxcache's own messages come last."""

    def __init__(self, stream: TextIO, defuse: Callable[[str], str] | None = None) -> None:
        """In a CI job, `defuse` makes a line that is not a document safe to print."""
        self._stream, self._defuse = stream, defuse

    def __call__(self, event: Event) -> None:
        """Write an event that is a line of the stream."""
        if isinstance(event, events.Streamed):
            print(self._render(event.line), file=self._stream, flush=True)

    def _render(self, line: str) -> str:
        if self._defuse is None:
            return line
        return defuse_json(line) if _is_document(line) else self._defuse(line)


class DocumentLog(RawProgress):
    """Writes BuildKit's stream as JSON only, a document per line.

    Docker's own output becomes a document too: `{"stderr": "a line"}`.
    """

    def _render(self, line: str) -> str:
        text = line if _is_document(line) else json.dumps({"stderr": line})
        # JSON does not escape these, and some readers take them for the end of a line.
        return _LINE_ENDS.sub(lambda found: rf"\u{ord(found[0]):04x}", text)


def _is_document(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


class QuietProgress:
    """Keeps docker's own output, for a build that fails."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, event: Event) -> None:
        """Keep docker's own output."""
        if isinstance(event, events.Said):
            self.said.append(event.line)
