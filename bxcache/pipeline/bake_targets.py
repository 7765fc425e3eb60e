"""Everything that is decided before a bake: its targets, and the caches of each."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import force_setattr, replace

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
from bxcache.config.problems import suggest
from bxcache.config.wording import choose_words, name_option
from bxcache.errors import ConfigError, Problem
from bxcache.pipeline.choose import plan_build
from bxcache.pipeline.plan import BuildPlan, list_candidates
from bxcache.pipeline.request import BuildRequest
from bxcache.place.image_name import path_in
from bxcache.place.scope import Scope
from bxcache.redaction import Redactor
from bxcache.store.staging import draw_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from bxcache.buildx.driver import Docker
    from bxcache.config.loading import Setup
    from bxcache.pipeline.context_files import ContextFiles
    from bxcache.pipeline.prepare import Prepared

_UNKNOWN = re.compile(r"failed to find target (?P<name>.*)")
_SWITCHES = {"push": "--push", "load": "--load", "pull": "--pull", "no_cache": "--no-cache"}
NOTHING = "there is nothing to bake"
_HARMLESS = LAYERLESS | {"-D", "--debug", "--allow"}
_SAVED_BY_ITSELF = ("output", "tags", "cache-from", "cache-to")
"""The keys that a run which only saves sets itself, so the caller's `--set` of them is dropped."""


class BakeRequest(Struct, frozen=True):
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

    def __post_init__(self) -> None:
        """Give bake the options that docker gets as they are."""
        force_setattr(self, "build", self.build.as_bake())


def check_files(request: BakeRequest) -> None:
    """Refuse bake files that cannot be read twice, with a `ConfigError`."""
    if "-" in request.files:
        why = "bake reads its files twice here; `-` can be read only once"
        raise ConfigError([Problem(name_option("files"), "", why)])


def read_targets(request: BakeRequest, docker: Docker) -> dict[str, BakeTarget]:
    """Read the targets that a bake would build, including those that others need.

    A question, a wrong argument and a target that needs more than is allowed are a `ConfigError`.
    """
    check_files(request)
    request.build.refuse_question()
    words = (*render_files(request), *request.build.extra, *request.targets)
    targets, _ = print_definition(request, words, docker)
    _check_needs(request, targets, docker)
    return targets


def print_definition(
    request: BakeRequest,
    words: Sequence[str],
    docker: Docker,
    environment: Mapping[str, str] | None = None,
) -> tuple[dict[str, BakeTarget], str]:
    """Have bake print the definition from its files; return its targets, and all of it as JSON.

    The files may read only the variables of the environment, if one is given.
    """
    source, directory = "docker buildx bake", request.build.directory
    answer = docker.print_bake(words, directory, environment)
    if answer.status:
        hint = "`docker buildx bake --print` shows what bake makes of its files"
        redact = Redactor(find_secrets(words, os.environ, directory))
        why = _find_why(answer.stderr)
        if unknown := _UNKNOWN.fullmatch(why):
            own = [*words[: len(words) - len(request.targets)], *filter(is_remote, request.targets)]
            why += _name_known(unknown["name"], docker.list_bake(own, directory, environment))
        raise ConfigError([Problem(source, "", redact(why))], hint=hint, title=NOTHING)
    try:
        return parse_definition(answer.stdout), answer.stdout
    except ValueError as error:
        why = f"what bake prints is not understood: {error}"
        raise ConfigError([Problem(source, "", why)]) from error


def _check_needs(request: BakeRequest, targets: Mapping[str, BakeTarget], docker: Docker) -> None:
    """Check that the targets need only what the caller allows, as plain bake does."""
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
    allowed = [*dict.fromkeys(each.allow for each in missing)]
    flags = " ".join(name_option("allow", each) for each in allowed)
    way = choose_words(f"bxcache bake … {flags}", f"bxcache.bake(…, allow={allowed})")
    hint = f"if you trust the bake file, `{way}` lets it"
    if any(map(concerns_files, missing)):
        hint += f";\n`{FILES_VARIABLE}=0` in the environment lets it have all files"
    problems = [Problem(f"target `{e.target}`", "", e.meaning) for e in missing]
    raise ConfigError(problems, hint=hint, title="the bake file needs what is not allowed")


