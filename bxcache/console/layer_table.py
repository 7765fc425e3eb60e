"""Layers as the rows of a table, beside texts from a build."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from bxcache.config.quantities import format_size
from bxcache.console.tables import cut_text, render_table, show_text
from bxcache.insight.history import LayerState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bxcache.insight.history import History, Stage
    from bxcache.insight.record import RecordedLayer, RecordedStep

Row = dict[str, str]
"""Cells by the names of their columns."""

WIDTH = 120
INDENT = "  "
SHARED_MARK = " *"
GONE = (LayerState.EVICTED, LayerState.UNSAVED, LayerState.ABSENT)
"""The states that a layer shows instead of its size."""
_SHORTEST_TEXT = 40
_SHORT_DIGEST = len("sha256:") + 12
_TEXTS = ("LAYER", "PLATFORM", "INHERITED FROM", "WHERE")
_FIGURES = ("SIZE", "OUTCOME", "SECONDS", "LINE")
_CREATED_BY = "CREATED BY"


class RowWriter:
    """Writes a table row for each layer, as cells by column name."""

    def __init__(self, history: History, *, full: bool, places: bool) -> None:
        self._history = history
        self._full = full
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
            "OUTCOME": step.outcome.value if step.outcome is not None else "",
            "SECONDS": f"{step.seconds:.1f}",
            "LINE": ",".join(map(str, lines)),
            _CREATED_BY: show_text(step.text),
        }
        return [first | cells, *others]

    def write_layer(self, layer: RecordedLayer) -> Row:
        """Write a layer."""
        state = self._history.find_state(layer)
        digest = layer.digest if self._full else layer.digest[:_SHORT_DIGEST]
        return {
            "LAYER": f"{digest}{SHARED_MARK if layer.digest in self._history.shared else ''}",
            "WHERE": show_text(self._places.get(layer.digest, "")),
            "SIZE": state.value if state in GONE else _format_layer(layer),
        }


def _format_layer(layer: RecordedLayer) -> str:
    # No layer is empty: an engine without the containerd image store does not report sizes.
    return format_size(layer.size) if layer.size else "?"


def render_tables(tables: Sequence[Sequence[Row]], *, full: bool) -> list[list[str]]:
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
