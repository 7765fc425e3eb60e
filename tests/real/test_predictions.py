"""Predictions: what a build would reuse, compared with what BuildKit then does."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines import DockerClient
from tests.real.applications import EDITS, FIVE_STAGES, PUBLIC, Application
from tests.real.machines import Machine
from tests.real.rebuilds import build_once, copy_built, name_store, rebuild
from tests.support.sampling import more

OWN = "five stages"
APPLICATIONS = {OWN: FIVE_STAGES, **PUBLIC}


def list_outcomes(document: dict[str, Any]) -> dict[tuple[str, int | None], str | None]:
    """Return the outcome of each step, by its stage and its line."""
    return {(step["stage"], step["line"]): step["outcome"] for step in document["steps"]}


@pytest.fixture(scope="module")
def copy(
    _shared_engine: tuple[DockerClient, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Path], Path]:
    """Copy a built application and its store to a folder."""
    built: dict[str, Path] = {}

    def copy(name: str, folder: Path) -> Path:
        if name not in built:
            write = APPLICATIONS[name].write
            built[name] = build_once(_shared_engine, tmp_path_factory.mktemp("built"), write)
        return copy_built(built[name], folder)

    return copy


def edit_randomly(app: Application, folder: Path, seed: int) -> tuple[str, ...]:
    """Edit an application; return more options of the build."""
    chance, words = random.Random(seed), tuple[str, ...]()
    for edit in chance.choices(EDITS, k=chance.randint(1, 3)):
        words += edit(app, folder, chance)
    return words


def check_prediction(machine: Machine, folder: Path, words: tuple[str, ...]) -> None:
    """Check that the steps that are predicted to be reused or executed are, and that each cause
    belongs to a step that was executed.
    """
    given = (*name_store(folder), "--network", "none", *words)
    predicted = json.loads(machine.run("predict", "--json", *given, folder=folder).out)
    done = rebuild(machine, folder, *words)
    expected, seen = list_outcomes(predicted), list_outcomes(done)
    known = {place: outcome for place, outcome in expected.items() if outcome is not None}
    assert {place: seen.get(place) for place in known} == known
    assert expected.keys() == seen.keys()
    causes = [change["cause"] for miss in done["misses"] for change in miss["changes"]]
    places = [(miss["stage"], miss["line"]) for miss in done["misses"]]
    assert all(seen[place] == "executed" for place in places)
    assert "unknown" not in causes
    assert sum(miss["later"] + 1 for miss in done["misses"]) == done["counts"]["executed"]


@pytest.mark.parametrize("seed", [*range(20), *more(*range(20, 60))])
def test_a_prediction_is_what_buildkit_does(
    machine: Machine, tmp_path: Path, copy: Callable[[str, Path], Path], seed: int
) -> None:
    """After random edits, BuildKit does what is predicted."""
    folder = copy(OWN, tmp_path)
    check_prediction(machine, folder, edit_randomly(FIVE_STAGES, folder, seed))


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize("seed", [*range(3), *more(*range(3, 40))])
def test_dockerfiles_of_public_projects_are_predicted(
    machine: Machine, tmp_path: Path, copy: Callable[[str, Path], Path], name: str, seed: int
) -> None:
    """So it is for Dockerfiles that other people wrote."""
    folder = copy(name, tmp_path)
    check_prediction(machine, folder, edit_randomly(PUBLIC[name], folder, seed))
