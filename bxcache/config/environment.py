"""The `BXCACHE_*` variables: one for each key outside `[images]`.

`BXCACHE_CACHE_STRICT=true` sets `cache.strict`. Lists and tables are comma-separated, with
quotes around a field that contains a comma, as in docker's flags; `;` separates backends and nodes.
`BXCACHE_CONFIG` names the config file, `BXCACHE_IMAGE` the image, and `BXCACHE_BAKE_VARIABLES`
the variables that untrusted bake files may read.
"""

from __future__ import annotations

import csv
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import TypeAdapter, ValidationError

from bxcache.config.backends import SETTINGS
from bxcache.config.models import SECTIONS
from bxcache.config.problems import suggest
from bxcache.config.reference import EXAMPLE, Reference
from bxcache.config.sources import Key, Layer, Origin, Source, insert_leaf
from bxcache.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_PREFIX = "BXCACHE_"
CONFIG_VARIABLE = f"{_PREFIX}CONFIG"
IMAGE_VARIABLE = f"{_PREFIX}IMAGE"
BAKE_VARIABLES = f"{_PREFIX}BAKE_VARIABLES"
_VARIABLES: dict[str, Key] = {
    f"{_PREFIX}{section}_{name}".upper(): (section, name)
    for section, model in SECTIONS.items()
    for name in model.model_fields
}
_MOST_DIGITS = 30


def read_environment(environment: Mapping[str, str]) -> tuple[Layer, list[Problem], list[str]]:
    """The variables that are not empty as a layer, their problems, and notes on unknown ones."""
    values: dict[str, Any] = {}
    sources: dict[Key, Source] = {}
    problems: list[Problem] = []
    for name, key in _VARIABLES.items():
        if not environment.get(name):
            continue
        try:
            insert_leaf(values, key, parse_text(key, environment[name]))
        except ValueError as error:
            problems.append(Problem(name, "", str(error)))
        sources[key] = Source(Origin.ENVIRONMENT, name)
    return Layer(values, sources), problems, _note_unknown(environment)


def _note_unknown(environment: Mapping[str, str]) -> list[str]:
    known = {*_VARIABLES, CONFIG_VARIABLE, IMAGE_VARIABLE, BAKE_VARIABLES}
    return [
        f"bxcache does not know the variable `{name}`{suggest(name, known, 0.7)}"
        for name in sorted(environment.keys() - known)
        if name.startswith(_PREFIX) and not name.startswith(f"{_PREFIX}TEST_")
    ]


def parse_text(key: Key, text: str) -> Any:  # noqa: ANN401  # as many types as there are keys
    """Parse a variable's text as the value of a key.

    Raises:
        ValueError: it is not a valid value.
    """
    section, name = key
    if key == ("cache", "backends"):
        return [parse_backend(entry) for entry in text.split(";") if entry.strip()]
    if key == ("builder", "nodes"):
        return [_parse_node(entry) for entry in text.split(";") if entry.strip()]
    field = SECTIONS[section].model_fields[name]
    form: Any = Annotated[(field.annotation or str, *field.metadata, None)]
    adapter = TypeAdapter[Any](form)
    schema = adapter.json_schema()
    # An optional key's schema has a branch for null, a size or a time one for texts and numbers.
    branches = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if any(each.get("type") == "string" for each in branches):
        return text
    schema = next(iter(branches), schema)
    kind = schema.get("type")
    if kind == "array":
        return _split_fields(text)
    if kind == "object":
        return dict(map(_split_pair, _split_fields(text)))
    if kind not in ("boolean", "number"):
        return text
    try:
        return adapter.validate_python(text, strict=False)
    except ValidationError as error:
        number = f"a number from {schema.get('minimum')} to {schema.get('maximum')}"
        expected = "`true` or `false`" if kind == "boolean" else number
        raise ValueError(f"must be {expected}, not `{text}`") from error


def parse_backend(text: str) -> dict[str, Any]:
    """Parse a backend in docker's syntax for caches.

    >>> parse_backend("type=registry,image-manifest=true")
    {'type': 'registry', 'image_manifest': True}

    Raises:
        ValueError: a field is not `key=value`, or the quoting is broken.
    """
    fields = _split_fields(text)
    try:
        pairs = [*map(_split_pair, fields)]
    except ValueError as error:
        raise ValueError(f"{error}, such as {_suggest_backend(fields[0])}") from error
    return {name.lower().replace("-", "_"): _parse_scalar(value) for name, value in pairs}


def _parse_node(text: str) -> dict[str, Any]:
    """Parse a node in the same syntax; `platforms` can be repeated.

    >>> _parse_node("endpoint=tcp://a:1,platforms=linux/amd64,driver_options.key=/k")
    {'endpoint': 'tcp://a:1', 'platforms': ['linux/amd64'], 'driver_options': {'key': '/k'}}
    """
    node: dict[str, Any] = {}
    for name, value in map(_split_pair, _split_fields(text)):
        table, _, entry = name.partition(".")
        if name == "platforms":
            node.setdefault(name, []).append(value)
        elif entry:
            node.setdefault(table, {})[entry] = value
        else:
            node[name] = value
    return node


def _suggest_backend(word: str) -> str:
    """A valid backend for one that begins with a word: a type, a repository as in docker, or so."""
    if word in SETTINGS:
        needs_ref = "ref" in SETTINGS[word].model_fields
        return f"`type={word}{f',ref={EXAMPLE}' if needs_ref else ''}`"
    with suppress(ValueError):
        if "/" in word:
            return f"`type=registry,ref={Reference.parse(word)}`"
    return f"`type=local` or `type=registry,ref={EXAMPLE}`"


def parse_gates(texts: Iterable[str]) -> dict[str, Any]:
    """Parse gates in the form `NAME=VALUE`.

    >>> parse_gates(["max_size=2GB", "require-cached=deps,build", "first=yes"])
    {'max_size': '2GB', 'require_cached': ['deps', 'build'], 'first': True}

    Raises:
        ValueError: one is not `NAME=VALUE`, or its value cannot be read.
    """
    gate: dict[str, Any] = {}
    for each in texts:
        name, equals, text = each.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise ValueError("write it `NAME=VALUE`, such as `max_size=2GB`")
        if name in ("require_cached", "warn"):
            gate[name] = [*gate.get(name, []), *filter(None, map(str.strip, text.split(",")))]
        else:
            gate[name] = _GATES.get(name, str)(text)
    return gate


def _parse_ratio(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"`{text}` is not a ratio; write it like 0.8") from error


def _parse_switch(text: str) -> Any:  # noqa: ANN401  # a bool
    try:
        return parse_text(("gate", "first"), text)
    except ValueError as error:
        raise ValueError(f"`first` {error}") from error


_GATES: dict[str, Callable[[str], Any]] = {"min_hit_ratio": _parse_ratio, "first": _parse_switch}
"""How the values of gates are read that are no texts in a file either."""


def _parse_scalar(text: str) -> str | int | bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else text


def _split_fields(text: str) -> list[str]:
    try:
        return next(csv.reader([text.strip()], strict=True), [])
    except csv.Error as error:
        form = """quote a whole field that contains a comma, as in `a,"b,c"`"""
        raise ValueError(f"is not a comma-separated list on one line; {form}") from error


def _split_pair(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not equals or not name.strip():
        raise ValueError("write each field as `key=value`")
    return name.strip(), value
