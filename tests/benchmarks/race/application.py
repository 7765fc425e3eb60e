"""What the race needs to know of an application."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.benchmarks.race.commits import Commit

START = "start"
"""The script that each application copies into its image; its mode is an edit of its own."""


@dataclass(frozen=True)
class Application:
    """An application of several stages.

    Attributes:
        name: its name, for people.
        about: what it builds, in a line.
        stages: the stages that the final image copies from, in the Dockerfile's order.
        later: the stage that a later commit adds.
        bases: the names of its base images.
        write: returns its files at a commit, by path; `{bases}` in the Dockerfile stands for the
            repository of the base images.
    """

    name: str
    about: str
    stages: tuple[str, ...]
    later: str
    bases: tuple[str, ...]
    write: Callable[[Commit], Mapping[str, str]]

    def list_stages(self, commit: Commit) -> tuple[str, ...]:
        """Return the named stages at a commit, the unnamed last one aside."""
        return (*self.stages, self.later) if commit.stage else self.stages


def spell(name: str) -> str:
    """Return a name as a folder and a repository can have it.

    >>> spell("save/load, all stages")
    'save-load-all-stages'
    """
    return re.sub("[^a-z]+", "-", name)
