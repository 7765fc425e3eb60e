"""Everything that is settled before a bake: what it builds, and the caches of each target."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from bxcache.backends.declared import list_backends
from bxcache.buildx.bake.contexts import give_own_paths
from bxcache.buildx.bake.definition import BakeTarget, list_linked, parse_definition
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
"""What turns them off, as in `--call build`."""
_HARMLESS = LAYERLESS | {"-D", "--debug", "--allow"}
_SAVED_BY_ITSELF = ("output", "tags", "cache-from", "cache-to")
"""What a run that only saves sets by itself, so that the caller's `--set` of it does not count."""


@dataclass(frozen=True, slots=True)
class BakeRequest:
    """One call of `bxcache bake`.

    Attributes:
        build: what holds for all targets, as for a build; its `extra` goes to bake.
        targets: the targets and groups that are asked for. None is bake's default.
        files: the bake files. None has bake look for them.
        sets: values of targets that replace those of the files, as bake's `--set` has them.
    """

    build: BuildRequest = field(default_factory=BuildRequest)
    targets: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Baking:
    """A target whose caches are chosen.

    Attributes:
        target: what bake says of it.
        prepared: the same as of a build of its own.
        plan: what is done about its caches.
    """

    target: BakeTarget
    prepared: Prepared
    plan: BuildPlan


def find_question(extra: Sequence[str]) -> str:
    """What bake is asked behind `--` instead of building, or an empty string.

    >>> find_question(["--set", "a.b=c", "--list=targets"]), find_question(["--call", "build"])
    ('--list', '')
    """
    for word, following in pairwise((*extra, "")):
        flag, equals, value = word.partition("=")
        said = following if flag == "--call" and not equals else value
        if flag in _QUESTIONS and said not in _UNASKED:
            return flag
    return ""


def check_files(request: BakeRequest) -> None:
    """Make sure that the bake files can be read twice.

    Raises:
        ConfigError: one cannot be.
    """
    if "-" in request.files:
        why = "bake reads its files twice here; `-` can be read only once"
        raise ConfigError([Problem("--file", "", why)])


def read_targets(request: BakeRequest, docker: Docker) -> dict[str, BakeTarget]:
    """The targets that a bake would build, those included that others need.

    Raises:
        ConfigError: bake does not take what it is given.
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
    """What to raise where a definition is none."""
    why = f"what `--print` shows is not understood: {error}"
    return ConfigError([Problem("docker buildx bake", "", why)])


def print_definition(
    request: BakeRequest,
    words: Sequence[str],
    docker: Docker,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What bake makes of its files, as JSON.

    Args:
        request: the bake.
        words: the files, what is set, and the targets.
        docker: what evaluates them.
        environment: the only variables that the files can read, where they are not to read all.

    Raises:
        ConfigError: bake does not take what it is given.
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
    """Make sure that the targets ask for no more than the caller lets them, as plain bake does.

    Raises:
        ConfigError: they do.
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


def _find_why(said: str) -> str:
    """Why bake refused: its last error, or what it says first where its usage follows."""
    lines = [line for line in said.splitlines() if line.strip()] or ["docker did not say why"]
    return next(reversed(list_errors(lines)), lines[0])


def prepare_target(base: Prepared, request: BakeRequest, target: BakeTarget) -> Prepared:
    """What is known of one target, as of a build of its own.

    Args:
        base: what holds for all of them.
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
    """What the caller passes to bake, as a build has it: behind `--`, where it cannot be judged.

    What bake may do is no matter of a build, nor is how much it tells, or what it says of images.
    """
    rest = drop_flags(words, _HARMLESS)
    return ("--", *rest) if rest else ()


def _name_image(base: Prepared, target: str) -> str:
    """A target's name, from the project's top folder: each folder can have a bake file."""
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
    """What follows `docker` in a bake."""
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
    """What follows `docker` in a bake that is only asked something."""
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
    """A run that only saves what a target has made.

    Args:
        request: the bake.
        targets: all targets.
        baking: the target.
        saving: what it saves.
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
    """A target's build arguments as a command has them, for what is told of a build."""
    return tuple(
        word
        for name, value in target.settings.build_args.items()
        for word in ("--build-arg", render_pair(name, value))
    )


def list_words(target: BakeTarget) -> Iterator[str]:
    """What a target is given that can have a secret in it, as a build's command has it."""
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
    """The caches of a target, as bake's `--set` takes them: the first replaces the file's."""
    name, plan = baking.target.name, baking.plan
    if plan.imports:
        imports = (*baking.target.cache_from, *(use.option[1] for use in plan.imports))
        yield from (f"{name}.cache-from={text}" for text in imports)
    settings, extra = baking.prepared.setup.config.build, baking.prepared.request.extra
    by_itself = [INLINE] if adds_inline(settings, extra) else []
    exports = (use.option[1] for use in plan.exports)
    yield from (f"{name}.cache-to={text}" for text in exports if text not in by_itself)


def _give_own_paths(request: BakeRequest, bakings: Sequence[Baking]) -> Iterator[str]:
    """Paths of their own for folders that targets have in common, where a cache is imported."""
    remote = any(map(is_remote, request.targets))
    if not remote and any(each.plan.imports for each in bakings):
        read = {each.target.name: each.target.settings for each in bakings}
        yield from give_own_paths(read, request.build.directory)


def note_folders(request: BakeRequest, bakings: Sequence[Baking]) -> Iterator[str]:
    """Why targets are given other paths of their folders, where they are."""
    if any(_give_own_paths(request, bakings)):
        yield (
            "each target reads the folders that it has in common with others by a path of its own, "
            "since BuildKit misses cached steps of targets that share one"
        )


def find_set(text: str) -> tuple[str, str]:
    """What a `--set` is about: the pattern of targets and the key of `TARGET.KEY=VALUE`."""
    target, _, key = text.partition("=")[0].partition(".")
    return target, key.partition(".")[0].removesuffix("+")
