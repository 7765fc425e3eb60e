"""Salvage of generated Dockerfiles, and of builds that are stopped."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from bxcache.store.store import Store
from tests.real.machines import Machine
from tests.real.rebuilds import (
    STORE,
    list_steps,
    name_store,
    rebuild,
    write_base,
    write_files,
    write_new,
)
from tests.real.test_local import wait_for
from tests.support.sampling import more

FILES = ("a", "b", "c")
FAILING = "RUN exit 7"
LASTING = "RUN sleep 60"


def write_application(folder: Path) -> None:
    """Write the files that generated Dockerfiles copy."""
    write_files(folder, FILES)


def draw_stages(chance: random.Random) -> list[list[str]]:
    """Draw the lines of two to five stages, each on top of an earlier one or of the first one.

    Every step has a text of its own, so that no two of them are one to BuildKit. The last stage
    needs the others.
    """
    stages: list[list[str]] = []
    numbers = iter(range(100))
    count = chance.randint(2, 5)
    for stage in range(count):
        below = chance.choice(["base", *(f"s{each}" for each in range(stage))])
        lines = [f"FROM {below} AS s{stage}", "ENV NAME=value", f"RUN echo {stage} > /made{stage}"]
        needed = range(stage) if stage == count - 1 else ()
        others = {*needed, *chance.sample(range(stage), chance.randint(0, min(2, stage)))}
        steps = [f"COPY --from=s{other} /made{other} /{next(numbers)}" for other in others]
        for _ in range(chance.randint(0, 3)):
            number = next(numbers)
            copy = chance.choice(["COPY", "COPY --link"])
            steps.append(
                chance.choice(
                    [
                        f"{copy} {chance.choice(FILES)} /{number}",
                        f"RUN echo \\\n    # kept\n    {number} > /{number}",
                        f"RUN <<END\necho {number} > /{number}\nEND",
                    ]
                )
            )
        chance.shuffle(steps)
        stages.append([*lines, *steps])
    return stages


def write_stages(folder: Path, stages: list[list[str]], base: str) -> None:
    """Write a Dockerfile of stages on top of a base."""
    lines = [line for stage in stages for line in stage]
    (folder / "Dockerfile").write_text("\n".join([base.rstrip(), *lines, ""]))


@pytest.mark.parametrize("has_cache", [False, True])
@pytest.mark.parametrize("seed", [*range(4), *more(*range(4, 60))])
def test_what_finished_is_reused_and_nothing_else(
    machine: Machine,
    tmp_path: Path,
    seed: int,
    has_cache: bool,  # noqa: FBT001
) -> None:
    """Wherever a step fails, the next build has all that finished, and what it had before."""
    chance = random.Random(seed)
    folder = write_new(tmp_path, write_application)
    write_base(folder, "")
    base, stages = (folder / "Dockerfile").read_text(), draw_stages(chance)
    reusable: set[tuple[str, str]] = set()
    if has_cache:
        write_stages(folder, stages, base)
        rebuild(machine, folder)
        (folder / chance.choice(FILES)).write_text("new\n")
        reusable = list_steps(rebuild(machine, folder, "--write", "never"), "reused")
    stage = chance.choice(stages)
    at = chance.randint(1, len(stage))
    broken = [[*each[:at], FAILING, *each[at:]] if each is stage else each for each in stages]
    write_stages(folder, broken, base)
    failed = rebuild(machine, folder, status=1)
    assert failed["warnings"] == []
    finished = list_steps(failed, "executed", "reused")

    write_stages(folder, stages, base)
    for _ in range(2):
        done = list_steps(rebuild(machine, folder, "--write", "never"), "reused")
        assert finished | reusable == done
        assert done.isdisjoint(list_steps(failed, "failed"))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("wanted", ["failed", "always"])
def test_a_stopped_build_is_salvaged_where_that_is_wanted(
    machine: Machine, tmp_path: Path, sent: signal.Signals, wanted: str
) -> None:
    folder = write_new(tmp_path, write_application)
    write_base(folder, "FROM base AS one\nCOPY a /a\nRUN cat /a > /b\nFROM one\n")
    text = (folder / "Dockerfile").read_text()
    (folder / "Dockerfile").write_text(f"{text}{LASTING}\n")
    words = ("build", "--network", "none", *name_store(folder), "--salvage", wanted)
    process = machine.start(*words, folder=folder)
    wait_for(process, LASTING)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert ("5 finished steps saved to" in said) is (wanted == "always")
    assert bool(Store(tmp_path / STORE).read_scopes()) is (wanted == "always")
    (folder / "Dockerfile").write_text(f"{text}RUN true\n")
    done = rebuild(machine, folder)
    assert len(list_steps(done, "reused")) == 5 or wanted == "failed"
