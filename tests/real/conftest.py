"""Real engines for the tests, always stopped and cleaned up.

Where no engine can be had, a test is skipped on a laptop and fails in CI (`CI` is set).
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.engines import (
    DockerClient,
    Engine,
    EngineError,
    Registry,
    busybox_context,
    container_builder,
    external_engine,
    remote_builder,
)
from tests.engines.builders import new_builder
from tests.real.machines import Machine

MakeMachine = Callable[..., Machine]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs an engine, so that `-m 'not engine'` runs anywhere."""
    for item in items:
        if {"machines", "machine", "registry"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("engine")


@contextmanager
def _required() -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        if os.environ.get("CI"):
            pytest.fail(f"a real engine is needed in CI: {error}")
        pytest.skip(str(error))


@contextmanager
def _start(kind: str) -> Iterator[tuple[DockerClient, str]]:
    """A brand-new machine of a kind, with no cache at all."""
    outside = external_engine()
    with ExitStack() as stack:
        if outside is not None and kind in ("docker", "docker-container"):
            name = stack.enter_context(new_builder(outside))
            yield outside, name
            return
        suite = "trixie" if kind == "oldest" else "forky"
        engine = stack.enter_context(Engine(suite, containerd_store=kind != "classic"))
        builder = ""
        if kind == "docker-container":
            # The registry of the tests is on this machine's loopback.
            builder = stack.enter_context(container_builder(engine, network="host"))
        elif kind == "remote":
            builder = stack.enter_context(remote_builder(engine))
        yield engine, builder


@pytest.fixture
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeMachine]:
    """Makes brand-new machines: `machines("docker-container")`."""
    with ExitStack() as stack:

        def make(kind: str = "docker") -> Machine:
            with _required():
                engine, builder = stack.enter_context(_start(kind))
            return Machine(engine, tmp_path_factory.mktemp("home"), builder)

        yield make


@pytest.fixture(scope="session")
def _shared_engine() -> Iterator[tuple[DockerClient, str]]:
    with ExitStack() as stack:
        with _required():
            started = stack.enter_context(_start("docker"))
        yield started


@pytest.fixture
def machine(_shared_engine: tuple[DockerClient, str], tmp_path: Path) -> Machine:
    """A machine that other tests use too; what they build is another project."""
    engine, builder = _shared_engine
    return Machine(engine, tmp_path / "home", builder)


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry on a free loopback port."""
    with ExitStack() as stack:
        with _required():
            started = stack.enter_context(Registry())
        yield started


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An application of four stages, of which one is not part of the image.

    `/deps/blob` is random: two images that have the same one share the step that made it.
    """
    folder = tmp_path / "app"
    (folder / "src").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "src" / "main.c").write_text(f"// {tmp_path}\n")
    (folder / "deps.txt").write_text(f"{tmp_path}\n")
    # What each project starts with is its own, so that no other test's build has it in the engine.
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
