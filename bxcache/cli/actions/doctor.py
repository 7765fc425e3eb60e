"""The action of `bxcache doctor`; `cli/doctor.py` has its help."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from bxcache.api import diagnose
from bxcache.backends.finding import Status
from bxcache.cli.job_log import show
from bxcache.console.doctor import render_diagnosis
from bxcache.console.progress import shows_colors
from bxcache.errors import EXIT_UNHEALTHY

if TYPE_CHECKING:
    from pathlib import Path


def examine(
    name: str | None, config_file: Path | None, *, source: str | None, tunes: bool, **given: bool
) -> int:
    """Examine builds here, or what caching was worth to them."""
    if tunes and given["fix"]:
        raise click.UsageError("`--cache` and `--fix` exclude each other")
    if tunes:
        return _show_tuning(name, config_file, source, as_json=given["as_json"])
    if name is not None or source is not None:
        raise click.UsageError("a NAME and `--from` belong to `--cache`")
    return _examine(config_file, **given)


def _show_tuning(
    name: str | None, config_file: Path | None, source: str | None, *, as_json: bool
) -> int:
    from bxcache.console.tuning import render_tuning  # noqa: PLC0415  # loads records
    from bxcache.insight.tuning import tuning  # noqa: PLC0415  # the same

    found = tuning(name, config_file=config_file, source=source)
    show(found.to_dict, lambda: render_tuning(found), as_json=as_json)
    return 0


def _examine(config_file: Path | None, *, fix: bool, as_json: bool) -> int:
    """Examine builds here; return exit status 79 if there is an error."""
    found = diagnose(fix=fix, config_file=config_file)
    show(
        found.to_dict,
        lambda: render_diagnosis(found, colored=shows_colors(sys.stdout)),
        as_json=as_json,
    )
    return EXIT_UNHEALTHY if found.status is Status.ERROR else 0
