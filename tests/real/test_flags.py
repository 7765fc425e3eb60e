"""Tests of flags, outputs and the Python API on a real engine."""

from __future__ import annotations

import fcntl
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import termios
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.real.conftest import STEPS
from tests.real.machines import Machine, count

SECRET = "hunter2-hunter2"
HERE = ("build", "--network", "none")


def test_without_a_config_file_the_local_backend_works(machine: Machine, project: Path) -> None:
    """Without a config file, the store is in the user's cache folder."""
    built = machine.build(folder=project)
    place = Path(built["caches"][0]["place"])
    assert place.parent == machine.home / "bxcache"
    assert (place / "index.json").exists()


def test_a_config_file_is_used_from_below(machine: Machine, project: Path) -> None:
    """A config file is found from a folder below, and its paths are relative to its own folder."""
    (project / "bxcache.toml").write_text(
        "[build]\nnetwork = 'none'\ntags = ['configured:1']\n"
        "[[cache.backends]]\ntype = 'local'\ndir = '.cache'\n"
    )
    built = json.loads(machine.run("build", "--json", folder=project / "src").out)
    assert built["image"]["tags"] == ["configured:1"]
    assert built["caches"][0]["place"] == str(project / ".cache")
    assert len(built["steps"]) == STEPS


def test_a_store_in_the_build_context_is_noted(machine: Machine, project: Path) -> None:
    """The note stays until docker ignores the store, which `COPY . .` would copy."""
    words = (*HERE, "--backend", "type=local,dir=.cache/store")
    seen = f"add `.cache/store` as the last line of {project / '.dockerignore'}"
    assert seen in machine.run(*words, folder=project).err
    assert seen in machine.run(*words, "--dry-run", folder=project).out
    (project / ".dockerignore").write_text(".cache\n")
    assert "is in the build context" not in machine.run(*words, folder=project).err


def test_progress_ends_with_two_lines(machine: Machine, project: Path) -> None:
    """Steps with outcomes and logs come first, then counts and saved caches."""
    with (project / "Dockerfile").open("a") as dockerfile:
        dockerfile.write("RUN echo said by the step\n")
    ran = machine.run(*HERE, folder=project)
    lines = ran.err.splitlines()
    assert ran.out == ""
    assert any(line.endswith("[stage-4 3/3] said by the step") for line in lines)
    assert any(line.startswith("executed") and "[deps 1/2] COPY deps.txt" in line for line in lines)
    assert lines[-2].startswith(f"{STEPS + 1} steps: 0 reused (0 %), {STEPS + 1} executed, in ")
    assert lines[-1].startswith("saved ")
    assert str(machine.home) in lines[-1]
    assert "; the store has " in lines[-1]
    again = machine.run(*HERE, folder=project).err.splitlines()
    assert again[-2].startswith(f"{STEPS + 1} steps: {STEPS + 1} reused (100 %), 0 executed, in ")
    assert again[-1].startswith("nothing new for ")


@pytest.mark.parametrize("extra", [(), ("--", "--provenance=false")])
def test_quiet_prints_the_name_of_the_image(
    extra: tuple[str, ...], machine: Machine, project: Path, tmp_path: Path
) -> None:
    """Stdout has only one line, docker's name of the image."""
    tag = f"{tmp_path.name.lower()}:1"
    ran = machine.run(*HERE, "--load", "-q", "-t", tag, *extra, folder=project)
    assert ran.err == ""
    (digest,) = ran.out.splitlines()
    one, other = (
        json.loads(machine.engine.docker("image", "inspect", name).stdout)[0]["RootFS"]
        for name in (digest, tag)
    )
    assert one == other


