"""Renders `bxcache history`: the layers of each stage for people, a document for scripts."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from bxcache.buildx.stream.events import Outcome
from bxcache.config.quantities import format_age, format_count, format_size
from bxcache.console.layer_table import (
    GONE,
    INDENT,
    SHARED_MARK,
    WIDTH,
    Row,
    RowWriter,
    render_tables,
)
from bxcache.console.progress import format_seconds
from bxcache.console.report.sections import explain_shared
from bxcache.console.tables import cut_text, show_text
from bxcache.insight.history import LayerState, list_layers, list_platforms
from bxcache.insight.reporting import count_shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bxcache.insight.history import History, Stage
    from bxcache.insight.record import Record, RecordedLayer, RecordedStep


_LEGENDS = {
    LayerState.EVICTED: "no longer in the cache; a build that needs it makes it again",
    LayerState.UNSAVED: "the build did not save it, because no saved step depends on it",
    LayerState.ABSENT: "not in the cache",
}


def show_age(record: Record) -> str:
    """Show whether a build succeeded, and how long ago it was."""
    verb = "failed" if record.exit_status else "built"
    return f"{verb} {format_age(time.time() - record.started)} ago"


def render_history(
    history: History, stages: Sequence[Stage], *, chain: bool, full: bool, places: bool
) -> str:
    """Render the build, then each stage with its layers from the bottom.

    Args:
        history: the scope's history.
        stages: the stages to show.
        chain: also show what a stage builds on.
        full: shorten nothing.
        places: show where each layer is stored.
    """
    writer = RowWriter(history, full=full, places=places)
    if history.record is None:
        return _render_chains(history, writer, full=full)
    needed = [stage for stage in stages if stage.needed]
    rows = [list(writer.write_stage(stage, chain=chain)) for stage in needed]
    lines = [_render_build(history.scope, history.record), f"in {show_text(history.source)}"]
    for stage, table in zip(needed, render_tables(rows, full=full), strict=True):
        total = _render_total(history, stage, chain=chain)
        errors = _list_errors(stage, full=full)
        lines += ["", _render_head(stage), *(INDENT + line for line in (*table, total, *errors))]
    shared = explain_shared(count_shared(stage.steps for stage in history.stages))
    closing = [
        *_list_legends(rows, "shared by several steps or stages"),
        *([shared] if shared else []),
        *_list_unneeded(stages),
    ]
    return "\n".join([*lines, *([""] if closing else []), *closing])


def _render_build(scope: str, record: Record) -> str:
    after = "after" if record.exit_status else "in"
    outcomes = Counter(step.outcome for step in record.steps if step.outcome is not None)
    counted = [each for each in Outcome if outcomes[each] or each is not Outcome.FAILED]
    branch = record.scope.branch or record.place.branch
    parts = [
        f"{show_text(scope)}: {show_age(record)} {after} {format_seconds(record.seconds)}",
        f"{format_count(outcomes.total(), 'step')}: "
        + ", ".join(f"{outcomes[each]} {each.value}" for each in counted),
        *([f"branch {show_text(branch)}"] if branch else []),
    ]
    return ", ".join(parts)


def _render_head(stage: Stage) -> str:
    base = [f"FROM {show_text(stage.base)}"] if stage.base else []
    line = [f"line {stage.line}"] if stage.line is not None else []
    return f"{show_text(stage.name)}  {', '.join([*base, *line])}".rstrip()


def _render_total(history: History, stage: Stage, *, chain: bool) -> str:
    seconds = format_seconds(sum(step.seconds for step in stage.steps))
    own = f"{_count_layers(history, stage.layers)}, {seconds}"
    parts = [own if stage.steps else "no steps of its own"]
    unknown = sum(not step.layers for step in stage.steps)
    if unknown:
        parts.append(f"the layers of {format_count(unknown, 'step')} are unknown")
    if chain and stage.inherited:
        parts.append(f"{_count_layers(history, stage.chain)} with what it builds on")
    return "; ".join(parts)


def _count_layers(history: History, layers: Sequence[RecordedLayer]) -> str:
    size = format_size(sum(layer.size for layer in layers))
    sizes: dict[LayerState | None, int] = defaultdict(int)
    for layer in layers:
        sizes[history.find_state(layer)] += layer.size
    gone = ", ".join(f"{format_size(sizes[each])} {each}" for each in GONE if each in sizes)
    return f"{format_count(len(layers), 'layer')}, {size}{f' ({gone})' if gone else ''}"


def _list_errors(stage: Stage, *, full: bool) -> Iterator[str]:
    for step in stage.steps:
        if step.error:
            line = f"failed: {show_text(step.error)}"
            yield line if full else cut_text(line, WIDTH - len(INDENT))


def _list_legends(tables: Iterable[Iterable[Row]], shared: str) -> Iterator[str]:
    rows = [row for table in tables for row in table]
    if any(row["LAYER"].endswith(SHARED_MARK) for row in rows):
        yield f"*: {shared}"
    sizes = {row.get("SIZE") for row in rows}
    yield from (f"{state}: {legend}" for state, legend in _LEGENDS.items() if state in sizes)


def _list_unneeded(stages: Sequence[Stage]) -> Iterator[str]:
    names = [show_text(stage.name) for stage in stages if not stage.needed]
    if names:
        yield f"not part of this build: {', '.join(names)}"
    if not stages:
        yield "the build reported no stages"


def _render_chains(history: History, writer: RowWriter, *, full: bool) -> str:
    """Render the layers of a scope without a record."""
    rows = [[writer.write_layer(layer) for layer in chain.layers] for chain in history.chains]
    layers = {layer.digest: layer for chain in history.chains for layer in chain.layers}
    count = f"{_count_layers(history, [*layers.values()])} in {format_count(len(rows), 'chain')}"
    lines = [f"{show_text(history.scope)}: {count}", f"in {show_text(history.source)}"]
    for number, table in enumerate(render_tables(rows, full=full)):
        total = _count_layers(history, history.chains[number].layers)
        lines += ["", f"chain {number + 1}", *(INDENT + line for line in (*table, total))]
    lines += ["", *_list_legends(rows, "shared by several chains")]
    return "\n".join([*lines, "stage names need a record, which only builds with bxcache write"])


def render_digests(history: History, stages: Sequence[Stage], *, chain: bool) -> str:
    """List the digests of the layers in the cache from the bottom, one per line, each once."""
    if history.record is None:
        groups = [each.layers for each in history.chains]
    else:
        groups = [stage.chain if chain else stage.layers for stage in stages]
    layers = (layer for group in groups for layer in group)
    kept = (each.digest for each in layers if history.find_state(each) not in GONE)
    return "\n".join(dict.fromkeys(kept))


def describe_history(history: History, stages: Sequence[Stage], *, chain: bool) -> dict[str, Any]:
    """Return a document for scripts. Sizes are bytes, times seconds, moments seconds since 1970."""
    return {
        "scope": history.scope,
        "source": history.source,
        **_describe_record(history.record),
        "notes": list(history.notes),
        "stages": [_describe_stage(history, stage, chain=chain) for stage in stages],
        "chains": [{"layers": _describe_layers(history, each.layers)} for each in history.chains],
    }


def _describe_record(record: Record | None) -> dict[str, Any]:
    if record is None:
        keys = ("image", "target", "branch", "started", "seconds", "exit_status", "tools", "place")
        nothing = dict.fromkeys(keys)
        return {**nothing, "platforms": [], "images": [], "arguments": {}}
    return {
        "image": record.scope.image,
        "target": record.scope.target,
        "branch": record.scope.branch,
        "started": record.started,
        "seconds": record.seconds,
        "exit_status": record.exit_status,
        "platforms": list(list_platforms(record)),
        "tools": record.tools.model_dump(mode="json"),
        "images": [{"name": image.name, "digest": image.digest} for image in record.images],
        "arguments": dict(record.arguments.values),
        "place": record.place.model_dump(mode="json"),
    }


def _describe_stage(history: History, stage: Stage, *, chain: bool) -> dict[str, Any]:
    document = {
        "name": stage.name,
        "line": stage.line,
        "base": stage.base,
        "needed": stage.needed,
        "bytes": stage.bytes,
        "layers": _describe_layers(history, stage.layers),
        "steps": [_describe_step(step) for step in stage.steps],
    }
    if chain:
        below = list_layers(stage.inherited)
        document["inherited"] = [
            {"stage": step.stage, **_describe_step(step)} for step in stage.inherited
        ]
        document["inherited_layers"] = _describe_layers(history, below)
    return document


def _describe_layers(history: History, layers: Iterable[RecordedLayer]) -> list[dict[str, Any]]:
    return [
        {
            "digest": layer.digest,
            "bytes": layer.size,
            "shared": layer.digest in history.shared,
            "present": state is LayerState.KEPT if state is not None else None,
            "evicted": state is LayerState.EVICTED,
            **({"place": history.places[layer.digest]} if layer.digest in history.places else {}),
        }
        for layer in layers
        for state in [history.find_state(layer)]
    ]


def _describe_step(step: RecordedStep) -> dict[str, Any]:
    return {
        "text": step.text,
        "kind": step.kind,
        "lines": list(step.lines),
        "platforms": list(step.platforms),
        "outcome": step.outcome.value if step.outcome is not None else None,
        "seconds": step.seconds,
        "log_bytes": step.log_bytes,
        "layers": [layer.digest for layer in step.layers],
        "error": step.error,
    }
