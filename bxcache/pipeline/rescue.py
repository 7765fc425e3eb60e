"""When a build fails because of its cache: verify, mend, and say so; then it can go on without."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from bxcache.buildx.faults import blames_process, find_cache_fault
from bxcache.errors import StoreError

if TYPE_CHECKING:
    from bxcache.buildx.run import RunResult
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.store.staging import Staging
    from bxcache.store.store import Store

AGAIN = "the build failed because of its cache and is run again without it"
ONCE = (
    "the build failed because of its cache, and what it read from stdin is gone; run it anew, "
    "with `--no-cache` if that fails too"
)


def find_reason(
    plan: BuildPlan, ran: RunResult, store: Store | None, staging: Staging | None
) -> str:
    """What is wrong with the cache because of which a build failed; else an empty string.

    The scope that was imported from the store is verified, and mended, on the way.
    """
    if not ran.exit_status or not plan.imports or blames_process(ran.trace):
        return ""
    fault = find_cache_fault(ran.trace)
    if not fault and not ran.trace.unloaded:
        return ""
    notes: tuple[str, ...] = ()
    if store is not None and staging is not None and staging.donors:
        with suppress(StoreError):
            notes = store.repair(full=True, scopes=[each.ref_name for each in staging.donors])
    return "; ".join((*([fault] if fault else []), *notes))
