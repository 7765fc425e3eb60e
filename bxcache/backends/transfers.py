"""Match BuildKit's transfers to caches, as it does not name all of them; and save one cache."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bxcache.backends.base import Salvage
from bxcache.buildx.command import Saving
from bxcache.buildx.run import Runner, RunResult, run_quietly
from bxcache.buildx.stream.names import EXPORTS, CacheVertex
from bxcache.config.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bxcache.backends.base import CacheUse
    from bxcache.buildx.stream.trace import CacheTransfer

ABSENT = "not found"
_PAUSE = 1.0
"""How long to wait before what finished of a failed build is saved once more, in seconds."""
_REGISTRY = "registry"


def find_import_error(uses: Sequence[CacheUse], transfers: list[CacheTransfer]) -> str | None:
    """Why the first of `uses` failed; the rest are all the imports after it."""
    return next((each.error for each in find_imports(uses, transfers) if each.error), None)


def find_imports(
    uses: Sequence[CacheUse], transfers: Sequence[CacheTransfer]
) -> Sequence[CacheTransfer]:
    """The transfers of the first of `uses`; the rest are all the imports after it.

    BuildKit names imports from registries by ref, others only by kind. The imports of a caller or
    a bake file come first.
    """
    use, mark = uses[0], uses[0].backend.import_mark
    if mark is not None:
        transfers = [each for each in transfers if mark in each.name]
        uses = [each for each in uses if each.backend.import_mark == mark]
    named = [each for each in transfers if mark is None and each.name.endswith(use.place)]
    return named or transfers[-len(uses) :][:1]


def find_failed_import(imports: Sequence[CacheUse], ran: RunResult, repository: str) -> str | None:
    """Why an import from a repository failed, if one did."""
    transfers = ran.trace.find_transfers(CacheVertex.IMPORT)
    for number, use in enumerate(imports):
        if use.backend.import_mark is None and use.place.rpartition(":")[0] == repository:
            error = find_import_error(imports[number:], transfers)
            if error and not error.endswith(ABSENT):
                return error
    return None


def match_exports(
    exports: Sequence[CacheUse], ran: RunResult, given: Sequence[str]
) -> dict[str, list[CacheTransfer]]:
    """Match the transfers to each export, by its place.

    BuildKit gives all exports to registries the same name. The error of a failed one contains its
    repository, or at least its host; successful ones are interchangeable.
    """
    found: dict[str, list[CacheTransfer]] = {}
    kinds = {use.place: dict(use.attributes)["type"] for use in exports}
    left = ran.trace.find_transfers(CacheVertex.EXPORT_REGISTRY)
    places = [*given, *(place for place, kind in kinds.items() if kind == _REGISTRY)]
    # One path can be part of another.
    refs = {place: Reference.parse(place) for place in sorted(places, key=len, reverse=True)}
    tests: tuple[Callable[[str, Reference], bool], ...] = (
        lambda error, ref: ref.host in error and ref.path in error,
        lambda error, ref: ref.host in error,
        lambda error, _: not error,
        lambda _error, _ref: True,
    )
    for fits in tests:
        for place, ref in refs.items():
            own = [each for each in left if place not in found and fits(each.error, ref)][:1]
            if own:
                found[place] = own
                left.remove(own[0])
    # Each node of a builder has its own export.
    for place, kind in kinds.items():
        if kind != _REGISTRY and kind in EXPORTS:
            found[place] = ran.trace.find_transfers(EXPORTS[kind])
    return found


def save_quietly(
    runner: Runner,
    imports: Sequence[CacheUse],
    use: CacheUse,
    seconds: float,
    part: str | Salvage | None = None,
) -> tuple[RunResult, list[CacheTransfer], str | None]:
    """Run docker once more to save the finished build to one cache.

    A part of it is one of its platforms, or what has finished of a failed build. Return the run's
    result and exports, and why they are incomplete, if they are.
    """
    options = tuple(each.option for each in (*imports, use))
    saving = Saving(options, runner.name_metadata())
    if isinstance(part, str):
        saving = replace(saving, platform=part)
    elif part is not None:
        saving = replace(saving, file=part.file, target=part.stage)
        seconds = min(seconds, part.seconds)
    begun = time.monotonic()
    ran, transfers, error = _save_once(runner, saving, use, seconds)
    left = seconds - (time.monotonic() - begun) - _PAUSE
    if isinstance(part, Salvage) and error and left > 0:
        # Until BuildKit has ended the failed build, what both share may be executed or lost.
        time.sleep(_PAUSE)
        ran, transfers, error = _save_once(runner, saving, use, left)
    return ran, transfers, error


def _save_once(
    runner: Runner, saving: Saving, use: CacheUse, seconds: float
) -> tuple[RunResult, list[CacheTransfer], str | None]:
    ran, ended = run_quietly(runner, runner.repeat(saving), seconds)
    transfers = ran.trace.find_transfers(EXPORTS[dict(use.attributes)["type"]])
    error = next((each.error for each in transfers if each.error), None)
    if ended:
        error = ": ".join([ended, *[each.log for each in transfers if each.log][-1:]])
    elif not transfers:
        error = (ran.exit_status and ran.error) or "BuildKit did not export it"
    return ran, transfers, error
