"""What bake is told of each target, and what is run to save what one of them has made."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bxcache.backends.base import EXPORT, IMPORT, CacheUse, Save
from bxcache.buildx.bake.definition import BakeTarget, parse_definition
from bxcache.buildx.bake.stages import explain_unbaked
from bxcache.buildx.command import Saving, can_repeat
from bxcache.buildx.driver import Docker
from bxcache.config.loading import load_setup
from bxcache.errors import ConfigError
from bxcache.pipeline.bake_targets import (
    BakeRequest,
    Baking,
    describe_arguments,
    find_question,
    note_folders,
    plan_target,
    prepare_target,
    read_targets,
    render_bake,
    render_question,
    repeat_target,
)
from bxcache.pipeline.plan import BuildPlan
from bxcache.pipeline.prepare import Prepared, open_backends
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
    """What is known of a project before its targets are."""
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


def target(name: str, **told: Any) -> BakeTarget:  # noqa: ANN401
    keys = {key.replace("_", "-"): value for key, value in told.items()}
    return parse_definition(json.dumps({"target": {name: keys}}))[name]


def baking(base: Prepared, told: BakeTarget, *uses: CacheUse) -> Baking:
    return Baking(told, base, plan_uses(base.scope, uses))


def sets(arguments: tuple[str, ...]) -> list[str]:
    return [value for flag, value in pairwise(arguments) if flag == "--set"]


def test_a_bake_is_told_what_the_caller_says_and_then_the_caches(base: Prepared) -> None:
    """In this order, so that a cache counts whatever the caller sets; the targets are the last."""
    request = ask(
        base,
        targets=("default", "web"),
        files=("a.hcl", "b.hcl"),
        sets=("*.args.A=1", "web.tags=x"),
        options={"push": True, "pull": True, "no_cache": True},
        extra=("--allow", "network.host"),
    )
    api = baking(base, target("api"), use(EXPORT, "local", "type=local,dest=/s/api"))
    web = baking(base, target("web"), use(EXPORT, "local", "type=local,dest=/s/web"))
    assert list(render_bake(request, base, METADATA, [api, web])) == [
        *BEGIN,
        *("--file", "a.hcl", "--file", "b.hcl"),
        *("--set", "*.args.A=1", "--set", "web.tags=x"),
        *("--set", "api.cache-to=type=local,dest=/s/api"),
        *("--set", "web.cache-to=type=local,dest=/s/web"),
        *("--push", "--pull", "--no-cache"),
        *("--allow", "network.host"),
        *("default", "web"),
    ]


def test_a_target_keeps_what_it_imports_by_itself(base: Prepared) -> None:
    """The first `--set` replaces what the file has, so that stands there too, before ours."""
    told = target("api", cache_from=["type=registry,ref=r/own", "type=local,src=c"])
    ours = use(IMPORT, "local", "type=local,src=/s"), use(IMPORT, "registry", "type=registry,ref=r")
    assert sets(render_bake(ask(base), base, METADATA, [baking(base, told, *ours)])) == [
        "api.cache-from=type=registry,ref=r/own",
        "api.cache-from=type=local,src=c",
        "api.cache-from=type=local,src=/s",
        "api.cache-from=type=registry,ref=r",
    ]
    # Nothing is said of it where nothing of ours is imported.
    assert sets(render_bake(ask(base), base, METADATA, [baking(base, told)])) == []


def test_the_builder_is_that_of_the_project(base: Prepared) -> None:
    """As for a build."""
    (base.request.directory / "bxcache.toml").write_text('[build]\nbuilder = "big"\n')
    base = replace(base, setup=load_setup(base.request.directory, {}))
    arguments = render_bake(ask(base), base, METADATA, [])
    assert list(arguments) == [*BEGIN, "--builder", "big"]
    api = target("api")
    own = Baking(api, prepare_target(base, ask(base), api), BuildPlan(base.scope))
    saved = repeat_target(ask(base), {"api": api}, own, Saving((), METADATA))
    assert list(saved.arguments[len(BEGIN) :][:2]) == ["--builder", "big"]


IMPORTED = use(IMPORT, "local", "type=local,src=/s")


@pytest.mark.parametrize(
    ("imported", "targets", "apart"),
    [
        (True, (), True),
        # Without a cache there is nothing to miss.
        (False, (), False),
        # The folders of a remote bake file are not here.
        (True, ("https://example.com/app.git", "api"), False),
    ],
)
def test_folders_in_common_have_paths_of_their_own(
    base: Prepared,
    imported: bool,  # noqa: FBT001
    targets: tuple[str, ...],
    apart: bool,  # noqa: FBT001
) -> None:
    """Where a cache is imported, since BuildKit would miss; the reason is told."""
    request = ask(base, targets=targets)
    both = [
        baking(base, target(name), *([IMPORTED] if imported else [])) for name in ("api", "web")
    ]
    given = [each for each in sets(render_bake(request, base, METADATA, both)) if "context" in each]
    assert [each.partition("=")[0] for each in given] == (["web.context"] if apart else [])
    assert bool(list(note_folders(request, both))) == apart


SAVED = ("--cache-from", "type=registry,ref=r:a"), ("--cache-to", "type=registry,ref=r:b")


def test_a_run_that_saves_leaves_nothing_else_behind(base: Prepared) -> None:
    """It makes no output, no tag and no other cache, whatever the caller sets of these."""
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
    command = repeat_target(request, {"api": api}, baking(base, api), Saving(SAVED, METADATA))
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


def test_a_run_that_saves_one_platform_builds_for_no_other(base: Prepared) -> None:
    """Nor for those of the caller's own `--set`, since such are added up."""
    api = target("api", platforms=["linux/amd64", "linux/arm64"])
    request = ask(base, sets=("api.platform=linux/s390x", "*.args.A=1"))
    saving = Saving((), METADATA, "linux/arm64")
    command = repeat_target(request, {"api": api}, baking(base, api), saving)
    sets = [each for each in command.arguments if "platform" in each or "args" in each]
    assert sets == ["*.args.A=1", "api.platform=linux/arm64"]


