"""When a build fails because of its cache: verify, mend, and say so; then it can go on without."""

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
    """What is wrong with the cache that made a build fail; else an empty string.

    What was imported from this machine is verified, and mended, on the way.
    """
    if not ran.exit_status or not target.plan.imports or blames_process(ran.trace):
        return ""
    fault = find_cache_fault(ran.trace)
    if not fault and not ran.trace.unloaded:
        return ""
    notes = [note for backend in target.prepared.backends for note in backend.mend()]
    return "; ".join((*([fault] if fault else []), *notes))
