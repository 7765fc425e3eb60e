"""The growth of a store while an application is built commit by commit, each on a new machine.

It is compared with a directory that plain buildx exports to, and with a fresh export of the same
build.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.figures import BXCACHE, Figures, Finding, measure
from tests.engines import DockerClient, Engine, busybox_context
from tests.quickstart import say

MOST_GROWTH = 1.02
COMMITS = 50
NEW_DEPENDENCIES = 10
SOURCES = 40
OTHER_TARGET = "test"
STAGES = """\
FROM base AS deps
COPY requirements.txt /deps/
RUN head -c 4000000 /dev/urandom > /deps/lib
FROM base AS build
COPY --from=deps /deps /deps
COPY src /src
RUN mkdir /out && cat /src/* /deps/lib | head -c 1500000 > /out/app
FROM build AS test
RUN mkdir /report && sort /src/* > /report/lines && test -s /out/app
FROM base
COPY --from=deps /deps/lib /lib/deps
COPY --from=build /out /app
COPY --from=test /report /report
"""


@dataclass(frozen=True)
class Application:
    """An application in four stages, edited from commit to commit."""

    folder: Path
    draw: random.Random

    def start(self) -> None:
        """Write the files of the first commit."""
        (self.folder / "src").mkdir(parents=True)
        (self.folder / "Dockerfile").write_text(busybox_context(self.folder) + STAGES)
        for number in range(SOURCES):
            self._edit(number, lines=200)

    def commit(self, number: int) -> None:
        """Edit a source, and now and then change the dependencies too."""
        self._edit(number % SOURCES, lines=10)
        if number % NEW_DEPENDENCIES == 0:
            (self.folder / "requirements.txt").write_text(f"dependency=={number}\n")

    def _edit(self, number: int, lines: int) -> None:
        with (self.folder / "src" / f"module_{number:02}.c").open("a") as source:
            for _ in range(lines):
                source.write(f"static int value_{self.draw.getrandbits(40)}(void);\n")


@dataclass(frozen=True)
class Growth:
    """The sizes in bytes after some of the commits, and the seconds of each build."""

    own: dict[int, int] = field(default_factory=dict)
    raw: dict[int, int] = field(default_factory=dict)
    fresh: dict[int, int] = field(default_factory=dict)
    own_seconds: list[float] = field(default_factory=list)
    raw_seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Workshop:
    """The setting of both sides: one engine, whose cache is emptied, and a folder."""

    engine: DockerClient
    folder: Path
    application: Application

    @property
    def store(self) -> Path:
        """bxcache's store."""
        return self.folder / "store"

    def build_own(self, *words: str) -> float:
        """Build with bxcache as on a new machine."""
        backend = ("--backend", f"type=local,dir={self.store}")
        return self._run([*BXCACHE, "build", *backend, "--progress", "quiet", *words])

    def build_raw(self) -> float:
        """Build with plain buildx as on a new machine, with a directory of its own."""
        place = self.folder / "raw"
        source = ["--cache-from", f"type=local,src={place}"] if place.exists() else []
        return self._run([*self._export(place), *source])

    def export_fresh(self, name: str) -> Path:
        """Build from nothing, and export to an empty directory."""
        place = self.folder / name
        self._run(self._export(place))
        return place

    def export_both(self, then: Path) -> tuple[Path, Path]:
        """Build the other target as it was then, and the current image, both from nothing."""
        other, last = self.folder / "other", self.folder / "last"
        self._run([*self._export(other), "--target", OTHER_TARGET], folder=then)
        # What both have in common is built once.
        self._run(self._export(last), forget=False)
        return other, last

    def _export(self, place: Path) -> list[str]:
        cache = f"type=local,dest={place},mode=max"
        return ["/usr/bin/env", "docker", "buildx", "build", "--cache-to", cache]

    def _run(
        self, command: Sequence[str], folder: Path | None = None, *, forget: bool = True
    ) -> float:
        if forget:
            self.engine.docker("builder", "prune", "--all", "--force")
        environment = {**self.engine.environment(), "XDG_CACHE_HOME": str(self.folder / "home")}
        words = [*command, "--network", "none", "--output", "type=cacheonly", "."]
        return measure(words, folder or self.application.folder, environment)


@contextmanager
def open_workshop() -> Iterator[Workshop]:
    """Start an engine, and make an application before its first commit."""
    with Engine() as engine, tempfile.TemporaryDirectory(prefix="bxcache-growth-") as name:
        application = Application(Path(name) / "app", random.Random(1))
        application.start()
        yield Workshop(engine, Path(name), application)


def measure_growth(commits: int) -> list[Finding]:
    """Build all commits, and compare the sizes that they leave."""
    growth, marks = Growth(), {1, 10, commits // 2, commits}
    with open_workshop() as shop:
        then = shop.application.folder
        for number in range(1, commits + 1):
            say(f"commit {number} of {commits}")
            # The first commit has dependencies as well.
            shop.application.commit(number if number > 1 else 0)
            actions = [grow_own, grow_raw] if number % 2 else [grow_raw, grow_own]
            for grow in actions:
                grow(shop, growth, number, marked=number in marks)
            if number in marks - {commits}:
                growth.fresh[number] = measure_folder(shop.export_fresh(f"fresh-{number}"))
            if number == commits // 2:
                # A release, for example: another target is built once, and its scope stays.
                shop.build_own("--target", OTHER_TARGET)
                then = shutil.copytree(shop.application.folder, shop.folder / "then")
        other, last = shop.export_both(then)
        growth.fresh[commits] = measure_folder(last)
        scopes = json.loads((shop.store / "index.json").read_text())["manifests"]
        return judge_growth(growth, commits, measure_more(other, last), len(scopes))


def grow_own(shop: Workshop, growth: Growth, number: int, *, marked: bool) -> None:
    """Build a commit with bxcache."""
    growth.own_seconds.append(shop.build_own())
    if marked:
        growth.own[number] = measure_folder(shop.store)


def grow_raw(shop: Workshop, growth: Growth, number: int, *, marked: bool) -> None:
    """Build a commit with plain buildx."""
    growth.raw_seconds.append(shop.build_raw())
    if marked:
        growth.raw[number] = measure_folder(shop.folder / "raw")


def measure_folder(folder: Path) -> int:
    """Return the size of all files in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def measure_more(one: Path, other: Path) -> int:
    """Return the size of the blobs that one layout has and another lacks."""
    known = {path.name for path in (other / "blobs" / "sha256").iterdir()}
    blobs = (one / "blobs" / "sha256").iterdir()
    return sum(path.stat().st_size for path in blobs if path.name not in known)


def judge_growth(growth: Growth, commits: int, other: int, scopes: int) -> list[Finding]:
    """Judge the sizes."""
    needed = growth.fresh[commits] + other
    sizes = {"bxcache": growth.own, "plain buildx": growth.raw, "fresh export": growth.fresh}
    series = [
        f"{name} {', '.join(f'{value / 1e6:.1f}' for _, value in sorted(values.items()))}"
        for name, values in sizes.items()
    ]
    marks = ", ".join(map(str, sorted(growth.own)))
    times = f"times a fresh export of what its {scopes} scopes hold"
    figures = (
        Figures(
            f"growth: bxcache's store after {commits} commits", [growth.own[commits] / 1e6], "MB"
        ),
        Figures(f"    {times}", [growth.own[commits] / needed], "x"),
        Figures("    the same for plain buildx's directory", [growth.raw[commits] / needed], "x"),
        Figures("    build of a commit, bxcache", growth.own_seconds[1:]),
        Figures("    the same with plain buildx", growth.raw_seconds[1:]),
    )
    text = f"at most {MOST_GROWTH} times; MB after {marks} commits: {'; '.join(series)}"
    return [Finding(figures, text, growth.own[commits] <= MOST_GROWTH * needed)]
