"""Exports to a store from a builder with several nodes, platform by platform.

buildx lets all nodes of a builder write one layout at once, so they can collide. The export is then
repeated, one platform after the other, and so one node after the other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bxcache.backends.base import IMPORT
from bxcache.backends.transfers import save_quietly
from bxcache.buildx.command import can_repeat, reads_context
from bxcache.buildx.faults import have_nodes_collided
from bxcache.buildx.stream.events import Noted
from bxcache.buildx.stream.names import CacheVertex
from bxcache.buildx.stream.trace import CacheTransfer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.backends.base import CacheUse
    from bxcache.buildx.run import Runner, RunResult
    from bxcache.store.staging import Staging

_KIND = CacheVertex.EXPORT_LOCAL
_WHY = "two nodes of the builder were to write the store at the same instant, which buildx refuses"
_SECONDS = 600.0
"""How long the export of one platform may take."""


def retry_after_collision(
    runner: Runner, uses: Sequence[CacheUse], ran: RunResult, staging: Staging, export: CacheUse
) -> tuple[CacheUse, ...] | None:
    """The flags for another run of a build whose nodes collided; None if it does not run again.

    If `export_again` can save it afterwards, the new run does not export to the store. Otherwise it
    has the same flags: a blob that one node has written is not written again.

    Args:
        runner: the build.
        uses: the cache flags of the build.
        ran: the result of the run.
        staging: the staging layout it exported to.
        export: the flag of that export.
    """
    settings, failed = runner.settings, ran.exit_status != 0
    if not have_nodes_collided(ran.trace):
        return None
    repeatable = _can_repeat(runner)
    # Without a cache, every step would be executed again.
    if reads_context(settings) or (not failed and (repeatable or settings.no_cache)):
        return None
    runner.report(Noted(f"{_WHY}; the build is run again"))
    staging.drop_unfinished()
    return tuple(each for each in uses if each is not export or not repeatable)


def export_again(
    runner: Runner, uses: Sequence[CacheUse], ran: RunResult, staging: Staging, export: CacheUse
) -> RunResult:
    """Repeat the export of a build whose nodes collided, one node at a time.

    The result of any other build is returned unchanged.

    Args:
        runner: the build.
        uses: the cache flags of the build.
        ran: the result of the run.
        staging: the staging layout it exported to.
        export: the flag of that export.
    """
    if not _is_due(runner, ran):
        return ran
    runner.report(Noted(f"{_WHY}; it is saved platform by platform"))
    imports = [each for each in uses if each.flag == IMPORT]
    kept = [each for each in ran.trace.transfers if not each.name.startswith(_KIND)]
    for platform in runner.settings.platforms or ("",):
        staging.drop_unfinished()
        _, transfers, error = save_quietly(runner, imports, export, _SECONDS, platform)
        kept += [CacheTransfer(_KIND, None, error)] if error else transfers
    return replace(ran, trace=replace(ran.trace, transfers=tuple(kept)))


def _is_due(runner: Runner, ran: RunResult) -> bool:
    written = ran.trace.find_transfers(_KIND) and not have_nodes_collided(ran.trace)
    return not written and _can_repeat(runner)


def _can_repeat(runner: Runner) -> bool:
    return can_repeat(runner.settings, runner.extra)
