"""Shows what bxcache does, with one command: `python3 -m tests.quickstart`.

Builds `examples/quickstart` on machine A, takes the local store over to a brand-new machine B,
builds again there, and shows what became of each step, and the layers of each stage. Each machine
is a private Docker engine, or a new builder on the engine that BXCACHE_TEST_DOCKER_HOST names.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bootstrap import ROOT, enter
from tests.engines import Engine, EngineError, debian_base, ensure_suite, external_engine
from tests.engines.builders import new_builder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.engines import DockerClient

APPLICATION = ROOT / "examples" / "quickstart"
BASES = ("python:3.13", "python:3.13-slim")
SUITES = ("forky", "trixie")
SHOWN = ("reused", "executed", "failed", "warning:", "note:")
WIDTH = 100


class QuickstartError(Exception):
    """A build failed; its last lines are part of the text."""


@dataclass(frozen=True)
class Place:
    """A machine: its docker, and the builder to use there instead of the default one."""

    docker: DockerClient
    builder: str = ""

    def describe(self) -> str:
        """Describe the machine's parts."""
        version = self.docker.docker("version", "--format", "{{.Server.Version}}").stdout.strip()
        buildx = self.docker.docker("buildx", "version").stdout.split()[1]
        kind = "a new builder on docker" if self.builder else "a new docker"
        return f"{kind} {version} with buildx {buildx}"

    def environment(self, home: Path) -> dict[str, str]:
        """Return an environment for bxcache with this machine and no settings of the user."""
        own = {"BUILDX_BUILDER": self.builder} if self.builder else {}
        return {**self.docker.environment(), "XDG_CACHE_HOME": str(home), **own}


