"""Tests of bake's arguments for each target, and of the run that saves a target's cache."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bxcache.backends.base import EXPORT, IMPORT, CacheUse, Save
from bxcache.buildx.bake.definition import BakeTarget, parse_definition
from bxcache.buildx.bake.stages import explain_unbaked
from bxcache.buildx.command import Saving, explain_once
from bxcache.buildx.driver import Docker
from bxcache.buildx.extra_flags import find_question
from bxcache.config.loading import load_setup
from bxcache.errors import ConfigError
from bxcache.pipeline.bake_targets import (
    Bake,
    BakeRequest,
    describe_arguments,
    plan_target,
    prepare_target,
    read_targets,
    render_words,
)
from bxcache.pipeline.plan import BuildPlan
from bxcache.pipeline.prepare import Prepared
from bxcache.pipeline.request import BuildRequest
from bxcache.place.scope import Owner, Scope
from bxcache.process import Answer
from bxcache.store.store import Store
from tests.support.backends import make_local, plan_uses
from tests.support.layouts import build
from tests.support.synthetic_build import make_prepared

METADATA = Path("/m.json")
BEGIN = ["buildx", "bake", "--progress", "rawjson", "--metadata-file", "/m.json"]


@pytest.fixture
def base(tmp_path: Path, store: Store) -> Prepared:
    """Prepare a project, without its targets."""
    folder = tmp_path / "shop"
    (folder / ".git").mkdir(parents=True)
    return make_prepared(
        folder, store, Scope("image", None, ("linux/amd64",), Owner.of_branch("main"))
    )


def use(flag: str, kind: str, text: str) -> CacheUse:
    attributes = tuple(tuple(field.split("=")) for field in text.split(","))
    return CacheUse(flag, kind, "place", "scope", attributes, "why")  # type: ignore[arg-type]


def ask(base: Prepared, **more: Any) -> BakeRequest:  # noqa: ANN401
    options = more.pop("options", {})
    extra = more.pop("extra", ())
    build = BuildRequest(options=options, extra=extra, directory=base.request.directory)
    return BakeRequest(build, **more)


def target(name: str, **declared: Any) -> BakeTarget:  # noqa: ANN401
    keys = {key.replace("_", "-"): value for key, value in declared.items()}
    return parse_definition(json.dumps({"target": {name: keys}}))[name]


Planned = tuple[BakeTarget, BuildPlan]


def planned(base: Prepared, declared: BakeTarget, *uses: CacheUse) -> Planned:
    return declared, plan_uses(base.scope, uses)


def render(request: BakeRequest, base: Prepared, *targets: Planned) -> tuple[str, ...]:
    plans = {each.name: plan for each, plan in targets}
    return Bake(request, base, {each.name: each for each, _ in targets}).render(plans, METADATA)


def sets(arguments: tuple[str, ...]) -> list[str]:
    return [value for flag, value in pairwise(arguments) if flag == "--set"]


def test_the_callers_values_come_before_the_caches(base: Prepared) -> None:
    """The caches take precedence over the caller's `--set`, and the targets are last."""
    request = ask(
        base,
        targets=("default", "web"),
        files=("a.hcl", "b.hcl"),
        sets=("*.args.A=1", "web.tags=x"),
        options={"push": True, "pull": True, "no_cache": True},
        extra=("--allow", "network.host"),
    )
    api = planned(base, target("api"), use(EXPORT, "local", "type=local,dest=/s/api"))
    web = planned(base, target("web"), use(EXPORT, "local", "type=local,dest=/s/web"))
    assert list(render(request, base, api, web)) == [
        *BEGIN,
        *("--file", "a.hcl", "--file", "b.hcl"),
        *("--set", "*.args.A=1", "--set", "web.tags=x"),
        *("--set", "api.cache-to=type=local,dest=/s/api"),
        *("--set", "web.cache-to=type=local,dest=/s/web"),
        *("--push", "--pull", "--no-cache"),
        *("--allow", "network.host"),
        *("default", "web"),
    ]


def test_a_target_keeps_its_own_imports(base: Prepared) -> None:
    """The first `--set` replaces the file's imports, so they are repeated before ours."""
    declared = target("api", cache_from=["type=registry,ref=r/own", "type=local,src=c"])
    ours = use(IMPORT, "local", "type=local,src=/s"), use(IMPORT, "registry", "type=registry,ref=r")
    assert sets(render(ask(base), base, planned(base, declared, *ours))) == [
        "api.cache-from=type=registry,ref=r/own",
        "api.cache-from=type=local,src=c",
        "api.cache-from=type=local,src=/s",
        "api.cache-from=type=registry,ref=r",
    ]
    # Without our imports they are not repeated.
    assert sets(render(ask(base), base, planned(base, declared))) == []


