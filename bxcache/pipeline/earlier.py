"""Which records of earlier builds a build needs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bxcache.insight.earlier import LAST_BUILDS, EarlierBuilds, EarlierQuery

if TYPE_CHECKING:
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared


def ask_earlier(prepared: Prepared, plan: BuildPlan) -> EarlierBuilds | None:
    """Ask for the records of earlier builds; a build without caches needs none.

    Read all records if a report or a gate needs them; otherwise the last ones of each scope, which
    have the durations of its steps and show what makes them run again and again.
    """
    if not (prepared.trust.writes or plan.imports):
        return None
    scopes, now = (plan.scope.name, *(use.scope for use in plan.imports)), time.time()
    last = EarlierQuery(scopes, now, most=LAST_BUILDS - 1, everywhere=False)
    return EarlierBuilds(prepared.setup, EarlierQuery(scopes, now) if is_wanted(prepared) else last)


def is_wanted(prepared: Prepared) -> bool:
    """Whether a report or a gate needs the records of earlier builds."""
    return prepared.request.with_earlier or prepared.setup.config.gate.is_set
