"""A run of docker that only saves the finished build to one cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.command import Saving
from bxcache.buildx.run import Runner, RunResult, run_quietly
from bxcache.buildx.stream.names import EXPORTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.backends.base import CacheUse
    from bxcache.buildx.stream.trace import CacheTransfer


def save_quietly(
    runner: Runner, imports: Sequence[CacheUse], use: CacheUse, seconds: float, platform: str = ""
) -> tuple[RunResult, list[CacheTransfer], str]:
    """Save the finished build to one cache.

    Args:
        runner: the build.
        imports: the flags of the imported caches.
        use: the cache.
        seconds: the time limit.
        platform: the only platform to save; empty for all platforms of the build.

    Returns:
        the result of the run, its exports, and why they are incomplete, or an empty string.
    """
    options = tuple(each.option for each in (*imports, use))
    saving = Saving(options, runner.name_metadata(), platform)
    ran, ended = run_quietly(runner, runner.repeat(saving), seconds)
    transfers = ran.trace.find_transfers(EXPORTS[dict(use.attributes)["type"]])
    return ran, transfers, find_trouble(ran, transfers, ended)


def find_trouble(ran: RunResult, transfers: Sequence[CacheTransfer], ended: str) -> str:
    """Why a run that only saves did not save everything, or an empty string.

    Args:
        ran: the result of the run.
        transfers: its exports to the cache.
        ended: why it was stopped early, or an empty string.
    """
    if ended:
        return ": ".join([ended, *[each.log for each in transfers if each.log][-1:]])
    if not transfers:
        return ran.error if ran.exit_status else "BuildKit did not export it"
    return next((each.error for each in transfers if each.error), "")
