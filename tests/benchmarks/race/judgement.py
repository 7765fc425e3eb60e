"""The targets of the race, and by how much each was reached or missed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.race.commits import KINDS, TOPIC, list_commits
from tests.benchmarks.race.entrants import BASELINE, OWN, RIVALS, list_raw
from tests.benchmarks.race.results import Run
from tests.benchmarks.race.table import order_names, pick, sum_histories

MOST_TIME = 0.85
MOST_KEPT = 1.02
# From there on two branches are kept, and the live set of one commit says nothing of both.
_BEFORE_BRANCHES = KINDS[: next(n for n, c in enumerate(list_commits()) if c.branch == TOPIC)]


@dataclass(frozen=True)
class Target:
    """A target and what was measured for it.

    Attributes:
        text: what is compared.
        most: the most that the figure may be.
        figure: the ratio that was measured.
        detail: where it is worst, or with what it was compared.
    """

    text: str
    most: float
    figure: float
    detail: str = ""

    @property
    def reached(self) -> bool:
        """Whether the target was reached."""
        return self.figure <= self.most

    @property
    def verdict(self) -> str:
        """The conclusion, with how far away the target is."""
        return "reached" if self.reached else f"missed by {self.figure / self.most - 1:.1%}"


def judge(runs: Sequence[Run]) -> list[Target]:
    """Judge everything of bxcache that took part, for each application."""
    targets: list[Target] = []
    for application in order_names(run.application for run in runs):
        chosen = [run for run in runs if run.application == application]
        present = order_names(run.approach for run in chosen)
        for own in (name for name in OWN if name in present):
            raw = [name for name in list_raw(own) if name in present]
            rivals = [name for name in RIVALS if name in present]
            targets += judge_sums(chosen, application, own, raw)
            targets += [judge_rival(chosen, application, own, rival) for rival in rivals]
            # What is kept in two places has no counterpart.
            targets += judge_kept(chosen, application, own) if list_raw(own) else []
    return targets


def judge_sums(runs: Sequence[Run], application: str, own: str, raw: Sequence[str]) -> list[Target]:
    """Compare whole histories with those of the best approach that has the same backend."""
    if not raw:
        return []
    sums = {name: statistics.median(sum_histories(runs, name)) for name in (own, *raw)}
    best = min(raw, key=lambda name: sums[name])
    text = f"{application}: {own}, the whole history against {best}"
    return [
        Target(text, MOST_TIME, sums[own] / sums[best], f"{sums[own]:.1f} s, {sums[best]:.1f} s")
    ]


def judge_rival(runs: Sequence[Run], application: str, own: str, rival: str) -> Target:
    """Compare each kind of commit; the worst one counts."""
    ratios = {
        kind: _median(runs, own, kind) / _median(runs, rival, kind)
        for kind in order_names(run.kind for run in runs)
    }
    worst = max(ratios, key=lambda kind: ratios[kind])
    behind = [kind for kind, ratio in ratios.items() if ratio > 1]
    text = f"{application}: {own} against {rival}, at each commit"
    detail = f"behind at {', '.join(behind)}" if behind else f"least ahead at {worst}"
    return Target(text, 1.0, ratios[worst], detail)


def judge_kept(runs: Sequence[Run], application: str, own: str) -> list[Target]:
    """Compare what is kept with a fresh export of the same commit, while there is one branch."""
    live = {(run.round, run.kind): run.live for run in pick(runs, BASELINE) if run.live}
    ratios = {
        run.kind: run.kept / fresh
        for run in pick(runs, own)
        if run.kind in _BEFORE_BRANCHES and (fresh := live.get((run.round, run.kind)))
    }
    if not ratios:
        return []
    worst = max(ratios, key=lambda kind: ratios[kind])
    text = f"{application}: {own}, what is kept against a fresh export"
    return [Target(text, MOST_KEPT, ratios[worst], f"most at {worst}")]


def render_targets(targets: Sequence[Target]) -> str:
    """Return a line for each target."""
    head = f"{'target':<74} {'most':>5} {'is':>6}  conclusion"
    rows = (
        f"{each.text:<74} {each.most:>5.2f} {each.figure:>6.2f}  {each.verdict} ({each.detail})"
        for each in targets
    )
    missed = sum(not each.reached for each in targets)
    return "\n".join(["", head, *rows, f"{missed} of {len(targets)} targets missed"])


def _median(runs: Sequence[Run], approach: str, kind: str) -> float:
    return statistics.median(run.total for run in pick(runs, approach, kind))
