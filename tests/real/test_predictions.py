"""Predictions: what a build would reuse, compared with what BuildKit then does."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines import DockerClient
from tests.real.machines import Machine
from tests.real.rebuilds import (
    build_once,
    copy_built,
    name_store,
    rebuild,
    write_base,
    write_files,
)

DOCKERFILE = """\
ARG FLAVOUR=plain
FROM base AS deps
ARG INDEX=main
COPY requirements.txt constraints.txt ./
RUN sort requirements.txt > /deps
FROM base AS assets
ENV THEME=dark
COPY assets /assets
RUN ls /assets > /listed
FROM base AS generated
COPY schema/*.sql /schema/
RUN cat /schema/*.sql | wc -l > /count
FROM base AS build
ARG FLAVOUR
ENV MODE=fast TARGET=app
COPY --from=deps /deps /deps
COPY --from=generated /count /count
COPY --chmod=755 $TARGET/main.py /main.py
RUN --mount=type=bind,source=tools,target=/tools cat /tools/* > /tooled
COPY app /app
RUN echo "$MODE" > /built
FROM base
COPY --from=build /built /built
COPY --link --from=assets /listed /listed
COPY start.sh ./
WORKDIR /home
RUN cat /built > /done
"""
FILES = (
    *("requirements.txt", "constraints.txt", "start.sh", "notes.md"),
    *("assets/a.css", "assets/deep/b.css", "schema/one.sql", "schema/two.sql", "schema/readme"),
    *("app/main.py", "app/lib/x.py", "tools/lint", "tools/check"),
)
LINES = (
    *("RUN ls /assets", "ENV THEME", "ENV MODE", "ARG INDEX", "RUN cat /schema", "RUN --mount"),
    *("COPY app", "COPY start.sh", "WORKDIR", 'RUN echo "$MODE"', "RUN cat /built", "COPY assets"),
)
Edit = Callable[[Path, random.Random], tuple[str, ...]]


def write_file(folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Change the content of a file."""
    path = folder / chance.choice(FILES)
    if path.exists():
        path.write_text(f"{chance.random()}\n")
    return ()


def add_file(folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Add a file beside another one."""
    beside = folder / chance.choice(FILES)
    (beside.parent / f"new{chance.randrange(99)}{beside.suffix}").write_text("new")
    return ()


def remove_file(folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Remove a file that no instruction names."""
    path = folder / chance.choice(["assets/a.css", "schema/two.sql", "app/lib/x.py", "notes.md"])
    path.unlink(missing_ok=True)
    return ()


def change_mode(folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Change the mode of a file or a folder."""
    path = folder / chance.choice([*FILES, "assets", "app/lib"])
    if path.exists():
        path.chmod(chance.choice([0o700, 0o755, 0o711]))
    return ()


def touch(folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Change nothing that counts."""
    (folder / chance.choice(FILES)).touch()
    return ()


def edit_line(folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Edit an instruction: a comment above it, its words, or all of it."""
    file, head = folder / "Dockerfile", chance.choice(LINES)
    lines = file.read_text().splitlines()
    at = next((n for n, line in enumerate(lines) if line.startswith(head)), None)
    if at is None:
        return ()
    how = chance.randrange(4)
    if how == 0:
        lines.insert(at, "# a comment")
    elif how == 1 and head.startswith("RUN"):
        lines[at] += f" && echo {chance.randrange(99)}"
    elif how == 2 and head.startswith(("ENV", "ARG")):
        lines[at] += f"{chance.randrange(99)}"
    elif how == 3 and head.startswith("RUN"):
        lines.insert(at, f"RUN echo {chance.randrange(99)} > /inserted")
    file.write_text("\n".join([*lines, ""]))
    return ()


def give_argument(folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Give a build argument, which may be unused."""
    del folder
    return ("--build-arg", f"{chance.choice(['INDEX', 'FLAVOUR', 'UNUSED'])}={chance.random()}")


def ignore(folder: Path, chance: random.Random) -> tuple[str, ...]:
    """Exclude some files."""
    with (folder / ".dockerignore").open("a") as file:
        file.write(f"{chance.choice(['**/*.css', 'notes.md', 'app/lib', 'schema/readme'])}\n")
    return ()


EDITS: tuple[Edit, ...] = (
    *(write_file, add_file, remove_file, change_mode, touch, edit_line, give_argument, ignore),
)


def write_application(folder: Path) -> None:
    """Write an application of five stages."""
    write_base(folder, DOCKERFILE)
    write_files(folder, FILES)


def list_outcomes(document: dict[str, Any]) -> dict[tuple[str, int | None], str | None]:
    """Return the outcome of each step, by its stage and its line."""
    return {(step["stage"], step["line"]): step["outcome"] for step in document["steps"]}


@pytest.fixture(scope="module")
def built(
    _shared_engine: tuple[DockerClient, str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return build_once(_shared_engine, tmp_path_factory.mktemp("built"), write_application)


@pytest.mark.parametrize("seed", range(30))
def test_a_prediction_is_what_buildkit_does(
    machine: Machine, tmp_path: Path, built: Path, seed: int
) -> None:
    """After random edits, the steps that are predicted to be reused or executed are, and each cause
    belongs to a step that was executed.
    """
    chance = random.Random(seed)
    folder = copy_built(built, tmp_path)
    words: tuple[str, ...] = ()
    for edit in chance.choices(EDITS, k=chance.randint(1, 3)):
        words += edit(folder, chance)
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
