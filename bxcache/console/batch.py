"""Several images side by side: their events as lines, and what became of them."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, TextIO

from bxcache.config.quantities import format_count
from bxcache.console.document import describe_result
from bxcache.console.progress import PlainProgress, QuietProgress, format_seconds
from bxcache.console.summary import render_summary
from bxcache.console.tables import show_line, show_text
from bxcache.pipeline.result import find_status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bxcache.buildx.stream.events import Event
    from bxcache.pipeline.result import ImageOutcome


IMAGES, TARGETS = "image", "target"
"""What is built several at once."""
_INDENT = "  "


class BatchProgress:
    """The events of several builds, each line with its image in front."""

    def __init__(
        self,
        stream: TextIO,
        names: Sequence[str],
        *,
        quiet: bool,
        defuse: Callable[[str], str] = show_line,
    ) -> None:
        """Nothing is written yet.

        Args:
            stream: where lines go.
            names: the images, as far as they are known; the widest of them makes the column. What
                has an empty name has none.
            quiet: only keep what docker says.
            defuse: what makes a line fit to be printed there.
        """
        self._width = max(map(len, names), default=0)
        self._lock = Lock()
        self._stream, self._quiet, self._defuse = stream, quiet, defuse
        self._writers: dict[str, QuietProgress | PlainProgress] = {}

    def __call__(self, name: str, event: Event) -> None:
        """Write an event of an image."""
        with self._lock:
            if name not in self._writers:
                self._width = max(self._width, len(name))
                self._writers[name] = self._open(name)
            self._writers[name](event)

    def _open(self, name: str) -> QuietProgress | PlainProgress:
        if self._quiet:
            return QuietProgress()
        label = f"{name:<{self._width}} | " if name else ""
        return PlainProgress(self._stream, label, self._defuse)


def render_batch(
    outcomes: Mapping[str, ImageOutcome], seconds: float, *, quiet: bool, what: str = IMAGES
) -> str:
    """What became of each image, below its name, then of all; with `quiet` only why some failed."""
    lines = []
    for name, each in outcomes.items():
        if each.result is not None and not quiet:
            told = render_summary(each.result).splitlines()
            lines += [f"{name}:", *(f"{_INDENT}{line}" for line in told)]
        if each.error is not None:
            words = str(each.error).splitlines()
            lines += [f"{name}: {show_text(line)}" for line in words if line]
    failed = sum(1 for each in outcomes.values() if each.exit_status)
    told = [f"{len(outcomes) - failed} built", *([f"{failed} failed"] if failed else [])]
    count = format_count(len(outcomes), what)
    return "\n".join([*lines, f"{count}: {', '.join(told)}, in {format_seconds(seconds)}"])


def describe_batch(outcomes: Mapping[str, ImageOutcome], what: str = IMAGES) -> dict[str, Any]:
    """The same for scripts: the document of each build by its image or target."""
    return {
        "exit_status": find_status(outcomes),
        f"{what}s": {name: _describe(each) for name, each in outcomes.items()},
    }


def _describe(outcome: ImageOutcome) -> dict[str, Any]:
    told = describe_result(outcome.result) if outcome.result is not None else {}
    error = str(outcome.error) if outcome.error is not None else ""
    return {**told, "exit_status": outcome.exit_status, "error": error}
