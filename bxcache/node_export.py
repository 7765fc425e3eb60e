"""The store's scope of a builder with several nodes, saved platform by platform.

buildx lets all nodes of a builder write one layout at once, where they can hinder each other. What
they have built is saved once more then, one platform after the other, and so one node after the
other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bxcache.buildx.command import can_repeat, reads_context
from bxcache.buildx.events import Noted
from bxcache.buildx.faults import have_nodes_met
from bxcache.buildx.trace import CacheTransfer
from bxcache.buildx.vertex_names import CacheVertex
from bxcache.running import save_quietly

if TYPE_CHECKING:
    from bxcache.plan.plan import BuildPlan
    from bxcache.running import Run
    from bxcache.settlement import Heard
    from bxcache.store.staging import Staging

_KIND = CacheVertex.EXPORT_LOCAL
_MET = "two nodes of the builder were to write the store at the same instant, which buildx refuses"
_SECONDS = 600.0
"""How long the export of one platform may take."""
MORE_RUNS = 2
"""How often a build is run again whose nodes go on to meet."""


def avoid_meeting(
    run: Run, plan: BuildPlan, heard: Heard, staging: Staging | None
) -> BuildPlan | None:
    """How to run a build again whose nodes met; None where it is not to be.

    Where `export_again` can save it afterwards, its nodes write nothing to the store. Else it is
    run as it is: what one of the nodes has written by now, none of them will write any more.

    Args:
        run: the build.
        plan: what it was to do about caches.
        heard: what became of it.
        staging: where it exported to, for the store.
    """
    settings, failed = run.prepared.setup.config.build, heard.exit_status != 0
    if staging is None or plan.local_export is None or not have_nodes_met(heard.trace):
        return None
    repeatable = _can_repeat(run)
    # Without a cache everything would be executed once more.
    if reads_context(settings) or (not failed and (repeatable or settings.no_cache)):
        return None
    run.tell(Noted(f"{_MET}; the build is run again"))
    staging.drop_unfinished()
    return plan.without_local_export() if repeatable else plan


def export_again(run: Run, plan: BuildPlan, heard: Heard, staging: Staging | None) -> Heard:
    """What became of a build whose nodes hindered each other, once each has saved what it built.

    Any other build is given back as it is.

    Args:
        run: the build.
        plan: what it was to do about caches.
        heard: what became of it.
        staging: where it exported to, for the store.
    """
    use = plan.local_export
    if staging is None or use is None or heard.exit_status or not _is_due(run, heard):
        return heard
    run.tell(Noted(f"{_MET}; it is saved platform by platform"))
    kept = [each for each in heard.trace.transfers if not each.name.startswith(_KIND)]
    for platform in run.prepared.setup.config.build.platforms or ("",):
        staging.drop_unfinished()
        _, transfers, error = save_quietly(run, plan, use, _SECONDS, platform)
        kept += [CacheTransfer(_KIND, None, error)] if error else transfers
    return replace(heard, trace=replace(heard.trace, transfers=tuple(kept)))


def _is_due(run: Run, heard: Heard) -> bool:
    written = heard.trace.find_transfers(_KIND) and not have_nodes_met(heard.trace)
    return not written and _can_repeat(run)


def _can_repeat(run: Run) -> bool:
    return can_repeat(run.prepared.setup.config.build, run.prepared.request.extra)
