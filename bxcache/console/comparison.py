"""Renders `bxcache diff`: two builds side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bxcache.config.quantities import format_count, format_size
from bxcache.console.history import INDENT, WIDTH, show_age
from bxcache.console.summary import describe_layers
from bxcache.console.tables import cut_text, pick, render_table, show_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bxcache.insight.history import History, Stage, StageDifference
    from bxcache.insight.record import RecordedLayer, RecordedStep

    _Change = tuple[str, int, str]
    """A sign (`+` or `-`), a size in bytes, and an instruction."""


def render_difference(
    before: History, after: History, differences: Sequence[StageDifference], *, full: bool
) -> str:
    """Render both builds, their stages, and the steps whose layers differ."""
    lines = [f"{_name_build(before)} -> {_name_build(after)}"]
    lines += ["", _render_stages(differences)] if differences else []
    for each in differences:
        if _name_state(each) == "changed":
            lines += ["", f"{show_text(each.name)}:", *_render_changes(each, full=full)]
    return "\n".join([*lines, "", *_list_totals(differences)])


def _name_build(history: History) -> str:
    scope = show_text(history.scope)
    return f"{scope}, {show_age(history.record)}" if history.record is not None else scope


def _render_stages(differences: Iterable[StageDifference]) -> str:
    rows = [
        (
            show_text(each.name),
            " -> ".join(str(len(s.layers) if s else 0) for s in (each.before, each.after)),
            format_size(each.gone_bytes) if each.gone else "",
            format_size(each.new_bytes) if each.new else "",
            _name_state(each),
        )
        for each in differences
    ]
    return render_table(("STAGE", "LAYERS", "GONE", "NEW", ""), rows)


def _name_state(difference: StageDifference) -> str:
    if difference.before is None:
        return "new"
    if difference.after is None:
        return "gone"
    return "same" if difference.is_same else "changed"


def _render_changes(difference: StageDifference, *, full: bool) -> Iterator[str]:
    changes = _list_changes(difference)
    width = max((len(format_size(size)) for _, size, _ in changes), default=0)
    for sign, size, text in changes:
        line = f"{INDENT}{sign} {format_size(size):>{width}}  {show_text(text)}"
        yield line if full else cut_text(line, WIDTH)


def _list_changes(difference: StageDifference) -> list[_Change]:
    """List the steps whose layers differ; a step's new version follows its old one."""
    gone = _list_steps(difference.before, difference.gone)
    new = _list_steps(difference.after, difference.new)
    changes: list[_Change] = []
    for step, size in gone:
        changes.append(("-", size, step.text))
        twin = next((each for each in new if _is_twin(each[0], step)), None)
        if twin is not None:
            new.remove(twin)
            changes.append(("+", twin[1], twin[0].text))
    return [*changes, *(("+", size, step.text) for step, size in new)]


def _list_steps(
    stage: Stage | None, layers: Iterable[RecordedLayer]
) -> list[tuple[RecordedStep, int]]:
    """List a stage's steps that made some of these layers, with the size of those."""
    wanted = {layer.digest for layer in layers}
    steps = stage.steps if stage is not None else ()
    sizes = [[each.size for each in step.layers if each.digest in wanted] for step in steps]
    return [(step, sum(each)) for step, each in zip(steps, sizes, strict=True) if each]


def _is_twin(one: RecordedStep, other: RecordedStep) -> bool:
    """Whether two steps do the same; base images match whatever their digest."""
    same_text = one.text == other.text or one.kind == "from"
    return same_text and (one.kind, one.platforms) == (other.kind, other.platforms)


def _list_totals(differences: Sequence[StageDifference]) -> Iterator[str]:
    if not differences:
        yield "the builds reported no stages"
    elif all(each.is_same for each in differences):
        yield "no layers differ"
    else:
        gone, new, kept = map(format_size, _measure(differences))
        yield f"in all {gone} gone, {new} new, {kept} in both; shared layers counted once"
    unknown = sum(map(_count_unknown, differences))
    if unknown:
        yield f"the layers of {format_count(unknown, 'step')} are unknown and not compared"


def _count_unknown(difference: StageDifference) -> int:
    stages = (difference.before, difference.after)
    steps = (step for stage in stages if stage is not None for step in stage.steps)
    return sum(not step.layers for step in steps)


def _measure(differences: Sequence[StageDifference]) -> tuple[int, int, int]:
    """Return the bytes that only the first build has, only the second has, and both have."""
    had = {layer.digest: layer.size for d in differences for layer in (*d.gone, *d.kept)}
    has = {layer.digest: layer.size for d in differences for layer in (*d.new, *d.kept)}
    kept = sum(had[digest] for digest in had.keys() & has)
    return sum(had.values()) - kept, sum(has.values()) - kept, kept


def describe_difference(
    before: History, after: History, differences: Sequence[StageDifference]
) -> dict[str, Any]:
    """Return a document for scripts. Sizes are bytes, times seconds, moments seconds since 1970."""
    sizes = zip(("gone_bytes", "new_bytes", "kept_bytes"), _measure(differences), strict=True)
    return {
        "before": _describe_build(before),
        "after": _describe_build(after),
        "same": all(each.is_same for each in differences),
        **dict(sizes),
        "unknown_steps": sum(map(_count_unknown, differences)),
        "stages": [_describe_stage(each) for each in differences],
    }


def _describe_build(history: History) -> dict[str, Any]:
    record = history.record
    keys = ("started", "seconds", "exit_status")
    known = pick(record, *keys) if record is not None else dict.fromkeys(keys)
    return {**pick(history, "scope", "source"), **known}


def _describe_stage(difference: StageDifference) -> dict[str, Any]:
    return {
        "name": difference.name,
        "state": _name_state(difference),
        **pick(difference, "gone_bytes", "new_bytes"),
        **{key: describe_layers(getattr(difference, key)) for key in ("gone", "new", "kept")},
        "steps": [
            {"change": "gone" if sign == "-" else "new", "bytes": size, "text": text}
            for sign, size, text in _list_changes(difference)
        ],
    }
