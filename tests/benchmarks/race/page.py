"""The page of the documentation on the race, and its plots."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.plots import Axis, draw_bars
from tests.benchmarks.race.application import spell
from tests.benchmarks.race.commits import KINDS
from tests.benchmarks.race.entrants import APPLICATIONS, APPROACHES, BASELINE, FULL_APPLICATIONS
from tests.benchmarks.race.judgement import MOST_KEPT, MOST_TIME, Target, judge
from tests.benchmarks.race.results import Run
from tests.benchmarks.race.table import order_names, pick, sum_histories

PAGE = "history.md"
_HEAD = """\
# The race

Every way to keep a build's cache goes through the same history of commits. Each commit is built on
a fresh engine, as a CI runner has it: the cache is brought (*restore*), the image is built, and the
cache is kept for the next machine (*save*). All approaches have their turn at a commit before the
next one, in an order that changes. The figures are seconds, medians of {rounds};
`python3 -m tests.benchmarks history` measures them, and `--quick` a small part of them.

Machine: {processors} processors, {memory:.0f} GB of memory; Python {python}, {engine}.
"""
_WHY = """\
## Why targets are missed

- Half a second of each build is bxcache's own: Python starts, and docker is asked what it can do,
  since every machine of the race is new. On a machine where this is remembered it is a third of a
  second.
- bxcache executes some more steps: a branch has a cache of its own, so after a merge the main
  branch executes again what the topic branch had executed. Plain approaches have one cache for all
  branches here, into which every branch writes.
- The rest of a build is BuildKit's: fetching, unpacking, running, compressing. It is the same for
  both, so that even a bxcache that takes no time at all would not reach 0.85 times. What makes it
  shorter is zstd for the cache and the image, which plain buildx can have as well.
"""
_METHOD = """\
## How it is measured

- The load average before a build was {load:.1f} in the median, {most_load:.1f} at most.
- Base images come from a registry on the same machine. Fetching and unpacking them is part of a
  build; their bytes are not counted. Caches are in another registry, each request to which takes
  {latency:.0f} ms more. Both are as fast as this machine otherwise: look at the bytes, too.
- Folders are carried as CI systems do it, by `tar | zstd -T0` into one file and back. bxcache's
  store is not carried away if its key ends as that of the store that was brought.
- One file, or one tag, is kept for all branches. bxcache has a scope for each branch there.
- A failed build saves nothing.
- *Kept* is what lies outside afterwards: files, or what the tags of the repository need. *In
  registry* is what the registry has as long as it collects no garbage.
- Memory is that of the command that builds, with its children; most of it is docker's.
- Images of `save` and `load`, and of stages, have an inline cache, and their engines the classic
  image store: on today's engines nothing else reuses loaded layers. The classic builder gets the
  ids as `--cache-from`.
"""


def write_page(
    folder: Path, machine: Mapping[str, Any], runs: Sequence[Run], latency: float
) -> None:
    """Write the page and its plots into a folder.

    Args:
        folder: the folder.
        machine: the machine and the versions.
        runs: everything that was measured.
        latency: the seconds that each request took.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PAGE).write_text(render_page(machine, runs, latency))
    for name, chosen in _split(runs):
        _draw_times(folder / f"history-{spell(name)}.svg", f"{name}: the whole history", chosen)
        _draw_sizes(folder / f"history-{spell(name)}-kept.svg", f"{name}: kept at the end", chosen)


def render_page(machine: Mapping[str, Any], runs: Sequence[Run], latency: float) -> str:
    """Return the page in Markdown."""
    rounds = len({run.round for run in runs})
    words = f"{rounds} rounds" if rounds > 1 else "one round"
    facts = {**machine, "memory": machine["memory"] / 2**30, "rounds": words}
    parts = [_HEAD.format(**facts), *_describe_missing(runs), *_describe_approaches()]
    for name, chosen in _split(runs):
        parts += _describe_application(name, chosen)
    loads = [run.load for run in runs]
    method = {"load": statistics.median(loads), "most_load": max(loads), "latency": latency * 1e3}
    parts += [_describe_targets(judge(runs)), _WHY, _METHOD.format(**method)]
    return "\n".join(parts)


def _split(runs: Sequence[Run]) -> list[tuple[str, list[Run]]]:
    names = order_names(run.application for run in runs)
    return [(name, [run for run in runs if run.application == name]) for name in names]


def _describe_missing(runs: Sequence[Run]) -> list[str]:
    """Return what the whole race has and these runs lack."""
    raced = {text for run in runs for text in (run.application, run.kind, run.approach)}
    lacking = [name for name in (*FULL_APPLICATIONS, *KINDS, *APPROACHES) if name not in raced]
    return [f"This is a part of the race; it lacks: {'; '.join(lacking)}.\n"] if lacking else []


