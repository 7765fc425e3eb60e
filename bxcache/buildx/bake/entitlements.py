"""What the targets of a bake file ask for that a bake has to be allowed.

buildx itself does not look after this where it shows its progress as a stream (`--progress
rawjson`), so its rules are kept here: a target reads and writes below the working directory alone,
and has no host network, no devices and no ssh agent, unless `--allow` or `--set` says so.
https://github.com/docker/buildx/blob/v0.29.1/bake/entitlements.go

buildx asks for the paths of one target of several. Here each is looked at.
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
"""buildx's own variable that turns off what concerns files and the ssh agent."""
READ, WRITE = "fs.read", "fs.write"
_ANY, _HERE = "*", "cwd://"
_SSH, _DEVICE, _HOST_NETWORK = "ssh", "device", "network.host"
_MEANINGS = {
    _HOST_NETWORK: "it runs with the network of the host",
    "security.insecure": "it runs with the rights of the host",
    _SSH: "it uses the ssh agent",
}
_NOT_HERE = re.compile(r"https?://|git://|ssh://|git@|github\.com/|docker-image:|target:")
_OVER_SSH = re.compile(r"ssh://|[\w.-]+@[\w.-]+:")
_FILES = frozenset({"local", "tar", "oci", "docker"})
"""The outputs that are nothing but files where they have a place."""
_OFF = frozenset({"0", "f", "F", "false", "False", "FALSE"})
_ON = frozenset({"1", "t", "T", "true", "True", "TRUE"})


