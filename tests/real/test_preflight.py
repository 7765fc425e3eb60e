"""Tests of missing or wrong tools: one clear error before the build, or a warning and an image."""

from __future__ import annotations

import json
import shutil
from itertools import takewhile
from pathlib import Path
from typing import Any, cast

import pytest

from tests.engines import Engine, Registry
from tests.real.conftest import MakeMachine
from tests.real.machines import Machine, Ran, count

ENGINE = 69


def refused(machine: Machine, *arguments: str, folder: Path, **more: str) -> str:
    """Return the error of a refused build; check that nothing was built or written."""
    before = sorted(folder.rglob("*"))
    ran: Ran = machine.run("build", *arguments, folder=folder, status=ENGINE, **more)
    assert ran.out == ""
    assert [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert "\n\nhint: " in ran.err
    assert "Traceback" not in ran.err
    assert sorted(folder.rglob("*")) == before
    assert not machine.home.exists() or not list(machine.home.iterdir())
    return ran.err


def only(tmp_path: Path, *names: str) -> str:
    """Make a PATH with only the named programs."""
    folder = tmp_path / "path"
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(shutil.which(name) or "/nonexistent")
    return str(folder)


def test_a_missing_docker_is_refused(machine: Machine, project: Path, tmp_path: Path) -> None:
    """Without `docker` on PATH, the build is refused."""
    error = refused(machine, folder=project, PATH=only(tmp_path))
    assert "there is no `docker` on PATH" in error
    assert "apt-get install" in error


def test_a_missing_buildx_is_refused(machine: Machine, project: Path, tmp_path: Path) -> None:
    """A docker without the plugin is refused."""
    (tmp_path / "empty").mkdir()
    # Docker also finds a plugin installed for all users.
    if any(Path(plugin).exists() for plugin in PLUGINS):
        pytest.skip("buildx is installed for all users of this machine")
    error = refused(machine, folder=project, DOCKER_CONFIG=str(tmp_path / "empty"))
    assert "has no buildx plugin" in error
    assert "apt-get install docker-buildx" in error


PLUGINS = [
    f"{folder}/docker/cli-plugins/docker-buildx"
    for folder in ("/usr/lib", "/usr/libexec", "/usr/local/lib", "/usr/local/libexec")
]


def test_the_engine_is_down(machine: Machine, project: Path, tmp_path: Path) -> None:
    """Without a socket, the build is refused."""
    host = f"unix://{tmp_path / 'nothing'}"
    error = refused(machine, folder=project, DOCKER_HOST=host, BUILDX_BUILDER="")
    assert "docker's engine does not answer" in error
    assert host in error
    assert "systemctl start docker" in error


CREATE = "`bxcache builder up`"


def test_the_classic_store_builds_and_reads_but_saves_no_cache(
    machine: Machine, machines: MakeMachine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """A classic engine builds and reads caches, and warns once that it cannot save any.

    This holds without configuration, with another machine's caches, in a bake, with several
    images and with `strict`.
    """
    classic = machines("classic")
    raw = ("--cache-to", f"type=local,dest={tmp_path / 'x'}", ".")
    assert "not supported" in classic.raw(*raw, folder=project, check=False).stderr
    expect_one_warning(classic.build("-t", "app", folder=project), "local")
    said = classic.run("build", "--network", "none", folder=project).err
    assert said.splitlines()[-1] == "nothing saved: the builder cannot export it"
    classic.docker("image", "inspect", "app", folder=project)
    seen = classic.run("build", "--dry-run", folder=project)
    assert seen.out.count(CREATE) == 1

    store = f"type=local,dir={tmp_path / 'store'}"
    for backend in (store, f"type=registry,ref={registry.address}/{tmp_path.name}"):
        made = machine.build("--backend", backend, folder=project)
        assert made["caches"][0]["exported"]
        classic.docker("system", "prune", "-af", folder=project)
        read = classic.build("--backend", backend, "--strict", folder=project, status=75)
        assert count(read) == (len(made["steps"]), 0), backend
        (cache,) = expect_one_warning(read, made["caches"][0]["backend"])
        assert cache["imported"]

    bakefile = project / "docker-bake.json"
    bakefile.write_text('{"target": {"default": {"network": "none"}}}')
    baked = json.loads(classic.run("bake", "--json", folder=project).out)
    expect_one_warning(baked["targets"]["default"], "local")
    assert CREATE in classic.run("bake", "--dry-run", folder=project).out
    (project / "bxcache.toml").write_text('[images.app]\nnetwork = "none"\n')
    every = json.loads(classic.run("build", "--all", "--json", folder=project).out)
    expect_one_warning(every["images"]["app"], "local")


def test_a_build_that_never_began_warns_of_no_cache(machines: MakeMachine, project: Path) -> None:
    """Where docker finds nothing to build, the only message is why."""
    classic = machines("classic")
    (project / "wrong").write_text("FROM scratch\nNOTHING\n")
    for words in (("--target", "none"), ("--file", "none"), ("--file", "wrong"), ("none",)):
        failed = classic.build(*words, folder=project, status=1)
        assert (failed["steps"], failed["warnings"]) == ([], []), words
    expect_one_warning(classic.build("--target", "base", folder=project), "local")


def expect_one_warning(document: dict[str, Any], backend: str) -> list[dict[str, Any]]:
    """Return the caches of a successful build that could not save the declared one."""
    (warning,) = document["warnings"]
    assert warning.startswith(f"no `{backend}` cache is saved: ")
    assert "classic image store" in warning
    assert warning.count(CREATE) == 1
    caches: list[dict[str, Any]] = document["caches"]
    assert [(each["backend"], each["exported"]) for each in caches] == [(backend, False)]
    assert document["counts"]["failed"] == 0
    return caches


def test_an_unknown_builder_is_refused(machine: Machine, project: Path) -> None:
    """The error of an unknown builder names it."""
    error = refused(machine, "--builder", "nobody", folder=project)
    assert "there is no builder `nobody`" in error
    assert "`bxcache builder ls`" in error


def test_a_builder_out_of_reach(machine: Machine, project: Path, tmp_path: Path) -> None:
    """A remote builder at an unused address is refused."""
    create = ("buildx", "create", "--name", "gone", "--driver", "remote", f"unix://{tmp_path}/gone")
    machine.engine.docker(*create)
    try:
        error = refused(machine, "--builder", "gone", folder=project)
    finally:
        machine.engine.docker("buildx", "rm", "gone")
    assert "the builder `gone` " in error
    assert "docker buildx" in error


OLD_BUILDX = """\
#!/bin/sh
# A docker whose buildx is that of 2023: it knows no `rawjson`.
case "$1 $2" in
    "buildx version") echo "github.com/docker/buildx v0.12.1 30feaa1a915b" ;;
    "buildx build") echo "ERROR: invalid progress mode rawjson" >&2; exit 1 ;;
    *) PATH="${PATH#*:}" exec docker "$@" ;;
esac
"""


def test_an_engine_that_dies_is_named(machines: MakeMachine, project: Path) -> None:
    """An engine that dies during the build is named as the cause, before docker's own words."""
    with (project / "Dockerfile").open("a") as dockerfile:
        dockerfile.write("FROM base\nRUN echo begun && sleep 60\n")
    machine = machines("classic")
    with machine.start("build", "--network", "none", ".", folder=project) as process:
        assert process.stderr is not None
        before = list(takewhile(lambda line: "] begun" not in line, process.stderr))
        cast("Engine", machine.engine).stop()
        said = process.stderr.read()
    assert process.returncode, before
    assert "ERROR: the builder is gone: it was stopped, " in said, before


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_buildx_is_too_old(
    flags: tuple[str, ...], machine: Machine, project: Path, tmp_path: Path
) -> None:
    """A buildx that is too old is refused.

    A shim prints the version, which no Debian has; everything else is real docker.
    """
    shim = tmp_path / "bin"
    shim.mkdir()
    (shim / "docker").write_text(OLD_BUILDX)
    (shim / "docker").chmod(0o755)
    path = f"{shim}:{machine.environment()['PATH']}"
    store = tmp_path / "store"
    ran = machine.run(
        *("build", *flags, "--backend", f"type=local,dir={store}"),
        folder=project,
        status=ENGINE,
        PATH=path,
    )
    assert "buildx 0.12.1 is too old; bxcache needs 0.13 or later" in ran.err
    assert not (store / "index.json").exists()


def test_an_engine_that_is_too_old_builds(machine: Machine, project: Path, tmp_path: Path) -> None:
    """An engine that is too old builds without saving a cache.

    A shim prints the version, which no available Debian has.
    """
    shim = tmp_path / "bin"
    shim.mkdir()
    (shim / "docker").write_text(
        '#!/bin/sh\n[ "$1" = version ] && echo \'{"Client":{"Version":"24.0.9"},'
        '"Server":{"Version":"24.0.9","Os":"linux","Arch":"amd64"}}\' && exit\n'
        'PATH="${PATH#*:}" exec docker "$@"\n'
    )
    (shim / "docker").chmod(0o755)
    if machine.builder:
        pytest.skip("an outside engine is used through a builder of its own")
    path = f"{shim}:{machine.environment()['PATH']}"
    built = machine.build(folder=project, PATH=path)
    (warning,) = built["warnings"]
    assert "docker engine 24.0.9 is too old: this needs 26.0 or later" in warning
    assert CREATE in warning


def test_a_bad_config_builds_nothing(machine: Machine, project: Path) -> None:
    """A configuration error has its own exit status."""
    (project / "bxcache.toml").write_text("[biuld]\n")
    before = sorted(project.rglob("*"))
    ran = machine.run("build", folder=project, status=78)
    assert "bxcache.toml:1: biuld: is unknown; did you mean `build`?" in ran.err
    assert "Traceback" not in ran.err
    assert sorted(project.rglob("*")) == before


def test_a_directory_that_cannot_be_a_store_costs_a_warning(
    machine: Machine, project: Path
) -> None:
    """An unusable directory stays unchanged and costs a warning, which `strict` makes an error."""
    for name in ("linked", "newer", "damaged"):
        (project / name / ".bxcache").mkdir(parents=True)
    (project / "linked" / ".bxcache").rmdir()
    (project / "linked" / ".bxcache").symlink_to("../src")
    (project / "newer" / ".bxcache" / "version").write_text("99\n")
    (project / "damaged" / "index.json").write_text("{")
    shapes = {
        "Dockerfile": "is not a directory",
        "Dockerfile/below": "is not a directory",
        "src": "it contains `main.c`",
        "linked": "is a link",
        "newer": "has version `99`",
        "damaged": "index",
    }
    before = {path: path.lstat().st_mtime_ns for path in (project / "src").rglob("*")}
    for number, (store, why) in enumerate(shapes.items()):
        words = ("--backend", f"type=local,dir={store}")
        if number == 0:
            assert why in machine.run("build", "--dry-run", *words, folder=project).out
        strict, status = (("--strict",), 75) if number == 0 else ((), 0)
        built = machine.build(*words, "-t", "app", *strict, folder=project, status=status)
        (warning,) = built["warnings"]
        assert warning.startswith(f"the local cache `{store}` was not used: ")
        assert why in warning
        assert [each["exported"] for each in built["caches"]] == [False]
        assert built["image"]["digest"]
    assert {path: path.lstat().st_mtime_ns for path in (project / "src").rglob("*")} == before
