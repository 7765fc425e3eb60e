"""Docker's flags that bxcache passes on: those of some settings, and what follows `--`."""

from __future__ import annotations

import re
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

from bxcache.buildx.option_text import TRUE, split_fields
from bxcache.config.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from bxcache.config.models import BuildSettings

_WITHOUT_VALUE = frozenset(
    (
        *("-D", "--debug", "--check", "--load", "--no-cache", "--print", "--pull", "--push", "-q"),
        *("--quiet", "--compress", "--disable-content-trust", "--force-rm", "--rm", "--squash"),
    )
)
"""https://docs.docker.com/reference/cli/docker/buildx/build/#options, and those of bake."""
CACHE_FROM, CACHE_TO = "--cache-from", "--cache-to"
METADATA_FILE, ID_FILE = "--metadata-file", "--iidfile"
PASSED = {
    "add_hosts": "--add-host",
    "allow": "--allow",
    "annotations": "--annotation",
    "attest": "--attest",
    "cgroup_parent": "--cgroup-parent",
    "debug": "--debug",
    "iidfile": ID_FILE,
    "metadata_file": METADATA_FILE,
    "no_cache_filter": "--no-cache-filter",
    "provenance": "--provenance",
    "sbom": "--sbom",
    "shm_size": "--shm-size",
    "ulimits": "--ulimit",
}
"""The settings that docker gets as they are, with their flags."""
_QUESTIONS = frozenset(
    ("--print", "--check", "--call", "--list", "--list-targets", "--list-variables")
)
UNASKED = ("build", "false")
"""Values that turn a question off, as in `--call build`."""
LAYERLESS = frozenset(("--annotation", "--attest", "--provenance", "--sbom", ID_FILE))
"""Flags that affect an image's metadata or a file of its own, but not its layers."""
INLINE = "type=inline"
"""The cache export option for an inline cache."""
INLINE_ARGUMENT = "BUILDKIT_INLINE_CACHE"
"""The build argument that makes buildx save an inline cache:
https://github.com/docker/buildx/blob/v0.29.1/build/opt.go"""


def render_flags(values: Mapping[str, Any]) -> Iterator[str]:
    """Render the settings that docker gets as they are.

    >>> [*render_flags({"debug": True, "ulimits": ("nofile=9",), "sbom": None, "tags": ("a",)})]
    ['--debug', '--ulimit', 'nofile=9']
    """
    for key, flag in PASSED.items():
        value = values.get(key)
        if value is True:
            yield flag
        elif value:
            for each in (value,) if isinstance(value, str) else value:
                yield from (flag, each)


def find_question(extra: Sequence[str]) -> str | None:
    """Find a flag that makes docker answer a question instead of building.

    >>> find_question(["--set", "a.b=c", "--list=targets"]), find_question(["--call", "build"])
    ('--list', None)
    """
    for word, following in pairwise((*extra, "")):
        flag, equals, value = word.partition("=")
        given = following if flag == "--call" and not equals else value
        if flag in _QUESTIONS and given not in UNASKED:
            return flag
    return None


def split_flags(words: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Split words into flags: each flag's words, name and value; a value may be empty.

    >>> [each[1:] for each in split_flags(["--allow", "ssh", "-D", "--ulimit=nofile=9"])]
    [('--allow', 'ssh'), ('-D', ''), ('--ulimit', 'nofile=9')]
    """
    following = iter(words)
    for word in following:
        flag, equals, value = word.partition("=")
        if equals or flag in _WITHOUT_VALUE or not flag.startswith("-"):
            yield (word,), flag, value
        else:
            rest = tuple(islice(following, 1))
            yield (word, *rest), flag, "".join(rest)


def list_flags(words: Sequence[str]) -> tuple[str, ...]:
    """List the flags, each once; a word without a flag counts as one."""
    return tuple(dict.fromkeys(flag for _, flag, _ in split_flags(words)))


def drop_flags(words: Sequence[str], flags: Container[str]) -> tuple[str, ...]:
    """Return the words without some flags and their values."""
    return tuple(word for own, flag, _ in split_flags(words) if flag not in flags for word in own)


def find_values(words: Sequence[str], flag: str) -> tuple[str, ...]:
    """List the values of a flag.

    >>> find_values(["--allow", "ssh", "--allow=fs=.."], "--allow")
    ('ssh', 'fs=..')
    """
    return tuple(
        following if word == flag else word.removeprefix(f"{flag}=")
        for word, following in pairwise((*words, ""))
        if word == flag or word.startswith(f"{flag}=")
    )


def list_build_arguments(
    words: Sequence[str], environment: Mapping[str, str]
) -> Iterator[tuple[str, str | None]]:
    """Yield the build arguments of a command; one without a value is the variable of its name.

    >>> words = ["--build-arg", "A=1", "--build-arg=B", "--build-arg=C"]
    >>> [*list_build_arguments(words, {"B": "2"})]
    [('A', '1'), ('B', '2'), ('C', None)]
    """
    for pair in filter(None, find_values(words, "--build-arg")):
        name, equals, value = pair.partition("=")
        yield name, value if equals else environment.get(name)


def find_exports(words: Sequence[str]) -> tuple[str, ...]:
    """List the registry refs that a caller exports a cache to.

    >>> find_exports(["--cache-to", "type=registry,ref=r/x,mode=max", "--cache-to=r/y"])
    ('r/x', 'r/y')
    """
    found: list[str] = []
    for fields in map(split_fields, find_values(words, CACHE_TO)):
        options = {name.lower(): value for name, _, value in (f.partition("=") for f in fields)}
        if not any("=" in field for field in fields):
            found += fields
        elif options.get("type") == "registry" and "ref" in options:
            found.append(options["ref"])
    return tuple(filter(_is_reference, found))


def _is_reference(text: str) -> bool:
    try:
        Reference.parse(text)
    except ValueError:
        return False
    return True


def find_short(words: Sequence[str], letter: str) -> tuple[str, ...]:
    """List the values of a one-letter flag, which may be part of the same word.

    >>> find_short(["-o", "a", "-ob", "-o=c", "-Dod", "--on"], "o")
    ('a', 'b', 'c', 'd')
    """
    flag = re.compile(f"-D*{letter}=?(?P<value>.*)", re.DOTALL)
    return tuple(
        match["value"] or following
        for word, following in pairwise((*words, ""))
        if (match := flag.fullmatch(word))
    )


def adds_inline(settings: BuildSettings, extra: Sequence[str]) -> bool:
    """Whether buildx adds an inline cache by itself; engines refuse a second one."""
    pairs = (text.partition("=") for text in find_values(extra, "--build-arg"))
    given = {**settings.build_args, **{name: value for name, _, value in pairs}}
    return given.get(INLINE_ARGUMENT) in TRUE
