"""The configuration with the source of each value."""

from __future__ import annotations

import json
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from bxcache.buildx.secrets import mask_options
from bxcache.redaction import MASK, is_secret_name

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH = 80
_LEFT = 54
_INDENT = "    "


def render_settings(rows: Sequence[tuple[str, Any, str]]) -> str:
    """Render each value with its key and its source, in 80 columns; secrets are masked.

    A source that does not fit beside its value is on the lines below it.
    """
    shown = [(_render_setting(key, value), source) for key, value, source in rows]
    width = max((len(text) for text, _ in shown if len(text) <= _LEFT), default=0)
    lines = (line for text, source in shown for line in _lay_out(text, source, width))
    return "\n".join(lines) or "nothing differs from the defaults"


def _render_setting(name: str, value: object) -> str:
    whole = f"{name} = {_render_value(name, value)}"
    if len(whole) <= _WIDTH or not isinstance(value, list):
        return whole
    # As the config file has long lists.
    entries = (f"{_INDENT}{_render_value('', each)}," for each in value)
    return "\n".join((f"{name} = [", *entries, "]"))


def _lay_out(text: str, source: str, width: int) -> list[str]:
    beside = f"{text:<{width}}  {source}".rstrip()
    if len(beside) <= _WIDTH and "\n" not in text:
        return [beside]
    # Paths and keys stay whole.
    below = wrap(
        source,
        _WIDTH,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [text, *below]


def describe_settings(rows: Sequence[tuple[str, Any, str]]) -> dict[str, Any]:
    """Return the values for scripts; secrets are masked."""
    settings = [
        {"key": key, "value": _mask_value(key, value), "source": source}
        for key, value, source in rows
    ]
    return {"settings": settings}


def _render_value(key: str, value: object) -> str:
    if value is None:
        return "(none)"
    text = json.dumps(_mask_value(key, value), ensure_ascii=False)
    # A name from a variable may contain bytes that are not UTF-8.
    return text.encode(errors="backslashreplace").decode()


def _mask_value(key: str, value: object) -> object:
    return _mask(key.rpartition(".")[2], value)


def _mask(name: str, value: object) -> object:
    """Mask a value that is a secret by its own name or by that of a field."""
    if isinstance(value, list):
        return [_mask("", each) for each in value]
    if isinstance(value, dict):
        return {key: _mask(key, each) for key, each in value.items()}
    if not isinstance(value, str):
        return value
    return MASK if is_secret_name(name) else mask_options(value)