def test_the_builder_is_the_projects(base: Prepared) -> None:
    """Bake uses the project's builder, like a build."""
    (base.request.directory / "bxcache.toml").write_text('[build]\nbuilder = "big"\n')
    base = replace(base, setup=load_setup(base.request.directory, {}))
    arguments = render(ask(base), base)
    assert list(arguments) == [*BEGIN, "--builder", "big"]
    api = target("api")
    saved = Bake(ask(base), base, {"api": api}).repeat("api", Saving((), METADATA))
    assert list(saved.arguments[len(BEGIN) :][:2]) == ["--builder", "big"]


IMPORTED = use(IMPORT, "local", "type=local,src=/s")


@pytest.mark.parametrize(
    ("imported", "targets", "apart"),
    [
        (True, (), True),
        # Without a cache, no file can be missed.
        (False, (), False),
        # The folders of a remote bake file are not local.
        (True, ("https://example.com/app.git", "api"), False),
    ],
)
def test_shared_folders_have_separate_paths(
    base: Prepared,
    imported: bool,  # noqa: FBT001
    targets: tuple[str, ...],
    apart: bool,  # noqa: FBT001
) -> None:
    """With an import, targets get separate paths, and a note gives the reason."""
    request = ask(base, targets=targets)
    both = [
        planned(base, target(name), *([IMPORTED] if imported else [])) for name in ("api", "web")
    ]
    given = [each for each in sets(render(request, base, *both)) if "context" in each]
    assert [each.partition("=")[0] for each in given] == (["web.context"] if apart else [])
    bake = Bake(request, base, {each.name: each for each, _ in both})
    assert bool(list(bake.note_folders({each.name: plan for each, plan in both}))) == apart


SAVED = ("--cache-from", "type=registry,ref=r:a"), ("--cache-to", "type=registry,ref=r:b")


def test_a_saving_run_writes_nothing_else(base: Prepared) -> None:
    """A run that saves a cache makes no output, tag or other cache, whatever the caller sets."""
    request = ask(
        base,
        targets=("default",),
        files=("a.hcl",),
        sets=(
            *("*.args.A=1", "api.output=type=docker", "*.tags=x", "api.cache-to=type=local,dest=c"),
            *("api.cache-from+=type=local,src=c", "api.output+=type=oci", "api.contexts.x=./x"),
            *("api.no-cache=false",),
        ),
        options={"push": True, "load": True, "pull": True, "no_cache": True},
        extra=("--allow", "network.host"),
    )
    api = target("api", cache_from=["type=registry,ref=r/own"])
    command = Bake(request, base, {"api": api}).repeat("api", Saving(SAVED, METADATA))
    assert list(command.arguments) == [
        *BEGIN,
        *("--file", "a.hcl"),
        *("--set", "*.args.A=1", "--set", "api.contexts.x=./x", "--set", "api.no-cache=false"),
        *("--set", "api.output=type=cacheonly", "--set", "api.tags="),
        *("--set", "api.cache-from=type=registry,ref=r/own"),
        *("--set", "api.cache-from=type=registry,ref=r:a"),
        *("--set", "api.cache-to=type=registry,ref=r:b"),
        "--pull",
        *("--allow", "network.host"),
        "api",
    ]
    assert (command.metadata, command.targets) == (METADATA, ("api",))


def test_a_saving_run_builds_only_its_platform(base: Prepared) -> None:
    """The caller's own `--set` adds no other platform to a run that saves one."""
    api = target("api", platforms=["linux/amd64", "linux/arm64"])
    request = ask(base, sets=("api.platform=linux/s390x", "*.args.A=1"))
    saving = Saving((), METADATA, "linux/arm64")
    command = Bake(request, base, {"api": api}).repeat("api", saving)
    sets = [each for each in command.arguments if "platform" in each or "args" in each]
    assert sets == ["*.args.A=1", "api.platform=linux/arm64"]


def test_a_saving_run_bakes_needed_targets(base: Prepared) -> None:
    """Needed targets are listed too, the target itself last, since each reports its own layers."""
    targets = {"base": target("base"), "app": target("app", contexts={"x": "target:base"})}
    command = Bake(ask(base), base, targets).repeat("app", Saving((), METADATA))
    assert command.arguments[-1] == "app"
    assert command.targets == ("base", "app")


