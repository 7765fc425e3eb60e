"""Compare this machine's clock with another one."""

from __future__ import annotations

from bxcache.backends.finding import Finding, Status, fine
from bxcache.config.quantities import format_age

CHECK = "clock"
_NOTICEABLE, _DAY = 120, 86_400
"""Beyond how many seconds the difference is a warning, and an error."""
_WHY = "caches are kept by age, builds listed by time, and certificates have an end"
_SET = "`timedatectl set-ntp true` sets the clock from the network"


def judge_clock(now: float, other: float, whose: str) -> Finding:
    """Judge the difference between this clock and another one; both in seconds since 1970."""
    difference = now - other
    if abs(difference) <= _NOTICEABLE:
        return fine(CHECK, f"agrees with {whose}")
    status = Status.ERROR if abs(difference) > _DAY else Status.WARNING
    how = "ahead of" if difference > 0 else "behind"
    found = f"this machine's clock is {format_age(abs(difference))} {how} {whose}"
    return Finding(CHECK, status, found, _WHY, _SET)


def judge_newest(now: float, newest: float, where: str) -> Finding:
    """Judge this clock by the newest file of a store, which cannot be of the future."""
    if newest <= now + _NOTICEABLE:
        return fine(CHECK, f"is not behind {where}")
    return judge_clock(now, newest, where)
