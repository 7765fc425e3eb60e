"""The base image of each stage.

BuildKit reports the lines of a base image that it resolved itself, but none for a named context,
although its layers are in the cache too. A named context can also be the result of another build;
then all layers of that build belong to the base.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from typing import TYPE_CHECKING

from bxcache.buildx.dockerfile import list_bases, list_needed, list_stages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bxcache.buildx.dockerfile import DockerfileStage
    from bxcache.buildx.metadata import Definition
    from bxcache.buildx.stream.trace import TracedSource

_CONTEXT = re.compile(r"\[context (?P<name>\S+)\] ")
IMAGES = ("docker-image://", "oci-layout://")


def find_base_lines(
    definition: Definition, sources: Mapping[str, TracedSource], target: str | None
) -> dict[str, tuple[int, ...]]:
    """The lines of the `FROM`s that use each base, by its vertex.

    The sources are the stream's vertices that provide files.
    """
    stages = list_stages(definition.dockerfile)
    below = list_bases(stages)
    needed = {stage.line for stage in list_needed(stages, target)}
    images = {each.vertex: each for each in definition.operations if each.source.startswith(IMAGES)}
    linked = [each.vertex for each in definition.operations if each.is_linked]
    found: dict[str, set[int]] = defaultdict(set)

    def list_named(name: str) -> set[int]:
        pairs = zip(stages, below, strict=True)
        of_images = (stage for stage, base in pairs if base is None)
        return needed & {each.line for each in of_images if each.base.lower() == name.lower()}

    for vertex, image in images.items():
        found[vertex] |= {stage.line for stage in stages} & {*image.lines}
        source = sources.get(vertex)
        context = _CONTEXT.match(source.text) if source is not None else None
        if context is not None:
            found[vertex] |= list_named(context["name"])
    bases = {*images, *linked}
    for operation in definition.operations:
        if operation.below in bases:
            roots = {_find_root(stages, below, line) for line in operation.lines}
            found[operation.below] |= roots
    if linked and len(definition.links) == 1:
        # Every linked operation belongs to it, and the last one is its result.
        found[linked[-1]] |= list_named(definition.links[0]) - set().union(*found.values())
    known = [*(vertex for vertex in images if vertex not in linked), *linked[-1:]]
    if len(known) == 1 and len(definition.links) <= 1:
        # Then a base whose name is a variable can only be this one.
        unknown = {stage.line for stage in stages if "$" in stage.base}
        found[known[0]] |= (unknown & needed) - set().union(*found.values())
    return {vertex: tuple(sorted(lines - {0})) for vertex, lines in found.items() if lines - {0}}


def _find_root(stages: Sequence[DockerfileStage], below: Sequence[int | None], line: int) -> int:
    """The line of the lowest stage below the stage of a line; 0 if unknown."""
    last = bisect_right(stages, line, key=lambda each: each.line) - 1
    at = last if last >= 0 and line <= stages[last].last_line else None
    root = at
    while at is not None:
        root, at = at, below[at]
    return stages[root].line if root is not None else 0
