"""The guarded definition of an untrusted bake.

Bake's files can read every environment variable, so they are evaluated with only the variables
that docker needs. The result, without keys that ask for more than is allowed, is the only file to
bake from then on; the caller's `--set` applies on top of it.

When bake evaluates a Compose file, it opens the files named there (`env_file`, `include`,
`extends`, and `.env` beside it), and prints the lines that it cannot parse. No check of the result
can keep a file of the runner out of it, so Compose files are left out. HCL and JSON have no such
feature. https://docs.docker.com/build/bake/compose-file/
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from bxcache.buildx.bake.entitlements import READ, Allowed
from bxcache.buildx.bake.guard import Limits, guard_target
from bxcache.buildx.extra_flags import find_short, find_values
from bxcache.config.environment import BAKE_VARIABLES
from bxcache.config.guard import find_checkout
from bxcache.config.paths import is_remote
from bxcache.config.wording import name_option
from bxcache.errors import ConfigError, Problem
from bxcache.pipeline.bake_targets import (
    NOTHING,
    Bake,
    check_files,
    find_set,
    print_definition,
    read_targets,
    render_files,
)
from bxcache.pipeline.destinations import check_targets
from bxcache.pipeline.given_caches import refuse_shown_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bxcache.buildx.bake.definition import BakeTarget
    from bxcache.buildx.driver import Docker
    from bxcache.pipeline.bake_targets import BakeRequest
    from bxcache.pipeline.prepare import Prepared

_NAME = "docker-bake.json"
_HINT = (
    "the build is not trusted, so bake files read no variables of the runner but those that "
    f"`{BAKE_VARIABLES}` names, as in `{BAKE_VARIABLES}=VERSION,TAG`"
)
# The variables that docker needs to find its plugins, and bake its files.
_NEEDED = (
    *("PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "TMPDIR", "DOCKER_CONFIG", "BUILDX_CONFIG"),
    "BUILDX_EXPERIMENTAL",
)
# https://github.com/docker/buildx/blob/v0.29.1/bake/bake.go (`defaultFilenames`)
_COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_ENDINGS = (".json", ".hcl", ".override.json", ".override.hcl")
_BAKE = tuple(f"docker-bake{each}" for each in _ENDINGS)
_EVALUATED = (".hcl", ".json")
"""The suffixes of files that buildx never reads as Compose, whatever their content."""
_WHY_COMPOSE = "a Compose file can read any file of the runner, and the build is not trusted"
_WHY_LINK = "a link leads out of the checkout, and the build is not trusted"
_REFUSED = (
    "what the bake file says does not count in a build that is not trusted: {keys}; set it with "
    "`{sets}`, or let the file have it with `{allow}`; it reads no variables but those that "
    "`{variables}` names"
)
_OTHER_FILES = (
    "describe the targets in `docker-bake.hcl` or `docker-bake.json`, or let the files read "
    "everything of the runner with `{allow}`"
)
_SHOWN_ESCAPED = ("args", "labels", "annotations", "dockerfile-inline")
"""The keys that newer releases of buildx escape when they print them, and older ones do not."""


def define_bake(request: BakeRequest, base: Prepared) -> Bake:
    """Read the targets of a bake, and guard its definition if it is not trusted."""
    if base.setup.is_guarded:
        request, notes = guard_bake(request, base.docker, base.folder)
        base = replace(base, notes=(*base.notes, *notes))
    targets = read_targets(request, base.docker)
    check_targets(targets, base.setup, request.build.directory)
    refuse_shown_secrets(
        (f"target `{name}`", text) for name, each in targets.items() for text in each.cache_from
    )
    return Bake(request, base, targets)


def guard_bake(
    request: BakeRequest, docker: Docker, folder: Path
) -> tuple[BakeRequest, tuple[str, ...]]:
    """Replace the files of a bake with a guarded definition in a folder; add notes on the rest."""
    check_files(request)
    _check_sources(request)
    directory = request.build.directory
    grants = Allowed(find_values(request.build.extra, "--allow"), directory)
    limits = Limits(find_checkout(directory), grants)
    files, notes = choose_files(request.files, limits, os.environ)
    evaluated, groups = _evaluate(replace(request, files=files), docker, folder)
    refused: list[str] = []
    targets = {}
    for name, target in evaluated.items():
        targets[name], keys = guard_target(target.printed, limits)
        refused += [f"{name}.{key}" for key in keys if not _is_set(request, name, key)]
    path = folder / _NAME
    guarded = replace(request, files=(str(path),))
    _write(path, {"group": groups, "target": targets}, guarded, docker)
    if not refused:
        return guarded, notes
    shown = ", ".join(f"`{key}`" for key in refused)
    names = {each: name_option(each) for each in ("sets", "allow")}
    return guarded, (*notes, _REFUSED.format(keys=shown, variables=BAKE_VARIABLES, **names))


def choose_files(
    named: Sequence[str], limits: Limits, environment: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Choose the files to evaluate, with a note on those that are left out.

    The caller names files, or a variable of the environment does, or bake looks for them. One that
    cannot be guarded is a `ConfigError`.
    """
    separator = environment.get("BUILDX_BAKE_FILE_SEPARATOR") or os.pathsep
    by_variable = environment.get("BUILDX_BAKE_FILE", "").split(separator)
    found, left_out = [*(named or filter(None, by_variable))], list[str]()
    free = limits.allowed.covers(READ, Path("/"))
    if not found and not free:
        directory = limits.checkout.directory
        found = [name for name in _BAKE if (directory / name).exists()]
        left_out = [name for name in _COMPOSE if (directory / name).exists()]
    problems = [] if free else [*_find_problems(found or left_out, limits)]
    if problems:
        raise ConfigError(
            problems, hint=_OTHER_FILES.format(allow=name_option("allow", "fs.read=*"))
        )
    shown = ", ".join(f"`{name}`" for name in left_out)
    return tuple(found), (f"{shown} is not read: {_WHY_COMPOSE}",) if left_out else ()


