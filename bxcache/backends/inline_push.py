"""A separate run of docker that pushes already built stages as images."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Event as Signal
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.buildx.bake.stages import (
    OLDEST_BAKE,
    VARIABLES,
    Repetition,
    StageExport,
    list_refs,
    needs_allowance,
    needs_new_bake,
    render_network,
    render_stage_push,
    render_stages,
)
from bxcache.buildx.builders import remove_images
from bxcache.buildx.capabilities import parse_version
from bxcache.buildx.command import Command
from bxcache.buildx.dockerfile import copy_dockerfile, list_stages
from bxcache.buildx.faults import explain_transfer, is_transient
from bxcache.buildx.run import report_work, run_quietly
from bxcache.buildx.stream.events import Noted, Phase, Transferred
from bxcache.buildx.stream.names import Transfer
from bxcache.config.wording import name_option
from bxcache.errors import RegistryError, StoppedError, Trouble
from bxcache.place.scope import name_stage
from bxcache.process import Stop

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from bxcache.backends.base import Built, CacheUse
    from bxcache.backends.registry_tag import TagSave
    from bxcache.buildx.dockerfile import DockerfileStage
    from bxcache.buildx.run import Runner, RunResult
    from bxcache.buildx.stream.events import Event
    from bxcache.buildx.stream.names import StepName
    from bxcache.registry.repository import Repository

_Document = dict[str, dict[str, object]]
_NAME = "bxcache-stage"
_NETWORK = "network.yml"
_MORE_ATTEMPTS = 2
_MOST_AT_ONCE = 4


class BuiltStage(Struct, frozen=True):
    """A stage that was part of a build.

    Attributes:
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


class Export(Struct, frozen=True):
    """A build, and the repository that its stages go to; the scope has the layers `known`."""

    save: TagSave
    built: Built
    repository: Repository
    known: Container[str]


def group_stages(stages: Iterable[BuiltStage]) -> list[list[BuiltStage]]:
    """Group the stages that read the same files of the context, those that read most first.

    If two builds read different files of a context at once, docker sends each of them all files.
    In sequence, docker sends each only the files that the previous one did not read.
    """
    groups: dict[frozenset[str], list[BuiltStage]] = {}
    # The last stage needs all others; it ends its group, so that its metadata covers all stages.
    for each in sorted(stages, key=lambda each: each.is_last):
        groups.setdefault(each.reads, []).append(each)
    return [groups[reads] for reads in sorted(groups, key=len, reverse=True)]


def push_stages(
    export: Export, new: Sequence[BuiltStage], file: Path, text: str, *, apart: bool = False
) -> RunResult:
    """Push stages of a Dockerfile as images; return the last one's run, with the layers of all.

    Each is pushed by a docker of its own if they are pushed `apart`.

    Raises:
        RegistryError: the stages cannot be pushed.
    """
    save, runner, settings = export.save, export.built.runner, export.built.runner.settings
    # Docker builds a stage as a target by its name.
    names = {
        each.stage: f"{_NAME}-{number}"
        for number, each in enumerate(new)
        if not (each.stage.is_named or each.is_last)
    }
    stages = [each.stage for each in new]
    files = _write_files(stages, file.absolute(), text, names, runner.folder)
    repetition = Repetition(
        settings=settings,
        context=(runner.directory / settings.context).absolute(),
        cache_from=tuple(use.option[1] for use in export.built.imports),
        insecure=save.use.backend.settings.insecure,
        extra=runner.extra,
        environment=os.environ,
    )
    listed = ", ".join(f"`{each.label}`" for each in new)
    runner.report(Noted(f"saving the cache to {save.use.place}: {listed}"))
    _suit_old_bake(export, len(new))
    documents = [
        render_stages(
            repetition,
            [
                StageExport(
                    f"{save.reference.name}:{name_stage(save.tag, each.label)}",
                    settings.target if each.is_last else names.get(each.stage, each.stage.name),
                    files[each.stage],
                )
                for each in group
            ],
        )
        for group in ([[each] for each in new] if apart else group_stages(new))
    ]
    first, *others = _bake_all(runner, save.use, documents)
    metadata = first.metadata.completed(each.metadata for each in others)
    return restore_names(replace(first, metadata=metadata), text, names)


def _suit_old_bake(export: Export, count: int) -> None:
    """Write the Compose file that an old bake needs; RegistryError if none helps."""
    runner = export.built.runner
    network = runner.settings.network
    if not needs_new_bake(runner.settings, runner.extra):
        return
    found = parse_version(runner.docker.ask_buildx_version())
    if found is None or found >= OLDEST_BAKE:
        return
    if needs_allowance(runner.extra):
        name = name_option("allow")
        why = f"bake of buildx before 0.17 cannot grant what `{name}` allows"
        raise refuse(export.save, why, f"update buildx, or leave `{name}` out")
    (runner.folder / _NETWORK).write_text(json.dumps(render_network(network or "", count)))


