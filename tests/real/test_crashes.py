"""Builds killed at any instant leave a valid store that hits."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.real.conftest import _required, _start
from tests.real.kills import AFTER, BEFORE, Lane
from tests.real.machines import Machine
from tests.support.sampling import Effort

KILLS = {"sample": 12, "thorough": 200}
LANES = 2


@contextmanager
def renewable(home: Path) -> Iterator[Callable[[], Machine]]:
    """Creates a new machine and removes the one before."""
    with ExitStack() as stack:

        def renew() -> Machine:
            stack.close()
            with _required():
                engine, builder = stack.enter_context(_start("docker"))
            return Machine(engine, home, builder)

        yield renew


@pytest.mark.engine
def test_kills_at_any_instant_lose_nothing(tmp_path: Path, effort: Effort) -> None:
    """After each kill, an empty engine reuses every step of what was saved last.

    The check is skipped while every byte is as it was when the last one passed.
    """
    kills, seed = KILLS[effort], random.randrange(1 << 30)
    print(f"seed {seed}")
    lanes = []
    with ExitStack() as stack, ThreadPoolExecutor(LANES) as pool:
        for number in range(LANES):
            folder = tmp_path / f"lane-{number}"
            renew = stack.enter_context(renewable(folder / "home"))
            drawn = random.Random(seed + number)
            lanes.append(Lane(renew, folder / "app", folder / "store", drawn))
        list(pool.map(Lane.warm_up, lanes))
        list(pool.map(partial(Lane.kill_builds, kills=kills // LANES), lanes))
    fates = sum((lane.fates for lane in lanes), start=Counter[str]())
    print(fates, [lane.seconds for lane in lanes])
    assert fates[BEFORE] + fates[AFTER] >= kills
    assert fates[BEFORE] >= kills // 10
    assert fates[AFTER] >= kills // 20
