"""`bxcache build`."""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from msgspec.structs import replace

from bxcache.buildx.extra_flags import find_question
from bxcache.buildx.stream.events import RunStarted
from bxcache.cli.actions.request import check_options, choose_mode, choose_plain_mode, to_request
from bxcache.cli.files import report_build
from bxcache.cli.job_log import find_job_log, say
from bxcache.cli.progress import QUIET, open_failures, open_log, open_progress
from bxcache.errors import BuildFailedError, ConfigError, Problem, ResultError
from bxcache.pipeline.entry import preview_build, run_build
from bxcache.pipeline.request import STDOUT

if TYPE_CHECKING:
    from bxcache.buildx.stream.events import Event
    from bxcache.pipeline.request import BuildRequest


_NAME = re.compile(r"[^/\\:.-][^/\\:]*")
"""A word that can be the name of an image and does not look like a path."""


def build(words: tuple[str, ...], **values: Any) -> int:  # noqa: ANN401  # click's options
    """Build one image or several, or print what would be done."""
    if values["cache_from"] or values["cache_to"]:
        _refuse_caches(values["cache_from"], values["cache_to"], values)
    check_options(values)
    several = values["every"] or len(words) > 1
    if several and values["image"]:
        raise click.UsageError("`--image` names one image; give several names without it")
    if values["every"] and words:
        raise click.UsageError("`--all` builds all images; leave the names out")
    if several:
        from bxcache.cli.actions.several import build_several  # noqa: PLC0415  # only several

        return build_several(to_request(values), words, values)
    values, word = find_image_name(values, words[0] if words else None)
    request = to_request(values, word)
    if find_question(request.extra) and not (values["dry_run"] or values["as_json"]):
        from bxcache.pipeline.question import ask_build  # noqa: PLC0415  # only a question

        return ask_build(replace(request, stdout=STDOUT), say, choose_plain_mode(values))
    if values["dry_run"]:
        from bxcache.console.preview import render_preview  # noqa: PLC0415  # loads records

        say(render_preview(preview_build(request)), err=False)
        return 0
    return _build(request, values)


def find_image_name(values: dict[str, Any], word: str | None) -> tuple[dict[str, Any], str | None]:
    """Find out whether a word names an image; return the options with it, or the word as a path."""
    if word is not None and not values["image"] and _is_image(word, values["config_file"]):
        return {**values, "image": word}, None
    return values, word


def _refuse_caches(
    imports: tuple[str, ...], exports: tuple[str, ...], values: dict[str, Any]
) -> NoReturn:
    """Answer docker's own cache flags with the backend that does the same."""
    advice = "`--backend` is given, so leave the flag out"
    if not values["backends"]:
        from bxcache.backends.equivalents import advise_backends  # noqa: PLC0415  # only an error
        from bxcache.place.trust import load_guarded  # noqa: PLC0415  # the same

        setup = load_guarded(Path.cwd(), os.environ, file=values["config_file"])
        advice = advise_backends(imports, exports, setup)
    raise click.UsageError(
        f"`{'--cache-from' if imports else '--cache-to'}` is docker's; bxcache imports from a "
        f"backend and saves to it by itself: {advice}. Docker's own flag goes behind `--`"
    )


def _is_image(word: str, config_file: Path | None) -> bool:
    """Whether a word names an image; if it is neither a declared one nor a path, a ConfigError."""
    if not _NAME.fullmatch(word):
        return False
    from bxcache.place.trust import load_guarded  # noqa: PLC0415  # only a name needs it

    setup = load_guarded(Path.cwd(), os.environ, file=config_file)
    images = setup.config.images
    if images and word not in images and not Path(word).exists():
        from bxcache.config.loading import explain_unknown  # noqa: PLC0415  # only an error

        source = str(setup.file.path) if setup.file is not None else "no config file"
        text = f"`{word}` is not a path, and {explain_unknown(word, images)}"
        raise ConfigError([Problem(source, "images", text)], title="wrong name of an image")
    return word in images


def _build(request: BuildRequest, values: dict[str, Any]) -> int:
    mode, log = choose_mode(values), find_job_log()
    failure: ResultError | None = None
    with open_failures(mode, log) as failures:
        with open_log(values["log"]) as keep, open_progress(mode, log, failures) as observer:

            def observe(event: Event) -> None:
                keep(event)
                observer(event)
                if isinstance(event, RunStarted):
                    # BuildKit works now; what follows the build is loaded meanwhile.
                    import_module("bxcache.cli.results")

            try:
                result: Any = run_build(request, observe)
            except ResultError as error:
                failure, result = error, error.result
        from bxcache.cli import results  # noqa: PLC0415  # loaded above, while docker ran

        if not result.exit_status:
            failures.forgive()
        results.print_warnings(mode, result)
        said = results.print_result(
            result, observer, quiet=mode == QUIET, as_json=values["as_json"]
        )
        if values["layers"]:
            results.print_layers(result)
            results.note_unknown([result])
        results.annotate(result, failure, failures.list_words() or said)
        report_build(result, values["reports"], values["trace"])
        if failure is not None and not isinstance(failure, BuildFailedError):
            raise failure
    return int(result.exit_status)
