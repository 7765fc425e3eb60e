"""Runs of docker: what all of a build's have in common, and one of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.buildx.bake_stream import BakeReader
from bxcache.buildx.command import VARIABLES
from bxcache.buildx.events import Streamed
from bxcache.buildx.metadata import Metadata, parse_metadata
from bxcache.buildx.raw_stream import join_documents, redact_line
from bxcache.buildx.trace import TraceReader
from bxcache.errors import StoppedError
from bxcache.settlement import Heard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from bxcache.buildx.command import Command
    from bxcache.buildx.events import Event
    from bxcache.buildx.trace import Trace
    from bxcache.preparation import Prepared
    from bxcache.redaction import Redactor
    from bxcache.request import BuildRequest


_ONLY = "build"
"""What a build is called that is no target of a bake."""


@dataclass(frozen=True, slots=True)
class Run:
    """What every run of docker in a build has in common.

    Attributes:
        repeat: what to run to save what was built, by the cache options that this takes and the
            file where docker leaves the metadata.
    """

    prepared: Prepared
    redact: Redactor
    tell: Callable[[Event], None]
    repeat: Callable[[Iterable[tuple[str, str]], Path], Command]


@dataclass(frozen=True, slots=True)
class Leash:
    """What ends a run early.

    Attributes:
        seconds: how long it may take.
        is_wrong: whether an event shows that the run does what it should not.
    """

    seconds: float
    is_wrong: Callable[[Event], bool]


def run_build(run: Run, arguments: tuple[str, ...]) -> Heard:
    """Run the build and tell its events."""
    prepared = run.prepared
    reader = TraceReader()
    begun = time.monotonic()
    with prepared.docker.build(
        arguments,
        variables=VARIABLES,
        directory=prepared.request.directory,
        stdout=prepared.request.stdout,
        stop=prepared.request.stop,
    ) as process:
        for line in join_documents(process.read_lines()):
            if prepared.request.raw:
                run.tell(Streamed(redact_line(line, run.redact)))
            for event in reader.feed(line):
                run.tell(event)
        status = process.wait()
    check_stop(prepared.request)
    metadata = read_metadata(prepared.metadata_file) if status == 0 else Metadata()
    trace = reader.finish(metadata.operations)
    return Heard(status, trace, metadata, time.monotonic() - begun)


def run_quietly(run: Run, command: Command, leash: Leash) -> tuple[Heard, str]:
    """Run docker without telling its events; also why it was ended early, or an empty string.

    Args:
        run: the build.
        command: what to run.
        leash: what ends the run early.
    """
    reader = BakeReader(command.targets) if command.targets else BakeReader((_ONLY,))
    begun = time.monotonic()
    ended = ""
    with run.prepared.docker.build(
        command.arguments,
        variables=command.variables,
        directory=run.prepared.request.directory,
        stdout=None,
        seconds=leash.seconds,
        stop=run.prepared.request.stop,
    ) as process:
        for line in join_documents(process.read_lines()):
            if any(leash.is_wrong(event) for _, event in reader.feed(line)):
                ended = "the builder no longer has what it built"
                break
        status = 1 if ended else process.wait()
        if process.is_late:
            ended = f"it took longer than {leash.seconds:.0f} s"
    check_stop(run.prepared.request)
    told = _read_all(command) if status == 0 else Metadata()
    trace = _finish(reader, command, told)
    return Heard(status, trace, told, time.monotonic() - begun), ended


def _finish(reader: BakeReader, command: Command, told: Metadata) -> Trace:
    """The trace of the last target, or of the one for which docker says why it failed."""
    *others, last = command.targets or (_ONLY,)
    traces = [reader.finish(last, told.operations), *map(reader.finish, others)]
    return next((each for each in traces if each.says_why), traces[0])


def _read_all(command: Command) -> Metadata:
    if not command.targets:
        return read_metadata(command.metadata)
    *others, last = (read_metadata(command.metadata, target) for target in command.targets)
    return last.completed(others)


def check_stop(request: BuildRequest) -> None:
    """Go no further where the build is to stop.

    Raises:
        StoppedError: it is.
    """
    if request.stop is not None and request.stop.is_set:
        raise StoppedError("the build was stopped")


def read_metadata(file: Path, target: str = "") -> Metadata:
    """What docker's metadata file says; nothing where there is none.

    Args:
        file: the file.
        target: which one of a bake's targets is meant.
    """
    try:
        return parse_metadata(file.read_text(encoding="utf-8"), target)
    except (OSError, UnicodeDecodeError):
        return Metadata()
