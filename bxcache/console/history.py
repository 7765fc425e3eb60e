"""Renders `bxcache history`: the layers of each stage."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import islice
from typing import TYPE_CHECKING

from bxcache.config.quantities import format_count, format_seconds, format_size
from bxcache.console.report.sections import explain_shared, show_outcomes
from bxcache.console.tables import cut_digest, cut_text, render_table, show_ago, show_text
from bxcache.insight.history import LayerState
from bxcache.insight.reporting import count_shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bxcache.insight.history import History, Stage
    from bxcache.insight.record import Record
    from bxcache.insight.record_parts import RecordedLayer, RecordedStep

    Row = dict[str, str]
    """Cells by the names of their columns."""

WIDTH = 120
INDENT = "  "
_SHORTEST_TEXT = 40
_SHARED_MARK = " *"
_TEXTS = ("LAYER", "PLATFORM", "INHERITED FROM", "WHERE")
_FIGURES = ("SIZE", "OUTCOME", "SECONDS", "LINE")
_CREATED_BY = "CREATED BY"
_LEGENDS = {
    LayerState.EVICTED: "no longer in the cache; a build that needs it makes it again",
    LayerState.UNSAVED: "the build did not save it, because no saved step depends on it",
    LayerState.ABSENT: "not in the cache",
}
"""The states that a layer shows instead of its size."""


class _RowWriter:
    """Writes a table row for each layer."""

    def __init__(self, history: History, *, full: bool, places: bool) -> None:
        self._history, self._full = history, full
        self._places = history.places if places else {}
        self._stages = {stage.name: stage for stage in history.stages}

    def write_stage(self, stage: Stage, *, chain: bool) -> Iterator[Row]:
        """Write a stage, with inherited layers first."""
        for step in stage.inherited if chain else ():
            owner = {"INHERITED FROM": show_text(step.stage) or "?"}
            rows = self._write_step(step, self._stages.get(step.stage))
            yield from (row | owner for row in rows)
        for step in stage.steps:
            yield from self._write_step(step, stage)

    def _write_step(self, step: RecordedStep, stage: Stage | None) -> list[Row]:
        lines = stage.list_lines(step) if stage is not None else step.lines
        first, *others = [self.write_layer(layer) for layer in step.layers] or [{"LAYER": "-"}]
        cells = {
            "PLATFORM": show_text(",".join(step.platforms)),
            "OUTCOME": step.outcome or "",
            "SECONDS": f"{step.seconds:.1f}",
            "LINE": ",".join(map(str, lines)),
            _CREATED_BY: show_text(step.text),
        }
        return [first | cells, *others]

    def write_layer(self, layer: RecordedLayer) -> Row:
        """Write a layer."""
        state = self._history.find_state(layer)
        digest = layer.digest if self._full else cut_digest(layer.digest)
        # No layer is empty: an engine without the containerd image store does not report sizes.
        size = format_size(layer.size) if layer.size else "?"
        return {
            "LAYER": f"{digest}{_SHARED_MARK if layer.digest in self._history.shared else ''}",
            "WHERE": show_text(self._places.get(layer.digest, "")),
            "SIZE": state if state in _LEGENDS else size,
        }


def _render_tables(tables: Sequence[Sequence[Row]], *, full: bool) -> list[list[str]]:
    """Render tables with the same columns, without those empty in all of them."""
    rows = [row for table in tables for row in table]
    if not rows:
        return [[] for _ in tables]
    columns = _choose_columns(rows)
    cells = [[row.get(name, "") for name in columns] for row in rows]
    left = render_table(columns, cells, sum(name in _TEXTS for name in columns)).splitlines()
    width = max(map(len, left))
    room = max(_SHORTEST_TEXT, WIDTH - len(INDENT) - width - 2)
    texts = [row.get(_CREATED_BY, "") for row in rows]
    texts = [_CREATED_BY if any(texts) else "", *texts]
    shown = [text if full else cut_text(text, room) for text in texts]
    head, *lines = [f"{a:<{width}}  {b}".rstrip() for a, b in zip(left, shown, strict=True)]
    waiting = iter(lines)
    return [[head, *islice(waiting, len(table))] if table else [] for table in tables]


def _choose_columns(rows: Sequence[Row]) -> list[str]:
    platforms = {each for row in rows for each in row.get("PLATFORM", "").split(",")} - {""}
    hidden = () if len(platforms) > 1 else ("PLATFORM",)
    columns = [name for name in (*_TEXTS, *_FIGURES) if name not in hidden]
    return [name for name in columns if any(row.get(name) for row in rows)]


def show_age(record: Record) -> str:
    """Show whether a build succeeded, and how long ago it was."""
    return f"{'failed' if record.exit_status else 'built'} {show_ago(record.started)}"


def render_history(
    history: History, stages: Sequence[Stage], *, chain: bool, full: bool, places: bool
) -> str:
    """Render the build, then each of these stages with its layers from the bottom.

    `chain` adds what a stage builds on, `places` where each layer is; `full` shortens nothing.
    """
    writer = _RowWriter(history, full=full, places=places)
    if history.record is None:
        return _render_chains(history, writer, full=full)
    needed = [stage for stage in stages if stage.needed]
    rows = [list(writer.write_stage(stage, chain=chain)) for stage in needed]
    lines = [_render_build(history.scope, history.record), f"in {show_text(history.source)}"]
    for stage, table in zip(needed, _render_tables(rows, full=full), strict=True):
        total = _render_total(history, stage, chain=chain)
        errors = _list_errors(stage, full=full)
        lines += ["", _render_head(stage), *(INDENT + line for line in (*table, total, *errors))]
    shared = explain_shared(count_shared(stage.steps for stage in history.stages))
    legends = _list_legends(rows, "shared by several steps or stages")
    closing = [*legends, *filter(None, [shared]), *_list_unneeded(stages)]
    return "\n".join([*lines, *([""] if closing else []), *closing])


def _render_build(scope: str, record: Record) -> str:
    after = "after" if record.exit_status else "in"
    outcomes = Counter(step.outcome for step in record.steps if step.outcome is not None)
    steps = f"{format_count(outcomes.total(), 'step')}: {show_outcomes(outcomes)}"
    end = f"{show_text(scope)}: {show_age(record)} {after} {format_seconds(record.seconds)}"
    branch = record.scope.branch or record.place.branch
    return f"{end}, {steps}{f', branch {show_text(branch)}' if branch else ''}"


def _render_head(stage: Stage) -> str:
    base = f"FROM {show_text(stage.base)}" if stage.base else ""
    line = f"line {stage.line}" if stage.line is not None else ""
    return f"{show_text(stage.name)}  {', '.join(filter(None, (base, line)))}".rstrip()


def _render_total(history: History, stage: Stage, *, chain: bool) -> str:
    seconds = format_seconds(round(sum(step.seconds for step in stage.steps), 3))
    own = f"{_count_layers(history, stage.layers)}, {seconds}"
    parts = [own if stage.steps else "no steps of its own"]
    unknown = sum(not step.layers for step in stage.steps)
    if unknown:
        parts.append(f"the layers of {format_count(unknown, 'step')} are unknown")
    if chain and stage.inherited:
        parts.append(f"{_count_layers(history, stage.chain)} with what it builds on")
    return "; ".join(parts)


def _count_layers(history: History, layers: Sequence[RecordedLayer]) -> str:
    sizes: defaultdict[LayerState | None, int] = defaultdict(int)
    for layer in layers:
        sizes[history.find_state(layer)] += layer.size
    size = format_size(sum(sizes.values()))
    gone = ", ".join(f"{format_size(sizes[each])} {each}" for each in _LEGENDS if each in sizes)
    return f"{format_count(len(layers), 'layer')}, {size}{f' ({gone})' if gone else ''}"


def _list_errors(stage: Stage, *, full: bool) -> Iterator[str]:
    for step in stage.steps:
        if step.error:
            line = f"failed: {show_text(step.error)}"
            yield line if full else cut_text(line, WIDTH - len(INDENT))


def _list_legends(tables: Iterable[Iterable[Row]], shared: str) -> Iterator[str]:
    rows = [row for table in tables for row in table]
    if any(row["LAYER"].endswith(_SHARED_MARK) for row in rows):
        yield f"*: {shared}"
    sizes = {row.get("SIZE") for row in rows}
    yield from (f"{state}: {legend}" for state, legend in _LEGENDS.items() if state in sizes)


def _list_unneeded(stages: Sequence[Stage]) -> Iterator[str]:
    names = [show_text(stage.name) for stage in stages if not stage.needed]
    if names:
        yield f"not part of this build: {', '.join(names)}"
    if not stages:
        yield "the build reported no stages"


def _render_chains(history: History, writer: _RowWriter, *, full: bool) -> str:
    """Render the layers of a scope without a record."""
    rows = [[writer.write_layer(layer) for layer in chain.layers] for chain in history.chains]
    layers = {layer.digest: layer for chain in history.chains for layer in chain.layers}
    count = f"{_count_layers(history, [*layers.values()])} in {format_count(len(rows), 'chain')}"
    lines = [f"{show_text(history.scope)}: {count}", f"in {show_text(history.source)}"]
    tables = _render_tables(rows, full=full)
    for number, (chain, table) in enumerate(zip(history.chains, tables, strict=True), 1):
        total = _count_layers(history, chain.layers)
        lines += ["", f"chain {number}", *(INDENT + line for line in (*table, total))]
    lines += ["", *_list_legends(rows, "shared by several chains")]
    return "\n".join([*lines, "stage names need a record, which only builds with bxcache write"])


def render_digests(history: History, stages: Sequence[Stage], *, chain: bool) -> str:
    """List the digests of the layers in the cache from the bottom, one per line, each once."""
    groups = [stage.chain if chain else stage.layers for stage in stages]
    if history.record is None:
        groups = [each.layers for each in history.chains]
    layers = (layer for group in groups for layer in group)
    kept = (each.digest for each in layers if history.find_state(each) not in _LEGENDS)
    return "\n".join(dict.fromkeys(kept))
