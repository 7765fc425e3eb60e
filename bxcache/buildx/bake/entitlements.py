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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bxcache.buildx.option_text import parse_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bxcache.buildx.bake.definition import BakeTarget

FIRST_BUILDX = (0, 17)
"""The first buildx whose bake has `--allow`."""
FILES_VARIABLE = "BUILDX_BAKE_ENTITLEMENTS_FS"
"""buildx's variable that disables the checks of files and the ssh agent."""
READ, WRITE = "fs.read", "fs.write"
_ANY, _HERE = "*", "cwd://"
_SSH, _DEVICE, _HOST_NETWORK = "ssh", "device", "network.host"
_MEANINGS = {
    _HOST_NETWORK: "it uses the host's network",
    "security.insecure": "it runs with the host's privileges",
    _SSH: "it uses the ssh agent",
}
_NOT_HERE = re.compile(r"https?://|git://|ssh://|git@|github\.com/|docker-image:|target:")
_OVER_SSH = re.compile(r"ssh://|[\w.-]+@[\w.-]+:")
_FILES = frozenset({"local", "tar", "oci", "docker"})
"""The outputs that write only files if they have a destination."""
_OFF = frozenset({"0", "f", "F", "false", "False", "FALSE"})
_ON = frozenset({"1", "t", "T", "true", "True", "TRUE"})


@dataclass(frozen=True, slots=True)
class Entitlement:
    """Something that a target asks for but is not allowed.

    Attributes:
        target: the target.
        allow: the missing value of `--allow`, such as `fs.read=..`.
        meaning: what the target does with it.
    """

    target: str
    allow: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a caller allows the targets.

    Attributes:
        words: the values of `--allow`.
        folders: the folders that they may read or write, by `READ` and `WRITE`.
    """

    words: frozenset[str]
    folders: Mapping[str, tuple[Path, ...]]

    def reaches(self, key: str, path: str, directory: Path) -> bool:
        """Whether a path, relative to the working directory, may be read or written."""
        return self.covers(key, _resolve(directory, path))

    def covers(self, key: str, path: Path) -> bool:
        """Whether a resolved path may be read or written."""
        return any(map(path.is_relative_to, self.folders[key]))


def list_missing(
    targets: Mapping[str, BakeTarget], allowed: Iterable[str], sets: Iterable[str], directory: Path
) -> tuple[Entitlement, ...]:
    """List what the targets ask for but are not allowed.

    Args:
        targets: the targets by name, without bxcache's additions.
        allowed: the values of bake's `--allow`.
        sets: the values of bake's `--set`, which allow what they name.
        directory: the working directory.
    """
    values = (*allowed, *(each for text in sets for each in _read_set(text)))
    limits = read_allowed((*values, f"{READ}=", f"{WRITE}="), directory)
    return tuple(
        each for target in targets.values() for each in _find_missing(target, limits, directory)
    )


def are_files_free(variables: Mapping[str, str], *, remote: bool) -> bool:
    """Whether buildx's own variables disable the checks of `concerns_files`.

    Args:
        variables: the environment.
        remote: whether the bake file itself is remote.
    """
    value = variables.get(FILES_VARIABLE)
    if value is not None:
        return value in _OFF
    return remote and variables.get("BAKE_ALLOW_REMOTE_FS_ACCESS") in _ON


def concerns_files(missing: Entitlement) -> bool:
    """Whether `are_files_free` applies to an entitlement."""
    return missing.allow.startswith("fs.") or missing.allow == _SSH


def read_allowed(values: Iterable[str], directory: Path) -> Allowed:
    """Parse the values of `--allow` in a working directory."""
    words = _read_words(values)
    return Allowed(words, {key: _find_folders(words, key, directory) for key in (READ, WRITE)})


def _read_words(values: Iterable[str]) -> frozenset[str]:
    """Return the values of `--allow`, with `fs=` expanded."""
    plain: set[str] = set()
    for value in values:
        key, _, path = value.partition("=")
        plain |= {f"{READ}={path}", f"{WRITE}={path}"} if key == "fs" else {value}
    return frozenset(plain)


def _find_folders(words: frozenset[str], key: str, directory: Path) -> tuple[Path, ...]:
    """Return the folders below which files may be read or written."""
    paths = [word.partition("=")[2] for word in words if word.startswith(f"{key}=")]
    if _ANY in paths:
        return (Path("/"),)
    return tuple(_resolve(directory, path) for path in paths)


def _resolve(directory: Path, path: str) -> Path:
    """Resolve a path and its links; docker handles `..` before it follows links."""
    # A file name cannot contain a NUL.
    text = os.path.join(directory, path.replace("\0", ""))  # noqa: PTH118
    there = os.path.realpath(os.path.normpath(text))
    # Two leading slashes mean one.
    return Path("/" + there.lstrip("/"))


def _find_existing(path: Path) -> Path:
    """Return the part of a path that exists."""
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def _find_missing(target: BakeTarget, limits: Allowed, directory: Path) -> Iterator[Entitlement]:
    for word in dict.fromkeys(_list_words(target.printed)):
        allows = {word, _DEVICE} if word.startswith(f"{_DEVICE}=") else {word}
        if not limits.words & allows:
            meaning = _MEANINGS.get(word, f"it uses `{word}`")
            yield Entitlement(target.name, word, meaning)
    reads, writes = _list_reads(target.printed, directory), _list_writes(target.printed)
    for key, verb, paths in ((READ, "reads", reads), (WRITE, "writes", writes)):
        found = {_find_existing(_resolve(directory, path)) for path in paths}
        beyond = {path for path in found if not limits.covers(key, path)}
        for path in sorted(each for each in beyond if beyond.isdisjoint(each.parents)):
            shown = _show(path, directory)
            meaning = f"it {verb} `{shown}` outside the working directory"
            yield Entitlement(target.name, f"{key}={shown}", meaning)


def _show(path: Path, directory: Path) -> str:
    """Show a path relative to the working directory, if it is near."""
    relative = os.path.relpath(path, _resolve(directory, ""))
    return str(path) if relative.startswith("../..") else relative


def _list_words(target: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a target asks for, except paths."""
    for value in map(str, target.get("entitlements") or ()):
        key, _, device = value.partition("=")
        yield f"{_DEVICE}={device.partition(',')[0]}" if key == _DEVICE and device else value
    if target.get("network") == "host":
        yield _HOST_NETWORK
    keys = [[*_list_keys(each)] for each in target.get("ssh") or ()]
    if not all(keys) or (not keys and _OVER_SSH.match(_read_context(target))):
        yield _SSH


