"""Explain pydantic's errors: what is wrong, and what is valid."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from bxcache.config.backends import BACKENDS_TO_COME, SETTINGS, Declaration
from bxcache.config.models import (
    BuildSettings,
    CacheSettings,
    Config,
    GateSettings,
    ImageSettings,
)
from bxcache.redaction import is_secret_name, mask_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

    from bxcache.config.positions import Position

_BACKEND_DEPTH = 4
_KINDS = {
    "string_type": "a text in quotes",
    "bool_type": "`true` or `false`",
    "int_type": "a whole number",
    "float_type": "a number",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
_TOML_TYPES: dict[type, str] = {
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a table",
}


def place_of(error: ErrorDetails) -> Position:
    """The error's position in the document, without the tag of the backend union."""
    place = error["loc"]
    if place[:2] == ("cache", "backends") and len(place) >= _BACKEND_DEPTH:
        return (*place[:3], *place[4:])
    return place


def dotted(place: Position) -> str:
    """A position as text.

    >>> dotted(("cache", "backends", 0, "ref"))
    'cache.backends[0].ref'
    """
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def explain(error: ErrorDetails) -> str:
    """One error as a message."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _explain_unknown(error["loc"])
    if kind == "value_error":
        return str(context["error"])
    if kind in _KINDS:
        found = _TOML_TYPES.get(type(error["input"]), "something else")
        return f"must be {_KINDS[kind]}, not {found}"
    if kind == "missing":
        return "is required"
    if kind == "union_tag_not_found":
        return "needs a `type`: " + _any_of(SETTINGS)
    if kind == "union_tag_invalid":
        return _explain_type(str(context["tag"]))
    if kind == "literal_error":
        return _explain_choice(error)
    return error["msg"][:1].lower() + error["msg"][1:]


def _explain_unknown(place: tuple[str | int, ...]) -> str:
    model, name = _model_at(place[:-1]), str(place[-1])
    if name in model.misplaced:
        return model.misplaced[name]
    return "is unknown" + _suggest(name, model.model_fields)


def _explain_type(tag: str) -> str:
    if tag in BACKENDS_TO_COME:
        return f"the backend `{tag}` is not supported yet; known: {_any_of(SETTINGS)}"
    return f"`{tag}` is not a backend; known: {_any_of(SETTINGS)}" + _suggest(tag, SETTINGS)


def _explain_choice(error: ErrorDetails) -> str:
    expected = str(error.get("ctx", {}).get("expected", "")).replace("'", "`")
    given, name = error["input"], str(error["loc"][-1])
    if not isinstance(given, str) or is_secret_name(name):
        return f"must be {expected}"
    known = [choice.strip("`") for choice in expected.replace(" or ", ", ").split(", ")]
    return f"must be {expected}, not `{mask_url(given)}`{_suggest(given, known)}"


def _model_at(place: tuple[str | int, ...]) -> type[Declaration]:
    match place:
        case ("build", *_):
            return BuildSettings
        case ("images", _, *_):
            return ImageSettings
        case ("cache", "backends", _, str(tag), *_):
            return SETTINGS.get(tag, Declaration)
        case ("cache", *_):
            return CacheSettings
        case ("gate", *_):
            return GateSettings
        case _:
            return Config


def _any_of(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _suggest(name: str, known: Iterable[str]) -> str:
    close: list[Any] = get_close_matches(name.replace("-", "_"), list(known), 1, 0.6)
    return f"; did you mean `{close[0]}`?" if close else ""