def _describe_approaches() -> list[str]:
    rows = [[name, each.about] for name, each in APPROACHES.items()]
    return ["## The approaches\n", _table(["Approach", "What it does"], rows)]


def _describe_application(name: str, runs: Sequence[Run]) -> list[str]:
    return [
        f"## The application in {APPLICATIONS[name].about}\n",
        f"![Seconds of each approach over the whole history](history-{spell(name)}.svg)\n",
        _tabulate_sums(runs),
        "Seconds at each commit, all three together:\n",
        _tabulate_kinds(runs),
        f"![Megabytes kept at the end of the history](history-{spell(name)}-kept.svg)\n",
        "Megabytes: moved over the history, kept at its end, and of memory at most:\n",
        _tabulate_sizes(runs),
    ]


def _tabulate_sums(runs: Sequence[Run]) -> str:
    names = order_names(run.approach for run in runs)
    base = statistics.median(sum_histories(runs, BASELINE)) if BASELINE in names else None
    rows = []
    for name in names:
        sums = sum_histories(runs, name)
        parts = [_sum(runs, name, part) for part in _PARTS.values()]
        ratio = f"{statistics.median(sums) / base:.2f}" if base else ""
        spread = f"{min(sums):.0f} to {max(sums):.0f}"
        rows.append([name, *map(_figure, (*parts, statistics.median(sums))), spread, ratio])
    return _table(["Approach", *_PARTS, "Sum", "Least to most", "Times none"], rows)


def _tabulate_kinds(runs: Sequence[Run]) -> str:
    kinds = order_names(run.kind for run in runs)
    rows = []
    for name in order_names(run.approach for run in runs):
        medians = (statistics.median(r.total for r in pick(runs, name, kind)) for kind in kinds)
        rows.append([name, *(_figure(each) for each in medians)])
    return _table(["Approach", *kinds], rows)


def _tabulate_sizes(runs: Sequence[Run]) -> str:
    rows = []
    for name in order_names(run.approach for run in runs):
        chosen = pick(runs, name)
        ends = _list_ends(runs, name)
        moved = (_sum(runs, name, lambda r: r.brought), _sum(runs, name, lambda r: r.taken))
        kept = (statistics.median(r.kept for r in ends), statistics.median(r.pushed for r in ends))
        memory = max(run.client for run in chosen)
        executed = f"{_sum(runs, name, lambda r: r.executed):.0f}"
        sizes = (f"{value / 1e6:.0f}" for value in (*moved, *kept, memory))
        rows.append([name, *sizes, executed])
    head = ["In", "Out", "Kept", "In registry", "Most memory", "Steps executed"]
    return _table(["Approach", *head], rows)


def _describe_targets(targets: Sequence[Target]) -> str:
    rows = [
        [each.text, f"{each.most:.2f}", f"{each.figure:.2f}", each.verdict, each.detail]
        for each in targets
    ]
    words = (
        "## The targets\n\n"
        f"Over a history, bxcache is to take at most {MOST_TIME} times as long as the best plain\n"
        "approach with the same backend, to be ahead of the other ways at every commit, and to\n"
        f"keep at most {MOST_KEPT} times a fresh export.\n"
    )
    table = _table(["What", "At most", "Measured", "Conclusion", "Detail"], rows)
    return f"{words}\n{table}"


_PARTS: dict[str, Callable[[Run], float]] = {
    "Restore": lambda run: run.restore,
    "Build": lambda run: run.build,
    "Save": lambda run: run.save,
}


def _draw_times(path: Path, title: str, runs: Sequence[Run]) -> None:
    names = order_names(run.approach for run in runs)
    parts = {part: [_sum(runs, name, value) for name in names] for part, value in _PARTS.items()}
    draw_bars(path, title, Axis("seconds"), names, parts)


def _draw_sizes(path: Path, title: str, runs: Sequence[Run]) -> None:
    names = order_names(run.approach for run in runs)
    ends = [_list_ends(runs, name) for name in names]
    parts = {
        "Needed": [statistics.median(run.kept / 1e6 for run in each) for each in ends],
        "Left in the registry": [
            statistics.median((run.pushed - run.kept) / 1e6 for run in each) for each in ends
        ],
    }
    draw_bars(path, title, Axis("MB"), names, parts)


def _list_ends(runs: Sequence[Run], approach: str) -> list[Run]:
    """Return an approach's last build of each history."""
    last = max(run.commit for run in runs)
    return [run for run in pick(runs, approach) if run.commit == last]


def _sum(runs: Sequence[Run], approach: str, value: Callable[[Run], float]) -> float:
    """Return the median over the histories of a sum over the commits."""
    sums: dict[tuple[str, int], float] = {}
    for run in pick(runs, approach):
        sums[run.history] = sums.get(run.history, 0.0) + value(run)
    return statistics.median(sums.values())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), ""])


def _figure(seconds: float) -> str:
    return f"{seconds:.1f}"