def test_a_quiet_failure_shows_dockers_error(machine: Machine, project: Path) -> None:
    """A quiet failure shows docker's error and leaves stdout empty."""
    (project / "Dockerfile").write_text("FROM scratch\nCOPY nothing-there /\n")
    ran = machine.run(*HERE, "-q", folder=project, status=1)
    assert ran.out == ""
    assert "nothing-there" in ran.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("src",), "ERROR: `{project}/src` has no Dockerfile"),
        (("-f", "odd", "."), "ERROR: there is no Dockerfile `{project}/odd`"),
        (("--target", "dep", "."), "ERROR: the Dockerfile has no stage `dep`; it has `base`,"),
        (("srk",), "ERROR: there is no directory `srk`"),
    ],
)
def test_a_missing_input_is_one_line(
    words: tuple[str, ...], line: str, machine: Machine, project: Path
) -> None:
    """The first error is one line that says what to do, with plain docker's exit status."""
    # Docker warns of an empty one.
    (project / ".git").rmdir()
    raw = machine.raw(*words, folder=project, check=False)
    assert raw.returncode == 1
    for more in ((), ("-q",)):
        said = machine.run(*HERE, *more, *words, folder=project, status=1).err
        [shown] = said.splitlines()
        assert shown.startswith(line.format(project=project))
    assert machine.build(*words, folder=project, status=1)["steps"] == []


def test_the_raw_stream_is_json(machine: Machine, project: Path) -> None:
    """`--progress rawjson` prints BuildKit's stream unchanged."""
    ran = machine.run(*HERE, "--progress", "rawjson", folder=project)
    documents = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    assert sum(len(document.get("vertexes", [])) for document in documents) > STEPS


def test_a_dry_run_prints_the_command_that_is_run(
    machine: Machine, project: Path, tmp_path: Path
) -> None:
    """The command is the same except for staging names, and nothing runs or is written."""
    words = [*HERE, "-t", "dry:1", "--label", "a=it's $HOME", "--backend"]
    words += [f"type=local,dir={tmp_path / 'a store'}", "--", "--ulimit", "nofile=99:99"]
    shown = machine.run(*words[:-3], "--dry-run", *words[-3:], folder=project).out
    assert not (tmp_path / "a store").exists()
    dry = shlex.split(shown.replace("\\\n", ""), comments=True)
    shim = tmp_path / "bin"
    shim.mkdir()
    log = tmp_path / "argv"
    (shim / "docker").write_text(
        f'#!/bin/sh\n[ "$2" = build ] && printf "%s\\0" "$@" > "{log}"\n'
        'PATH="${PATH#*:}" exec docker "$@"\n'
    )
    (shim / "docker").chmod(0o755)
    path = f"{shim}:{machine.environment()['PATH']}"
    machine.run(*words, folder=project, PATH=path)
    real = log.read_text().rstrip("\0").split("\0")
    assert dry[0] == "BUILDX_METADATA_PROVENANCE=max"
    assert Path(dry[1]).name == "docker"
    assert without_id(dry[2:]) == without_id(real)


def without_id(words: list[str]) -> list[str]:
    """Remove the random name of each run's own files."""
    name = Path(words[words.index("--metadata-file") + 1]).parent.name.removeprefix("bxcache-")
    return [word.replace(name, "ID") for word in words]


def test_a_dry_run_gives_the_reason_for_each_cache_flag(machine: Machine, project: Path) -> None:
    """The reasons are comments, so everything can be pasted."""
    machine.build(folder=project)
    lines = machine.run(*HERE, "--dry-run", folder=project).out.splitlines()
    comments = [line for line in lines if line.startswith("# ")]
    flags = [line for line in comments if line.startswith("# --")]
    assert [line.split()[1] for line in flags] == ["--cache-from", "--cache-to"]
    assert "has the scope" in flags[0]
    choices = [line for line in comments if line.startswith("# candidate")]
    assert [line.rpartition(": ")[2] for line in choices] == ["imported", "there is none"]


@pytest.mark.parametrize("mode", ["plain", "quiet", "rawjson", "json", "dry-run", "failing"])
def test_secrets_are_never_shown(
    mode: str, machine: Machine, project: Path, tmp_path: Path
) -> None:
    """Build arguments, variables and a step's output of them are masked."""
    fail = "; exit 3" if mode == "failing" else ""
    with (project / "Dockerfile").open("a") as dockerfile:
        dockerfile.write(
            "ARG TOKEN\nARG PASSWORD\nARG INDEX\n"
            f"RUN echo token $TOKEN; echo $PASSWORD >&2; echo $INDEX; echo {tmp_path.name}{fail}\n"
        )
    flag = {"json": "--json", "dry-run": "--dry-run"}.get(mode, "--progress=plain")
    if mode in ("quiet", "rawjson"):
        flag = f"--progress={mode}"
    ran = machine.run(
        *(*HERE, flag, "--build-arg", f"TOKEN={SECRET}-1", "--build-arg", "PASSWORD"),
        *("--build-arg", f"INDEX=https://me:{SECRET}-3@example.com/simple"),
        folder=project,
        status=1 if mode == "failing" else 0,
        PASSWORD=f"{SECRET}-2",
    )
    assert SECRET not in ran.out + ran.err
    assert "aHVudGVyMi" not in ran.out + ran.err


