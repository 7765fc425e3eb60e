"""The stages of a build as separate images, and one image that contains the layers of all.

Only new stages are pushed; the registry has the images of the others. A separate run of docker
pushes them after the build, without building anything again.
"""

from __future__ import annotations

import sys
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.backends.inline_push import BuiltStage, push_stages, refuse
from bxcache.buildx.dockerfile import list_bases, list_needed, list_stages, read_dockerfile
from bxcache.buildx.metadata import Layer, find_chains, find_layers
from bxcache.buildx.stream.events import Noted, Outcome
from bxcache.config.paths import find_dockerfile
from bxcache.place.scope import name_stage
from bxcache.registry.scopes import copy_scope
from bxcache.registry.stage_images import join_images, list_chains, read_images

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence
    from pathlib import Path

    from bxcache.backends.inline_push import Export
    from bxcache.buildx.dockerfile import DockerfileStage
    from bxcache.buildx.run import RunResult
    from bxcache.buildx.stream.trace import TracedStep
    from bxcache.registry.stage_images import Joined


def list_built(
    stages: Sequence[DockerfileStage], target: str | None, ran: RunResult, known: Container[str]
) -> list[BuiltStage]:
    """List the stages of its Dockerfile that a build made layers for; the registry has `known`."""
    reported = _read_steps(stages, ran, known)
    named = (target or "").lower()
    # Without a target, docker builds the last stage; of several with its name, too, the last.
    targets = [each for each in stages if not target or (each.is_named and each.name == named)]
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
                    is_last=stage in targets[-1:],
                    is_new=new_at[position],
                    reads=own.reads,
                    label=labels[stage],
                    chains=own.chains,
                )
            )
    return built


class _ReportedStage(Struct):
    """The steps of one stage; `chains` are the layer chains of the last one, with number `end`."""

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


def export_stages(export: Export) -> tuple[Joined | None, RunResult | None]:
    """Update the images of all stages.

    Returns:
        the image with the layers of all stages, None if no stage has a layer; and the result of
        the run that pushed them, if it covers all stages.

    Raises:
        RegistryError: the registry rejects it.
    """
    file, text, built = _list_built(export)
    stages = list_stages(text)
    old = _copy_stages(export, [each for each in built if not each.is_new])
    new = [each for each in built if each.label not in old]
    pushed = push_stages(export, new, file, text) if new else None
    tags = {each.stage: name_stage(export.save.tag, each.label) for each in built}
    source = export.save.source_tag
    images = read_images(export.repository, [*tags.values(), *([source] if source else [])])
    before = images.pop(source) if source else None
    bare = [each for each in new if not images[tags[each.stage]].has_cache]
    if bare:
        # BuildKit leaves out what another target of the bake interferes with, and reports nothing:
        # the targets share a session, whose key of the context is never exported; one that begins
        # when others have ended finds its steps by that key alone. No other target, no omission.
        push_stages(export, bare, file, text, apart=True)
        images |= read_images(export.repository, [tags[each.stage] for each in bare])
    joined = join_images(export.repository, export.save.tag, images, before)
    if joined is None or pushed is None or not any(each.is_last for each in new):
        return joined, None
    # An engine without the containerd store compresses layers on push, and does not report them.
    layers = {each: Layer(found.digest, found.size) for each, found in joined.layers.items()}
    metadata = pushed.metadata.with_layers(layers)
    # The layers of each stage's image, by the stage's lines.
    ends = (*(stage.line for stage in stages[1:]), sys.maxsize)
    results = {
        range(stage.line, end): tuple(Layer(each.digest, each.size) for each in found)
        for stage, end in zip(stages, ends, strict=True)
        if (found := joined.images.get(tags.get(stage, "")))
    }
    return joined, replace(pushed, metadata=metadata.with_results(results))


def copy_stages(export: Export) -> dict[str, str]:
    """Copy the images of all stages to the scope's own tags; return their digests by tag."""
    _, _, built = _list_built(export)
    copied = _copy_stages(export, built)
    return {name_stage(export.save.tag, label): digest for label, digest in copied.items()}


def _copy_stages(export: Export, built: Iterable[BuiltStage]) -> dict[str, str]:
    """Copy images to the scope's own tags; return the digest of each existing one, by its label.

    An image belongs to a stage if it has the stage's layers. The label is not enough: an unnamed
    stage is labelled by its position, and stages can be renamed.
    """
    copied, repository = dict[str, str](), export.repository
    tag, source = export.save.tag, export.save.source_tag
    if source is None:
        return copied
    for each in built:
        found = repository.read_manifest(name_stage(source, each.label))
        chains = list_chains(repository, found) if found is not None else []
        if found is not None and chains and each.chains.issuperset(chains):
            copied[each.label] = found.digest
            if source != tag:
                copy_scope(repository, found, name_stage(tag, each.label))
    return copied


def _list_built(export: Export) -> tuple[Path, str, list[BuiltStage]]:
    """The Dockerfile's path and content, if it is the one that was built, and its built stages."""
    runner, ran, settings = export.built.runner, export.built.ran, export.built.runner.settings
    file = find_dockerfile(runner.directory, settings.context, settings.file)
    try:
        text = read_dockerfile(file)
    except OSError as error:
        why = f"`{file}` cannot be read again: {error.strerror}"
        hint = "the next build that finds it saves all stages"
        raise refuse(export.save, why, hint) from error
    stages = list_stages(text)
    built = list_built(stages, settings.target, ran, export.known)
    unread = {_name_stage(step, stages) for step in ran.trace.steps}
    unread -= {stage.name for stage in stages}
    if unread:
        why = f"`{file}` has no stage {_join(sorted(unread))}, which the build had"
        hint = "unless the file changed since, keep the cache in a `registry` backend"
        raise refuse(export.save, why, hint)
    # A stage that a variable refers to counts as needed once it was built.
    needed = list_needed(stages, settings.target) | {each.stage for each in built}
    others = [stage.name for stage in stages if stage not in needed]
    if others:
        runner.report(Noted(f"not built, and so not saved, as nothing needs them: {_join(others)}"))
    return file, text, built


def _join(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
