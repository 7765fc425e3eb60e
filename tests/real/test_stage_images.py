"""Every stage as an image with an inline cache, and all of them read back as one."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.faults import (
    BROKEN,
    BROKEN_HALFWAY,
    FORBIDDEN,
    Cut,
    Fault,
    Rule,
    Stall,
    Vanish,
    writing_blobs,
    writing_manifests,
)
from tests.listening import listen, read_transfers
from tests.real.conftest import STEPS, MakeMachine
from tests.real.fleet import FORK, pull, push
from tests.real.machines import count
from tests.real.stages import SCOPE, Shelf

if TYPE_CHECKING:
    from tests.engines import Registry
    from tests.engines.proxy import FaultyProxy

STAGES = {"base", "deps", "build", "stage-4"}
"""Those of the project that feed its image; the last has no name."""
KINDS = ["classic", "docker", "docker-container", "remote"]


@pytest.fixture
def shelf(registry: Registry, tmp_path: Path) -> Shelf:
    """A repository of the test's own."""
    return Shelf.of(registry, tmp_path)


def told(built: dict[str, Any]) -> tuple[bool, bool, bool, bool]:
    """Whether the one cache was read, saved, found unchanged, had by another name."""
    (cache,) = built["caches"]
    return cache["imported"], cache["exported"], cache["unchanged"], cache["aliased"]


SAVED, UNCHANGED = (False, True, False, False), (True, False, True, False)


@pytest.mark.parametrize(
    ("first", "second"),
    [*zip(KINDS, KINDS, strict=True), ("classic", "docker-container"), ("docker", "classic")],
)
def test_a_fresh_machine_reuses_every_stage(
    first: str, second: str, machines: MakeMachine, shelf: Shelf, project: Path, tmp_path: Path
) -> None:
    """Also those that the image does not hold: a random file of one comes out the same. Then there
    is nothing to push."""
    outputs = [("-o", f"type=local,dest={tmp_path / name}") for name in "ab"]
    cold = machines(first).build(*shelf.backend(), *outputs[0], folder=project)
    assert (count(cold), told(cold), cold["warnings"]) == ((0, STEPS), SAVED, [])
    before = shelf.tags()
    assert before.keys() == {SCOPE, *(f"{SCOPE}.{stage}" for stage in STAGES)}
    assert before[SCOPE] == cold["caches"][0]["digest"]
    warm = machines(second).build(*shelf.backend(), *outputs[1], folder=project)
    assert (count(warm), told(warm), warm["warnings"]) == ((STEPS, 0), UNCHANGED, [])
    assert shelf.tags() == before
    one, other = (tmp_path / name / "app" / "app" for name in "ab")
    assert one.read_bytes() == other.read_bytes()


