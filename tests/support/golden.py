"""Reports of recorded builds, as last reviewed.

They are kept in `tests/golden`. A page is kept without its style and script, which have files of
their own.
"""

from __future__ import annotations

import re
from typing import get_args

from bxcache.console.report.plain import render_plain
from bxcache.console.report.rendering import Form, render_report
from bxcache.console.report.trace_events import render_trace
from bxcache.insight.record import Record
from bxcache.insight.record_parts import RecordedCache, RecordedPlace, RecordedScope, Verdict
from bxcache.insight.report import Report
from bxcache.insight.reporting import make_report
from tests.support.histories import STARTED, read_recorded

SUFFIXES = (*get_args(Form), "txt", "trace.json")
# https://www.w3.org/TR/trace-context/#examples-of-http-traceparent-headers
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
# The stream of each build, and of the builds before it; see tests/streams/README.md.
BUILDS = {
    "cold": ("cold",),
    "source-edit": ("fresh-builder-source-edit", "cold"),
    "failing-step": ("docker-26-failing-step", "docker-26-cold"),
    "two-platforms": ("two-platforms",),
}
GATES = (
    Verdict(gate="max_seconds", reason="the build took 1.7 s; at most 1 s allowed", fails=True),
    Verdict(gate="max_growth", reason="the cache grew by 2.0 MB", fails=False),
)
HOUR = 3600.0
SCOPE = RecordedScope(
    name="app.linux-amd64.main", image="app", platforms=("linux/amd64",), branch="main"
)
COMMITS = ("9f2c1e5b7a6d4c3b2a190817161514131211100f", "3f2a1bc00d5c4e6a8b7f1122334455667788990a")
"""Of the build, and of the one before."""
CACHE = RecordedCache(
    backend="local", place="/var/cache/app", scope=SCOPE.name, bytes=2_467_000, exported=True
)


def make_golden(name: str) -> Report:
    """Return the report of a recorded build."""
    return make_report([_read(stream, hours) for hours, stream in enumerate(BUILDS[name])])


def _read(stream: str, hours: int) -> Record:
    status = int("failing" in stream)
    place = RecordedPlace(
        provider="gitlab",
        branch="main",
        trusted=True,
        project="team/app",
        commit=COMMITS[hours],
        job_url=f"https://gitlab.example.com/team/app/-/jobs/{91100 - hours}",
    )
    known = {
        "scope": SCOPE,
        "place": place,
        "started": STARTED - hours * HOUR,
        "exit_status": status,
        "caches": () if status else (CACHE,),
        "warnings": ("the registry `r.example.com` is down",) if status else (),
        "gates": GATES if "edit" in stream else (),
    }
    return read_recorded(stream).model_copy(update=known)


def render_golden(name: str, suffix: str) -> str:
    """Return the text of a golden file."""
    report = make_golden(name)
    if suffix == "txt":
        return render_plain(report) + "\n"
    if suffix == "trace.json":
        return render_trace(report, TRACEPARENT)
    text = render_report(report, suffix)  # type: ignore[arg-type]  # the others are forms
    if suffix == "html":
        text = re.sub(r"(<(style|script)>).*?(</\2>)", r"\1\3", text, flags=re.DOTALL)
        text = re.sub(r"sha256-[\w+/=]+", "sha256-", text)
        # Each element gets its own line, so that differences are readable.
        text = text.replace("><", ">\n<")
    return text
