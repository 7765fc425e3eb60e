"""`bxcache bake`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.actions.request import choose_mode, to_request
from bxcache.cli.image_files import ImageFiles, spread_files
from bxcache.cli.job_log import find_job_log, say
from bxcache.cli.outcomes import Outcomes, print_outcomes
from bxcache.cli.progress import BAKE, open_batch_progress, open_failures, open_log
from bxcache.cli.report_files import check_alone
from bxcache.console.batch import TARGETS
from bxcache.console.preview import render_bake_preview
from bxcache.pipeline.bake import ask_bake, bake_targets, preview_bake
from bxcache.pipeline.bake_targets import BakeRequest, find_question
from bxcache.pipeline.request import STDOUT
from bxcache.pipeline.result import find_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.buildx.stream.events import Event


def bake(extra: tuple[str, ...] | None, /, targets: tuple[str, ...], **values: Any) -> int:  # noqa: ANN401  # click's options
    """Bake targets and print the result, or the preview or bake's answer."""
    if values["layers"] and (values["as_json"] or choose_mode(values) == "quiet"):
        raise click.UsageError(
            "`--layers` cannot be combined with `--json` (which includes them) or `--quiet`"
        )
    check_alone((*values["reports"], values["trace"], values["log"]))
    request = BakeRequest(
        build=to_request(values, extra or ()),
        targets=targets,
        files=values["files"],
        sets=values["sets"],
    )
    if values["dry_run"]:
        say(render_bake_preview(preview_bake(request)), find_job_log(), err=False)
        return 0
    if find_question(request.build.extra) and not values["as_json"]:
        return _ask(request, choose_mode(values))
    return _bake(request, choose_mode(values), values)


def _ask(request: BakeRequest, mode: str) -> int:
    """Print bake's answer on stdout, where a build would print its result."""
    log, progress = find_job_log(), {"rawjson": "rawjson", "quiet": "quiet", "none": "quiet"}
    request = replace(request, build=replace(request.build, stdout=STDOUT))
    return ask_bake(request, lambda line: say(line, log), progress.get(mode, "plain"))


def _bake(request: BakeRequest, mode: str, values: dict[str, Any]) -> int:
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
        print_outcomes(outcomes, values, log, failures)
    return find_status(each)