def test_a_run_that_saves_bakes_what_its_target_needs(base: Prepared) -> None:
    """The layers that these make are told for them alone, so they are listed, itself the last."""
    targets = {"base": target("base"), "app": target("app", contexts={"x": "target:base"})}
    command = repeat_target(ask(base), targets, baking(base, targets["app"]), Saving((), METADATA))
    assert command.arguments[-1] == "app"
    assert command.targets == ("base", "app")


@pytest.mark.parametrize(
    ("folder", "name", "told", "scope"),
    [
        (".", "api", {}, "api.linux-amd64.main"),
        ("services", "api", {}, "services_api.linux-amd64.main"),
        ("a/b", "api", {}, "a_b_api.linux-amd64.main"),
        # What a target builds is its own matter: the scope is the target.
        (".", "api", {"target": "site"}, "api.linux-amd64.main"),
        (".", "api", {"platforms": ["linux/arm64"]}, "api.linux-arm64.main"),
    ],
)
def test_a_target_has_a_scope_of_its_own(
    base: Prepared, folder: str, name: str, told: dict[str, Any], scope: str
) -> None:
    """Named by it, from the project's top folder: each folder can have a bake file."""
    directory = base.request.directory / folder
    base = replace(base, request=replace(base.request, directory=directory))
    found = prepare_target(base, ask(base), target(name, **told)).scope
    # What no tag can spell is replaced, and gets a hash.
    parts = found.name.split(".")
    assert ".".join([parts[0].partition("-")[0], *parts[1:]]) == scope


def test_a_target_is_built_as_bake_says(base: Prepared) -> None:
    """With what the caller says for all targets."""
    told = target("api", context="app", args={"A": "1"}, tags=["x"])
    request = ask(base, options={"no_cache": True, "push": True})
    settings = prepare_target(base, request, told).setup.config.build
    assert (settings.context, settings.build_args, settings.tags) == ("app", {"A": "1"}, ("x",))
    assert (settings.no_cache, settings.push) == (True, True)
    plain = prepare_target(base, ask(base), target("api", no_cache=True)).setup.config.build
    assert (plain.no_cache, plain.push) == (True, False)


