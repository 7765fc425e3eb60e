"""Load one checked configuration from a working directory, the environment and flags."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct
from msgspec.structs import replace

from bxcache.config.builders import find_conflicts
from bxcache.config.discovery import (
    ConfigFile,
    find_config_file,
    find_root,
    read_config_file,
    shorten_path,
)
from bxcache.config.environment import CONFIG_VARIABLE, IMAGE_VARIABLE, read_environment
from bxcache.config.models import Config
from bxcache.config.paths import anchor_paths, find_cache_folder
from bxcache.config.problems import dotted, find_invalid, suggest
from bxcache.config.quantities import WRITTEN
from bxcache.config.sources import (
    BACKENDS,
    DEFAULT,
    Key,
    Layer,
    Origin,
    Position,
    Source,
    find_leaves,
    find_nearest,
    merge_layers,
    split_backends,
)
from bxcache.config.wording import choose_words, name_option
from bxcache.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path


_BUILDER = "builder"


class Setup(Struct, frozen=True):
    """The configuration of one call, with the source of each value.

    Attributes:
        config: all values. `config.build` includes the chosen image's values.
        sources: the source of each value that is not a default.
        root: the project: the config file's folder, the git root, or the working directory.
        directory: the working directory of the call.
        layers: the values of each source, highest precedence last.
        is_guarded: only harmless values of the file count.
    """

    config: Config
    image: str | None
    sources: Mapping[Key, Source]
    root: Path
    directory: Path
    file: ConfigFile | None
    notes: tuple[str, ...]
    layers: tuple[Layer, ...] = ()
    is_guarded: bool = False

    def source_of(self, key: Key) -> Source:
        """The source of a value."""
        return self.sources.get(key, DEFAULT)

    def is_set(self, key: str) -> bool:
        """Whether a value, by its dotted key, is not the default."""
        return self.source_of(tuple(key.split("."))).origin is not Origin.DEFAULT

    @property
    def declares_builder(self) -> bool:
        """Whether `[builder]` is declared, by a file or by variables."""
        return any(key[0] == _BUILDER for key in self.sources)

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
        file: the config file; if None, it is searched for.

    Raises:
        ConfigError: lists the problems of all sources.
    """
    flags = flags or Layer({})
    found = choose_file(directory, environment, file)
    declared = _layer_of(found) if found else Layer({})
    variables, wrong, notes = read_environment(environment)
    image = image or environment.get(IMAGE_VARIABLE) or None
    problems = [*_check_layer(declared, found), *wrong]
    problems += _check_layer(variables)
    # Only a Python program can give an option of a wrong type.
    given = [*_check_layer(flags, in_python=True), *_check_image(image, declared)]
    if problems or given:
        raise _refuse(problems, given)
    own = _list_layers(found, directory, image, flags) if found else ()
    layers = (*own, variables, flags)
    merged = merge_layers(layers)
    config = Config.model_validate(merged.values)
    if conflicts := _check_builder(config, merged, found):
        raise _refuse(conflicts)
    return Setup(
        config=config,
        image=image,
        sources=merged.sources,
        root=found.path.parent.resolve() if found else find_root(directory) or directory,
        directory=directory,
        file=found,
        notes=tuple(notes),
        layers=layers,
    )


def choose_file(
    directory: Path, environment: Mapping[str, str], file: Path | None = None
) -> ConfigFile | None:
    """Read the config file that counts: the one that is named, or the nearest; None without one.

    Raises:
        ConfigError: the file is missing, unreadable or not TOML.
    """
    named = file or environment.get(CONFIG_VARIABLE)
    return read_config_file(directory / named) if named else find_config_file(directory)


def check_file(file: ConfigFile) -> None:
    """Check one config file alone.

    Raises:
        ConfigError: lists all its problems, with lines.
    """
    layer = _layer_of(file)
    problems = _check_layer(layer, file)
    if not problems:
        problems = _check_builder(Config.model_validate(layer.values), layer, file)
    if problems:
        raise _refuse(problems)


def _refuse(problems: Sequence[Problem], given: Sequence[Problem] = ()) -> ConfigError:
    """The error for the problems of files and variables, and for those of a caller's options."""
    schema, hint = "`bxcache config schema` prints every key", ""
    if any(map(_is_unknown, given)):
        hint = choose_words(schema, "`help(bxcache.BuildOptions)` lists every option")
    if any(map(_is_unknown, problems)):
        hint = schema
    return ConfigError([*problems, *given], hint=hint)


def _is_unknown(problem: Problem) -> bool:
    return problem.message.startswith("is unknown")


def _check_layer(
    layer: Layer, file: ConfigFile | None = None, *, in_python: bool = False
) -> list[Problem]:
    """The problems of one source, in the order of their lines."""
    invalid = find_invalid(layer.values, in_file=file is not None, in_python=in_python)
    return _locate_problems([*_find_duplicates(layer.values), *invalid], layer, file)


def _check_builder(config: Config, merged: Layer, file: ConfigFile | None) -> list[Problem]:
    """The conflicts of `[builder]`, whose values may come from several sources."""
    if _BUILDER not in merged.values:
        return []
    findings = [((_BUILDER, *place), why) for place, why in find_conflicts(config.builder)]
    own = {key: source for key, source in merged.sources.items() if key[0] == _BUILDER}
    # What is missing has no source; the rest of the builder has.
    fallback = next(iter(own.values()), merged.fallback)
    return _locate_problems(findings, replace(merged, sources=own, fallback=fallback), file)


