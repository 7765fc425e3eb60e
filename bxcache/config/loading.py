"""Load one checked configuration from a working directory, the environment and flags."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bxcache.config.discovery import (
    ConfigFile,
    find_config_file,
    find_root,
    read_config_file,
    shorten_path,
)
from bxcache.config.environment import CONFIG_VARIABLE, IMAGE_VARIABLE, read_environment
from bxcache.config.models import Config
from bxcache.config.paths import anchor_paths
from bxcache.config.problems import dotted, explain, place_of
from bxcache.config.sources import DEFAULT, Key, Layer, Origin, Source, find_leaves, merge_layers
from bxcache.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bxcache.config.positions import Position


@dataclass(frozen=True, slots=True)
class Setup:
    """The configuration of one call, with the source of each value.

    Attributes:
        config: all values. `config.build` includes the chosen image's values.
        image: the chosen image's name in `[images]`, or None.
        sources: the source of each value that is not a default.
        root: the project: the config file's folder, the git root, or the working directory.
        file: the config file, or None.
        notes: notes for people that are not problems.
        layers: the values of each source, highest precedence last.
        is_guarded: only harmless values of the file count.
    """

    config: Config
    image: str | None
    sources: Mapping[Key, Source]
    root: Path
    file: ConfigFile | None
    notes: tuple[str, ...]
    layers: tuple[Layer, ...] = ()
    is_guarded: bool = False

    def source_of(self, key: Key) -> Source:
        """The source of a value."""
        return self.sources.get(key, DEFAULT)

    def is_callers(self, key: Key) -> bool:
        """Whether the caller set a value; in a guarded setup, only flags and variables count."""
        given = self.source_of(key).origin in (Origin.ENVIRONMENT, Origin.FLAG)
        return given or not self.is_guarded


def load_setup(
    directory: Path,
    environment: Mapping[str, str],
    *,
    flags: Layer | None = None,
    file: Path | None = None,
    image: str | None = None,
) -> Setup:
    """Read, check and merge all sources of configuration.

    Args:
        directory: the working directory.
        environment: the process's variables.
        flags: the values from the command line or the caller.
        file: the config file; if None, it is searched for.
        image: one of the `[images]`.

    Raises:
        ConfigError: lists the problems of all sources.
    """
    flags = flags or Layer({})
    named = file or (
        Path(environment[CONFIG_VARIABLE]) if environment.get(CONFIG_VARIABLE) else None
    )
    found = read_config_file(directory / named) if named else find_config_file(directory)
    variables, problems, notes = read_environment(environment)
    file_layer = _layer_of(found) if found else Layer({})
    problems = [*_check_layer(file_layer, found), *problems]
    problems += [*_check_layer(variables), *_check_layer(flags)]
    image = image or environment.get(IMAGE_VARIABLE) or None
    problems += _check_image(image, file_layer)
    if problems:
        raise _refuse(problems)
    anchored = _anchor(file_layer, found, directory)
    layers = [_defaults(found, directory), *_with_image(anchored, image, flags), variables, flags]
    merged = merge_layers(layers)
    return Setup(
        config=Config.model_validate(merged.values),
        image=image,
        sources=merged.sources,
        root=_root_of(found, directory),
        file=found,
        notes=tuple(notes),
        layers=tuple(layers),
    )


def check_file(path: Path) -> ConfigFile:
    """Read and check one config file alone.

    Raises:
        ConfigError: lists all its problems, with lines.
    """
    file = read_config_file(path)
    if file is None:
        raise ConfigError([Problem(str(path), "tool.bxcache", "the table is missing")])
    problems = _check_layer(_layer_of(file), file)
    if problems:
        raise _refuse(problems)
    return file


def _refuse(problems: list[Problem]) -> ConfigError:
    unknown = any(problem.message.startswith("is unknown") for problem in problems)
    hint = "`bxcache config schema` prints every key" if unknown else ""
    return ConfigError(problems, hint=hint)


def _check_layer(layer: Layer, file: ConfigFile | None = None) -> list[Problem]:
    """The problems of one source."""
    findings = [*_find_duplicates(layer.values), *_find_invalid(layer.values)]
    lines = _lines_of(file, [place for place, _ in findings])
    return [
        Problem(_name_of(layer, place), dotted(place), message, _nearest(lines, place))
        for place, message in sorted(findings, key=lambda found: _nearest(lines, found[0]) or 0)
    ]


def _find_invalid(table: Mapping[str, Any]) -> list[tuple[Position, str]]:
    try:
        Config.model_validate(dict(table))
    except ValidationError as error:
        details = error.errors(include_url=False)
        return [(place_of(detail), explain(detail)) for detail in details]
    return []


def _lines_of(file: ConfigFile | None, places: list[Position]) -> dict[Position, int]:
    if file is None or not places:
        return {}
    return file.lines_of({place[:end] for place in places for end in range(1, len(place) + 1)})


def _nearest(lines: dict[Position, int], place: Position) -> int | None:
    ends = range(len(place), 0, -1)
    return next((lines[place[:end]] for end in ends if place[:end] in lines), None)


def _find_duplicates(table: Mapping[str, Any]) -> list[tuple[Position, str]]:
    cache = table.get("cache")
    backends = cache.get("backends") if isinstance(cache, dict) else None
    seen: set[str] = set()
    found: list[tuple[Position, str]] = []
    for index, backend in enumerate(backends if isinstance(backends, list) else []):
        own = dict(_identify(backend)) if isinstance(backend, dict) else {}
        messages = [message for identity, message in own.items() if identity in seen]
        found += [(("cache", "backends", index), message) for message in messages[:1]]
        seen |= own.keys()
    return found


def _identify(backend: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The identities that no other backend may share, each with the error message."""
    kind = backend.get("type")
    if kind in ("local", "inline"):
        yield kind, f"only one `{kind}` backend is allowed"
    if kind == "registry" or (kind == "inline" and backend.get("stages") == "all"):
        # Both name tags by scope.
        yield f"the repository {backend.get('ref')}", "this repository is already declared"


