"""Docker's own flags work in their place, and keep no cache from being saved."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from bxcache.cli.commands import load_command
from tests.real.conftest import STEPS, MakeMachine
from tests.real.machines import Machine, count
from tests.real.stages import Shelf

if TYPE_CHECKING:
    from pathlib import Path

HERE = ("--network", "none")
_FLAG = re.compile(r"^ +(?:-\w, +)?(--[a-z-]+)", re.MULTILINE)


@pytest.mark.parametrize("kind", ["docker", "oldest"])
@pytest.mark.parametrize("command", ["build", "bake"])
def test_every_flag_of_docker_is_decided_on(
    command: str, kind: str, machines: MakeMachine, tmp_path: Path
) -> None:
    """bxcache knows each flag that docker's help lists."""
    shown = machines(kind).docker("buildx", command, "--help", folder=tmp_path).stdout
    flags = set(_FLAG.findall(shown.partition("Options:")[2]))
    known = {name for each in load_command(command).params for name in each.opts}
    assert len(flags) >= 12
    assert flags <= known


RUNS = """\
FROM base AS shown
RUN cat /etc/hosts > /hosts && ulimit -n > /files && df -k /dev/shm > /shm
FROM scratch
COPY --from=shown /hosts /files /shm /
"""
FLAGS = ("--add-host", "db:10.1.2.3", "--ulimit", "nofile=77:77", "--shm-size", "32m")
CONFIG = """\
[build]
add_hosts = ["db:10.1.2.3"]
ulimits = ["nofile=77:77"]
shm_size = "32m"
"""


