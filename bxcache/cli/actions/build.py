"""`bxcache build`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bxcache.cli.actions.request import choose_mode, to_request
from bxcache.cli.job_log import annotate, find_job_log, print_warnings, say
from bxcache.cli.progress import open_failures, open_log, open_progress
from bxcache.cli.report_files import check_alone, report_build
from bxcache.console.preview import render_preview
from bxcache.errors import BuildFailedError, ConfigError, Problem, ResultError
from bxcache.pipeline.entry import preview_build, run_build

if TYPE_CHECKING:
    from bxcache.buildx.stream.events import Event
    from bxcache.config.loading import Setup
    from bxcache.console.failures import Failures
    from bxcache.console.job_log import JobLog
    from bxcache.pipeline.request import BuildRequest


_NAME = re.compile(r"[^/\\:.-][^/\\:]*")
"""A word that can be the name of an image and does not look like a path."""


def build(extra: tuple[str, ...] | None, /, words: tuple[str, ...], **values: Any) -> int:  # noqa: ANN401  # click's options
    """Build one image or several, or print what would be done."""
    mode = choose_mode(values)
    if values["layers"] and (values["as_json"] or mode == "quiet"):
        raise click.UsageError(
            "`--layers` cannot be combined with `--json` (which includes them) or `--quiet`"
        )
    if (values["every"] or len(words) > 1) and values["image"]:
        raise click.UsageError("`--image` names one image; give several names without it")
    if values["every"] and words:
        raise click.UsageError("`--all` builds all images; leave the names out")
    check_alone((*values["reports"], values["trace"], values["log"]))
    if values["every"] or len(words) > 1:
        from bxcache.cli.actions.build_images import build_several  # noqa: PLC0415  # one image needs none of it

        return build_several(to_request(values, extra or ()), words, values)
    word = words[0] if words else None
    if word is not None and not values["image"] and _is_image(word, values["config_file"]):
        values, word = {**values, "image": word}, None
    request = to_request(values, extra or (), word)
    if values["dry_run"]:
        say(render_preview(preview_build(request)), find_job_log(), err=False)
        return 0
    log = find_job_log()
    with open_failures(log) as failures:
        return _build(request, values, log, failures)


def _is_image(word: str, config_file: str | None) -> bool:
    """Whether a word names an image of the config file, and not a path.

    Raises:
        ConfigError: images are declared, and the word is neither one of them nor a path.
    """
    if not _NAME.fullmatch(word):
        return False
    from bxcache.place.trust import load_guarded  # noqa: PLC0415  # only a name needs it

    file = Path(config_file) if config_file else None
    setup = load_guarded(Path.cwd(), os.environ, file=file)
    images = setup.config.images
    if images and word not in images and not Path(word).exists():
        _refuse(word, setup)
    return word in images


def _refuse(word: str, setup: Setup) -> NoReturn:
    from bxcache.config.loading import explain_unknown  # noqa: PLC0415  # only an error needs it

    source = str(setup.file.path) if setup.file is not None else "no config file"
    text = f"`{word}` is not a path, and {explain_unknown(setup.config.images)}"
    raise ConfigError([Problem(source, "images", text)])


def _build(
    request: BuildRequest, values: dict[str, Any], log: JobLog | None, failures: Failures
) -> int:
    mode = choose_mode(values)
    failure: ResultError | None = None
    with open_log(values["log"]) as keep, open_progress(mode, log, failures) as observer:

        def observe(event: Event) -> None:
            keep(event)
            observer(event)

        try:
            result: Any = run_build(request, observe)
        except ResultError as error:
            failure, result = error, error.result
    from bxcache.cli.results import print_layers, print_result  # noqa: PLC0415  # docker runs first

    if not result.exit_status:
        failures.forgive()
    print_warnings(mode, log, result)
    said = print_result(result, observer, log, quiet=mode == "quiet", as_json=values["as_json"])
    if values["layers"]:
        print_layers(result, log)
    words = failures.list_words() or said
    annotate(log, result, failure.message if failure is not None else "", words)
    report_build(result, values["reports"], values["trace"])
    if failure is not None and not isinstance(failure, BuildFailedError):
        raise failure
    return int(result.exit_status)
