"""The layers that trusted builds have saved, as far as a build needs to know them.

A build that took nothing from the builder's own cache needs no lookup: its imports explain all
reused steps. The lookup happens before anything is saved.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from bxcache.pipeline.borrowing import Known, find_borrowing

if TYPE_CHECKING:
    from bxcache.buildx.run import RunResult
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared


def find_known(prepared: Prepared, plan: BuildPlan, ran: RunResult) -> Known | None:
    """Find the layers that trusted builds have saved; None if the origin of layers does not matter.

    Args:
        prepared: the build.
        plan: its caches.
        ran: the result of its run.
    """
    wanted = prepared.setup.config.cache.shared_builder
    if not prepared.trust.is_guarded or wanted == "trust" or ran.exit_status:
        return None
    backends = sorted(prepared.backends, key=lambda each: each.is_remote)
    imports = [[use for use in plan.imports if use.backend is each] for each in backends]
    known: set[str] = set()
    for contents in chain(
        (each.read_imports(own) for each, own in zip(backends, imports, strict=True)),
        (each.read_trusted(own) for each, own in zip(backends, imports, strict=True)),
    ):
        for content in contents:
            if content is None:
                return Known(known, "what the build started from cannot be read here")
            known |= content.layer_sizes.keys()
        if not find_borrowing(ran, ran.metadata, Known(known)).steps:
            break
    return Known(known)
