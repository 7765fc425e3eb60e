"""`bxcache build` for several images."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.actions.request import choose_mode
from bxcache.cli.image_files import spread_files
from bxcache.cli.job_log import find_job_log, say
from bxcache.cli.outcomes import Outcomes, print_outcomes
from bxcache.cli.progress import BUILD, open_batch_progress, open_failures, open_logs
from bxcache.console.batch import IMAGES
from bxcache.console.preview import render_preview
from bxcache.pipeline.batch import MOST_AT_ONCE, build_batch, choose_images
from bxcache.pipeline.entry import preview_build
from bxcache.pipeline.result import find_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.buildx.stream.events import Event
    from bxcache.pipeline.request import BuildRequest


def build_several(request: BuildRequest, names: Sequence[str], values: dict[str, Any]) -> int:
    """Build the named images, or all of them, side by side and print the results."""
    mode = choose_mode(values)
    if mode == "rawjson":
        raise click.UsageError(
            "`--progress rawjson` shows the stream of one image; use `--log FILE` for several"
        )
    chosen = choose_images(request, names)
    files = spread_files(values, chosen, with_log=True)
    if values["dry_run"]:
        return _preview(request, chosen)
    jobs, fast = values["jobs"] or MOST_AT_ONCE, values["fail_fast"]
    begun, log = time.monotonic(), find_job_log()
    logs = {name: each.log for name, each in files.items()}
    with open_failures(log) as failures:
        with (
            open_logs(logs) as keep,
            open_batch_progress(mode, log, failures, BUILD, chosen) as progress,
        ):

            def observe(name: str, event: Event) -> None:
                keep(name, event)
                progress(name, event)

            each = build_batch(request, chosen, observe, jobs=jobs, fail_fast=fast)
        outcomes = Outcomes(IMAGES, each, time.monotonic() - begun, files)
        print_outcomes(outcomes, values, log, failures)
    return find_status(each)


def _preview(request: BuildRequest, names: Sequence[str]) -> int:
    shown = [render_preview(preview_build(replace(request, image=name))) for name in names]
    blocks = (f"{name}:\n{text}" for name, text in zip(names, shown, strict=True))
    say("\n\n".join(blocks), find_job_log(), err=False)
    return 0
