"""`bxcache build` for several images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.actions.request import choose_mode
from bxcache.cli.actions.several import run_several, spread_files
from bxcache.cli.job_log import say
from bxcache.console.batch import IMAGES
from bxcache.console.preview import render_preview
from bxcache.pipeline.batch import MOST_AT_ONCE, build_batch, choose_images
from bxcache.pipeline.entry import preview_build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.pipeline.request import BuildRequest


def build_several(request: BuildRequest, names: Sequence[str], values: dict[str, Any]) -> int:
    """Build the named images, or all of them, side by side and print the results."""
    if choose_mode(values) == "rawjson":
        raise click.UsageError(
            "`--progress rawjson` shows the stream of one image; use `--log FILE` for several"
        )
    chosen = choose_images(request, names)
    files = spread_files(values, chosen, with_log=True)
    if values["dry_run"]:
        requests = ((name, replace(request, image=name)) for name in chosen)
        blocks = (f"{name}:\n{render_preview(preview_build(each))}" for name, each in requests)
        say("\n\n".join(blocks), err=False)
        return 0
    build = partial(
        build_batch,
        request,
        chosen,
        jobs=values["jobs"] or MOST_AT_ONCE,
        fail_fast=values["fail_fast"],
    )
    return run_several(build, IMAGES, values, files)
