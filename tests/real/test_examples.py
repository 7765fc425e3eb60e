"""The files of `examples/` work as they are; only host names are replaced."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines import busybox_image
from tests.real.bakes import bake, forget

if TYPE_CHECKING:
    from tests.engines import Registry
    from tests.real.machines import Machine

EXAMPLES = Path(__file__).parents[2] / "examples"
HOST = "registry.example.com"


@pytest.fixture
def base() -> str:
    """Busybox as a named context, in place of one that would be pulled."""
    return f"busybox=oci-layout://{busybox_image().layout}"


def check_out(name: str, folder: Path, host: str = HOST) -> Path:
    """Make a checkout of an example, which pushes to the given host."""
    checkout = folder / name
    shutil.copytree(EXAMPLES / name, checkout)
    (checkout / ".git").mkdir()
    config = checkout / "bxcache.toml"
    config.write_text(config.read_text().replace(HOST, host))
    return checkout


def run_release(
    machine: Machine, checkout: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the release script in a checkout."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "release.py"), *arguments],
        cwd=checkout,
        env=machine.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_monorepo(machine: Machine, base: str, tmp_path: Path) -> None:
    """Three images have scopes of their own in one store."""
    checkout = check_out("monorepo", tmp_path)
    scopes = set()
    for image in ("api", "worker", "web"):
        document = machine.build("--image", image, "--build-context", base, folder=checkout)
        assert document["image"]["tags"] == [f"shop/{image}"]
        assert document["warnings"] == []
        [cache] = document["caches"]
        assert cache["exported"]
        assert cache["place"] == str(checkout / ".bxcache")
        scopes.add(cache["scope"])
        assert not any(step["stage"] == "check" for step in document["steps"])
    assert len(scopes) == 3


def test_bake(machine: Machine, registry: Registry, base: str, tmp_path: Path) -> None:
    """Every target has a scope of its own, in the store and in the registry, and is reused."""
    checkout = check_out("bake", tmp_path, f"{registry.address}/{tmp_path.name}")
    name, _, layout = base.partition("=")
    words = ("--set", f"*.contexts.{name}={layout}")
    (checkout / "docker-bake.override.hcl").write_text('target "_common" { network = "none" }\n')
    first = bake(machine, checkout, *words)
    second = bake(forget(machine, checkout), checkout, *words)
    assert sorted(first) == ["api", "web", "worker-mails", "worker-orders"]
    # `web` is made from `api`, and BuildKit may miss what such targets share, whatever they import:
    # https://github.com/docker/buildx/issues/3878
    executed = {target: document["counts"]["executed"] for target, document in second.items()}
    assert executed.pop("web") < first["web"]["counts"]["executed"] == 3
    assert executed == {"api": 0, "worker-mails": 0, "worker-orders": 0}
    for target, document in second.items():
        assert document["counts"]["failed"] == 0
        assert document["image"]["tags"] == [f"shop/{target}:dev"]
        assert first[target]["warnings"] == document["warnings"] == []
        scopes = {cache["scope"].partition(".")[0] for cache in document["caches"]}
        assert scopes == {target}
        assert {cache["backend"] for cache in first[target]["caches"]} == {"local", "registry"}


@pytest.mark.parametrize("name", ["registry", "inline", "inline-stages"])
def test_caches_in_a_registry(
    name: str, machine: Machine, registry: Registry, base: str, tmp_path: Path
) -> None:
    """The second build reuses every step that the first one pushed."""
    checkout = check_out(name, tmp_path, f"{registry.address}/{tmp_path.name}")
    words = ("--build-context", base)
    first = machine.build(*words, folder=checkout)
    second = forget(machine, checkout).build(*words, folder=checkout)
    assert first["counts"]["failed"] == second["counts"]["failed"] == 0
    assert first["caches"][0]["exported"]
    assert second["caches"][0]["imported"]
    assert second["counts"]["executed"] == 0
    assert second["warnings"] == []


def test_the_quickstart_config_is_valid(machine: Machine, tmp_path: Path) -> None:
    """A dry run accepts the quickstart; `python3 -m tests.quickstart` builds it."""
    checkout = check_out("quickstart", tmp_path)
    ran = machine.run("build", "--network", "host", "--dry-run", folder=checkout)
    assert f"{checkout}/.bxcache" in ran.out
    assert "compression=zstd" in ran.out


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("bxcache.toml")), ids=str)
def test_every_key_has_an_effect(file: Path) -> None:
    """No key in an example's config file is without effect."""
    command = [sys.executable, "-m", "bxcache", "config", "show", "--config", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "no effect" not in ran.stderr


def test_release(machine: Machine, base: str, tmp_path: Path) -> None:
    """A second release of the same source executes nothing."""
    checkout = check_out("registry", tmp_path)
    (checkout / "bxcache.toml").write_text('[build]\nnetwork = "none"\n')
    ran = [run_release(machine, checkout, "1.0", base)]
    ran += [run_release(forget(machine, checkout), checkout, "1.0", base)]
    assert [each.returncode for each in ran] == [0, 0], ran[0].stderr + ran[1].stderr
    assert "app:1.0 is sha256:" in ran[0].stdout
    assert "3 of 3 steps reused" in ran[1].stdout
    assert f"saved to {machine.home}" in ran[1].stdout


def test_a_wrong_argument_prints_the_usage(machine: Machine, base: str, tmp_path: Path) -> None:
    """A word that is not a named context builds nothing and prints the usage."""
    checkout = check_out("registry", tmp_path)
    ran = run_release(machine, checkout, "1.0", base.partition("=")[0])
    assert ran.returncode == 2
    assert "release.py VERSION" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_failed_build_is_not_released(machine: Machine, base: str, tmp_path: Path) -> None:
    """A failed build ends the release with the reason and docker's exit status."""
    checkout = check_out("registry", tmp_path)
    (checkout / "bxcache.toml").write_text('[build]\nnetwork = "none"\n')
    with (checkout / "Dockerfile").open("a") as file:
        file.write("RUN exit 3\n")
    ran = run_release(machine, checkout, "1.0", base)
    assert ran.returncode == 1
    assert ran.stderr.startswith("no release: ")
    assert ran.stdout == ""
