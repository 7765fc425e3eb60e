"""What finished of a failed build is saved, and the next build on another machine reuses it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bxcache.store.store import Store
from tests.engines import DockerClient
from tests.real.bakes import LOCAL, bake, counts, declare, forget, make_shop
from tests.real.machines import Machine, count
from tests.real.rebuilds import (
    build_once,
    copy_built,
    list_steps,
    rebuild,
    write_base,
    write_files,
    write_new,
)
from tests.real.stages import SCOPE, Shelf

DOCKERFILE = """\
ARG WORD=plain
FROM base AS deps
COPY requirements.txt .
RUN sort requirements.txt \\
    # in order
    > /deps
RUN <<END
cat /deps > /installed
END
FROM base AS assets
ENV THEME=dark
COPY --link assets /assets
RUN cat /assets/* > /theme
FROM deps AS build
ARG WORD
COPY app /app
RUN echo $WORD > /word
FROM base
COPY --from=build /word /word
COPY --from=assets /theme /theme
WORKDIR /home
RUN cat /word /theme > done
"""
FILES = ("requirements.txt", "assets/a.css", "app/main.py")
FAILING = "RUN exit 7"
LINES = [
    *("RUN sort", "RUN <<END", "COPY --link assets", "RUN cat /assets", "COPY app"),
    *("RUN echo $WORD", "COPY --from=build", "COPY --from=assets", "WORKDIR", "RUN cat /word"),
]


def write(folder: Path) -> None:
    """Write an application of five stages."""
    write_base(folder, DOCKERFILE)
    write_files(folder, FILES)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The application, which nobody has built."""
    return write_new(tmp_path, write)


@pytest.fixture(scope="module")
def _built(
    _shared_engine: tuple[DockerClient, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return build_once(_shared_engine, tmp_path_factory.mktemp("built"), write)


@pytest.fixture
def built(_built: Path, tmp_path: Path) -> Path:
    """The application, with a store beside it that has its cache."""
    return copy_built(_built, tmp_path)


def break_at(folder: Path, head: str) -> str:
    """Put a failing step before an instruction; return the Dockerfile as it was."""
    file = folder / "Dockerfile"
    text = file.read_text()
    assert f"\n{head}" in text
    file.write_text(text.replace(f"\n{head}", f"\n{FAILING}\n{head}", 1))
    return text


@pytest.mark.parametrize("head", LINES)
def test_the_next_build_reuses_all_that_had_finished(
    machine: Machine, app: Path, head: str
) -> None:
    """Wherever a build fails, a machine without a cache of its own starts where it stopped."""
    mended = break_at(app, head)
    failed = rebuild(machine, app, status=1)
    (cache,) = failed["caches"]
    executed = list_steps(failed, "executed")
    assert (cache["salvaged"], cache["exported"]) == (len(executed), True)
    assert failed["warnings"] == []

    (app / "Dockerfile").write_text(mended)
    builds = [rebuild(machine, app, "--write", "never") for _ in range(3)]
    assert [list_steps(done, "reused") for done in builds] == [executed] * 3


def test_a_build_that_fails_again_adds_what_it_has_finished(machine: Machine, app: Path) -> None:
    """The third build starts from what the first and the second one have finished."""
    text = break_at(app, "RUN <<END")
    first = rebuild(machine, app, status=1)
    (app / "Dockerfile").write_text(text)
    break_at(app, "RUN echo $WORD")
    second = rebuild(machine, app, status=1)
    assert second["caches"][-1]["salvaged"] > 0
    (app / "Dockerfile").write_text(text)
    known = list_steps(first, "executed") | list_steps(second, "executed")
    chain = {each for each in known if each[0] in {"base", "deps", "build"}}
    assert {stage for stage, _ in chain} == {"base", "deps", "build"}
    builds = (rebuild(machine, app, "--write", "never") for _ in range(3))
    assert any(chain <= list_steps(done, "reused") for done in builds)


CHANGES = [
    ("requirements.txt", "RUN <<END", {"RUN <<END", "COPY app", "RUN echo"}),
    ("requirements.txt", "COPY app", {"COPY app", "RUN echo"}),
    ("requirements.txt", "RUN cat /word", set()),
    ("app/main.py", "RUN echo $WORD", {"RUN echo"}),
    ("assets/a.css", "RUN cat /assets", {"RUN cat /assets", *LINES[7:]}),
]
"""A file that changed, the instruction before which the build fails, and what is left to do: what
follows has the same files where `/word` is the same."""


@pytest.mark.parametrize(("file", "head", "left"), CHANGES)
def test_a_failed_build_adds_to_the_cache_that_it_had(
    machine: Machine, built: Path, file: str, head: str, left: set[str]
) -> None:
    """The next build, on a new branch, executes what no build has finished, and nothing else.

    BuildKit would execute some of it at random, so three builds have to do the same.
    """
    branch = ("--default-branch", "main", "--branch")
    rebuild(machine, built, *branch, "main")
    (built / file).write_text("new\n")
    text = break_at(built, head)
    failed = rebuild(machine, built, *branch, "topic", status=1)
    assert failed["caches"][-1]["salvaged"] == len(list_steps(failed, "executed")) > 0
    (built / "Dockerfile").write_text(text)
    for _ in range(3):
        done = rebuild(machine, built, *branch, "topic", "--write", "never")
        executed = {text for _, text in list_steps(done, "executed")}
        heads = {each for each in left for text in executed if text.startswith(each.split("$")[0])}
        assert (heads, len(executed)) == (left, len(left)), executed


def test_a_registry_gets_what_had_finished(machine: Machine, app: Path, shelf: Shelf) -> None:
    words = ("--backend", f"type=registry,ref={shelf.ref}")
    text = break_at(app, "COPY --from=assets")

    def build(status: int) -> dict[str, Any]:
        machine.docker("buildx", "prune", "--all", "--force", folder=app)
        output = ("--output", "type=cacheonly")
        return machine.build(*words, *output, folder=app, status=status)

    failed = build(1)
    executed = list_steps(failed, "executed")
    assert failed["caches"][0]["salvaged"] == len(executed)
    (app / "assets" / "a.css").write_text("new\n")
    assert build(1)["caches"][-1]["salvaged"] >= 1
    (app / "Dockerfile").write_text(text)
    done = build(0)
    assert ("base", "COPY stamp /stamp") in list_steps(done, "reused")
    assert ("assets", "COPY --link assets /assets") in list_steps(done, "reused")
    # Now the registry has the cache of a whole build.
    (app / "requirements.txt").write_text("new\n")
    break_at(app, "COPY app")
    assert build(1)["caches"][-1]["salvaged"] == 3
    (app / "Dockerfile").write_text(text)
    assert list_steps(build(0), "executed") == {
        ("build", "COPY app /app"),
        ("build", "RUN echo plain > /word"),
    }


def test_what_another_build_saved_meanwhile_stays(
    machine: Machine, app: Path, tmp_path: Path, shelf: Shelf
) -> None:
    """While a build fails, plain docker saves another stage to its scope: both are reused."""
    backend = ("--backend", f"type=registry,ref={shelf.ref}")
    rebuild(machine, app, *backend)
    other = tmp_path / "other"
    shutil.copytree(app, other)
    (other / "assets" / "a.css").write_text("new\n")
    saving = f"type=registry,ref={shelf.ref}:{SCOPE},mode=max"
    build = f"buildx build --cache-to {saving} --network none {other}"
    (app / "requirements.txt").write_text("new\n")
    break_at(app, "RUN <<END")
    followed = machine.where_another_build_follows(build, tmp_path)
    failed = rebuild(followed, app, *backend, status=1)
    assert (tmp_path / "followed").exists()
    assert failed["caches"][-1]["salvaged"] > 0

    (other / "requirements.txt").write_text("new\n")
    reused = list_steps(rebuild(machine, other, *backend, "--write", "never"), "reused")
    assert {text for stage, text in reused if stage == "assets"} == {
        "COPY --link assets /assets",
        "RUN cat /assets/* > /theme",
    }
    assert list_steps(failed, "executed") <= reused


@pytest.mark.parametrize("wanted", ["failed", "never"])
def test_the_failure_itself_stays_as_it_is(machine: Machine, app: Path, wanted: str) -> None:
    """A job's log ends with what docker says of the failure, and the status is docker's."""
    break_at(app, "RUN cat /assets")
    store = ("--backend", f"type=local,dir={app.parent / 'store'}", "--salvage", wanted)
    words = ("build", "--network", "none", *store, ".")
    job = {"CI": "true", "GITLAB_CI": "true", "BXCACHE_PLACE_BRANCH": "main"}
    ran = machine.run(*words, folder=app, status=1, BXCACHE_PLACE_TRUSTED="true", **job)
    raw = machine.raw("--progress", "plain", ".", folder=app, check=False)
    assert raw.returncode == 1
    said = raw.stderr.splitlines()
    said = said[said.index("--------------------") - 1 :]
    assert ran.err.splitlines()[-len(said) :] == said
    assert ("finished steps saved to" in ran.err) == (wanted == "failed")


def test_without_salvage_the_store_stays_as_it_was(machine: Machine, app: Path) -> None:
    break_at(app, "RUN cat /assets")
    failed = rebuild(machine, app, "--salvage", "never", status=1)
    assert [each["salvaged"] for each in failed["caches"]] == []
    assert Store(app.parent / "store").read_scopes() == {}


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch\nNONSENSE\n",
        "FROM base\nRUN \n",
        "COPY a /\n",
        "FROM scratch\nCOPY nothing /\n",
    ],
)
def test_a_build_that_executed_nothing_saves_nothing(
    machine: Machine, app: Path, text: str
) -> None:
    (app / "Dockerfile").write_text(text)
    store = ("--backend", f"type=local,dir={app.parent / 'store'}")
    ran = machine.run("build", "--network", "none", *store, ".", folder=app, status=1)
    assert "finished step" not in ran.err


def test_a_dockerfile_on_stdin_is_salvaged_too(machine: Machine, app: Path) -> None:
    text = break_at(app, "RUN cat /assets")
    dockerfile = (app / "Dockerfile").read_text()
    store = ("--backend", f"type=local,dir={app.parent / 'store'}")
    words = ("build", "--network", "none", *store, "--json", "--file", "-", ".")
    done = subprocess.run(
        machine.command(sys.executable, "-m", "bxcache", *words),
        cwd=app,
        env=machine.environment(),
        input=dockerfile,
        capture_output=True,
        text=True,
        check=False,
    )
    failed = json.loads(done.stdout)
    assert failed["caches"][0]["salvaged"] > 0
    (app / "Dockerfile").write_text(text)
    assert list_steps(rebuild(machine, app), "reused") <= list_steps(failed, "executed")


def test_two_platforms_are_salvaged(machine: Machine, app: Path) -> None:
    """Without emulation, a RUN fails on the foreign platform; the copies of both are kept."""
    (app / "Dockerfile").write_text(
        # BuildKit would merge steps that are the same on both, and then miss now and then.
        "FROM scratch AS files\nARG TARGETARCH\nCOPY stamp /$TARGETARCH\nCOPY app /app\n"
        "FROM scratch\nCOPY --from=files / /\nRUN exit 7\n"
    )
    platforms = ("--platform", "linux/amd64,linux/arm64")
    failed = rebuild(machine, app, *platforms, status=1)
    assert failed["caches"][0]["salvaged"] > 0
    text = (app / "Dockerfile").read_text()
    (app / "Dockerfile").write_text(text.replace("RUN exit 7\n", ""))
    assert count(rebuild(machine, app, *platforms))[1] == 0


def test_each_target_of_a_bake_is_salvaged(machine: Machine, tmp_path: Path) -> None:
    shop = make_shop(tmp_path / "shop")
    declare(shop, LOCAL)
    text = (shop / "Dockerfile").read_text()
    broken = text.replace("RUN cp /blob /web", "RUN sleep 1; cp /none /web")
    broken = broken.replace("RUN echo $WORD", "RUN sleep 60; echo $WORD")
    (shop / "Dockerfile").write_text(broken)
    failed = bake(machine, shop, status=1)
    # BuildKit reports what they share for one of them alone.
    salvaged = [failed[name]["caches"][0]["salvaged"] for name in ("web", "worker")]
    assert sum(salvaged) == 5
    (shop / "Dockerfile").write_text(text)
    again = counts(bake(forget(machine, shop), shop))
    assert again == {"api": (5, 0), "web": (4, 1), "worker": (4, 1)}


def test_history_and_the_next_build_know_what_was_salvaged(machine: Machine, app: Path) -> None:
    text = break_at(app, "RUN cat /assets")
    failed = rebuild(machine, app, status=1)
    steps = failed["caches"][0]["salvaged"]
    store = ("--from", str(app.parent / "store"))
    shown = machine.run("history", "--json", *store, folder=app)
    assert "the build failed, the cache has what it had finished" in shown.err
    known = json.loads(shown.out)
    layers = {s["text"] for stage in known["stages"] for s in stage["steps"] if s["layers"]}
    assert layers == {text for _, text in list_steps(failed, "executed")}
    (app / "Dockerfile").write_text(text)
    machine.docker("buildx", "prune", "--all", "--force", folder=app)
    words = ("--backend", f"type=local,dir={app.parent / 'store'}", "--output", "type=cacheonly")
    ran = machine.run("build", "--network", "none", *words, ".", folder=app)
    assert f"{steps} steps that a failed build" in ran.err
    (app / "app" / "main.py").write_text("new\n")
    break_at(app, "RUN echo $WORD")
    report = app.parent / "report.md"
    rebuild(machine, app, "--report", str(report), status=1)
    assert "imported, 1 finished step saved" in report.read_text()
    note = "1 later build failed; the cache has the 1 step that it finished: `COPY app /app`"
    assert note in machine.run("history", *store, folder=app).err


def test_what_cannot_be_saved_at_once_is_saved_a_moment_later(
    machine: Machine, app: Path, tmp_path: Path
) -> None:
    break_at(app, "RUN cat /assets")
    late = machine.where_a_failed_build_ends_late(tmp_path)
    failed = rebuild(late, app, status=1)
    assert (tmp_path / "followed").exists()
    (cache,) = failed["caches"]
    assert cache["salvaged"] == len(list_steps(failed, "executed"))


def test_a_full_disk_is_no_other_failure(machine: Machine, app: Path, tmp_path: Path) -> None:
    """A store that cannot be written is a note; the failure of the build is what it was."""
    break_at(app, "RUN cat /assets")
    store = tmp_path / "store"
    rebuild(machine, app, "--salvage", "never", status=1)
    shutil.rmtree(store, ignore_errors=True)
    store.write_text("no folder")
    failed = rebuild(machine, app, status=1)
    assert failed["exit_status"] == 1
    assert all(each["salvaged"] == 0 for each in failed["caches"])
