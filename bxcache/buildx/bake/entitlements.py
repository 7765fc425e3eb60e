"""Entitlements that the targets of a bake file ask for.

buildx does not check them with `--progress rawjson`, so this module applies its rules: a target
reads and writes only below the working directory, and has no host network, devices or ssh agent,
unless `--allow` or `--set` grants them.
https://github.com/docker/buildx/blob/v0.29.1/bake/entitlements.go

Of several targets, buildx checks the paths of only one. This module checks all.
"""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from bxcache.buildx.option_text import FALSE, TRUE, read_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bxcache.buildx.bake.definition import BakeTarget

FIRST_BUILDX = (0, 17)
"""The first buildx whose bake has `--allow`."""
FILES_VARIABLE = "BUILDX_BAKE_ENTITLEMENTS_FS"
"""buildx's variable that disables the checks of files and the ssh agent."""
HERE = "cwd://"
"""The prefix of a path from the working directory, not from the context."""
READ, WRITE = "fs.read", "fs.write"
_VERBS = {READ: "reads", WRITE: "writes"}
_MEANINGS = {
    "network.host": "it uses the host's network",
    "security.insecure": "it runs with the host's privileges",
    "ssh": "it uses the ssh agent",
}
_NOT_HERE = re.compile(r"https?://|git://|ssh://|git@|github\.com/|docker-image:|target:")
_OVER_SSH = re.compile(r"ssh://|[\w.-]+@[\w.-]+:")
_OPTIONS = ("secret", "ssh", "cache-from", "output", "cache-to")
"""The keys whose options name paths."""


class Entitlement(Struct, frozen=True):
    """The missing value of `--allow`, such as `fs.read=..`, and what the target does with it."""

    target: str
    allow: str
    meaning: str


class Allowed:
    """The values of `--allow`, which a caller grants to the targets, with `fs=` expanded."""

    def __init__(self, values: Iterable[str], directory: Path) -> None:
        """Parse the values of `--allow` in a working directory."""
        split = [(value, *value.partition("=")[::2]) for value in values]
        plain = {value for value, key, _ in split if key != "fs"}
        both = {f"{way}={path}" for _, key, path in split if key == "fs" for way in (READ, WRITE)}
        self.words = frozenset(plain | both)
        self._directory = directory

    def reaches(self, way: str, path: str) -> bool:
        """Whether a path, relative to the working directory, may be read or written."""
        return self.covers(way, resolve(self._directory, path))

    def covers(self, way: str, path: Path) -> bool:
        """Whether a resolved path may be read or written."""
        named = [word.removeprefix(f"{way}=") for word in self.words if word.startswith(f"{way}=")]
        return "*" in named or any(
            path.is_relative_to(resolve(self._directory, each)) for each in named
        )


def list_missing(
    targets: Mapping[str, BakeTarget], allowed: Iterable[str], sets: Iterable[str], directory: Path
) -> tuple[Entitlement, ...]:
    """List what the targets ask for but the values of bake's `--allow` and `--set` do not allow."""
    granted = (each for text in sets for each in _read_set(text))
    limits = Allowed((*allowed, *granted, f"{READ}=", f"{WRITE}="), directory)
    return tuple(
        each for target in targets.values() for each in _find_missing(target, limits, directory)
    )


def are_files_free(variables: Mapping[str, str], *, remote: bool) -> bool:
    """Whether buildx's variables disable the checks of `concerns_files`, also of a remote file."""
    value = variables.get(FILES_VARIABLE)
    if value is not None:
        return value in FALSE
    return remote and variables.get("BAKE_ALLOW_REMOTE_FS_ACCESS") in TRUE


def concerns_files(missing: Entitlement) -> bool:
    """Whether `are_files_free` applies to an entitlement."""
    return missing.allow.startswith("fs.") or missing.allow == "ssh"


def _read_set(text: str) -> Iterator[str]:
    """Yield values of `--allow` for the paths that a `--set` names."""
    name, _, value = text.partition("=")
    key = name.partition(".")[2].removesuffix("+").partition(".")[0]
    if key == "entitlements":
        yield value
    key = "secret" if key == "secrets" else key
    yield from (f"{way}={path}" for way, path in list_paths(key, value))


