"""The configuration of an untrusted build: files request, flags and variables allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from bxcache.config.backends import SETTINGS
from bxcache.config.builders import BuilderSettings
from bxcache.config.discovery import find_root
from bxcache.config.loading import locate
from bxcache.config.models import SECTIONS, Config, ImageSettings
from bxcache.config.problems import dotted
from bxcache.config.sources import (
    BACKENDS,
    Origin,
    find_leaves,
    insert_leaf,
    merge_layers,
    split_backends,
)
from bxcache.config.trust import Checkout, Rule

if TYPE_CHECKING:
    from pathlib import Path

    from bxcache.config.declaration import Declaration
    from bxcache.config.loading import Setup
    from bxcache.config.sources import Key, Layer, Position, Source

    _Refused = dict[Position, tuple[Any, str]]
    """Refused values by key, each with the reason."""

_IMAGES, _BUILDER, _TYPE = "images", "builder", "type"


class Refusal(Struct, frozen=True):
    """A refused value of a file, by the dotted path of its key."""

    key: str
    value: Any
    source: Source
    why: str

    def __str__(self) -> str:
        return f"`{self.key}` ({self.source})"


def find_rule(model: type[Declaration], name: str) -> Rule:
    """Find the trust class of a key; raise a LookupError if it has no class."""
    found = [each for each in model.model_fields[name].metadata if isinstance(each, Rule)]
    if len(found) != 1:
        raise LookupError(f"{model.__name__}.{name} is not classified")
    return found[0]


def find_checkout(directory: Path) -> Checkout:
    """The checkout around a working directory: the git work tree, or the directory alone."""
    return Checkout((find_root(directory) or directory).resolve(), directory)


def guard_setup(setup: Setup, directory: Path) -> tuple[Setup, tuple[Refusal, ...]]:
    """Remove the values that an untrusted file may not set.

    Also returns the refused values that would have had an effect.
    """
    checkout = find_checkout(directory)
    refused: _Refused = {}
    is_link = setup.file is not None and checkout.leads_out(str(setup.file.path))
    why = "a link leads out of the checkout" if is_link else None
    layers = tuple(_guard_layer(layer, checkout, refused, why) for layer in setup.layers)
    merged = merge_layers(layers)
    config, sources = Config.model_validate(merged.values), merged.sources
    guarded = replace(setup, config=config, sources=sources, layers=layers, is_guarded=True)
    # A flag or variable replaces the others.
    return guarded, tuple(
        Refusal(dotted(key), refused[key][0], source, refused[key][1])
        for key, source in locate(setup, refused).items()
        if source.origin is Origin.FILE
    )


def _guard_layer(layer: Layer, checkout: Checkout, refused: _Refused, why_all: str | None) -> Layer:
    """The harmless values of a file; none if `why_all` gives a reason against the whole file."""
    if layer.fallback.origin is not Origin.FILE:
        return layer
    values: dict[str, Any] = {}
    for key, value in find_leaves(layer.values):
        if key == BACKENDS and why_all is None:
            kept = [_guard_backend(n, each, checkout, refused) for n, each in enumerate(value)]
            # Without its type, a backend is refused as a whole.
            insert_leaf(values, key, [each for each in kept if _TYPE in each])
            continue
        why = why_all or _judge(key, value, checkout)
        if why is None:
            insert_leaf(values, key, value)
        elif key[0] != _IMAGES:
            # The chosen image's values are in `build`, too.
            refused |= {place: (each, why) for place, each in split_backends(key, value)}
    return replace(layer, values=values)


def _judge(key: Key, value: object, checkout: Checkout) -> str | None:
    """Why a value is refused, or None."""
    names = key[2:] if key[0] == _IMAGES else key[1:]
    if key[0] == _BUILDER:
        # An empty table declares a builder, too.
        return find_rule(BuilderSettings, (*names, "name")[0]).judge("", value, checkout)
    if not names or value == {}:
        return None
    model = ImageSettings if key[0] == _IMAGES else SECTIONS[key[0]]
    return find_rule(model, names[0]).judge(names[-1], value, checkout)


def _guard_backend(
    number: int, table: dict[str, Any], checkout: Checkout, refused: _Refused
) -> dict[str, Any]:
    model = SETTINGS[table[_TYPE]]
    kept: dict[str, Any] = {}
    for name, value in table.items():
        why = find_rule(model, name).judge(name, value, checkout)
        if why is None:
            kept[name] = value
        else:
            refused[(*BACKENDS, number, name)] = value, why
    return kept
