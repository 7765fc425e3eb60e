"""Everything that is decided before a bake: its targets, and the caches of each."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from bxcache.backends.declared import list_backends
from bxcache.buildx.bake.definition import BakeTarget, give_own_paths, list_linked, parse_definition
from bxcache.buildx.bake.entitlements import (
    FILES_VARIABLE,
    FIRST_BUILDX,
    are_files_free,
    concerns_files,
    list_missing,
)
from bxcache.buildx.capabilities import parse_version
from bxcache.buildx.command import Command, Saving, render_build, render_pair
from bxcache.buildx.extra_flags import (
    INLINE,
    LAYERLESS,
    adds_inline,
    drop_flags,
    find_values,
)
from bxcache.buildx.secrets import find_secrets
from bxcache.buildx.stream.raw import list_errors
from bxcache.config.paths import is_remote
from bxcache.errors import ConfigError, Problem
from bxcache.pipeline.choose import list_candidates
from bxcache.pipeline.plan import BuildPlan
from bxcache.pipeline.prepare import plan_build
from bxcache.pipeline.request import BuildRequest
from bxcache.place.image_name import path_in
from bxcache.place.scope import Scope
from bxcache.redaction import Redactor
from bxcache.store.staging import draw_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bxcache.buildx.driver import Docker
    from bxcache.config.loading import Setup
    from bxcache.pipeline.prepare import Prepared

_SWITCHES = {"push": "--push", "load": "--load", "pull": "--pull", "no_cache": "--no-cache"}
_QUESTIONS = frozenset(
    ("--print", "--check", "--call", "--list", "--list-targets", "--list-variables")
)
_UNASKED = ("build", "false")
"""Values that turn a question off, as in `--call build`."""
_HARMLESS = LAYERLESS | {"-D", "--debug", "--allow"}
_SAVED_BY_ITSELF = ("output", "tags", "cache-from", "cache-to")
"""The keys that a run which only saves sets itself, so the caller's `--set` of them is dropped."""


@dataclass(frozen=True, slots=True)
class BakeRequest:
    """One call of `bxcache bake`.

    Attributes:
        build: the options for all targets, as for a build; its `extra` goes to bake.
        targets: the targets and groups to build; empty for bake's default.
        files: the bake files; empty to let bake look for them.
        sets: values that override the files, in the form of bake's `--set`.
    """

    build: BuildRequest = field(default_factory=BuildRequest)
    targets: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Baking:
    """A target with its chosen caches.

    Attributes:
        target: the target, as bake defines it.
        prepared: the target, prepared like a separate build.
        plan: the plan for its caches.
    """

    target: BakeTarget
    prepared: Prepared
    plan: BuildPlan


def find_question(extra: Sequence[str]) -> str:
    """Find a flag behind `--` that asks bake a question instead of building, or an empty string.

    >>> find_question(["--set", "a.b=c", "--list=targets"]), find_question(["--call", "build"])
    ('--list', '')
    """
    for word, following in pairwise((*extra, "")):
        flag, equals, value = word.partition("=")
        given = following if flag == "--call" and not equals else value
        if flag in _QUESTIONS and given not in _UNASKED:
            return flag
    return ""


def check_files(request: BakeRequest) -> None:
    """Make sure that the bake files can be read twice.

    Raises:
        ConfigError: a file cannot be read twice.
    """
    if "-" in request.files:
        why = "bake reads its files twice here; `-` can be read only once"
        raise ConfigError([Problem("--file", "", why)])


def read_targets(request: BakeRequest, docker: Docker) -> dict[str, BakeTarget]:
    """Read the targets that a bake would build, including those that others need.

    Raises:
        ConfigError: bake rejects its arguments.
        EngineError: docker does not answer.
    """
    check_files(request)
    question = find_question(request.build.extra)
    if question:
        why = "bake builds nothing with it, so no cache has a part in it"
        hint = "`docker buildx bake` answers it, and `bxcache bake` without `--json` or `--dry-run`"
        raise ConfigError([Problem("--", question, why)], hint=hint)
    words = (*_render_files(request, request.sets), *request.build.extra, *request.targets)
    text = print_definition(request, words, docker)
    try:
        targets = parse_definition(text)
    except ValueError as error:
        raise explain_definition(error) from error
    _check_entitlements(request, targets, docker)
    return targets


def explain_definition(error: ValueError) -> ConfigError:
    """The error for a definition that cannot be parsed."""
    why = f"what `--print` shows is not understood: {error}"
    return ConfigError([Problem("docker buildx bake", "", why)])


