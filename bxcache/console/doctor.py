"""Renders `bxcache doctor`: what is fine in a line each, then the problems with their remedies."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from bxcache.backends.finding import Status
from bxcache.config.quantities import format_count, format_seconds
from bxcache.console.progress import paint
from bxcache.console.tables import show_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.backends.finding import Finding
    from bxcache.pipeline.doctor.diagnosis import Diagnosis, Mended

_COLORS = {Status.OK: "green", Status.WARNING: "yellow", Status.ERROR: "red"}
_WIDTH = 100
_INDENT = "  "


def render_diagnosis(diagnosis: Diagnosis, *, colored: bool = False) -> str:
    """Render a diagnosis; the problems are last, errors after warnings, then the counts."""
    fine = [each for each in diagnosis.findings if each.status is Status.OK]
    width = max((len(each.check) for each in fine), default=0)
    blocks = ["\n".join(_render_fine(each, width, colored=colored) for each in fine)]
    blocks += ["\n".join(_render_mended(each, colored=colored)) for each in diagnosis.mended]
    for status in (Status.WARNING, Status.ERROR):
        found = (each for each in diagnosis.findings if each.status is status)
        blocks += ["\n".join(_render_problem(each, colored=colored)) for each in found]
    return "\n\n".join((*filter(None, blocks), _render_counts(diagnosis)))


def _render_fine(finding: Finding, width: int, *, colored: bool) -> str:
    name = f"{finding.check:<{width}}"
    return f"{_mark('ok', Status.OK, colored=colored)}  {name}  {show_text(finding.found)}"


def _render_mended(mended: Mended, *, colored: bool) -> Iterator[str]:
    if mended.error is not None:
        head = _mark("not mended:", Status.ERROR, colored=colored)
        yield from _wrap(f"{mended.check}: {mended.error}", head)
        return
    for line in mended.did:
        yield from _wrap(f"{mended.check}: {line}", _mark("mended:", Status.OK, colored=colored))


def _render_problem(finding: Finding, *, colored: bool) -> Iterator[str]:
    head = _mark(f"{finding.status}:", finding.status, colored=colored)
    yield from _wrap(f"{finding.check}: {finding.found}", head)
    if finding.why:
        yield from _wrap(finding.why, f"{_INDENT}why:")
    if finding.remedy:
        yield from _wrap(finding.remedy, f"{_INDENT}do: ")
    if finding.fixable:
        yield f"{_INDENT}fix: `bxcache doctor --fix` does it"


def _mark(text: str, status: Status, *, colored: bool) -> str:
    return paint(text, _COLORS[status]) if colored else text


def _wrap(text: str, head: str) -> list[str]:
    """Wrap a text after a head; paths and commands stay whole."""
    lines = wrap(
        show_text(text),
        _WIDTH - len(_INDENT) * 4,
        break_long_words=False,
        break_on_hyphens=False,
    )
    first, *rest = lines or [""]
    return [f"{head} {first}", *(f"{_INDENT * 4}{line}" for line in rest)]


def _render_counts(diagnosis: Diagnosis) -> str:
    counts = diagnosis.counts
    parts = [f"{format_count(counts[Status.OK], 'check')} ok"]
    parts += [
        format_count(counts[status], str(status))
        for status in (Status.WARNING, Status.ERROR)
        if counts[status]
    ]
    return f"{', '.join(parts)}, in {format_seconds(diagnosis.seconds)}"
