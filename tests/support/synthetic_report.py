"""Reports as large as real ones.

`python3 -m tests.support.synthetic_report FILE STEPS` writes a page.
"""

from __future__ import annotations

import random
import sys
from hashlib import sha1
from pathlib import Path

from bxcache.buildx.stream.events import Outcome
from bxcache.console.report.rendering import render_report
from bxcache.insight.record import Record
from bxcache.insight.record_parts import (
    RecordedCache,
    RecordedPlace,
    RecordedScope,
    RecordedStage,
    RecordedStep,
    RecordedTools,
)
from bxcache.insight.report import Report
from bxcache.insight.reporting import make_report
from tests.support.histories import make_layer
from tests.support.synthetic_build import write_instruction

IN_STAGE = 10
SCOPE = RecordedScope(
    name="image.linux-amd64.main", image="image", platforms=("linux/amd64",), branch="main"
)
STARTED = 1_760_000_000.0
DAY = 86_400.0
LONGEST_TEXT, LONGEST_LOG = 330, 200
"""What is left of a text and of a log in a record of 300 steps."""


def make_builds(count: int, builds: int = 10, *, failing: bool = False) -> list[Record]:
    """Return the records of builds with this many steps, the last build first.

    The first build executed everything, each later one only a part; the third last failed.
    """
    found = [
        _make_build(count, number, fails=number == builds - 3 or (failing and number == builds - 1))
        for number in range(builds)
    ]
    return found[::-1]


def make_large_report(count: int = 300, *, failing: bool = False) -> Report:
    """Return the report of the last of ten builds with this many steps."""
    return make_report(make_builds(count, failing=failing))


def _make_build(count: int, number: int, *, fails: bool) -> Record:
    draw = random.Random(number)
    first = 0 if number == 0 else draw.randrange(count // 2, count)
    stages = [_name_stage(at) for at in range(-(-count // IN_STAGE))]
    steps: list[RecordedStep] = []
    clock = dict.fromkeys(stages, 0.2)
    for at in range(count):
        stage = stages[at // IN_STAGE]
        outcome = Outcome.REUSED if at < first else Outcome.EXECUTED
        if fails and at == count - 1:
            outcome = Outcome.FAILED
        step = _make_step(at, stage, outcome, clock[stage], fails=fails)
        clock[stage] = (step.began or 0.0) + step.seconds + draw.choice((0.0, 0.0, 1.5))
        steps.append(step)
    return Record(
        version=1,
        scope=SCOPE,
        started=STARTED + number * DAY,
        seconds=max(clock.values()) + 1.2,
        exit_status=int(fails),
        steps=tuple(steps),
        stages=tuple(
            RecordedStage(name=name, line=at * (IN_STAGE + 1) + 1, base="debian:13-slim")
            for at, name in enumerate(stages)
        ),
        place=RecordedPlace(
            provider="github",
            branch="main",
            pull_request="1234",
            trusted=True,
            project="acme/shop",
            commit=sha1(f"build {number}".encode(), usedforsecurity=False).hexdigest(),
            job_url=f"https://github.com/acme/shop/actions/runs/{9081726354 + number}/attempts/1",
        ),
        tools=RecordedTools(bxcache="0.1.0", docker="28.5.0", buildx="v0.29.1", buildkit="v0.25.2"),
        caches=(
            RecordedCache(
                backend="local",
                place="/var/cache/app",
                scope=SCOPE.name,
                bytes=1_234_567_890,
                imported=number > 0,
                exported=not fails,
            ),
        ),
        warnings=("the registry `registry.example.com` is down",) if fails else (),
    )


def _name_stage(at: int) -> str:
    return f"part-{at}" if at else "base"


def _make_step(at: int, stage: str, outcome: Outcome, clock: float, *, fails: bool) -> RecordedStep:
    draw = random.Random(f"step {at}")
    seconds = round(draw.choice((0.05, 0.4, 2.0, 9.0)) * draw.random() * 2, 3)
    size = round(draw.choice((300, 40_000, 3_000_000, 60_000_000)) * draw.random())
    log = "".join(f"Get:{line} http://deb.example.com/ package-{line}\n" for line in range(9))
    return RecordedStep(
        text=write_instruction(at)[:LONGEST_TEXT],
        stage=stage,
        lines=(at // IN_STAGE * (IN_STAGE + 1) + at % IN_STAGE + 2,),
        outcome=outcome,
        seconds=0.0 if outcome is Outcome.REUSED else seconds,
        began=round(clock, 3),
        layers=() if fails else (make_layer(f"step {at}", size),),
        log="" if outcome is Outcome.REUSED else log[-LONGEST_LOG:],
        log_bytes=0 if outcome is Outcome.REUSED else len(log),
        error="exit code: 1" if outcome is Outcome.FAILED else "",
    )


def main() -> None:
    """Write a page, as the command line says."""
    report = make_large_report(int(sys.argv[2]), failing="failing" in sys.argv)
    Path(sys.argv[1]).write_text(render_report(report, "html"))


if __name__ == "__main__":
    main()
