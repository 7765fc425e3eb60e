"""The JSON document of a build: versioned; keys are added, never renamed.

Sizes are bytes, times are seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bxcache.console.tables import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bxcache.backends.cache_result import CacheResult
    from bxcache.buildx.metadata import Layer
    from bxcache.insight.history import Stage
    from bxcache.insight.record import RecordedLayer
    from bxcache.pipeline.result import BuildResult, Step


def describe_result(result: BuildResult) -> dict[str, Any]:
    """Return the document of a build."""
    return {
        "version": VERSION,
        "exit_status": result.exit_status,
        "image": {"tags": list(result.tags), "digest": result.digest},
        "steps": [_describe_step(step) for step in result.steps],
        "stages": [_describe_stage(stage) for stage in result.stages.values()],
        "counts": {
            "reused": result.reused,
            "executed": result.executed,
            "failed": result.failed,
        },
        "caches": [_describe_cache(cache) for cache in result.caches],
        "warnings": list(result.warnings),
        **_describe_amounts(result),
        "gates": [
            {"gate": each.gate, "reason": each.reason, "fails": each.fails} for each in result.gates
        ],
        "seconds": result.seconds,
    }


def _describe_amounts(result: BuildResult) -> dict[str, Any]:
    report = result.report
    if report is None:
        return {}
    counts = report.counts
    is_known = not counts.reused or counts.reused > counts.unknown
    return {
        "build_warnings": list(report.build_warnings),
        "saved_seconds": counts.saved if is_known else None,
        "pulled_bytes": report.pulled_bytes,
        "sent_bytes": report.sent_bytes,
    }


def describe_layers(layers: Iterable[Layer | RecordedLayer]) -> list[dict[str, Any]]:
    """Describe layers by digest and size in bytes."""
    return [{"digest": layer.digest, "bytes": layer.size} for layer in layers]


def _describe_step(step: Step) -> dict[str, Any]:
    return {
        "stage": step.stage,
        "text": step.text,
        "line": step.line,
        "outcome": step.outcome.value,
        "seconds": step.seconds,
        "layers": describe_layers(step.layers),
        "platform": step.platform,
        "error": step.error,
    }


def _describe_stage(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "line": stage.line,
        "base": stage.base,
        "needed": stage.needed,
        "layers": describe_layers(stage.layers),
    }


def _describe_cache(cache: CacheResult) -> dict[str, Any]:
    return {
        "backend": cache.backend,
        "place": cache.place,
        "scope": cache.scope,
        "digest": cache.digest,
        "bytes": cache.bytes,
        "new_bytes": cache.new_bytes,
        "layers": cache.layers,
        "imported": cache.imported,
        "exported": cache.exported,
        "unchanged": cache.unchanged,
        "aliased": cache.aliased,
        "seconds": cache.seconds,
        "store_bytes": cache.store_bytes,
        "store_budget": cache.store_budget,
        "freed_bytes": cache.freed_bytes,
    }
