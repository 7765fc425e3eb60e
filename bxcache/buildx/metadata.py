"""The content of `--metadata-file` after a successful build: digests and each step's provenance.

With `BUILDX_METADATA_PROVENANCE=max` it has the build's provenance in SLSA 0.2 form, one for each
platform: the Dockerfile lines and the layers of every step of every stage.
https://github.com/docker/buildx/blob/v0.29.1/build/provenance.go
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from bxcache.buildx.option_text import FALSE
from bxcache.buildx.provenance import (
    BUILDKIT,
    Sources,
    convert_provenance,
    find_frontend,
    find_inputs,
    read_fetched,
    read_images,
    read_links,
)
from bxcache.buildx.step_inputs import Described
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.values import as_list, as_table, parse_table, read_items, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from bxcache.buildx.stream.trace import TracedStep

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PROVENANCE_VARIABLE = "BUILDX_METADATA_PROVENANCE"
PROVENANCE = "buildx.build.provenance"
_NONE = FALSE | {"disabled"}
_CACHE = "cache.manifest"
"""The key of the last exported cache's manifest."""
_MOST = ("buildConfig", "metadata")
"""Keys that the default provenance lacks."""


class Layer(Struct, frozen=True):
    """A blob that a step made.

    Attributes:
        digest: the blob's digest, by which stores and registries name it.
        size: how large it is as stored, usually compressed; 0 if unknown.
    """

    digest: str
    size: int


Chains = tuple[tuple[Layer, ...], ...]


class Operation(Struct, frozen=True):
    """An operation of a build: an instruction, or a part of one.

    Attributes:
        vertex: its digest, which also identifies it in the build's stream.
        lines: the first lines of its instructions in the Dockerfile, from 1. Equal instructions of
            two stages are one operation.
        chains: the layers of its result from the bottom, its own last. Several chains are
            alternatives for the same result.
        below, beside: the vertices whose files it changes, and whose files a merge adds on top.
        inputs: all vertices whose files it needs, including those two.
        source: the source of its files, such as `docker-image://docker.io/library/busybox`.
        is_linked: whether it belongs to another build with its own Dockerfile, whose result is a
            named context of this one.
    """

    vertex: str
    lines: tuple[int, ...] = ()
    chains: Chains = ()
    below: str | None = None
    beside: str | None = None
    inputs: tuple[str, ...] = ()
    source: str = ""
    is_linked: bool = False

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Its own layers, one for each alternative."""
        return tuple(dict.fromkeys(chain[-1] for chain in self.chains))


class Definition(Struct, frozen=True):
    """What was built for one platform.

    Attributes:
        platform: None in a build for a single one.
        dockerfile: its text, if known.
        operations: each after those it needs.
        images: the digests of the images used, by name.
        links: the named contexts that are results of other builds.
        described: what BuildKit says of each operation, by vertex.
        fetched: the digests of other remote files, by their addresses.
        frontend: the image that read the Dockerfile, as `NAME@DIGEST`; empty for the built-in one.
    """

    platform: str | None
    dockerfile: str
    operations: tuple[Operation, ...]
    images: Mapping[str, str] = field(default_factory=dict)
    links: tuple[str, ...] = ()
    described: Mapping[str, Described] = field(default_factory=dict)
    fetched: Mapping[str, str] = field(default_factory=dict)
    frontend: str = ""


class Metadata(Struct, frozen=True, dict=True):
    """The content of a metadata file.

    Attributes:
        image_digest: the image's digest, or None if no image was exported.
        definitions: what was built for each platform; empty if buildx does not report it.
        ref: buildx's name of the build, `BUILDER/NODE/ID`; empty if unknown.
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
        """Return the metadata with a definition for each platform's provenance."""
        read = (
            _read_definition(platform if len(texts) > 1 else None, parse_table(text))
            for platform, text in texts.items()
        )
        return replace(self, definitions=tuple(read))

    def with_layers(self, names: Mapping[str, Layer]) -> Metadata:
        """Return the metadata with some layers replaced, by their digests."""
        return self._with_chains(
            lambda _, each: tuple(
                tuple(names.get(layer.digest, layer) for layer in chain) for chain in each.chains
            )
        )

    def completed(self, others: Iterable[Metadata]) -> Metadata:
        """Add layers that only other builds of the same Dockerfile report, by their lines."""
        known = {
            (definition.platform, each.lines): each.chains
            for other in others
            for definition in other.definitions
            for each in definition.operations
            if each.lines and each.chains
        }
        return self._with_chains(
            lambda platform, each: each.chains or known.get((platform, each.lines), ())
        )

    def with_shared(self, chains: Mapping[str, Chains]) -> Metadata:
        """Add unknown layers, by vertex, from the metadata of concurrent builds."""
        return self._with_chains(lambda _, each: each.chains or chains.get(each.vertex, ()))

    def _with_chains(self, find: Callable[[str | None, Operation], Chains]) -> Metadata:
        """Return the metadata with other chains, found by platform and operation."""
        definitions = []
        for each in self.definitions:
            operations = [replace(op, chains=find(each.platform, op)) for op in each.operations]
            definitions.append(replace(each, operations=_complete_chains(operations)))
        return replace(self, definitions=tuple(definitions))

    def with_results(self, results: Mapping[range, tuple[Layer, ...]]) -> Metadata:
        """Add the unknown layers of some stages, from the bottom, by their lines in the Dockerfile.

        If two concurrent builds of one engine share a step, only one may report its layers. Nothing
        is added for several platforms: their layers differ.
        """
        if len(self.definitions) != 1:
            return self
        operations = list(self.definitions[0].operations)
        for lines, chain in results.items():
            ends = {
                max(line for line in each.lines if line in lines): at
                for at, each in enumerate(operations)
                if any(line in lines for line in each.lines)
            }
            at = ends[max(ends)] if ends else None
            if at is not None and not operations[at].chains:
                operations[at] = replace(operations[at], chains=(chain,))
        completed = replace(self.definitions[0], operations=_complete_chains(operations))
        return replace(self, definitions=(completed,))

    @cached_property
    def layers(self) -> Mapping[str, int]:
        """The size in bytes of every layer in the metadata, by digest."""
        chains = (chain for each in self.operations.values() for chain in each.chains)
        return {layer.digest: layer.size for chain in chains for layer in chain}


