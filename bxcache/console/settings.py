"""The configuration with the source of each value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bxcache.buildx.secrets import mask_options
from bxcache.redaction import MASK, is_secret_name

if TYPE_CHECKING:
    from bxcache.redaction import Redactor

_WIDEST = 60


def render_settings(rows: list[tuple[str, Any, str]], redact: Redactor) -> str:
    """Render a line for each value: key, value, source; secrets are masked."""
    shown = [
        (f"{name} = {_render_value(name, each)}", source)
        for key, value, source in rows
        for name, each in _split_list(key, value)
    ]
    width = min(_WIDEST, max(len(text) for text, _ in shown))
    return redact("\n".join(f"{text:<{width}}  {source}" for text, source in shown))


def _split_list(key: str, value: object) -> list[tuple[str, object]]:
    """Split a list of tables into the values that are set."""
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return [(key, value)]
    return [
        (f"{key}[{index}].{name}", each)
        for index, table in enumerate(value)
        for name, each in sorted(table.items(), key=lambda item: item[0] != "type")
        if each is not None
    ]


def _render_value(key: str, value: object) -> str:
    if value is None:
        return "(none)"
    text = json.dumps(_mask(key.rpartition(".")[2], value), ensure_ascii=False)
    # A name from a variable may contain bytes that are not UTF-8.
    return text.encode(errors="backslashreplace").decode()


def _mask(name: str, value: object) -> object:
    """Mask a value that is a secret by its own name or by that of a field."""
    if isinstance(value, list):
        return [_mask("", each) for each in value]
    if not isinstance(value, str):
        return value
    return MASK if is_secret_name(name) else mask_options(value)
