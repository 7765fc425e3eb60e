"""What is missing or wrong is said before anything is built: one clear error, with its mend."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.real.conftest import MakeMachine
from tests.real.machines import Machine, Ran

ENGINE = 69


def refused(machine: Machine, *arguments: str, folder: Path, **more: str) -> str:
    """The error of a build that was refused; nothing was built and nothing written."""
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
    """A PATH with nothing but the named programs."""
    folder = tmp_path / "path"
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(shutil.which(name) or "/nonexistent")
    return str(folder)


def test_no_docker(machine: Machine, project: Path, tmp_path: Path) -> None:
    """Nothing called docker on PATH."""
    error = refused(machine, folder=project, PATH=only(tmp_path))
    assert "there is no `docker` on PATH" in error
    assert "apt-get install" in error


def test_no_buildx(machine: Machine, project: Path, tmp_path: Path) -> None:
    """A docker without the plugin."""
    (tmp_path / "empty").mkdir()
    # The plugin may also be installed for all users; then docker finds it in spite of us.
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
    """No socket there."""
    host = f"unix://{tmp_path / 'nothing'}"
    error = refused(machine, folder=project, DOCKER_HOST=host, BUILDX_BUILDER="")
    assert "docker's engine does not answer" in error
    assert host in error
    assert "systemctl start docker" in error


def test_the_classic_store_cannot_export(
    machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """Plain buildx refuses too, after it has loaded everything."""
    machine = machines("classic")
    for backend in (f"type=local,dir={tmp_path / 'store'}", "type=registry,ref=127.0.0.1:1/x"):
        error = refused(machine, "--backend", backend, folder=project)
        assert "classic image store" in error
        assert "docker buildx create --name bxcache --driver docker-container --use" in error
        assert "containerd-snapshotter" in error
    raw = machine.raw(
        "--cache-to", f"type=local,dest={tmp_path / 'x'}", ".", folder=project, check=False
    )
    assert "Cache export is not supported" in raw.stderr


def test_no_such_builder(machine: Machine, project: Path) -> None:
    """By its name."""
    error = refused(machine, "--builder", "nobody", folder=project)
    assert "there is no builder `nobody`" in error
    assert "docker buildx ls" in error


def test_a_builder_out_of_reach(machine: Machine, project: Path, tmp_path: Path) -> None:
    """A remote one whose address nobody listens at."""
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


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_buildx_is_too_old(
    flags: tuple[str, ...], machine: Machine, project: Path, tmp_path: Path
) -> None:
    """No Debian has one that old, so a shim answers as it did; all else is the real docker."""
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


def test_the_engine_is_too_old(machine: Machine, project: Path, tmp_path: Path) -> None:
    """No Debian that still has packages has one that old either."""
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
    error = refused(machine, folder=project, PATH=path)
    assert "docker engine 24.0.9 is too old; bxcache needs 26.0 or later" in error


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ("[biuld]\n", 78, "bxcache.toml:1: biuld: is unknown; did you mean `build`?"),
        ("[[cache.backends]]\ntype = 'local'\ndir = 'Dockerfile'\n", 74, "is no directory"),
        ("[[cache.backends]]\ntype = 'local'\ndir = 'src'\n", 74, "it holds `main.c`"),
    ],
)
def test_a_bad_config_builds_nothing(
    text: str, status: int, message: str, machine: Machine, project: Path
) -> None:
    """Each kind of trouble has its own exit status."""
    (project / "bxcache.toml").write_text(text)
    before = sorted(project.rglob("*"))
    ran = machine.run("build", folder=project, status=status)
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert sorted(project.rglob("*")) == before


def test_a_missing_context_is_dockers_error(machine: Machine, project: Path) -> None:
    """In docker's own words, with its status."""
    raw = machine.raw("nowhere", folder=project, check=False)
    ran = machine.run("build", "nowhere", folder=project, status=raw.returncode)
    assert 'path "nowhere" not found' in ran.err
