"""Runs of docker: what all of a build's have in common, and one of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.buildx.bake_stream import BakeReader
from bxcache.buildx.build_history import complete_metadata
from bxcache.buildx.command import VARIABLES, Saving, reads_dockerfile
from bxcache.buildx.events import StepStarted, Streamed
from bxcache.buildx.metadata import Metadata, parse_bake_metadata, parse_metadata
from bxcache.buildx.raw_stream import StreamRedactor, join_documents
from bxcache.buildx.trace_reader import TraceReader
from bxcache.buildx.vertex_names import EXPORTS
from bxcache.config.paths import LARGEST_DOCKERFILE
from bxcache.config.quantities import format_size
from bxcache.errors import ConfigError, Problem, StoppedError
from bxcache.preparation import read_metadata
from bxcache.process import read_stdin
from bxcache.settlement import Heard, find_trouble
from bxcache.store.staging import draw_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bxcache.buildx.command import Command
    from bxcache.buildx.events import Event
    from bxcache.buildx.trace import CacheTransfer, Trace
    from bxcache.plan.plan import BuildPlan, CacheUse
    from bxcache.preparation import Prepared
    from bxcache.redaction import Redactor
    from bxcache.request import BuildRequest


_ONLY = "build"
"""What a build is called that is no target of a bake."""


@dataclass(frozen=True, slots=True)
class Run:
    """What every run of docker in a build has in common.

    Attributes:
        repeat: what to run to save what was built.
        stdin: the Dockerfile, where docker reads it from stdin; each run is given it.
    """

    prepared: Prepared
    redact: Redactor
    tell: Callable[[Event], None]
    repeat: Callable[[Saving], Command]
    stdin: bytes | None = None


def take_stdin(prepared: Prepared) -> bytes | None:
    """The Dockerfile, where it is read from stdin; None where docker may read that by itself.

    Raises:
        ConfigError: it is larger than any.
        StoppedError: the build is to stop.
    """
    request = prepared.request
    if not reads_dockerfile(prepared.setup.config.build, request.extra):
        return None
    data = read_stdin(LARGEST_DOCKERFILE + 1, request.stop)
    check_stop(request)
    if len(data) > LARGEST_DOCKERFILE:
        why = f"is a Dockerfile of at most {format_size(LARGEST_DOCKERFILE)} on stdin"
        raise ConfigError([Problem("--file", "-", why)])
    return data


def run_build(run: Run, arguments: tuple[str, ...]) -> Heard:
    """Run the build and tell its events."""
    reader = TraceReader()
    begun = time.monotonic()

    def take(line: str) -> None:
        for event in reader.feed(line):
            run.tell(event)

    status = run_docker(run, arguments, take)
    for event in reader.end():
        run.tell(event)
    metadata = Metadata()
    if status == 0:
        told = parse_metadata(read_metadata(run.prepared.metadata_file))
        metadata = complete_metadata(run.prepared.docker, told)
    trace = reader.finish(metadata.operations)
    return Heard(status, trace, metadata, time.monotonic() - begun)


def run_docker(run: Run, arguments: Sequence[str], take: Callable[[str], None]) -> int:
    """Run docker for a build, and give its exit status.

    Args:
        run: the build.
        arguments: what follows `docker`.
        take: is given each line of the stream.
    """
    request, mask = run.prepared.request, StreamRedactor(run.redact)
    with run.prepared.docker.build(
        arguments,
        variables=VARIABLES,
        directory=request.directory,
        stdout=request.stdout,
        stop=request.stop,
        fed=run.stdin is not None,
    ) as process:
        if run.stdin is not None:
            process.feed(run.stdin)
        for line in join_documents(process.read_lines()):
            if request.raw:
                run.tell(Streamed(mask(line)))
            take(line)
        status = process.wait()
    for line in mask.finish():
        run.tell(Streamed(line))
    check_stop(request)
    return status


def run_quietly(
    run: Run,
    command: Command,
    seconds: float,
    *,
    feed: Callable[[], str] | None = None,
    hear: Callable[[Event], None] | None = None,
) -> tuple[Heard, str]:
    """Save what was built, without telling of it; also why that was ended early, or nothing.

    It is ended when it executes a step: a builder that has dropped what it built is not to build it
    twice.

    Args:
        run: the build.
        command: what to run.
        seconds: how long it may take.
        feed: gives what docker reads from its stdin, when the time for that has come.
        hear: is given what happens nevertheless.
    """
    reader = BakeReader(command.targets) if command.targets else BakeReader((_ONLY,))
    begun = time.monotonic()
    ended = ""
    with run.prepared.docker.build(
        command.arguments,
        variables=command.variables,
        directory=run.prepared.request.directory,
        stdout=None,
        seconds=seconds,
        stop=run.prepared.request.stop,
        fed=feed is not None,
    ) as process:
        if feed is not None:
            process.feed(feed().encode(errors="replace"))
        for line in join_documents(process.read_lines()):
            events = [event for _, event in reader.feed(line)]
            again = next(filter(executes, events), None)
            if again is not None:
                ended = _tell_again(again)
                break
            if hear is not None:
                for event in events:
                    hear(event)
        status = 1 if ended else process.wait()
        if process.is_late:
            ended = f"it took longer than {seconds:.0f} s"
    check_stop(run.prepared.request)
    told = _read_all(run, command) if status == 0 else Metadata()
    trace = _finish(reader, command, told)
    return Heard(status, trace, told, time.monotonic() - begun), ended


def save_quietly(
    run: Run, plan: BuildPlan, use: CacheUse, seconds: float, platform: str = ""
) -> tuple[Heard, list[CacheTransfer], str]:
    """Save what was built to one cache.

    Args:
        run: the build.
        plan: what it was to do about caches.
        use: the cache.
        seconds: how long that may take.
        platform: the only platform that is saved; all of the build's where it is empty.

    Returns:
        what became of the run, its exports, and why they are not what they were to be, or nothing.
    """
    options = tuple(each.option for each in (*plan.imports, use))
    # Each run has a file of its own: docker leaves an older one as it is.
    saving = Saving(options, run.prepared.folder / f"{draw_name()}.json", platform)
    heard, ended = run_quietly(run, run.repeat(saving), seconds)
    transfers = heard.trace.find_transfers(EXPORTS[use.backend])
    return heard, transfers, find_trouble(heard, transfers, ended)


def executes(event: Event) -> bool:
    """Whether a run does more than to save what was built."""
    return isinstance(event, StepStarted)


def _tell_again(event: Event) -> str:
    step = f"`{event.step.label} {event.step.text}`" if isinstance(event, StepStarted) else "a step"
    why = "the builder no longer has it, or the context has changed meanwhile"
    return f"{step} would be executed again: {why}"


def _finish(reader: BakeReader, command: Command, told: Metadata) -> Trace:
    """The trace of the last target, or of the one for which docker says why it failed."""
    *others, last = command.targets or (_ONLY,)
    traces = [reader.finish(last, told.operations), *map(reader.finish, others)]
    return next((each for each in traces if each.says_why), traces[0])


def _read_all(run: Run, command: Command) -> Metadata:
    text, docker = read_metadata(command.metadata), run.prepared.docker
    if not command.targets:
        return complete_metadata(docker, parse_metadata(text))
    found = parse_bake_metadata(text, command.targets).values()
    *others, last = (complete_metadata(docker, each) for each in found)
    return last.completed(others)


def check_stop(request: BuildRequest) -> None:
    """Go no further where the build is to stop.

    Raises:
        StoppedError: it is.
    """
    if request.stop is not None and request.stop.is_set:
        raise StoppedError("the build was stopped")
