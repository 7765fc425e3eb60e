"""Rescue a build that failed because of its cache: verify, repair, and report why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.faults import blames_process, find_cache_fault

if TYPE_CHECKING:
    from bxcache.buildx.run import RunResult
    from bxcache.pipeline.target import Target

AGAIN = "the build failed because of its cache and is run again without it"
ONCE = (
    "the build failed because of its cache, and what it read from stdin is gone; run it anew, "
    "with `--no-cache` if that fails too"
)


def find_reason(target: Target, ran: RunResult) -> str:
    """Explain how a cache made the build fail; an empty string if none did.

    This also verifies and repairs the caches imported from this machine.
    """
    if not ran.exit_status or not target.plan.imports or blames_process(ran.trace):
        return ""
    fault = find_cache_fault(ran.trace)
    if not fault and not ran.trace.unloaded:
        return ""
    notes = [note for backend in target.prepared.backends for note in backend.mend()]
    return "; ".join((*([fault] if fault else []), *notes))
