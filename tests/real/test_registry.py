"""The registry and inline backends on real engines and a real registry."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.conftest import STEPS, STEPS_OF_CHECK, MakeMachine
from tests.real.machines import Machine, count
from tests.support.sampling import more

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines import Registry

CLOSED = "127.0.0.1:1"
"""Nothing listens there."""


def fetch(registry: Registry, path: str) -> dict[str, Any]:
    """Return a document of the registry, through its own API."""
    accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
    request = urllib.request.Request(
        f"http://{registry.address}/v2/{path}", headers={"Accept": accept}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        document: dict[str, Any] = json.load(answer)
        return document


@pytest.mark.parametrize("kind", ["docker", "docker-container", "oldest", *more("remote")])
def test_a_fresh_machine_reuses_every_stage_from_a_registry(
    kind: str, machines: MakeMachine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Stages that are not in the image are reused, too: a random file in one is the same."""
    backend = ("--backend", f"type=registry,ref={registry.address}/{tmp_path.name.lower()}")
    outputs = [("-o", f"type=local,dest={tmp_path / name}") for name in "ab"]
    cold = machines(kind).build(*backend, *outputs[0], folder=project)
    assert count(cold) == (0, STEPS)
    assert cold["caches"][0]["exported"]
    assert cold["warnings"] == []
    warm = machines(kind).build(*backend, *outputs[1], folder=project)
    assert count(warm) == (STEPS, 0)
    assert warm["caches"][0]["imported"]
    one, other = (tmp_path / name / "app" / "app" for name in "ab")
    assert one.read_bytes() == other.read_bytes()


