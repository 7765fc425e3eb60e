"""The local backend on real engines."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bxcache.store.store import Store
from tests.real.conftest import STEPS, STEPS_OF_CHECK, MakeMachine, Saved
from tests.real.machines import Machine, count
from tests.real.manifests import stored_layers

if TYPE_CHECKING:
    import subprocess

    from tests.engines import Registry

KINDS = ["docker", "docker-container", "remote", "oldest"]
REF_NAME = "org.opencontainers.image.ref.name"


def local(store: Path, **attributes: str) -> str:
    """Return the `--backend` of a store."""
    return ",".join(
        ["type=local", f"dir={store}", *(f"{name}={value}" for name, value in attributes.items())]
    )


def layers_in(store: Path, cache: dict[str, Any]) -> set[str]:
    """Return the layers of a saved cache, by its manifest in the store."""
    return {layer["digest"] for layer in stored_layers(store, cache["digest"])}


def output(folder: Path) -> str:
    """Return the `--output` that writes the image's files to a folder."""
    return f"type=local,dest={folder}"


def snapshot(store: Path) -> dict[str, tuple[int, int]]:
    """Return every file of a store except bxcache's own."""
    return {
        str(path.relative_to(store)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(store.rglob("*"))
        if path.is_file() and ".bxcache" not in path.parts
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_machine_reuses_every_stage(
    kind: str, machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """A fresh machine reuses every stage, even those that the image does not contain."""
    backend = ("--backend", local(tmp_path / "store"))
    first = machines(kind)
    cold = first.build(*backend, "-o", output(tmp_path / "a"), folder=project)
    assert count(cold) == (0, STEPS)
    layers = layers_in(tmp_path / "store", cold["caches"][0])
    second = machines(kind)
    warm = second.build(*backend, "-o", output(tmp_path / "b"), folder=project)
    assert count(warm) == (STEPS, 0)
    one, other = (tmp_path / name / "app" / "app" for name in "ab")
    assert one.read_bytes() == other.read_bytes()
    (cache,) = warm["caches"]
    assert (cache["imported"], cache["unchanged"]) == (True, True)
    assert layers_in(tmp_path / "store", cache) == layers
    # Reuse saves the time that the first machine spent, less the time to fetch. The store keeps it.
    spent = sum(step["seconds"] for step in cold["steps"])
    fetched = sum(step["seconds"] for step in warm["steps"])
    assert warm["saved_seconds"] == pytest.approx(spent - fetched, abs=0.01)
    (saved,) = cold["caches"]
    assert saved["store_bytes"] <= saved["store_budget"] == 20_000_000_000


@pytest.mark.parametrize("kind", ["docker", "oldest"])
def test_plain_buildx_reads_the_store(
    kind: str, machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """Plain buildx finds every step with `--cache-from type=local,src=STORE,tag=SCOPE`."""
    built = machines(kind).build("--backend", local(tmp_path / "store"), folder=project)
    scope = built["caches"][0]["scope"]
    source = f"type=local,src={tmp_path / 'store'},tag={scope}"
    assert len(machines(kind).list_cached(source, project)) == STEPS


def test_the_store_is_what_plain_buildx_would_have_exported(
    machine: Machine, project: Path, tmp_path: Path
) -> None:
    """The store has the same manifest and blobs as an export by plain buildx."""
    built = machine.build("--backend", local(tmp_path / "store"), folder=project)
    target = f"type=local,dest={tmp_path / 'raw'},mode=max"
    machine.raw("--cache-to", target, ".", folder=project)
    index = json.loads((tmp_path / "raw" / "index.json").read_text())
    assert built["caches"][0]["digest"] == index["manifests"][0]["digest"]
    blobs = Path("blobs") / "sha256"
    assert {p.name for p in (tmp_path / "store" / blobs).iterdir()} == {
        p.name for p in (tmp_path / "raw" / blobs).iterdir()
    }


def test_layers_of_all_stages_are_in_the_result(
    machine: Machine, project: Path, tmp_path: Path
) -> None:
    """Each step has its line and its layers, and all layers of the cache belong to a step."""
    built = machine.build("--backend", local(tmp_path / "store"), folder=project)
    lines = (project / "Dockerfile").read_text().splitlines()
    for step in built["steps"]:
        assert lines[step["line"] - 1] == step["text"] or step["stage"] == "base"
        assert step["layers"]
    layers = {layer["digest"] for step in built["steps"] for layer in step["layers"]}
    assert layers == layers_in(tmp_path / "store", built["caches"][0])


def test_two_targets_keep_both_scopes(machines: MakeMachine, saved: Saved) -> None:
    """Two targets keep a scope each, and a fresh machine reuses every step of both."""
    check = (*saved.backend, "--target", "check")
    machines().build(*check, folder=saved.project)
    assert set(Store(saved.store).read_scopes()) == {first_scope(each) for each in ("", "check.")}
    assert count(machines().build(*saved.backend, folder=saved.project)) == (STEPS, 0)
    assert count(machines().build(*check, folder=saved.project)) == (STEPS_OF_CHECK, 0)


def first_scope(target: str) -> str:
    """Return the name of a scope on this machine's platform, without a branch."""
    machine = os.uname().machine
    kind = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return f"image.{target}linux-{kind}.no-branch"


def test_a_new_target_starts_from_the_whole_image(machines: MakeMachine, saved: Saved) -> None:
    """A new target shares the image's stages, so that only its own step is executed."""
    built = machines().build(*saved.backend, "--target", "check", folder=saved.project)
    assert count(built) == (STEPS_OF_CHECK - 1, 1)


def test_an_edit_executes_only_dependent_steps(machines: MakeMachine, saved: Saved) -> None:
    """An edit executes the COPY of the sources, the build, and the steps that copy from it."""
    (saved.project / "src" / "main.c").write_text("// edited\n")
    built = machines().build(*saved.backend, folder=saved.project)
    executed = {
        (s["stage"], s["text"].split()[0]) for s in built["steps"] if s["outcome"] == "executed"
    }
    assert executed == {
        ("build", "COPY"),
        ("build", "RUN"),
        ("stage-4", "COPY"),
        ("stage-4", "RUN"),
    }
    assert count(built) == (STEPS - 5, 5)
    assert 0 < built["caches"][0]["new_bytes"] < built["caches"][0]["bytes"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_stopped_build_leaves_the_previous_cache(
    number: signal.Signals, machines: MakeMachine, saved: Saved, tmp_path: Path
) -> None:
    """A stopped or killed build leaves the store as it was; the next one removes its remains."""
    project, store, backend = saved.project, saved.store, saved.backend
    before = snapshot(store)
    dockerfile = (project / "Dockerfile").read_text()
    (project / "Dockerfile").write_text(dockerfile + "RUN sleep 60\n")
    small = tmp_path / "small"
    small.mkdir()
    words = ("build", "--network", "none", *backend)
    process = machines().start(*words, folder=project, TMPDIR=str(small))
    wait_for(process, "sleep 60")
    staging = store / ".bxcache" / "staging"
    assert [path for path in staging.iterdir() if path.is_dir()]
    process.send_signal(number)
    if number == signal.SIGKILL:
        process.wait(timeout=30)
    else:
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert err.splitlines()[-1] == "stopped; no cache is left half saved"
        assert not list(staging.iterdir())
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    assert snapshot(store) == before
    (project / "Dockerfile").write_text(dockerfile)
    again = machines().build(*backend, folder=project, TMPDIR=str(small))
    assert count(again) == (STEPS, 0)
    assert not [*staging.iterdir(), *small.iterdir()]


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read the progress until it contains a text."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"never said: {text}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_bxcache(
    number: signal.Signals, machine: Machine, project: Path, tmp_path: Path
) -> None:
    """Docker and buildx, which have a session of their own, end after Ctrl-C and after a kill."""
    (project / "Dockerfile").write_text((project / "Dockerfile").read_text() + "RUN sleep 61\n")
    backend = ("--backend", local(tmp_path / "store"))
    process = machine.start("build", "--network", "none", *backend, folder=project)
    wait_for(process, "sleep 61")
    assert mentioned(str(tmp_path / "store"))
    process.send_signal(number)
    process.communicate(timeout=30)
    deadline = time.monotonic() + 60
    while mentioned(str(tmp_path / "store")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not mentioned(str(tmp_path / "store"))


def mentioned(text: str) -> list[str]:
    """Return the command lines of living processes that mention a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


def test_the_first_line_says_what_a_build_starts_from(machine: Machine, project: Path) -> None:
    """The first line names the image, its scope and its cache, also for each of several images."""
    store = project.parent / "store"
    words = ("--network", "none", "--branch", "main", "--backend", f"type=local,dir={store}")
    (project / "bxcache.toml").write_text("[images.api]\n[images.web]\n")
    scope = machine.build(*words[2:], "--image", "api", folder=project)["caches"][0]["scope"]
    line = f"note: building api, scope `{scope}`, from the local cache `{scope}` in {store}"
    assert machine.run("build", *words, "api", folder=project).err.splitlines()[0] == line
    both = machine.run("build", *words, "--all", folder=project).err.splitlines()
    web = scope.replace("api", "web")
    assert f"api | {line}" in both
    assert f"web | note: building web, scope `{web}`, from no cache: the scope has none yet" in both
    assert machine.run("build", *words, "api", "--quiet", folder=project).err == ""


def test_the_last_line_says_why_nothing_is_saved(
    machine: Machine, registry: Registry, project: Path
) -> None:
    """The last line of a successful build has the reason if no cache has it."""
    (project / "bxcache.toml").write_text("[cache]\nbackends = []\n")
    store = f"type=local,dir={project.parent / 'store'}"
    inline = f"type=inline,ref={registry.address}/{project.parent.name.lower()}"
    for words, why in (
        ((), "no cache is declared"),
        (("--backend", store, "--write", "never"), '`cache.write = "never"`'),
        (("--backend", store, "--untrusted"), "the build is not trusted, set by --trusted"),
        (("--backend", f"{store},max_size=1kB"), "the store has no room for it"),
        (("--backend", "type=registry,ref=127.0.0.1:1/c"), "the registry failed"),
        (
            ("--backend", inline, "-o", "type=cacheonly"),
            "this build makes no image to hold it",
        ),
    ):
        ran = machine.run("build", "--network", "none", *words, folder=project)
        assert ran.err.splitlines()[-1] == f"nothing saved: {why}", words
    (project / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    ran = machine.run("build", "--backend", store, folder=project)
    assert ran.err.splitlines()[-1] == "nothing saved: no step made a layer"


def test_a_failed_build_shows_dockers_error_and_saves_nothing(
    machine: Machine, saved: Saved
) -> None:
    """A failed build ends with docker's error and status, and leaves the store as it was.

    All its steps but the failed one are in the store.
    """
    project, store, backend = saved.project, saved.store, saved.backend
    before = snapshot(store)
    with (project / "Dockerfile").open("a") as dockerfile:
        dockerfile.write("RUN echo the reason >&2; exit 7\n")
    raw = machine.raw(".", folder=project, check=False)
    ran = machine.run("build", "--network", "none", *backend, folder=project, status=raw.returncode)
    error = next(line for line in raw.stderr.splitlines() if line.startswith("ERROR: failed to"))
    assert error in ran.err.splitlines()
    assert "\nnothing saved: the build failed" in ran.err
    log = "end of the log of [stage-4 3/3] RUN echo the reason >&2; exit 7:"
    assert ran.err.splitlines()[-4:] == [error, "", log, "the reason"]
    assert snapshot(store) == before


FAILURES = {
    "a heredoc": "FROM base AS odd\nRUN <<EOF\necho a\nexit 3\nEOF\n",
    "a file of a stage": "FROM base AS one\nFROM base\nCOPY --link --from=one /nowhere /\n",
    "a trigger": "FROM base AS one\nONBUILD RUN exit 3\nFROM one AS two\nRUN echo two\n",
}


def test_a_failed_step_has_the_line_that_docker_reports(machine: Machine, project: Path) -> None:
    """A failed step and those before it have the right lines, in a Dockerfile of any name."""
    base = (project / "Dockerfile").read_text().partition("FROM base")[0]
    file = ("--file", "odd.df")
    for what, words in FAILURES.items():
        (project / "odd.df").write_text(f"{base}{words}")
        lines = f"{base}{words}".splitlines()
        plain = machine.raw(*file, ".", folder=project, check=False).stderr
        told = re.findall(r"^odd\.df:([0-9]+)$", plain, re.MULTILINE)
        steps = machine.build(*file, folder=project, status=1)["steps"]
        [failed] = [each["line"] for each in steps if each["outcome"] == "failed"]
        assert failed == int(told[0]), what
        before = [each for each in steps if each["stage"] == "base"]
        assert before
        assert [lines[each["line"] - 1] for each in before] == [each["text"] for each in before]
    # BuildKit executes one of two equal steps of two platforms, and stops the other one as well.
    both = ("--platform=linux/amd64,linux/amd64/v2", "--output=type=cacheonly", *file)
    ran = machine.run(
        "build", "--network=none", "--progress=plain", *both, folder=project, status=1
    )
    begun = re.findall(r"^started +(\[.*)", ran.err, re.MULTILINE)
    ended = re.findall(r"^(?:executed|failed|stopped) +[0-9.]+ s (\[.*)", ran.err, re.MULTILINE)
    assert not Counter(begun) - Counter(ended)
    assert any("exit 3" in each for each in begun)


@pytest.mark.parametrize("how", ["build", "export"])
def test_nodes_that_meet_in_the_store_do_not_fail_a_build(
    how: str, machine: Machine, project: Path, tmp_path: Path
) -> None:
    """If nodes meet in the store, what they built is saved afterwards, without a warning."""
    backend = ("--backend", local(tmp_path / "store"))
    met = machine.where_nodes_meet(how, tmp_path / "met")
    built = met.build(*backend, folder=project)
    assert (tmp_path / "met" / "count").read_text() == "second\n"
    assert (count(built), built["warnings"]) == ((0, STEPS), [])
    again = machine.build(*backend, folder=project)
    assert again["caches"][0]["digest"] == built["caches"][0]["digest"]
    assert again["caches"][0]["unchanged"]


def test_compression_is_that_of_the_config(machine: Machine, project: Path, tmp_path: Path) -> None:
    """The layers in the store have zstd's magic number if the config asks for zstd."""
    backend = local(tmp_path / "store", compression="zstd", force_compression="true")
    built = machine.build("--backend", backend, folder=project)
    manifest = tmp_path / "store" / "blobs" / built["caches"][0]["digest"].replace(":", "/")
    for layer in json.loads(manifest.read_text())["layers"]:
        data = (tmp_path / "store" / "blobs" / layer["digest"].replace(":", "/")).read_bytes()
        assert layer["mediaType"].endswith("+zstd")
        assert data.startswith(bytes.fromhex("28b52ffd"))
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == layer["digest"]


def test_never_write_reads_only(machines: MakeMachine, saved: Saved) -> None:
    """With `--write never`, every step is reused, and the store does not change."""
    before = snapshot(saved.store)
    built = machines().build(*saved.backend, "--write", "never", folder=saved.project)
    assert count(built) == (STEPS, 0)
    assert snapshot(saved.store) == before


def test_no_cache_executes_everything_and_saves(
    machine: Machine, project: Path, tmp_path: Path
) -> None:
    """With `--no-cache`, every step is executed, and the scope is saved anew."""
    backend = ("--backend", local(tmp_path / "store"))
    first = machine.build(*backend, folder=project)
    built = machine.build(*backend, "--no-cache", folder=project)
    assert count(built) == (0, STEPS)
    assert built["caches"][0]["exported"]
    assert built["caches"][0]["digest"] != first["caches"][0]["digest"]


def test_several_platforms_share_a_scope(
    machines: MakeMachine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """A fresh machine reuses every step of all platforms in a scope.

    A build that adds a platform reuses the other one's steps, from a store or a registry; a later
    build of one platform reuses what both have saved. Nothing is run, so no emulation is needed.
    """
    (project / "Dockerfile").write_text(
        "FROM scratch AS a\nARG TARGETARCH\nCOPY deps.txt /$TARGETARCH\n"
        "FROM scratch\nCOPY --from=a / /b\nCOPY src /src\n"
    )
    words = ("--platform", "linux/amd64,linux/arm64", "-o", "type=cacheonly")
    one = ("--platform", "linux/amd64", "-o", "type=cacheonly")
    other = ("--platform", "linux/arm64", "-o", "type=cacheonly")
    backend = ("--backend", local(tmp_path / "store"))
    remote = ("--backend", f"type=registry,ref={registry.address}/{tmp_path.name.lower()}")
    assert count(machines().build(*backend, *remote, *one, folder=project)) == (0, 3)
    for each in (remote, backend):
        built = machines().build(*each, *words, folder=project)
        assert count(built) == (3, 3), each
        assert {(step["platform"], step["outcome"]) for step in built["steps"]} == {
            ("linux/amd64", "reused"),
            ("linux/arm64", "executed"),
        }
    warm: dict[str, Any] = machines().build(*backend, *words, folder=project)
    assert count(warm) == (6, 0)
    assert count(machines().build(*remote, *other, folder=project)) == (3, 0)
