"""Runs of docker for a build."""

from __future__ import annotations

import re
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, TypeGuard

from msgspec import Struct
from msgspec.structs import replace

from bxcache.buildx.build_history import complete_metadata
from bxcache.buildx.command import VARIABLES, Command, Saving, reads_dockerfile
from bxcache.buildx.metadata import Metadata, parse_bake_metadata, parse_metadata
from bxcache.buildx.stream.causes import prepend_cause
from bxcache.buildx.stream.events import (
    Outcome,
    Phase,
    RunStarted,
    StepStarted,
    Streamed,
    Worked,
)
from bxcache.buildx.stream.phases import Span
from bxcache.buildx.stream.raw import ERROR, StreamRedactor, join_documents
from bxcache.buildx.stream.reader import TraceReader
from bxcache.config.paths import LARGEST_DOCKERFILE
from bxcache.config.quantities import format_size
from bxcache.config.wording import name_option
from bxcache.errors import ConfigError, Problem, StoppedError
from bxcache.process import read_stdin, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bxcache.buildx.bake.stream import BakeReader
    from bxcache.buildx.capabilities import Capabilities
    from bxcache.buildx.driver import Docker
    from bxcache.buildx.stream.events import Event
    from bxcache.buildx.stream.trace import Trace
    from bxcache.config.models import BuildSettings
    from bxcache.process import Stop
    from bxcache.redaction import Redactor

METADATA = "metadata.json"
"""The metadata file of a build in its folder."""
_ONLY = "build"
"""The name of a build that is not a target of a bake."""
_MISSING = re.compile(r"no such file or directory|not found|could not be found")
"""How docker and BuildKit report a missing context, Dockerfile or stage."""


def locate_folder(name: str) -> Path:
    """The folder for small files of a build of a name."""
    return Path(tempfile.gettempdir()) / f"bxcache-{name}"


class Runner(Struct, frozen=True):
    """The settings that all runs of docker in one build share.

    Attributes:
        folder: the build's own folder for small files.
        repeat: renders a run that only saves what was built.
        stdin: the Dockerfile, if docker reads it from stdin; passed to each run.
        stdout: the file descriptor for docker's stdout; None discards it.
        raw: also report each line of BuildKit's stream as an event.
        missing: the words for what the build lacks, which replace docker's error about it.
    """

    docker: Docker
    capabilities: Capabilities
    settings: BuildSettings
    directory: Path
    extra: tuple[str, ...]
    folder: Path
    redact: Redactor
    report: Callable[[Event], None]
    repeat: Callable[[Saving], Command]
    stdin: bytes | None = None
    stdout: int | None = None
    stop: Stop | None = None
    raw: bool = False
    missing: str | None = None

    def explain(self, line: str) -> str:
        """Return a line of docker; an error has its cause in words, if that is known."""
        if not line.startswith(ERROR):
            return line
        if self.missing and _MISSING.search(line):
            return f"{ERROR}{self.missing}"
        return f"{ERROR}{prepend_cause(line.removeprefix(ERROR))}"

    @property
    def metadata_file(self) -> Path:
        """The metadata file of the build's own run."""
        return self.folder / METADATA

    def name_metadata(self) -> Path:
        """Name a metadata file for another run; docker does not overwrite an old one."""
        return self.folder / f"{token_hex(6)}.json"


class RunResult(Struct, frozen=True):
    """The result of a run of docker; its metadata is empty for a failed build.

    Attributes:
        spans: what the time was spent on, by this machine's clock.
        offset: what to add to the builder's times to get those of this machine; None if unknown.
        is_late: whether it was stopped because its exports took too long.
    """

    exit_status: int
    trace: Trace
    metadata: Metadata
    seconds: float
    spans: tuple[Span, ...] = ()
    offset: float | None = None
    is_late: bool = False

    @property
    def error(self) -> str:
        """Docker's own error message, or one with its exit status."""
        bare = f"docker ended with exit status {self.exit_status} and without a message"
        return self.trace.last_error or bare

    def after(self, first: RunResult) -> RunResult:
        """Merge with an earlier run: a step executed in either counts as executed.

        A failed run does not replace a successful one.
        """
        spans = join_spans(first.spans, self.spans)
        if self.exit_status and not first.exit_status:
            return replace(first, spans=spans)
        executed = {
            step.name: step for step in first.trace.steps if step.outcome is Outcome.EXECUTED
        }
        steps = (
            replace(executed[step.name], digests=step.digests)
            if step.outcome is Outcome.REUSED and step.name in executed
            else step
            for step in self.trace.steps
        )
        trace = replace(self.trace, steps=tuple(steps))
        return replace(self, trace=trace, seconds=first.seconds + self.seconds, spans=spans)


