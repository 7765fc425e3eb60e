"""`bxcache bake`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.build_options import choose_mode, to_request, with_bake_options
from bxcache.cli.image_files import ImageFiles, spread_files
from bxcache.cli.job_log import find_job_log, say
from bxcache.cli.outcomes import Outcomes, tell_outcomes
from bxcache.cli.progress import BAKE, open_batch_progress, open_failures, open_log
from bxcache.cli.report_files import check_alone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.buildx.stream.events import Event
    from bxcache.pipeline.bake_targets import BakeRequest


@click.command("bake", short_help="Bake targets from their caches, and save them.")
@click.argument("targets", nargs=-1, metavar="[TARGET...]")
@with_bake_options
@click.pass_obj
def bake_command(extra: tuple[str, ...] | None, /, targets: tuple[str, ...], **values: Any) -> int:  # noqa: ANN401  # click's options
    """Build the targets of a bake file with docker buildx bake, each from a cache of its own.

    What is built is said by the bake file alone; the caches are those of bxcache. A target that has
    a `cache-to` of its own is left as it is. What follows `--` is passed to bake unchanged, also
    what it is to answer instead of building, such as `--print`.
    """
    from bxcache.pipeline.bake_targets import BakeRequest, find_question  # noqa: PLC0415

    mode = choose_mode(values)
    if values["layers"] and (values["as_json"] or mode == "quiet"):
        raise click.UsageError("`--json` has the layers by itself, and `--quiet` prints digests")
    check_alone((*values["reports"], values["trace"], values["log"]))
    request = BakeRequest(
        build=to_request(values, extra or ()),
        targets=targets,
        files=values["files"],
        sets=values["sets"],
    )
    if values["dry_run"]:
        return _preview(request)
    if find_question(request.build.extra) and not values["as_json"]:
        return _ask(request, mode)
    return _bake(request, mode, values)


def _preview(request: BakeRequest) -> int:
    from bxcache.console.preview import render_bake_preview  # noqa: PLC0415
    from bxcache.pipeline.bake import preview_bake  # noqa: PLC0415

    say(render_bake_preview(preview_bake(request)), find_job_log(), err=False)
    return 0


def _ask(request: BakeRequest, mode: str) -> int:
    """Pass on what bake answers: to stdout, whatever is printed there of a build."""
    from bxcache.pipeline.bake import ask_bake  # noqa: PLC0415
    from bxcache.pipeline.request import STDOUT  # noqa: PLC0415

    log, progress = find_job_log(), {"rawjson": "rawjson", "quiet": "quiet", "none": "quiet"}
    request = replace(request, build=replace(request.build, stdout=STDOUT))
    return ask_bake(request, lambda line: say(line, log), progress.get(mode, "plain"))


def _bake(request: BakeRequest, mode: str, values: dict[str, Any]) -> int:
    from bxcache.console.batch import TARGETS  # noqa: PLC0415
    from bxcache.pipeline.bake import bake_targets  # noqa: PLC0415
    from bxcache.pipeline.result import find_status  # noqa: PLC0415

    files: dict[str, ImageFiles] = {}
    begun, log = time.monotonic(), find_job_log()
    with open_failures(log) as failures:
        with (
            open_log(values["log"]) as keep,
            open_batch_progress(mode, log, failures, BAKE) as progress,
        ):

            def observe(name: str, event: Event) -> None:
                keep(event)
                progress(name, event)

            def accept(names: Sequence[str]) -> None:
                files.update(spread_files(values, names, with_log=False))

            each = bake_targets(request, observe, accept=accept)
        if not each:
            say("there is no target to build", log)
        outcomes = Outcomes(TARGETS, each, time.monotonic() - begun, files)
        tell_outcomes(outcomes, values, log, failures)
    return find_status(each)