def _layer_of(file: ConfigFile) -> Layer:
    name = shorten_path(file.path)
    return Layer(file.table, fallback=Source(Origin.FILE, name))


def _name_of(layer: Layer, place: Position) -> str:
    return str(layer.source_of(tuple(step for step in place if isinstance(step, str))))


def explain_unknown(known: Iterable[str]) -> str:
    """The error message for an undeclared image.

    Args:
        known: the declared names, in the order of the file.
    """
    listed = ", ".join(f"`{name}`" for name in known) or "none"
    return f"is not declared in [images]; known: {listed}"


def _check_image(image: str | None, layer: Layer) -> list[Problem]:
    images = layer.values.get("images")
    known = images if isinstance(images, dict) else {}
    if image is None or image in known:
        return []
    return [Problem("--image", "", f"`{image}` {explain_unknown(known)}")]


def _anchor(layer: Layer, file: ConfigFile | None, directory: Path) -> Layer:
    if file is None:
        return layer
    values = anchor_paths(layer.values, file.path.parent.resolve(), directory)
    return Layer(values, layer.sources, layer.fallback)


def _defaults(file: ConfigFile | None, directory: Path) -> Layer:
    """The default context is the config file's folder, for any working directory below it."""
    if file is None:
        return Layer({})
    return Layer(anchor_paths({"build": {"context": "."}}, file.path.parent.resolve(), directory))


def _with_image(layer: Layer, image: str | None, flags: Layer) -> list[Layer]:
    values = dict(layer.values)
    if "context" in flags.values.get("build", {}):
        # As in docker, a PATH on the command line implies the Dockerfile in it.
        values["build"] = {k: v for k, v in values.get("build", {}).items() if k != "file"}
    base = Layer(values, layer.sources, layer.fallback)
    if image is None:
        return [base]
    table = values["images"][image]
    return [base, Layer({"build": table}, fallback=layer.fallback)]


def _root_of(file: ConfigFile | None, directory: Path) -> Path:
    return file.path.parent.resolve() if file else find_root(directory) or directory


def default_store(root: Path) -> Path:
    """A project's default store, in the user's cache folder."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-.") or "project"
    digest = hashlib.sha256(str(root).encode()).hexdigest()[:8]
    return find_cache_folder() / f"{name}-{digest}"


def find_cache_folder() -> Path:
    """bxcache's folder among the user's caches."""
    from platformdirs import user_cache_path  # noqa: PLC0415  # few need it

    return user_cache_path("bxcache")


def describe(setup: Setup) -> list[tuple[str, Any, Source]]:
    """Every value with its key and source, in the order of the file.

    `[place]` is left out, since configuration is only one of its sources.
    """
    values = setup.config.model_dump(mode="json", exclude={"images", "place"})
    for backend in values["cache"]["backends"]:
        if backend["type"] == "local":
            backend["dir"] = backend["dir"] or str(default_store(setup.root))
    leaves = list(find_leaves(values))
    lines = find_written_lines(setup, [key for key, _ in leaves])
    return [
        (dotted(key), value, _with_line(setup.source_of(key), lines.get(key)))
        for key, value in leaves
    ]


def find_written_lines(setup: Setup, keys: Sequence[Position]) -> dict[Position, int]:
    """The line of each key that the file sets, in the image's table or in the key's own."""
    if setup.file is None:
        return {}
    lines = setup.file.lines_of({place for key in keys for place in _places(key, setup.image)})
    found = {}
    for key in keys:
        known = [lines[place] for place in _places(key, setup.image) if place in lines]
        if known:
            found[key] = known[0]
    return found


def _places(key: Position, image: str | None) -> list[Position]:
    own: list[Position] = [key]
    return [("images", image, *key[1:]), *own] if image and key[0] == "build" else own


def _with_line(source: Source, line: int | None) -> Source:
    return replace(source, line=line) if source.origin is Origin.FILE else source
