"""Real engines for the tests, always stopped and cleaned up.

Where no engine is available, a test is skipped on a laptop and fails in CI (`CI` is set).
"""

from __future__ import annotations

import os
import shutil
import signal
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.engines import (
    LOGIN,
    SECURE_ADDRESS,
    Authority,
    DockerClient,
    Engine,
    EngineError,
    FaultyProxy,
    Registry,
    busybox_context,
    container_builder,
    external_engine,
    make_authority,
    remote_builder,
)
from tests.engines.builders import address_builder, new_builder
from tests.engines.cache_service import CacheService
from tests.engines.object_stores import S3, Azure
from tests.real.machines import Machine
from tests.real.stages import Shelf
from tests.real.warm import WarmPython
from tests.support.sampling import Effort

MakeMachine = Callable[..., Machine]
_lasting = ExitStack()
"""Resources that last until the session ends."""
ENGINES = {"buildkit", "machines", "machine", "registry", "private_registry", "secure_registry"}


LONGEST = ("history", "backends", "ci_examples", "local", "stage_dockerfiles", "corruption")
"""The files that take longest: they run first, so that no worker is left with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that need an engine, so that `-m 'not engine'` works; run long ones first."""
    for item in items:
        if ENGINES & set(getattr(item, "fixturenames", ())):
            item.add_marker("engine")
    items.sort(key=_find_turn)


def _find_turn(item: pytest.Item) -> int:
    """Put documentation and browsers first, then engines, the longest first, and units last."""
    name = item.path.stem.removeprefix("test_")
    if item.path.parent != Path(__file__).parent:
        return -1 if "unit" not in item.path.parts else len(LONGEST) + 1
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


@contextmanager
def _required() -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        if os.environ.get("CI"):
            pytest.fail(f"a real engine is needed in CI: {error}")
        pytest.skip(str(error))


@contextmanager
def _start(kind: str, **known: Mapping[str, Any]) -> Iterator[tuple[DockerClient, str]]:
    """Start a new machine of a kind, without any cache; `known` configures its engine."""
    outside = external_engine() if not known else None
    with ExitStack() as stack:
        if outside is not None and kind in ("docker", "docker-container"):
            name = stack.enter_context(new_builder(outside))
            yield outside, name
            return
        suite = "trixie" if kind.startswith("oldest") else "forky"
        containerd = "classic" not in kind
        if kind == "docker-container" and not known:
            engine = _host_of_builders()
        else:
            engine = stack.enter_context(Engine(suite, containerd_store=containerd, **known))
        builder = ""
        if kind == "docker-container":
            # The registry of the tests is on this machine's loopback.
            builder = stack.enter_context(container_builder(engine, network="host"))
            _tell_container(engine, builder)
        elif kind == "remote":
            builder = stack.enter_context(remote_builder(engine))
        yield engine, builder


@cache
def _host_of_builders() -> Engine:
    """Start the engine that runs all builders of the docker-container driver.

    Each of them is a container with an engine and a cache of its own; loading their image takes
    longer than everything else about them.
    """
    return _lasting.enter_context(Engine())


@pytest.fixture(scope="session", autouse=True)
def _lasts_for_the_session(effort: Effort) -> Iterator[None]:
    """Keep Python warm for the session; in a thorough run, every bxcache starts cold."""
    with _lasting:
        if effort == "sample":
            _lasting.enter_context(WarmPython())
        yield
    _host_of_builders.cache_clear()


def _tell_container(engine: Engine, builder: str) -> None:
    """Make the engine inside a builder's container trust what the one outside trusts."""
    # The container takes host names from the engine outside, whose network it uses.
    container = f"buildx_buildkit_{builder}0"
    for registry, authority in engine.certificates.items():
        place = f"/etc/docker/certs.d/{registry}"
        engine.docker("exec", container, "mkdir", "-p", place)
        engine.docker("cp", str(authority), f"{container}:{place}/ca.crt")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Let Ctrl-C stop what tests start: a shell makes its background jobs ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeMachine]:
    """Create new machines: `machines("docker-container")`.

    A machine from `machines(near=secure_registry)` knows that registry's name, and its authority
    unless `trusting=False`.
    """
    with ExitStack() as stack:

        def make(
            kind: str = "docker", *, near: Registry | None = None, trusting: bool = True
        ) -> Machine:
            home = tmp_path_factory.mktemp("home")
            if near is None:
                with _required():
                    engine, builder = stack.enter_context(_start(kind))
                return Machine(engine, home, builder)
            authority = near.authority if trusting else None
            known = _knowledge(near, authority)
            with _required():
                engine, builder = stack.enter_context(_start(kind, **known))
            assert isinstance(engine, Engine)
            bundle = authority.bundle if authority else None
            return Machine(engine, home, builder, engine.etc, bundle)

        yield make


def _knowledge(registry: Registry, authority: Authority | None) -> dict[str, dict[str, Any]]:
    host = registry.address.partition(":")[0]
    certificates = {registry.address: authority.file} if authority else {}
    return {"hosts": {host: SECURE_ADDRESS}, "certificates": certificates}


