"""Measures the report of a large build: `python3 -m tests.benchmarks report`.

It measures the size of each form, the time to make it and, where there is a browser, the time until
the page can be used.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bxcache.console.report.rendering import FORMS, render_report
from bxcache.insight.record import Record
from bxcache.insight.reporting import make_report
from tests.benchmarks.figures import Figures, Finding, conclude
from tests.bootstrap import ROOT
from tests.browser.chromium import Browser, find_browser, start_browser
from tests.support.synthetic_report import make_builds

STEPS = 300
ROUNDS = 10
MOST_KB, MOST_MS = 500.0, 1_000.0
READY = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
LOAD = "import bxcache.console.report.page, bxcache.insight.reporting"


def measure_report() -> list[Finding]:
    """Return the findings about a report of a large build."""
    builds = make_builds(STEPS)
    report = make_report(builds)
    sizes = {form: len(render_report(report, form).encode()) / 1e3 for form in FORMS}  # type: ignore[arg-type]  # they are
    figures = tuple(
        Figures(f"report of {STEPS} steps: size as {form}", [size], "kB")
        for form, size in sizes.items()
    )
    found = [Finding(figures, f"the page under {MOST_KB:.0f} kB", sizes["html"] < MOST_KB)]
    made = _measure_making(builds)
    found.append(Finding(made, f"under {MOST_MS:.0f} ms", made[0].median < MOST_MS))
    browser = find_browser()
    if browser is not None:
        ready = _measure_browser(browser, render_report(report, "html"))
        found.append(Finding((ready,), f"under {MOST_MS:.0f} ms", ready.median < MOST_MS))
    return found


def _measure_making(builds: list[Record]) -> tuple[Figures, ...]:
    report = make_report(builds)
    return (
        Figures("    making it of ten records", _time(lambda: make_report(builds)), "ms"),
        Figures("    writing the page", _time(lambda: render_report(report, "html")), "ms"),
        Figures("    loading what only reports need", _time(_load), "ms"),
        Figures("    Python alone", _time(lambda: _load("pass")), "ms"),
    )


def _load(code: str = LOAD) -> None:
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def _time(action: Callable[[], object]) -> list[float]:
    """Return how many milliseconds an action takes; an extra first run only warms up."""
    times = []
    for _ in range(ROUNDS + 1):
        begun = time.perf_counter()
        action()
        times.append((time.perf_counter() - begun) * 1e3)
    return times[1:]


def _measure_browser(browser: Browser, page: str) -> Figures:
    with tempfile.TemporaryDirectory(prefix="bxcache-report-") as name:
        file = Path(name) / "report.html"
        file.write_text(page, encoding="utf-8")
        times = []
        with start_browser(browser) as driver:
            for _ in range(ROUNDS + 1):
                driver.get(file.as_uri())
                times.append(float(driver.execute_script(READY)))
    return Figures("    until the page can be used, by the browser", times[1:], "ms")


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    prog = "python3 -m tests.benchmarks report"
    argparse.ArgumentParser(prog, description=__doc__).parse_args(arguments)
    return conclude(measure_report())
