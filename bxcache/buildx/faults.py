"""What BuildKit says when a build fails because of what it imported, and not because of a step.

A layer that an imported cache promises and that is missing, cut short or changed fails the build
when another layer stands on it; seen with BuildKit 0.13 to 0.32 and caches on disk and in
registries.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bxcache.buildx.events import Outcome

if TYPE_CHECKING:
    from bxcache.buildx.trace import Trace

_OWN_FAULT = "did not complete successfully"
"""A process of a RUN that ended with a status of its own."""

_BASE_IMAGE = "failed to resolve source metadata"

_CACHE_FAULT = re.compile(
    r"sha256:[0-9a-f]{64}: not found"
    r"|short read: expected \d+ bytes"
    r"|unexpected commit digest sha256:"
    r"|failed to (?:copy|fetch|extract|load).*sha256:"
    r"|blob unknown"
    r"|unexpected EOF",
    re.IGNORECASE,
)


def find_cache_fault(trace: Trace) -> str:
    """What docker said that a broken cache explains, or an empty string."""
    for line in reversed(trace.said):
        if line.startswith("ERROR: ") and _CACHE_FAULT.search(line) and _BASE_IMAGE not in line:
            return line.removeprefix("ERROR: ")
    return ""


def blames_process(trace: Trace) -> bool:
    """Whether a process of a RUN failed by itself: no cache can mend that."""
    return any(step.outcome is Outcome.FAILED and _OWN_FAULT in step.error for step in trace.steps)
