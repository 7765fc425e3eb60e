"""The action of `bxcache doctor`; `cli/doctor.py` has its help."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bxcache.api import diagnose
from bxcache.backends.finding import Status
from bxcache.cli.job_log import show
from bxcache.console.doctor import render_diagnosis
from bxcache.console.progress import shows_colors
from bxcache.errors import EXIT_UNHEALTHY

if TYPE_CHECKING:
    from pathlib import Path


def examine(config_file: Path | None, *, fix: bool, as_json: bool) -> int:
    """Examine builds here; return exit status 79 if there is an error."""
    found = diagnose(fix=fix, config_file=config_file)
    show(
        found.to_dict,
        lambda: render_diagnosis(found, colored=shows_colors(sys.stdout)),
        as_json=as_json,
    )
    return EXIT_UNHEALTHY if found.status is Status.ERROR else 0