def test_each_scope_has_its_tag(
    machine: Machine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """The registry has both targets, with the digests that the result reports."""
    name = tmp_path.name.lower()
    backend = ("--backend", f"type=registry,ref={registry.address}/{name}")
    whole = machine.build(*backend, folder=project)["caches"][0]
    check = machine.build(*backend, "--target", "check", folder=project)["caches"][-1]
    tags = fetch(registry, f"{name}/tags/list")["tags"]
    labels = [f"{cache['scope']}.bxcache" for cache in (whole, check)]
    assert sorted(tags) == sorted([whole["scope"], check["scope"], *labels])
    for cache in (whole, check):
        manifest = fetch(registry, f"{name}/manifests/{cache['digest']}")
        assert manifest["config"]["mediaType"] == "application/vnd.buildkit.cacheconfig.v0"
        sizes = {layer["digest"]: layer["size"] for layer in manifest["layers"]}
        assert cache["bytes"] == sum(sizes.values())


def test_two_targets_are_both_reused(
    machines: MakeMachine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Both targets are reused, whichever was saved last."""
    backend = ("--backend", f"type=registry,ref={registry.address}/{tmp_path.name.lower()}")
    first = machines()
    first.build(*backend, "--target", "check", folder=project)
    first.build(*backend, folder=project)
    assert count(machines().build(*backend, folder=project)) == (STEPS, 0)
    again = machines().build(*backend, "--target", "check", folder=project)
    assert count(again) == (STEPS_OF_CHECK, 0)


def test_a_new_target_starts_from_the_whole_image(
    machines: MakeMachine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """A new target without a tag imports the whole image's cache and executes only its own step."""
    backend = ("--backend", f"type=registry,ref={registry.address}/{tmp_path.name.lower()}")
    machines().build(*backend, folder=project)
    built = machines().build(*backend, "--target", "check", folder=project)
    assert count(built) == (STEPS_OF_CHECK - 1, 1)


@pytest.mark.parametrize("kind", ["docker", "classic"])
def test_inline_reuses_the_final_stages_chain(
    kind: str, machines: MakeMachine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """The final stage's chain is reused from the pushed image; the other stages run again.

    Docker's own build argument for an inline cache may be given too.
    """
    ref = f"{registry.address}/{tmp_path.name.lower()}:main"
    words = ("--backend", f"type=inline,ref={ref}", "-t", ref, "--push", "--network", "none")
    machines(kind).build(*words, "--build-arg", "BUILDKIT_INLINE_CACHE=1", folder=project)
    warm = machines(kind).build(*words, folder=project)
    assert warm["caches"][0] == warm["caches"][0] | {"imported": True, "exported": True}
    cached = machines(kind).list_cached(f"type=registry,ref={ref}", project)
    reused, _ = count(warm)
    assert reused == len(cached) > 0
    chain = {s["stage"] for s in warm["steps"] if s["outcome"] == "reused"}
    assert "base" in chain


@pytest.mark.parametrize("kind", ["docker", "classic", "oldest", *more("docker-container")])
def test_a_build_says_what_it_pushed(
    kind: str, machines: MakeMachine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """One line has each tag and the registry's digest; a build that pushes nothing has none."""
    name, machine = tmp_path.name.lower(), machines(kind)
    tags = [f"{registry.address}/{name}:{tag}" for tag in ("one", "two")]
    words = ("build", "--network", "none", "-t", tags[0])
    loaded = machine.run(*words, folder=project)
    assert "pushed" not in loaded.err
    pushed = machine.run(*words, "-t", tags[1], "--push", folder=project)
    kinds = ("oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.v2")
    accept = ", ".join(f"application/vnd.{kind}+json" for kind in kinds)
    for tag in ("one", "two"):
        answer = registry.ask("HEAD", f"/v2/{name}/manifests/{tag}", headers={"Accept": accept})
        digest = answer.headers["Docker-Content-Digest"]
        assert f"pushed {', '.join(tags)} {digest[:19]}" in pushed.err.splitlines()


def test_a_local_store_and_a_registry_hold_the_same(
    machines: MakeMachine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """One build saves both backends, each complete, with different compressions, listed alike."""
    ref = f"{registry.address}/{tmp_path.name.lower()}"
    store = tmp_path / "store"
    backends = (
        *("--backend", f"type=local,dir={store},compression=zstd,force-compression=true"),
        *("--backend", f"type=registry,ref={ref}"),
    )
    machine = machines()
    built = machine.build(*backends, folder=project)
    assert built["warnings"] == []
    listed = [
        json.loads(machine.run(kind, "ls", "--from", where, "--json", folder=project).out)
        for kind, where in (("store", str(store)), ("registry", ref))
    ]
    ours, (theirs,) = listed[0]["scopes"], listed[1]["registries"][0]["scopes"]
    same = ("name", "image", "target", "platforms", "branch", "steps")
    assert [{key: each[key] for key in same} for each in ours] == [
        {key: theirs[key] for key in same}
    ]
    assert theirs["steps"] == STEPS
    remote = fetch(registry, f"{tmp_path.name.lower()}/manifests/{theirs['digest']}")
    assert theirs["layers"] == len({each["digest"] for each in remote["layers"]})
    digests = {cache["backend"]: cache["digest"] for cache in built["caches"]}
    assert digests["local"] != digests["registry"]
    manifest = json.loads((store / "blobs" / digests["local"].replace(":", "/")).read_text())
    assert ours[0]["layers"] == len({each["digest"] for each in manifest["layers"]})
    for blob in (manifest["config"], *manifest["layers"]):
        assert (store / "blobs" / blob["digest"].replace(":", "/")).stat().st_size == blob["size"]
    for backend in (f"type=local,dir={store}", f"type=registry,ref={ref}"):
        assert count(machines().build("--backend", backend, folder=project)) == (STEPS, 0)


def test_an_empty_store_is_filled_from_the_registry(
    machines: MakeMachine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """A new machine's empty store is filled from the registry that CI saved to."""
    registered = f"type=registry,ref={registry.address}/{tmp_path.name.lower()}"
    machines().build("--backend", registered, folder=project)
    store = f"type=local,dir={tmp_path / 'store'}"
    laptop = machines().build("--backend", store, "--backend", registered, folder=project)
    assert count(laptop) == (STEPS, 0)
    assert count(machines().build("--backend", store, folder=project)) == (STEPS, 0)


def test_a_registry_that_is_down_costs_a_warning(
    machine: Machine, project: Path, tmp_path: Path
) -> None:
    """With the registry down, the image is built and the local store is saved, with a warning."""
    backends = (
        *("--backend", f"type=local,dir={tmp_path / 'store'}"),
        *("--backend", f"type=registry,ref={CLOSED}/cache"),
    )
    built = machine.build(*backends, folder=project)
    assert [warning for warning in built["warnings"] if f"`{CLOSED}/cache" in warning]
    exported = {cache["backend"]: cache["exported"] for cache in built["caches"]}
    assert exported == {"local": True, "registry": False}


def test_strict_fails_without_the_registry(machine: Machine, project: Path) -> None:
    """`strict` fails with its own status, after the result is reported."""
    backend = ("--backend", f"type=registry,ref={CLOSED}/cache")
    built = machine.build(*backend, "--strict", folder=project, status=75)
    assert built["exit_status"] == 0
    assert built["warnings"]


def test_an_empty_registry_costs_no_warning(
    machine: Machine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """A first build, without anything to import, does not warn."""
    backend = ("--backend", f"type=registry,ref={registry.address}/{tmp_path.name.lower()}")
    built = machine.build(*backend, "--strict", folder=project)
    assert built["warnings"] == []
    assert not built["caches"][0]["imported"]
