"""Find a repository's root and config file, read the file, and find the lines of its keys."""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from bxcache.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from bxcache.config.sources import Position

_FILE = "bxcache.toml"
_PYPROJECT = "pyproject.toml"
_TABLE = ("tool", "bxcache")
_PLACE = re.compile(r"(?P<why>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)")
_LARGEST_FILE = 1 << 20
_LONGEST_SEARCHED = 2000


class ConfigFile(Struct, frozen=True):
    """A config file's content.

    Attributes:
        table: bxcache's part: all of `bxcache.toml`, or `[tool.bxcache]` of a pyproject.
        prefix: the keys above `table` in the document.
    """

    path: Path
    table: dict[str, Any]
    text: str
    prefix: tuple[str, ...] = ()

    def lines_of(self, positions: set[Position]) -> dict[Position, int]:
        """The line, counted from 1, of each position in `table`, if found.

        tomllib does not report lines. The shortest prefix of lines whose document has the key ends
        with the last line of its value. That works for dotted keys, arrays of tables and values of
        several lines. It parses the text once per line, but only for files with errors and files
        that are shown.
        """
        lines = self.text.splitlines()
        found: dict[Position, int] = {}
        if len(lines) > _LONGEST_SEARCHED:
            return found
        start = 0
        for end in range(1, len(lines) + 1):
            try:
                document = tomllib.loads("\n".join(lines[:end]))
            except tomllib.TOMLDecodeError:
                continue
            written = (n for n in range(start, end) if lines[n].partition("#")[0].strip())
            line, start = next(written, end - 1) + 1, end
            for position in positions - found.keys():
                if _holds(document, (*self.prefix, *position)):
                    found[position] = line
        return found


def find_root(start: Path) -> Path | None:
    """The root of the git work tree that contains a folder, or None."""
    return next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), None)


def find_config_file(start: Path) -> ConfigFile | None:
    """The nearest config file from `start` up to the git root.

    In a folder, `bxcache.toml` takes precedence over `[tool.bxcache]` in `pyproject.toml`. Outside
    a git work tree, only `start` itself is searched.

    Raises:
        ConfigError: a file was found but is unreadable or not TOML.
    """
    root = find_root(start) or start
    for folder in (start, *start.parents):
        if not folder.is_relative_to(root):
            break
        if (folder / _FILE).exists():
            return read_config_file(folder / _FILE)
        pyproject = folder / _PYPROJECT
        if pyproject.is_file() and (found := _read_table(pyproject)) is not None:
            return found
    return None


def _read_table(pyproject: Path) -> ConfigFile | None:
    text = _read_text(pyproject)
    if _TABLE[-1] not in text:
        return None
    match _parse(pyproject, text):
        case {"tool": {"bxcache": dict(table)}}:
            return ConfigFile(pyproject, table, text, _TABLE)
        case {"tool": {"bxcache": _}}:
            problem = Problem(shorten_path(pyproject), ".".join(_TABLE), "must be a table")
            raise ConfigError([problem])
    return None


def read_config_file(path: Path) -> ConfigFile:
    """Read a config file; of a `pyproject.toml`, the table `[tool.bxcache]`.

    Raises:
        ConfigError: it is unreadable, too large or not TOML, or the table is missing.
    """
    if path.name != _PYPROJECT:
        text = _read_text(path)
        return ConfigFile(path, _parse(path, text), text)
    if (found := _read_table(path)) is not None:
        return found
    raise ConfigError([Problem(shorten_path(path), ".".join(_TABLE), "the table is missing")])


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise _refuse(path, f"cannot be read: {error.strerror or error}") from error
    if len(data) > _LARGEST_FILE:
        raise _refuse(path, "is larger than 1 MiB; is it a config file?")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refuse(path, "is not UTF-8 text", line) from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        # tomllib's own error, or that of `int` about a number with thousands of digits.
        why = f"is not valid TOML: {error}"
        if place := _PLACE.fullmatch(str(error)):
            why = f"is not valid TOML: {place['why']} in column {place['column']}"
        raise _refuse(path, why, int(place["line"]) if place else None) from error
    except RecursionError as error:
        raise _refuse(path, "is nested too deeply") from error


def _refuse(path: Path, why: str, line: int | None = None) -> ConfigError:
    return ConfigError([Problem(shorten_path(path), "", why, line)])


def shorten_path(path: Path) -> str:
    """The path for messages: relative if it is below the working directory."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _holds(document: Any, position: Position) -> bool:  # noqa: ANN401  # any TOML value
    try:
        for step in position:
            document = document[step]
    except (LookupError, TypeError):
        return False
    return True
