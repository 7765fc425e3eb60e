"""What `--metadata-file` says once a build has succeeded: digests, and the provenance of each step.

With `BUILDX_METADATA_PROVENANCE=max` it holds the build's provenance in SLSA 0.2 shape, one for
each platform: the Dockerfile's line and the layers of every step of every stage.
https://github.com/docker/buildx/blob/v0.29.1/build/provenance.go
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from bxcache.buildx.provenance import (
    BUILDKIT,
    Sources,
    as_list,
    as_table,
    as_text,
    convert_provenance,
    find_inputs,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PROVENANCE_VARIABLE = "BUILDX_METADATA_PROVENANCE"
PROVENANCE = "buildx.build.provenance"
_CONTEXT, _INPUT = "context:", "input:"


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob that a step made; `size` is in bytes, 0 where it is not known."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a build: an instruction, or a part of one.

    Attributes:
        vertex: its digest, by which the stream of the same build names it.
        lines: the first line in the Dockerfile of each place that it stands for, from 1. Equal
            instructions of two stages are one operation.
        chains: the layers of its result from the bottom, its own last. Several chains are
            alternatives for one and the same result.
        below: the vertex whose files it changes, or None.
        beside: the vertex whose files a merge lays over them, or None.
        inputs: all vertices whose files it needs, those among them.
        source: where it gets files from, such as `docker-image://docker.io/library/busybox`, or
            an empty string.
        is_linked: it belongs to another build with a Dockerfile of its own, whose result is a named
            context of this one.
    """

    vertex: str
    lines: tuple[int, ...] = ()
    chains: tuple[tuple[Layer, ...], ...] = ()
    below: str | None = None
    beside: str | None = None
    inputs: tuple[str, ...] = ()
    source: str = ""
    is_linked: bool = False

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Its own layers, each alternative once."""
        return tuple(dict.fromkeys(chain[-1] for chain in self.chains))


@dataclass(frozen=True, slots=True)
class Definition:
    """What was built for one platform.

    Attributes:
        platform: the platform, which only a build for several names.
        dockerfile: the text of the Dockerfile, or an empty string.
        operations: what was done, each after what it needs.
        images: the digests of the images that it was made from, by their names.
        links: the named contexts that are results of other builds.
    """

    platform: str | None
    dockerfile: str
    operations: tuple[Operation, ...]
    images: Mapping[str, str] = field(default_factory=dict)
    links: tuple[str, ...] = ()

    def with_layers(self, names: Mapping[str, Layer]) -> Definition:
        """The same with other names for some layers."""
        renamed = (
            replace(
                each,
                chains=tuple(
                    tuple(names.get(layer.digest, layer) for layer in chain)
                    for chain in each.chains
                ),
            )
            for each in self.operations
        )
        return replace(self, operations=tuple(renamed))

    def completed(
        self, told: Mapping[tuple[str | None, tuple[int, ...]], tuple[tuple[Layer, ...], ...]]
    ) -> Definition:
        """The same with chains for operations that have none, by the platform and their lines."""
        completed = (
            replace(each, chains=each.chains or told.get((self.platform, each.lines), ()))
            for each in self.operations
        )
        return replace(self, operations=tuple(completed))

    def with_results(self, results: Mapping[range, tuple[Layer, ...]]) -> Definition:
        """The same with chains for what is last in some lines, where it has none, and below it."""
        operations = list(self.operations)
        for lines, chain in results.items():
            ends = {
                max(line for line in each.lines if line in lines): at
                for at, each in enumerate(operations)
                if any(line in lines for line in each.lines)
            }
            at = ends[max(ends)] if ends else None
            if at is not None and not operations[at].chains:
                operations[at] = replace(operations[at], chains=(chain,))
        return replace(self, operations=_complete_chains(operations))


@dataclass(frozen=True)
class Metadata:
    """A metadata file.

    Attributes:
        image_digest: the image's digest, or None when no image was exported.
        definitions: what was built, for each platform. Empty where buildx does not report it.
        ref: what buildx calls the build, as `BUILDER/NODE/ID`; empty if unknown.
        why_unknown: why nothing is known of the definitions, or an empty string.
    """

    image_digest: str | None = None
    definitions: tuple[Definition, ...] = ()
    ref: str = ""
    why_unknown: str = ""

    @cached_property
    def operations(self) -> Mapping[str, Operation]:
        """Every operation by its vertex."""
        every = (each for definition in self.definitions for each in definition.operations)
        return {each.vertex: each for each in every}

    def with_provenance(self, texts: Mapping[str, str]) -> Metadata:
        """The same with a definition for each provenance, by its platform.

        A single one is that of a build for one platform, which has no name.
        """
        names = {platform: platform if len(texts) > 1 else None for platform in texts}
        read = (_read_definition(names[each], _parse(text)) for each, text in texts.items())
        return replace(self, definitions=tuple(read))

    def with_layers(self, names: Mapping[str, Layer]) -> Metadata:
        """The same with other names for some layers, such as those that a registry has for them.

        Args:
            names: the layers, by what they are called now.
        """
        renamed = tuple(each.with_layers(names) for each in self.definitions)
        return replace(self, definitions=renamed)

    def completed(self, others: Iterable[Metadata]) -> Metadata:
        """The same with the layers that only other builds of the same Dockerfile tell.

        The line that an instruction stands in is the same in all of them.
        """
        told = {
            (definition.platform, each.lines): each.chains
            for other in others
            for definition in other.definitions
            for each in definition.operations
            if each.lines and each.chains
        }
        return replace(self, definitions=tuple(each.completed(told) for each in self.definitions))

    def with_results(self, results: Mapping[range, tuple[Layer, ...]]) -> Metadata:
        """The same with the layers of some stages, as far as they are not told.

        Of what two builds of one engine have in common at the same time, only one may tell them.
        Of several platforms nothing is added: their layers differ.

        Args:
            results: what a stage is made of, from the bottom, by its lines in the Dockerfile.
        """
        if len(self.definitions) != 1:
            return self
        return replace(self, definitions=(self.definitions[0].with_results(results),))

    @cached_property
    def layers(self) -> Mapping[str, int]:
        """The size in bytes of every layer that the build refers to, by digest."""
        chains = (chain for each in self.operations.values() for chain in each.chains)
        return {layer.digest: layer.size for chain in chains for layer in chain}


def parse_metadata(text: str) -> Metadata:
    """Read a metadata file's text; what is missing or of another shape is left out."""
    return _read_metadata(_parse(text))


