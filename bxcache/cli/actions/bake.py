"""`bxcache bake`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from bxcache.buildx.extra_flags import find_question
from bxcache.cli.actions.request import check_options, choose_plain_mode, to_request
from bxcache.cli.actions.several import ImageFiles, run_several, spread_files
from bxcache.cli.job_log import say
from bxcache.console.batch import TARGETS
from bxcache.pipeline.bake import ask_bake, bake_targets, preview_bake
from bxcache.pipeline.bake_targets import BakeRequest
from bxcache.pipeline.request import STDOUT

if TYPE_CHECKING:
    from collections.abc import Sequence


def bake(targets: tuple[str, ...], **values: Any) -> int:  # noqa: ANN401  # click's options
    """Bake targets and print the result, or the preview or bake's answer."""
    check_options(values)
    request = BakeRequest(to_request(values), targets, values["files"], values["sets"])
    if values["dry_run"]:
        from bxcache.console.preview import render_bake_preview  # noqa: PLC0415  # loads records

        say(render_bake_preview(preview_bake(request)), err=False)
        return 0
    if find_question(request.build.extra) and not values["as_json"]:
        # The answer goes to stdout, where a build would print its result.
        request = replace(request, build=replace(request.build, stdout=STDOUT))
        return ask_bake(request, say, choose_plain_mode(values))
    files: dict[str, ImageFiles] = {}

    def accept(names: Sequence[str]) -> None:
        files.update(spread_files(values, names, with_log=False))

    return run_several(
        lambda observe: bake_targets(request, observe, accept=accept), TARGETS, values, files
    )