def test_secret_mounts_work(machine: Machine, project: Path, tmp_path: Path) -> None:
    """The step reads the secret, and the log masks it."""
    with (project / "Dockerfile").open("a") as dockerfile:
        dockerfile.write("RUN --mount=type=secret,id=key cat /run/secrets/key | tee /key\n")
    ran = machine.run(
        *(*HERE, "--secret", "id=key,env=MY_KEY", "-o", f"type=local,dest={tmp_path / 'out'}"),
        folder=project,
        MY_KEY=SECRET,
    )
    assert (tmp_path / "out" / "key").read_text() == SECRET
    assert SECRET not in ran.err


def test_output_to_stdout_is_the_archive(machine: Machine, project: Path, tmp_path: Path) -> None:
    """With `-o -`, stdout contains the archive and nothing else."""
    command = [sys.executable, "-m", "bxcache", *HERE, "-o", "-"]
    with (tmp_path / "image.tar").open("wb") as stream:
        subprocess.run(
            command,
            cwd=project,
            env=machine.environment(),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    with tarfile.open(tmp_path / "image.tar") as archive:
        assert "app/app" in archive.getnames()


def test_a_dockerfile_from_stdin_works(machine: Machine, project: Path) -> None:
    """`-f -` works as with docker; a dry run does not wait, and Ctrl-C ends the wait."""
    command = [sys.executable, "-m", "bxcache", *HERE, "--json", "-f", "-", "."]
    done = subprocess.run(
        command,
        cwd=project,
        env=machine.environment(),
        # Bytes that are not UTF-8 work too.
        input=b"FROM scratch\n# \xff\nCOPY deps.txt /\n",
        capture_output=True,
        check=True,
    )
    assert [step["line"] for step in json.loads(done.stdout)["steps"]] == [3]
    for more, end, status in (("--dry-run", None, 0), ("--quiet", signal.SIGINT, 130)):
        with subprocess.Popen(
            [sys.executable, "-m", "bxcache", *HERE, more, "-f", "-", "."],
            cwd=project,
            env=machine.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as waiting:
            if end is not None:
                wait_until_read(waiting)
                waiting.send_signal(end)
            assert waiting.wait(60) == status


def wait_until_read(process: subprocess.Popen[bytes]) -> None:
    """Give a process a line on stdin, which stays open, and wait until it has read the line."""
    assert process.stdin is not None
    process.stdin.write(b"FROM scratch\n")
    process.stdin.flush()
    for _ in range(1200):
        if not any(fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, bytes(4))):
            return
        assert process.poll() is None
        time.sleep(0.05)
    raise AssertionError("the line was not read")


def test_the_usual_flags_reach_docker(machine: Machine, project: Path, tmp_path: Path) -> None:
    """Target, file, build argument, label, named context and tag take effect in the image."""
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "file").write_text("from the named context")
    (project / "other.Dockerfile").write_text(
        "FROM scratch AS wanted\nARG NAME\nENV GOT=$NAME\nCOPY --from=extra file /\nFROM scratch\n"
    )
    tag = f"{tmp_path.name.lower()}:1"
    machine.build(
        *("-f", "other.Dockerfile", "--target", "wanted", "--build-arg", "NAME=value"),
        *("--label", "a=b", "--build-context", f"extra={tmp_path / 'extra'}", "-t", tag, "--load"),
        folder=project,
    )
    image = json.loads(machine.engine.docker("image", "inspect", tag).stdout)[0]["Config"]
    assert "GOT=value" in image["Env"]
    assert image["Labels"]["a"] == "b"


