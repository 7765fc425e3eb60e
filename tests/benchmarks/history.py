"""Races all ways to keep a cache, over a history of commits: `python3 -m tests.benchmarks history`.

Run this on request, on a machine that does nothing else. Each commit is built on a fresh engine by
each approach in turn, as a CI system does it: the cache is brought, the image is built, the cache
is kept. `--quick` takes some minutes and shows that everything works; the whole takes hours.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.race.application import Application
from tests.benchmarks.race.approaches import Approach
from tests.benchmarks.race.commits import KINDS, QUICK, Commit, list_commits
from tests.benchmarks.race.entrants import (
    APPLICATIONS,
    APPROACHES,
    FULL_APPLICATIONS,
    QUICK_APPLICATIONS,
    QUICK_APPROACHES,
)
from tests.benchmarks.race.judgement import judge, render_targets
from tests.benchmarks.race.page import write_page
from tests.benchmarks.race.results import Run, describe_machine, read_document, write_document
from tests.benchmarks.race.runner import LATENCY, History, open_track
from tests.benchmarks.race.table import render_phases, render_seconds, render_sums
from tests.bootstrap import ROOT
from tests.engines import ensure_suite
from tests.quickstart import guard, say

ROUNDS = 3
PAGES = ROOT / "docs" / "benchmarks"
DOCUMENT = "history.json"
_RESUME = f"documents named {DOCUMENT}, to go on with what they contain"


@dataclass(frozen=True)
class Plan:
    """What is raced.

    Attributes:
        applications: the applications.
        approaches: the approaches.
        commits: the history.
        rounds: how often each history is gone through.
        latency: the seconds that each request to the registry takes.
        output: a folder for the document with everything; None writes none.
        page: the folder of the page and its plots; None writes none.
        resume: documents with what is known already, such as of a race that was interrupted.
    """

    applications: Sequence[Application]
    approaches: Sequence[Approach]
    commits: Sequence[Commit]
    rounds: int = ROUNDS
    latency: float = LATENCY
    output: Path | None = None
    page: Path | None = None
    resume: Sequence[Path] = ()


def run(plan: Plan) -> int:
    """Race, and print the table."""
    machine, runs = race(plan)
    parts = (render_seconds(runs), render_sums(runs), render_phases(runs))
    print(*parts, render_targets(judge(runs)), sep="\n")
    if plan.page:
        write_page(plan.page, machine, runs, plan.latency)
        write_document(plan.page / DOCUMENT, machine, runs)
    return 0


def race(plan: Plan) -> tuple[dict[str, Any], list[Run]]:
    """Go through all histories that are still to be run; return the machine, and all builds."""
    machine = describe_machine(ensure_suite().versions)
    done: list[Run] = []
    for path in plan.resume:
        machine, runs = read_document(path)
        done += runs
    histories = itertools.product(range(plan.rounds), plan.applications)
    for number, application in histories:
        known = [run for run in done if run.history == (application.name, number)]
        if len(known) >= len(plan.approaches) * len(plan.commits):
            continue
        # What the approaches had kept is gone, so that a history begins anew.
        done = [run for run in done if run not in known]
        say(f"{application.name}, round {number + 1} of {plan.rounds}")
        with open_track(plan.latency) as track:
            history = History(track, application, number, plan.commits, plan.approaches)
            for each in history.run():
                done.append(each)
                say(describe(each))
                if plan.output:
                    write_document(plan.output / DOCUMENT, machine, done)
    return machine, done


def describe(run: Run) -> str:
    """Return a line on a build."""
    times = f"{run.restore:6.2f} + {run.build:6.2f} + {run.save:6.2f} s"
    return f"{run.kind:<18} {run.approach:<26} {times}  {run.reused} reused"


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser("python3 -m tests.benchmarks history", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small part, once")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each history")
    parser.add_argument("--apps", nargs="+", choices=APPLICATIONS, help="only these applications")
    parser.add_argument("--approaches", nargs="+", choices=APPROACHES, help="only these approaches")
    parser.add_argument("--commits", nargs="+", choices=KINDS, help="only these kinds of commits")
    parser.add_argument("--latency", type=float, default=LATENCY, help="seconds of each request")
    parser.add_argument("--output", type=Path, help="a folder for everything that was measured")
    parser.add_argument("--write", action="store_true", help="write the page and its plots")
    parser.add_argument("--resume", type=Path, nargs="+", metavar="FILE", help=_RESUME)
    options = parser.parse_args(arguments)
    plan = make_plan(options)
    return guard("the benchmark", lambda: run(plan))


def make_plan(options: argparse.Namespace) -> Plan:
    """Return what the options ask for."""
    quick = options.quick
    applications = options.apps or (QUICK_APPLICATIONS if quick else FULL_APPLICATIONS)
    approaches = options.approaches or (QUICK_APPROACHES if quick else APPROACHES)
    return Plan(
        [APPLICATIONS[name] for name in applications],
        [APPROACHES[name] for name in approaches],
        list_commits(options.commits or (QUICK if quick else KINDS)),
        1 if quick else options.rounds,
        options.latency,
        options.output,
        PAGES if options.write else options.output,
        options.resume or (),
    )
