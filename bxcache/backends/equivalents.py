"""The backends that do what docker's own cache flags do."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bxcache.backends.base import DECLARED
from bxcache.buildx.option_text import read_options, render_options, split_fields
from bxcache.config.discovery import shorten_path
from bxcache.config.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bxcache.config.loading import Setup

_SAME = {"src": "dir", "dest": "dir"}
_FOLDERS = ("prefix", "blobs_prefix", "manifests_prefix")
_KEPT = {
    "local": ("dir",),
    "registry": ("ref",),
    "inline": ("ref",),
    "gha": ("version", "url", "url_v2", "repository"),
    "s3": ("bucket", "region", "endpoint_url", "use_path_style", *_FOLDERS),
    "azblob": ("account_url", "account_name", "container", *_FOLDERS),
}
_INLINE = "inline"
_Options = dict[str, str]


def advise_backends(imports: Sequence[str], exports: Sequence[str], setup: Setup) -> str:
    """Say what to write for values of `--cache-from` and `--cache-to`: nothing, if one is declared.

    Args:
        setup: the configuration that the build would have.
    """
    if setup.is_set(".".join(DECLARED)):
        declared = [_render_spec(each.model_dump()) for each in setup.config.cache.backends]
        listed = ", ".join(f"`{each}`" for each in declared)
        return f"{setup.source_of(DECLARED)} declares {listed}, so leave the flag out"
    flags = ", ".join(map(_name_flag, list_specs(imports, exports)))
    flags = flags.replace(", none", ", and none")
    for image in _list_images([*map(_read, imports)], [*map(_read, exports)])[:1]:
        inside = _name_flag(_render_spec({"type": _INLINE, "ref": image}))
        flags += f", or {inside} for a cache inside of that image"
    return flags


def list_specs(imports: Iterable[str], exports: Iterable[str]) -> list[str]:
    """List the backend for each value of `--cache-from` and `--cache-to`, each once.

    >>> list_specs(["type=local,src=/c"], ["type=local,dest=/c,mode=max", "r/app:cache"])
    ['type=local,dir=/c', 'type=registry,ref=r/app']
    >>> list_specs(["r/app:latest"], ["type=inline"]), list_specs([], ["type=inline"])
    (['type=inline,ref=r/app:latest'], ['type=inline,ref=IMAGE'])
    >>> list_specs(["type=gha,scope=app"], ["type=s3,bucket=b,region=r,name=app,mode=max"])
    ['type=gha', 'type=s3,bucket=b,region=r']
    >>> list_specs(["r/app:latest"], []), list_specs(["r/app:buildcache"], [])
    (['type=registry,ref=r/app-cache'], ['type=registry,ref=r/app'])
    """
    read, saved = [*map(_read, imports)], [*map(_read, exports)]
    for ref in _list_images(read, saved):
        # Scopes are tags: among those of the image, people would pull them by mistake.
        beside = {"type": "registry", "ref": f"{_drop_tag(ref)}-cache"}
        read = [beside if each.get("ref") == ref else each for each in read]
    if any(each["type"] == _INLINE for each in saved):
        # It is imported from the image.
        refs = [each for each in read if "ref" in each] or [{"ref": "IMAGE"}]
        saved = [each for each in saved if each["type"] != _INLINE]
        read = [each for each in read if "ref" not in each]
        read += [{**each, "type": _INLINE} for each in refs]
    return [*dict.fromkeys(map(_render_spec, (*read, *saved)))]


def _list_images(read: Sequence[_Options], saved: Sequence[_Options]) -> list[str]:
    """The refs that are images, as far as the flags show it: only read, and not named a cache."""
    kept = {_drop_tag(each["ref"]) for each in saved if "ref" in each}
    refs = [each["ref"] for each in read if each["type"] == "registry" and "ref" in each]
    if any(each["type"] == _INLINE for each in saved):
        return []
    return [
        ref for ref in refs if "cache" not in ref.rpartition("/")[2] and _drop_tag(ref) not in kept
    ]


def _read(text: str) -> _Options:
    fields = split_fields(text)
    given = {"ref": text} if "=" not in fields[0] else read_options(text)
    return {"type": "registry"} | {_SAME.get(name, name): value for name, value in given.items()}


def _render_spec(options: Mapping[str, Any]) -> str:
    kind = str(options["type"])
    kept = {name: options.get(name) for name in _KEPT.get(kind, ())}
    if kind == "local" and kept["dir"]:
        kept["dir"] = shorten_path(Path(kept["dir"]))
    if kind == "registry" and kept["ref"]:
        kept["ref"] = _drop_tag(kept["ref"])
    return render_options((("type", kind), *((k, _show(v)) for k, v in kept.items() if v)))


def _show(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _name_flag(spec: str) -> str:
    if read_options(spec)["type"] not in _KEPT:
        return f"none for `{spec}`"
    return f"`--backend {shlex.quote(spec)}`"


def _drop_tag(ref: str) -> str:
    """The repository alone, as each scope is a tag of its own."""
    with suppress(ValueError):
        return Reference.parse(ref.partition("@")[0]).name
    return ref