def _name_known(name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown target: those that the files have, and the likely."""
    listed = ", ".join(f"`{each}`" for each in known)
    return f"; known: {listed}{suggest(name, known)}" if known else ""


def _find_why(stderr: str) -> str:
    """Why bake failed: its last error, or its first line if the usage follows."""
    lines = [line for line in stderr.splitlines() if line.strip()] or ["docker did not say why"]
    return next(reversed(list_errors(lines)), lines[0])


def prepare_target(base: Prepared, request: BakeRequest, target: BakeTarget) -> Prepared:
    """Prepare one target like a separate build, from what all targets share."""
    config, options = base.setup.config, request.build.options
    no_cache = target.settings.no_cache or bool(options.get("no_cache"))
    own = {"builder": config.build.builder, "no_cache": no_cache, "push": bool(options.get("push"))}
    settings = target.settings.model_copy(update=own)
    config = config.model_copy(update={"build": settings})
    platforms = settings.platforms or (base.capabilities.default_platform,)
    trust, setup = base.trust, replace(base.setup, config=config)
    backends = list_backends(setup)
    if target.keeps_cache:
        trust, backends = replace(trust, writes=False, reason=""), ()
    # Any folder may have bake files, so the path from the root is in the name of the image.
    image = PurePosixPath(path_in(base.setup.root, base.request.directory)) / target.name
    scope = Scope(str(image), None, platforms, trust.owner)
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
    """The caller's arguments for bake that may affect layers, opaque behind the `--` of a build."""
    rest = drop_flags(words, _HARMLESS)
    return ("--", *rest) if rest else ()


def plan_target(
    target: BakeTarget, prepared: Prepared, files: ContextFiles | None = None
) -> BuildPlan:
    """Choose the caches of a target."""
    if target.keeps_cache:
        note = "it has a `cache-to` of its own; its caches are left to bake"
        why = "the target has a `cache-to` of its own"
        return BuildPlan(prepared.scope, notes=(note,), why_unsaved=why)
    plan = plan_build(prepared, files)
    if target.cache_from and plan.imports:
        note = "it has a `cache-from` of its own, which is imported too"
        plan = replace(plan, notes=(*plan.notes, note))
    return plan


class Bake(Struct, frozen=True):
    """A bake whose targets are known, each as bake defines it, and what they all share."""

    request: BakeRequest
    base: Prepared
    targets: Mapping[str, BakeTarget]

    def find_secrets(self) -> Redactor:
        """Find the secrets in all that bake evaluates or gets."""
        words = [*self.request.build.extra, *self.base.docker.command]
        words += [word for text in self.request.sets for word in ("--set", text)]
        for each in self.targets.values():
            words += render_build(
                each.settings, cache_options=(), metadata_file="", extra=each.extra
            )
            words += (*each.cache_from, *each.cache_to)
        secrets = find_secrets(words, os.environ, self.request.build.directory)
        return Redactor((*secrets, *self.base.list_secrets()))

    def render(self, plans: Mapping[str, BuildPlan], metadata: Path) -> tuple[str, ...]:
        """Render the arguments of `docker` for the bake with its caches."""
        sets = [*self.request.sets]
        for name, plan in plans.items():
            sets += _render_caches(self.targets[name], plan)
        asked = replace(self.request, sets=(*sets, *self._give_own_paths(plans)))
        return render_words(asked, self.base.setup, metadata=metadata)

    def repeat(self, name: str, saving: Saving) -> Command:
        """Render a run that only saves the result of one of the targets."""
        request, platform = self.request, saving.platform
        own = (*_SAVED_BY_ITSELF, *(["platform"] if platform else []))
        own += ("dockerfile", "target") if saving.file is not None else ()
        sets = [each for each in request.sets if find_set(each)[1] not in own]
        sets += [f"{name}.output=type=cacheonly", f"{name}.tags="]
        sets += [f"{name}.platform={platform}"] if platform else []
        if saving.file is not None:
            sets += [f"{name}.dockerfile={saving.file}", f"{name}.target={saving.target}"]
        sets += [f"{name}.cache-from={each}" for each in self.targets[name].cache_from]
        sets += [f"{name}.{flag.removeprefix('--')}={value}" for flag, value in saving.options]
        build = replace(
            request.build,
            options={"pull": request.build.options.get("pull")},
            extra=drop_flags(request.build.extra, LAYERLESS),
        )
        asked = replace(request, build=build, sets=tuple(sets), targets=(name,))
        arguments = render_words(asked, self.base.setup, metadata=saving.metadata)
        targets, stage = list_linked(self.targets, name), saving.target or ""
        return Command(arguments, saving.metadata, targets=targets, own_stage=stage)

    def note_folders(self, plans: Mapping[str, BuildPlan]) -> Iterator[str]:
        """Note why targets get their own paths for shared folders, if they do."""
        if any(self._give_own_paths(plans)):
            yield (
                "each target reads the folders that it shares with others by its own path, "
                "since BuildKit misses cached steps of targets that share one"
            )

    def _give_own_paths(self, plans: Mapping[str, BuildPlan]) -> Iterator[str]:
        """Give each target its own path for a shared folder, if a cache is imported."""
        remote = any(map(is_remote, self.request.targets))
        if not remote and any(plan.imports for plan in plans.values()):
            read = {name: self.targets[name].settings for name in plans}
            yield from give_own_paths(read, self.request.build.directory)


def render_words(
    request: BakeRequest, setup: Setup, progress: str = "rawjson", *, metadata: Path | None = None
) -> tuple[str, ...]:
    """Render the arguments of `docker` for a bake exactly as requested, or a question to it."""
    builder = setup.config.build.builder
    return (
        *("buildx", "bake", "--progress", progress),
        *(("--metadata-file", str(metadata)) if metadata is not None else ()),
        *(("--builder", builder) if builder else ()),
        *render_files(request),
        *(flag for name, flag in _SWITCHES.items() if request.build.options.get(name)),
        *request.build.extra,
        *request.targets,
    )


def render_files(request: BakeRequest) -> Iterator[str]:
    """Render the bake files, and the values that override them."""
    yield from (word for file in request.files for word in ("--file", file))
    yield from (word for text in request.sets for word in ("--set", text))


def describe_arguments(target: BakeTarget) -> tuple[str, ...]:
    """A target's build arguments as command-line arguments, for its record."""
    pairs = (render_pair(*pair) for pair in target.settings.build_args.items())
    return tuple(word for pair in pairs for word in ("--build-arg", pair))


def _render_caches(target: BakeTarget, plan: BuildPlan) -> Iterator[str]:
    """Render the caches of a target for bake's `--set`: the first one replaces the file's."""
    if plan.imports:
        imports = (*target.cache_from, *(use.option[1] for use in plan.imports))
        yield from (f"{target.name}.cache-from={text}" for text in imports)
    by_itself = [INLINE] if adds_inline(target.settings, target.extra) else []
    exports = (use.option[1] for use in plan.exports)
    yield from (f"{target.name}.cache-to={text}" for text in exports if text not in by_itself)


def find_set(text: str) -> tuple[str, str]:
    """The target pattern and the key of a `--set`, `TARGET.KEY=VALUE`."""
    target, _, key = text.partition("=")[0].partition(".")
    return target, key.partition(".")[0].removesuffix("+")