@dataclass(frozen=True, slots=True)
class Entitlement:
    """Something that a target asks for and is not allowed.

    Attributes:
        target: the target.
        allow: what `--allow` has to say, such as `fs.read=..`.
        meaning: what the target does with it.
    """

    target: str
    allow: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a caller lets the targets have.

    Attributes:
        words: the values of `--allow`.
        folders: what may be read and written, by `READ` and `WRITE`.
    """

    words: frozenset[str]
    folders: Mapping[str, tuple[Path, ...]]

    def reaches(self, key: str, path: str, directory: Path) -> bool:
        """Whether a path, taken from the working directory, may be read or written."""
        return self.covers(key, _resolve(directory, path))

    def covers(self, key: str, path: Path) -> bool:
        """The same for a path without links."""
        return any(map(path.is_relative_to, self.folders[key]))


def list_missing(
    targets: Mapping[str, BakeTarget], allowed: Iterable[str], sets: Iterable[str], directory: Path
) -> tuple[Entitlement, ...]:
    """What the targets ask for beyond what they may.

    Args:
        targets: what would be baked, by name, without anything that bxcache adds to it.
        allowed: the values of bake's `--allow`.
        sets: the values of bake's `--set`; what a caller names there is allowed.
        directory: the working directory.
    """
    values = (*allowed, *(each for text in sets for each in _read_set(text)))
    limits = read_allowed((*values, f"{READ}=", f"{WRITE}="), directory)
    return tuple(
        each for target in targets.values() for each in _find_missing(target, limits, directory)
    )


def are_files_free(variables: Mapping[str, str], *, remote: bool) -> bool:
    """Whether buildx's own variables turn off what `concerns_files`.

    Args:
        variables: the environment.
        remote: the bake file itself is read from elsewhere.
    """
    value = variables.get(FILES_VARIABLE)
    if value is not None:
        return value in _OFF
    return remote and variables.get("BAKE_ALLOW_REMOTE_FS_ACCESS") in _ON


def concerns_files(missing: Entitlement) -> bool:
    """Whether `are_files_free` counts for this one."""
    return missing.allow.startswith("fs.") or missing.allow == _SSH


def read_allowed(values: Iterable[str], directory: Path) -> Allowed:
    """What the values of `--allow` let the targets have, in a working directory."""
    words = _read_words(values)
    return Allowed(words, {key: _find_folders(words, key, directory) for key in (READ, WRITE)})


def _read_words(values: Iterable[str]) -> frozenset[str]:
    """The values of `--allow`, with `fs=` as what it stands for."""
    plain: set[str] = set()
    for value in values:
        key, _, path = value.partition("=")
        plain |= {f"{READ}={path}", f"{WRITE}={path}"} if key == "fs" else {value}
    return frozenset(plain)


def _find_folders(words: frozenset[str], key: str, directory: Path) -> tuple[Path, ...]:
    """What may be read or written, all of which lies below these."""
    paths = [word.partition("=")[2] for word in words if word.startswith(f"{key}=")]
    if _ANY in paths:
        return (Path("/"),)
    return tuple(_resolve(directory, path) for path in paths)


def _resolve(directory: Path, path: str) -> Path:
    """Where a path leads, without links; docker follows `..` before it follows links."""
    # No file's name has a NUL.
    text = os.path.join(directory, path.replace("\0", ""))  # noqa: PTH118
    there = os.path.realpath(os.path.normpath(text))
    # Two slashes at the start are one.
    return Path("/" + there.lstrip("/"))


def _find_existing(path: Path) -> Path:
    """The path as far as it exists: what is below that is made in it."""
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def _find_missing(target: BakeTarget, limits: Allowed, directory: Path) -> Iterator[Entitlement]:
    for word in dict.fromkeys(_list_words(target.told)):
        allows = {word, _DEVICE} if word.startswith(f"{_DEVICE}=") else {word}
        if not limits.words & allows:
            meaning = _MEANINGS.get(word, f"it uses `{word}`")
            yield Entitlement(target.name, word, meaning)
    reads, writes = _list_reads(target.told, directory), _list_writes(target.told)
    for key, verb, paths in ((READ, "reads", reads), (WRITE, "writes", writes)):
        found = {_find_existing(_resolve(directory, path)) for path in paths}
        beyond = {path for path in found if not limits.covers(key, path)}
        for path in sorted(each for each in beyond if beyond.isdisjoint(each.parents)):
            shown = _show(path, directory)
            meaning = f"it {verb} `{shown}`, which is outside of the working directory"
            yield Entitlement(target.name, f"{key}={shown}", meaning)


def _show(path: Path, directory: Path) -> str:
    """The path from the working directory, if it is near."""
    relative = os.path.relpath(path, _resolve(directory, ""))
    return str(path) if relative.startswith("../..") else relative


def _list_words(told: Mapping[str, Any]) -> Iterator[str]:
    """What a target asks for that is no path."""
    for value in map(str, told.get("entitlements") or ()):
        key, _, device = value.partition("=")
        yield f"{_DEVICE}={device.partition(',')[0]}" if key == _DEVICE and device else value
    if told.get("network") == "host":
        yield _HOST_NETWORK
    keys = [[*_list_keys(each)] for each in told.get("ssh") or ()]
    if not all(keys) or (not keys and _OVER_SSH.match(_read_context(told))):
        yield _SSH


def _list_reads(told: Mapping[str, Any], directory: Path) -> Iterator[str]:
    context, file = _read_context(told), str(told.get("dockerfile") or "Dockerfile")
    if _is_here(context, directory) and not file.startswith(_HERE):
        file = os.path.join(context, file)  # noqa: PTH118  # text, as docker joins it
    named = map(str, (told.get("contexts") or {}).values())
    for path in (context, file, *named):
        if _is_here(path, directory):
            yield path.removeprefix(_HERE)
    yield from (path for each in told.get("secret") or () for path in _list_secret(each))
    yield from (path for each in told.get("ssh") or () for path in _list_keys(each))
    yield from (path for each in told.get("cache-from") or () for path in _list_cache(each, "src"))


def _list_writes(told: Mapping[str, Any]) -> Iterator[str]:
    yield from (path for each in told.get("output") or () for path in _list_output(each))
    yield from (path for each in told.get("cache-to") or () for path in _list_cache(each, "dest"))


def _read_context(told: Mapping[str, Any]) -> str:
    return str(told.get("context") or ".")


def _is_here(path: str, directory: Path) -> bool:
    """Whether it is a path; docker takes a folder that is there, whatever it is called."""
    return not _NOT_HERE.match(path) or (directory / path).is_dir()


def list_granted(key: str, option: object) -> Iterator[tuple[str, str]]:
    """What `--allow` can let one option of a target have: paths, each with `READ` or `WRITE`.

    There is none for an option that reads a variable, or pushes.

    Args:
        key: the target's key that has the option.
        option: the option, as `--print` shows it.
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
    # One that says nothing else is read from the file that its name names.
    yield from filter(None, [path or ("" if fields.get("env") else fields.get("id"))])


def _list_keys(option: object) -> Iterator[str]:
    """The keys of an ssh option, `id=path,path`; none where it is the agent."""
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
    """An option's fields, of an object or, as buildx before 0.18 shows it, of a text."""
    if isinstance(option, dict):
        return {str(key): str(value) for key, value in option.items()}
    try:
        return dict(parse_options(str(option)))
    except ValueError:
        return {}


def _read_set(text: str) -> Iterator[str]:
    """What a `--set` allows, in the words of `--allow`: the paths that it names itself."""
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
