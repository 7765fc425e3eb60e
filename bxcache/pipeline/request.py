"""The request of a caller: the same values from a shell and from Python."""

from __future__ import annotations

import os  # noqa: TC003  # `get_type_hints` needs it
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from bxcache.buildx.extra_flags import PASSED, find_question, render_flags
from bxcache.config.sources import Key, Layer, Origin, Source, find_leaves
from bxcache.errors import ConfigError, Problem

if TYPE_CHECKING:
    from bxcache.config.models import BuildSettings
    from bxcache.process import Stop


class BakeOptions(TypedDict, total=False):
    """The options of a bake, named like the keys of `[build]` and `[cache]`.

    A single text counts as a list of one. `branch`, `git_tag`, `base_branch`, `default_branch` and
    `trusted` are the keys of `[place]`, and `gate` has those of `[gate]`. `directory` is used
    instead of the working directory, so that threads can build in several checkouts at once.
    """

    directory: str | os.PathLike[str]
    builder: str
    push: bool
    load: bool
    pull: bool
    no_cache: bool
    allow: Sequence[str]
    debug: bool
    metadata_file: str
    provenance: str
    sbom: str
    read: Sequence[Literal["branch", "base", "default"]]
    read_all: bool
    write: Literal["always", "trusted", "never"]
    strict: bool
    shared_builder: Literal["warn", "refuse", "trust"]
    backends: Sequence[Mapping[str, Any]]
    branch: str
    git_tag: str
    base_branch: str
    default_branch: str
    trusted: bool
    gate: Mapping[str, Any]


class BuildOptions(BakeOptions, total=False):
    """The options of a build: those of a bake, and the settings that a bake file contains."""

    file: str
    target: str
    platforms: Sequence[str]
    tags: Sequence[str]
    build_args: Mapping[str, str | None]
    build_contexts: Mapping[str, str]
    labels: Mapping[str, str]
    secrets: Sequence[str]
    ssh: Sequence[str]
    outputs: Sequence[str]
    network: str
    no_cache_filter: Sequence[str]
    add_hosts: Sequence[str]
    annotations: Sequence[str]
    attest: Sequence[str]
    cgroup_parent: str
    iidfile: str
    shm_size: str
    ulimits: Sequence[str]


_SECTIONS = {
    **dict.fromkeys(("read", "read_all", "write", "strict", "shared_builder", "backends"), "cache"),
    **dict.fromkeys(("branch", "git_tag", "base_branch", "default_branch", "trusted"), "place"),
}
_KEYS = {"git_tag": "tag", "base_branch": "base", "default_branch": "default"}
_LISTS = frozenset(
    (
        *("add_hosts", "allow", "annotations", "attest", "no_cache_filter", "outputs", "platforms"),
        *("read", "secrets", "ssh", "tags", "ulimits"),
    )
)
"""The options that are lists; a single text counts as a list of one."""
_OWN = ("--progress", "--quiet", "-q")
"""The flags of docker that bxcache sets itself."""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One call of `bxcache build`.

    Attributes:
        options: the caller's options, by the names of `BuildOptions`, and `context`.
        extra: arguments for docker, passed on unchanged.
        image: one of the config file's `[images]`.
        raw: pass BuildKit's stream to the observer line by line.
        stdout: the file descriptor for docker's stdout; None discards it.
        with_earlier: also return the records of earlier builds, for a report.
        donor: the one scope to import instead of all others; the build then saves nothing.
        bakes: a bake file says what is built, and not the settings of `[build]`.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    image: str | None = None
    config_file: Path | None = None
    directory: Path = field(default_factory=Path.cwd)
    raw: bool = False
    stdout: int | None = None
    with_earlier: bool = False
    donor: str | None = None
    stop: Stop | None = None
    bakes: bool = False

    def as_bake(self) -> BuildRequest:
        """The request for a bake: bake gets the options that docker gets as they are."""
        options = {name: value for name, value in self.options.items() if name not in PASSED}
        extra = (*render_flags(self.options), *self.extra)
        return replace(self, options=options, extra=extra, bakes=True)

    def list_extra(self, settings: BuildSettings) -> tuple[str, ...]:
        """List the arguments that docker gets as they are, also from the settings of a build."""
        return self.extra if self.bakes else (*render_flags(dict(settings)), *self.extra)

    def check_extra(self) -> None:
        """Raise a `ConfigError` if an argument for docker is one that bxcache sets itself."""
        names = [name for name in (word.partition("=")[0] for word in self.extra) if name in _OWN]
        if names:
            why = "bxcache reads the stream; give `{}` before the `--`"
            raise ConfigError(Problem("--", name, why.format(name)) for name in names)

    def refuse_question(self) -> None:
        """Raise a `ConfigError` if docker would answer a question instead of building."""
        question = find_question(self.extra)
        if question is not None:
            command = "bake" if self.bakes else "build"
            why = "docker builds nothing with it, so no cache has a part in it"
            hint = (
                f"`bxcache {command}` without `--json` or `--dry-run` shows docker's answer, and "
                f"so does `docker buildx {command}`"
            )
            raise ConfigError([Problem("--", question, why)], hint=hint)

    def to_layer(self) -> Layer:
        """The options as the topmost layer of the configuration."""
        values: dict[str, dict[str, Any]] = {}
        for name, value in self.options.items():
            if name == "gate":
                values["gate"] = {key: _plain(each) for key, each in value.items()}
                continue
            section = _SECTIONS.get(name, "build")
            listed = [value] if name in _LISTS and isinstance(value, str) else value
            values.setdefault(section, {})[_KEYS.get(name, name)] = _plain(listed)
        leaves = (key for key, _ in find_leaves(values))
        return Layer(values, {key: Source(Origin.FLAG, _name_flag(key)) for key in leaves})


STDOUT, STDERR = 1, 2
"""The file descriptors of a process's streams."""


def _name_flag(key: Key) -> str:
    """The command-line name of a config key."""
    name = key[1]
    if key[0] == "gate":
        return f"--gate {name}"
    if key[0] == "place":
        name = next((option for option, inner in _KEYS.items() if inner == name), name)
    # The key of a flag that can be given several times is a plural.
    return "PATH" if name == "context" else f"--{name.removesuffix('s').replace('_', '-')}"


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value
