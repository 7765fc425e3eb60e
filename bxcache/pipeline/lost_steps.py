"""Reused steps that no cache has afterwards, although every stage was to be saved. Pure.

BuildKit does not load a step if a later result is found. After a reverted edit, for example, the
layers of a step may be neither in the builder nor in the cache that the build started from any
more, so that only executing it could save them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.metadata import find_layers, is_linked
from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import format_count
from bxcache.insight.document import shorten

if TYPE_CHECKING:
    from bxcache.buildx.metadata import Metadata
    from bxcache.buildx.stream.trace import Trace, TracedStep

_MOST_NAMED, _LONGEST_TEXT = 5, 60


def explain_lost(trace: Trace, metadata: Metadata) -> str | None:
    """Explain which reused steps of a build that was saved are in no cache; None if all are.

    The metadata includes that of the runs which saved the build.
    """
    # With several platforms, one can have the layers of a step that they share.
    if len(metadata.definitions) != 1:
        return None
    known = [step for step in trace.steps if _is_known(step, metadata)]
    lost = [
        step for step in known if step.outcome is Outcome.REUSED and not find_layers(step, metadata)
    ]
    if not lost or len(lost) == len(known):
        return None
    names = [*map(_name, lost[:_MOST_NAMED])]
    rest = len(lost) - len(names)
    listed = ", ".join([*names, *([f"and {rest} more"] if rest else [])])
    return (
        f"{format_count(len(lost), 'reused step')} cannot be saved, since neither the builder nor "
        f"the cache has the layers any more: {listed}; another machine executes what it needs of "
        "them again"
    )


def _is_known(step: TracedStep, metadata: Metadata) -> bool:
    own = not metadata.operations.keys().isdisjoint(step.digests)
    return own and not is_linked(step, metadata)


def _name(step: TracedStep) -> str:
    return f"{step.name.label} `{shorten(' '.join(step.name.text.split()), _LONGEST_TEXT)}`"