def test_each_target_has_a_name_and_a_folder_of_its_own(base: Prepared) -> None:
    """So that no two of them stage to one place."""
    prepared = [prepare_target(base, ask(base), target(name)) for name in ("api", "web")]
    assert len({each.name for each in (base, *prepared)}) == 3
    assert len({each.folder for each in (base, *prepared)}) == 3


def test_a_target_that_exports_a_cache_is_left_alone(base: Prepared) -> None:
    """Nothing is looked up, imported or saved for it, and it is said."""
    told = target("api", cache_to=["type=inline"])
    prepared = prepare_target(base, ask(base), told)
    assert (prepared.backends, prepared.candidates, prepared.trust.writes) == ((), (), False)
    plan = plan_target(told, prepared)
    assert (plan.uses, plan.saves) == ((), ())
    assert plan.notes == ("it has a `cache-to` of its own; its caches are left to bake",)


@pytest.mark.parametrize(("args", "asked"), [({}, True), ({"BUILDKIT_INLINE_CACHE": "1"}, False)])
def test_an_inline_cache_is_asked_for_once(
    base: Prepared,
    args: dict[str, str],
    asked: bool,  # noqa: FBT001
) -> None:
    """For that build argument buildx asks by itself."""
    told = target("api", args=args)
    prepared = prepare_target(base, ask(base), told)
    use = CacheUse(EXPORT, make_local(), "r/app", prepared.scope.name, (("type", "inline"),), "why")
    baking = Baking(told, prepared, BuildPlan(prepared.scope, saves=(Save(use),)))
    words = render_bake(ask(base), base, Path("m.json"), [baking])
    assert ("api.cache-to=type=inline" in words) == asked


def test_what_a_target_imports_by_itself_is_said(base: Prepared, store: Store) -> None:
    """Where a cache of ours is imported too."""
    told = target("api", cache_from=["type=local,src=c"])
    prepared = prepare_target(base, ask(base), told)
    note = "it has a `cache-from` of its own, which is imported too"
    open_backends(prepared, None)
    assert note not in plan_target(told, prepared).notes
    build(store, prepared.scope.name, b"x")
    open_backends(prepared, None)
    assert note in plan_target(told, prepared).notes


def test_build_arguments_are_told_as_a_command_has_them() -> None:
    """One without a value has that of the environment."""
    told = target("api", args={"A": "1", "B": None, "C": ""})
    assert describe_arguments(told) == (
        *("--build-arg", "A=1", "--build-arg", "B", "--build-arg", "C="),
    )


