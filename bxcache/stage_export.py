"""The stages of a build as images beside each other, and one image that has what all of them tell.

Only stages that are new are pushed; of the others the registry has the images. They are pushed by a
run of docker's own after the build, which finds everything built.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from bxcache.buildx.dockerfile import list_bases, list_needed, list_stages
from bxcache.buildx.dockerfile_copy import read_dockerfile
from bxcache.buildx.events import Noted, Outcome
from bxcache.buildx.metadata import Layer
from bxcache.config.paths import find_dockerfile
from bxcache.registry.scopes import copy_scope
from bxcache.registry.stage_images import join_images
from bxcache.scope import name_stage
from bxcache.settlement import find_layers
from bxcache.stage_push import BuiltStage, push_stages, refuse

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bxcache.buildx.dockerfile import DockerfileStage
    from bxcache.registry.stage_images import Joined
    from bxcache.running import Run
    from bxcache.settlement import Heard
    from bxcache.stage_push import Export


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
    last = _find_last(stages, target)
    names = Counter(stage.name for stage in stages)
    needed, labels = list_needed(stages, target), label_stages(stages)
    new_at: dict[int, bool] = {}
    built = []
    for position, (stage, base) in enumerate(zip(stages, list_bases(stages), strict=True)):
        below = base is not None and new_at[base]
        new_at[position] = fresh.get(stage.name, False) or below
        # Of stages of one name the stream does not tell which it was.
        if stage.name in fresh and (names[stage.name] == 1 or stage in needed):
            is_last, read = stage == last, reads[stage.name]
            built.append(BuiltStage(stage, is_last, new_at[position], read, labels[stage]))
    return built


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
    old = copy_stages(export, [each.label for each in built if not each.is_new])
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
        raise refuse(save, why, "the next build that finds it saves all stages") from error


def _tell_unneeded(run: Run, stages: Sequence[DockerfileStage], target: str | None) -> None:
    needed = list_needed(stages, target)
    others = [f"`{stage.name}`" for stage in stages if stage not in needed]
    if others:
        run.tell(Noted(f"not built, and so not saved, as nothing needs them: {', '.join(others)}"))
