"""Match BuildKit's transfers to caches: BuildKit does not name all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.stream.names import EXPORTS, CacheVertex
from bxcache.config.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.backends.base import CacheUse
    from bxcache.buildx.run import RunResult
    from bxcache.buildx.stream.trace import CacheTransfer

ABSENT = "not found"
_REGISTRY = "registry"


def find_import_error(uses: Sequence[CacheUse], transfers: list[CacheTransfer]) -> str:
    """Why the first of `uses` failed; the rest are all the imports after it."""
    return next((each.error for each in find_imports(uses, transfers) if each.error), "")


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


def find_failed_import(imports: Sequence[CacheUse], ran: RunResult, ref: str) -> str:
    """Why an import from the repository of a ref failed, or an empty string."""
    repository = Reference.parse(ref).name
    transfers = ran.trace.find_transfers(CacheVertex.IMPORT)
    for number, use in enumerate(imports):
        if use.backend.import_mark is None and Reference.parse(use.place).name == repository:
            error = find_import_error(imports[number:], transfers)
            if error and not error.endswith(ABSENT):
                return error
    return ""


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
    places.sort(key=len, reverse=True)
    for fits in (_names_repository, _names_host, _has_succeeded, _is_any):
        for place in places:
            own = [each for each in left if place not in found and fits(each, place)][:1]
            if own:
                found[place] = own
                left.remove(own[0])
    # Each node of a builder has its own export.
    for place, kind in kinds.items():
        if kind != _REGISTRY and kind in EXPORTS:
            found[place] = ran.trace.find_transfers(EXPORTS[kind])
    return found


def _names_repository(transfer: CacheTransfer, place: str) -> bool:
    return _names_host(transfer, place) and Reference.parse(place).path in transfer.error


def _names_host(transfer: CacheTransfer, place: str) -> bool:
    return Reference.parse(place).host in transfer.error


def _has_succeeded(transfer: CacheTransfer, _: str) -> bool:
    return not transfer.error


def _is_any(_transfer: CacheTransfer, _place: str) -> bool:
    return True
