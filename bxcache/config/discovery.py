"""Find a repository's root and config file, and read the file."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bxcache.config.positions import Position, find_lines
from bxcache.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "bxcache.toml"
PYPROJECT_NAME = "pyproject.toml"
_LARGEST_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A config file's content.

    Attributes:
        path: its path.
        table: bxcache's part: all of `bxcache.toml`, or `[tool.bxcache]` of a pyproject.
        text: the whole text, to find lines.
        prefix: the keys above `table` in the document.
    """

    path: Path
    table: dict[str, Any]
    text: str
    prefix: tuple[str, ...] = ()

    def lines_of(self, positions: set[Position]) -> dict[Position, int]:
        """The line of each position in `table`, if found."""
        depth = len(self.prefix)
        lines = find_lines(self.text, {(*self.prefix, *position) for position in positions})
        return {position[depth:]: line for position, line in lines.items()}


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
    folders = [folder for folder in (start, *start.parents) if folder.is_relative_to(root)]
    for folder in folders:
        if (folder / FILE_NAME).exists():
            return read_config_file(folder / FILE_NAME)
        if (folder / PYPROJECT_NAME).is_file():
            file = read_config_file(folder / PYPROJECT_NAME, optional=True)
            if file is not None:
                return file
    return None


def read_config_file(path: Path, *, optional: bool = False) -> ConfigFile | None:
    """Read a config file; of a `pyproject.toml`, the table `[tool.bxcache]`.

    Args:
        path: the file.
        optional: return None for a pyproject without `[tool.bxcache]`, instead of an error.

    Raises:
        ConfigError: it is unreadable, too large or not TOML.
    """
    text = _read_text(path)
    if path.name != PYPROJECT_NAME:
        return ConfigFile(path, _parse(path, text), text)
    if optional and "bxcache" not in text:
        return None
    tool = _parse(path, text).get("tool")
    table = tool.get("bxcache") if isinstance(tool, dict) else None
    if table is None and optional:
        return None
    if not isinstance(table, dict):
        raise ConfigError([Problem(shorten_path(path), "tool.bxcache", "the table is missing")])
    return ConfigFile(path, table, text, ("tool", "bxcache"))


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_FILE + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError([Problem(shorten_path(path), "", f"cannot be read: {reason}")]) from error
    if len(data) > _LARGEST_FILE:
        raise ConfigError(
            [Problem(shorten_path(path), "", "is larger than 1 MiB; is it a config file?")]
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(shorten_path(path), "", "is not UTF-8 text", line)]) from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            [Problem(shorten_path(path), "", f"is not valid TOML: {error}")]
        ) from error
    except RecursionError as error:
        raise ConfigError([Problem(shorten_path(path), "", "is nested too deeply")]) from error


def shorten_path(path: Path) -> str:
    """The path for messages: relative if it is below the working directory."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
