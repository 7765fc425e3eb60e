"""Explain pydantic's errors: what is wrong, and what is valid."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bxcache.config.backends import SETTINGS
from bxcache.config.builders import NodeSettings
from bxcache.config.declaration import Declaration
from bxcache.config.models import SECTIONS, Config, ImageSettings
from bxcache.config.reference import EXAMPLE
from bxcache.config.sources import BACKENDS
from bxcache.config.wording import name_option
from bxcache.redaction import is_secret_name, mask_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic_core import ErrorDetails

    from bxcache.config.sources import Position

_KINDS = {
    "string_type": "a text in quotes",
    "bool_type": "`true` or `false`",
    "int_type": "a whole number",
    "float_type": "a number such as 0.8",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
_PYTHON_KINDS = {
    "string_type": "a `str`",
    "bool_type": "`True` or `False`",
    "int_type": "an `int`",
    "float_type": "a number",
    "tuple_type": "a list",
    "dict_type": "a `dict`",
    "model_type": "a `dict`",
    "model_attributes_type": "a `dict`",
}
_TOML_TYPES: dict[type, str] = {
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a table",
}

_UNKNOWN = "extra_forbidden"


def find_invalid(
    table: Mapping[str, Any], *, in_file: bool = False, in_python: bool = False
) -> Iterator[tuple[Position, str]]:
    """The errors of a document: the position of each, and what is wrong and what is valid.

    Types are named as in TOML, or as in Python.
    """
    try:
        Config.model_validate(dict(table))
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            kind, place = detail["type"], _place_of(detail["loc"])
            if in_python and kind in _PYTHON_KINDS:
                found = type(detail["input"]).__name__
                why = f"must be {_PYTHON_KINDS[kind]}, not a value of type `{found}`"
            elif in_file and kind != _UNKNOWN and _has_variable(place, detail["input"]):
                why = _explain_variable(place)
            else:
                why = _explain(detail)
            yield place, why


def _place_of(place: Position) -> Position:
    """A position without the tag of the backend union, and without pydantic's mark of a name."""
    place = place[:-1] if place[-1:] == ("[key]",) else place
    return (*place[:3], *place[4:]) if place[:2] == BACKENDS else place


def _has_variable(place: Position, value: object) -> bool:
    """Whether a value is the name of a variable, where a variable of bxcache can give the value."""
    shortest = 3 if place[0] == "images" else 2
    named = isinstance(value, str) and re.search(r"\$\{?[A-Za-z_]", value)
    return bool(named) and len(place) >= shortest


def _explain_variable(place: Position) -> str:
    section, key = ("build", place[2]) if place[0] == "images" else place[:2]
    name = f"BXCACHE_{section}_{key}".upper()
    return f"variables are not expanded in the config file; `{name}` in the job can have them"


def dotted(place: Position) -> str:
    """A position as text.

    >>> dotted(("cache", "backends", 0, "ref"))
    'cache.backends[0].ref'
    """
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _explain(error: ErrorDetails) -> str:
    kind = error["type"]
    if kind in _KINDS:
        found = _TOML_TYPES.get(type(error["input"]), "something else")
        return f"must be {_KINDS[kind]}, not {found}"
    if kind == _UNKNOWN:
        return _explain_unknown(error["loc"])
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "missing":
        return f"is required, such as `{EXAMPLE}`" if error["loc"][-1] == "ref" else "is required"
    if kind == "union_tag_not_found":
        return "needs a `type`: " + _any_of(SETTINGS)
    if kind == "union_tag_invalid":
        return _explain_type(str(error["ctx"]["tag"]))
    if kind == "literal_error":
        return _explain_choice(error)
    return error["msg"][:1].lower() + error["msg"][1:]


def _explain_unknown(place: Position) -> str:
    model, name = _model_at(place[:-1]), str(place[-1])
    if name in model.misplaced:
        return model.misplaced[name].replace("{call}", name_option("call", "check"))
    return "is unknown" + suggest(name, model.model_fields)


def _explain_type(tag: str) -> str:
    return f"`{tag}` is not a backend; known: {_any_of(SETTINGS)}" + suggest(tag, SETTINGS)


def _explain_choice(error: ErrorDetails) -> str:
    expected = str(error["ctx"]["expected"]).replace("'", "`")
    given, name = error["input"], str(error["loc"][-1])
    if not isinstance(given, str) or is_secret_name(name):
        return f"must be {expected}"
    known = [choice.strip("`") for choice in expected.replace(" or ", ", ").split(", ")]
    return f"must be {expected}, not `{mask_url(given)}`{suggest(given, known)}"


def _model_at(place: Position) -> type[Declaration]:
    match place:
        case ("images", _, *_):
            return ImageSettings
        case ("cache", "backends", _, str(tag), *_):
            return SETTINGS.get(tag, Declaration)
        case ("builder", "nodes", *_):
            return NodeSettings
        case (("build" | "builder" | "cache" | "gate") as section, *_):
            return SECTIONS[section]
        case _:
            return Config


def _any_of(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def suggest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a message about an unknown name: the most similar known one, if any is."""
    close = get_close_matches(name.replace("-", "_"), [*known], 1, cutoff)
    return f"; did you mean `{close[0]}`?" if close else ""
