"""The page of all config keys, made from the models and the command line."""

from __future__ import annotations

import json
from typing import Any

from bxcache.cli.commands import load_command
from bxcache.config.backends import SETTINGS
from bxcache.config.declaration import Declaration
from bxcache.config.models import SECTIONS
from bxcache.config.schema import render_schema

_HEAD = """\
# All keys

Each key of `bxcache.toml`, or of `[tool.bxcache]` in `pyproject.toml`. Outside of `[images]` and
`[[cache.backends]]`, the variable `BXCACHE_SECTION_KEY` sets it too, and a flag of `bxcache build`
where the table names one; in Python, `bxcache.build` has an argument of the key's name. A flag
takes precedence over a variable, and a variable over the file.
"""
_NOTES = {
    "build": "`[images.NAME]` has the same keys; its values take precedence over `[build]`.",
    "builder": "`[[builder.nodes]]` has a table for each of several nodes, with an `endpoint`, "
    "`driver_options` and `platforms` of its own. Builders have no flags.",
    "cache": "`[[cache.backends]]` has a table for each backend, see below.",
}
_WRITTEN = {
    "backends": '[{ type = "local" }]',
    "max_size": '"20GB"',
    "max_age": '"30d"',
    "timeout": '"10m"',
}
"""Defaults as people write them."""
_OPTIONS = {"tag": "git_tag", "base": "base_branch", "default": "default_branch"}
"""The names of options that differ from their keys."""


def render_keys() -> str:
    """Render `docs/keys.md`."""
    definitions = json.loads(render_schema())["definitions"]
    options = {each.name: each.opts for each in load_command("build").params}
    lines = [_HEAD]
    for section, model in SECTIONS.items():
        lines += [f"## [{section}]", "", *_render_note(section), *_HEADERS]
        for name, field in _list_fields(definitions, model):
            flag = options.get(_OPTIONS.get(name, name) if section == "place" else name, ())
            shown = f"`{max(flag, key=len)}`" if flag and name != "context" else ""
            shown = {"gate": "`--gate`", "builder": ""}.get(section, shown)
            lines.append(_render_row(name, field, shown))
        lines.append("")
    # Tests declare others.
    own = {k: each for k, each in SETTINGS.items() if each.__module__.startswith("bxcache.")}
    for kind, backend in own.items():
        lines += [f"## [[cache.backends]] of type `{kind}`", "", *_HEADERS]
        lines += [
            _render_row(name, field, "") for name, field in _list_fields(definitions, backend)
        ]
        lines.append("")
    return "\n".join(lines)


_HEADERS = ("| Key | Type | Default | Flag | Meaning |", "| --- | --- | --- | --- | --- |")


def _render_note(section: str) -> tuple[str, ...]:
    return (_NOTES[section], "") if section in _NOTES else ()


def _list_fields(
    definitions: dict[str, Any], model: type[Declaration]
) -> list[tuple[str, dict[str, Any]]]:
    properties = definitions[model.__name__]["properties"]
    return [(name, properties[name]) for name in model.model_fields if name != "type"]


def _render_row(name: str, field: dict[str, Any], flag: str) -> str:
    default = json.dumps(field.get("default", ""))
    default = _WRITTEN.get(name, default) if "default" in field else default
    default = "" if default in ('""', "[]", "{}", "null") else default
    cells = (f"`{name}`", _name_type(field), f"`{default}`" if default else "", flag)
    meaning = field.get("description", "").replace("|", "\\|")
    return f"| {' | '.join(cells)} | {meaning} |"


def _name_type(field: dict[str, Any]) -> str:
    """Name a type as a writer of TOML knows it."""
    if "enum" in field:
        return " or ".join(f"`{each}`" for each in field["enum"])
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(map(_name_type, field["anyOf"])))
    match field.get("type"):
        case "array":
            items = field.get("items", {})
            return f"list of {_name_type(items)}" if items.keys() & {"type", "enum"} else "list"
        case "object":
            return "table"
        case "boolean":
            return "true or false"
        case "integer" | "number":
            return "number"
        case _:
            return "text"
