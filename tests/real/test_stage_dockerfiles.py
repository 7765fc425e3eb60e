"""Stages of Dockerfiles of all kinds are pushed as images, and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engines import load_busybox
from tests.real.conftest import MakeMachine
from tests.real.fleet import push
from tests.real.kills import prune
from tests.real.machines import count
from tests.real.stages import SAVED, SCOPE, STAGES, UNCHANGED, Shelf, told
from tests.support.sampling import more


@pytest.fixture
def bare(project: Path) -> Path:
    """The project with only its first stage, to which tests add others."""
    dockerfile = project / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().partition("FROM base AS deps")[0])
    return project


def extend(project: Path, text: str) -> None:
    with (project / "Dockerfile").open("a") as dockerfile:
        dockerfile.write(text)


def build_twice(
    machines: MakeMachine, shelf: Shelf, project: Path, *words: str, kind: str = "classic"
) -> dict[str, Any]:
    """Build on two fresh machines, and check that the second one executes and saves nothing."""
    cold = machines(kind).build(*shelf.backend(), *words, folder=project)
    assert (told(cold), cold["warnings"]) == (SAVED, [])
    warm = machines(kind).build(*shelf.backend(), *words, folder=project)
    assert (count(warm), told(warm)) == ((sum(count(cold)), 0), UNCHANGED)
    return warm


def test_stages_without_names_are_pushed_too(
    machines: MakeMachine, shelf: Shelf, bare: Path
) -> None:
    """Stages without names are pushed too, and history shows them under docker's names.

    Stages are used by number, a base's name follows a comment, and one stage has the name that
    docker shows for another.
    """
    extend(
        bare,
        "FROM base\nRUN echo base > /one\n"
        "FROM \\\n# not the base\n  base\nRUN echo base > /two\n"
        "FROM base AS stage-1\nRUN echo three > /three\n"
        "FROM base\nCOPY --from=1 /one /one\nCOPY --from=2 /two /two\n"
        "COPY --from=3 /three /three\n",
    )
    build_twice(machines, shelf, bare)
    assert shelf.stages() == {"base", "stage-1-0", "stage-1", "stage-2", "stage-4"}
    assert (bare / "Dockerfile").read_text().count(" AS ") == 2
    told = machines("classic").run("history", "--json", "--from", shelf.ref, folder=bare).out
    stages = [stage["name"] for stage in json.loads(told)["stages"]]
    assert stages == ["base", "stage-1", "stage-2", "stage-1", "stage-4"]


@pytest.mark.parametrize("kind", ["classic", "docker"])
def test_a_stage_inserted_in_front_keeps_images_apart(
    kind: str, machines: MakeMachine, shelf: Shelf, bare: Path
) -> None:
    """Unnamed stages are named by position, and each has its own layers after a reordering."""
    start = (bare / "Dockerfile").read_text()
    one, two = (f"FROM base\nRUN echo {name} > /{name}\n" for name in ("one", "two"))
    last = "FROM base\nCOPY --from=1 /{} /x\nCOPY --from=2 /{} /y\n"
    extend(bare, one + two + last.format("one", "two"))
    machines(kind).build(*shelf.backend(), folder=bare)
    of_one, of_two = (shelf.diff_ids(f"{SCOPE}.{stage}") for stage in ("stage-1", "stage-2"))
    (bare / "Dockerfile").write_text(start + two + one + last.format("two", "one"))
    swapped = machines(kind).build(*shelf.backend(), folder=bare)
    assert swapped["warnings"] == []
    assert shelf.diff_ids(f"{SCOPE}.stage-1") == of_two
    assert shelf.diff_ids(f"{SCOPE}.stage-2") == of_one
    new = "FROM base\nRUN echo new > /new\nFROM base\nCOPY --from=1 /new /new\n"
    (bare / "Dockerfile").write_text(
        start + new + two + one + last.replace("1", "4").format("one", "new")
    )
    built = machines(kind).build(*shelf.backend(), folder=bare)
    again = machines(kind).build(*shelf.backend(), folder=bare)
    assert (count(again), told(again)) == ((sum(count(built)), 0), UNCHANGED)


@pytest.mark.parametrize("kind", ["oldest-classic", *more("classic")])
def test_change_after_change_executes_only_what_changed(
    kind: str, machines: MakeMachine, shelf: Shelf, bare: Path
) -> None:
    """However often a cache is written from what was read, no stage loses its first steps."""
    machine = machines(kind)
    load_busybox(machine.engine)
    (bare / "Dockerfile").write_text(
        "FROM busybox AS build\nWORKDIR /work\nRUN echo tools > /tools\n"
        "COPY src /src\nRUN cat /src/* > /out\n"
        "FROM busybox\nRUN echo last > /last\nCOPY --from=build /out /out\n",
    )
    counts = []
    for number in range(4):
        (bare / "src" / "main.c").write_text(f"// {number}\n")
        prune(machine)
        counts.append(count(machine.build(*shelf.backend(), folder=bare)))
    # Two steps of build and one of the last stage come before the change.
    assert counts == [(0, 6), (3, 3), (3, 3), (3, 3)]


def test_an_old_bake_that_cannot_save_stages_is_named(
    machines: MakeMachine, shelf: Shelf, bare: Path
) -> None:
    """If buildx cannot push stages with an entitlement, the warning names it, not the registry."""
    words = ("--allow", "network.host", *shelf.backend())
    built = machines("oldest-classic").build(*words, folder=bare)
    (warning,) = built["warnings"]
    assert warning.startswith(f"the stages are not saved to `{shelf.ref}:")
    assert "bake of buildx before 0.17 cannot grant what `--allow` allows" in warning


@pytest.mark.parametrize(
    ("words", "unneeded"), [((), "small"), (("--build-arg", "KIND=small"), "full")]
)
def test_a_stage_that_a_variable_names_is_needed(
    words: tuple[str, ...], unneeded: str, machines: MakeMachine, shelf: Shelf, bare: Path
) -> None:
    """A stage that a variable names is saved and in the history; the other one is not built."""
    text = (bare / "Dockerfile").read_text()
    stages = "".join(
        f"FROM base AS {name}\nRUN echo {name} > /kind\n" for name in ("small", "full")
    )
    last = "FROM ${KIND} AS last\nRUN echo last > /last\n"
    (bare / "Dockerfile").write_text(f"ARG KIND=full\n{text}{stages}{last}")
    line = ("build", "--network", "none", *shelf.backend(), *words)
    said = machines("classic").run(*line, folder=bare).err
    assert f"not built, and so not saved, as nothing needs them: `{unneeded}`\n" in said
    assert shelf.stages() == {"base", "small", "full", "last"} - {unneeded}
    told = machines("classic").run("history", "--json", "--from", shelf.ref, folder=bare).out
    needed = [stage["name"] for stage in json.loads(told)["stages"] if stage["needed"]]
    assert set(needed) == shelf.stages()


ODD = ["from", "context", "all", "as", "copy", "stage-0", "v1.2", "a_b", "bxcache", "final"]


def test_stages_may_have_any_name(machines: MakeMachine, shelf: Shelf, bare: Path) -> None:
    """A stage may be named like a keyword, an unnamed stage or the label, or contain dots."""
    names = ["base", *ODD]
    stages = [
        f"FROM base AS {name}\nCOPY --from={below} /bin/busybox /{name}\n"
        for below, name in zip(names, ODD, strict=False)
    ]
    extend(bare, "".join(stages))
    build_twice(machines, shelf, bare)
    assert len(shelf.stages()) == len(names)


def test_a_stage_that_nothing_needs_is_not_built(
    machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """A stage that nothing needs is not built, and a message names it."""
    words = ("build", "--network", "none", *shelf.backend())
    said = machines("classic").run(*words, folder=project).err
    assert "not built, and so not saved, as nothing needs them: `check`" in said
    assert shelf.stages() == STAGES


@pytest.mark.parametrize(
    "text", ["FROM base AS last\nRUNN x\n", "FROM base AS last\nRUN exit 3\n", "FROM BASE:X:Y\n"]
)
def test_a_build_that_fails_pushes_nothing(
    text: str, machines: MakeMachine, shelf: Shelf, bare: Path
) -> None:
    """A build that fails ends with docker's error and pushes nothing."""
    extend(bare, text)
    machines("classic").build(*shelf.backend(), folder=bare, status=1)
    assert shelf.registry.ask("GET", f"/v2/{shelf.name}/tags/list").status == 404


