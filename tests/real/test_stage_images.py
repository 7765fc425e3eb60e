"""Every stage is an image with an inline cache, and all of them are read back as one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bxcache.registry.registry_cache import RegistryCache
from tests.real.conftest import STEPS, MakeMachine
from tests.real.fleet import FORK, pull, push
from tests.real.machines import count
from tests.real.stages import KINDS, SAVED, SCOPE, STAGES, UNCHANGED, Shelf, told
from tests.support.listening import listen, read_transfers
from tests.support.sampling import more


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *zip(KINDS, KINDS, strict=True),
        *(("classic", "docker-container"), ("docker", "classic"), *more(("remote", "remote"))),
    ],
)
def test_a_fresh_machine_reuses_every_stage(
    first: str, second: str, machines: MakeMachine, shelf: Shelf, project: Path, tmp_path: Path
) -> None:
    """A fresh machine reuses every stage, even those outside of the image, and pushes nothing."""
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


def test_plain_docker_reuses_every_stage_from_one_image(
    machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """Plain docker reuses every stage with one flag, from the scope's image."""
    machines("classic").build(*shelf.backend(), folder=project)
    source = f"type=registry,ref={shelf.ref}:{SCOPE}"
    assert len(machines("classic").list_cached(source, project)) == STEPS


@pytest.mark.parametrize("kind", ["classic", "docker"])
def test_only_changed_stages_are_pushed(
    kind: str, machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """Unchanged stages keep their digests, and no manifest is put under their tags again."""
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


def test_an_engine_with_all_steps_pushes_only_what_the_scope_lacks(
    machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """An engine that has every step itself pushes nothing, unless the scope lacks one.

    The scope lacks a step that only plain docker built, even if the layer is one that the scope
    has: two steps that change nothing have the same layer. An emptied scope lacks all.
    """
    machine, dockerfile = machines("classic"), project / "Dockerfile"
    text, reused = dockerfile.read_text(), (STEPS + 1, 0)
    dockerfile.write_text(f"{text}RUN true\n")
    machine.build(*shelf.backend(), folder=project)
    before = shelf.tags()
    again = machine.build(*shelf.backend(), folder=project)
    assert (count(again), told(again), shelf.tags()) == (reused, UNCHANGED, before)
    dockerfile.write_text(f"{text}RUN :\n")
    machine.raw(".", folder=project)
    other = machine.build(*shelf.backend(), folder=project)
    assert (count(other), told(other)) == (reused, (True, True, False, False))
    fresh = machines("classic").build(*shelf.backend(), folder=project)
    assert (count(fresh), told(fresh)) == (reused, UNCHANGED)
    RegistryCache(shelf.ref).prune(max_age=0)
    assert shelf.tags() == {}
    emptied = machine.build(*shelf.backend(), folder=project)
    assert (count(emptied), told(emptied), shelf.stages()) == (reused, SAVED, STAGES)


@pytest.mark.parametrize("kind", ["classic", "docker"])
def test_the_image_of_a_stage_has_plain_dockers_layers(
    kind: str, machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """The image of a stage has the layers that plain docker's `--target STAGE` makes.

    The last stage is built without a target, and the engine keeps none of these images.
    """
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
def test_history_lists_the_layers_of_every_stage(
    kind: str, machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """History lists the layers of each stage's image in order, from the registry alone."""
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


def test_history_lists_layers_that_were_not_pushed_again(
    machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """Reused layers, which are not pushed again, have the digests that the registry has."""
    machines("classic").build(*shelf.backend(), folder=project)
    (project / "src" / "main.c").write_text("// another one\n")
    machine = machines("classic")
    machine.build(*shelf.backend(), folder=project)
    told = machine.run("history", "-q", "--from", shelf.ref, folder=project).out.split()
    assert set(told) == set(shelf.layers(SCOPE))


def test_a_branch_starts_from_the_default_branch(
    machines: MakeMachine, shelf: Shelf, project: Path, tmp_path: Path
) -> None:
    """A branch starts from the default branch, pushes its own changes, and is pruned alone.

    If nothing changed, all tags are copied and nothing is uploaded. Another client's tag stays.
    """
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
    machine = machines("classic")
    machine.build(*shelf.backend(), folder=project, **event)
    after = shelf.tags()
    assert {tag: after[tag] for tag in before} == before
    changed = {topic, f"{topic}.build", f"{topic}.stage-4"}
    assert {tag for tag in copied if after[tag] != copied[tag]} == changed
    release = f"{topic}.release-1.2"
    words = ("create", "--prefer-index=false", "--tag", f"{shelf.ref}:{release}")
    machine.docker("buildx", "imagetools", *words, f"{shelf.ref}:{topic}.build", folder=project)
    RegistryCache(shelf.ref).prune(branches=["main"])
    assert shelf.tags() == {**before, release: after[f"{topic}.build"]}


def test_a_new_branch_with_a_change_has_every_stage(
    machines: MakeMachine, shelf: Shelf, project: Path, tmp_path: Path
) -> None:
    """A new branch pushes its changed stages and copies the others from the default branch."""
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
    """A fork reads the cache, and sends only requests that read."""
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


@pytest.mark.parametrize("name", ["src/large", "deps.txt"])
def test_the_context_is_sent_at_most_once_more(
    name: str, machines: MakeMachine, shelf: Shelf, project: Path, tmp_path: Path
) -> None:
    """Stages that read different parts of the context cost at most one more transfer of it.

    The raw streams are compared with a plain build's.
    """
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
    """Count the bytes sent, without transfers that sent no file and still have some bytes."""
    return sum(sent for sent in read_transfers(log) if sent > 1000)