def print_definition(
    request: BakeRequest,
    words: Sequence[str],
    docker: Docker,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Have bake print the definition from its files, as JSON.

    Args:
        request: the bake.
        words: the arguments for files, values and targets.
        docker: evaluates them.
        environment: the only variables that the files may read; None for all.

    Raises:
        ConfigError: bake rejects its arguments.
        EngineError: docker does not answer.
    """
    answer = docker.print_bake(words, request.build.directory, environment)
    if answer.status:
        hint = "`docker buildx bake --print` shows what bake makes of its files"
        redact = Redactor(find_secrets(words, os.environ, request.build.directory))
        problem = Problem("docker buildx bake", "", redact(_find_why(answer.stderr)))
        raise ConfigError([problem], hint=hint)
    return answer.stdout


def _check_entitlements(
    request: BakeRequest, targets: Mapping[str, BakeTarget], docker: Docker
) -> None:
    """Check that the targets need only what the caller allows, as plain bake does.

    Raises:
        ConfigError: they need more.
    """
    extra, directory = request.build.extra, request.build.directory
    sets = (*request.sets, *find_values(extra, "--set"))
    missing = list_missing(targets, find_values(extra, "--allow"), sets, directory)
    if are_files_free(os.environ, remote=any(map(is_remote, request.targets))):
        missing = tuple(each for each in missing if not concerns_files(each))
    if not missing:
        return
    version = parse_version(docker.ask_buildx_version())
    if version is not None and version < FIRST_BUILDX:
        return
    flags = dict.fromkeys(f"--allow {shlex.quote(each.allow)}" for each in missing)
    hint = f"if you trust the bake file, `bxcache bake … -- {' '.join(flags)}` lets it"
    if any(map(concerns_files, missing)):
        hint += f";\n`{FILES_VARIABLE}=0` in the environment lets it have all files"
    raise ConfigError([Problem(f"target `{e.target}`", "", e.meaning) for e in missing], hint=hint)


def _find_why(stderr: str) -> str:
    """Why bake failed: its last error, or its first line if the usage follows."""
    lines = [line for line in stderr.splitlines() if line.strip()] or ["docker did not say why"]
    return next(reversed(list_errors(lines)), lines[0])


def prepare_target(base: Prepared, request: BakeRequest, target: BakeTarget) -> Prepared:
    """Prepare one target like a separate build.

    Args:
        base: the values that all targets share.
        request: the bake.
        target: the target.
    """
    config, options = base.setup.config, request.build.options
    settings = target.settings.model_copy(
        update={
            "builder": config.build.builder,
            "no_cache": target.settings.no_cache or bool(options.get("no_cache")),
            "push": bool(options.get("push")),
        }
    )
    name = _name_image(base, target.name)
    config = config.model_copy(update={"build": settings})
    platforms = settings.platforms or (base.capabilities.default_platform,)
    trust, setup = base.trust, replace(base.setup, config=config)
    backends = list_backends(setup)
    if target.keeps_cache:
        trust, backends = replace(trust, writes=False, reason=""), ()
    scope = Scope(name, None, platforms, trust.owner)
    return replace(
        base,
        request=replace(base.request, extra=(*target.extra, *_as_flags(request.build.extra))),
        setup=setup,
        trust=trust,
        scope=scope,
        backends=backends,
        candidates=list_candidates(config, scope, trust, backends),
        name=draw_name(),
        notes=(),
    )


def _as_flags(words: Sequence[str]) -> tuple[str, ...]:
    """The caller's arguments for bake as arguments of a build: behind `--`, where they are opaque.

    Flags for permissions, debugging and image metadata are dropped: they do not affect layers.
    """
    rest = drop_flags(words, _HARMLESS)
    return ("--", *rest) if rest else ()


def _name_image(base: Prepared, target: str) -> str:
    """A target's image name, with its path from the root: any folder may have bake files."""
    folder = path_in(base.setup.root, base.request.directory)
    return str(PurePosixPath(folder) / target)


def plan_target(target: BakeTarget, prepared: Prepared) -> BuildPlan:
    """Choose the caches of a target."""
    if target.keeps_cache:
        note = "it has a `cache-to` of its own; its caches are left to bake"
        return BuildPlan(prepared.scope, notes=(note,))
    plan = plan_build(prepared)
    if target.cache_from and plan.imports:
        note = "it has a `cache-from` of its own, which is imported too"
        plan = replace(plan, notes=(*plan.notes, note))
    return plan


def render_bake(
    request: BakeRequest, base: Prepared, metadata: Path, bakings: Iterable[Baking]
) -> tuple[str, ...]:
    """Render the arguments of `docker` for a bake."""
    bakings = tuple(bakings)
    sets = [text for each in bakings for text in _render_caches(each)]
    sets += _give_own_paths(request, bakings)
    return (
        *_begin(metadata),
        *_render_builder(base.setup),
        *_render_files(request, (*request.sets, *sets)),
        *_render_switches(request.build.options),
        *request.build.extra,
        *request.targets,
    )


def render_question(request: BakeRequest, setup: Setup, progress: str) -> tuple[str, ...]:
    """Render the arguments of `docker` for a question to bake."""
    return (
        *("buildx", "bake", "--progress", progress),
        *_render_builder(setup),
        *_render_files(request, request.sets),
        *_render_switches(request.build.options),
        *request.build.extra,
        *request.targets,
    )


def repeat_target(
    request: BakeRequest,
    targets: Mapping[str, BakeTarget],
    baking: Baking,
    saving: Saving,
) -> Command:
    """Render a run that only saves the result of a target.

    Args:
        request: the bake.
        targets: all targets.
        baking: the target.
        saving: the caches to save.
    """
    name, platform = baking.target.name, saving.platform
    own = (*_SAVED_BY_ITSELF, *(["platform"] if platform else []))
    kept = [each for each in request.sets if find_set(each)[1] not in own]
    nothing = [f"{name}.output=type=cacheonly", f"{name}.tags="]
    nothing += [f"{name}.platform={platform}"] if platform else []
    caches = [f"{name}.cache-from={each}" for each in baking.target.cache_from]
    caches += [f"{name}.{flag.removeprefix('--')}={value}" for flag, value in saving.options]
    arguments = (
        *_begin(saving.metadata),
        *_render_builder(baking.prepared.setup),
        *_render_files(request, (*kept, *nothing, *caches)),
        *_render_switches({"pull": request.build.options.get("pull")}),
        *drop_flags(request.build.extra, LAYERLESS),
        name,
    )
    return Command(arguments, saving.metadata, targets=list_linked(targets, name))


def describe_arguments(target: BakeTarget) -> tuple[str, ...]:
    """A target's build arguments as command-line arguments, for its record."""
    return tuple(
        word
        for name, value in target.settings.build_args.items()
        for word in ("--build-arg", render_pair(name, value))
    )


def list_words(target: BakeTarget) -> Iterator[str]:
    """List a target's values that can contain secrets, as command-line arguments."""
    yield from render_build(target.settings, cache_options=(), metadata_file="", extra=target.extra)
    yield from (*target.cache_from, *target.cache_to)


def _begin(metadata: Path) -> Iterator[str]:
    yield from ("buildx", "bake", "--progress", "rawjson", "--metadata-file", str(metadata))


def _render_builder(setup: Setup) -> Iterator[str]:
    builder = setup.config.build.builder
    yield from ("--builder", builder) if builder else ()


def _render_files(request: BakeRequest, sets: Sequence[str]) -> Iterator[str]:
    yield from (word for file in request.files for word in ("--file", file))
    yield from (word for text in sets for word in ("--set", text))


def _render_switches(options: Mapping[str, Any]) -> Iterator[str]:
    yield from (flag for name, flag in _SWITCHES.items() if options.get(name))


def _render_caches(baking: Baking) -> Iterator[str]:
    """Render the caches of a target for bake's `--set`: the first one replaces the file's."""
    name, plan = baking.target.name, baking.plan
    if plan.imports:
        imports = (*baking.target.cache_from, *(use.option[1] for use in plan.imports))
        yield from (f"{name}.cache-from={text}" for text in imports)
    settings, extra = baking.prepared.setup.config.build, baking.prepared.request.extra
    by_itself = [INLINE] if adds_inline(settings, extra) else []
    exports = (use.option[1] for use in plan.exports)
    yield from (f"{name}.cache-to={text}" for text in exports if text not in by_itself)


def _give_own_paths(request: BakeRequest, bakings: Sequence[Baking]) -> Iterator[str]:
    """Give each target its own path for a shared folder, if a cache is imported."""
    remote = any(map(is_remote, request.targets))
    if not remote and any(each.plan.imports for each in bakings):
        read = {each.target.name: each.target.settings for each in bakings}
        yield from give_own_paths(read, request.build.directory)


def note_folders(request: BakeRequest, bakings: Sequence[Baking]) -> Iterator[str]:
    """Note why targets get their own paths for shared folders, if they do."""
    if any(_give_own_paths(request, bakings)):
        yield (
            "each target reads the folders that it shares with others by its own path, "
            "since BuildKit misses cached steps of targets that share one"
        )


def find_set(text: str) -> tuple[str, str]:
    """The target pattern and the key of a `--set`, `TARGET.KEY=VALUE`."""
    target, _, key = text.partition("=")[0].partition(".")
    return target, key.partition(".")[0].removesuffix("+")