def join_spans(first: tuple[Span, ...], second: tuple[Span, ...]) -> tuple[Span, ...]:
    """Join the spans of two runs; bxcache prepared the second one in between."""
    if not first or not second:
        return first + second
    between = max(each.ended for each in first), min(each.began for each in second)
    return (*first, Span(Phase.START, *between), *second)


class Stopwatch:
    """Measures a run of docker, from its start."""

    def __init__(self) -> None:
        self._began, self._begun = time.time(), time.monotonic()
        self._first: float | None = None

    @property
    def seconds(self) -> float:
        """How long it has been running, in seconds."""
        return time.monotonic() - self._begun

    def take(self, event: Event) -> None:
        """Note when BuildKit begins to work."""
        if isinstance(event, RunStarted) and self._first is None:
            self._first = self.seconds

    def place(self, ran: RunResult, began: float | None) -> RunResult:
        """Add to a result of the run what its time was spent on.

        `began` is BuildKit's first action, by the builder's clock, which can be another one.
        """
        start, end = self._began, self._began + ran.seconds
        if began is None or self._first is None:
            return replace(ran, spans=(Span(Phase.DOCKER, start, end),))
        first = start + self._first
        offset = first - began
        own = [each.shift(offset) for each in ran.trace.spans]
        last = max((each.ended for each in own), default=first)
        edges = Span(Phase.DOCKER, start, first), Span(Phase.DOCKER, last, end)
        return replace(ran, spans=(*own, *edges), offset=offset)


def take_stdin(settings: BuildSettings, extra: Sequence[str], stop: Stop | None) -> bytes | None:
    """Read the Dockerfile if it comes from stdin; raise ConfigError if it is too large."""
    if not reads_dockerfile(settings, extra):
        return None
    data = read_stdin(LARGEST_DOCKERFILE + 1, stop)
    check_stop(stop)
    if len(data) > LARGEST_DOCKERFILE:
        why = f"is a Dockerfile of at most {format_size(LARGEST_DOCKERFILE)} on stdin"
        raise ConfigError([Problem(name_option("file"), "-", why)])
    return data


def run_build(
    runner: Runner,
    arguments: tuple[str, ...],
    begin: Callable[[], None],
    limit: float | None = None,
) -> RunResult:
    """Run the build and report its events, as `run_docker`."""
    reader, watch = TraceReader(), Stopwatch()

    def take(line: str) -> Iterator[Event]:
        for event in reader.feed(line):
            watch.take(event)
            runner.report(event)
            yield event

    ended = run_docker(runner, arguments, take, begin, limit)
    for event in reader.end():
        runner.report(event)
    command = Command(arguments, runner.metadata_file)
    metadata = _read_all(runner, command) if ended.status == 0 else Metadata()
    trace = reader.finish(metadata.operations)
    ran = RunResult(ended.status, trace, metadata, watch.seconds, is_late=ended.is_late)
    return watch.place(ran, ran.trace.began)


class Ended(Struct, frozen=True):
    """The end of a run of docker: its exit status, and whether its exports took too long."""

    status: int
    is_late: bool = False


