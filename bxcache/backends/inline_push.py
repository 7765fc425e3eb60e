"""A separate run of docker that pushes already built stages as images."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from threading import Event as Signal
from threading import Semaphore
from typing import TYPE_CHECKING

from bxcache.buildx.bake.stages import (
    OLDEST_BAKE,
    VARIABLES,
    Repetition,
    StageExport,
    list_refs,
    needs_new_bake,
    render_stage_push,
    render_stages,
)
from bxcache.buildx.capabilities import parse_version
from bxcache.buildx.command import Command
from bxcache.buildx.dockerfile import copy_dockerfile, list_stages
from bxcache.buildx.faults import explain_transfer, is_transient
from bxcache.buildx.run import run_quietly
from bxcache.buildx.stream.events import Noted, Transferred
from bxcache.buildx.stream.names import Transfer
from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, StoppedError, Trouble
from bxcache.place.scope import name_stage
from bxcache.process import Stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from bxcache.backends.base import CacheUse
    from bxcache.backends.registry_tag import TagSave
    from bxcache.buildx.dockerfile import DockerfileStage
    from bxcache.buildx.run import Runner, RunResult
    from bxcache.buildx.stream.events import Event
    from bxcache.buildx.stream.names import StepName
    from bxcache.registry.repository import Repository

_Document = dict[str, dict[str, object]]
_NAME = "bxcache-stage"
_MORE_ATTEMPTS = 2
_MOST_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class BuiltStage:
    """A stage that was part of a build.

    Attributes:
        stage: the stage.
        is_last: whether it is the build's target; docker needs no name for it.
        is_new: whether the registry lacks some of its layers.
        reads: the instructions that copy files of the context which it depends on.
        label: a unique name for its image.
        chains: the layer digests that its image may have, from the bottom.
    """

    stage: DockerfileStage
    is_last: bool
    is_new: bool
    reads: frozenset[str] = frozenset()
    label: str = ""
    chains: frozenset[tuple[str, ...]] = frozenset()


@dataclass(frozen=True, slots=True)
class Export:
    """An export of stages to a registry.

    Attributes:
        runner: the build.
        imports: the flags of the imported caches.
        save: the scope, and its state in the registry.
        repository: the repository of the scope.
        tag: the scope's tag.
        source: the tag of the imported scope; empty if there is none.
    """

    runner: Runner
    imports: Sequence[CacheUse]
    save: TagSave
    repository: Repository
    tag: str
    source: str


def group_stages(stages: Iterable[BuiltStage]) -> list[list[BuiltStage]]:
    """Group the stages that read the same files of the context, those that read most first.

    If two builds read different files of a context at once, docker sends each of them all files.
    In sequence, docker sends each only the files that the previous one did not read.
    """
    groups: dict[frozenset[str], list[BuiltStage]] = {}
    # The last stage needs all others. In each group it comes last, so its metadata covers all
    # stages.
    for each in sorted(stages, key=lambda each: each.is_last):
        groups.setdefault(each.reads, []).append(each)
    return [groups[reads] for reads in sorted(groups, key=len, reverse=True)]


def push_stages(export: Export, new: Sequence[BuiltStage], file: Path, text: str) -> RunResult:
    """Push stages as images.

    Args:
        export: the destination.
        new: the stages.
        file: the Dockerfile.
        text: the content of the Dockerfile.

    Returns:
        the result of the last stage's run, with the layers that only the other runs report.

    Raises:
        RegistryError: the stages cannot be pushed.
    """
    runner, settings = export.runner, export.runner.settings
    names = _name_unnamed(new)
    files = _StageFiles(file.absolute(), text, names, runner.folder)
    repository = Reference.parse(export.save.use.place).name
    repetition = Repetition(
        settings=settings,
        context=(runner.directory / settings.context).absolute(),
        cache_from=tuple(use.option[1] for use in export.imports),
        insecure=export.save.insecure,
        extra=runner.extra,
        environment=os.environ,
    )
    listed = ", ".join(f"`{each.label}`" for each in new)
    runner.report(Noted(f"saving the cache to {export.save.use.place}: {listed}"))
    if needs_new_bake(settings, runner.extra):
        _check_bake(export, runner.docker.ask_buildx_version())
    documents = [
        render_stages(
            repetition,
            [
                StageExport(
                    f"{repository}:{name_stage(export.tag, each.label)}",
                    settings.target if each.is_last else names.get(each.stage, each.stage.name),
                    files.find(each.stage),
                )
                for each in group
            ],
        )
        for group in group_stages(new)
    ]
    first, *others = _bake_all(export, documents)
    metadata = first.metadata.completed(each.metadata for each in others)
    return restore_names(replace(first, metadata=metadata), text, names)


def _name_unnamed(new: Iterable[BuiltStage]) -> dict[DockerfileStage, str]:
    """Name the unnamed stages that docker builds as targets."""
    return {
        each.stage: f"{_NAME}-{number}"
        for number, each in enumerate(new)
        if not (each.stage.is_named or each.is_last)
    }


class _StageFiles:
    """The Dockerfiles to build stages from. Each stage has the same lines in all of them."""

    def __init__(
        self, file: Path, text: str, names: Mapping[DockerfileStage, str], folder: Path
    ) -> None:
        self._original, self._text, self._folder = file, text, folder
        self._file = copy_dockerfile(file, text, names, folder) if names else file
        self._ends = {stage.name: stage for stage in list_stages(text) if stage.is_named}

    def find(self, stage: DockerfileStage) -> Path:
        """The file in which docker finds a stage by its name.

        Of several stages with one name, docker builds the last, so each other one needs a file that
        ends with it.
        """
        if not stage.is_named or self._ends[stage.name] == stage:
            return self._file
        folder = self._folder / f"{_NAME}-{stage.line}"
        folder.mkdir(exist_ok=True)
        return copy_dockerfile(self._original, cut_dockerfile(self._text, stage), {}, folder)


def cut_dockerfile(text: str, stage: DockerfileStage) -> str:
    """Cut a Dockerfile off after a stage."""
    # BuildKit does not report the name of a single stage.
    return "\n".join([*text.split("\n")[: stage.last_line], "FROM scratch", ""])


def restore_names(ran: RunResult, text: str, names: Mapping[DockerfileStage, str]) -> RunResult:
    """Convert the result of a run on a copy of a Dockerfile to the original's names and text.

    Args:
        ran: the result.
        text: the content of the original Dockerfile.
        names: the names of stages in the copy.
    """
    own = {name: stage.name for stage, name in names.items()}
    trace = replace(
        ran.trace,
        steps=tuple(replace(step, name=_rename(step.name, own)) for step in ran.trace.steps),
        sources=tuple(
            replace(source, step=_rename(source.step, own)) if source.step is not None else source
            for source in ran.trace.sources
        ),
    )
    shown = text.encode(errors="surrogateescape").decode(errors="replace")
    definitions = tuple(
        replace(each, dockerfile=shown) if each.dockerfile else each
        for each in ran.metadata.definitions
    )
    return replace(ran, trace=trace, metadata=replace(ran.metadata, definitions=definitions))


def _rename(step: StepName, names: Mapping[str, str]) -> StepName:
    return replace(step, stage=names.get(step.stage, step.stage))


@dataclass(frozen=True, slots=True)
class Turn:
    """A bake's turn to receive the context.

    Attributes:
        has_come: set when the previous bake has received its context.
        has_gone: set when this bake has received its context.
        places: limits how many bakes may hold the context at once.
        is_over: set when no more bakes may start.
    """

    has_come: Signal
    has_gone: Signal
    places: Semaphore
    is_over: Signal

    def wait(self) -> None:
        """Wait for the turn.

        Raises:
            StoppedError: the turn will not come.
        """
        self.has_come.wait()
        self.places.acquire()
        if self.is_over.is_set():
            self.places.release()
            raise StoppedError("the stages before it were not saved")


def _bake_all(export: Export, documents: Sequence[_Document]) -> list[RunResult]:
    """Bake in sequence: a bake that asks for a context in use gets all files of it again.

    All bakes start at once, and get their definitions when their turn comes. An engine with the
    classic image store releases the context before it pushes, so two of its bakes may hold the
    context, one of which usually only pushes. Other engines push while they hold it.
    """
    stop, is_over = export.runner.stop or Stop(), Signal()
    places = Semaphore(2 if export.runner.capabilities.builder.is_classic else 1)
    export = replace(export, runner=replace(export.runner, stop=stop))
    signals = [Signal() for _ in range(len(documents) + 1)]
    signals[0].set()
    turns = [Turn(come, gone, places, is_over) for come, gone in pairwise(signals)]
    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        jobs = [pool.submit(_bake, export, *each) for each in zip(documents, turns, strict=True)]
        try:
            wait(jobs)
        except KeyboardInterrupt:
            is_over.set()
            stop.set()
            for signal in signals:
                signal.set()
            raise
    failed = [error for error in (job.exception() for job in jobs) if error is not None]
    # A bake whose turn never came is not the cause of the failure.
    for error in sorted(failed, key=lambda each: isinstance(each, StoppedError)):
        raise error
    return [job.result() for job in jobs]


def _bake(export: Export, document: _Document, turn: Turn) -> RunResult:
    runner, save = export.runner, export.save
    settings, seconds = runner.settings, save.timeout
    metadata, targets = runner.name_metadata(), tuple(document["target"])
    arguments = render_stage_push(settings, metadata, targets, runner.extra)
    command = Command(arguments, metadata, VARIABLES, targets)
    slot = ExitStack()

    def feed() -> str:
        turn.wait()
        slot.callback(turn.places.release)
        return json.dumps(document, indent=1)

    def watch(event: Event) -> None:
        if not isinstance(event, Transferred):
            return
        if event.is_context and event.done:
            turn.has_gone.set()
        if event.kind is Transfer.PUSH and runner.capabilities.builder.is_classic:
            slot.close()

    try:
        ran, ended = run_quietly(runner, command, seconds, feed=feed, observe=watch)
        for _ in range(_MORE_ATTEMPTS):
            if ran.exit_status and not ended and is_transient(ran.error):
                # Each further attempt waits for a free slot, as the first did.
                slot.close()
                ran, ended = run_quietly(runner, command, seconds, feed=feed, observe=watch)
        if ended or ran.exit_status:
            turn.is_over.set()
            raise explain_transfer(save.use.place, "saving", ended or ran.error)
    finally:
        slot.close()
        turn.has_gone.set()
        _forget(export, list_refs(document))
    return ran


def _forget(export: Export, refs: Sequence[str]) -> None:
    """Remove pushed images from the engine, whose classic image store keeps a copy."""
    builder = export.runner.capabilities.builder
    if builder.is_classic:
        export.runner.docker.remove_images(builder.name, refs)


def _check_bake(export: Export, version: str) -> None:
    found = parse_version(version)
    if found is not None and found < OLDEST_BAKE:
        why = "buildx before 0.17 cannot build stages side by side with a network of their own"
        raise refuse(export.save, why, "update buildx, or leave `network` out")


def refuse(save: TagSave, why: str, hint: str) -> RegistryError:
    """The error for stages that cannot be saved."""
    place, trouble = save.use.place, Trouble.REFUSED
    host = Reference.parse(place).host
    return RegistryError(host, f"saving `{place}`", why, trouble=trouble, hint=hint)
