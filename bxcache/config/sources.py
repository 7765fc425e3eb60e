"""The sources of values: layers of nested tables, with the source of each leaf."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_Value = TypeVar("_Value")

Key = tuple[str, ...]
"""The path of a key, such as `("cache", "strict")`. A list is one value."""

Position = tuple[str | int, ...]
"""The path of a key or an entry of a list, such as `("cache", "backends", 0, "ref")`."""

BACKENDS: Key = ("cache", "backends")


class Origin(StrEnum):
    """The kinds of sources, in rising order of precedence."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


class Source(Struct, frozen=True):
    """Where a value was set.

    Attributes:
        name: the file's path, the variable or the flag; empty for a default.
        line: the line in the file, counted from 1, if known.
    """

    origin: Origin
    name: str = ""
    line: int | None = None

    def __str__(self) -> str:
        if not self.name:
            return self.origin.value
        return self.name if self.line is None else f"{self.name}:{self.line}"


DEFAULT = Source(Origin.DEFAULT)


class Layer(Struct, frozen=True):
    """The values of one source in tables; `fallback` is the source of leaves not in `sources`."""

    values: Mapping[str, Any]
    sources: Mapping[Key, Source] = field(default_factory=dict)
    fallback: Source = DEFAULT

    def source_of(self, key: Position) -> Source:
        """The source of a key, or of the nearest enclosing list or table."""
        return find_nearest(self.sources, key) or self.fallback


def find_nearest(known: Mapping[Any, _Value], key: Position) -> _Value | None:
    """The value of a key, or of the nearest table around it."""
    tables = (key[:length] for length in range(len(key), 0, -1))
    return next((known[each] for each in tables if each in known), None)


def find_leaves(table: Mapping[str, Any], prefix: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Each leaf of nested tables with its path; a list or an empty table is a leaf."""
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from find_leaves(value, (*prefix, name))
        else:
            yield (*prefix, name), value


def split_backends(key: Key, value: Any) -> Iterator[tuple[Position, Any]]:  # noqa: ANN401  # a leaf
    """Split the list of backends into the keys of each, its type first; another leaf stays."""
    if key != BACKENDS or not value:
        yield key, value
        return
    for number, backend in enumerate(value):
        for name, each in sorted(backend.items(), key=lambda item: item[0] != "type"):
            yield (*BACKENDS, number, name), each


def insert_leaf(table: dict[str, Any], key: Key, value: object) -> None:
    """Set a leaf of nested tables, creating tables as needed."""
    for name in key[:-1]:
        table = table.setdefault(name, {})
    table[key[-1]] = value


def merge_layers(layers: Iterable[Layer]) -> Layer:
    """Merge checked layers: the last that has a leaf counts; an empty table replaces none."""
    values: dict[str, Any] = {}
    sources: dict[Key, Source] = {}
    for layer in layers:
        for key, value in find_leaves(layer.values):
            if value == {} and any(known[: len(key)] == key for known in sources):
                continue
            insert_leaf(values, key, value)
            sources[key] = layer.source_of(key)
    return Layer(values, sources)