def _write_files(
    stages: Iterable[DockerfileStage],
    file: Path,
    text: str,
    names: Mapping[DockerfileStage, str],
    folder: Path,
) -> dict[DockerfileStage, Path]:
    """Write the Dockerfiles in which docker finds each stage by its name, on its own lines."""
    files = dict.fromkeys(stages, copy_dockerfile(file, text, names, folder) if names else file)
    ends = {stage.name: stage for stage in list_stages(text) if stage.is_named}
    for stage in files:
        # Of several stages with one name, docker builds the last.
        if stage.is_named and ends[stage.name] != stage:
            own = folder / f"{_NAME}-{stage.line}"
            own.mkdir(exist_ok=True)
            # With another stage behind it, as BuildKit does not report the name of a single one.
            upto = "\n".join([*text.split("\n")[: stage.last_line], "FROM scratch", ""])
            files[stage] = copy_dockerfile(file, upto, {}, own)
    return files


def restore_names(ran: RunResult, text: str, names: Mapping[DockerfileStage, str]) -> RunResult:
    """Convert the result of a run on a copy of a Dockerfile to the original's names and text.

    In the copy, stages have these `names`.
    """
    own = {name: stage.name for stage, name in names.items()}

    def rename(step: StepName) -> StepName:
        return replace(step, stage=own.get(step.stage, step.stage))

    trace = replace(
        ran.trace,
        steps=tuple(replace(step, name=rename(step.name)) for step in ran.trace.steps),
        sources=tuple(
            replace(source, step=rename(source.step)) if source.step is not None else source
            for source in ran.trace.sources
        ),
    )
    shown = text.encode(errors="surrogateescape").decode(errors="replace")
    definitions = tuple(
        replace(each, dockerfile=shown) if each.dockerfile else each
        for each in ran.metadata.definitions
    )
    return replace(ran, trace=trace, metadata=replace(ran.metadata, definitions=definitions))


def _bake_all(runner: Runner, use: CacheUse, documents: Sequence[_Document]) -> list[RunResult]:
    """Bake in sequence: a bake that asks for a context in use gets all files of it again.

    Up to four start at once, which takes docker a second; each gets its definition when the one
    before it has released the context, or has ended.
    """
    stop, is_over = runner.stop or Stop(), Signal()
    # Observers expect the events of a build from one thread.
    silent = replace(runner, stop=stop, report=lambda _: None)
    bake = partial(_bake, silent, use, is_over)
    signals = [Signal() for _ in range(len(documents) + 1)]
    signals[0].set()
    turns = zip(documents, pairwise(signals), strict=True)
    with (
        report_work(runner.report, Phase.RERUN, use.place),
        ThreadPoolExecutor(_MOST_AT_ONCE) as pool,
    ):
        try:
            jobs = [pool.submit(bake, *each) for each in turns]
            return [job.result() for job in jobs]
        except BaseException as error:
            is_over.set()
            if isinstance(error, KeyboardInterrupt):
                stop.set()
            for signal in signals:
                signal.set()
            raise


def _bake(
    runner: Runner,
    use: CacheUse,
    is_over: Signal,
    document: _Document,
    turn: tuple[Signal, Signal],
) -> RunResult:
    builder, (has_come, has_gone) = runner.capabilities.builder, turn
    metadata, targets = runner.name_metadata(), tuple(document["target"])
    files = filter(Path.exists, [runner.folder / _NETWORK])
    arguments = render_stage_push(runner.settings, metadata, targets, runner.extra, files)
    command = Command(arguments, metadata, VARIABLES, targets)
    seconds = use.backend.settings.timeout

    def feed() -> str:
        has_come.wait()
        if is_over.is_set():
            raise StoppedError("the stages before it were not saved")
        return json.dumps(document, indent=1)

    def watch(event: Event) -> None:
        # Only the classic image store goes on without the context.
        if isinstance(event, Transferred) and builder.is_classic:
            left = event.is_context and event.done
            if left or event.kind is Transfer.PUSH:
                has_gone.set()

    bake = partial(run_quietly, runner, command, seconds, feed=feed, observe=watch)
    try:
        ran, ended = bake()
        for _ in range(_MORE_ATTEMPTS):
            if ran.exit_status and not ended and is_transient(ran.error):
                ran, ended = bake()
    finally:
        if builder.is_classic:
            # Its image store keeps a copy.
            remove_images(runner.docker, builder.name, list_refs(document))
    if ended or ran.exit_status:
        is_over.set()
        raise explain_transfer(use.place, "saving", ended or ran.error)
    has_gone.set()
    return ran


def refuse(save: TagSave, why: str, hint: str) -> RegistryError:
    """The error for stages that cannot be pushed; the registry has no part in it."""
    operation, trouble = f"saving `{save.use.place}`", Trouble.REFUSED
    error = RegistryError(save.reference.host, operation, why, trouble=trouble, hint=hint)
    error.message = f"the stages are not saved to `{save.use.place}`: {why}"
    return error