def _locate_problems(
    findings: Sequence[tuple[Position, str]], layer: Layer, file: ConfigFile | None
) -> list[Problem]:
    """The problems with their sources, in the order of their lines."""
    around = {place[:end] for place, _ in findings for end in range(1, len(place) + 1)}
    lines = file.lines_of(around) if file and around else {}
    problems = []
    for place, message in findings:
        source = layer.source_of(place)
        # A variable's value is on no line, even if the file has one too.
        line = find_nearest(lines, place) if source.origin is Origin.FILE else None
        problems.append(Problem(str(source), dotted(place), message, line))
    return sorted(problems, key=lambda problem: problem.line or 0)


def _find_duplicates(table: Mapping[str, Any]) -> Iterator[tuple[Position, str]]:
    cache = table.get("cache")
    backends = cache.get("backends") if isinstance(cache, dict) else None
    seen: set[str] = set()
    for index, backend in enumerate(backends if isinstance(backends, list) else []):
        own = dict(_identify(backend)) if isinstance(backend, dict) else {}
        messages = [message for identity, message in own.items() if identity in seen]
        if messages:
            yield (*BACKENDS, index), messages[0]
        seen |= own.keys()


def _identify(backend: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The identities that no other backend may share, each with the error message."""
    kind = backend.get("type")
    if kind in ("local", "inline"):
        yield kind, f"only one `{kind}` backend is allowed"
    if kind == "registry" or (kind == "inline" and backend.get("stages") == "all"):
        # Both name tags by scope.
        yield f"the repository {backend.get('ref')}", "this repository is already declared"


def _layer_of(file: ConfigFile) -> Layer:
    return Layer(file.table, fallback=Source(Origin.FILE, shorten_path(file.path)))


def explain_unknown(name: str, known: Collection[str]) -> str:
    """The error message for an undeclared image, from the names of the declared ones."""
    listed = ", ".join(f"`{each}`" for each in known) or "none"
    return f"is not declared in [images]; known: {listed}{suggest(name, known)}"


def _check_image(image: str | None, layer: Layer) -> list[Problem]:
    images = layer.values.get("images")
    known = images if isinstance(images, dict) else {}
    if image is None or image in known:
        return []
    return [Problem(name_option("image"), "", f"`{image}` {explain_unknown(image, known)}")]


def _list_layers(
    file: ConfigFile, directory: Path, image: str | None, flags: Layer
) -> Iterator[Layer]:
    """The layers of a file: the default context, its values, and those of the chosen image."""
    folder, layer = file.path.parent.resolve(), _layer_of(file)
    values = anchor_paths(file.table, folder, directory)
    if "context" in flags.values.get("build", {}):
        # As in docker, a PATH on the command line implies the Dockerfile in it.
        values["build"] = {k: v for k, v in values.get("build", {}).items() if k != "file"}
    yield Layer(anchor_paths({"build": {"context": "."}}, folder, directory))
    yield replace(layer, values=values)
    if image is not None:
        yield replace(layer, values={"build": values["images"][image]})


def default_store(root: Path) -> Path:
    """A project's default store, in the user's cache folder."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-.") or "project"
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
    return find_cache_folder() / f"{name}-{digest}"


def describe(
    setup: Setup, *, only_changed: bool = False, as_text: bool = False
) -> list[tuple[str, Any, Source]]:
    """Every value with its key and source, in the order of the file; of an image, what it sets.

    `[place]` is left out, since configuration is only one of its sources.

    Args:
        only_changed: leave out values that are the defaults.
        as_text: quantities are texts, such as `20 GB`, instead of bytes and seconds.
    """
    values = setup.config.model_dump(
        mode="json",
        exclude={"images", "place", *(() if setup.declares_builder else (_BUILDER,))},
        exclude_defaults=only_changed,
        context=WRITTEN if as_text else None,
    )
    # What an image sets to a default may differ from what `build` sets.
    values["images"] = {
        name: each.model_dump(mode="json", exclude_unset=True)
        for name, each in setup.config.images.items()
    }
    for backend in () if only_changed else values["cache"]["backends"]:
        if backend["type"] == "local":
            backend["dir"] = backend["dir"] or str(default_store(setup.root))
    found = find_leaves(values)
    leaves = {place: each for leaf in found for place, each in split_backends(*leaf)}
    sources = locate(setup, leaves)
    rows = [(dotted(key), value, sources[key]) for key, value in leaves.items()]
    # The default context depends on the working directory.
    return [each for each in rows if not only_changed or each[2].origin is not Origin.DEFAULT]


def locate(setup: Setup, keys: Iterable[Position]) -> dict[Position, Source]:
    """The source of each key; if that is the file, with the line in it."""
    ways = {key: _list_places(key, setup.image) for key in keys}
    wanted = {place for way in ways.values() for place in way}
    lines = setup.file.lines_of(wanted) if setup.file else {}
    found = {}
    for key, way in ways.items():
        source = _find_source(setup, key)
        line = next((lines[place] for place in way if place in lines), None)
        found[key] = replace(source, line=line) if source.origin is Origin.FILE else source
    return found


def _find_source(setup: Setup, key: Position) -> Source:
    if key[:2] != BACKENDS:
        return setup.source_of(cast("Key", key))
    # A list of backends has one source; what a backend in the file leaves out is a default.
    source = setup.source_of(BACKENDS)
    if source.origin is not Origin.FILE or setup.file is None or key == BACKENDS:
        return source
    number, *names = cast("tuple[int, str]", key[2:])
    declared = setup.file.table["cache"]["backends"][number]
    return source if set(names) <= declared.keys() else DEFAULT


def _list_places(key: Position, image: str | None) -> list[Position]:
    """Where a file may set a key: in the image's table, or in the key's own."""
    return [("images", image, *key[1:]), key] if image and key[0] == "build" else [key]