def _list_reads(target: Mapping[str, Any], directory: Path) -> Iterator[str]:
    context, file = _read_context(target), str(target.get("dockerfile") or "Dockerfile")
    if _is_here(context, directory) and not file.startswith(_HERE):
        file = os.path.join(context, file)  # noqa: PTH118  # text, as docker joins it
    named = map(str, (target.get("contexts") or {}).values())
    for path in (context, file, *named):
        if _is_here(path, directory):
            yield path.removeprefix(_HERE)
    yield from (path for each in target.get("secret") or () for path in _list_secret(each))
    yield from (path for each in target.get("ssh") or () for path in _list_keys(each))
    yield from (
        path for each in target.get("cache-from") or () for path in _list_cache(each, "src")
    )


def _list_writes(target: Mapping[str, Any]) -> Iterator[str]:
    yield from (path for each in target.get("output") or () for path in _list_output(each))
    yield from (path for each in target.get("cache-to") or () for path in _list_cache(each, "dest"))


def _read_context(target: Mapping[str, Any]) -> str:
    return str(target.get("context") or ".")


def _is_here(path: str, directory: Path) -> bool:
    """Whether a text is a local path; docker uses an existing folder, whatever its name."""
    return not _NOT_HERE.match(path) or (directory / path).is_dir()


def list_granted(key: str, option: object) -> Iterator[tuple[str, str]]:
    """Yield the paths, each with `READ` or `WRITE`, that `--allow` must grant for an option.

    An option that reads a variable or pushes needs none.

    Args:
        key: the option's key in the target.
        option: the option as shown by `--print`.
    """
    fields = _read_fields(option)
    if key == "secret" and "env" not in fields and fields.get("type") != "env":
        yield from ((READ, path) for path in _list_secret(option))
    elif key == "ssh":
        yield from ((READ, path) for path in _list_keys(option))
    elif key == "output" and fields.get("type", "local") in _FILES:
        yield from ((WRITE, path) for path in _list_output(option))
    elif key == "cache-from":
        yield from ((READ, path) for path in _list_cache(option, "src"))
    elif key == "cache-to":
        yield from ((WRITE, path) for path in _list_cache(option, "dest"))


def _list_secret(option: object) -> Iterator[str]:
    fields = _read_fields(option)
    path = fields.get("src") or fields.get("source")
    if fields.get("type") == "env" and "env" not in fields:
        return
    # Without any source, the id is the file's path.
    yield from filter(None, [path or ("" if fields.get("env") else fields.get("id"))])


def _list_keys(option: object) -> Iterator[str]:
    """Yield the key files of an ssh option, `id=path,path`; none for the agent."""
    if isinstance(option, str):
        yield from filter(None, option.partition("=")[2].split(","))
    elif isinstance(option, dict):
        yield from map(str, option.get("paths") or ())


def _list_output(option: object) -> Iterator[str]:
    is_path = isinstance(option, str) and "=" not in option
    path = str(option) if is_path else _read_fields(option).get("dest", "")
    yield from () if path in ("", "-") else (path,)


def _list_cache(option: object, key: str) -> Iterator[str]:
    fields = _read_fields(option)
    if fields.get("type") == "local" and fields.get(key):
        yield fields[key]


def _read_fields(option: object) -> dict[str, str]:
    """Read an option's fields from an object or, before buildx 0.18, from a text."""
    if isinstance(option, dict):
        return {str(key): str(value) for key, value in option.items()}
    try:
        return dict(parse_options(str(option)))
    except ValueError:
        return {}


def _read_set(text: str) -> Iterator[str]:
    """Yield values of `--allow` for the paths that a `--set` names."""
    name, _, value = text.partition("=")
    key = name.partition(".")[2].removesuffix("+").partition(".")[0]
    if key == "entitlements":
        yield value
    readers = {
        "secret": _list_secret(value),
        "secrets": _list_secret(value),
        "ssh": _list_keys(value),
        "cache-from": _list_cache(value, "src"),
    }
    writers = {"output": _list_output(value), "cache-to": _list_cache(value, "dest")}
    yield from (f"{READ}={path}" for path in readers.get(key, ()))
    yield from (f"{WRITE}={path}" for path in writers.get(key, ()))
