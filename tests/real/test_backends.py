"""Builds with several backends, nodes or platforms save and reuse every cache completely."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines import LOGIN, Engine, remote_builder
from tests.real.conftest import STEPS, MakeMachine
from tests.real.machines import Machine, count
from tests.real.manifests import pushed_layers, stored_layers
from tests.support.sampling import more

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engines import FaultyProxy, Registry

IN_THE_BUILD = ("--", "--no-cache-filter=absent")
"""A flag that bxcache does not know: such a build saves its cache while it builds."""


def words(*backends: str) -> list[str]:
    return [word for each in backends for word in ("--backend", each)]


def kinds_of(layers: list[dict[str, Any]]) -> set[str]:
    return {each["mediaType"].rpartition("+")[2] for each in layers}


@pytest.mark.parametrize(
    ("kind", "when"),
    [
        *(("docker", "apart"), ("oldest", "apart"), ("docker", "in the build")),
        *more(("docker-container", "apart"), ("docker-container", "in the build")),
        *more(("oldest", "in the build")),
    ],
)
def test_each_backend_has_its_own_compression(
    kind: str,
    when: str,
    machines: MakeMachine,
    registry: Registry,
    project: Path,
    tmp_path: Path,
) -> None:
    """Each backend keeps its compression, and each alone lets a fresh machine reuse everything.

    Plain buildx writes the digest of the last export into the index of every local backend.
    """
    store, ref = tmp_path / "store", f"{registry.address}/{tmp_path.name.lower()}"
    local, pushed = f"type=local,dir={store}", f"type=registry,ref={ref}"
    zstd = f"{pushed},compression=zstd,force_compression=true"
    later = IN_THE_BUILD if when == "in the build" else ()
    built = machines(kind).build(*words(local, zstd), *later, folder=project)
    assert built["warnings"] == []
    assert [each["exported"] for each in built["caches"]] == [True, True]
    stored = next(each for each in built["caches"] if each["backend"] == "local")
    # If BuildKit saves both at once, it may give the store the blobs that it compressed for the
    # registry; 26.1 always does.
    if later != IN_THE_BUILD:
        assert kinds_of(stored_layers(store, stored["digest"])) == {"gzip"}
    assert kinds_of(pushed_layers(registry, ref, built["caches"][0]["scope"])) == {"zstd"}
    for backend in (local, pushed):
        again = machines(kind).build(*words(backend), "--write", "never", folder=project)
        assert count(again) == (STEPS, 0), backend


def test_the_first_backend_with_a_cache_is_read(
    machines: MakeMachine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """The store is read before the registry; a new store is filled from the registry's cache."""
    store, ref = tmp_path / "store", f"{registry.address}/{tmp_path.name.lower()}"
    both = words(f"type=local,dir={store}", f"type=registry,ref={ref}")
    machines().build(*both, folder=project)
    mark = len(registry.requests())
    again = machines().build(*both, folder=project)
    assert count(again) == (STEPS, 0)
    assert [e["backend"] for e in again["caches"] if e["imported"]] == ["local"]
    name = ref.partition("/")[2]
    asked = [each for each in registry.requests(mark) if f"/v2/{name}/blobs/" in each.path]
    assert asked == []
    other = tmp_path / "other"
    elsewhere = words(f"type=local,dir={other}", f"type=registry,ref={ref}")
    third = machines().build(*elsewhere, folder=project)
    assert count(third) == (STEPS, 0)
    assert [e["backend"] for e in third["caches"] if e["imported"]] == ["registry"]
    fourth = machines().build(*words(f"type=local,dir={other}"), folder=project)
    assert count(fourth) == (STEPS, 0)


def test_a_registry_that_is_down_does_not_spoil_the_store(
    machines: MakeMachine, proxy: FaultyProxy, project: Path, tmp_path: Path
) -> None:
    """If the registry is down, the build has one warning, and the store is saved and reused."""
    store, ref = tmp_path / "store", f"{proxy.address}/{tmp_path.name.lower()}"
    both = words(f"type=local,dir={store}", f"type=registry,ref={ref}")
    proxy.refuse()
    built = machines().build(*both, folder=project)
    assert [(e["backend"], e["exported"]) for e in built["caches"]] == [
        ("local", True),
        ("registry", False),
    ]
    assert len(built["warnings"]) == 1
    assert count(machines().build(*words(f"type=local,dir={store}"), folder=project)) == (STEPS, 0)


TWO = """\
FROM scratch AS files
COPY deps.txt /deps
FROM files AS own
ARG TARGETARCH
COPY ${TARGETARCH} /arch
FROM scratch
COPY --from=own / /all
COPY src /src
"""
TWO_STEPS = 4


