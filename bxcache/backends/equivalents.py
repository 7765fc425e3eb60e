"""The backend that does what docker's own cache flags do."""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import TYPE_CHECKING

from bxcache.buildx.option_text import read_options, render_options, split_fields
from bxcache.config.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable

_SAME = {"src": "dir", "dest": "dir"}
_KEPT = {"local": ("dir",), "registry": ("ref",), "inline": ("ref",)}


def name_backends(values: Iterable[str]) -> str:
    """Name the backend for each value of `--cache-from` or `--cache-to`.

    >>> name_backends(["type=local,dest=/c,mode=max", "r/app:cache", "type=gha"])
    '`--backend type=local,dir=/c`, `--backend type=registry,ref=r/app`, and none for `type=gha`'
    """
    return ", ".join(map(_name_backend, values)).replace(", none", ", and none")


def _name_backend(text: str) -> str:
    fields = split_fields(text)
    given = {"type": "registry", "ref": text} if "=" not in fields[0] else read_options(text)
    options = {_SAME.get(name, name): value for name, value in given.items()}
    kind = options.get("type", "registry")
    if kind not in _KEPT:
        return f"none for `type={kind}`"
    if kind == "registry" and "ref" in options:
        options["ref"] = _drop_tag(options["ref"])
    kept = [(name, options[name]) for name in _KEPT[kind] if name in options]
    spec = render_options((("type", kind), *kept))
    return f"`--backend {shlex.quote(spec)}`"


def _drop_tag(ref: str) -> str:
    """The repository alone, as each scope is a tag of its own."""
    with suppress(ValueError):
        return Reference.parse(ref.partition("@")[0]).name
    return ref
