"""The output of `docker buildx bake --print`: what a bake would build.

Options are objects since buildx 0.18, and option text before.
https://docs.docker.com/build/bake/reference/
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bxcache.buildx.option_text import render_options
from bxcache.buildx.values import as_list, as_table
from bxcache.config.models import BuildSettings
from bxcache.config.paths import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LINK = "target:"
"""The prefix of a context that is another target's result."""
_FLAGS = {
    "shm-size": "--shm-size",
    "ulimits": "--ulimit",
    "extra-hosts": "--add-host",
    "entitlements": "--allow",
    "no-cache-filter": "--no-cache-filter",
    "dockerfile-inline": "--file",
}
"""Flags of `docker buildx build` for keys without a setting."""


@dataclass(frozen=True, slots=True)
class BakeTarget:
    """A target of a bake file.

    Attributes:
        extra: its keys without a setting, as flags of `docker buildx build`.
        links: the targets whose results it uses.
        cache_from, cache_to: its own imports and exports, as option text.
        printed: its unchanged output of `--print`.
    """

    name: str
    settings: BuildSettings
    extra: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    printed: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def keeps_cache(self) -> bool:
        """Whether it exports a cache of its own."""
        return bool(self.cache_to)

    @property
    def call(self) -> str:
        """What it does instead of a build, such as `check`; empty for a build."""
        call = str(self.printed.get("call") or "")
        return call if call != "build" else ""


def parse_definition(text: str) -> dict[str, BakeTarget]:
    """Parse the targets, by name; raise ValueError if the text is not a definition."""
    targets = as_table(json.loads(text)).get("target")
    if not isinstance(targets, dict):
        raise ValueError("it has no `target`")  # noqa: TRY004  # the text is wrong, not a type
    return {name: _read_target(name, as_table(printed)) for name, printed in targets.items()}


def list_linked(targets: Mapping[str, BakeTarget], name: str) -> tuple[str, ...]:
    """List a target and those it needs, each after those that it needs itself."""
    seen: set[str] = set()

    def visit(each: str) -> Iterator[str]:
        if each in seen or each not in targets:
            return
        seen.add(each)
        for link in targets[each].links:
            yield from visit(link)
        yield each

    return tuple(visit(name))


def give_own_paths(targets: Mapping[str, BuildSettings], directory: Path) -> Iterator[str]:
    """Yield values of bake's `--set` that give each target its own path for a shared folder.

    buildx sends a folder that several targets read only once, so they share vertices. If two of
    them import caches of their own, one misses its first step after the shared ones:
    https://github.com/docker/buildx/issues/3878. buildx compares only paths, and a folder has many,
    because the parent of the root is the root.
    https://github.com/docker/buildx/blob/v0.29.1/build/build.go
    """
    readers: dict[tuple[str, Path], list[str]] = defaultdict(list)
    for name, settings in targets.items():
        for key, folder in _list_folders(settings, directory):
            readers[key, folder].append(name)
    top = os.pardir + os.sep
    steps = max(len(path.parts) for path in (directory.absolute(), directory.resolve()))
    for (key, folder), names in readers.items():
        for number, name in enumerate(names[1:]):
            yield f"{name}.{key}={top * (steps + number)}{folder.relative_to(folder.anchor)}"


def _list_folders(settings: BuildSettings, directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield the folders that a target reads, with their keys."""
    named = {f"contexts.{name}": path for name, path in settings.build_contexts.items()}
    for key, text in {"context": settings.context, **named}.items():
        folder = Path(os.path.abspath(directory / text))  # noqa: PTH100  # handles `..` as docker does
        if is_remote(text) or not folder.is_dir():
            continue
        # To name a folder elsewhere would allow bake to read it.
        if key == "context" or folder.resolve().is_relative_to(directory.resolve()):
            yield key, folder


def _read_target(name: str, printed: Mapping[str, Any]) -> BakeTarget:
    context = str(printed.get("context") or ".")
    file = str(printed.get("dockerfile") or "Dockerfile")
    contexts = {str(key): str(value) for key, value in as_table(printed.get("contexts")).items()}
    links = (value.removeprefix(LINK) for value in contexts.values() if value.startswith(LINK))
    settings = BuildSettings.model_construct(
        context=context,
        file=None if file == "Dockerfile" else _join_path(context, file),
        target=printed.get("target"),
        platforms=tuple(map(str, as_list(printed.get("platforms")))),
        tags=tuple(map(str, as_list(printed.get("tags")))),
        build_args=dict(as_table(printed.get("args"))),
        build_contexts=contexts,
        labels={key: str(value or "") for key, value in as_table(printed.get("labels")).items()},
        secrets=_render_all(printed.get("secret")),
        ssh=tuple(map(_render_ssh, as_list(printed.get("ssh")))),
        outputs=_render_all(printed.get("output")),
        network=printed.get("network"),
        pull=bool(printed.get("pull")),
        no_cache=bool(printed.get("no-cache")),
    )
    return BakeTarget(
        name=name,
        settings=settings,
        extra=tuple(_render_extra(printed)),
        links=tuple(dict.fromkeys(links)),
        cache_from=_render_all(printed.get("cache-from")),
        cache_to=_render_all(printed.get("cache-to")),
        printed=printed,
    )


def _join_path(context: str, file: str) -> str:
    """Return a Dockerfile's path; in a bake file it is relative to the context."""
    if is_remote(context) or is_remote(file) or context == "-":
        return file
    return os.path.normpath(os.path.join(context, file))  # noqa: PTH118  # text, as given


def _render_extra(printed: Mapping[str, Any]) -> Iterator[str]:
    for key, flag in _FLAGS.items():
        value = printed.get(key)
        if isinstance(value, dict):
            values: list[Any] = [f"{name}:{each}" for name, each in value.items()]
        else:
            values = value if isinstance(value, list) else [value] if value else []
        yield from (word for each in values for word in (flag, str(each)))


def _render_all(options: object) -> tuple[str, ...]:
    return tuple(filter(None, map(_render_option, as_list(options))))


def _render_option(option: object) -> str:
    if isinstance(option, str):
        return option
    fields = [(str(key), str(value)) for key, value in as_table(option).items()]
    return render_options(sorted(fields, key=lambda field: field[0] != "type"))


def _render_ssh(agent: object) -> str:
    """Render an SSH agent or its keys: `default`, or `id=path,path`."""
    if isinstance(agent, str):
        return agent
    fields = as_table(agent)
    name, paths = str(fields.get("id", "default")), as_list(fields.get("paths"))
    return f"{name}={','.join(map(str, paths))}" if paths else name
