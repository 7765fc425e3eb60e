"""The environment's variables, with the name of each value's source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.place.statement import Found

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_OFF = frozenset({"", "0", "false", "no", "off"})


class Variables:
    """The variables of an environment. A blank variable counts as not set.

    Attributes:
        consulted: the names of variables that were read and are set.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.consulted: set[str] = set()

    def get(self, name: str) -> str:
        """Return a variable's value, or an empty string."""
        value = self._environment.get(name, "")
        if not value.strip():
            return ""
        self.consulted.add(name)
        return value

    def find(self, *names: str) -> Found | None:
        """Return the value of the first variable that is set."""
        return next((Found(self.get(name), name) for name in names if self.get(name)), None)

    def is_on(self, name: str) -> bool:
        """Whether a switch is on: set, and not to a word for "no"."""
        return self.get(name).strip().lower() not in _OFF

    def find_blank(self, *names: str) -> Iterator[str]:
        """Yield a note for each variable that is set but blank."""
        for name in names:
            if name in self._environment and not self.get(name):
                yield f"{name} is set but empty"

    def find_missing(self, *names: str) -> Iterator[str]:
        """Yield a note for each variable that is not set."""
        for name in names:
            if not self.get(name):
                yield f"{name} is not set"

    def find_stray(self, *names: str) -> Iterator[str]:
        """Yield a note for each variable that only a pull request should set."""
        for name in names:
            if self.get(name):
                yield f"{name} is set in a build that is not a pull request"
