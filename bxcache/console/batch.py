"""Several images side by side: their events as lines, and what became of them."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, TextIO

from bxcache.batch import find_status
from bxcache.config.quantities import format_count
from bxcache.console.document import describe_result
from bxcache.console.progress import PlainProgress, QuietProgress, format_seconds
from bxcache.console.summary import render_summary
from bxcache.console.tables import show_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bxcache.batch import ImageOutcome
    from bxcache.buildx.events import Event


class BatchProgress:
    """The events of several builds, each line with its image in front."""

    def __init__(self, stream: TextIO, names: Sequence[str], *, quiet: bool) -> None:
        width = max(map(len, names), default=0)
        self._lock = Lock()
        self._writers = {
            name: QuietProgress() if quiet else PlainProgress(stream, f"{name:<{width}} | ")
            for name in names
        }

    def __call__(self, name: str, event: Event) -> None:
        """Write an event of an image."""
        with self._lock:
            self._writers[name](event)


def render_batch(outcomes: Mapping[str, ImageOutcome], seconds: float, *, quiet: bool) -> str:
    """What became of each image, then of all; with `quiet` only of those that failed."""
    lines = []
    for name, each in outcomes.items():
        if each.result is not None and not quiet:
            lines += [f"{name}: {line}" for line in render_summary(each.result).splitlines()]
        if each.error is not None:
            words = str(each.error).splitlines()
            lines += [f"{name}: {show_text(line)}" for line in words if line]
    failed = sum(1 for each in outcomes.values() if each.exit_status)
    told = [f"{len(outcomes) - failed} built", *([f"{failed} failed"] if failed else [])]
    count = format_count(len(outcomes), "image")
    return "\n".join([*lines, f"{count}: {', '.join(told)}, in {format_seconds(seconds)}"])


def describe_batch(outcomes: Mapping[str, ImageOutcome]) -> dict[str, Any]:
    """The same for scripts: the document of each build by its image."""
    return {
        "exit_status": find_status(outcomes),
        "images": {name: _describe(each) for name, each in outcomes.items()},
    }


def _describe(outcome: ImageOutcome) -> dict[str, Any]:
    told = describe_result(outcome.result) if outcome.result is not None else {}
    error = str(outcome.error) if outcome.error is not None else ""
    return {**told, "exit_status": outcome.exit_status, "error": error}
