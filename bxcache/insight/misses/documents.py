"""The parts of JSON documents about misses and predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bxcache.config.json_documents import pick

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bxcache.insight.record_misses import RecordedAdvice, RecordedBasis, RecordedChange
    from bxcache.insight.record_parts import RecordedStep


def write_changes(changes: Iterable[RecordedChange]) -> list[dict[str, Any]]:
    """Return what changed."""
    return [pick(each, "cause", "name", "before", "after") for each in changes]


def write_basis(basis: RecordedBasis | None) -> dict[str, Any] | None:
    """Return the build that another one is compared with."""
    return None if basis is None else pick(basis, "scope", "branch", "commit", "started")


def write_advice(advice: Iterable[RecordedAdvice]) -> list[dict[str, Any]]:
    """Return what makes builds execute steps again and again."""
    keys = ("cause", "name", "step", "files", "times", "builds", "seconds", "alternates")
    return [pick(each, *keys) for each in advice]


def write_step(step: RecordedStep | None) -> dict[str, Any]:
    """Return which step is meant; without one, the values are None."""
    if step is None:
        return dict.fromkeys(("stage", "text", "platforms", "line"))
    return {**pick(step, "stage", "text", "platforms"), "line": next(iter(step.lines), None)}
