"""The history that every application of the race goes through, one commit after the other."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

MAIN, TOPIC = "main", "topic"


@dataclass(frozen=True)
class Commit:
    """The state of an application at a commit.

    Attributes:
        kind: what was changed.
        branch: the branch that is built.
        source: the edits of the main source file.
        other: the edits of another one.
        tail: the edits of the Dockerfile's last instruction.
        dependencies: the edits of the list of dependencies.
        stage: whether the Dockerfile has the stage that comes later.
        base: how often the base images have moved.
        executable: whether the script that the image starts has the mode of a program.
        fails: whether the application's own tests fail.
    """

    kind: str
    branch: str = MAIN
    source: int = 0
    other: int = 0
    tail: int = 0
    dependencies: int = 0
    stage: bool = False
    base: int = 0
    executable: bool = False
    fails: bool = False


# Each is what differs from the commit before.
_CHANGES: tuple[tuple[str, dict[str, int | bool | str]], ...] = (
    ("first", {}),
    ("unchanged", {}),
    ("source", {"source": 1}),
    ("another source", {"other": 1}),
    ("Dockerfile's tail", {"tail": 1}),
    ("dependency", {"dependencies": 1}),
    ("new stage", {"stage": True}),
    ("base moved", {"base": 1}),
    ("revert", {"other": 0}),
    ("mode only", {"executable": True}),
    ("branch off", {"branch": TOPIC, "source": 2}),
    ("merge back", {"branch": MAIN}),
    ("failing", {"source": 3, "fails": True}),
    ("mend", {"source": 4, "fails": False}),
)


KINDS = tuple(kind for kind, _ in _CHANGES)
QUICK = ("first", "unchanged", "source", "dependency", "failing")


def list_commits(kinds: Collection[str] = KINDS) -> tuple[Commit, ...]:
    """Return a history, oldest first: all of it, or the first commit and those of some kinds."""
    commits: list[Commit] = []
    for kind, change in _CHANGES:
        if kind in {KINDS[0], *kinds}:
            before = commits[-1] if commits else Commit(kind)
            commits.append(replace(before, kind=kind, **change))  # type: ignore[arg-type]
    return tuple(commits)
