"""A failing registry costs one warning when the stages of a build are pushed as images."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

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
from tests.real.conftest import STEPS, MakeMachine
from tests.real.machines import count
from tests.real.stages import SAVED, SCOPE, Shelf, told
from tests.support.sampling import more

if TYPE_CHECKING:
    from tests.engines import Registry
    from tests.engines.proxy import FaultyProxy


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


@pytest.mark.parametrize(
    "name",
    [
        *("500 for a blob", "cut at a manifest", "stall at a manifest", "500 for the one image"),
        *more("403 for a blob", "500 for a manifest", "gone at a manifest"),
    ],
)
def test_a_push_that_fails_costs_a_warning(
    name: str,
    machines: MakeMachine,
    faulty: Shelf,
    proxy: FaultyProxy,
    project: Path,
) -> None:
    """After a failed push, the image is built, the old cache is read, and the next build saves."""
    source = project / "src" / "main.c"
    machine = machines("classic")
    first = machine.build(*faulty.backend(), folder=project)
    assert (told(first), first["warnings"]) == (SAVED, [])
    before, text = faulty.tags()[SCOPE], source.read_text()
    source.write_text("// another one\n")
    fault, rule = FAULTS[name]
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
    executed = [step["text"] for step in reader["steps"] if step["outcome"] != "reused"]
    assert (executed, reader["warnings"]) == ([], [])
    assert count(reader) == (STEPS, 0)
    source.write_text("// another one\n")
    again = machine.build(*faulty.backend(), folder=project)
    assert (again["warnings"], again["caches"][0]["exported"]) == ([], True)
    assert count(machines("classic").build(*faulty.backend(), folder=project)) == (STEPS, 0)


def test_strict_fails_when_the_stages_are_not_saved(
    machines: MakeMachine, faulty: Shelf, proxy: FaultyProxy, project: Path
) -> None:
    """`strict` fails with the registry's error, after the image is built."""
    proxy.fail(fault=BROKEN, matching=writing_manifests())
    built = machines("classic").build(*faulty.backend(), "--strict", folder=project, status=75)
    assert built["exit_status"] == 0
    assert "500" in " ".join(built["warnings"])


def test_a_registry_that_denies_access_costs_advice_to_log_in(
    machines: MakeMachine, private_registry: Registry, project: Path, tmp_path: Path
) -> None:
    """A registry that denies access costs a warning with advice, and the build succeeds."""
    shelf = Shelf.of(private_registry, tmp_path)
    built = machines("classic").build(*shelf.backend(), folder=project)
    assert count(built) == (0, STEPS)
    (warning,) = built["warnings"]
    assert f"`docker login {private_registry.address}`" in warning


def processes(mark: str) -> list[str]:
    """Return the command lines of the processes that have a text in their environment."""
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
    """A stopped push leaves no process and no file, and does not change the saved cache."""
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
    """A build leaves no process and no file, whether or not its stages could be pushed."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    if fails:
        proxy.fail(fault=Stall(), matching=writing_manifests())
    words = (*faulty.backend(timeout="5s"), "--target", "build")
    machines("classic").build(*words, folder=project, TMPDIR=str(folder))
    assert list(folder.iterdir()) == []
    assert processes(f"TMPDIR={folder}") == []


def test_a_push_is_repeated_after_a_temporary_failure(
    machines: MakeMachine, faulty: Shelf, proxy: FaultyProxy, project: Path
) -> None:
    """A push is repeated after a temporary failure, even if the engine itself pushes only once."""
    proxy.fail(fault=BROKEN, matching=writing_manifests(), times=2)
    built = machines("classic").build(*faulty.backend(), folder=project)
    assert built["warnings"] == []
    assert built["caches"][0]["exported"]


@pytest.mark.parametrize("kind", ["classic", "docker"])
def test_images_that_lack_their_cache_are_pushed_again(
    kind: str, machines: MakeMachine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """If BuildKit leaves the inline cache out of images, they are pushed again, each by itself."""
    shelf = Shelf.of(registry, tmp_path)
    machine = machines(kind).where_bake_forgets()
    built = machine.build(*shelf.backend(), folder=project)
    assert (told(built), built["warnings"]) == (SAVED, [])
    assert count(machines(kind).build(*shelf.backend(), folder=project)) == (STEPS, 0)
