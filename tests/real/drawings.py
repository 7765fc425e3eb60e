"""The parts of a live view, row by row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

_LABEL = r"(?P<label>\S+ \| )?"
_TOOK = r"(?:\d+ h )?(?:\d+ m )?(?:[\d.]+ s)?"
_DONE = re.compile(rf"{_LABEL}(?:(?:executed|failed) +{_TOOK} +\[|done +{_TOOK} [a-z])")
_SAID = re.compile(rf"{_LABEL}(?:note|warning): ")
_STAGE = re.compile(r"[>+=! ] (?P<name>\S+(?: \S+)*?) +(?P<done>\d+)/(?P<total>\d+)(?= |$)")
_BELOW = re.compile(r" {2,}\S")
_ABOVE = re.compile(r"… \d+ stages? above")
_COUNT = r"\d+ (?:reused|executed|failed|running|waiting)"
_TALLY = re.compile(rf"(?:preparing|{_COUNT}(?:, {_COUNT})*), {_TOOK}")
_RUNNING = re.compile(rf" +(?P<took>{_TOOK})(?: \(last {_TOOK}\))? (?:RUN|COPY|ADD) ")
_BAR = re.compile(
    r"  fetching \d+ layers? \[(?P<bar>#+-+)\] "
    r"(?P<done>[\d.]+ [kMG]?B) of (?P<total>[\d.]+ [kMG]?B)"
)


def is_tally(row: str) -> bool:
    """Whether a row is the last one of a view."""
    return bool(_TALLY.match(row))


def list_stages(screen: Sequence[str]) -> list[str]:
    """List the stages that have a line, in order."""
    return [found["name"] for row in screen if (found := _STAGE.match(row)) is not None]


def list_running(screen: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield how long each running step has taken, and the row below it."""
    for row, below in zip(screen, [*screen[1:], ""], strict=True):
        found = _RUNNING.match(row)
        if found is not None:
            yield found["took"], below.strip()


def find_bar(screen: Sequence[str]) -> tuple[str, str, str] | None:
    """Return what a fetch shows: its bar, the size fetched so far, and the total."""
    found = next(filter(None, map(_BAR.match, screen)), None)
    return (found["bar"], found["done"], found["total"]) if found is not None else None


def check_stayed(rows: Iterable[str]) -> None:
    """Check that each row is the line of a step, and that none continues in a second row."""
    for row in filter(None, rows):
        assert _DONE.match(row), row


def check_screen(screen: Sequence[str]) -> None:
    """Check that a screen shows lasting lines, then one view; only messages take several rows.

    Remains of an earlier view would be a second tally, or a second line of a stage.
    """
    rows = [*filter(None, screen)]
    first = next((at for at, row in enumerate(rows) if _is_drawn(row)), len(rows))
    check_stayed(_leave_said(rows[:first]))
    if rows[first:]:
        *above, last = rows[first:]
        assert is_tally(last), "\n".join(rows)
        wrong = [row for row in above if is_tally(row) or not _is_drawn(row)]
        assert not wrong, "\n".join(rows)
        stages = list_stages(above)
        assert len(stages) == len({*stages}), "\n".join(rows)


def _is_drawn(row: str) -> bool:
    return is_tally(row) or any(each.match(row) for each in (_STAGE, _BELOW, _ABOVE))


def _leave_said(rows: Sequence[str]) -> Iterator[str]:
    """Yield the rows without messages, which may take several rows."""
    said = False
    for row in rows:
        said = bool(_SAID.match(row)) or (said and not _DONE.match(row))
        if not said:
            yield row