def test_a_target_that_is_not_the_last_stage(
    machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """A target and the stages that it needs are pushed to a scope of their own."""
    build_twice(machines, shelf, project, "--target", "deps")
    scope = SCOPE.replace("image", "image.deps")
    assert shelf.stages(scope) == {"base", "deps"}
    assert shelf.stages() == set()


# No step is the same on both platforms: BuildKit merges those, and then misses now and then.
COPYING = """\
FROM scratch AS files
ARG TARGETARCH
COPY ${TARGETARCH} /arch
FROM files AS named
COPY deps.txt /deps.txt
FROM named
COPY src /src
"""


@pytest.mark.parametrize("kind", ["docker", "docker-container"])
def test_two_platforms(kind: str, machines: MakeMachine, shelf: Shelf, project: Path) -> None:
    """The image of each stage has both platforms, and so has the scope's image."""
    (project / "Dockerfile").write_text(COPYING)
    platforms = ("linux/amd64", "linux/arm64")
    for platform in platforms:
        (project / platform.partition("/")[2]).write_text(platform)
    words = ("--platform", ",".join(platforms), "-o", "type=cacheonly")
    warm = build_twice(machines, shelf, project, *words, kind=kind)
    assert {step["platform"] for step in warm["steps"]} == set(platforms)
    scope = "image.linux-amd64_linux-arm64.no-branch"
    assert shelf.stages(scope) == {"files", "named", "stage-2"}
    index = shelf.manifest(f"{scope}.named")
    found = {f"{p['os']}/{p['architecture']}" for p in (m["platform"] for m in index["manifests"])}
    assert found == set(platforms)


VALUES = ["${X}", "$${X}", "%{if}", "%%{ if }", "a b\"c'\\d", "$", "é", "a=b,c", " ", "${"]


def test_build_arguments_arrive_unchanged(machines: MakeMachine, shelf: Shelf, bare: Path) -> None:
    """Build arguments with any character, or from the environment, arrive in every stage."""
    numbered = [(f"A{number}", value) for number, value in enumerate(VALUES)]
    lines = [f'ARG {name}\nRUN printf %s "${name}" > /{name}\n' for name, _ in numbered]
    extend(bare, "FROM base AS args\n" + "".join(lines) + "FROM args\nCOPY deps.txt /again\n")
    words = [word for pair in numbered[1:] for word in ("--build-arg", "=".join(pair))]
    backend = (*shelf.backend(), "--build-arg", "A0", *words)
    cold = machines("classic").build(*backend, folder=bare, A0=VALUES[0])
    assert (told(cold), cold["warnings"]) == (SAVED, [])
    warm = machines("classic").build(*backend, folder=bare, A0=VALUES[0])
    assert (told(warm), warm["warnings"]) == (UNCHANGED, [])
    assert count(warm) == (cold["counts"]["executed"], 0)


@pytest.mark.parametrize("name", [".dockerignore", "Dockerfile.dockerignore"])
def test_ignore_files_apply_to_every_stage(
    name: str, machines: MakeMachine, shelf: Shelf, bare: Path
) -> None:
    """Ignore files apply to unnamed stages too, which a copy of the Dockerfile builds."""
    (bare / name).write_text("secret*\n")
    (bare / "secret.txt").write_text("1")
    extend(bare, "FROM base\nCOPY . /all\nFROM base\nCOPY --from=1 /all /all\n")
    cold = machines("classic").build(*shelf.backend(), folder=bare)
    assert (told(cold), cold["warnings"]) == (SAVED, [])
    assert shelf.stages() == {"base", "stage-1", "stage-2"}
    (bare / "secret.txt").write_text("2")
    warm = machines("classic").build(*shelf.backend(), folder=bare)
    assert (told(warm), warm["warnings"]) == (UNCHANGED, [])


def test_named_contexts_can_replace_stages(
    machines: MakeMachine, shelf: Shelf, bare: Path, tmp_path: Path
) -> None:
    """A named context can replace a stage, which is then not pushed."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes").write_text("of the other context\n")
    extend(
        bare,
        "FROM base AS replaced\nRUN echo no > /notes\n"
        "FROM base AS middle\nCOPY --from=replaced /notes /\n"
        "FROM base\nCOPY --from=middle /notes /\n",
    )
    build_twice(machines, shelf, bare, "--build-context", f"replaced={other}")
    assert shelf.stages() == {"base", "middle", "stage-3"}


def test_a_dockerfile_elsewhere_and_a_context_elsewhere(
    machines: MakeMachine, shelf: Shelf, bare: Path
) -> None:
    """The Dockerfile and the context are relative to the working directory, as for docker."""
    folder = bare / "docker"
    folder.mkdir()
    extend(bare, "FROM base\nCOPY deps.txt /\nFROM base\nCOPY --from=1 /deps.txt /\n")
    (bare / "Dockerfile").rename(folder / "app.Dockerfile")
    words = (*shelf.backend(), "--file", "../docker/app.Dockerfile", "..")
    (bare / "src" / "deeper").mkdir()
    for kind, expected in (("classic", SAVED), ("classic", UNCHANGED)):
        built = machines(kind).build(*words, folder=bare / "src")
        assert (told(built), built["warnings"]) == (expected, [])


def test_a_single_stage_is_pushed_as_an_image(
    machines: MakeMachine, shelf: Shelf, bare: Path, tmp_path: Path
) -> None:
    """The only stage of a Dockerfile, which BuildKit does not name, is pushed on each branch."""
    build_twice(machines, shelf, bare)
    assert shelf.stages() == {"base"}
    main, topic = (SCOPE.replace("no-branch", name) for name in ("main", "topic"))
    for name in ("main", "topic"):
        event = push(name, tmp_path / name)
        machines("classic").build(*shelf.backend(), folder=bare, **event)
    assert shelf.stages(main) == shelf.stages(topic) == {"base"}


def test_an_image_without_layers_saves_nothing(
    machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """An image without a step has nothing to save, and that causes no warning."""
    (project / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    built = machines("docker").build(*shelf.backend(), folder=project)
    assert built["warnings"] == []
    assert not built["caches"] or not built["caches"][0]["exported"]