@pytest.mark.parametrize("way", ["flags", "config"])
def test_run_steps_see_what_the_flags_say(
    way: str, machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """Hosts, limits and memory reach RUN steps, and a fresh machine reuses every step."""
    base = (project / "Dockerfile").read_text().partition("FROM base")[0]
    (project / "Dockerfile").write_text(base + RUNS)
    if way == "config":
        (project / "bxcache.toml").write_text(CONFIG)
    given = FLAGS if way == "flags" else ()
    backend = ("--backend", f"type=local,dir={tmp_path / 'store'}")
    words = (*backend, "-o", str(tmp_path / "out"), *given)
    built = machines().build(*words, folder=project)
    assert (built["warnings"], built["caches"][0]["exported"]) == ([], True)
    hosts, files, memory = ((tmp_path / "out" / n).read_text() for n in ("hosts", "files", "shm"))
    assert re.search(r"^10\.1\.2\.3\s+db$", hosts, re.MULTILINE)
    assert files == "77\n"
    assert memory.splitlines()[1].split()[1] == "32768"
    again = machines().build(*words, folder=project)
    assert count(again) == (sum(count(built)), 0)


def test_the_files_and_annotations_are_plain_dockers(
    machine: Machine, project: Path, tmp_path: Path
) -> None:
    """The digest's file, the metadata and the image's manifest are what plain docker writes."""

    def describe(folder: Path) -> tuple[str, ...]:
        image = ("-o", f"type=oci,tar=false,dest={folder / 'image'}")
        files = ("--iidfile", str(folder / "id"), "--metadata-file", str(folder / "data"))
        flags = ("--annotation", "a=b", "--provenance", "false", "--sbom", "false")
        return (*image, *files, *flags)

    own, plain = tmp_path / "own", tmp_path / "plain"
    for each in (own, plain):
        each.mkdir()
    built = machine.build(
        *("--backend", f"type=local,dir={tmp_path / 'store'}", *describe(own)), folder=project
    )
    assert (built["warnings"], built["caches"][0]["exported"]) == ([], True)
    machine.raw(*describe(plain), ".", folder=project)
    assert (own / "id").read_text() == (plain / "id").read_text() != ""
    one, other = (json.loads((each / "data").read_text()) for each in (own, plain))
    assert one.keys() == other.keys()
    assert one["containerimage.digest"] == other["containerimage.digest"]
    index = json.loads((own / "image" / "index.json").read_text())
    manifest = own / "image" / "blobs" / index["manifests"][0]["digest"].replace(":", "/")
    assert json.loads(manifest.read_text())["annotations"] == {"a": "b"}


def test_a_stage_without_a_cache_is_executed_and_saved(
    machine: Machine, project: Path, tmp_path: Path
) -> None:
    """`--no-cache-filter` executes the steps of a stage alone, and the new cache is saved."""
    words = ("--backend", f"type=local,dir={tmp_path / 'store'}")
    first = machine.build(*words, folder=project)["caches"][0]
    built = machine.build(*words, "--no-cache-filter", "deps", folder=project)
    executed = {step["stage"] for step in built["steps"] if step["outcome"] == "executed"}
    assert {"deps"} <= executed <= {"deps", "build", "stage-4"}
    assert count(built)[0] >= STEPS - 2 - 3 - 2
    assert built["warnings"] == []
    assert built["caches"][0]["digest"] != first["digest"]


@pytest.mark.parametrize("words", [("--check",), ("--call", "outline"), ("--", "--call=targets")])
def test_a_question_is_answered_by_docker(
    words: tuple[str, ...], machine: Machine, project: Path
) -> None:
    """Docker's answer and exit status come through, and nothing is cached."""
    text = (project / "Dockerfile").read_text()
    (project / "Dockerfile").write_text(text + "FROM base as odd\nWORKDIR here\n")
    own = [each for each in words if each != "--"]
    plain = machine.docker("buildx", "build", *own, ".", folder=project, check=False)
    ran = machine.run("build", *words, folder=project, status=plain.returncode)
    assert ran.out == plain.stdout != ""
    assert not (machine.home / "bxcache").exists()
    refused = machine.run("build", "--json", *words, folder=project, status=78)
    assert "docker builds nothing with it" in refused.err


def test_dockers_cache_flags_are_answered_with_a_backend(machine: Machine, project: Path) -> None:
    """`--cache-from` and `--cache-to` name the backend to write instead."""
    given = ("--cache-to", "type=registry,ref=r.example.com/app:cache,mode=max")
    said = machine.run("build", *given, folder=project, status=2).err
    assert "`--backend type=registry,ref=r.example.com/app`" in said


@pytest.mark.parametrize(
    ("declared", "given", "advice"),
    [
        ("", ("--cache-from", "type=gha,scope=x"), "by itself: `--backend type=gha`."),
        ("", ("--cache-from", "type=tape"), "by itself: none for `type=tape`."),
        (
            "",
            ("--cache-from", "r.io/app:1", "--cache-to", "type=inline"),
            "by itself: `--backend type=inline,ref=r.io/app:1`.",
        ),
        (
            # An image: its cache gets a repository of its own.
            "",
            ("--cache-from", "r.io/x/app:latest"),
            "ref=r.io/x/app-cache`, or `--backend type=inline,ref=r.io/x/app:latest` for a cache",
        ),
        (
            "",
            ("--cache-from", "r.io/app:1", "--backend", "type=registry,ref=r.io/app-cache"),
            "by itself: `--backend` is given, so leave the flag out.",
        ),
        (
            "type = 'inline'\nref = 'r.io/app:1'",
            ("--cache-from", "r.io/app:1", "--cache-to", "type=inline"),
            "bxcache.toml declares `type=inline,ref=r.io/app:1`, so leave the flag out.",
        ),
        (
            "type = 'local'\ndir = '.cache'",
            ("--cache-from", "r.io/app"),
            "bxcache.toml declares `type=local,dir=.cache`, so leave the flag out.",
        ),
        (
            "type = 'local'\ndir = '.cache'",
            ("--cache-from", "type=local,src=.cache", "--cache-to", "type=local,dest=.cache"),
            "bxcache.toml declares `type=local,dir=.cache`, so leave the flag out.",
        ),
    ],
)
def test_a_refused_cache_flag_is_answered_with_what_does_the_same(
    declared: str, given: tuple[str, ...], advice: str, machine: Machine, project: Path
) -> None:
    """The answer is what the config file declares, or else the backend of docker's flags."""
    if declared:
        (project / "bxcache.toml").write_text(f"[[cache.backends]]\n{declared}\n")
    assert advice in machine.run("build", *given, folder=project, status=2).err


def test_stages_that_dockers_own_flags_leave_unsaved_are_noted(
    machines: MakeMachine, shelf: Shelf, project: Path
) -> None:
    """One line says that stages are not saved beside docker's own flags; the image is built."""
    given = ("--", "--cache-from", f"type=registry,ref={shelf.ref}:own")
    said = machines("classic").run("build", *HERE, *shelf.backend(), *given, folder=project).err
    noted = [line for line in said.splitlines() if "the stages are not saved" in line]
    assert len(noted) == 1
    assert noted[0].endswith("as docker's own `--cache-from` is given in place of a backend")
    assert shelf.tags() == {}
