"""The last two lines of a build: its steps, and what was saved where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.config.quantities import format_size
from bxcache.console.progress import format_seconds

if TYPE_CHECKING:
    from bxcache.result import BuildResult, CacheResult


def render_summary(result: BuildResult) -> str:
    """Two lines."""
    return f"{_render_steps(result)}\n{_render_saved(result)}"


def _render_steps(result: BuildResult) -> str:
    count = len(result.steps)
    parts = [f"{result.reused} reused", f"{result.executed} executed"]
    if result.failed:
        parts.append(f"{result.failed} failed")
    noun = "step" if count == 1 else "steps"
    return f"{count} {noun}: {', '.join(parts)}, in {format_seconds(result.seconds)}"


def _render_saved(result: BuildResult) -> str:
    if result.exit_status:
        return "nothing saved: the build failed, the caches are as they were"
    saved = [_render_cache(cache) for cache in result.caches if cache.exported or cache.aliased]
    same = [cache.place for cache in result.caches if cache.unchanged and not cache.exported]
    parts = [f"saved {'; '.join(saved)}"] if saved else []
    parts += [f"nothing new for {place}" for place in same]
    return "; ".join(parts) or "nothing saved"


def _render_cache(cache: CacheResult) -> str:
    if cache.backend == "inline" and cache.digest is None:
        return f"the final stage in the image `{cache.place}`"
    size = "" if cache.bytes is None else f"{format_size(cache.bytes)} "
    layers = "" if cache.layers is None else f"in {cache.layers} layers "
    if cache.backend != "local":
        how = " without an upload" if cache.aliased else ""
        return f"{size}{layers}at {cache.place}{how}"
    news = "unchanged" if cache.unchanged else f"{format_size(cache.new_bytes or 0)} new"
    return f"{size}{layers}as `{cache.scope}` in {cache.place} ({news})"