class Asked(Docker):
    """Answers `bake --print`, and keeps what it was asked."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(("docker",))
        self.answer, self.words = answer, [""]

    def print_bake(self, arguments: Any, directory: Path, environment: Any = None) -> Answer:  # noqa: ANN401, ARG002
        self.words = list(arguments)
        return self.answer


def test_targets_are_asked_for_as_they_will_be_baked(base: Prepared) -> None:
    """With the same files, values and further arguments."""
    docker = Asked(Answer(0, '{"target": {"api": {}, "web": {}}}', ""))
    request = ask(base, targets=("api",), files=("a.hcl",), sets=("a.b=c",), extra=("--x",))
    assert sorted(read_targets(request, docker)) == ["api", "web"]
    assert docker.words == ["--file", "a.hcl", "--set", "a.b=c", "--x", "api"]


@pytest.mark.parametrize(
    ("extra", "question"),
    [
        ((), ""),
        (("--print",), "--print"),
        (("--allow", "network.host", "--print"), "--print"),
        (("--list=targets",), "--list"),
        (("--list", "variables"), "--list"),
        (("--list-targets",), "--list-targets"),
        (("--check",), "--check"),
        (("--call=outline",), "--call"),
        (("--call", "outline"), "--call"),
        (("--call=build",), ""),
        (("--call", "build"), ""),
        (("--print=false",), ""),
        (("--set", "*.args.A=--print", "--push"), ""),
    ],
)
def test_a_question_is_not_built(base: Prepared, extra: tuple[str, ...], question: str) -> None:
    """It is refused before docker is asked, in words that say what to do."""
    docker = Asked(Answer(0, '{"target": {"api": {}}}', ""))
    request = ask(base, extra=extra)
    assert find_question(extra) == question
    if not question:
        assert list(read_targets(request, docker)) == ["api"]
        return
    with pytest.raises(ConfigError, match=question) as caught:
        read_targets(request, docker)
    assert "`docker buildx bake` answers it" in caught.value.hint
    assert docker.words == [""]


def test_a_question_is_asked_as_it_would_be_baked(base: Prepared) -> None:
    """With the same files, values and flags, and no cache."""
    request = ask(
        base,
        targets=("api",),
        files=("a.hcl",),
        sets=("a.b=c",),
        options={"pull": True},
        extra=("--print",),
    )
    assert list(render_question(request, base.setup, "plain")) == [
        *("buildx", "bake", "--progress", "plain", "--file", "a.hcl", "--set", "a.b=c"),
        *("--pull", "--print", "api"),
    ]


@pytest.mark.parametrize(
    ("extra", "again"),
    [
        ((), True),
        (("--allow", "network.host"), True),
        (("--allow=fs.read=/srv", "-D", "--debug"), True),
        # No layer is another one with it.
        (("--provenance=false", "--sbom", "true"), True),
        # It would be written again, without the image's digest.
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
def test_what_is_passed_on_is_judged(
    base: Prepared,
    extra: tuple[str, ...],
    again: bool,  # noqa: FBT001
) -> None:
    """With words of the caller's own of unknown effect no run repeats the bake."""
    told = target("api", shm_size="1g")
    prepared = prepare_target(base, ask(base, extra=extra), told)
    judged = prepared.request.extra
    settings = prepared.setup.config.build
    assert can_repeat(settings, judged) == again
    assert (not explain_unbaked(settings, judged)) == again
    # What bake may do is not said of the stages that are baked on their own.
    assert not again or judged == ("--shm-size", "1g")


REFUSALS = [
    ("", "docker did not say why"),
    ("ERROR: failed to find target nope\n", "failed to find target nope"),
    ("a.hcl:1\n 1 | target\n---\nERROR: a.hcl:1,1: Unclosed\n\n", "a.hcl:1,1: Unclosed"),
    ("unknown flag: --x\n\nUsage:  docker buildx bake\n\nRun '--help'\n", "unknown flag: --x"),
    ("WARNING: old\nERROR: first\nERROR: last\n", "last"),
]


@pytest.mark.parametrize(("said", "why"), REFUSALS)
def test_bakes_own_words_tell_what_is_wrong(base: Prepared, said: str, why: str) -> None:
    """Its error, not what it says around it."""
    with pytest.raises(ConfigError) as caught:
        read_targets(ask(base), Asked(Answer(1, "", said)))
    [problem] = caught.value.problems
    assert str(problem) == f"docker buildx bake: {why}"


@pytest.mark.parametrize("shown", ["", "nonsense", "{}"])
def test_what_is_not_understood_is_told(base: Prepared, shown: str) -> None:
    """It is no bug of bxcache's own."""
    with pytest.raises(ConfigError, match="what `--print` shows is not understood"):
        read_targets(ask(base), Asked(Answer(0, shown, "")))


def test_standard_input_can_be_read_only_once(base: Prepared) -> None:
    """It is refused before anything is asked."""
    docker = Asked(Answer(0, '{"target": {}}', ""))
    with pytest.raises(ConfigError, match="`-` can be read only once"):
        read_targets(ask(base, files=("a.hcl", "-")), docker)
    assert docker.words == [""]
