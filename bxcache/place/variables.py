"""What a CI provider leaves for a build: variables and files. Their content cannot be trusted."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from bxcache.place.statement import Found, Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bxcache.place.statement import Verdict

_OFF = frozenset({"", "0", "false", "no", "off"})
LONGEST_FILE = 32 * 1024 * 1024
"""In bytes. GitHub drops webhook events larger than 25 MB:
https://docs.github.com/en/webhooks/webhook-events-and-payloads#payload-cap"""


class Variables:
    """The variables of an environment. A blank variable counts as not set.

    Attributes:
        consulted: the names of variables that were read and are set.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.consulted: set[str] = set()

    def get(self, name: str) -> str | None:
        """Return a variable's value, or None."""
        value = self._environment.get(name, "")
        if not value.strip():
            return None
        self.consulted.add(name)
        return value

    def find(self, *names: str) -> Found | None:
        """Return the value of the first variable that is set."""
        values = ((self.get(name), name) for name in names)
        return next((Found(value, name) for value, name in values if value), None)

    def state(
        self, verdict: Verdict, doubts: Iterable[str] = (), **names: str | tuple[str, ...]
    ) -> Statement:
        """Return a statement, each field with the value of the variable of that name."""
        fields: dict[str, Any] = {
            field: self.find(name) if isinstance(name, str) else self.find(*name)
            for field, name in names.items()
        }
        return Statement(verdict, **fields, doubts=tuple(doubts))

    def is_on(self, name: str) -> bool:
        """Whether a switch is on: set, and not to a word for "no"."""
        return (self.get(name) or "").strip().lower() not in _OFF

    def differs(self, name: str, *values: str | None) -> bool:
        """Whether a variable is set, and to none of these values."""
        return self.get(name) not in (None, *values)

    def find_blank(self, *names: str) -> Iterator[str]:
        """Yield a note for each variable that is set but blank."""
        blank = (name for name in names if name in self._environment and not self.get(name))
        return (f"{name} is set but empty" for name in blank)

    def find_missing(self, *names: str) -> Iterator[str]:
        """Yield a note for each variable that is not set."""
        return (f"{name} is not set" for name in names if not self.get(name))

    def find_stray(self, *names: str) -> Iterator[str]:
        """Yield a note for each variable that only a pull request should set."""
        stray = filter(self.get, names)
        return (f"{name} is set in a build that is not a pull request" for name in stray)


def read_file(path: str) -> bytes:
    """Read a regular file of limited size.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, is too large, or the path is invalid.
    """
    # Opening a pipe would block forever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        if status.st_size > LONGEST_FILE:
            raise ValueError(f"it is larger than {LONGEST_FILE} bytes")
        return file.read(LONGEST_FILE)
