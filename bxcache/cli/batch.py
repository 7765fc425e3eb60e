"""`bxcache build` for several images."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.build_options import choose_mode
from bxcache.cli.report_files import report_build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.batch import ImageOutcome
    from bxcache.request import BuildRequest


def build_several(request: BuildRequest, names: Sequence[str], values: dict[str, Any]) -> int:
    """Build images side by side and print what became of each; all where none is named."""
    from bxcache.batch import MOST_AT_ONCE, build_batch, choose_images, find_status  # noqa: PLC0415
    from bxcache.console.batch import IMAGES, BatchProgress  # noqa: PLC0415

    mode = choose_mode(values)
    if mode == "rawjson":
        raise click.UsageError("`--progress rawjson` shows the stream of one image")
    if values["reports"]:
        raise click.UsageError("`--report` tells of one image; `bxcache report NAME` of each")
    if values["log"]:
        raise click.UsageError("`--log` keeps the stream of one image")
    chosen = choose_images(request, names)
    if values["dry_run"]:
        return _preview(request, chosen)
    progress = BatchProgress(sys.stderr, chosen, quiet=mode in ("quiet", "none"))
    begun = time.monotonic()
    jobs, fast = values["jobs"] or MOST_AT_ONCE, values["fail_fast"]
    outcomes = build_batch(request, chosen, progress, jobs=jobs, fail_fast=fast)
    print_outcomes(outcomes, values, time.monotonic() - begun, IMAGES)
    return find_status(outcomes)


def _preview(request: BuildRequest, names: Sequence[str]) -> int:
    from dataclasses import replace  # noqa: PLC0415

    from bxcache.console.preview import render_preview  # noqa: PLC0415
    from bxcache.pipeline import preview_build  # noqa: PLC0415

    shown = [render_preview(preview_build(replace(request, image=name))) for name in names]
    blocks = (f"{name}:\n{text}" for name, text in zip(names, shown, strict=True))
    click.echo("\n\n".join(blocks))
    return 0


def print_outcomes(
    outcomes: dict[str, ImageOutcome], values: dict[str, Any], seconds: float, what: str
) -> None:
    """Print what became of several builds.

    Args:
        outcomes: what became of each.
        values: the command's options.
        seconds: how long all of them took.
        what: what they are.
    """
    from bxcache.cli.build import print_layers  # noqa: PLC0415
    from bxcache.console.batch import describe_batch, render_batch  # noqa: PLC0415
    from bxcache.console.tables import render_document  # noqa: PLC0415

    quiet = choose_mode(values) == "quiet"
    if values["as_json"]:
        click.echo(render_document(describe_batch(outcomes, what)))
    elif quiet:
        for name, each in outcomes.items():
            if each.result is not None and each.result.digest and not each.exit_status:
                click.echo(f"{name} {each.result.digest}")
    for result in filter(None, (each.result for each in outcomes.values())):
        if values["layers"]:
            print_layers(result)
        report_build(result, ())
    click.echo(render_batch(outcomes, seconds, quiet=quiet, what=what), err=True, nl=True)
