"""The bake files that an untrusted build may evaluate.

When bake evaluates a Compose file, it opens the files named there (`env_file`, `include`,
`extends`, and `.env` beside it), and prints the lines that it cannot parse. No check of the result
can keep a file of the runner out of it. HCL and JSON have no such feature.
https://docs.docker.com/build/bake/compose-file/
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bxcache.buildx.bake.entitlements import READ
from bxcache.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bxcache.buildx.bake.guard import Limits

# https://github.com/docker/buildx/blob/v0.29.1/bake/bake.go (`defaultFilenames`)
_COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_BAKE = (
    *("docker-bake.json", "docker-bake.hcl"),
    *("docker-bake.override.json", "docker-bake.override.hcl"),
)
_EVALUATED = (".hcl", ".json")
"""The suffixes of files that buildx never reads as Compose, whatever their content."""
_WHY_COMPOSE = "a Compose file can read any file of the runner, and the build is not trusted"
_WHY_LINK = "a link leads out of the checkout, and the build is not trusted"
_HINT = (
    "describe the targets in `docker-bake.hcl` or `docker-bake.json`, or let the files read "
    "everything of the runner with `-- --allow fs.read=*`"
)


def choose_files(
    named: Sequence[str], limits: Limits, environment: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Choose the files to evaluate, with a note on those that are left out.

    Args:
        named: the files that the caller names, if any.
        limits: the limits that apply to them.
        environment: the caller's variables, which can also name files.

    Raises:
        ConfigError: a file that the caller names cannot be guarded, or no file can.
    """
    named = named or _read_variable(environment)
    if named or limits.allowed.covers(READ, Path("/")):
        problems = [*_find_problems(named, limits)]
        if problems:
            raise ConfigError(problems, hint=_HINT)
        return tuple(named), ()
    directory = limits.checkout.directory
    found = [name for name in _BAKE if (directory / name).exists()]
    left_out = [name for name in _COMPOSE if (directory / name).exists()]
    problems = [*_find_problems(found or left_out, limits)]
    if problems:
        raise ConfigError(problems, hint=_HINT)
    shown = ", ".join(f"`{name}`" for name in left_out)
    note = f"{shown} is not read: {_WHY_COMPOSE}"
    return tuple(found), (note,) if left_out else ()


def _read_variable(environment: Mapping[str, str]) -> tuple[str, ...]:
    separator = environment.get("BUILDX_BAKE_FILE_SEPARATOR") or os.pathsep
    return tuple(filter(None, environment.get("BUILDX_BAKE_FILE", "").split(separator)))


def _find_problems(files: Sequence[str], limits: Limits) -> Iterator[Problem]:
    if limits.allowed.covers(READ, Path("/")):
        return
    for file in files:
        if not file.lower().endswith(_EVALUATED):
            yield Problem(file, "", _WHY_COMPOSE)
        elif _is_link(file, limits):
            yield Problem(file, "", _WHY_LINK)


def _is_link(file: str, limits: Limits) -> bool:
    checkout = limits.checkout
    allowed = limits.allowed.reaches(READ, file)
    return checkout.leads_out(file) and not allowed
