"""The documents for scripts, which `--json` prints and `to_dict` returns.

Keys are added, never renamed. Sizes are bytes, times seconds; moments are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

VERSION = "1"


def make_document(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make a document with its version from values of any depth.

    >>> make_document({"tags": ("a",)})
    {'version': '1', 'tags': ['a']}
    """
    return {"version": VERSION, **make_part(values)}


def make_part(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make a part of a document, which has no version of its own."""
    return {str(name): _plain(each) for name, each in values.items()}


def pick(source: object, *names: str) -> dict[str, Any]:
    """Return these attributes of an object by name, in order."""
    return {name: getattr(source, name) for name in names}


def _plain(value: Any) -> Any:  # noqa: ANN401  # any value of a document
    if isinstance(value, Mapping):
        return make_part(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Enum | Path):
        return str(value)
    return value
