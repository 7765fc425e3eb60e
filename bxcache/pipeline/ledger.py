"""The builds of one run, which take from the builder's cache what others of them have just made."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.buildx.run import RunResult


class Progress(IntEnum):
    """How far a build is; one that failed is as far as one that was saved."""

    RUNNING = 0
    BUILT = 1
    SAVED = 2


@dataclass(eq=False, slots=True)
class Entry:
    """One build of a run, with its result once there is one."""

    ledger: Ledger
    progress: Progress = Progress.RUNNING
    ran: RunResult | None = None

    def report(self, progress: Progress, ran: RunResult | None) -> None:
        """Report how far the build is, and its result."""
        with self.ledger.changed:
            self.progress, self.ran = progress, ran
            self.ledger.changed.notify_all()

    def wait_for_others(self, progress: Progress) -> list[RunResult]:
        """Wait until the other builds that have begun are so far; return what they ran."""
        with self.ledger.changed:
            others = [each for each in self.ledger.entries if each is not self]
            self.ledger.changed.wait_for(lambda: all(e.progress >= progress for e in others))
            return [each.ran for each in others if each.ran is not None]


class Ledger:
    """The builds of one run, in threads."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.entries: list[Entry] = []

    @contextmanager
    def open(self, count: int) -> Iterator[list[Entry]]:
        """Enter builds that begin now; at the end, nobody waits for them any more."""
        entries = [Entry(self) for _ in range(count)]
        with self.changed:
            self.entries += entries
        try:
            yield entries
        finally:
            for each in entries:
                each.report(Progress.SAVED, each.ran)


def enter_alone() -> Entry:
    """Enter the only build of a run."""
    return Entry(Ledger())
