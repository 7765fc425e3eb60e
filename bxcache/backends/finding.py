"""A finding: what one check of the doctor saw, and what mends it.

A backend yields its findings from `Backend.diagnose`; everything above only orders and shows them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from bxcache.config.json_documents import make_part, pick

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bxcache.errors import BxcacheError

SECONDS_TO_ANSWER = 5.0
"""How long the doctor waits for an answer of a network."""


class Status(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    """Nothing to do."""

    WARNING = "warning"
    """Builds work, and lose something."""

    ERROR = "error"
    """Builds fail, or a declared cache is not used or not saved."""


class Finding(Struct, frozen=True):
    """What a check found.

    Attributes:
        check: what was checked, such as `engine` or `push`; several findings can share it.
        status: whether it is fine.
        found: what was found, in a line.
        why: why it matters; empty if it is fine.
        remedy: the command or setting that mends it; empty if it is fine or nothing is known.
        mend: mends it, and returns what it did, in lines; raises a BxcacheError if it cannot. None
            if a person has to decide.
    """

    check: str
    status: Status
    found: str
    why: str = ""
    remedy: str = ""
    mend: Callable[[], Iterable[str]] | None = None

    @property
    def fixable(self) -> bool:
        """Whether the doctor can mend it."""
        return self.mend is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as a part of the doctor's document."""
        return make_part(pick(self, "check", "status", "found", "why", "remedy", "fixable"))


def fine(check: str, found: str) -> Finding:
    """A finding that needs nothing."""
    return Finding(check, Status.OK, found)


def explain_error(
    check: str, error: BxcacheError, why: str, *, status: Status = Status.ERROR
) -> Finding:
    """The finding of a check that met an error, whose hint is the remedy."""
    return Finding(check, status, error.message, why, error.hint)