def parse_metadata(text: str) -> Metadata:
    """Parse a metadata file; leave out whatever is missing or malformed."""
    return _read_metadata(parse_table(text))


def parse_bake_metadata(text: str, targets: Iterable[str]) -> dict[str, Metadata]:
    """Parse a bake's metadata file, which has a part for each target."""
    document = parse_table(text)
    return {target: _read_metadata(as_table(document.get(target))) for target in targets}


def _read_metadata(document: Mapping[str, Any]) -> Metadata:
    definitions = (
        _read_definition(name.removeprefix(PROVENANCE)[1:] or None, as_table(provenance))
        for name, provenance in document.items()
        if name == PROVENANCE or name.startswith(f"{PROVENANCE}/")
    )
    digest = read_text(document, "containerimage.digest") or None
    return Metadata(digest, tuple(definitions), read_text(document, "buildx.build.ref"))


def _read_definition(platform: str | None, provenance: Mapping[str, Any]) -> Definition:
    provenance = convert_provenance(provenance)
    built = as_table(provenance.get("buildConfig"))
    noted = as_table(as_table(provenance.get("metadata")).get(BUILDKIT))
    vertices = {str(step): vertex for vertex, step in as_table(built.get("digestMapping")).items()}
    steps = {str(each.get("id")): each for each in read_items(built, "llbDefinition")}
    described = {
        step: _read_described(each, vertices) for step, each in steps.items() if step in vertices
    }
    known = [*described]
    sources = Sources(as_table(noted.get("source")), known)
    layers = as_table(noted.get("layers"))
    operations = [
        # A step's outputs are `step3:0`, `step3:1`, …; an instruction has one.
        _read_operation(
            step,
            vertices[step],
            described.get(step, Described()),
            as_list(layers.get(f"{step}:0")),
            sources,
        )
        for step in (*known, *(each for each in vertices if each not in described))
    ]
    images = dict(read_images(provenance))
    return Definition(
        platform=platform,
        dockerfile=sources.text,
        operations=_complete_chains(operations),
        images=images,
        links=tuple(read_links(provenance)),
        described={vertices[step]: each for step, each in described.items()},
        fetched=dict(read_fetched(provenance)),
        frontend=find_frontend(provenance, images),
    )


def _complete_chains(operations: list[Operation]) -> tuple[Operation, ...]:
    """Add chains that follow from those of operations above."""
    # If two platforms have equal results, BuildKit reports the layers of only one.
    chains: dict[str, Chains] = {}
    completed = []
    for each in reversed(operations):
        own = each.chains or chains.get(each.vertex, ())
        completed.append(replace(each, chains=own))
        below = tuple(chain[:-1] for chain in own if len(chain) > 1)
        if each.below is not None and below:
            chains.setdefault(each.below, below)
    return tuple(reversed(completed))


