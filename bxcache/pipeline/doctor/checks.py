"""Run checks side by side, so that one that crashes or hangs is a finding like any other."""

from __future__ import annotations

import time
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Generic, TypeVar

from msgspec import Struct

from bxcache.backends.finding import Finding, Status
from bxcache.errors import BxcacheError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_Result = TypeVar("_Result")
_UNKNOWN = "what it checks is not known, and may be broken"


class Pending(Generic[_Result]):
    """A function that runs in a thread, which ends with the process at the latest."""

    def __init__(self, function: Callable[[], _Result]) -> None:
        """Start it."""
        self._function = function
        self._result: _Result | None = None
        self.error: Exception | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except Exception as error:  # noqa: BLE001  # any error is a finding
            self.error = error

    def wait(self, seconds: float) -> _Result | None:
        """Wait for its result; None if it is late or failed."""
        self._thread.join(max(0.0, seconds))
        return self._result

    @property
    def is_late(self) -> bool:
        """Whether it still runs."""
        return self._thread.is_alive()


class Check(Struct, frozen=True):
    """A check, with how many seconds it may take; `name` is that of a finding if it cannot end.

    Attributes:
        subject: what it examines, in words.
        run: yields what was found, as it is found.
    """

    name: str
    subject: str
    seconds: float
    run: Callable[[], Iterable[Finding]]


def run_checks(checks: Iterable[Check]) -> Iterator[Finding]:
    """Run checks at once, and yield their findings in the order of the checks."""
    begun = time.monotonic()
    started = []
    for check in checks:
        found: list[Finding] = []
        started.append((check, found, Pending(partial(_fill, found, check.run))))
    for check, found, pending in started:
        pending.wait(begun + check.seconds - time.monotonic())
        yield from tuple(found)
        if pending.is_late:
            text = f"{check.subject} could not be examined within {check.seconds:.0f} s"
            yield Finding(check.name, Status.ERROR, text, _UNKNOWN)
        elif pending.error is not None:
            yield explain_crash(check.name, check.subject, pending.error)


def _fill(found: list[Finding], run: Callable[[], Iterable[Finding]]) -> None:
    for each in run():
        found.append(each)  # noqa: PERF402  # what comes before an error stays


def explain_crash(name: str, subject: str, error: Exception) -> Finding:
    """The finding of a check that failed itself."""
    text = f"{subject} could not be examined"
    if isinstance(error, BxcacheError):
        return Finding(name, Status.ERROR, f"{text}: {error.message}", _UNKNOWN, error.hint)
    if isinstance(error, OSError):
        return Finding(name, Status.ERROR, f"{text}: {error}", _UNKNOWN)
    why = f"{type(error).__name__}: {error}"
    return Finding(
        name, Status.ERROR, f"{text}: {why}", _UNKNOWN, "this is a bug in bxcache; please report it"
    )
