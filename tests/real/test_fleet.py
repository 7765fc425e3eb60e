"""Several machines, branches and pull requests that share one cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines.registry import LOGIN
from tests.real.conftest import STEPS, MakeMachine
from tests.real.fleet import FORK, pull, push
from tests.real.machines import Machine, count
from tests.real.manifests import ask_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines import Registry
    from tests.engines.exchanges import Request

CHANGED = 5
"""How many steps are executed when the source has changed."""
WRITING = ("PUT", "POST", "PATCH", "DELETE")


def writes(requests: list[Request], ref: str) -> list[str]:
    """List what was written to a repository, as `METHOD TAG-OR-KIND`."""
    name = ref.partition("/")[2]
    own = [each for each in requests if f"/v2/{name}/" in each.path and each.method in WRITING]
    return [f"{each.method} {each.path.partition(f'/v2/{name}/')[2]}" for each in own]


@pytest.fixture
def ref(registry: Registry, tmp_path: Path) -> str:
    """A repository of the test's own."""
    return f"{registry.address}/{tmp_path.name.lower()}"


@pytest.mark.parametrize("kind", ["docker", "docker-container", "oldest"])
def test_a_new_branch_starts_from_the_default_branch_and_uploads_nothing(
    kind: str, machines: MakeMachine, registry: Registry, ref: str, project: Path, tmp_path: Path
) -> None:
    """A new branch reuses every step, and its scope is the default branch's manifest."""
    backend = ("--backend", f"type=registry,ref={ref}")
    first = machines(kind).build(*backend, folder=project, **push("main", tmp_path / "ci"))
    assert first["caches"][0]["exported"]
    mark = len(registry.requests())
    second = machines(kind).build(*backend, folder=project, **push("topic", tmp_path / "ci"))
    assert count(second) == (STEPS, 0)
    assert second["warnings"] == []
    assert second["caches"][-1]["aliased"]
    assert second["caches"][-1]["digest"] == first["caches"][0]["digest"]
    # The oldest buildx does not report which step made which layer, so the cache is exported there.
    if kind != "oldest":
        tag = "image.linux-amd64.topic"
        written = writes(registry.requests(mark), ref)
        named = [each for each in written if "manifests" in each]
        assert named == [f"PUT manifests/{tag}", f"PUT manifests/{tag}.bxcache"]
        # One blob is uploaded: the build's record.
        assert [each for each in written if each.startswith("POST")] == ["POST blobs/uploads/"]
    third = machines(kind).build(*backend, folder=project, **push("topic", tmp_path / "ci"))
    assert count(third) == (STEPS, 0)


def test_an_unchanged_build_writes_nothing(
    machines: MakeMachine, registry: Registry, ref: str, project: Path, tmp_path: Path
) -> None:
    """An unchanged build writes nothing, because its own scope has everything."""
    backend = ("--backend", f"type=registry,ref={ref}")
    here = push("main", tmp_path / "ci")
    machines().build(*backend, folder=project, **here)
    mark = len(registry.requests())
    again = machines().build(*backend, folder=project, **here)
    assert count(again) == (STEPS, 0)
    assert writes(registry.requests(mark), ref) == []
    assert (again["caches"][0]["unchanged"], again["caches"][0]["exported"]) == (True, False)


def test_a_change_is_saved_to_its_own_branch_alone(
    machines: MakeMachine, registry: Registry, ref: str, project: Path, tmp_path: Path
) -> None:
    """A branch's change is saved and reused on that branch; the default branch's cache stays.

    What the branch's build has exported is read back once.
    """
    backend = ("--backend", f"type=registry,ref={ref}")
    main = machines().build(*backend, folder=project, **push("main", tmp_path / "ci"))
    (project / "src" / "main.c").write_text("// changed\n")
    mark = len(registry.requests())
    topic = machines().build(*backend, folder=project, **pull("topic", tmp_path / "ci"))
    assert count(topic) == (STEPS - CHANGED, CHANGED)
    read = [each.path for each in registry.requests(mark) if each.method == "GET"]
    digests = [path for path in read if "/manifests/sha256:" in path]
    assert len([each for each in digests if not each.endswith(main["caches"][0]["digest"])]) == 1
    assert topic["caches"][-1]["exported"]
    again = machines().build(*backend, folder=project, **pull("topic", tmp_path / "ci"))
    assert count(again) == (STEPS, 0)
    answer = ask_manifest(registry, ref, "image.linux-amd64.main")
    kept = answer.headers["Docker-Content-Digest"]
    assert kept == main["caches"][0]["digest"]


def test_a_fork_reads_and_never_writes(
    machines: MakeMachine, registry: Registry, ref: str, project: Path, tmp_path: Path
) -> None:
    """By the registry's log, a fork never writes, even if its own files allow it."""
    backend = ("--backend", f"type=registry,ref={ref}")
    machines().build(*backend, folder=project, **push("main", tmp_path / "ci"))
    (project / "src" / "main.c").write_text("// a stranger's\n")
    (project / "bxcache.toml").write_text(
        '[cache]\nwrite = "always"\n[place]\nbranch = "main"\ntrusted = true\n'
    )
    mark = len(registry.requests())
    fork = pull("main", tmp_path / "ci", head=FORK)
    built = machines().build(*backend, folder=project, **fork)
    assert count(built) == (STEPS - CHANGED, CHANGED)
    assert writes(registry.requests(mark), ref) == []
    assert any(each.method == "GET" for each in registry.requests(mark))
    assert not built["caches"][0]["exported"]