@pytest.mark.parametrize(
    ("folder", "name", "declared", "scope"),
    [
        (".", "api", {}, "api.linux-amd64.main"),
        ("services", "api", {}, "services_api.linux-amd64.main"),
        ("a/b", "api", {}, "a_b_api.linux-amd64.main"),
        # The scope depends on the target's name, not on its stage.
        (".", "api", {"target": "site"}, "api.linux-amd64.main"),
        (".", "api", {"platforms": ["linux/arm64"]}, "api.linux-arm64.main"),
    ],
)
def test_a_target_has_its_own_scope(
    base: Prepared, folder: str, name: str, declared: dict[str, Any], scope: str
) -> None:
    """The scope contains the target's name and its folder in the project."""
    directory = base.request.directory / folder
    base = replace(base, request=replace(base.request, directory=directory))
    found = prepare_target(base, ask(base), target(name, **declared)).scope
    # Characters that are invalid in a tag are replaced, and a hash is added.
    parts = found.name.split(".")
    assert ".".join([parts[0].partition("-")[0], *parts[1:]]) == scope


def test_a_target_is_built_with_its_settings(base: Prepared) -> None:
    """A target has its own settings, and the caller's settings for all targets."""
    declared = target("api", context="app", args={"A": "1"}, tags=["x"])
    request = ask(base, options={"no_cache": True, "push": True})
    settings = prepare_target(base, request, declared).setup.config.build
    assert (settings.context, settings.build_args, settings.tags) == ("app", {"A": "1"}, ("x",))
    assert (settings.no_cache, settings.push) == (True, True)
    plain = prepare_target(base, ask(base), target("api", no_cache=True)).setup.config.build
    assert (plain.no_cache, plain.push) == (True, False)


def test_each_target_has_its_own_name_and_folder(base: Prepared) -> None:
    """No two targets share a build name or a staging folder."""
    prepared = [prepare_target(base, ask(base), target(name)) for name in ("api", "web")]
    assert len({each.name for each in (base, *prepared)}) == 3
    assert len({each.folder for each in (base, *prepared)}) == 3


def test_a_target_that_exports_a_cache_is_left_alone(base: Prepared) -> None:
    """Nothing is looked up, imported or saved for a target that exports a cache; a note says so."""
    declared = target("api", cache_to=["type=inline"])
    prepared = prepare_target(base, ask(base), declared)
    assert (prepared.backends, prepared.candidates, prepared.trust.writes) == ((), (), False)
    plan = plan_target(declared, prepared)
    assert (plan.uses, plan.saves) == ((), ())
    assert plan.notes == ("it has a `cache-to` of its own; its caches are left to bake",)


@pytest.mark.parametrize(("args", "asked"), [({}, True), ({"BUILDKIT_INLINE_CACHE": "1"}, False)])
def test_an_inline_cache_is_requested_once(
    base: Prepared,
    args: dict[str, str],
    asked: bool,  # noqa: FBT001
) -> None:
    """An inline cache is requested unless a build argument already makes buildx add one."""
    declared = target("api", args=args)
    prepared = prepare_target(base, ask(base), declared)
    use = CacheUse(EXPORT, make_local(), "r/app", prepared.scope.name, (("type", "inline"),), "why")
    plan = BuildPlan(prepared.scope, saves=(Save(use),))
    words = render(ask(base), base, (declared, plan))
    assert ("api.cache-to=type=inline" in words) == asked


def test_a_targets_own_imports_are_reported(base: Prepared, store: Store) -> None:
    """A note reports that the target's own imports are used, if ours are imported too."""
    declared = target("api", cache_from=["type=local,src=c"])
    prepared = prepare_target(base, ask(base), declared)
    note = "it has a `cache-from` of its own, which is imported too"
    prepared.open_backends(None)
    assert note not in plan_target(declared, prepared).notes
    build(store, prepared.scope.name, b"x")
    prepared.open_backends(None)
    assert note in plan_target(declared, prepared).notes


def test_build_arguments_are_shown_as_flags() -> None:
    """An argument without a value is shown by its name, so that docker reads its variable."""
    declared = target("api", args={"A": "1", "B": None, "C": ""})
    assert describe_arguments(declared) == (
        *("--build-arg", "A=1", "--build-arg", "B", "--build-arg", "C="),
    )