def resolve(directory: Path, path: str) -> Path:
    """Resolve a path and its links; docker handles `..` before it follows links."""
    # A file name cannot contain a NUL.
    text = os.path.join(directory, path.replace("\0", ""))  # noqa: PTH118
    there = os.path.realpath(os.path.normpath(text))
    # Two leading slashes mean one.
    return Path("/" + there.lstrip("/"))


def _find_existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def _find_missing(target: BakeTarget, limits: Allowed, directory: Path) -> Iterator[Entitlement]:
    for word in dict.fromkeys(_list_words(target.printed)):
        allows = {word, "device"} if word.startswith("device=") else {word}
        if not limits.words & allows:
            yield Entitlement(target.name, word, _MEANINGS.get(word, f"it uses `{word}`"))
    paths = [*_list_paths(target.printed, directory)]
    for way, verb in _VERBS.items():
        found = {_find_existing(resolve(directory, path)) for each, path in paths if each == way}
        beyond = {path for path in found if not limits.covers(way, path)}
        for path in sorted(each for each in beyond if beyond.isdisjoint(each.parents)):
            relative = os.path.relpath(path, resolve(directory, ""))
            shown = str(path) if relative.startswith("../..") else relative
            meaning = f"it {verb} `{shown}` outside the working directory"
            yield Entitlement(target.name, f"{way}={shown}", meaning)


def _list_words(target: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a target asks for, except paths."""
    for value in map(str, target.get("entitlements") or ()):
        yield value.partition(",")[0] if value.startswith("device=") else value
    if target.get("network") == "host":
        yield "network.host"
    agents = [not _list_keys(each) for each in target.get("ssh") or ()]
    if any(agents) or (not agents and _OVER_SSH.match(str(target.get("context") or "."))):
        yield "ssh"


def _list_paths(target: Mapping[str, Any], directory: Path) -> Iterator[tuple[str, str]]:
    """Yield the paths that a target reads or writes, each with `READ` or `WRITE`."""
    context, file = str(target.get("context") or "."), str(target.get("dockerfile") or "Dockerfile")
    if _is_here(context, directory) and not file.startswith(HERE):
        file = os.path.join(context, file)  # noqa: PTH118  # text, as docker joins it
    for path in (context, file, *map(str, (target.get("contexts") or {}).values())):
        if _is_here(path, directory):
            yield READ, path.removeprefix(HERE)
    for key in _OPTIONS:
        for each in target.get(key) or ():
            yield from list_paths(key, each)


def _is_here(path: str, directory: Path) -> bool:
    """Whether a text is a local path; docker uses an existing folder, whatever its name."""
    return not _NOT_HERE.match(path) or (directory / path).is_dir()


def list_paths(key: str, option: object) -> Iterator[tuple[str, str]]:
    """Yield the paths that an option of a key reads or writes, each with `READ` or `WRITE`."""
    fields, way = read_fields(option), WRITE if key in ("output", "cache-to") else READ
    paths: Iterable[str | None] = ()
    if key == "ssh":
        paths = _list_keys(option)
    elif key == "secret" and (fields.get("type") != "env" or "env" in fields):
        # Without any source, the id is the file's path.
        own = "" if fields.get("env") else fields.get("id")
        paths = [fields.get("src") or fields.get("source") or own]
    elif key == "output":
        is_path = isinstance(option, str) and "=" not in option
        path = str(option) if is_path else fields.get("dest")
        paths = [path] if path != "-" else []
    elif key in ("cache-from", "cache-to") and fields.get("type") == "local":
        paths = [fields.get("src" if way == READ else "dest")]
    yield from ((way, path) for path in paths if path)


def _list_keys(option: object) -> list[str]:
    """List the key files of an ssh option, `id=path,path`; none for the agent."""
    if isinstance(option, str):
        return [path for path in option.partition("=")[2].split(",") if path]
    paths = option.get("paths") or () if isinstance(option, dict) else ()
    return [path for path in map(str, paths) if path]


def read_fields(option: object) -> dict[str, str]:
    """Read an option's fields from an object or, before buildx 0.18, from a text."""
    if isinstance(option, dict):
        return {str(key): str(value) for key, value in option.items()}
    return read_options(str(option))
