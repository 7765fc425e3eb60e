"""A run of docker's own that pushes stages as images, and finds everything built."""

from __future__ import annotations

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
    write_bake,
)
from bxcache.buildx.capabilities import parse_version
from bxcache.buildx.command import Command
from bxcache.buildx.dockerfile import list_stages
from bxcache.buildx.dockerfile_copy import copy_dockerfile
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
        is_last: it is what was built; docker needs no name for it.
        is_new: not all that it is made of is in the registry.
        reads: what it rests on of the files that docker sends, as the instructions that copy them.
        label: what its image is called; no other stage's is called so.
        chains: the digests of the layers that an image of it can have, from the bottom.
    """

    stage: DockerfileStage
    is_last: bool
    is_new: bool
    reads: frozenset[str] = frozenset()
    label: str = ""
    chains: frozenset[tuple[str, ...]] = frozenset()


@dataclass(frozen=True, slots=True)
class Export:
    """What there is to export.

    Attributes:
        runner: the build.
        imports: what the build started from.
        save: the scope, with what was found of it.
        repository: where it is.
        tag: its tag.
        source: the tag of the scope that the build started from; empty if there is none.
    """

    runner: Runner
    imports: Sequence[CacheUse]
    save: TagSave
    repository: Repository
    tag: str
    source: str


def group_stages(stages: Iterable[BuiltStage]) -> list[list[BuiltStage]]:
    """The stages that read the same files of the context, those that read most of it first.

    Of two builds at once that read different files of one context, each is sent all of its own.
    One after the other, each is sent only what the one before it did not read.
    """
    groups: dict[frozenset[str], list[BuiltStage]] = {}
    # The last stage needs all others. In each group it comes last: what is told of it is told of
    # all.
    for each in sorted(stages, key=lambda each: each.is_last):
        groups.setdefault(each.reads, []).append(each)
    return [groups[reads] for reads in sorted(groups, key=len, reverse=True)]


def push_stages(export: Export, new: Sequence[BuiltStage], file: Path, text: str) -> RunResult:
    """Push stages as images.

    Args:
        export: where to.
        new: the stages.
        file: the Dockerfile.
        text: what it holds.

    Returns:
        what the run of the last stage told, with the layers that only the others tell.

    Raises:
        RegistryError: they cannot be pushed.
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
    """Names for the stages without one that docker is to build by themselves."""
    return {
        each.stage: f"{_NAME}-{number}"
        for number, each in enumerate(new)
        if not (each.stage.is_named or each.is_last)
    }


class _StageFiles:
    """The Dockerfiles that stages are built from: of each stage's lines all have the same."""

    def __init__(
        self, file: Path, text: str, names: Mapping[DockerfileStage, str], folder: Path
    ) -> None:
        self._original, self._text, self._folder = file, text, folder
        self._file = copy_dockerfile(file, text, names, folder) if names else file
        self._ends = {stage.name: stage for stage in list_stages(text) if stage.is_named}

    def find(self, stage: DockerfileStage) -> Path:
        """The file that has a stage under the name that it is built by.

        Of several stages of one name docker builds the last one, so others need a file that ends
        with them.
        """
        if not stage.is_named or self._ends[stage.name] == stage:
            return self._file
        folder = self._folder / f"{_NAME}-{stage.line}"
        folder.mkdir(exist_ok=True)
        return copy_dockerfile(self._original, cut_dockerfile(self._text, stage), {}, folder)


def cut_dockerfile(text: str, stage: DockerfileStage) -> str:
    """A Dockerfile without what comes after a stage."""
    # BuildKit names no stage where there is only one.
    return "\n".join([*text.split("\n")[: stage.last_line], "FROM scratch", ""])


def restore_names(ran: RunResult, text: str, names: Mapping[DockerfileStage, str]) -> RunResult:
    """What a run told of a copy of a Dockerfile, as it is of the Dockerfile itself.

    Args:
        ran: what it told.
        text: what the Dockerfile holds.
        names: the names that stages have in the copy.
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
    """When a bake may have the context.

    Attributes:
        has_come: the one before it has been sent its context.
        has_gone: this one has.
        places: as many as may have the context at a time.
        is_over: no other is to come.
    """

    has_come: Signal
    has_gone: Signal
    places: Semaphore
    is_over: Signal

    def wait(self) -> None:
        """Wait for it.

        Raises:
            StoppedError: it will not come.
        """
        self.has_come.wait()
        self.places.acquire()
        if self.is_over.is_set():
            self.places.release()
            raise StoppedError("the stages before it were not saved")


def _bake_all(export: Export, documents: Sequence[_Document]) -> list[RunResult]:
    """Bake one after the other: whoever asks for a context that another has is sent all of it.

    All begin at once, and are told what to bake when their turn has come. An engine of the classic
    image store pushes when it has let go of the context, so two of its builds may have it, one of
    which only pushes in most cases. Others push while they have it.
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
    # Those whose turn did not come have not failed by themselves.
    for error in sorted(failed, key=lambda each: isinstance(each, StoppedError)):
        raise error
    return [job.result() for job in jobs]


def _bake(export: Export, document: _Document, turn: Turn) -> RunResult:
    runner, save = export.runner, export.save
    settings, seconds = runner.settings, save.timeout
    metadata, targets = runner.name_metadata(), tuple(document["target"])
    arguments = render_stage_push(settings, metadata, targets, runner.extra)
    command = Command(arguments, metadata, VARIABLES, targets)
    place = ExitStack()

    def feed() -> str:
        turn.wait()
        place.callback(turn.places.release)
        return write_bake(document)

    def hear(event: Event) -> None:
        if not isinstance(event, Transferred):
            return
        if event.is_context and event.done:
            turn.has_gone.set()
        if event.kind is Transfer.PUSH and runner.capabilities.builder.is_classic:
            place.close()

    try:
        ran, ended = run_quietly(runner, command, seconds, feed=feed, observe=hear)
        for _ in range(_MORE_ATTEMPTS):
            if ran.exit_status and not ended and is_transient(ran.error):
                # Another attempt waits for a place as the first one did.
                place.close()
                ran, ended = run_quietly(runner, command, seconds, feed=feed, observe=hear)
        if ended or ran.exit_status:
            turn.is_over.set()
            raise explain_transfer(save.use.place, "saving", ended or ran.error)
    finally:
        place.close()
        turn.has_gone.set()
        _forget(export, list_refs(document))
    return ran


def _forget(export: Export, refs: Sequence[str]) -> None:
    """Take images out of the engine, where its image store has kept what it was only to push."""
    builder = export.runner.capabilities.builder
    if builder.is_classic:
        export.runner.docker.remove_images(builder.name, refs)


def _check_bake(export: Export, version: str) -> None:
    found = parse_version(version)
    if found is not None and found < OLDEST_BAKE:
        why = "buildx before 0.17 cannot build stages side by side with a network of their own"
        raise refuse(export.save, why, "update buildx, or leave `network` out")


def refuse(save: TagSave, why: str, hint: str) -> RegistryError:
    """The error of stages that are not saved."""
    place, trouble = save.use.place, Trouble.REFUSED
    host = Reference.parse(place).host
    return RegistryError(host, f"saving `{place}`", why, trouble=trouble, hint=hint)
