"""The phases of a build's time, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Phase
from bxcache.config.quantities import format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.insight.record_parts import RecordedPhase

PHASE_NAMES: dict[str, str] = {
    Phase.STEPS: "running steps",
    Phase.PULL: "fetching base images",
    Phase.FETCH: "fetching reused layers",
    Phase.CONTEXT: "sending the context",
    Phase.IMPORT: "reading caches",
    Phase.RESOLVE: "looking up base images",
    Phase.DEFINITION: "loading the Dockerfile",
    Phase.LAYERS: "compressing layers",
    Phase.IMAGE: "writing the image",
    Phase.UNPACK: "unpacking the image",
    Phase.LOAD: "loading the image",
    Phase.PUSH: "pushing the image",
    Phase.SAVE: "exporting the cache",
    Phase.RERUN: "exporting the cache in another run",
    Phase.COLLECT: "cleaning the store",
    Phase.COMMIT: "storing the cache",
    Phase.START: "starting bxcache",
    Phase.DOCKER: "starting and ending docker",
    Phase.OTHER: "unexplained",
}
_LEAST_SHARE = 0.03
_LEAST_SECONDS = 0.05
_MOST_NAMED = 4


def name_phase(name: str) -> str:
    """Name a phase; one of a later version of bxcache keeps its name.

    >>> name_phase("pull")
    'fetching base images'
    """
    return PHASE_NAMES.get(name, name)


def measure_phases(phases: Sequence[RecordedPhase]) -> float:
    """Return the time of all phases in seconds, in the same digits with each version of Python."""
    return round(sum(each.seconds for each in phases), 3)


def summarize_phases(phases: Sequence[RecordedPhase]) -> str:
    """Show the phases that took most of the time, longest first, and the rest."""
    whole = measure_phases(phases)
    longest = sorted(phases, key=lambda each: -each.seconds)[:_MOST_NAMED]
    named = [each for each in longest if each.seconds >= _LEAST_SHARE * whole]
    parts = [f"{format_seconds(each.seconds)} {name_phase(each.name)}" for each in named]
    rest = round(whole - measure_phases(named), 3)
    parts += [f"{format_seconds(rest)} other"] if rest >= _LEAST_SECONDS else []
    return ", ".join(parts)
