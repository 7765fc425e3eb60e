"""Where the events of a build go: a terminal, plain lines, a file."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bxcache.buildx.events import Event
    from bxcache.console.live import LiveProgress
    from bxcache.console.progress import PlainProgress, QuietProgress, RawProgress

    Progress = LiveProgress | PlainProgress | QuietProgress | RawProgress


@contextmanager
def open_progress(mode: str) -> Iterator[Progress]:
    """What shows the progress of a build, as `--progress` asks for it."""
    if (mode == "tty" and sys.stderr.isatty()) or (mode == "auto" and is_live(sys.stderr)):
        from bxcache.console.live import LiveProgress  # noqa: PLC0415  # only a terminal needs it

        with LiveProgress(sys.stderr) as live:
            yield live
        return
    from bxcache.console.progress import (  # noqa: PLC0415
        PlainProgress,
        QuietProgress,
        RawProgress,
    )

    if mode == "rawjson":
        yield RawProgress(sys.stderr)
    elif mode in ("quiet", "none"):
        yield QuietProgress()
    else:
        yield PlainProgress(sys.stderr)


def is_live(stream: TextIO) -> bool:
    """Whether somebody looks at a terminal that can be drawn on."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and "CI" not in os.environ


@contextmanager
def open_log(
    path: Path | None, observe: Callable[[Event], None]
) -> Iterator[Callable[[Event], None]]:
    """An observer that also keeps BuildKit's stream in a file, where one is named.

    Raises:
        click.UsageError: the file cannot be written.
    """
    if path is None:
        yield observe
        return
    from bxcache.console.progress import RawProgress  # noqa: PLC0415

    try:
        file = path.open("w", encoding="utf-8", errors="replace")
    except OSError as error:
        raise click.UsageError(f"`--log {path}` cannot be written: {error.strerror}") from error
    with file:
        keep = RawProgress(file)

        def tell(event: Event) -> None:
            keep(event)
            observe(event)

        yield tell
