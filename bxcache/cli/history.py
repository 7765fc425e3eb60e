"""`bxcache history` and `bxcache diff`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.completion import complete_kept_stages, complete_scopes, complete_stages
from bxcache.cli.job_log import find_job_log, say
from bxcache.cli.options import CONFIG, JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bxcache.insight.comparison import StageDifference
    from bxcache.insight.find import HistoryRequest
    from bxcache.insight.history import History

_OPTIONS = (
    click.option(
        "--stage",
        "stages",
        multiple=True,
        shell_complete=complete_kept_stages,
        metavar="NAME",
        help="Only this stage; can be repeated.",
    ),
    click.option("--platform", metavar="NAME", help="Only what was built for this one."),
    click.option(
        "--target",
        shell_complete=complete_stages,
        metavar="STAGE",
        help="The stage that was built, if not the last.",
    ),
    click.option("--branch", metavar="NAME", help="The branch, if it is not what CI or git say."),
    click.option(
        "--from",
        "source",
        metavar="DIR|REF",
        help="A store, a directory that buildx exported to, or a registry's repository. "
        "Default: the backends of the configuration.",
    ),
    click.option("--no-trunc", "full", is_flag=True, help="Cut nothing."),
    JSON,
    CONFIG,
)


def _with_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command("history", short_help="Show the layers of each stage, and what made them.")
@click.argument("name", required=False, shell_complete=complete_scopes)
@_with_options
@click.option("--chain", is_flag=True, help="Show what each stage builds on as well.")
@click.option("-q", "--quiet", is_flag=True, help="Print the digests of the layers only.")
@click.option("--blobs", "places", is_flag=True, help="Show where each layer lies.")
@click.option(
    "--export",
    "folder",
    metavar="DIR",
    help="Write the files of the --stage there, out of the cache, and print nothing.",
)
@click.pass_obj
def history_command(  # noqa: PLR0913  # click gives each option by itself
    extra: tuple[str, ...] | None,
    /,
    name: str | None,
    *,
    folder: str | None,
    chain: bool,
    quiet: bool,
    places: bool,
    full: bool,
    as_json: bool,
    stages: tuple[str, ...],
    **given: Any,  # noqa: ANN401  # click's options
) -> None:
    """Show the layers of each stage as the last build left them, and what made them.

    NAME is an image or a scope; `~1` behind it, or alone, is the build before the last one. Without
    NAME it is the last build in this directory, whatever was built. With --export, what follows
    `--` is passed to docker, as it was for the build.
    """
    from bxcache.console.history import (  # noqa: PLC0415
        describe_history,
        render_digests,
        render_history,
    )
    from bxcache.console.tables import render_document  # noqa: PLC0415
    from bxcache.insight.find import find_history  # noqa: PLC0415

    if quiet and as_json:
        raise click.UsageError("`--quiet` and `--json` exclude each other")
    if folder is not None and len(stages) != 1:
        raise click.UsageError("`--export` writes the files of one `--stage`")
    request = _make_request(name, given, with_places=places)
    history = find_history(request)
    _tell_notes(history)
    chosen = history.find_stages(stages)
    if folder is not None:
        _export(request, history, chosen[0].name, folder, extra or ())
    elif as_json:
        click.echo(render_document(describe_history(history, chosen, chain=chain)))
    elif quiet:
        digests = render_digests(history, chosen, chain=chain)
        click.echo(digests, nl=bool(digests))
    else:
        text = render_history(history, chosen, chain=chain, full=full, places=places)
        say(text, find_job_log(), err=False)


def _export(
    request: HistoryRequest, history: History, stage: str, folder: str, extra: tuple[str, ...]
) -> None:
    from bxcache.console.progress import PlainProgress  # noqa: PLC0415
    from bxcache.pipeline.extract import Extraction, extract_stage  # noqa: PLC0415

    extraction = Extraction(history, stage, Path(folder), extra)
    result = extract_stage(request, extraction, PlainProgress(sys.stderr))
    done = f"{result.reused} steps reused, {result.executed} executed"
    click.echo(f"the files of the stage `{stage}` are in {folder}: {done}", err=True)


@click.command("diff", short_help="Compare the layers of two builds, stage by stage.")
@click.argument("before", default="~1", shell_complete=complete_scopes)
@click.argument("after", required=False, shell_complete=complete_scopes)
@_with_options
def diff_command(
    before: str,
    after: str | None,
    *,
    full: bool,
    as_json: bool,
    stages: tuple[str, ...],
    **given: Any,  # noqa: ANN401  # click's options
) -> None:
    """Compare the layers of two builds, stage by stage, and show what made those that differ.

    BEFORE and AFTER are named as for `bxcache history`. Default: the build before the last one,
    and the last one of the same.
    """
    from bxcache.console.comparison import (  # noqa: PLC0415
        describe_difference,
        render_difference,
    )
    from bxcache.console.tables import render_document  # noqa: PLC0415

    name, back, _ = before.partition("~")
    last = after or (f"{name}~0" if back else "~0")
    first, second = (_find_recorded(each, given) for each in (before, last))
    _tell_notes(first, second)
    differences = _compare(first, second, stages)
    if as_json:
        click.echo(render_document(describe_difference(first, second, differences)))
    else:
        text = render_difference(first, second, differences, full=full)
        say(text, find_job_log(), err=False)


def _make_request(
    name: str | None, given: dict[str, Any], *, with_places: bool = False
) -> HistoryRequest:
    from bxcache.insight.find import HistoryRequest  # noqa: PLC0415

    file = given["config_file"]
    return HistoryRequest(
        name=name,
        source=given["source"],
        target=given["target"],
        branch=given["branch"],
        platform=given["platform"],
        config_file=Path(file) if file else None,
        with_places=with_places,
    )


def _find_recorded(name: str, given: dict[str, Any]) -> History:
    from bxcache.errors import RecordError  # noqa: PLC0415
    from bxcache.insight.find import find_history  # noqa: PLC0415

    history = find_history(_make_request(name, given))
    if history.record is None:
        raise RecordError(
            f"`{name}` has no record: the cache of `{history.scope}` in {history.source} tells of "
            "no stages that could be compared",
            hint="a build with bxcache leaves one",
        )
    return history


def _compare(before: History, after: History, names: Sequence[str]) -> Sequence[StageDifference]:
    from bxcache.insight.comparison import compare_stages  # noqa: PLC0415

    differences = compare_stages(before.stages, after.stages)
    known = {each.name for each in differences}
    wanted = [name.lower() for name in names]
    # What is in neither build is told of as `bxcache history` does.
    after.find_stages([name for name in wanted if name not in known])
    return [each for each in differences if not wanted or each.name in wanted]


def _tell_notes(*histories: History) -> None:
    from bxcache.console.tables import show_text  # noqa: PLC0415

    notes: Iterable[str] = dict.fromkeys(note for each in histories for note in each.notes)
    for note in notes:
        say(f"note: {show_text(note)}", find_job_log())