def test_dockers_metadata_file_is_what_plain_buildx_writes(machine: Machine, project: Path) -> None:
    """The file has the same keys for a build and a bake, while bxcache still knows lines and
    layers.
    """
    with (project / "Dockerfile").open("a") as dockerfile:
        dockerfile.write("ARG TOKEN\nRUN echo done > /token\n")
    (project / "docker-bake.json").write_text(
        json.dumps({"target": {"default": {"network": "none", "args": {"TOKEN": SECRET}}}})
    )
    argument = ("--network", "none", "--build-arg", f"TOKEN={SECRET}")
    # The file has the caller's own cache, but not bxcache's.
    cache = f"type=local,dest={project / 'cache'}"
    for mode, more in (("", ()), ("max", ("--cache-to", cache)), ("disabled", ())):
        for command in (("build", *argument), ("bake",)):
            if command == ("bake",) and more:
                continue
            words = ("--load", *more, "--metadata-file")
            place = (".",) if command[0] == "build" else ()
            raw = ("buildx", *command, *words, "raw.json", *place)
            machine.docker(*raw, folder=project, BUILDX_METADATA_PROVENANCE=mode)
            own = (*command, "--json", "--", *words, str(project / "own.json"))
            ran = machine.run(*own, folder=project, BUILDX_METADATA_PROVENANCE=mode)
            files = [json.loads((project / name).read_text()) for name in ("raw.json", "own.json")]
            assert outline(files[0]) == outline(files[1])
            seen = json.loads(ran.out)
            [built] = seen["targets"].values() if command == ("bake",) else [seen]
            assert all(step["line"] for step in built["steps"])


CHANGING = ("Started", "Finished", "ref", "igest", "size", "InvocationID", "image.name", "manifest")
WHOLE = ("llbDefinition", "digestMapping", "layers", "locations", "infos", "sysUsage")


def outline(document: object) -> object:
    """Return a metadata file without values that change with each build, and without its list of
    steps.
    """
    if not isinstance(document, dict):
        return document
    return {
        key: bool(value)
        if key in WHOLE or any(each in key for each in CHANGING)
        else outline(value)
        for key, value in document.items()
    }


def test_a_metadata_file_is_left_as_plain_buildx_leaves_it(machine: Machine, project: Path) -> None:
    """A failed build leaves an old file alone, and an unwritable one fails a finished build. An
    empty name means none, and the last name counts.
    """
    (project / "broken").write_text("FROM scratch\nCOPY nothing-there /\n")
    (project / "old.json").write_text("old")
    words = ("-f", "broken", "--", "--metadata-file", "old.json")
    machine.build(*words, folder=project, status=1)
    assert (project / "old.json").read_text() == "old"
    (project / "link.json").symlink_to("other.json")
    machine.build(
        *("--", "--metadata-file", "link.json", "--pull", "--metadata-file="), folder=project
    )
    for name in ("link.json", "missing/own.json"):
        raw = machine.raw("--metadata-file", name, ".", folder=project, check=False)
        assert raw.returncode == 1
        own = ("build", "--json", "--network", "none", "--", "--metadata-file", name)
        ran = machine.run(*own, folder=project, status=73)
        assert json.loads(ran.out)["exit_status"] == 0
        assert f"the metadata file `{project / name}` was not written" in ran.err
    assert not (project / "other.json").exists()


def test_a_failing_cache_from_dockers_own_flags_causes_a_warning(
    machine: Machine, project: Path
) -> None:
    """The screen and the document show docker's reason; bxcache's own cache is unaffected."""
    ref = "type=registry,ref=127.0.0.1:1/app"
    given = ("--cache-from", ref, "--cache-to", f"{ref},ignore-error=true")
    raw = machine.raw("--progress", "plain", *given, ".", folder=project)
    reasons = re.findall(r"ERROR: (.*127\.0\.0\.1:1.*)", raw.stderr)
    assert len({*reasons}) == 2
    for _ in range(2):
        ran = machine.run(*HERE, "--json", "--", *given, folder=project)
        built = json.loads(ran.out)
        assert [each["exported"] for each in built["caches"][-1:]] == [True]
        shown = [line for line in ran.err.splitlines() if line.startswith("warning: ")]
        for seen in (built["warnings"], shown):
            assert len(seen) == 2
            assert all("`127.0.0.1:1/app` that docker was given" in each for each in seen)
            assert all("connection refused" in each for each in seen)
        assert any(each in built["warnings"][0] for each in reasons)


