"""What a report shows about the whole build: what was built, where, and what changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Phase
from bxcache.config.json_documents import pick
from bxcache.config.quantities import format_age, format_seconds, format_size
from bxcache.console.report.sections import Quoted, format_moment, show_phase
from bxcache.console.tables import clean_text, cut_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from bxcache.insight.report import ComparedBuild, ComparedPhase, Report

_LEAST_SECONDS = 0.05
"""Differences below it would be shown as 0.0 s."""
_LEAST_SHARE = 0.1
_MOST_PHASES = 3
_LONGEST_STEP = 60
_LENGTH = 7
"""Of a short commit, as git shows it."""


def list_origin(report: Report) -> list[tuple[str, str]]:
    """List what was built, as far as known, with names: all values are foreign texts."""
    place = report.place
    found = (
        ("Project", place.project),
        ("Commit", place.commit[:_LENGTH]),
        ("Branch", place.branch),
        ("Tag", place.tag),
        ("Pull request", place.pull_request),
    )
    return [(name, value) for name, value in found if value]


def list_facts(report: Report) -> list[tuple[str, str]]:
    """List where and with what the image was built, as far as known."""
    scope, place, tools = report.scope, report.place, report.tools
    found = (
        ("Scope", scope.name),
        ("Started", format_moment(report.started)),
        ("Image", scope.image),
        ("Target", scope.target),
        ("Platforms", ", ".join(scope.platforms)),
        ("Branch", scope.branch or place.branch),
        ("Tag", place.tag),
        ("Pull request", place.pull_request),
        ("Base branch", place.base),
        ("Project", place.project),
        ("Commit", place.commit),
        ("Built on", place.provider),
        ("Fetched", format_size(report.pulled_bytes) if report.pulled_bytes else None),
        ("Context sent", format_size(report.sent_bytes) if report.sent_bytes else None),
        *pick(tools, "bxcache", "docker", "engine", "buildx").items(),
        ("BuildKit", tools.buildkit),
        ("Driver", tools.driver),
    )
    images = [f"{each.name}@{each.digest}" if each.digest else each.name for each in report.images]
    known = [(name, value) for name, value in found if value]
    return [*known, *(("Base image", image) for image in images)]


def summarize_compared(report: Report, quote: Callable[[str], str] = clean_text) -> str | None:
    """Show what changed in time since an earlier build, and why, with foreign texts `quote`d.

    None if there is no earlier build.
    """
    before = report.compared
    if before is None:
        return None
    took = (
        f"{format_seconds(abs(before.slower))} {'slower' if before.slower > 0 else 'faster'} than"
    )
    took = took if abs(before.slower) >= _LEAST_SECONDS else "as fast as"
    age = format_age(report.started - before.started)
    name = name_build(before.branch, before.commit)
    whole = f"{took} {quote(name)} ({age} before)" if name else f"{took} the build {age} before"
    causes = ", ".join(_list_causes(report, before, quote))
    return f"{whole}: {causes}" if causes else whole


def name_build(branch: str, commit: str) -> str:
    """Name a build by its branch and its commit, as far as they are known."""
    return "@".join(filter(None, (branch, commit[:_LENGTH])))


def _list_causes(report: Report, before: ComparedBuild, quote: Callable[[str], str]) -> list[str]:
    if not before.phases:
        return []
    steps = _explain_steps(report, before, quote)
    causes = []
    for phase in _choose_phases(before):
        name = show_phase(phase.name)
        name = quote(name) if isinstance(name, Quoted) else name
        more = "more" if phase.slower > 0 else "less"
        cause = f"{format_seconds(abs(phase.slower))} {more} {name}"
        if phase.name == Phase.STEPS and steps:
            cause, steps = f"{cause} ({steps})", ""
        causes.append(cause)
    return [*causes, *([f"steps: {steps}"] if steps else [])]


def _choose_phases(before: ComparedBuild) -> list[ComparedPhase]:
    least = max(_LEAST_SECONDS, _LEAST_SHARE * sum(abs(each.slower) for each in before.phases))
    return [each for each in before.phases if abs(each.slower) >= least][:_MOST_PHASES]


def _explain_steps(report: Report, before: ComparedBuild, quote: Callable[[str], str]) -> str:
    more = before.more_executed
    found = [f"{abs(more)} {'more' if more > 0 else 'fewer'} executed"] if more else []
    if before.first_executed is not None:
        text = quote(cut_text(report.steps[before.first_executed].text, _LONGEST_STEP))
        found.append(f"first {text}" if more > 0 else f"no longer reused: {text}")
    return ", ".join(found)