def run_docker(
    runner: Runner,
    arguments: Sequence[str],
    take: Callable[[str], Iterable[Event]],
    begin: Callable[[], None],
    limit: float | None,
) -> Ended:
    """Run docker for a build.

    Args:
        take: gets each line of the stream, and returns its events.
        begin: called once docker has started.
        limit: how many seconds exports may take before docker is stopped; None for any time.
    """
    mask, exporting = StreamRedactor(runner.redact), 0
    with run(
        (*runner.docker.command, *arguments),
        variables=VARIABLES,
        directory=runner.directory,
        stdout=runner.stdout,
        stop=runner.stop,
        fed=runner.stdin is not None,
    ) as process:
        if runner.stdin is not None:
            process.feed(runner.stdin)
        begin()
        for line in join_documents(process.read_lines()):
            if runner.raw:
                runner.report(Streamed(mask(line)))
            for event in take(runner.explain(line)):
                if limit is not None and isinstance(event, Worked) and event.phase is Phase.SAVE:
                    exporting += 1 if event.seconds is None else -1
                    process.limit(limit if exporting > 0 else None)
        ended = Ended(process.wait(), process.is_late)
    for line in mask.finish():
        runner.report(Streamed(line))
    check_stop(runner.stop)
    return ended


@contextmanager
def report_work(report: Callable[[Event], None], phase: Phase, item: str) -> Iterator[None]:
    """Report the block as work of a phase, with its time."""
    begun = time.monotonic()
    report(Worked(phase, item))
    try:
        yield
    finally:
        report(Worked(phase, item, time.monotonic() - begun))


def run_quietly(
    runner: Runner,
    command: Command,
    seconds: float,
    *,
    feed: Callable[[], str] | None = None,
    observe: Callable[[Event], None] | None = None,
) -> tuple[RunResult, str]:
    """Save what was built, without reporting events; also return why it ended early, if it did.

    The run ends if it executes a step: a builder that evicted a step must not build it twice.
    `feed` is called once docker runs, and returns the text for its stdin.
    """
    from bxcache.buildx.bake.stream import BakeReader  # noqa: PLC0415  # after the build

    reader, begun, ended = BakeReader(command.targets or (_ONLY,)), time.monotonic(), ""
    with (
        report_work(runner.report, Phase.RERUN, command.metadata.name),
        run(
            (*runner.docker.command, *command.arguments),
            variables=command.variables,
            directory=runner.directory,
            stdout=None,
            seconds=seconds,
            stop=runner.stop,
            fed=feed is not None,
        ) as process,
    ):
        if feed is not None:
            process.feed(feed().encode(errors="replace"))
        for line in join_documents(process.read_lines()):
            events = [event for _, event in reader.feed(line)]
            again = next((e for e in events if executes(e, command.own_stage)), None)
            if again is not None:
                step = f"`{again.step.label} {again.step.text}`"
                ended = f"{step} would run again (evicted from the builder, or the context changed)"
                break
            if observe is not None:
                for event in events:
                    observe(event)
        status = 1 if ended else process.wait()
        if process.is_late:
            ended = f"it took longer than {seconds:.0f} s"
    check_stop(runner.stop)
    metadata = _read_all(runner, command) if status == 0 else Metadata()
    trace = _finish(reader, command, metadata)
    return RunResult(status, trace, metadata, time.monotonic() - begun), ended


def executes(event: Event, own_stage: str = "") -> TypeGuard[StepStarted]:
    """Whether an event shows that a run does more than save what was built.

    The steps of a stage of its own make nothing.
    """
    return isinstance(event, StepStarted) and event.step.stage != (own_stage or None)


def _finish(reader: BakeReader, command: Command, metadata: Metadata) -> Trace:
    """Return the trace of the last target, or of the one whose error docker reports."""
    *others, last = command.targets or (_ONLY,)
    traces = [reader.finish(last, metadata.operations), *map(reader.finish, others)]
    return next((each for each in traces if each.says_why), traces[0])


def _read_all(runner: Runner, command: Command) -> Metadata:
    text, docker = read_metadata(command.metadata), runner.docker
    if not command.targets:
        return complete_metadata(docker, parse_metadata(text))
    found = parse_bake_metadata(text, command.targets).values()
    *others, last = (complete_metadata(docker, each) for each in found)
    return last.completed(others)


def read_metadata(file: Path) -> str:
    """Read docker's metadata file; return an empty string without one."""
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="utf-8")
    return ""


def check_stop(stop: Stop | None) -> None:
    """Raise StoppedError if the build was stopped."""
    if stop is not None and stop.is_set:
        raise StoppedError(stop.why)