def parse_bake_metadata(text: str, targets: Iterable[str]) -> dict[str, Metadata]:
    """Read the text of a bake's metadata file, which has one part for each target."""
    document = _parse(text)
    return {target: _read_metadata(as_table(document.get(target))) for target in targets}


def _parse(text: str) -> Mapping[str, Any]:
    try:
        return as_table(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _read_metadata(document: Mapping[str, Any]) -> Metadata:
    definitions = []
    for name, provenance in document.items():
        platform = name.removeprefix(PROVENANCE)
        if name == PROVENANCE or platform.startswith("/"):
            definitions.append(_read_definition(platform[1:] or None, as_table(provenance)))
    return Metadata(
        as_text(document.get("containerimage.digest")),
        tuple(definitions),
        as_text(document.get("buildx.build.ref")) or "",
    )


def _read_definition(platform: str | None, provenance: Mapping[str, Any]) -> Definition:
    provenance = convert_provenance(provenance)
    built = as_table(provenance.get("buildConfig"))
    noted = as_table(as_table(provenance.get("metadata")).get(BUILDKIT))
    vertices = {str(step): vertex for vertex, step in as_table(built.get("digestMapping")).items()}
    listed = (as_table(each) for each in as_list(built.get("llbDefinition")))
    described = {str(each.get("id")): each for each in listed}
    known = [step for step in described if step in vertices]
    sources = Sources(as_table(noted.get("source")), known)
    reader = _OperationReader(noted, sources, vertices)
    operations = [reader.read(step, described[step]) for step in known]
    operations += [reader.read(step, {}) for step in vertices if step not in described]
    images = dict(_read_images(provenance))
    links = tuple(_read_links(provenance))
    return Definition(platform, sources.text, _complete_chains(operations), images, links)


def _complete_chains(operations: list[Operation]) -> tuple[Operation, ...]:
    """The same, with what is told only of an operation that builds on another one.

    Of two equal results, as two platforms can have, BuildKit tells the layers for one alone.
    """
    chains: dict[str, tuple[tuple[Layer, ...], ...]] = {}
    completed = []
    for each in reversed(operations):
        own = each.chains or chains.get(each.vertex, ())
        completed.append(replace(each, chains=own))
        below = tuple(chain[:-1] for chain in own if len(chain) > 1)
        if each.below is not None and below:
            chains.setdefault(each.below, below)
    return tuple(reversed(completed))


def _read_images(provenance: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The images by name, from their package URLs: `pkg:docker/busybox@1?platform=…`."""
    for material in map(as_table, as_list(provenance.get("materials"))):
        uri = unquote((as_text(material.get("uri")) or "").partition("?")[0])
        digest = as_text(as_table(material.get("digest")).get("sha256"))
        kind, _, name = uri.partition("/")
        if kind == "pkg:docker" and name and digest:
            yield name.replace("@", ":", 1), f"sha256:{digest}"


def _read_links(provenance: Mapping[str, Any]) -> Iterator[str]:
    """The named contexts that BuildKit is given as results: `context:base` is `input:0-base`.

    https://github.com/moby/buildkit/blob/v0.25.2/frontend/dockerui/namedcontext.go
    """
    invocation = as_table(provenance.get("invocation"))
    arguments = as_table(as_table(invocation.get("parameters")).get("args"))
    for name, value in arguments.items():
        if name.startswith(_CONTEXT) and str(value).startswith(_INPUT):
            # One for a single platform is `context:base::linux/amd64`.
            yield name.removeprefix(_CONTEXT).partition("::")[0]


class _OperationReader:
    """Reads the operations of one definition.

    https://github.com/moby/buildkit/blob/v0.25.2/solver/pb/ops.proto
    """

    def __init__(
        self, noted: Mapping[str, Any], sources: Sources, vertices: Mapping[str, str]
    ) -> None:
        self._sources = sources
        self._layers = as_table(noted.get("layers"))
        self._vertices = vertices

    def read(self, step: str, described: Mapping[str, Any]) -> Operation:
        """The operation that is named `step`."""
        op = as_table(as_table(described.get("op")).get("Op"))
        inputs = [str(each).partition(":")[0] for each in as_list(described.get("inputs"))]
        below, beside = (
            self._vertices.get(inputs[each])
            if each is not None and 0 <= each < len(inputs)
            else None
            for each in find_inputs(op, len(inputs))
        )
        # A step's outputs are `step3:0`, `step3:1`, …; instructions have one.
        chains = [tuple(_read_layers(each)) for each in as_list(self._layers.get(f"{step}:0"))]
        return Operation(
            vertex=self._vertices[step],
            lines=self._sources.read_lines(step),
            chains=tuple(chain for chain in chains if chain),
            below=below,
            beside=beside,
            inputs=tuple(self._vertices[each] for each in inputs if each in self._vertices),
            source=as_text(as_table(op.get("source")).get("identifier")) or "",
            is_linked=self._sources.is_elsewhere(step),
        )


def _read_layers(chain: object) -> Iterator[Layer]:
    for each in map(as_table, as_list(chain)):
        digest, size = each.get("digest"), each.get("size")
        if isinstance(digest, str) and _DIGEST.fullmatch(digest) and isinstance(size, int):
            # An engine without the containerd image store does not tell the size: it has -1.
            yield Layer(digest, max(size, 0))