@contextmanager
def two_nodes(home: Path) -> Iterator[Machine]:
    """Start a machine whose builder has a node of its own for each platform."""
    with Engine() as first, Engine() as second:
        platforms = ("linux/amd64", "linux/arm64")
        with remote_builder(first, second, platforms=platforms) as name:
            yield Machine(first, home, name)


@pytest.mark.parametrize(
    ("later", "meet"),
    [((), False), ((), True), *more((IN_THE_BUILD, False))],
    ids=["apart", "having met", "in the build"],
)
def test_a_builder_of_two_nodes_loses_nothing(
    later: tuple[str, ...],
    meet: bool,  # noqa: FBT001
    registry: Registry,
    project: Path,
    tmp_path: Path,
) -> None:
    """A builder of two nodes saves the caches of both; plain buildx keeps only the last one."""
    (project / "Dockerfile").write_text(TWO)
    for name in ("amd64", "arm64"):
        (project / name).write_text(f"{name} {tmp_path}\n")
    store, ref = tmp_path / "store", f"{registry.address}/{tmp_path.name.lower()}"
    backends = (f"type=local,dir={store}", f"type=registry,ref={ref}")
    job = ("--platform", "linux/amd64,linux/arm64", "-o", "type=cacheonly")
    with two_nodes(tmp_path / "home") as machine:
        own = machine.where_nodes_meet("export", tmp_path / "met") if meet else machine
        first = own.build(*words(*backends), *job, *later, folder=project)
    assert not meet or (tmp_path / "met" / "count").read_text() == "second\n"
    assert count(first) == (0, 2 * TWO_STEPS)
    assert first["warnings"] == []
    recorded = first["stages"]
    assert [stage["name"] for stage in recorded] == ["files", "own", "stage-2"]
    for backend in backends:
        with two_nodes(tmp_path / "home") as machine:
            again = machine.build(*words(backend), *job, "--write", "never", folder=project)
            assert count(again) == (2 * TWO_STEPS, 0), backend
            assert again["warnings"] == []


def test_two_nodes_save_to_two_registries_in_one_build(
    registry: Registry, private_registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Each of two registries gets both nodes' caches, though BuildKit reports them together."""
    (project / "Dockerfile").write_text(TWO)
    for name in ("amd64", "arm64"):
        (project / name).write_text(f"{name} {tmp_path}\n")
    name = tmp_path.name.lower()
    backends = [
        f"type=registry,ref={registry.address}/{name}",
        f"type=registry,ref={private_registry.address}/{name},compression=zstd",
    ]
    job = ("--platform", "linux/amd64,linux/arm64", "-o", "type=cacheonly")
    with two_nodes(tmp_path / "home") as machine:
        known = machine.logged_in(private_registry.address, LOGIN)
        first = known.build(*words(*backends), *job, *IN_THE_BUILD, folder=project)
    assert count(first) == (0, 2 * TWO_STEPS)
    assert first["warnings"] == []
    for backend in backends:
        with two_nodes(tmp_path / "home") as machine:
            known = machine.logged_in(private_registry.address, LOGIN)
            again = known.build(*words(backend), *job, "--write", "never", folder=project)
            assert count(again) == (2 * TWO_STEPS, 0), backend


@pytest.mark.parametrize("kind", ["docker", *more("docker-container", "remote")])
def test_one_platform_for_each_job_of_a_matrix(
    kind: str, machines: MakeMachine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Jobs for different platforms do not overwrite each other's caches, and reuse their own."""
    (project / "Dockerfile").write_text(TWO)
    for name in ("amd64", "arm64"):
        (project / name).write_text(f"{name} {tmp_path}\n")
    store, ref = tmp_path / "store", f"{registry.address}/{tmp_path.name.lower()}"
    backends = (f"type=local,dir={store}", f"type=registry,ref={ref}")
    jobs = [("--platform", f"linux/{name}", "-o", "type=cacheonly") for name in ("amd64", "arm64")]
    first = [machines(kind).build(*words(*backends), *job, folder=project) for job in jobs]
    assert [count(each) for each in first] == [(0, TWO_STEPS)] * 2
    for backend in backends:
        for job in jobs:
            again: Machine = machines(kind)
            built = again.build(*words(backend), *job, folder=project)
            assert count(built) == (TWO_STEPS, 0), (backend, job)
            assert built["warnings"] == []
    scopes = {each["caches"][0]["scope"] for each in first}
    assert scopes == {f"image.linux-{name}.no-branch" for name in ("amd64", "arm64")}
