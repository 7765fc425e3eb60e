"""The request of a caller: the same values from a shell and from Python."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from bxcache.buildx.extra_flags import PASSED, find_question, render_flags
from bxcache.config.sources import Key, Layer, Origin, Source, find_leaves
from bxcache.config.wording import choose_words, name_option
from bxcache.errors import ConfigError, Problem
from bxcache.pipeline.options import read_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.config.models import BuildSettings
    from bxcache.pipeline.ledger import Ledger
    from bxcache.process import Stop


_CACHE = (
    *("read", "read_all", "write", "strict", "shared_builder", "backends"),
    *("salvage", "salvage_timeout", "allow_args"),
)
_SECTIONS = {
    **dict.fromkeys(_CACHE, "cache"),
    **dict.fromkeys(("branch", "git_tag", "base_branch", "default_branch", "trusted"), "place"),
}
_KEYS = {"git_tag": "tag", "base_branch": "base", "default_branch": "default"}
_OWN = ("--progress", "--quiet", "-q")
"""The flags of docker that bxcache sets itself."""


class BuildRequest(Struct, frozen=True):
    """One call of `bxcache build`.

    Attributes:
        options: the caller's options, by the names of `BuildOptions`, and `context`.
        extra: arguments for docker, passed on unchanged.
        image: one of the config file's `[images]`.
        raw: pass BuildKit's stream to the observer line by line.
        stdout: the file descriptor for docker's stdout; None discards it.
        with_earlier: also return the records of earlier builds, for a report.
        donor: the one scope to import instead of all others; the build then saves nothing.
        began: when bxcache began, in seconds since 1970; None for the moment of the call.
        ledger: the builds of the same run; None for a run of its own.
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
    ledger: Ledger | None = None
    bakes: bool = False
    began: float | None = None

    def begin(self) -> BuildRequest:
        """The request with its beginning, which is now if none is known."""
        return self if self.began is not None else replace(self, began=time.time())

    def as_bake(self) -> BuildRequest:
        """The request for a bake: bake gets the options that docker gets as they are."""
        options = {name: value for name, value in self.options.items() if name not in PASSED}
        passed = {
            name: read_option(name, self.options[name]) for name in PASSED.keys() & self.options
        }
        extra = (*render_flags(passed), *self.extra)
        return replace(self, options=options, extra=extra, bakes=True)

    def list_extra(self, settings: BuildSettings) -> tuple[str, ...]:
        """List the arguments that docker gets as they are, also from the settings of a build."""
        return self.extra if self.bakes else (*render_flags(dict(settings)), *self.extra)

    def check_extra(self) -> None:
        """Raise a `ConfigError` if an argument for docker is one that bxcache sets itself."""
        names = [name for name in (word.partition("=")[0] for word in self.extra) if name in _OWN]
        if names:
            way = choose_words("give `{}` before the `--`", "`observe=` gets what happens")
            why = f"bxcache reads the stream; {way}"
            raise ConfigError(Problem(name_option("extra"), n, why.format(n)) for n in names)

    def refuse_question(self) -> None:
        """Raise a `ConfigError` if docker would answer a question instead of building."""
        question = find_question(self.extra)
        if question is not None:
            command = "bake" if self.bakes else "build"
            why = "docker builds nothing with it, so no cache has a part in it"
            way = choose_words(
                f"`bxcache {command}` without `--json` or `--dry-run` shows docker's answer",
                f"`bxcache.{command}({name_option('call', 'check')})` returns docker's answer",
            )
            hint = f"{way}, and so does `docker buildx {command}`"
            raise ConfigError([Problem(name_option("extra"), question, why)], hint=hint)

    def to_layer(self) -> Layer:
        """The options as the topmost layer of the configuration; ConfigError if one is no value."""
        values: dict[str, Any] = {}
        problems = []
        for name, value in self.options.items():
            try:
                found = read_option(name, value)
            except ValueError as error:
                problems.append(Problem(name_option(name), "", str(error)))
                continue
            if name == "gate":
                values["gate"] = found
            else:
                section = _SECTIONS.get(name, "build")
                values.setdefault(section, {})[_KEYS.get(name, name)] = found
        if problems:
            raise ConfigError(problems)
        leaves = (key for key, _ in find_leaves(values))
        return Layer(values, {key: Source(Origin.FLAG, _name_source(key)) for key in leaves})


STDOUT, STDERR = 1, 2
"""The file descriptors of a process's streams."""


def _name_source(key: Key) -> str:
    """The option that sets a config key."""
    section, *rest = key
    name = rest[0] if rest else ""
    if section == "gate":
        return name_option("gate", item=name)
    if section == "place":
        name = next((option for option, inner in _KEYS.items() if inner == name), name)
    return name_option("path" if name == "context" else name)
