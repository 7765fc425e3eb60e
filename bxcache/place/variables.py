"""An environment that says which variable a value is from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.place.statement import Found

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_OFF = frozenset({"", "0", "false", "no", "off"})


class Variables:
    """The variables of an environment. One that is set but blank counts as not set.

    Attributes:
        consulted: the names of those that were asked for and are set.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.consulted: set[str] = set()

    def get(self, name: str) -> str:
        """A variable's value, or an empty text."""
        value = self._environment.get(name, "")
        if not value.strip():
            return ""
        self.consulted.add(name)
        return value

    def find(self, *names: str) -> Found | None:
        """The value of the first of some variables that is set."""
        return next((Found(self.get(name), name) for name in names if self.get(name)), None)

    def is_on(self, name: str) -> bool:
        """Whether a switch is on: set, and to nothing that means no."""
        return self.get(name).strip().lower() not in _OFF

    def find_blank(self, *names: str) -> Iterator[str]:
        """A note for each of some variables that is set but blank."""
        for name in names:
            if name in self._environment and not self.get(name):
                yield f"{name} is set but empty"

    def find_missing(self, *names: str) -> Iterator[str]:
        """A note for each of some variables that is not set, where its like are."""
        for name in names:
            if not self.get(name):
                yield f"{name} is not set"

    def find_stray(self, *names: str) -> Iterator[str]:
        """A note for each of some variables that is set where it should not be."""
        for name in names:
            if self.get(name):
                yield f"{name} is set in a build that is no pull request"
