"""Many builds, collections and checks use one store at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

from bxcache.store.folders import Folder
from bxcache.store.locks import hold_lock
from bxcache.store.store import Store
from tests.real.conftest import STEPS, STEPS_OF_CHECK, MakeMachine
from tests.real.machines import Machine, count

TARGETS = {"base": 3, "deps": 5, "check": STEPS_OF_CHECK, "": STEPS}
"""Each with the number of its steps."""
TWINS = 2
WAVES = 2
PAUSE = 0.5
"""The seconds between two runs of a chore."""
CHORES = [("prune",), ("verify", "--full"), ("prune", "--max-size", "1GB")]


class Chores:
    """Store commands that other processes run repeatedly."""

    def __init__(self, store: Path, environment: dict[str, str]) -> None:
        self.runs = 0
        self.failures: list[str] = []
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=partial(self._loop, chore, store, environment))
            for chore in CHORES
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _loop(self, chore: tuple[str, ...], store: Path, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "bxcache", "store", *chore, "--from", str(store)]
        while not self._over.wait(PAUSE):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=120
            )
            self.runs += 1
            if done.returncode:
                self.failures.append(f"{chore}: {done.returncode}\n{done.stdout}\n{done.stderr}")


def start_builds(machine: Machine, project: Path, words: tuple[str, ...]) -> list[dict[str, Any]]:
    """Start all builds at once, and return their documents when all have ended."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                machine.start(
                    *("build", "--json", "--progress", "quiet", "--network", "none", *words),
                    *(("--target", target) if target else ()),
                    folder=project,
                )
            )
            for target in TARGETS
            for _ in range(TWINS)
        ]
        said = [process.communicate(timeout=300) for process in processes]
    for process, (out, err) in zip(processes, said, strict=True):
        assert process.returncode == 0, f"{out}\n{err}"
    return [json.loads(out) for out, _ in said]


def test_eight_builds_of_four_scopes_share_a_store(
    machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """Builds, collections and checks in parallel neither fail nor warn, and all scopes hit."""
    store = tmp_path / "store"
    words = ("--backend", f"type=local,dir={store}")
    first = machines()
    Store(store).collect()
    with Chores(store, first.environment()) as chores:
        for wave in range(WAVES):
            (project / "src" / "main.c").write_text(f"// wave {wave}\n")
            built = start_builds(first, project, words)
            assert [each["warnings"] for each in built] == [[]] * len(TARGETS) * TWINS
            # One that begins late starts from what another has saved meanwhile, which comes first,
            # and has nothing new then.
            caches = [each["caches"][-1] for each in built]
            assert all(each["exported"] or each["unchanged"] for each in caches)
    assert not chores.failures
    assert chores.runs > len(CHORES)
    assert not [*(store / ".bxcache" / "staging").iterdir()]
    assert not Store(store).verify(full=True).damages
    assert len(Store(store).read_scopes()) == len(TARGETS)
    for target, steps in TARGETS.items():
        second = machines()
        choice = ("--target", target) if target else ()
        assert count(second.build(*words, *choice, folder=project)) == (steps, 0), target


def test_a_wait_for_the_store_is_explained(tmp_path: Path) -> None:
    """A command that waits for the store reports why, and continues when the store is free."""
    store = Store(tmp_path / "store")
    store.collect()
    command = [sys.executable, "-m", "bxcache", "store", "prune", "--from", str(store.path)]
    with hold_lock(Folder(store.path / ".bxcache"), "drinking tea"):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        said = process.stderr.readline()
        assert f"waiting for the store `{store.path}`" in said
        assert f"process {os.getpid()} is drinking tea" in said
        assert process.poll() is None
    _, rest = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "")