def test_images_of_a_config_file(machine: Machine, project: Path) -> None:
    """Each image of a config file has its own scope."""
    (project / "bxcache.toml").write_text(
        "[build]\nnetwork = 'none'\n[images.app]\n[images.checks]\ntarget = 'check'\n"
        "[[cache.backends]]\ntype = 'local'\ndir = '.cache'\n"
    )
    scopes = {
        name: machine.build("--image", name, folder=project)["caches"][-1]["scope"]
        for name in ("app", "checks")
    }
    assert scopes["app"].startswith("app.linux-")
    assert scopes["checks"].startswith("checks.check.linux-")


API = """
import json, sys
import bxcache

events = []
result = bxcache.build(".", tags=["api:1"], network="none", load=True, observe=events.append)
try:
    bxcache.build(".", file="broken.Dockerfile", network="none")
except bxcache.BuildFailedError as error:
    failed = error
try:
    bxcache.build(".", tagz=["x"])
except bxcache.ConfigError as error:
    refused = str(error)
print(json.dumps({
    "digest": result.digest,
    "counts": [result.reused, result.executed, result.failed],
    "steps": [[s.stage, s.text, str(s.outcome), s.seconds] for s in result.steps],
    "caches": [c.digest for c in result.caches],
    "events": len(events),
    "failed": [failed.exit_status, failed.result.failed, str(failed)],
    "refused": refused,
}))
"""


def run_program(text: str, machine: Machine, folder: Path) -> Any:  # noqa: ANN401  # any JSON
    """Run a Python program that prints a document and nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        cwd=folder,
        env=machine.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_the_python_api_is_the_same_path(machine: Machine, project: Path) -> None:
    """The result has digest, steps, counts and caches; a failure raises, and nothing is printed."""
    (project / "broken.Dockerfile").write_text("FROM scratch\nCOPY nothing-there /\n")
    found = run_program(API, machine, project)
    images = machine.engine.docker("images", "-q", "--no-trunc", "api:1").stdout.split()
    assert found["digest"] in images or machine.builder
    assert found["counts"] == [0, STEPS, 0]
    assert [step[2] for step in found["steps"]] == ["executed"] * STEPS
    assert found["events"] > STEPS
    assert found["failed"][0] == 1
    assert "nothing-there" in found["failed"][2]
    assert "`tags`" in found["refused"]
    again = machine.build(folder=project)
    assert count(again) == (STEPS, 0)
    assert [cache["digest"] for cache in again["caches"]] == found["caches"]


THREADS = """
import json, threading
import bxcache

found = {}

def build(name):
    files = {"backends": [{"type": "local", "dir": "store"}], "metadata_file": "data.json"}
    found[name] = bxcache.build(directory=name, network="none", tags=f"{name}:1", **files)

threads = [threading.Thread(target=build, args=(name,)) for name in ("one", "two")]
for each in threads:
    each.start()
for each in threads:
    each.join()
history = {name: len(bxcache.history(directory=name, source="store").stages) for name in found}
print(json.dumps([{n: [r.executed, *r.tags] for n, r in found.items()}, history]))
"""


def test_threads_build_in_several_directories(
    machine: Machine, project: Path, tmp_path: Path
) -> None:
    """With `directory`, each build has its own checkout, and its paths are relative to that."""
    for name in ("one", "two"):
        shutil.copytree(project, tmp_path / name)
        (tmp_path / name / "deps.txt").write_text(f"{tmp_path} {name}\n")
    built, history = run_program(THREADS, machine, tmp_path)
    assert built == {name: [STEPS, f"{name}:1"] for name in ("one", "two")}
    assert set(history.values()) == {5}
    for name in ("one", "two"):
        assert (tmp_path / name / "store" / "index.json").exists()
        assert (tmp_path / name / "data.json").exists()
    assert not (tmp_path / "store").exists()
