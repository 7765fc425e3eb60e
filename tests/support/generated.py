"""The files of the repository that are made from its code: schemas, and reports of recorded builds.

`python3 -m tests.regenerate` writes them anew.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bxcache.config.schema import render_schema
from bxcache.insight.schema import render_report_schema
from bxcache.insight.schema import render_schema as render_record_schema
from tests.bootstrap import ROOT
from tests.support.golden import BUILDS, SUFFIXES, render_golden

SCHEMAS, GOLDEN = Path("schemas"), Path("tests/golden")
GENERATED: dict[Path, Callable[[], str]] = {
    SCHEMAS / "bxcache.schema.json": render_schema,
    SCHEMAS / "bxcache-record.schema.json": render_record_schema,
    SCHEMAS / "bxcache-report.schema.json": render_report_schema,
    **{
        GOLDEN / f"{name}.{suffix}": partial(render_golden, name, suffix)
        for name in BUILDS
        for suffix in SUFFIXES
    },
}
"""Each file, and the function that makes its text."""


def list_unknown() -> set[Path]:
    """The files beside them that nothing makes."""
    kept = [path for folder in (SCHEMAS, GOLDEN) for path in (ROOT / folder).iterdir()]
    return {path.relative_to(ROOT) for path in kept} - set(GENERATED)
