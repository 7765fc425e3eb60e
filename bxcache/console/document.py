"""The JSON document of a build: versioned; keys are added, never renamed.

Sizes are bytes, times are seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bxcache.console.tables import VERSION, pick

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bxcache.buildx.metadata import Layer
    from bxcache.insight.history import Stage
    from bxcache.insight.record import RecordedLayer
    from bxcache.insight.report import Report
    from bxcache.pipeline.result import BuildResult, Step

_CACHE = (
    *("backend", "place", "scope", "digest", "bytes", "new_bytes", "layers"),
    *("imported", "exported", "unchanged", "aliased", "seconds"),
    *("store_bytes", "store_budget", "freed_bytes"),
)


def describe_result(result: BuildResult) -> dict[str, Any]:
    """Return the document of a build."""
    return {
        "version": VERSION,
        "exit_status": result.exit_status,
        "image": {"tags": list(result.tags), "digest": result.digest},
        "steps": [_describe_step(step) for step in result.steps],
        "stages": [_describe_stage(stage) for stage in result.stages.values()],
        "counts": pick(result, "reused", "executed", "failed"),
        "caches": [pick(cache, *_CACHE) for cache in result.caches],
        "warnings": list(result.warnings),
        **(_describe_amounts(result.report) if result.report is not None else {}),
        "gates": [pick(each, "gate", "reason", "fails") for each in result.gates],
        "seconds": result.seconds,
    }


def _describe_amounts(report: Report) -> dict[str, Any]:
    counts = report.counts
    is_known = not counts.reused or counts.reused > counts.unknown
    return {
        "build_warnings": list(report.build_warnings),
        "saved_seconds": counts.saved if is_known else None,
        **pick(report, "pulled_bytes", "sent_bytes"),
    }


def describe_layers(layers: Iterable[Layer | RecordedLayer]) -> list[dict[str, Any]]:
    """Describe layers by digest and size in bytes."""
    return [{"digest": layer.digest, "bytes": layer.size} for layer in layers]


def _describe_step(step: Step) -> dict[str, Any]:
    known = pick(step, "stage", "text", "line", "outcome", "seconds")
    layers = describe_layers(step.layers)
    return {**known, "layers": layers, "platform": step.platform, "error": step.error or ""}


def _describe_stage(stage: Stage) -> dict[str, Any]:
    known = pick(stage, "name", "line", "base", "needed")
    return {**known, "layers": describe_layers(stage.layers)}