def _find_problems(files: Sequence[str], limits: Limits) -> Iterator[Problem]:
    checkout, allowed = limits.checkout, limits.allowed
    for file in files:
        if not file.lower().endswith(_EVALUATED):
            yield Problem(file, "", _WHY_COMPOSE)
        elif checkout.leads_out(file) and not allowed.reaches(READ, file):
            yield Problem(file, "", _WHY_LINK)


def _evaluate(
    request: BakeRequest, docker: Docker, folder: Path
) -> tuple[dict[str, BakeTarget], dict[str, Any]]:
    """Evaluate the files with only the allowed variables; return their targets and groups."""
    allowed = os.environ.get(BAKE_VARIABLES, "").split(",")
    names = {*_NEEDED, *map(str.strip, allowed)} & os.environ.keys()
    environment = {name: os.environ[name] for name in names}
    words = (*render_files(replace(request, sets=())), *request.targets)
    with _standing_in(folder) as agent:
        try:
            targets, text = print_definition(request, words, docker, {**environment, **agent})
        except ConfigError as error:
            raise ConfigError(error.problems, hint=_HINT, title=NOTHING) from error
    return targets, json.loads(text).get("group") or {}


@contextmanager
def _standing_in(folder: Path) -> Iterator[dict[str, str]]:
    """Provide an SSH agent without keys: bake cannot print a target with `ssh` without an agent."""
    path, known = folder / "agent", {}
    with socket.socket(socket.AF_UNIX) as agent:
        # The path may be too long for a socket; bake then reports the missing agent.
        with suppress(OSError):
            agent.bind(str(path))
            known = {"SSH_AUTH_SOCK": str(path)}
        yield known


def _check_sources(request: BakeRequest) -> None:
    extra, problems = request.build.extra, []
    if any(map(is_remote, request.targets)):
        why = "it is read from elsewhere, and so cannot be guarded in a build that is not trusted"
        problems.append(Problem("bake", "", why))
    if find_values(extra, "--file") or find_short(extra, "f"):
        why = f"name bake files with `{name_option('files')}` instead"
        problems.append(Problem(name_option("extra"), "--file", why))
    if problems:
        raise ConfigError(problems)


def _is_set(request: BakeRequest, target: str, key: str) -> bool:
    """Whether the caller sets a key of a target, which overrides the files."""
    sets = (*request.sets, *find_values(request.build.extra, "--set"))
    return any(
        fnmatchcase(target, pattern) and name.removesuffix("s") == key.removesuffix("s")
        for pattern, name in map(find_set, sets)
    )


def _write(path: Path, document: dict[str, Any], request: BakeRequest, docker: Docker) -> None:
    """Write a definition, escaped so that bake reads it back unchanged: bake evaluates strings."""
    path.write_text(json.dumps(_escape(document, besides=_SHOWN_ESCAPED)))
    if not any(mark in text for text in _list_escaped(document) for mark in ("${", "%{")):
        return
    words = ("--file", str(path), *request.targets)
    answer = docker.print_bake(words, request.build.directory, {**os.environ})
    read = json.loads(answer.stdout) if not answer.status else {}
    if [*_list_escaped(read)] != [*_list_escaped(document)]:
        path.write_text(json.dumps(_escape(document)))


def _list_escaped(document: Mapping[str, Any]) -> Iterator[str]:
    for _, target in sorted((document.get("target") or {}).items()):
        yield json.dumps([target.get(key) for key in _SHOWN_ESCAPED], sort_keys=True)


def _escape(node: Any, besides: tuple[str, ...] = ()) -> Any:  # noqa: ANN401  # any JSON
    if isinstance(node, str):
        return node.replace("${", "$${").replace("%{", "%%{")
    if isinstance(node, list):
        return [_escape(each, besides) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        _escape(name): _escape_names(each) if name in besides else _escape(each, besides)
        for name, each in node.items()
    }


def _escape_names(node: Any) -> Any:  # noqa: ANN401  # any JSON
    return {_escape(name): each for name, each in node.items()} if isinstance(node, dict) else node
