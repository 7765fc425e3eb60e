"""The tables of `docs/json.md`: the keys of a build's document, and the exit statuses."""

from __future__ import annotations

import re
from typing import Any

from bxcache import errors
from bxcache.backends.cache_result import CacheResult
from bxcache.buildx.metadata import Layer
from bxcache.buildx.stream.events import Outcome
from bxcache.errors import BuildFailedError, BxcacheError
from bxcache.insight.causes import Cause
from bxcache.insight.history import Stage
from bxcache.insight.record_misses import RecordedAdvice, RecordedChange, RecordedMiss
from bxcache.insight.record_parts import RecordedLayer, RecordedPhase, Verdict
from bxcache.insight.report import Report
from bxcache.pipeline.result import BuildResult, Step
from tests.bootstrap import ROOT
from tests.support.histories import make_record, make_stages, make_step
from tests.support.python_reference import list_meanings, read_head, tabulate, write_sentence

PAGE = ROOT / "docs" / "json.md"
_LAYER = Layer("sha256:a", 1)
_FULL = BuildResult(
    exit_status=0,
    digest="sha256:b",
    tags=("app",),
    steps=(Step("build", "RUN a", 2, Outcome.EXECUTED, 1.5, (_LAYER,), "linux/amd64"),),
    caches=(CacheResult("local", "/s", "s", "sha256:c", 1, True, True, 1, True, 1, 1, 1, 1),),  # noqa: FBT003
    warnings=("a",),
    seconds=1.5,
    record=make_record(
        make_step("RUN a", 2, layers="a"),
        stages=make_stages(("build", 1, "a")),
        build_warnings=("a",),
        misses=(RecordedMiss(step=0, changes=(RecordedChange(cause=Cause.NEW),)),),
        advice=(RecordedAdvice(cause=Cause.MODE, name="a", times=3, builds=4, seconds=9.0),),
    ),
    gates=(Verdict(gate="max_size", reason="a", fails=True),),
    phases=(RecordedPhase(name="steps", seconds=1.5),),
)
_SPARSE = BuildResult(
    exit_status=0,
    digest=None,
    tags=(),
    steps=(Step("build", "RUN a", None, Outcome.REUSED, 1.5),),
    caches=(CacheResult("registry", "r", "s", seconds=1.5),),
    warnings=(),
    seconds=1.5,
    record=make_record(
        make_step("RUN a", stage="build", outcome=Outcome.REUSED),
        misses=(RecordedMiss(changes=(RecordedChange(cause=Cause.FIRST_BUILD),)),),
    ),
)
"""Results that together have each key, with and without a value."""
_SOURCES: dict[str, tuple[type, ...]] = {
    "The result": (BuildResult, Report),
    "Image": (BuildResult,),
    "Steps": (Step,),
    "Stages": (Stage,),
    "Counts": (BuildResult,),
    "Misses": (RecordedMiss,),
    "Changes": (RecordedChange,),
    "Advice": (RecordedAdvice,),
    "Caches": (CacheResult,),
    "Gates": (Verdict,),
    "Phases": (RecordedPhase,),
    "Layers": (RecordedLayer,),
}
"""The headings of the tables, and the classes that describe their keys."""
_OWN = {
    ("The result", "version"): 'the version of the document, `"1"`.',
    ("The result", "image"): "what was built.",
    ("The result", "stages"): "the stages, in the order of the Dockerfile.",
    ("The result", "counts"): "how many steps had each outcome.",
    ("The result", "saved_seconds"): "how long the reused steps took when they were last executed, "
    "less how long their layers were fetched, as far as known; negative if fetching took longer. "
    "None if steps were reused and no record has the time of any.",
    ("Layers", "bytes"): list_meanings(RecordedLayer)["size"],
    ("Misses", "stage"): "the stage of the step; None for the whole build.",
    ("Misses", "text"): "the step, as BuildKit shows it; None for the whole build.",
    ("Misses", "line"): "the line of the step in the Dockerfile; None if unknown.",
    ("Misses", "platforms"): "the platforms of the step in a build for several; None likewise.",
    ("Misses", "later"): "how many steps were executed only because of this one.",
}
"""What no attribute of these classes describes."""
_NAMES = {str: "text", bool: "true or false", int: "number", float: "number"}
_NAMES |= {list: "list", dict: "object", type(None): "`null`"}
_INTERRUPTED = """\
Ctrl-C or SIGTERM; buildx is stopped, and no cache is left half saved. Or stdout is no longer read;
all else is done.
"""
_MORE = {
    0: ("", "Done."),
    2: ("", "Wrong usage of the command line."),
    errors.EXIT_BUG: ("", "A bug in bxcache."),
    errors.EXIT_UNHEALTHY: ("", "`bxcache doctor` found an error."),
    errors.EXIT_INTERRUPTED: ("", write_sentence(_INTERRUPTED)),
}
"""The statuses without an error of their own."""


def render_page() -> str:
    """Render `docs/json.md`: its own text, with the tables below their headings."""
    text = PAGE.read_text(encoding="utf-8")
    tables = {heading: _tabulate_keys(heading) for heading in _SOURCES}
    for heading, table in (tables | {"Exit status": _tabulate_statuses()}).items():
        head, mark, rest = text.partition(f"# {heading}\n")
        before, *_, after = re.split(r"(?:^\|.*\n)+", rest, maxsplit=1, flags=re.MULTILINE)
        text = "".join((head, mark, before, *(f"{line}\n" for line in table), after))
    return text


def _tabulate_keys(heading: str) -> list[str]:
    found: dict[str, set[str]] = {}
    for result in (_FULL, _SPARSE):
        for part in _list_parts(heading, result.to_dict()):
            for key, value in part.items():
                found.setdefault(key, set()).add(_NAMES[type(value)])
    known: dict[str, str] = {}
    for source in _SOURCES[heading]:
        known = list_meanings(source) | known
    rows = []
    for key, kinds in found.items():
        meaning = write_sentence(_OWN.get((heading, key)) or known[key])
        kind = " or ".join(sorted(kinds, key=lambda each: each == "`null`"))
        rows.append((f"`{key}`", kind, re.sub(r"\bNone\b", "`null`", meaning)))
    return tabulate(("Key", "Type", "Meaning"), rows)


def _list_parts(heading: str, document: dict[str, Any]) -> list[dict[str, Any]]:
    if heading == "The result":
        return [document]
    if heading == "Layers":
        return [layer for each in document["steps"] for layer in each["layers"]]
    if heading == "Changes":
        return [change for each in document["misses"] for change in each["changes"]]
    found = document[heading.lower()]
    return found if isinstance(found, list) else [found]


def _tabulate_statuses() -> list[str]:
    found = dict(_MORE)
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, BxcacheError):
            found[value.exit_status] = (f"`{name}`", write_sentence(read_head(value)))
    found.pop(BxcacheError.exit_status)
    own = ("docker's own", "`BuildFailedError`", write_sentence(read_head(BuildFailedError)))
    rows = [(str(status), *found[status]) for status in sorted(found)]
    return tabulate(("Status", "In Python", "Meaning"), [rows[0], own, *rows[1:]])
