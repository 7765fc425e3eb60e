"""The content of `--metadata-file` after a successful build: digests and each step's provenance.

With `BUILDX_METADATA_PROVENANCE=max` it has the build's provenance in SLSA 0.2 form, one for each
platform: the Dockerfile lines and the layers of every step of every stage.
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
    """A blob that a step made; `size` is in bytes, 0 if unknown."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of a build: an instruction, or a part of one.

    Attributes:
        vertex: its digest, which also identifies it in the build's stream.
        lines: the first lines of its instructions in the Dockerfile, from 1. Equal instructions of
            two stages are one operation.
        chains: the layers of its result from the bottom, its own last. Several chains are
            alternatives for the same result.
        below: the vertex whose files it changes, or None.
        beside: the vertex whose files a merge adds on top, or None.
        inputs: all vertices whose files it needs, including those two.
        source: the source of its files, such as `docker-image://docker.io/library/busybox`, or an
            empty string.
        is_linked: whether it belongs to another build with its own Dockerfile, whose result is a
            named context of this one.
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
        """Its own layers, one for each alternative."""
        return tuple(dict.fromkeys(chain[-1] for chain in self.chains))


@dataclass(frozen=True, slots=True)
class Definition:
    """What was built for one platform.

    Attributes:
        platform: the platform; None in a build for a single one.
        dockerfile: the text of the Dockerfile, or an empty string.
        operations: the operations, each after those it needs.
        images: the digests of the images used, by name.
        links: the named contexts that are results of other builds.
    """

    platform: str | None
    dockerfile: str
    operations: tuple[Operation, ...]
    images: Mapping[str, str] = field(default_factory=dict)
    links: tuple[str, ...] = ()

    def with_layers(self, names: Mapping[str, Layer]) -> Definition:
        """Return the definition with some layers replaced."""
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
        self, known: Mapping[tuple[str | None, tuple[int, ...]], tuple[tuple[Layer, ...], ...]]
    ) -> Definition:
        """Add chains, by platform and lines, to operations that have none."""
        completed = (
            replace(each, chains=each.chains or known.get((self.platform, each.lines), ()))
            for each in self.operations
        )
        return replace(self, operations=tuple(completed))

    def with_results(self, results: Mapping[range, tuple[Layer, ...]]) -> Definition:
        """Add chains to the last operation of some lines, and below it, if it has none."""
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
    """The content of a metadata file.

    Attributes:
        image_digest: the image's digest, or None if no image was exported.
        definitions: what was built for each platform; empty if buildx does not report it.
        ref: buildx's name of the build, `BUILDER/NODE/ID`; empty if unknown.
        why_unknown: why the definitions are unknown, or an empty string.
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
        """Return the metadata with a definition for each platform's provenance.

        The definition of a build for a single platform has no platform name.
        """
        names = {platform: platform if len(texts) > 1 else None for platform in texts}
        read = (_read_definition(names[each], _parse(text)) for each, text in texts.items())
        return replace(self, definitions=tuple(read))

    def with_layers(self, names: Mapping[str, Layer]) -> Metadata:
        """Return the metadata with some layers replaced, such as by those of a registry.

        Args:
            names: the new layers, by their current digests.
        """
        renamed = tuple(each.with_layers(names) for each in self.definitions)
        return replace(self, definitions=renamed)

    def completed(self, others: Iterable[Metadata]) -> Metadata:
        """Add layers that only other builds of the same Dockerfile report.

        An instruction has the same line in all of them.
        """
        known = {
            (definition.platform, each.lines): each.chains
            for other in others
            for definition in other.definitions
            for each in definition.operations
            if each.lines and each.chains
        }
        return replace(self, definitions=tuple(each.completed(known) for each in self.definitions))

    def with_results(self, results: Mapping[range, tuple[Layer, ...]]) -> Metadata:
        """Add the layers of some stages, as far as they are unknown.

        If two concurrent builds of one engine share a step, only one may report its layers. Nothing
        is added for several platforms: their layers differ.

        Args:
            results: a stage's layers from the bottom, by its lines in the Dockerfile.
        """
        if len(self.definitions) != 1:
            return self
        return replace(self, definitions=(self.definitions[0].with_results(results),))

    @cached_property
    def layers(self) -> Mapping[str, int]:
        """The size in bytes of every layer in the metadata, by digest."""
        chains = (chain for each in self.operations.values() for chain in each.chains)
        return {layer.digest: layer.size for chain in chains for layer in chain}


def parse_metadata(text: str) -> Metadata:
    """Parse a metadata file; leave out whatever is missing or malformed."""
    return _read_metadata(_parse(text))


def parse_bake_metadata(text: str, targets: Iterable[str]) -> dict[str, Metadata]:
    """Parse a bake's metadata file, which has a part for each target."""
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
    """Add chains that follow from those of operations above.

    If two platforms have equal results, BuildKit reports the layers of only one.
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
    """Yield the names and digests of images, from package URLs like
    `pkg:docker/busybox@1?platform=…`.
    """
    for material in map(as_table, as_list(provenance.get("materials"))):
        uri = unquote((as_text(material.get("uri")) or "").partition("?")[0])
        digest = as_text(as_table(material.get("digest")).get("sha256"))
        kind, _, name = uri.partition("/")
        if kind == "pkg:docker" and name and digest:
            yield name.replace("@", ":", 1), f"sha256:{digest}"


def _read_links(provenance: Mapping[str, Any]) -> Iterator[str]:
    """Yield named contexts that are results of builds: `context:base` is `input:0-base`.

    https://github.com/moby/buildkit/blob/v0.25.2/frontend/dockerui/namedcontext.go
    """
    invocation = as_table(provenance.get("invocation"))
    arguments = as_table(as_table(invocation.get("parameters")).get("args"))
    for name, value in arguments.items():
        if name.startswith(_CONTEXT) and str(value).startswith(_INPUT):
            # For a single platform it is `context:base::linux/amd64`.
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
        """Read the operation named `step`."""
        op = as_table(as_table(described.get("op")).get("Op"))
        inputs = [str(each).partition(":")[0] for each in as_list(described.get("inputs"))]
        below, beside = (
            self._vertices.get(inputs[each])
            if each is not None and 0 <= each < len(inputs)
            else None
            for each in find_inputs(op, len(inputs))
        )
        # A step's outputs are `step3:0`, `step3:1`, …; an instruction has one.
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
            # An engine without the containerd image store reports a size of -1.
            yield Layer(digest, max(size, 0))
