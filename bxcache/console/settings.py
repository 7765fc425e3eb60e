"""The configuration with the source of each value."""

from __future__ import annotations

import json
from typing import Any

from bxcache.redaction import MASK, is_secret_name, mask_url


def render_settings(rows: list[tuple[str, Any, str]]) -> str:
    """One line for each value: key, value, source."""
    shown = [(key, _render_value(key, value), source) for key, value, source in rows]
    shown = [
        line
        for (key, value, source), (_, raw, _) in zip(shown, rows, strict=True)
        for line in _split_list(key, value, raw, source)
    ]
    width = max(len(f"{key} = {value}") for key, value, _ in shown)
    return "\n".join(
        f"{f'{key} = {value}':<{min(width, 60)}}  {source}" for key, value, source in shown
    )


def _split_list(key: str, value: str, raw: object, source: str) -> list[tuple[str, str, str]]:
    """A list of tables is shown value by value, without what is not set."""
    if not isinstance(raw, list) or not raw or not isinstance(raw[0], dict):
        return [(key, value, source)]
    return [
        (f"{key}[{index}].{name}", _render_value(name, each), source)
        for index, table in enumerate(raw)
        for name, each in sorted(table.items(), key=lambda item: item[0] != "type")
        if each is not None
    ]


def _render_value(key: str, value: object) -> str:
    name = key.rpartition(".")[2]
    if value is None:
        return "(none)"
    if isinstance(value, str):
        value = MASK if is_secret_name(name) else mask_url(value)
    text = mask_url(json.dumps(value, ensure_ascii=False))
    # A name from a variable may hold bytes that are no UTF-8.
    return text.encode(errors="backslashreplace").decode()
