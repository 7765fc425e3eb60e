"""Builds that are killed at random instants, and checks of what they leave."""

from __future__ import annotations

import http.client
import json
import random
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bxcache.store.store import Store
from tests.engines import busybox_context
from tests.real.machines import Machine, count
from tests.real.test_local import mentioned
from tests.support.cuts import read_entries, read_needed

WARM_UP = 3
STAGES = """\
FROM base AS build
COPY src /src
RUN cat /src/* > /out && head -c 9999 /dev/urandom > /random
FROM scratch
COPY --from=build /out /random /app/
"""
STEPS = 5
"""2 of base, 2 of build, 1 of the last stage."""
BEFORE, AFTER = "before the commit", "after the commit"
MOST_BEFORE = 4
"""The kills before a commit until one is aimed after it, on a machine too slow to meet it."""


@dataclass
class Lane:
    """One machine with one store, whose builds are killed.

    Attributes:
        renew: stops its engine, if it has one, and starts a new one.
        project: the project that it builds; each round changes a source file.
        store: the store that it saves to.
        drawn: the source of its random numbers.
        machine: the machine that builds.
        saved: the source file that the store's scope was built from.
        entry: the digest of that scope.
        seen: the last entry that an empty engine reused completely.
        seconds: the duration of a build, and of its part after the export.
        fates: how many builds ended in each way.
    """

    renew: Callable[[], Machine]
    project: Path
    store: Path
    drawn: random.Random
    machine: Machine = field(init=False)
    saved: str = ""
    entry: dict[str, str] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    seconds: tuple[float, float] = (0.0, 0.0)
    fates: Counter[str] = field(default_factory=Counter)

    @property
    def _words(self) -> tuple[str, ...]:
        return ("--backend", f"type=local,dir={self.store}")

    def warm_up(self) -> None:
        """Build without kills, and measure the durations."""
        self._source.parent.mkdir(parents=True)
        (self.project / ".git").mkdir()
        (self.project / "Dockerfile").write_text(busybox_context(self.project) + STAGES)
        self.machine = self.renew()
        self._edit("// first\n")
        assert count(self.machine.build(*self._words, folder=self.project)) == (0, STEPS)
        seconds = []
        for number in range(WARM_UP):
            self._edit(f"// {number}\n")
            begun = time.monotonic()
            with self._start() as process:
                self._await_export(process)
                exported = time.monotonic()
                process.communicate(timeout=60)
            assert process.returncode == 0
            ended = time.monotonic()
            seconds.append((ended - begun, ended - exported))
        self.seconds = min(seconds)
        self.saved, self.entry = self._source.read_text(), read_entries(self.store)

    def kill_builds(self, kills: int) -> None:
        """Kill this many builds, each with something new to save, and check the store after each.

        More are killed if these do not reach both sides of the commit.
        """
        rounds = 0
        while self.fates[BEFORE] + self.fates[AFTER] < kills or not self._reached_both(kills):
            rounds += 1
            assert rounds < 2 * kills + 20, self.fates
            self._edit(f"// round {rounds}\n")
            self._kill_one()
            # An engine that reused an entry completely does so again while every byte is the same.
            known = self.entry == self.seen and rounds % 5 != 0
            self._check_store(full=known or rounds % 20 == 0)
            self._empty_engine()
            if not known:
                self._edit(self.saved)
                self._check_hits() if rounds % 5 == 0 else self._check_plain_hits()
                self.seen = self.entry
            self._check_rest()
        self._check_store(full=True)

    def _reached_both(self, kills: int) -> bool:
        least = {BEFORE: kills // 10, AFTER: kills // 20}
        return all(self.fates[side] >= max(few, 1) for side, few in least.items())

    def _kill_one(self) -> None:
        whole, tail = self.seconds
        with self._start() as process:
            if not self.fates[AFTER] and self.fates[BEFORE] >= MOST_BEFORE:
                self._await_commit(process)
            # Kill half of them after the export: all changes to the store come after it.
            elif self.drawn.random() < 0.5:
                self._await_export(process)
                time.sleep(self.drawn.uniform(0, tail))
            else:
                time.sleep(self.drawn.uniform(0, whole))
            process.send_signal(signal.SIGKILL)
            process.wait()
            # They are not read to the end: buildx, which was not killed, may hold the other side.
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self._note_fate(process.returncode)
        if self.drawn.random() < 0.5:
            # Buildx may still be writing to what this removes.
            Store(self.store).collect()
        await_silence(str(self.store))

    def _note_fate(self, status: int) -> None:
        entry = read_entries(self.store)
        assert entry.keys() == self.entry.keys()
        assert status in (0, -signal.SIGKILL)
        new = entry != self.entry
        if new:
            self.entry, self.saved = entry, self._source.read_text()
        assert new or status
        fate = AFTER if new else BEFORE
        self.fates["ended" if status == 0 else fate] += 1

    def _check_store(self, *, full: bool) -> None:
        assert not Store(self.store).verify(full=full).damages
        assert read_needed(self.store).keys() == self.entry.keys()

    def _check_hits(self) -> None:
        """Check that an empty engine reuses all that was saved last, and nothing is left over."""
        words = (*self._words, "--write", "never")
        built = self.machine.build(*words, folder=self.project)
        assert count(built) == (STEPS, 0), built
        assert built["warnings"] == []
        assert not [*(self.store / ".bxcache" / "staging").iterdir()]

    def _check_plain_hits(self) -> None:
        """Check the same with plain buildx, which takes half the time."""
        (scope,) = self.entry
        source = f"type=local,src={self.store},tag={scope}"
        assert len(self.machine.list_cached(source, self.project)) == STEPS

    def _check_rest(self) -> None:
        """Check that a collection removes everything that a killed build left."""
        Store(self.store).collect()
        assert not [*(self.store / ".bxcache" / "staging").iterdir()]

    def _empty_engine(self) -> None:
        for _ in range(3):
            if prune(self.machine):
                return
            # The engine is still ending a build that was cut off.
            time.sleep(0.1)
        # BuildKit sometimes never releases what a killed client was importing.
        self.fates["new engine"] += 1
        self.machine = self.renew()

    def _start(self) -> subprocess.Popen[str]:
        words = ("build", "--json", "--network", "none", *self._words)
        # A killed build leaves its small files, which are removed with the test's own.
        small = self.project.parent / "small"
        small.mkdir(exist_ok=True)
        return self.machine.start(*words, folder=self.project, TMPDIR=str(small))

    def _await_export(self, process: subprocess.Popen[str]) -> None:
        """Wait until buildx has written its index, or the build has ended."""
        staging = self.store / ".bxcache" / "staging"
        while process.poll() is None and not [*staging.glob("*/index.json")]:
            time.sleep(0.005)

    def _await_commit(self, process: subprocess.Popen[str]) -> None:
        """Wait until the store has a new entry, or the build has ended."""
        while process.poll() is None and read_entries(self.store) == self.entry:
            time.sleep(0.002)

    @property
    def _source(self) -> Path:
        return self.project / "src" / "main.c"

    def _edit(self, text: str) -> None:
        self._source.write_text(text)


def prune(machine: Machine) -> bool:
    """Drop the whole build cache of a machine, and return whether it is empty."""
    if machine.builder or not machine.engine.host.startswith("unix://"):
        _buildx(machine, "prune", "--all", "--force")
        return not _buildx(machine, "du", "--format", "{{.ID}}")
    # Two docker commands would take a fifth of a round.
    path = machine.engine.host.removeprefix("unix://")
    _ask(path, "POST", "/build/prune?all=true")
    return not _ask(path, "GET", "/system/df?type=build-cache")["BuildCache"]


def _buildx(machine: Machine, *arguments: str) -> str:
    done = subprocess.run(
        ["/usr/bin/env", "docker", "buildx", *arguments],
        env=machine.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _ask(path: str, method: str, address: str) -> Any:  # noqa: ANN401
    connection = http.client.HTTPConnection("engine", timeout=60)
    with socket.socket(socket.AF_UNIX) as connection.sock:
        connection.sock.connect(path)
        connection.request(method, address)
        answer = connection.getresponse()
        assert answer.status == http.HTTPStatus.OK, answer.read()
        return json.load(answer)


def await_silence(text: str) -> None:
    """Wait until no process mentions a text: what a killed build started ends by itself."""
    deadline = time.monotonic() + 30
    while mentioned(text):
        assert time.monotonic() < deadline, "a process outlives its build"
        time.sleep(0.05)
