"""What `docker buildx bake --print` says that it would build.

Lists of options are objects since buildx 0.18, and option text before that.
https://docs.docker.com/build/bake/reference/
"""

from __future__ import annotations

import json
import os.path
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bxcache.buildx.option_text import render_options
from bxcache.config.models import BuildSettings
from bxcache.config.paths import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LINK = "target:"
"""How a context is given that is the result of another target."""
_USUAL_FILE = "Dockerfile"
_FLAGS = {
    "shm-size": "--shm-size",
    "ulimits": "--ulimit",
    "extra-hosts": "--add-host",
    "entitlements": "--allow",
    "no-cache-filter": "--no-cache-filter",
    "dockerfile-inline": "--file",
}
"""The flags of `docker buildx build` for what the settings of a build have no word for."""


@dataclass(frozen=True, slots=True)
class BakeTarget:
    """A target of a bake file.

    Attributes:
        name: its name.
        settings: what it builds, in the words of a build.
        extra: what these have no words for, as flags of `docker buildx build`.
        links: the targets whose results it uses.
        cache_from: what it imports by itself, as option text.
        cache_to: what it exports by itself, as option text.
        told: what `--print` says of it, as it is.
    """

    name: str
    settings: BuildSettings
    extra: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def keeps_cache(self) -> bool:
        """It exports a cache by itself."""
        return bool(self.cache_to)

    @property
    def call(self) -> str:
        """What it is to answer instead of being built, such as `check`; empty for a build."""
        call = str(self.told.get("call") or "")
        return call if call != "build" else ""


def parse_definition(text: str) -> dict[str, BakeTarget]:
    """The targets, by their names.

    Raises:
        ValueError: it is no definition.
    """
    document = json.loads(text)
    targets = document.get("target") if isinstance(document, dict) else None
    if not isinstance(targets, dict):
        raise ValueError("there is no `target` in it")  # noqa: TRY004  # it is the text that is wrong
    return {name: _read_target(name, _table(told)) for name, told in targets.items()}


def list_linked(targets: Mapping[str, BakeTarget], name: str) -> tuple[str, ...]:
    """The targets that one of them needs, each after those that it needs, itself the last."""
    seen: set[str] = set()

    def visit(each: str) -> Iterator[str]:
        if each in seen or each not in targets:
            return
        seen.add(each)
        for link in targets[each].links:
            yield from visit(link)
        yield each

    return tuple(visit(name))


def _read_target(name: str, told: Mapping[str, Any]) -> BakeTarget:
    context, file = str(told.get("context") or "."), str(told.get("dockerfile") or _USUAL_FILE)
    contexts = {str(key): str(value) for key, value in _table(told.get("contexts")).items()}
    links = (value.removeprefix(LINK) for value in contexts.values() if value.startswith(LINK))
    settings = BuildSettings.model_construct(
        context=context,
        file=None if file == _USUAL_FILE else _join(context, file),
        target=told.get("target"),
        platforms=tuple(map(str, _list(told.get("platforms")))),
        tags=tuple(map(str, _list(told.get("tags")))),
        build_args=dict(_table(told.get("args"))),
        build_contexts=contexts,
        labels={key: str(value or "") for key, value in _table(told.get("labels")).items()},
        secrets=_render_all(told.get("secret")),
        ssh=tuple(map(_render_ssh, _list(told.get("ssh")))),
        outputs=_render_all(told.get("output")),
        network=told.get("network"),
        pull=bool(told.get("pull")),
        no_cache=bool(told.get("no-cache")),
    )
    return BakeTarget(
        name=name,
        settings=settings,
        extra=tuple(_render_extra(told)),
        links=tuple(dict.fromkeys(links)),
        cache_from=_render_all(told.get("cache-from")),
        cache_to=_render_all(told.get("cache-to")),
        told=told,
    )


def _join(context: str, file: str) -> str:
    """A Dockerfile's path; bake has it relative to the context."""
    if is_remote(context) or is_remote(file) or context == "-":
        return file
    return os.path.normpath(os.path.join(context, file))  # noqa: PTH118  # text, as it is given


def _render_extra(told: Mapping[str, Any]) -> Iterator[str]:
    for key, flag in _FLAGS.items():
        value = told.get(key)
        if isinstance(value, dict):
            yield from (word for pair in value.items() for word in (flag, f"{pair[0]}:{pair[1]}"))
        else:
            values = value if isinstance(value, list) else [value] if value else []
            yield from (word for each in values for word in (flag, str(each)))


def _render_all(options: object) -> tuple[str, ...]:
    return tuple(filter(None, map(_render_option, _list(options))))


def _render_option(option: object) -> str:
    if isinstance(option, str):
        return option
    fields = {str(key): str(value) for key, value in _table(option).items()}
    kind = {"type": fields.pop("type")} if "type" in fields else {}
    return render_options(tuple({**kind, **fields}.items()))


def _render_ssh(agent: object) -> str:
    """An SSH agent or its keys: `default`, or `id=path,path`."""
    if isinstance(agent, str):
        return agent
    fields = _table(agent)
    name, paths = str(fields.get("id", "default")), _list(fields.get("paths"))
    return f"{name}={','.join(map(str, paths))}" if paths else name


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []
