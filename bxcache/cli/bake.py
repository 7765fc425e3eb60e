"""`bxcache bake`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.build_options import choose_mode, to_request, with_bake_options
from bxcache.cli.progress import open_log

if TYPE_CHECKING:
    from bxcache.bake_preparation import BakeRequest
    from bxcache.buildx.events import Event


@click.command("bake", short_help="Bake targets from their caches, and save them.")
@click.argument("targets", nargs=-1, metavar="[TARGET...]")
@with_bake_options
@click.pass_obj
def bake_command(extra: tuple[str, ...] | None, /, targets: tuple[str, ...], **values: Any) -> int:  # noqa: ANN401  # click's options
    """Build the targets of a bake file with docker buildx bake, each from a cache of its own.

    What is built is said by the bake file alone; the caches are those of bxcache. A target that has
    a `cache-to` of its own is left as it is. What follows `--` is passed to bake unchanged.
    """
    from bxcache.bake_preparation import BakeRequest  # noqa: PLC0415

    mode = choose_mode(values)
    if values["layers"] and (values["as_json"] or mode == "quiet"):
        raise click.UsageError("`--json` has the layers by itself, and `--quiet` prints digests")
    request = BakeRequest(
        build=to_request(values, extra or ()),
        targets=targets,
        files=values["files"],
        sets=values["sets"],
    )
    if values["dry_run"]:
        return _preview(request)
    return _bake(request, mode, values)


def _preview(request: BakeRequest) -> int:
    from bxcache.baking import preview_bake  # noqa: PLC0415
    from bxcache.console.preview import render_bake_preview  # noqa: PLC0415

    click.echo(render_bake_preview(preview_bake(request)))
    return 0


def _ignore(_: Event) -> None:
    """Nobody wants the stream."""


def _bake(request: BakeRequest, mode: str, values: dict[str, Any]) -> int:
    from bxcache.baking import bake_targets  # noqa: PLC0415
    from bxcache.batch import find_status  # noqa: PLC0415
    from bxcache.cli.batch import print_outcomes  # noqa: PLC0415
    from bxcache.console.batch import TARGETS, BatchProgress  # noqa: PLC0415
    from bxcache.console.progress import RawProgress  # noqa: PLC0415

    raw = RawProgress(sys.stderr)
    lines = BatchProgress(sys.stderr, (), quiet=mode in ("quiet", "none"))
    begun = time.monotonic()
    with open_log(values["log"], raw if mode == "rawjson" else _ignore) as keep:

        def observe(name: str, event: Event) -> None:
            keep(event)
            if mode != "rawjson":
                lines(name, event)

        outcomes = bake_targets(request, observe)
    print_outcomes(outcomes, values, time.monotonic() - begun, TARGETS)
    return find_status(outcomes)