@dataclass(frozen=True)
class Built:
    """A build that succeeded: bxcache's document of it, and the duration of the command."""

    document: dict[str, Any]
    seconds: float

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The steps in the document."""
        steps: list[dict[str, Any]] = self.document["steps"]
        return steps


@dataclass(frozen=True)
class Trial:
    """One folder for all that two machines share: the store, and nothing else."""

    folder: Path
    suite: str = "forky"
    base: str = ""

    @property
    def store(self) -> Path:
        """The local store."""
        return self.folder / "store"

    def arguments(self) -> list[str]:
        """Return the arguments of the build beside the application's own configuration."""
        contexts = [
            word
            for name in BASES
            if self.base
            for word in ("--build-context", f"{name}={self.base}")
        ]
        # RUN fetches from the package index; without a bridge the host's network is the way there.
        return ["--network", "host", "--backend", f"type=local,dir={self.store}", *contexts, "."]

    @contextmanager
    def machine(self) -> Iterator[Place]:
        """Start a brand-new machine, and remove every trace of it at the end."""
        outside = external_engine()
        with ExitStack() as stack:
            if outside is not None:
                yield Place(outside, stack.enter_context(new_builder(outside)))
            else:
                yield Place(stack.enter_context(Engine(self.suite)))

    def build(self, place: Place, *, quiet: bool = False) -> Built:
        """Build the application from a fresh checkout."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            checkout = Path(name) / "quickstart"
            shutil.copytree(APPLICATION, checkout)
            command = [sys.executable, "-m", "bxcache", "build", "--json", *self.arguments()]
            begun = time.monotonic()
            text = run_build(command, checkout, place.environment(Path(name)), quiet=quiet)
            return Built(json.loads(text), time.monotonic() - begun)

    def history(self, *words: str) -> str:
        """Return bxcache's history of the layers in the store, which needs no engine."""
        command = [sys.executable, "-m", "bxcache", "history", "--from", str(self.store), *words]
        done = subprocess.run(
            command, cwd=self.folder, env=os.environ, check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    def find_unknown(self) -> set[str]:
        """Return the layers that either the cache or its history lacks."""
        index = json.loads((self.store / "index.json").read_text())
        kept = {
            layer["digest"]
            for entry in index["manifests"]
            for layer in self.read_blob(entry["digest"])["layers"]
        }
        return kept ^ set(self.history("--quiet").split())

    def read_blob(self, digest: str) -> Any:  # noqa: ANN401  # any JSON value
        """Return a document of the store."""
        return json.loads((self.store / "blobs" / digest.replace(":", "/")).read_text())


@contextmanager
def open_trial(suite: str = "forky", base: str = "") -> Iterator[Trial]:
    """Prepare what both machines need: the engine's programs, the base image, a folder."""
    if external_engine() is None:
        say(f"preparing a Docker engine of {suite} (fetched the first time, then kept)")
        ensure_suite(suite)
        if not base:
            say("preparing the base image (takes about a minute the first time, then kept)")
            base = f"oci-layout://{debian_base().layout}"
    with tempfile.TemporaryDirectory(prefix="bxcache-quickstart-") as folder:
        yield Trial(Path(folder), suite, as_context(base))


def as_context(base: str) -> str:
    """Return a base image as a named context: a folder is an OCI layout, a name is an image."""
    if not base or "://" in base:
        return base
    folder = Path(base)
    return f"oci-layout://{folder.resolve()}" if folder.is_dir() else f"docker-image://{base}"


def run_build(command: list[str], folder: Path, environment: dict[str, str], *, quiet: bool) -> str:
    """Run bxcache, show its progress in short, and return what it prints on stdout."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            heard = [show(line, quiet=quiet) for line in process.stderr or ()]
            status = process.wait()
        finally:
            # After an interrupt, it removes what it has made, and docker's part ends with it.
            process.terminate()
            process.wait()
        if status:
            raise QuickstartError("".join(heard[-30:]) + f"bxcache ended with status {status}")
        out.seek(0)
        return out.read()


def show(line: str, *, quiet: bool) -> str:
    """Show a line of a build's progress, unless it is one of many."""
    if not quiet and line.startswith(SHOWN):
        print(f"  {line.rstrip()}"[:WIDTH], flush=True)
    return line


def say(text: str) -> None:
    """Print what comes next."""
    print(f"* {text}", flush=True)


def render_table(first: Built, second: Built) -> str:
    """Return each step with its outcome and seconds on both machines, and the totals."""
    row = "{:<9} {:>4}  {:<48} {:>8} {:>7}  {:>8} {:>7}"
    head = row.format("stage", "line", "instruction", "A", "seconds", "B", "seconds")
    lines = [head, "-" * len(head)]
    again = {(step["stage"], step["line"], step["text"]): step for step in second.steps}
    for step in first.steps:
        key = step["stage"], step["line"], step["text"]
        other = again.pop(key, {"outcome": "-", "seconds": 0.0})
        text = step["text"] if len(step["text"]) <= 48 else f"{step['text'][:47]}…"
        on = [value for each in (step, other) for value in (each["outcome"], each["seconds"])]
        lines.append(row.format(step["stage"], step["line"] or "", text, *map(render_cell, on)))
    total = ["", f"{first.seconds:.1f}", "", f"{second.seconds:.1f}"]
    lines += ["-" * len(head), row.format("total", "", "bxcache build, from start to end", *total)]
    return "\n".join(lines)


def render_cell(value: str | float) -> str:
    """Return an outcome or a number of seconds as text."""
    return value if isinstance(value, str) else f"{value:.1f}"


def judge(first: Built, second: Built) -> tuple[str, int]:
    """Return the last lines and the exit status."""
    ratio = second.seconds / first.seconds
    speed = f"B took {ratio:.0%} of A's time: {1 / ratio:.1f} times as fast"
    steps, reused = len(first.steps), second.document["counts"]["reused"]
    if reused == len(second.steps) == steps > 0:
        return f"{speed}\nall {steps} steps were reused on machine B", 0
    return f"{speed}\nonly {reused} of {steps} steps were reused on machine B", 1


def run(suite: str, base: str) -> int:
    """Build on two machines and show what happened."""
    built: list[Built] = []
    with open_trial(suite, base) as trial:
        for name in "AB":
            say(f"starting machine {name}")
            with trial.machine() as place:
                say(f"building on machine {name}: {place.describe()}")
                built.append(trial.build(place))
                say(f"stopping machine {name}; only the store is kept")
        layers, unknown = trial.history(), trial.find_unknown()
    first, second = built
    words, status = judge(first, second)
    print(f"\n{render_table(first, second)}\n\n{words}\n\n{layers}", flush=True)
    if unknown:
        print(f"{len(unknown)} layers of the cache belong to no stage: {unknown}", flush=True)
    else:
        print("every layer of the cache belongs to a stage", flush=True)
    return status or bool(unknown)


def guard(action: str, work: Callable[[], int]) -> int:
    """Do lengthy work; however this process is stopped, it cleans up first."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        return work()
    except KeyboardInterrupt:
        print(f"\n{action} was stopped; everything it had started is gone", file=sys.stderr)
        return 130
    except (EngineError, QuickstartError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1


def main() -> int:
    """Run from the command line."""
    enter("tests.quickstart")
    parser = argparse.ArgumentParser("python3 -m tests.quickstart", description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default="forky", help="Debian's suite")
    parser.add_argument(
        "--base", default="", help="image name, OCI layout or context to use as base image"
    )
    options = parser.parse_args()
    return guard("the quickstart", lambda: run(options.suite, options.base))


if __name__ == "__main__":
    sys.exit(main())
