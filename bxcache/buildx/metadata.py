"""What `--metadata-file` says once a build has succeeded: digests, and the provenance of each step.

With `BUILDX_METADATA_PROVENANCE=max` it holds the build's provenance in SLSA 0.2 shape, one for
each platform: the Dockerfile's line and the layers of every step of every stage.
https://github.com/docker/buildx/blob/v0.29.1/build/provenance.go
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROVENANCE_VARIABLE = "BUILDX_METADATA_PROVENANCE"
_PROVENANCE = "buildx.build.provenance"
_BUILDKIT = "https://mobyproject.org/buildkit@v1#metadata"


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob that a step made; `size` is in bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class StepOrigin:
    """Where a step comes from and what it made.

    Attributes:
        line: its first line in the Dockerfile, from 1, or None.
        layers: its own layers, without those it builds on.
    """

    line: int | None = None
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True, slots=True)
class Metadata:
    """A metadata file.

    Attributes:
        image_digest: the image's digest, or None when no image was exported.
        origins: line and layers by vertex digest.
        layers: the size of every layer that the build refers to, by digest.
    """

    image_digest: str | None = None
    origins: Mapping[str, StepOrigin] = field(default_factory=dict)
    layers: Mapping[str, int] = field(default_factory=dict)


def parse_metadata(text: str) -> Metadata:
    """Read a metadata file's text; what is missing or of another shape is left out."""
    try:
        document = _table(json.loads(text))
    except (ValueError, RecursionError):
        return Metadata()
    origins: dict[str, StepOrigin] = {}
    layers: dict[str, int] = {}
    for name, provenance in document.items():
        if name == _PROVENANCE or name.startswith(f"{_PROVENANCE}/"):
            built = _table(_table(provenance).get("buildConfig"))
            noted = _table(_table(_table(provenance).get("metadata")).get(_BUILDKIT))
            origins.update(_read_origins(built, noted))
            layers.update(_read_layers(noted))
    return Metadata(
        image_digest=_text(document.get("containerimage.digest")),
        origins=origins,
        layers=layers,
    )


def _read_origins(
    built: Mapping[str, Any], noted: Mapping[str, Any]
) -> Iterator[tuple[str, StepOrigin]]:
    locations = _table(_table(noted.get("source")).get("locations"))
    layers = _table(noted.get("layers"))
    for vertex, step in _table(built.get("digestMapping")).items():
        # A step's outputs are `step3:0`, `step3:1`, …; instructions have one.
        chains = _list(layers.get(f"{step}:0"))
        yield vertex, StepOrigin(_read_line(locations.get(step)), _read_own_layers(chains))


def _read_line(location: object) -> int | None:
    lines = [
        _table(each.get("start")).get("line")
        for place in _list(_table(location).get("locations"))
        for each in map(_table, _list(_table(place).get("ranges")))
    ]
    return min((line for line in lines if isinstance(line, int)), default=None)


def _read_own_layers(chains: list[Any]) -> tuple[Layer, ...]:
    """The last layer of each chain: the chains are alternatives for one and the same result."""
    last = [chain[-1] for chain in map(_list, chains) if chain]
    return tuple(dict.fromkeys(layer for each in last for layer in _read_layer(each)))


def _read_layers(noted: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for chains in _table(noted.get("layers")).values():
        for chain in map(_list, _list(chains)):
            for each in chain:
                yield from ((layer.digest, layer.size) for layer in _read_layer(each))


def _read_layer(value: object) -> Iterator[Layer]:
    digest, size = _table(value).get("digest"), _table(value).get("size")
    if isinstance(digest, str) and isinstance(size, int):
        yield Layer(digest, size)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
