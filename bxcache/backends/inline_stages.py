"""The stages of a build as images beside each other, and one image that has what all of them tell.

Only stages that are new are pushed; of the others the registry has the images. They are pushed by a
run of docker's own after the build, which finds everything built.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from bxcache.backends.inline_push import BuiltStage, push_stages, refuse
from bxcache.buildx.dockerfile import list_bases, list_needed, list_stages
from bxcache.buildx.dockerfile_copy import read_dockerfile
from bxcache.buildx.metadata import Layer
from bxcache.buildx.steps import find_chains, find_layers
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
    """The stages that a build made layers for.

    Args:
        stages: those of its Dockerfile.
        target: the stage that was built, or None for the last one.
        ran: what became of the build.
        known: the layers that the registry has.
    """
    told = _read_steps(stages, ran, known)
    last = _find_last(stages, target)
    names = Counter(stage.name for stage in stages)
    needed, labels = list_needed(stages, target), label_stages(stages)
    new_at: dict[int, bool] = {}
    built = []
    for position, (stage, base) in enumerate(zip(stages, list_bases(stages), strict=True)):
        own = told.get(stage.name)
        below = base is not None and new_at[base]
        new_at[position] = below or (own is not None and own.is_new)
        # Of stages of one name the stream does not tell which it was.
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
class _ToldStage:
    """What a build tells of the steps of one stage.

    Attributes:
        is_new: the registry has not all that they made.
        reads: what they rest on of the files that docker sends.
        chains: the layers of the last of them.
        end: its number.
    """

    is_new: bool = False
    reads: frozenset[str] = frozenset()
    chains: frozenset[tuple[str, ...]] = frozenset()
    end: int = 0


def _read_steps(
    stages: Sequence[DockerfileStage], ran: RunResult, known: Container[str]
) -> dict[str, _ToldStage]:
    """What is told of each stage, by its name."""
    told: dict[str, _ToldStage] = {}
    for step in ran.trace.steps:
        layers = {each.digest for each in find_layers(step, ran.metadata)}
        is_known = any(each in known for each in layers)
        stage = told.setdefault(_name_stage(step, stages), _ToldStage())
        stage.is_new = stage.is_new or step.outcome is not Outcome.REUSED or not is_known
        stage.reads |= step.reads
        if step.name.index > stage.end:
            stage.end, stage.chains = step.name.index, frozenset()
        if step.name.index == stage.end:
            stage.chains |= find_chains(step, ran.metadata)
    return told


def _name_stage(step: TracedStep, stages: Sequence[DockerfileStage]) -> str:
    # BuildKit names no stage where there is only one.
    return stages[0].name if len(stages) == 1 else step.name.stage


def _find_last(stages: Sequence[DockerfileStage], target: str | None) -> DockerfileStage | None:
    """The stage that is built."""
    if not target:
        return stages[-1] if stages else None
    named = [stage for stage in stages if stage.is_named and stage.name == target.lower()]
    return named[-1] if named else None


def label_stages(stages: Sequence[DockerfileStage]) -> dict[DockerfileStage, str]:
    """What the image of each stage is called: its name; of several of one name that of the last.

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
    """Bring the images of all stages up to date.

    Args:
        export: where to.
        ran: what became of the build.
        known: the layers that the registry has.

    Returns:
        what all stages have together, None where none has a layer; and what the run told that
        pushed them, where it told of all.

    Raises:
        RegistryError: the registry does not take it.
    """
    file, text, built = _list_built(export, ran, known)
    stages = list_stages(text)
    old = _copy_stages(export, [each for each in built if not each.is_new])
    new = [each for each in built if each.label not in old]
    told = push_stages(export, new, file, text) if new else None
    tags = {each.stage: name_stage(export.tag, each.label) for each in built}
    joined = join_images(export.repository, export.tag, tags.values())
    if joined is None or told is None or not any(each.is_last for each in new):
        return joined, None
    # An engine without the containerd store compresses layers where it pushes, and tells no more.
    layers = {each: Layer(found.digest, found.size) for each, found in joined.layers.items()}
    metadata = told.metadata.with_layers(layers)
    results = dict(_list_results(stages, tags, joined))
    return joined, replace(told, metadata=metadata.with_results(results))


def _list_results(
    stages: Sequence[DockerfileStage], tags: Mapping[DockerfileStage, str], joined: Joined
) -> Iterator[tuple[range, tuple[Layer, ...]]]:
    """The layers of each stage's image, by the stage's lines."""
    ends = (*(stage.line for stage in stages[1:]), sys.maxsize)
    for stage, end in zip(stages, ends, strict=True):
        found = joined.images.get(tags.get(stage, ""), ())
        if found:
            chain = tuple(Layer(each.digest, each.size) for each in found)
            yield range(stage.line, end), chain


def copy_stages(export: Export, ran: RunResult, known: Container[str]) -> dict[str, str]:
    """Have the images of all stages under the scope's own tags too, as far as there are such.

    Args:
        export: where to.
        ran: what became of the build, which made nothing new.
        known: the layers that the registry has.

    Returns:
        the digest of each, by its tag.

    Raises:
        RegistryError: the registry does not tell, or does not take it.
    """
    _, _, built = _list_built(export, ran, known)
    copied = _copy_stages(export, built)
    return {name_stage(export.tag, label): digest for label, digest in copied.items()}


def _copy_stages(export: Export, built: Iterable[BuiltStage]) -> dict[str, str]:
    """Have images under the scope's own tags too; the digest of each that there is, by its label.

    An image is a stage's own if it has its layers: a stage without a name is called by its place,
    and any can be given the name of another one.
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
    """The Dockerfile, what it holds, and the stages of it that were built.

    Raises:
        RegistryError: it is not what was built.
    """
    target = export.runner.settings.target
    file, text = _read_dockerfile(export)
    stages = list_stages(text)
    built = list_built(stages, target, ran, known)
    unread = {_name_stage(step, stages) for step in ran.trace.steps}
    unread -= {stage.name for stage in stages}
    if unread:
        why = f"`{file}` has no stage {_join(sorted(unread))}, which the build had"
        hint = "if it was not changed meanwhile, keep the cache in a `registry` backend"
        raise refuse(export.save, why, hint)
    _tell_unneeded(export.runner, stages, target, built)
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


def _tell_unneeded(
    runner: Runner,
    stages: Sequence[DockerfileStage],
    target: str | None,
    built: Iterable[BuiltStage],
) -> None:
    # What a variable names is known to be needed when it was built.
    needed = list_needed(stages, target) | {each.stage for each in built}
    others = [stage.name for stage in stages if stage not in needed]
    if others:
        runner.report(Noted(f"not built, and so not saved, as nothing needs them: {_join(others)}"))


def _join(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
