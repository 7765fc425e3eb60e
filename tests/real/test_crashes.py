"""Builds that are killed, at any instant: the store is valid and hits."""

from __future__ import annotations

import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.real.conftest import MakeMachine
from tests.real.kills import Lane

KILLS = 16
LANES = 2


def test_two_hundred_kills_lose_nothing(
    machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """After each, an empty engine reuses every step of what was saved last."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    lanes = []
    for number in range(LANES):
        folder = tmp_path / f"lane-{number}" / "app"
        shutil.copytree(project, folder)
        store = tmp_path / f"lane-{number}" / "store"
        lanes.append(Lane(machines(), folder, store, random.Random(seed + number)))
    with ThreadPoolExecutor(LANES) as pool:
        list(pool.map(Lane.warm_up, lanes))
        list(pool.map(lambda lane: lane.kill_builds(KILLS // LANES), lanes))
    fates = sum((lane.fates for lane in lanes), start=lanes[0].fates.__class__())
    print(fates, [lane.seconds for lane in lanes])
    assert fates["before the commit"] >= KILLS // 10
    assert fates["after the commit"] >= KILLS // 20