@pytest.fixture(scope="session")
def _shared_engine() -> Iterator[tuple[DockerClient, str]]:
    with ExitStack() as stack:
        with _required():
            started = stack.enter_context(_start("docker"))
        yield started


@pytest.fixture
def machine(_shared_engine: tuple[DockerClient, str], tmp_path: Path) -> Machine:
    """A machine that other tests use too; they build other projects."""
    engine, builder = _shared_engine
    return Machine(engine, tmp_path / "home", builder)


def list_buildkits(count: int) -> list[str]:
    """List the addresses of BuildKits without Docker, or skip the test if there are too few."""
    found = os.environ.get("BXCACHE_TEST_BUILDKIT", "").split()
    if len(found) < count:
        pytest.skip(f"BXCACHE_TEST_BUILDKIT does not name {count} buildkitd")
    return found


@pytest.fixture
def buildkit(_shared_engine: tuple[DockerClient, str], tmp_path: Path) -> Iterator[Machine]:
    """A machine whose builder is a BuildKit without Docker, with all that Docker's leaves out.

    Debian has no package of it, so that `BXCACHE_TEST_BUILDKIT` names its address.
    """
    (address, *_) = list_buildkits(1)
    engine, _ = _shared_engine
    with address_builder(engine, address) as builder:
        yield Machine(engine, tmp_path / "home", builder)


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry on a free loopback port."""
    with ExitStack() as stack:
        with _required():
            started = stack.enter_context(Registry())
        yield started


@pytest.fixture(scope="session")
def private_registry() -> Iterator[Registry]:
    """A registry that admits only `LOGIN`."""
    with ExitStack() as stack:
        with _required():
            started = stack.enter_context(Registry(login=LOGIN))
        yield started


@pytest.fixture(scope="session")
def secure_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A TLS registry whose name and authority a machine has to be given."""
    with ExitStack() as stack:
        with _required():
            authority = make_authority(tmp_path_factory.mktemp("authority"))
            started = stack.enter_context(Registry(authority=authority))
        yield started


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """A service like S3 on a free loopback port."""
    with ExitStack() as stack:
        with _required():
            started = stack.enter_context(S3())
        yield started


@pytest.fixture(scope="session")
def azure() -> Iterator[Azure]:
    """An emulator of Azure Blob Storage, where npm can fetch it."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(Azure())
        except EngineError as error:
            pytest.skip(str(error))
        yield started


@pytest.fixture
def actions() -> Iterator[CacheService]:
    """GitHub's cache service, as a job on the branch main sees it."""
    with CacheService() as started:
        yield started


@pytest.fixture
def proxy(registry: Registry) -> Iterator[FaultyProxy]:
    """The registry's second address, where a test injects faults."""
    with FaultyProxy(registry.address) as started:
        yield started


@pytest.fixture
def shelf(registry: Registry, tmp_path: Path) -> Shelf:
    """A repository of the test's own, for a cache of all stages."""
    return Shelf.of(registry, tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An application of four stages, one of which is not part of the image.

    `/deps/blob` is random: two images with the same blob share the step that made it.
    """
    return _make_project(tmp_path)


@dataclass(frozen=True)
class Saved:
    """A project, and a store with the cache of its only build, on a machine that is gone."""

    project: Path
    store: Path

    @property
    def backend(self) -> tuple[str, str]:
        """The flag that names the store."""
        return "--backend", f"type=local,dir={self.store}"


@pytest.fixture(scope="session")
def _donor(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    folder = tmp_path_factory.mktemp("donor")
    donor = Saved(_make_project(folder), folder / "store")
    with _required(), _start("docker") as (engine, builder):
        Machine(engine, folder / "home", builder).build(*donor.backend, folder=donor.project)
    return donor


@pytest.fixture
def saved(_donor: Saved, tmp_path: Path) -> Saved:
    """A test's own copy of a project and of a store with its cache."""
    for each in (_donor.project, _donor.store):
        shutil.copytree(each, tmp_path / each.name, symlinks=True)
    return Saved(tmp_path / _donor.project.name, tmp_path / _donor.store.name)


def _make_project(parent: Path) -> Path:
    folder = parent / "app"
    (folder / "src").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "src" / "main.c").write_text(f"// {parent}\n")
    (folder / "deps.txt").write_text(f"{parent}\n")
    # The first step is unique to each project, so that the engine has it from no other test.
    base = busybox_context(folder).replace("AS base\n", "AS base\nCOPY deps.txt /project\n")
    (folder / "Dockerfile").write_text(base + textwrap.dedent(STAGES))
    return folder


STAGES = """\
FROM base AS deps
COPY deps.txt /deps.txt
RUN mkdir /deps && head -c 50000 /dev/urandom > /deps/blob
FROM base AS build
COPY src /src
COPY --from=deps /deps /deps
RUN mkdir /out && cat /src/* /deps/blob > /out/app
FROM build AS check
RUN test -s /out/app && date > /checked
FROM base
COPY --from=build /out /app
RUN echo done > /done
"""
STEPS = 10
"""Of the final image: 3 of base, 2 of deps, 3 of build, 2 of the last stage."""
STEPS_OF_CHECK = 9
"""3 of base, 2 of deps, 3 of build, 1 of check."""
