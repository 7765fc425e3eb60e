"""The results of the race in numbers: medians by kind of commit, sums, and targets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from tests.benchmarks.figures import Figures
from tests.benchmarks.race.results import Run

Value = Callable[[Run], float]


def order_names(names: Iterable[str]) -> list[str]:
    """Return names without duplicates, in their order."""
    return list(dict.fromkeys(names))


def pick(runs: Iterable[Run], approach: str, kind: str | None = None) -> list[Run]:
    """Return the runs of an approach, perhaps only those of one kind of commit."""
    return [run for run in runs if run.approach == approach and kind in {None, run.kind}]


def sum_histories(runs: Iterable[Run], approach: str) -> list[float]:
    """Return the seconds of each history of an approach, oldest first."""
    sums: dict[tuple[str, int], float] = {}
    for run in pick(runs, approach):
        sums[run.history] = sums.get(run.history, 0.0) + run.total
    return list(sums.values())


def render_seconds(runs: Sequence[Run]) -> str:
    """Return a table with restore, build and save of each approach at each kind of commit."""
    lines: list[str] = []
    for kind in order_names(run.kind for run in runs):
        lines += ["", kind, _HEAD]
        for approach in order_names(run.approach for run in runs):
            chosen = pick(runs, approach, kind)
            if chosen:
                lines.append(_render_row(approach, chosen))
    return "\n".join(lines)


_HEAD = (
    f"  {'':<28} {'restore':>8} {'build':>8} {'save':>8} {'total':>8} {'least to most':>16}"
    f" {'in MB':>8} {'out MB':>8} {'kept MB':>8} {'reused':>7} {'memory':>7}"
)


def _render_row(approach: str, runs: Sequence[Run]) -> str:
    def median(value: Value) -> float:
        return statistics.median(map(value, runs))

    totals = [run.total for run in runs]
    steps = f"{median(lambda r: r.reused):.0f}/{median(lambda r: r.reused + r.executed):.0f}"
    return (
        f"  {approach:<28} {median(lambda r: r.restore):>8.2f} {median(lambda r: r.build):>8.2f}"
        f" {median(lambda r: r.save):>8.2f} {statistics.median(totals):>8.2f}"
        f" {f'{min(totals):.2f} to {max(totals):.2f}':>16}"
        f" {median(lambda r: r.brought) / 1e6:>8.1f} {median(lambda r: r.taken) / 1e6:>8.1f}"
        f" {median(lambda r: r.kept) / 1e6:>8.1f} {steps:>7}"
        f" {median(lambda r: r.client) / 1e6:>7.0f}"
    )


def render_sums(runs: Sequence[Run]) -> str:
    """Return a table with the sum of each approach over a history."""
    lines = ["", "the whole history"]
    for approach in order_names(run.approach for run in runs):
        sums = Figures(f"  {approach}", sum_histories(runs, approach))
        lines.append(sums.render())
    return "\n".join(lines)


def render_phases(runs: Sequence[Run]) -> str:
    """Return the phases of bxcache's builds."""
    lines = ["", "phases of bxcache, in seconds"]
    for run in runs:
        if run.phases:
            parts = ", ".join(f"{name} {value:.2f}" for name, value in run.phases.items())
            lines.append(f"  {run.kind:<18} {run.approach:<26} {parts}")
    return "\n".join(lines)
