"""Docker's option text: `type=registry,ref=example.com/app`, a line of CSV.

A field that contains a comma, a quote or a line break is quoted as a whole.
https://github.com/docker/buildx/blob/v0.29.1/util/buildflags/cache.go
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Attributes = tuple[tuple[str, str], ...]
TRUE = frozenset(("1", "t", "T", "true", "TRUE", "True"))
FALSE = frozenset(("0", "f", "F", "false", "FALSE", "False"))
"""The truth values of Go: https://pkg.go.dev/strconv#ParseBool"""


def render_options(attributes: Iterable[tuple[str, str]]) -> str:
    r"""Render attributes as docker reads them.

    >>> render_options([("type", "local"), ("dest", "/a,b")])
    'type=local,"dest=/a,b"'
    """
    return join_fields(f"{name}={value}" for name, value in attributes)


def join_fields(fields: Iterable[str]) -> str:
    """Join fields to one text, quoting them if necessary."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(fields)
    return text.getvalue()


def split_fields(text: str) -> list[str]:
    """Split an option text into fields; at commas if docker would refuse it.

    >>> split_fields('type=local,"dest=/a,b"'), split_fields('"id=a,env=B')
    (['type=local', 'dest=/a,b'], ['id=a', 'env=B'])
    """
    try:
        return _read_fields(text)
    except csv.Error:
        return [part.strip('"') for part in text.split(",")]


def parse_options(text: str) -> Attributes:
    """Parse an option text; raise ValueError if a field is not `key=value` or quoting is broken."""
    try:
        fields = _read_fields(text)
    except csv.Error as error:
        raise ValueError(f"`{text}` is not quoted like docker's options: {error}") from error
    pairs = [field.partition("=") for field in fields]
    for name, equals, _ in pairs:
        if not equals or not name:
            raise ValueError(f"`{name}` in `{text}` is not `key=value`")
    return tuple((name.strip().lower(), value) for name, _, value in pairs)


def read_options(text: str) -> dict[str, str]:
    """Parse the attributes of an option text; none if docker would refuse it."""
    try:
        return dict(parse_options(text))
    except ValueError:
        return {}


def _read_fields(text: str) -> list[str]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    return [field for row in rows for field in row]
