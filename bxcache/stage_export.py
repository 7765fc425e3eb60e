"""The stages of a build as images beside each other, and one image that has what all of them tell.

Only stages that are new are pushed; of the others the registry has the images. They are pushed by a
run of docker's own after the build, which finds everything built.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bxcache.buildx.capabilities import parse_version
from bxcache.buildx.command import Command
from bxcache.buildx.dockerfile import find_base, list_needed, list_stages
from bxcache.buildx.dockerfile_copy import copy_dockerfile, read_dockerfile
from bxcache.buildx.events import Noted, Outcome
from bxcache.buildx.faults import explain_transfer, is_passing
from bxcache.buildx.metadata import Layer
from bxcache.buildx.stage_bake import (
    OLDEST_BAKE,
    VARIABLES,
    Repetition,
    StageExport,
    needs_new_bake,
    render_bake,
    render_stages,
    write_bake,
)
from bxcache.config.paths import find_dockerfile
from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, Trouble
from bxcache.registry.scopes import copy_scope
from bxcache.registry.stage_images import join_images
from bxcache.running import run_quietly
from bxcache.scope import name_stage
from bxcache.settlement import find_layers
from bxcache.store.staging import draw_name

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence
    from pathlib import Path

    from bxcache.buildx.dockerfile import DockerfileStage
    from bxcache.plan.plan import BuildPlan, RegistrySave
    from bxcache.registry.repository import Repository
    from bxcache.registry.stage_images import Joined
    from bxcache.running import Run
    from bxcache.settlement import Heard

_NAME = "bxcache-stage"
_MORE_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class BuiltStage:
    """A stage that was part of a build.

    Attributes:
        stage: the stage.
        is_last: it is what was built; docker needs no name for it.
        is_new: not all that it is made of is in the registry.
        reads: what it rests on of the files that docker sends, as the instructions that copy them.
    """

    stage: DockerfileStage
    is_last: bool
    is_new: bool
    reads: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Export:
    """What there is to export.

    Attributes:
        run: the build.
        plan: what it was to do about caches.
        save: the scope, with what was found of it.
        repository: where it is.
        tag: its tag.
        source: the tag of the scope that the build started from; empty if there is none.
    """

    run: Run
    plan: BuildPlan
    save: RegistrySave
    repository: Repository
    tag: str
    source: str


def list_built(
    stages: Sequence[DockerfileStage], target: str | None, heard: Heard, known: Container[str]
) -> list[BuiltStage]:
    """The stages that a build made layers for.

    Args:
        stages: those of its Dockerfile.
        target: the stage that was built, or None for the last one.
        heard: what became of the build.
        known: the layers that the registry has.
    """
    fresh: dict[str, bool] = {}
    reads: dict[str, frozenset[str]] = {}
    for step in heard.trace.steps:
        layers = {each.digest for each in find_layers(step, heard.metadata)}
        is_known = any(each in known for each in layers)
        new = step.outcome is not Outcome.REUSED or not is_known
        # BuildKit names no stage where there is only one.
        name = stages[0].name if len(stages) == 1 else step.name.stage
        fresh[name] = fresh.get(name, False) or new
        reads[name] = reads.get(name, frozenset()) | step.reads
    last = (target or stages[-1].name).lower() if stages else ""
    new_at: dict[int, bool] = {}
    built = []
    for position, stage in enumerate(stages):
        base = find_base(stages, position)
        below = base is not None and new_at[base]
        new_at[position] = fresh.get(stage.name, False) or below
        if stage.name in fresh:
            is_last = stage.name == last
            built.append(BuiltStage(stage, is_last, new_at[position], reads[stage.name]))
    return built


def group_stages(stages: Iterable[BuiltStage]) -> list[list[BuiltStage]]:
    """The stages that may be built side by side, those that read most of the context first.

    Of two builds at once that read different files of one context, each is sent all of its own.
    One after the other, each is sent only what the one before it did not read.
    """
    groups: dict[frozenset[str], list[BuiltStage]] = {}
    # The last stage needs all others. In each group it comes last: what is told of it is told of
    # all.
    for each in sorted(stages, key=lambda each: each.is_last):
        groups.setdefault(each.reads, []).append(each)
    return [groups[reads] for reads in sorted(groups, key=len, reverse=True)]


def export_stages(
    export: Export, heard: Heard, known: Container[str]
) -> tuple[Joined | None, Heard | None]:
    """Bring the images of all stages up to date.

    Args:
        export: where to.
        heard: what became of the build.
        known: the layers that the registry has.

    Returns:
        what all stages have together, None where none has a layer; and what the run told that
        pushed them, where it told of all.

    Raises:
        RegistryError: the registry does not take it.
    """
    settings = export.run.prepared.setup.config.build
    file, text = _read_dockerfile(export)
    stages = list_stages(text)
    _tell_unneeded(export.run, stages, settings.target)
    built = list_built(stages, settings.target, heard, known)
    old = copy_stages(export, [each.stage.name for each in built if not each.is_new])
    new = [each for each in built if each.stage.name not in old]
    told = _push(export, new, file, text) if new else None
    tags = [name_stage(export.tag, each.stage.name) for each in built]
    joined = join_images(export.repository, export.tag, tags)
    if joined is None or told is None or not any(each.is_last for each in new):
        return joined, None
    # An engine without the containerd store compresses layers where it pushes, and tells no more.
    layers = {each: Layer(found.digest, found.size) for each, found in joined.layers.items()}
    return joined, replace(told, metadata=told.metadata.with_layers(layers))


def copy_stages(export: Export, names: Iterable[str]) -> set[str]:
    """Have the images of stages under the scope's own tags too, and name those that there are.

    Raises:
        RegistryError: the registry does not tell, or does not take it.
    """
    copied = set()
    for name in names if export.source else ():
        found = export.repository.read_manifest(name_stage(export.source, name))
        if found is not None:
            copied.add(name)
            if export.source != export.tag:
                copy_scope(export.repository, found, name_stage(export.tag, name))
    return copied


def _read_dockerfile(export: Export) -> tuple[Path, str]:
    prepared, save = export.run.prepared, export.save
    settings = prepared.setup.config.build
    file = find_dockerfile(prepared.request.directory, settings.context, settings.file)
    try:
        return file, read_dockerfile(file)
    except OSError as error:
        why = f"`{file}` cannot be read again: {error.strerror}"
        raise _refuse(save, why, "the next build that finds it saves all stages") from error


def _refuse(save: RegistrySave, why: str, hint: str) -> RegistryError:
    place, trouble = save.use.place, Trouble.REFUSED
    host = Reference.parse(place).host
    return RegistryError(host, f"saving `{place}`", why, trouble=trouble, hint=hint)


def _tell_unneeded(run: Run, stages: Sequence[DockerfileStage], target: str | None) -> None:
    needed = list_needed(stages, target)
    others = [f"`{stage.name}`" for stage in stages if stage.name not in needed]
    if others:
        run.tell(Noted(f"not built, and so not saved, as nothing needs them: {', '.join(others)}"))


def _push(export: Export, new: Sequence[BuiltStage], file: Path, text: str) -> Heard:
    run, settings = export.run, export.run.prepared.setup.config.build
    unnamed = {
        each.stage: f"{_NAME}-{number}"
        for number, each in enumerate(new)
        if not (each.stage.is_named or each.is_last)
    }
    if unnamed:
        file = copy_dockerfile(file, text, unnamed, run.prepared.folder)
    repository = Reference.parse(export.save.use.place).name
    repetition = Repetition(
        settings=settings,
        context=(run.prepared.request.directory / settings.context).absolute(),
        cache_from=tuple(use.option[1] for use in export.plan.imports),
        insecure=export.save.backend.insecure,
        extra=run.prepared.request.extra,
        environment=os.environ,
    )
    listed = ", ".join(f"`{each.stage.name}`" for each in new)
    run.tell(Noted(f"saving the cache to {export.save.use.place}: {listed}"))
    heard = []
    for group in group_stages(new):
        exports = [
            StageExport(
                f"{repository}:{name_stage(export.tag, each.stage.name)}",
                settings.target if each.is_last else unnamed.get(each.stage, each.stage.name),
                file.absolute(),
            )
            for each in group
        ]
        heard.append(_bake(export, render_stages(repetition, exports)))
    first, *others = heard
    metadata = first.metadata.completed(each.metadata for each in others)
    return replace(first, metadata=metadata)


def _bake(export: Export, document: dict[str, dict[str, object]]) -> Heard:
    run, request, save = export.run, export.run.prepared.request, export.save
    settings = run.prepared.setup.config.build
    if needs_new_bake(settings, request.extra):
        _check_bake(export, run.prepared.docker.ask_buildx_version())
    definition, metadata = (run.prepared.folder / f"{draw_name()}.json" for _ in range(2))
    definition.write_text(write_bake(document), encoding="utf-8")
    targets = tuple(document["target"])
    arguments = render_bake(settings, definition, metadata, targets, request.extra)
    command = Command(arguments, metadata, VARIABLES, targets)
    heard, ended = run_quietly(run, command, save.backend.timeout)
    for _ in range(_MORE_ATTEMPTS):
        if heard.exit_status and not ended and is_passing(heard.trace.last_error):
            heard, ended = run_quietly(run, command, save.backend.timeout)
    if ended or heard.exit_status:
        raise explain_transfer(save.use.place, "saving", ended or heard.trace.last_error)
    return heard


def _check_bake(export: Export, version: str) -> None:
    found = parse_version(version)
    if found is not None and found < OLDEST_BAKE:
        why = "buildx before 0.17 cannot build stages side by side with a network of their own"
        raise _refuse(export.save, why, "update buildx, or leave `network` out")
