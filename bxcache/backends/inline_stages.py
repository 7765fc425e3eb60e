"""The stages of a build as separate images, and one image that contains the layers of all.

Only new stages are pushed; the registry has the images of the others. A separate run of docker
pushes them after the build, without building anything again.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from bxcache.backends.inline_push import BuiltStage, push_stages, refuse
from bxcache.buildx.dockerfile import list_bases, list_needed, list_stages, read_dockerfile
from bxcache.buildx.metadata import Layer, find_chains, find_layers
from bxcache.buildx.stream.events import Noted, Outcome
from bxcache.config.paths import find_dockerfile
from bxcache.place.scope import name_stage
from bxcache.registry.scopes import copy_scope
from bxcache.registry.stage_images import join_images, list_chains

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bxcache.backends.inline_push import Export
    from bxcache.buildx.dockerfile import DockerfileStage
    from bxcache.buildx.run import Runner, RunResult
    from bxcache.buildx.stream.trace import TracedStep
    from bxcache.registry.stage_images import Joined


def list_built(
    stages: Sequence[DockerfileStage], target: str | None, ran: RunResult, known: Container[str]
) -> list[BuiltStage]:
    """List the stages that a build made layers for.

    Args:
        stages: the stages of its Dockerfile.
        target: the target stage, or None for the last one.
        ran: the result of the build.
        known: the digests of the layers in the registry.
    """
    reported = _read_steps(stages, ran, known)
    last = _find_last(stages, target)
    names = Counter(stage.name for stage in stages)
    needed, labels = list_needed(stages, target), label_stages(stages)
    new_at: dict[int, bool] = {}
    built = []
    for position, (stage, base) in enumerate(zip(stages, list_bases(stages), strict=True)):
        own = reported.get(stage.name)
        below = base is not None and new_at[base]
        new_at[position] = below or (own is not None and own.is_new)
        # The stream does not distinguish stages with the same name.
        if own is not None and (names[stage.name] == 1 or stage in needed):
            built.append(
                BuiltStage(
                    stage=stage,
                    is_last=stage == last,
                    is_new=new_at[position],
                    reads=own.reads,
                    label=labels[stage],
                    chains=own.chains,
                )
            )
    return built


@dataclass(slots=True)
class _ReportedStage:
    """The steps of one stage, as the build reports them.

    Attributes:
        is_new: whether the registry lacks some of their layers.
        reads: the instructions that copy files of the context which they depend on.
        chains: the layer chains of the last step.
        end: the number of the last step.
    """

    is_new: bool = False
    reads: frozenset[str] = frozenset()
    chains: frozenset[tuple[str, ...]] = frozenset()
    end: int = 0


def _read_steps(
    stages: Sequence[DockerfileStage], ran: RunResult, known: Container[str]
) -> dict[str, _ReportedStage]:
    """Read the reported steps of each stage, by its name."""
    reported: dict[str, _ReportedStage] = {}
    for step in ran.trace.steps:
        layers = {each.digest for each in find_layers(step, ran.metadata)}
        is_known = any(each in known for each in layers)
        stage = reported.setdefault(_name_stage(step, stages), _ReportedStage())
        stage.is_new = stage.is_new or step.outcome is not Outcome.REUSED or not is_known
        stage.reads |= step.reads
        if step.name.index > stage.end:
            stage.end, stage.chains = step.name.index, frozenset()
        if step.name.index == stage.end:
            stage.chains |= find_chains(step, ran.metadata)
    return reported


def _name_stage(step: TracedStep, stages: Sequence[DockerfileStage]) -> str:
    # BuildKit does not report the name of a single stage.
    return stages[0].name if len(stages) == 1 else step.name.stage


def _find_last(stages: Sequence[DockerfileStage], target: str | None) -> DockerfileStage | None:
    """The target stage."""
    if not target:
        return stages[-1] if stages else None
    named = [stage for stage in stages if stage.is_named and stage.name == target.lower()]
    return named[-1] if named else None


def label_stages(stages: Sequence[DockerfileStage]) -> dict[DockerfileStage, str]:
    """Label the image of each stage by its name; among stages of one name, only the last has it.

    >>> [*label_stages(list_stages("FROM a AS x\\nFROM b AS x")).values()]
    ['x-0', 'x']
    """
    ends = {stage.name: stage for stage in stages}
    taken, labels = {*ends}, {}
    for stage in stages:
        free = (f"{stage.name}-{number}" for number in count())
        is_end = ends[stage.name] == stage
        labels[stage] = stage.name if is_end else next(each for each in free if each not in taken)
        taken.add(labels[stage])
    return labels


def export_stages(
    export: Export, ran: RunResult, known: Container[str]
) -> tuple[Joined | None, RunResult | None]:
    """Update the images of all stages.

    Args:
        export: the destination.
        ran: the result of the build.
        known: the digests of the layers in the registry.

    Returns:
        the image with the layers of all stages, None if no stage has a layer; and the result of
        the run that pushed them, if it covers all stages.

    Raises:
        RegistryError: the registry rejects it.
    """
    file, text, built = _list_built(export, ran, known)
    stages = list_stages(text)
    old = _copy_stages(export, [each for each in built if not each.is_new])
    new = [each for each in built if each.label not in old]
    pushed = push_stages(export, new, file, text) if new else None
    tags = {each.stage: name_stage(export.tag, each.label) for each in built}
    joined = join_images(export.repository, export.tag, tags.values())
    if joined is None or pushed is None or not any(each.is_last for each in new):
        return joined, None
    # An engine without the containerd store compresses layers on push, and does not report them.
    layers = {each: Layer(found.digest, found.size) for each, found in joined.layers.items()}
    metadata = pushed.metadata.with_layers(layers)
    results = dict(_list_results(stages, tags, joined))
    return joined, replace(pushed, metadata=metadata.with_results(results))


def _list_results(
    stages: Sequence[DockerfileStage], tags: Mapping[DockerfileStage, str], joined: Joined
) -> Iterator[tuple[range, tuple[Layer, ...]]]:
    """List the layers of each stage's image, by the stage's lines."""
    ends = (*(stage.line for stage in stages[1:]), sys.maxsize)
    for stage, end in zip(stages, ends, strict=True):
        found = joined.images.get(tags.get(stage, ""), ())
        if found:
            chain = tuple(Layer(each.digest, each.size) for each in found)
            yield range(stage.line, end), chain


def copy_stages(export: Export, ran: RunResult, known: Container[str]) -> dict[str, str]:
    """Copy the existing images of all stages to the scope's own tags.

    Args:
        export: the destination.
        ran: the result of the build, which made nothing new.
        known: the digests of the layers in the registry.

    Returns:
        the digest of each image, by its tag.

    Raises:
        RegistryError: the registry does not answer, or rejects it.
    """
    _, _, built = _list_built(export, ran, known)
    copied = _copy_stages(export, built)
    return {name_stage(export.tag, label): digest for label, digest in copied.items()}


def _copy_stages(export: Export, built: Iterable[BuiltStage]) -> dict[str, str]:
    """Copy images to the scope's own tags; return the digest of each existing one, by its label.

    An image belongs to a stage if it has the stage's layers. The label is not enough: an unnamed
    stage is labelled by its position, and stages can be renamed.
    """
    copied, repository = dict[str, str](), export.repository
    for each in built if export.source else ():
        found = repository.read_manifest(name_stage(export.source, each.label))
        if found is not None and _is_image_of(each, [*list_chains(repository, found)]):
            copied[each.label] = found.digest
            if export.source != export.tag:
                copy_scope(repository, found, name_stage(export.tag, each.label))
    return copied


def _is_image_of(stage: BuiltStage, chains: Sequence[tuple[str, ...]]) -> bool:
    return bool(chains) and all(each in stage.chains for each in chains)


def _list_built(
    export: Export, ran: RunResult, known: Container[str]
) -> tuple[Path, str, list[BuiltStage]]:
    """The Dockerfile's path, its content, and its stages that were built.

    Raises:
        RegistryError: the Dockerfile is not the one that was built.
    """
    target = export.runner.settings.target
    file, text = _read_dockerfile(export)
    stages = list_stages(text)
    built = list_built(stages, target, ran, known)
    unread = {_name_stage(step, stages) for step in ran.trace.steps}
    unread -= {stage.name for stage in stages}
    if unread:
        why = f"`{file}` has no stage {_join(sorted(unread))}, which the build had"
        hint = "unless the file changed since, keep the cache in a `registry` backend"
        raise refuse(export.save, why, hint)
    _report_unneeded(export.runner, stages, target, built)
    return file, text, built


def _read_dockerfile(export: Export) -> tuple[Path, str]:
    runner, save = export.runner, export.save
    settings = runner.settings
    file = find_dockerfile(runner.directory, settings.context, settings.file)
    try:
        return file, read_dockerfile(file)
    except OSError as error:
        why = f"`{file}` cannot be read again: {error.strerror}"
        raise refuse(save, why, "the next build that finds it saves all stages") from error


def _report_unneeded(
    runner: Runner,
    stages: Sequence[DockerfileStage],
    target: str | None,
    built: Iterable[BuiltStage],
) -> None:
    # A stage that a variable refers to counts as needed once it was built.
    needed = list_needed(stages, target) | {each.stage for each in built}
    others = [stage.name for stage in stages if stage not in needed]
    if others:
        runner.report(Noted(f"not built, and so not saved, as nothing needs them: {_join(others)}"))


def _join(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