class Asked(Docker):
    """A docker that answers `bake --print` and records its arguments."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(("docker",))
        self.answer, self.words = answer, [""]

    def print_bake(self, arguments: Any, directory: Path, environment: Any = None) -> Answer:  # noqa: ANN401, ARG002
        self.words = list(arguments)
        return self.answer

    def list_bake(self, *_: object) -> tuple[str, ...]:
        return ()


def test_targets_are_read_as_they_will_be_baked(base: Prepared) -> None:
    """`--print` gets the same files, values and further arguments as the bake."""
    docker = Asked(Answer(0, '{"target": {"api": {}, "web": {}}}', ""))
    request = ask(base, targets=("api",), files=("a.hcl",), sets=("a.b=c",), extra=("--x",))
    assert sorted(read_targets(request, docker)) == ["api", "web"]
    assert docker.words == ["--file", "a.hcl", "--set", "a.b=c", "--x", "api"]


@pytest.mark.parametrize(
    ("extra", "question"),
    [
        ((), None),
        (("--print",), "--print"),
        (("--allow", "network.host", "--print"), "--print"),
        (("--list=targets",), "--list"),
        (("--list", "variables"), "--list"),
        (("--list-targets",), "--list-targets"),
        (("--check",), "--check"),
        (("--call=outline",), "--call"),
        (("--call", "outline"), "--call"),
        (("--call=build",), None),
        (("--call", "build"), None),
        (("--print=false",), None),
        (("--set", "*.args.A=--print", "--push"), None),
    ],
)
def test_a_question_is_not_built(
    base: Prepared, extra: tuple[str, ...], question: str | None
) -> None:
    """`--print` and the like are refused before docker runs, with a hint."""
    docker = Asked(Answer(0, '{"target": {"api": {}}}', ""))
    request = ask(base, extra=extra)
    assert find_question(extra) == question
    if question is None:
        assert list(read_targets(request, docker)) == ["api"]
        return
    with pytest.raises(ConfigError, match=question) as caught:
        read_targets(request, docker)
    assert "so does `docker buildx bake`" in caught.value.hint
    assert docker.words == [""]


def test_a_question_gets_the_arguments_of_the_bake(base: Prepared) -> None:
    """The question gets the same files, values and flags, but no caches."""
    request = ask(
        base,
        targets=("api",),
        files=("a.hcl",),
        sets=("a.b=c",),
        options={"pull": True},
        extra=("--print",),
    )
    assert list(render_words(request, base.setup, "plain")) == [
        *("buildx", "bake", "--progress", "plain", "--file", "a.hcl", "--set", "a.b=c"),
        *("--pull", "--print", "api"),
    ]


@pytest.mark.parametrize(
    ("extra", "again"),
    [
        ((), True),
        (("--allow", "network.host"), True),
        (("--allow=fs.read=/srv", "-D", "--debug"), True),
        # These do not change layers.
        (("--provenance=false", "--sbom", "true"), True),
        # The file would be written again, without the image's digest.
        (("--metadata-file", "m.json"), False),
        # These would push again.
        (("--set", "api.output=type=registry"), False),
        (("--push",), False),
        # Another target would be baked too.
        (("web",), False),
        (("--allow", "network.host", "web"), False),
        (("--unknown",), False),
    ],
)
def test_unknown_arguments_prevent_a_repeated_run(
    base: Prepared,
    extra: tuple[str, ...],
    again: bool,  # noqa: FBT001
) -> None:
    """An argument with unknown effects prevents a run that repeats the bake."""
    declared = target("api", shm_size="1g")
    prepared = prepare_target(base, ask(base, extra=extra), declared)
    judged = prepared.request.extra
    settings = prepared.setup.config.build
    assert (explain_once(settings, judged) is None) == again
    assert (not explain_unbaked(settings, judged)) == again
    # Bake's entitlements do not apply to stages that are baked separately.
    assert not again or judged == ("--shm-size", "1g")


REFUSALS = [
    ("", "docker did not say why"),
    ("ERROR: failed to find target nope\n", "failed to find target nope"),
    ("a.hcl:1\n 1 | target\n---\nERROR: a.hcl:1,1: Unclosed\n\n", "a.hcl:1,1: Unclosed"),
    ("unknown flag: --x\n\nUsage:  docker buildx bake\n\nRun '--help'\n", "unknown flag: --x"),
    ("WARNING: old\nERROR: first\nERROR: last\n", "last"),
]


@pytest.mark.parametrize(("said", "why"), REFUSALS)
def test_bakes_own_error_is_shown(base: Prepared, said: str, why: str) -> None:
    """Docker's error is shown without the text around it."""
    with pytest.raises(ConfigError) as caught:
        read_targets(ask(base), Asked(Answer(1, "", said)))
    [problem] = caught.value.problems
    assert str(problem) == f"docker buildx bake: {why}"


@pytest.mark.parametrize("shown", ["", "nonsense", "{}"])
def test_output_that_is_not_a_definition_is_an_error(base: Prepared, shown: str) -> None:
    """An unreadable definition is reported as an error, not as a bug of bxcache."""
    with pytest.raises(ConfigError, match="what bake prints is not understood"):
        read_targets(ask(base), Asked(Answer(0, shown, "")))


def test_standard_input_can_be_read_only_once(base: Prepared) -> None:
    """Reading stdin twice is refused before docker runs."""
    docker = Asked(Answer(0, '{"target": {}}', ""))
    with pytest.raises(ConfigError, match="`-` can be read only once"):
        read_targets(ask(base, files=("a.hcl", "-")), docker)
    assert docker.words == [""]