def test_plain_docker_reuses_every_stage_from_the_one_image(
    machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """Without bxcache, by one flag."""
    machines("classic").build(*shelf.backend(), folder=project)
    source = f"type=registry,ref={shelf.ref}:{SCOPE}"
    assert len(machines("classic").list_cached(source, project)) == STEPS


@pytest.mark.parametrize("kind", ["classic", "docker"])
def test_only_what_changed_is_pushed(
    kind: str, machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """The other stages keep their digests, and no manifest is put under their tags again."""
    machines(kind).build(*shelf.backend(), folder=project)
    before = shelf.tags()
    (project / "src" / "main.c").write_text("// another one\n")
    asked = len(shelf.registry.requests())
    built = machines(kind).build(*shelf.backend(), folder=project)
    # COPY and both RUN of build, less the COPY from deps, and both of the last stage.
    assert (count(built), told(built)) == ((STEPS - 5, 5), (True, True, False, False))
    changed = {SCOPE, f"{SCOPE}.build", f"{SCOPE}.stage-4"}
    after = shelf.tags()
    assert {tag for tag in after if after[tag] != before[tag]} == changed
    put = {
        request.path.rpartition("/")[2]
        for request in shelf.registry.requests(asked)
        if request.method == "PUT" and f"/{shelf.name}/manifests/" in request.path
    }
    assert {tag for tag in put if ":" not in tag} == {*changed, f"{SCOPE}.bxcache"}
    again = machines(kind).build(*shelf.backend(), folder=project)
    assert (count(again), told(again)) == ((STEPS, 0), UNCHANGED)


@pytest.mark.parametrize("kind", ["classic", "docker"])
def test_the_image_of_a_stage_is_what_plain_docker_makes_of_it(
    kind: str, machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """The same files in the same layers, as `--target STAGE` gives; the last one as no target. The
    engine keeps none of them."""
    machine = machines(kind)
    machine.build(*shelf.backend(), folder=project)
    kept = machine.docker("image", "ls", "--format", "{{.Repository}}", folder=project)
    assert shelf.ref not in kept.stdout.split()
    for stage in STAGES:
        target = () if stage == "stage-4" else ("--target", stage)
        plain = Shelf(shelf.registry, f"{shelf.name}-plain", shelf.address)
        words = ("--provenance=false", "--tag", f"{plain.ref}:{stage}", "--push", ".")
        machine.raw(*target, *words, folder=project)
        assert shelf.diff_ids(f"{SCOPE}.{stage}") == plain.diff_ids(stage)


@pytest.mark.parametrize("kind", ["classic", "docker"])
def test_history_tells_the_layers_of_every_stage(
    kind: str, machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """From the registry alone: of each stage those that its image has, in their order, and of all
    together those that the one image has."""
    machine = machines(kind)
    machine.build(*shelf.backend(), folder=project)

    def history(*words: str) -> list[str]:
        return machine.run("history", "-q", "--from", shelf.ref, *words, folder=project).out.split()

    assert set(history()) == set(shelf.layers(SCOPE))
    for stage in STAGES:
        assert history("--stage", stage, "--chain") == shelf.layers(f"{SCOPE}.{stage}")
    document = json.loads(machine.run("history", "--json", "--from", shelf.ref, folder=project).out)
    listed = {layer["digest"] for stage in document["stages"] for layer in stage["layers"]}
    assert listed == set(shelf.layers(SCOPE))


def test_history_still_tells_them_when_some_were_not_pushed_again(
    machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """What was reused has the names that the registry knows too."""
    machines("classic").build(*shelf.backend(), folder=project)
    (project / "src" / "main.c").write_text("// another one\n")
    machine = machines("classic")
    machine.build(*shelf.backend(), folder=project)
    told = machine.run("history", "-q", "--from", shelf.ref, folder=project).out.split()
    assert set(told) == set(shelf.layers(SCOPE))


def test_a_branch_starts_from_the_default_branch(
    machines: MakeMachine, shelf: Shelf, project: Path, tmp_path: Path
) -> None:
    """Unchanged, all its tags are copied and nothing is uploaded; changed, it pushes its own."""
    main, topic = (SCOPE.replace("no-branch", name) for name in ("main", "topic"))
    machines("classic").build(*shelf.backend(), folder=project, **push("main", tmp_path / "m"))
    before = shelf.tags()
    event = push("topic", tmp_path / "t")
    built = machines("classic").build(*shelf.backend(), folder=project, **event)
    assert count(built) == (STEPS, 0)
    assert next(each["aliased"] for each in built["caches"] if each["scope"] == topic)
    copied = {tag.replace(main, topic): digest for tag, digest in before.items()}
    assert shelf.tags() == {**before, **copied}
    (project / "src" / "main.c").write_text("// another one\n")
    machines("classic").build(*shelf.backend(), folder=project, **event)
    after = shelf.tags()
    assert {tag: after[tag] for tag in before} == before
    changed = {topic, f"{topic}.build", f"{topic}.stage-4"}
    assert {tag for tag in copied if after[tag] != copied[tag]} == changed


def test_a_new_branch_with_a_change_has_every_stage(
    machines: MakeMachine, shelf: Shelf, project: Path, tmp_path: Path
) -> None:
    """What did not change is copied from the branch that it started from."""
    main, topic = (SCOPE.replace("no-branch", name) for name in ("main", "topic"))
    machines("classic").build(*shelf.backend(), folder=project, **push("main", tmp_path / "m"))
    (project / "src" / "main.c").write_text("// another one\n")
    event = push("topic", tmp_path / "t")
    machines("classic").build(*shelf.backend(), folder=project, **event)
    tags = shelf.tags()
    assert shelf.stages(topic) == STAGES
    same = {stage for stage in STAGES if tags[f"{main}.{stage}"] == tags[f"{topic}.{stage}"]}
    assert same == {"base", "deps"}
    assert count(machines("classic").build(*shelf.backend(), folder=project, **event)) == (STEPS, 0)


def test_a_fork_pushes_nothing(
    machines: MakeMachine, shelf: Shelf, project: Path, tmp_path: Path
) -> None:
    """It reads what there is."""
    machine = machines("classic")
    machine.build(*shelf.backend(), folder=project, **push("main", tmp_path / "m"))
    before = shelf.tags()
    (project / "src" / "main.c").write_text("// a stranger's\n")
    asked = len(shelf.registry.requests())
    event = pull("main", tmp_path / "f", head=FORK)
    built = machines("classic").build(*shelf.backend(), folder=project, **event)
    assert (count(built), built["warnings"]) == ((STEPS - 5, 5), [])
    assert shelf.tags() == before
    assert {request.method for request in shelf.registry.requests(asked)} <= {"GET", "HEAD"}


# A registry in trouble.


@pytest.fixture
def faulty(registry: Registry, proxy: FaultyProxy, tmp_path: Path) -> Shelf:
    """The repository behind the proxy."""
    return Shelf.of(registry, tmp_path, proxy.address)


FAULTS: dict[str, tuple[Fault, Rule]] = {
    "500 for a blob": (BROKEN_HALFWAY, writing_blobs()),
    "403 for a blob": (FORBIDDEN, writing_blobs()),
    "500 for a manifest": (BROKEN, writing_manifests()),
    "cut at a manifest": (Cut(), writing_manifests()),
    "500 for the one image": (BROKEN, Rule("PUT", re.compile(rf"/manifests/{SCOPE}$"))),
    "gone at a manifest": (Vanish(), writing_manifests()),
    "stall at a manifest": (Stall(), writing_manifests()),
}


@pytest.mark.parametrize(("fault", "rule"), FAULTS.values(), ids=FAULTS)
def test_a_push_that_fails_costs_a_warning(
    fault: Fault,
    rule: Rule,
    machines: MakeMachine,
    faulty: Shelf,
    proxy: FaultyProxy,
    project: Path,
) -> None:
    """The image is built, what was saved before is read as before, and the next build saves."""
    source = project / "src" / "main.c"
    machine = machines("classic")
    machine.build(*faulty.backend(), folder=project)
    before, text = faulty.tags()[SCOPE], source.read_text()
    source.write_text("// another one\n")
    proxy.fail(fault=fault, matching=rule)
    built = machine.build(*faulty.backend(timeout="8s"), "--load", folder=project)
    (warning,) = built["warnings"]
    assert f"`{proxy.address}`" in warning
    assert built["image"]["digest"]
    assert told(built) == (True, False, False, False)
    proxy.heal()
    assert faulty.tags()[SCOPE] == before
    source.write_text(text)
    reader = machines("classic").build(*faulty.backend(), "--write", "never", folder=project)
    assert (count(reader), reader["warnings"]) == ((STEPS, 0), [])
    source.write_text("// another one\n")
    again = machine.build(*faulty.backend(), folder=project)
    assert (again["warnings"], again["caches"][0]["exported"]) == ([], True)
    assert count(machines("classic").build(*faulty.backend(), folder=project)) == (STEPS, 0)


def test_strict_fails_when_the_stages_are_not_saved(
    machines: MakeMachine, faulty: Shelf, proxy: FaultyProxy, project: Path
) -> None:
    """After the image was built, with the registry's error."""
    proxy.fail(fault=BROKEN, matching=writing_manifests())
    built = machines("classic").build(*faulty.backend(), "--strict", folder=project, status=75)
    assert built["exit_status"] == 0
    assert "500" in " ".join(built["warnings"])


def test_a_registry_that_lets_nobody_in_says_how_to_log_in(
    machines: MakeMachine, private_registry: Registry, project: Path, tmp_path: Path
) -> None:
    """And the build succeeds."""
    shelf = Shelf.of(private_registry, tmp_path)
    built = machines("classic").build(*shelf.backend(), folder=project)
    assert count(built) == (0, STEPS)
    (warning,) = built["warnings"]
    assert f"`docker login {private_registry.address}`" in warning


def processes(mark: str) -> list[str]:
    """The command lines of the processes that have a text in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return found


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_push_that_is_stopped_leaves_nothing_behind(
    sent: signal.Signals,
    machines: MakeMachine,
    faulty: Shelf,
    proxy: FaultyProxy,
    project: Path,
    tmp_path: Path,
) -> None:
    """No process, no file; what was saved before is read as before."""
    machine = machines("classic")
    machine.build(*faulty.backend(), folder=project)
    before = faulty.tags()[SCOPE]
    (project / "src" / "main.c").write_text("// another one\n")
    rule = Rule("PUT", re.compile(rf"/{faulty.name}/manifests/"))
    proxy.fail(fault=Stall(), matching=rule)
    seen = len(proxy.requests)
    folder = tmp_path / "tmp"
    folder.mkdir()
    words = ("build", "--network", "none", *faulty.backend())
    with machine.start(*words, folder=project, TMPDIR=str(folder)) as process:
        proxy.wait_for(rule, after=seen)
        process.send_signal(sent)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert list(folder.iterdir()) == []
    assert processes(f"TMPDIR={folder}") == []
    proxy.heal()
    assert faulty.tags()[SCOPE] == before


@pytest.mark.parametrize("fails", [False, True])
def test_a_build_leaves_nothing_behind(
    fails: bool,  # noqa: FBT001
    machines: MakeMachine,
    faulty: Shelf,
    proxy: FaultyProxy,
    project: Path,
    tmp_path: Path,
) -> None:
    """Whether or not its stages could be pushed."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    if fails:
        proxy.fail(fault=Stall(), matching=writing_manifests())
    words = (*faulty.backend(timeout="5s"), "--target", "build")
    machines("classic").build(*words, folder=project, TMPDIR=str(folder))
    assert list(folder.iterdir()) == []
    assert processes(f"TMPDIR={folder}") == []


# Dockerfiles of all kinds.


@pytest.fixture
def bare(project: Path) -> Path:
    """The project with its first stage alone, to write others behind it."""
    dockerfile = project / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().partition("FROM base AS deps")[0])
    return project


def extend(project: Path, text: str) -> None:
    with (project / "Dockerfile").open("a") as dockerfile:
        dockerfile.write(text)


def build_twice(
    machines: MakeMachine, shelf: Shelf, project: Path, *words: str, kind: str = "classic"
) -> dict[str, Any]:
    """Build on two fresh machines; the second executes nothing, and is told as it should be."""
    cold = machines(kind).build(*shelf.backend(), *words, folder=project)
    assert (told(cold), cold["warnings"]) == (SAVED, [])
    warm = machines(kind).build(*shelf.backend(), *words, folder=project)
    assert (count(warm), told(warm)) == ((sum(count(cold)), 0), UNCHANGED)
    return warm


def test_stages_without_names_are_pushed_too(
    machines: MakeMachine, shelf: Shelf, bare: Path
) -> None:
    """Used by their numbers; the name of a base goes on behind a comment, or stands in RUN. One is
    called as docker shows another; history has the names that docker shows."""
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
def test_a_stage_that_comes_in_front_takes_no_image_of_another(
    kind: str, machines: MakeMachine, shelf: Shelf, bare: Path
) -> None:
    """Stages without names are called by their places; each still has its own layers afterwards."""
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


@pytest.mark.parametrize(
    ("words", "unneeded"), [((), "small"), (("--build-arg", "KIND=small"), "full")]
)
def test_a_stage_that_a_variable_names_is_one_that_is_needed(
    words: tuple[str, ...], unneeded: str, machines: MakeMachine, shelf: Shelf, bare: Path
) -> None:
    """It is saved, and history has it as a part of the build; the other one is not built."""
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


def test_stages_may_be_called_anything(machines: MakeMachine, shelf: Shelf, bare: Path) -> None:
    """Keywords, dots, what looks like a number's name, what the label is called."""
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
    """And it is said so."""
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
    """docker's error is the error."""
    extend(bare, text)
    machines("classic").build(*shelf.backend(), folder=bare, status=1)
    assert shelf.registry.ask("GET", f"/v2/{shelf.name}/tags/list").status == 404


def test_a_target_that_is_not_the_last_stage(
    machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """It and what it needs are pushed, to a scope of its own."""
    build_twice(machines, shelf, project, "--target", "deps")
    scope = SCOPE.replace("image", "image.deps")
    assert shelf.stages(scope) == {"base", "deps"}
    assert shelf.stages() == set()


COPYING = """\
FROM scratch AS files
COPY deps.txt /deps.txt
FROM files AS named
ARG TARGETARCH
COPY ${TARGETARCH} /arch
FROM named
COPY src /src
"""


@pytest.mark.parametrize("kind", ["docker", "docker-container"])
def test_two_platforms(kind: str, machines: MakeMachine, shelf: Shelf, project: Path) -> None:
    """One image of a stage has both, and so has the one image."""
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


def test_build_arguments_arrive_as_they_are(
    machines: MakeMachine, shelf: Shelf, bare: Path
) -> None:
    """With any sign in them, and those that the environment has; else every stage would differ."""
    numbered = [(f"A{number}", value) for number, value in enumerate(VALUES)]
    lines = [f'ARG {name}\nRUN printf %s "${name}" > /{name}\n' for name, _ in numbered]
    extend(bare, "FROM base AS args\n" + "".join(lines) + "FROM args\nCOPY deps.txt /again\n")
    words = [word for pair in numbered[1:] for word in ("--build-arg", "=".join(pair))]
    backend = (*shelf.backend(), "--build-arg", "A0", *words)
    cold = machines("classic").build(*backend, folder=bare, A0=VALUES[0])
    assert (told(cold), cold["warnings"]) == (SAVED, [])
    warm = machines("classic").build(*backend, folder=bare, A0=VALUES[0])
    assert (count(warm), told(warm)) == ((cold["counts"]["executed"], 0), UNCHANGED)


@pytest.mark.parametrize("name", [".dockerignore", "Dockerfile.dockerignore"])
def test_what_docker_ignores_is_ignored_for_every_stage(
    name: str, machines: MakeMachine, shelf: Shelf, bare: Path
) -> None:
    """Stages without names are built by a copy of the Dockerfile, which lies elsewhere."""
    (bare / name).write_text("secret*\n")
    (bare / "secret.txt").write_text("1")
    extend(bare, "FROM base\nCOPY . /all\nFROM base\nCOPY --from=1 /all /all\n")
    cold = machines("classic").build(*shelf.backend(), folder=bare)
    assert (told(cold), cold["warnings"]) == (SAVED, [])
    assert shelf.stages() == {"base", "stage-1", "stage-2"}
    (bare / "secret.txt").write_text("2")
    warm = machines("classic").build(*shelf.backend(), folder=bare)
    assert told(warm) == UNCHANGED


def test_named_contexts_are_the_stages_too(
    machines: MakeMachine, shelf: Shelf, bare: Path, tmp_path: Path
) -> None:
    """One of them in place of a stage, which is then not pushed."""
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
    """Both relative to the working directory, as for docker."""
    folder = bare / "docker"
    folder.mkdir()
    extend(bare, "FROM base\nCOPY deps.txt /\nFROM base\nCOPY --from=1 /deps.txt /\n")
    (bare / "Dockerfile").rename(folder / "app.Dockerfile")
    words = (*shelf.backend(), "--file", "../docker/app.Dockerfile", "..")
    (bare / "src" / "deeper").mkdir()
    for kind, expected in (("classic", SAVED), ("classic", UNCHANGED)):
        built = machines(kind).build(*words, folder=bare / "src")
        assert (told(built), built["warnings"]) == (expected, [])


def test_one_stage_is_one_image_and_the_one_image(
    machines: MakeMachine, shelf: Shelf, bare: Path, tmp_path: Path
) -> None:
    """BuildKit does not name the only stage of a Dockerfile. Another branch has it too."""
    build_twice(machines, shelf, bare)
    assert shelf.stages() == {"base"}
    main, topic = (SCOPE.replace("no-branch", name) for name in ("main", "topic"))
    for name in ("main", "topic"):
        event = push(name, tmp_path / name)
        machines("classic").build(*shelf.backend(), folder=bare, **event)
    assert shelf.stages(main) == shelf.stages(topic) == {"base"}


def test_no_layer_no_image(machines: MakeMachine, shelf: Shelf, project: Path) -> None:
    """An image without a step has nothing to keep, which is no trouble."""
    (project / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    built = machines("docker").build(*shelf.backend(), folder=project)
    assert built["warnings"] == []
    assert not built["caches"] or not built["caches"][0]["exported"]


def test_a_registry_that_fails_for_a_moment(
    machines: MakeMachine, faulty: Shelf, proxy: FaultyProxy, project: Path
) -> None:
    """What an engine pushes only once is pushed again."""
    proxy.fail(fault=BROKEN, matching=writing_manifests(), times=2)
    built = machines("classic").build(*faulty.backend(), folder=project)
    assert built["warnings"] == []
    assert built["caches"][0]["exported"]


# What it costs.


@pytest.mark.parametrize("name", ["src/large", "deps.txt"])
def test_at_most_one_transfer_of_the_context_more(
    name: str, machines: MakeMachine, shelf: Shelf, project: Path, tmp_path: Path
) -> None:
    """Than a plain build has, in bytes of the raw streams; though stages that read different parts
    of it are pushed."""
    (project / name).write_bytes(bytes(range(256)) * 20_000)
    machine, log = machines("classic"), tmp_path / "log"
    path = listen(machine.environment(), tmp_path / "bin", log)["PATH"]
    words = ("buildx", "build", "--network", "none", "--progress", "rawjson", ".")
    machine.docker(*words, folder=project, PATH=path)
    plain = count_bytes(log)
    assert plain > 5_000_000
    log.unlink()
    built = machines("classic").build(*shelf.backend(), folder=project, PATH=path)
    assert built["caches"][0]["exported"]
    assert plain <= count_bytes(log) <= 2 * plain


def count_bytes(log: Path) -> int:
    """What was sent; a transfer in which nothing was asked for has some bytes too."""
    return sum(sent for sent in read_transfers(log) if sent > 1000)