def test_a_fork_that_may_write_keeps_to_its_own_scope(
    machines: MakeMachine, registry: Registry, ref: str, project: Path, tmp_path: Path
) -> None:
    """With `--write always`, a fork writes only its own scope, whatever its branch is called."""
    backend = ("--backend", f"type=registry,ref={ref}")
    machines().build(*backend, folder=project, **push("main", tmp_path / "ci"))
    (project / "src" / "main.c").write_text("// a stranger's\n")
    mark = len(registry.requests())
    fork = pull("main", tmp_path / "ci", head=FORK)
    machines().build(*backend, "--write", "always", folder=project, **fork)
    written = writes(registry.requests(mark), ref)
    assert written
    assert not any(each.endswith(("/image.linux-amd64.main", ".main.bxcache")) for each in written)


def test_a_local_store_follows_the_same_policy(
    machine: Machine, project: Path, tmp_path: Path
) -> None:
    """In a store, a new branch starts from the default branch's scope; a fork saves nothing."""
    store = tmp_path / "store"
    backend = ("--backend", f"type=local,dir={store}")
    machine.build(*backend, folder=project, **push("main", tmp_path / "ci"))
    fork = machine.build(*backend, folder=project, **pull("evil", tmp_path / "ci", head=FORK))
    assert [each["imported"] for each in fork["caches"]] == [True]
    assert [each["exported"] for each in fork["caches"]] == [False]
    ran = machine.run("store", "ls", "--from", str(store), folder=project)
    assert [line.split()[0] for line in ran.out.splitlines()[1:]] == ["image.linux-amd64.main"]
    topic = machine.build(*backend, folder=project, **pull("topic", tmp_path / "ci"))
    assert {each["scope"] for each in topic["caches"] if each["imported"]} == {
        "image.linux-amd64.main"
    }
    assert {each["scope"] for each in topic["caches"] if each["exported"]} == {
        "image.linux-amd64.topic"
    }


def test_steps_that_only_the_engine_has_are_saved(
    machine: Machine, ref: str, project: Path, tmp_path: Path
) -> None:
    """A build that reuses every step saves them if the registry has only an older cache."""
    backend = ("--backend", f"type=registry,ref={ref}")
    here = push("main", tmp_path / "ci")
    machine.build(*backend, folder=project, **here)
    (project / "src" / "main.c").write_text("// changed\n")
    machine.build(*backend, "--write", "never", folder=project, **here)
    again = machine.build(*backend, folder=project, **here)
    assert count(again) == (STEPS, 0)
    assert again["caches"][0]["exported"]


def test_read_all_imports_every_donor(
    machines: MakeMachine, ref: str, project: Path, tmp_path: Path
) -> None:
    """`--read-all` imports every donor, from a registry or from a store."""
    store = f"type=local,dir={tmp_path / 'store'}"
    for backend in (f"type=registry,ref={ref}", store):
        for branch in ("main", "topic"):
            (project / "src" / "main.c").write_text(f"// {branch}\n")
            machines().build("--backend", backend, folder=project, **push(branch, tmp_path / "ci"))
        words = ("--backend", backend, "--read-all", "--dry-run")
        here = push("topic", tmp_path / "ci")
        shown = machines().run("build", *words, folder=project, **here).out
        assert shown.count("--cache-from type=") == 2
        built = machines().build("--backend", backend, "--read-all", folder=project, **here)
        # How much of them BuildKit finds is a matter of chance: moby/buildkit#4674.
        assert built["counts"]["reused"] >= STEPS - CHANGED
        assert [each["imported"] for each in built["caches"]].count(True) == 2


def test_the_dry_run_lists_every_candidate(
    machine: Machine, ref: str, project: Path, tmp_path: Path
) -> None:
    """A dry run lists each candidate and whether it is imported."""
    backend = ("--backend", f"type=registry,ref={ref}")
    machine.build(*backend, folder=project, **push("main", tmp_path / "ci"))
    here = pull("topic", tmp_path / "ci", base="release")
    shown = machine.run("build", *backend, "--dry-run", folder=project, **here).out
    lines = [line for line in shown.splitlines() if line.startswith("# candidate")]
    assert [line.rpartition(": ")[2] for line in lines] == [
        "there is none",
        "there is none",
        "imported",
    ]
    assert "the default branch" in lines[2]


def test_a_build_that_cannot_be_repeated_saves_while_it_builds(
    machines: MakeMachine, ref: str, project: Path, tmp_path: Path
) -> None:
    """With `--no-cache`, every step is executed once, and all of them are saved."""
    backend = ("--backend", f"type=registry,ref={ref}")
    here = push("main", tmp_path / "ci")
    built = machines().build(*backend, "--no-cache", folder=project, **here)
    assert count(built) == (0, STEPS)
    assert count(machines().build(*backend, folder=project, **here)) == (STEPS, 0)


def test_a_private_registry_is_used_with_dockers_login(
    machines: MakeMachine, private_registry: Registry, project: Path, tmp_path: Path
) -> None:
    """The login for a private registry comes from docker's settings or its credential helper."""
    ref = f"{private_registry.address}/{tmp_path.name.lower()}"
    backend = ("--backend", f"type=registry,ref={ref}")
    one = machines().logged_in(private_registry.address, LOGIN)
    assert one.build(*backend, folder=project)["warnings"] == []
    other = machines().with_helper(private_registry.address, LOGIN)
    warm = other.build(*backend, folder=project)
    assert count(warm) == (STEPS, 0)
    assert warm["warnings"] == []
