"""`bxcache build` for several images, and what it shares with a bake: progress, results, files."""

from __future__ import annotations

import os
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct
from msgspec.structs import replace

from bxcache.cli.actions.request import choose_mode
from bxcache.cli.files import check_outside, report_build, to_file
from bxcache.cli.job_log import find_job_log, say
from bxcache.cli.progress import QUIET, open_batch_progress, open_failures, open_logs
from bxcache.cli.results import annotate, note_unknown, print_layers, print_warnings
from bxcache.console.batch import IMAGES, TARGETS, render_batch
from bxcache.console.tables import render_document
from bxcache.errors import StoppedError, StoreError
from bxcache.pipeline.batch import MOST_AT_ONCE, build_batch, check_batch, choose_images
from bxcache.pipeline.entry import preview_build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from bxcache.buildx.stream.events import Event
    from bxcache.console.failures import Failures
    from bxcache.pipeline.batch import ImageObserver
    from bxcache.pipeline.request import BuildRequest
    from bxcache.pipeline.result import BuildResult, Outcomes

_NO_FILE_NAME = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
"""Characters that some system forbids in file names."""


class ImageFiles(Struct, frozen=True):
    """The files of one image; `log` is for BuildKit's stream."""

    reports: tuple[Path, ...] = ()
    trace: Path | None = None
    log: Path | None = None


def name_file(path: Path, name: str) -> Path:
    """The file of one image, when the option names one file for all images.

    >>> from pathlib import Path
    >>> print(name_file(Path("out/report.html"), "team/api"))
    out/report.team_api.html
    """
    return path.with_name(f"{path.stem}.{_NO_FILE_NAME.sub('_', name)}{path.suffix}")


def spread_files(
    values: Mapping[str, Any], names: Sequence[str], *, with_log: bool
) -> dict[str, ImageFiles]:
    """The files of each image, each with its own log if `with_log`, otherwise all share one.

    A file that cannot be written, or that two images would write, is a `click.UsageError`.
    """
    trace, log = values["trace"], values["log"] if with_log else None
    files = {
        name: ImageFiles(
            tuple(name_file(each, name) for each in values["reports"]),
            name_file(trace, name) if trace is not None else None,
            name_file(log, name) if log is not None else None,
        )
        for name in names
    }
    own = [
        (f"`{name}`", path)
        for name, each in files.items()
        for path in (*each.reports, each.trace, each.log)
        if path is not None
    ]
    shared = [] if with_log or values["log"] is None else [("`--log`", values["log"])]
    _check_owners([*shared, *own])
    check_outside(path for _, path in own)
    for _, path in own:
        to_file(path)
    return files


def _check_owners(owned: Iterable[tuple[str, Path]]) -> None:
    owners: dict[str, tuple[str, Path]] = {}
    for owner, path in owned:
        # Some file systems ignore case.
        real = os.path.realpath(path).casefold()
        other, first = owners.setdefault(real, (owner, path))
        if (other, first) != (owner, path):
            who = f"{owner} would write `{first}` twice"
            if other != owner:
                who = f"{other} and {owner} would both write `{first}`"
            raise click.UsageError(who)


def build_several(request: BuildRequest, names: Sequence[str], values: dict[str, Any]) -> int:
    """Build the named images, or all of them, side by side and print the results."""
    if choose_mode(values) == "rawjson":
        raise click.UsageError(
            "`--progress rawjson` shows the stream of one image; use `--log FILE` for several"
        )
    chosen = choose_images(request, names)
    files = spread_files(values, chosen, with_log=True)
    if values["dry_run"]:
        check_batch(request, chosen)
        requests = ((name, replace(request, image=name)) for name in chosen)
        from bxcache.console.preview import render_preview  # noqa: PLC0415  # loads records

        blocks = (f"{name}:\n{render_preview(preview_build(each))}" for name, each in requests)
        say("\n\n".join(blocks), err=False)
        return 0
    jobs = values["jobs"] or MOST_AT_ONCE
    build = partial(build_batch, request, chosen, jobs=jobs, fail_fast=values["fail_fast"])
    return run_several(build, IMAGES, values, files)


def run_several(
    build: Callable[[ImageObserver], Outcomes],
    what: str,
    values: dict[str, Any],
    files: Mapping[str, ImageFiles],
) -> int:
    """Build several images or targets, print the results, and write the reports of each.

    If no files are known before the build, all share one log. A StoreError means that a file of a
    successful build cannot be written; everything else is done.
    """
    begun, log = time.monotonic(), find_job_log()
    mode, title = choose_mode(values), f"docker buildx {'bake' if what == TARGETS else 'build'}"
    logs = {name: each.log for name, each in files.items()} or {"": values["log"]}
    with open_failures(mode, log) as failures:
        with (
            open_logs(logs) as keep,
            open_batch_progress(mode, log, failures, title, tuple(files)) as progress,
        ):

            def observe(name: str, event: Event) -> None:
                keep(name, event)
                progress(name, event)

            outcomes = build(observe)
        seconds = time.monotonic() - begun
        if not outcomes:
            say(f"there is no {what} to build")
        _forgive(failures, outcomes)
        _print_data(outcomes, values)
        results = {name: each.result for name, each in outcomes.items() if each.result is not None}
        trouble = _leave_files(results, files, with_layers=values["layers"])
        for name, result in results.items():
            print_warnings(mode, result, name)
        explained = {name for name in outcomes if failures.list_words(name)}
        quiet = mode == QUIET
        say(render_batch(outcomes, seconds, quiet=quiet, what=what, explained=explained))
        for name, result in results.items():
            # A build that was stopped needs no annotation.
            if not isinstance(outcomes[name].error, StoppedError):
                annotate(result, outcomes[name].error, failures.list_words(name), name)
        if trouble is not None:
            raise trouble
    return outcomes.exit_status


def _forgive(failures: Failures, outcomes: Outcomes) -> None:
    done = [name for name, each in outcomes.items() if not each.exit_status]
    if len(done) == len(outcomes):
        failures.forgive()
    for name in done:
        failures.forgive(name)


def _print_data(outcomes: Outcomes, values: dict[str, Any]) -> None:
    if values["as_json"]:
        click.echo(render_document(outcomes.to_dict()))
    elif choose_mode(values) == QUIET:
        for name, each in outcomes.items():
            if each.result is not None and each.result.digest and not each.exit_status:
                click.echo(f"{name} {each.result.digest}")


def _leave_files(
    results: Mapping[str, BuildResult], files: Mapping[str, ImageFiles], *, with_layers: bool
) -> StoreError | None:
    """Print the layers and write the reports of each build; return the last error."""
    trouble = None
    for name, result in results.items():
        if with_layers:
            print_layers(result)
        own = files.get(name, ImageFiles())
        try:
            report_build(result, own.reports, own.trace)
        except StoreError as error:
            trouble = error
    if with_layers:
        note_unknown(results.values())
    return trouble
