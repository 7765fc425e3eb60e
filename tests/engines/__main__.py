"""Shows that every kind of engine and builder works here: `python3 -m tests.engines`."""

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.engines import (
    Engine,
    EngineError,
    Registry,
    busybox_image,
    container_builder,
    debian_base,
    ensure_suite,
    load_busybox,
    remote_builder,
)
from tests.engines.builders import builder_image

DOCKERFILE = """\
FROM busybox AS build
COPY notes /src/notes
RUN wc -c < /src/notes > /out
FROM busybox
COPY --from=build /out /out
RUN test -s /out
"""
SUITES = ("forky", "trixie")


@dataclass(frozen=True)
class Trial:
    """A trial of an engine, with its own builder unless another one is named."""

    engine: Engine
    builder: str = ""

    def run(self, *, exports: bool) -> str:
        """Build, forget, build again from what was kept; return what was reused."""
        with tempfile.TemporaryDirectory() as name:
            context = Path(name)
            (context / "Dockerfile").write_text(DOCKERFILE)
            (context / ".dockerignore").write_text("cache\n")
            (context / "notes").write_text("notes\n")
            store = context / "cache"
            if not exports:
                self.build(context)
                return f"{self.build(context)} of 4 steps reused without an export"
            self.build(context, "--cache-to", f"type=local,dest={store},mode=max")
            self.buildx("prune", "--all", "--force")
            reused = self.build(context, "--cache-from", f"type=local,src={store}")
            return f"{reused} of 4 steps reused from a local export"

    def build(self, context: Path, *options: str) -> int:
        """Build without network and return how many steps were reused."""
        if self.builder:
            options = (
                *options,
                "--build-context",
                f"busybox=oci-layout://{busybox_image().layout}",
            )
        plain = ("--progress", "plain", "--network", "none", "--output", "type=cacheonly")
        return self.buildx("build", *plain, *options, str(context)).count(" CACHED\n")

    def buildx(self, *arguments: str) -> str:
        """Run buildx with the builder of this trial and return what it reports."""
        chosen = ("--builder", self.builder) if self.builder else ()
        return self.engine.docker("buildx", *chosen, *arguments).stderr


@contextmanager
def engine_trial(suite: str, *, containerd_store: bool) -> Iterator[Trial]:
    """Try an engine's own builder."""
    with Engine(suite, containerd_store=containerd_store) as engine:
        load_busybox(engine)
        yield Trial(engine)


@contextmanager
def builder_trial(suite: str, *, driver: str) -> Iterator[Trial]:
    """Try a builder of another driver."""
    opened = container_builder if driver == "docker-container" else remote_builder
    with Engine(suite) as engine, opened(engine) as name:
        yield Trial(engine, name)


def timed(words: str, action: Callable[[], object]) -> None:
    """Print an action, and how long it takes."""
    begun = time.monotonic()
    outcome = action()
    told = outcome if isinstance(outcome, str) else ""
    print(f"{words:<26}{time.monotonic() - begun:6.1f} s  {told}".rstrip(), flush=True)


def try_kind(suite: str, kind: str) -> str:
    """Start one kind, build with it, stop it, and return what happened."""
    with ExitStack() as stack:
        if kind in ("docker-container", "remote"):
            trial = stack.enter_context(builder_trial(suite, driver=kind))
        else:
            store = kind == "containerd store"
            trial = stack.enter_context(engine_trial(suite, containerd_store=store))
        outcome = trial.run(exports=kind != "classic store")
        engine = trial.engine.docker("version", "--format", "{{.Server.Version}}").stdout.strip()
        buildx = trial.engine.docker("buildx", "version").stdout.split()[1]
        return f"docker {engine}, buildx {buildx}: {outcome}"


def try_registry() -> str:
    """Start a registry and push an image to it."""
    with Registry() as registry, Engine() as engine:
        tag = load_busybox(engine, f"{registry.address}/busybox:latest")
        engine.docker("push", "--quiet", tag)
        return f"{tag} pushed"


def main() -> int:
    """Prepare and try everything."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        for suite in SUITES:
            timed(f"packages of {suite}", partial(ensure_suite, suite))
        timed("busybox image", busybox_image)
        for suite in SUITES:
            tools = ensure_suite(suite)
            timed(f"builder image of {suite}", partial(builder_image, tools))
        timed("debian image", debian_base)
        for suite in SUITES:
            for kind in ("containerd store", "classic store", "docker-container", "remote"):
                timed(f"{suite} {kind}", partial(try_kind, suite, kind))
        timed("registry", try_registry)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
