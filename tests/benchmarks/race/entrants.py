"""Everything that takes part in the race, by name."""

from __future__ import annotations

from tests.benchmarks.race.app_compiled import COMPILED
from tests.benchmarks.race.app_node import NODE
from tests.benchmarks.race.app_python import PYTHON, SMALL_PYTHON
from tests.benchmarks.race.approaches import (
    Approach,
    Nothing,
    PushedStages,
    RawInline,
    RawLocal,
    RawMoved,
    RawRegistry,
    RawZstd,
    SavedFinal,
    SavedStages,
    ScrapedImages,
)
from tests.benchmarks.race.own import OwnBoth, OwnInline, OwnLocal, OwnPacked, OwnRegistry, OwnZstd

APPLICATIONS = {each.name: each for each in (PYTHON, COMPILED, NODE, SMALL_PYTHON)}
APPROACHES: dict[str, Approach] = {
    each.name: each
    for each in (
        Nothing(),
        SavedFinal(),
        SavedStages(),
        ScrapedImages(),
        PushedStages(),
        RawLocal(),
        RawMoved(),
        RawZstd(),
        RawRegistry(),
        RawInline(),
        OwnLocal(),
        OwnPacked(),
        OwnZstd(),
        OwnRegistry(),
        OwnInline(),
        OwnBoth(),
    )
}
BASELINE = Nothing.name
QUICK_APPLICATIONS = (SMALL_PYTHON.name,)
FULL_APPLICATIONS = tuple(name for name in APPLICATIONS if name not in QUICK_APPLICATIONS)
QUICK_APPROACHES = tuple(
    each.name for each in (Nothing, SavedFinal, RawLocal, RawRegistry, OwnLocal, OwnRegistry)
)
OWN = tuple(name for name, each in APPROACHES.items() if each.own)
RIVALS = tuple(
    name for name, each in APPROACHES.items() if each.backend in {"images", "stage images"}
)


def list_raw(name: str) -> tuple[str, ...]:
    """Return the approaches of plain buildx with the backend of an approach of bxcache."""
    backend = APPROACHES[name].backend
    return tuple(
        key for key, each in APPROACHES.items() if each.backend == backend and not each.own
    )