def _read_described(step: Mapping[str, Any], vertices: Mapping[str, str]) -> Described:
    """Read an operation: https://github.com/moby/buildkit/blob/v0.25.2/solver/pb/ops.proto."""
    op = as_table(step.get("op"))
    inputs = (str(each).partition(":")[0] for each in as_list(step.get("inputs")))
    return Described(
        op=as_table(op.get("Op")),
        inputs=tuple(vertices.get(each, "") for each in inputs),
        platform=as_table(op.get("platform")),
    )


def _read_operation(
    step: str, vertex: str, described: Described, chains: Iterable[Any], sources: Sources
) -> Operation:
    inputs = described.inputs
    below, beside = (
        (inputs[each] or None) if each is not None and 0 <= each < len(inputs) else None
        for each in find_inputs(described.op, len(inputs))
    )
    return Operation(
        vertex=vertex,
        lines=sources.read_lines(step),
        chains=tuple(filter(None, (tuple(_read_layers(chain)) for chain in chains))),
        below=below,
        beside=beside,
        inputs=tuple(filter(None, inputs)),
        source=described.source,
        is_linked=sources.is_elsewhere(step),
    )


def _read_layers(chain: object) -> Iterator[Layer]:
    for each in map(as_table, as_list(chain)):
        digest, size = each.get("digest"), each.get("size")
        if isinstance(digest, str) and _DIGEST.fullmatch(digest) and isinstance(size, int):
            # An engine without the containerd image store reports a size of -1.
            yield Layer(digest, max(size, 0))


def find_layers(step: TracedStep, metadata: Metadata) -> tuple[Layer, ...]:
    """Find the layers that a step made, as far as known."""
    known = _find_operations(step, metadata)
    return tuple(dict.fromkeys(layer for each in known for layer in each.layers))


def reuses_only(steps: Sequence[TracedStep], metadata: Metadata, known: AbstractSet[str]) -> bool:
    """Whether a build has steps, and reused each with a layer that is known by its digest.

    The engine's own cache can have more than what is known; old buildx does not report layers.
    """
    return bool(steps) and all(
        step.outcome is Outcome.REUSED
        and not known.isdisjoint(layer.digest for layer in find_layers(step, metadata))
        for step in steps
    )


def find_chains(step: TracedStep, metadata: Metadata) -> frozenset[tuple[str, ...]]:
    """Find the digests of all layers of each form of a step's result, from the bottom."""
    known = _find_operations(step, metadata)
    chains = (chain for each in known for chain in each.chains)
    return frozenset(tuple(layer.digest for layer in chain) for chain in chains)


def find_line(step: TracedStep, metadata: Metadata) -> int | None:
    """Find a step's first line in the Dockerfile, if known."""
    known = (line for each in _find_operations(step, metadata) for line in each.lines)
    return min((*known, *step.lines), default=None)


def is_linked(step: TracedStep, metadata: Metadata) -> bool:
    """Whether a step belongs to another build whose result is a named context of this one."""
    known = _find_operations(step, metadata)
    return bool(known) and all(each.is_linked for each in known)


def _find_operations(step: TracedStep, metadata: Metadata) -> list[Operation]:
    return [metadata.operations[each] for each in step.digests if each in metadata.operations]


def limit_metadata(text: str, environment: Mapping[str, str], caching: Container[str] = ()) -> str:
    """Return metadata with full provenance as plain buildx would write it for a build or a bake.

    Args:
        environment: docker's variables, as set by the caller.
        caching: the targets whose cache the caller exports; a build's name is empty.

    Raises:
        ValueError: the text is not metadata.
    """
    wish = environment.get(PROVENANCE_VARIABLE, "")
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # the text is wrong, not a type
    # A bake has an object for each target.
    targets = {
        name: _limit(value, wish, caches=name in caching) if isinstance(value, dict) else value
        for name, value in document.items()
    }
    limited = _limit(targets, wish, caches="" in caching)
    return json.dumps(limited, indent=2, ensure_ascii=False)


def _limit(table: dict[str, Any], wish: str, *, caches: bool) -> dict[str, Any]:
    kept = {}
    for name, value in table.items():
        if not name.startswith(PROVENANCE):
            if caches or name != _CACHE:
                kept[name] = value
        elif wish == "max":
            kept[name] = value
        elif wish not in _NONE:
            kept[name] = {key: each for key, each in value.items() if key not in _MOST}
    return kept
