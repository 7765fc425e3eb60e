"""The options of `bxcache build` and `bxcache bake`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.completion import complete_gates, complete_stages
from bxcache.cli.options import CONFIG, IMAGE
from bxcache.cli.report_files import check_files, check_trace

if TYPE_CHECKING:
    from collections.abc import Callable

_MODES = ("auto", "plain", "tty", "quiet", "rawjson", "none")


def _pairs(_context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Any:  # noqa: ANN401
    pairs = [value.partition("=") for value in values]
    if parameter.name == "build_args":
        # Docker takes an argument without a value from the environment.
        return {name: value if equals else None for name, equals, value in pairs}
    if parameter.name == "build_contexts" and not all(equals for _, equals, _ in pairs):
        raise click.BadParameter("write it `NAME=PATH`")
    return {name: value for name, _, value in pairs}


def _backends(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> Any:  # noqa: ANN401
    if not values:
        return ()
    from bxcache.config.environment import parse_backend  # noqa: PLC0415  # only an option needs it

    try:
        return tuple(parse_backend(value) for value in values)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _gates(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> Any:  # noqa: ANN401
    gate: dict[str, Any] = {}
    for value in values:
        name, equals, text = value.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise click.BadParameter("write it `NAME=VALUE`, such as `max_size=2GB`")
        if name in ("require_cached", "warn"):
            gate[name] = [*gate.get(name, []), *filter(None, map(str.strip, text.split(",")))]
        elif name == "min_hit_ratio":
            try:
                gate[name] = float(text)
            except ValueError as error:
                raise click.BadParameter(f"`{text}` is not a ratio; write it like 0.8") from error
        else:
            gate[name] = _read_switch(text) if name == "first" else text
    return gate


def _read_switch(text: str) -> Any:  # noqa: ANN401  # a bool
    """A switch in the spelling of its environment variable."""
    from bxcache.config.environment import parse_text  # noqa: PLC0415  # only an option needs it

    try:
        return parse_text(("gate", "first"), text)
    except ValueError as error:
        raise click.BadParameter(f"`first` {error}") from error


def _split_value(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:  # noqa: ANN401
    return _split_words(_context, _parameter, (value,) if value else ())


def _split_words(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> Any:  # noqa: ANN401
    return tuple(each.strip() for value in values for each in value.split(",") if each.strip())


_BUILT_OPTIONS = (
    click.option("-t", "--tag", "tags", multiple=True, metavar="NAME", help="Name for the image."),
    click.option("-f", "--file", metavar="FILE", help="The Dockerfile."),
    click.option(
        "--target", metavar="STAGE", shell_complete=complete_stages, help="The stage to build."
    ),
    click.option(
        "--platform",
        "platforms",
        multiple=True,
        callback=_split_words,
        metavar="LIST",
        help="Platforms to build for.",
    ),
    click.option(
        "--build-arg",
        "build_args",
        multiple=True,
        callback=_pairs,
        metavar="NAME[=VALUE]",
        help="Build argument.",
    ),
    click.option(
        "--secret", "secrets", multiple=True, metavar="SPEC", help="Secret for RUN steps."
    ),
    click.option("--ssh", multiple=True, metavar="SPEC", help="SSH agent or keys for RUN steps."),
    click.option(
        "--build-context",
        "build_contexts",
        multiple=True,
        callback=_pairs,
        metavar="NAME=PATH",
        help="Named context.",
    ),
    click.option(
        "--label",
        "labels",
        multiple=True,
        callback=_pairs,
        metavar="NAME[=VALUE]",
        help="Label of the image.",
    ),
    click.option("-o", "--output", "outputs", multiple=True, metavar="SPEC", help="Output."),
    click.option("--network", metavar="MODE", help="Network of RUN steps: default, none or host."),
)
_RUN_OPTIONS = (
    click.option("--push", is_flag=True, default=None, help="Push the image."),
    click.option("--load", is_flag=True, default=None, help="Load the image into docker."),
    click.option("--pull", is_flag=True, default=None, help="Look for newer base images."),
    click.option(
        "--no-cache",
        is_flag=True,
        default=None,
        help="Import nothing, but still save the result.",
    ),
    click.option("--builder", metavar="NAME", help="The buildx builder."),
)
_CACHE_OPTIONS = (
    click.option(
        "--backend",
        "backends",
        multiple=True,
        callback=_backends,
        metavar="SPEC",
        help="Cache backend, instead of the configured ones: `type=registry,ref=…`.",
    ),
    click.option(
        "--write",
        type=click.Choice(("always", "trusted", "never")),
        help="Which builds save their cache.",
    ),
    click.option("--strict/--no-strict", default=None, help="Fail when a cache fails."),
    click.option(
        "--shared-builder",
        type=click.Choice(("warn", "refuse", "trust")),
        help="How to treat layers that untrusted builds may have left in the builder.",
    ),
    click.option(
        "--read",
        callback=_split_value,
        metavar="LIST",
        help="Whose caches to import, in this order: branch,base,default.",
    ),
    click.option(
        "--read-all/--read-first",
        default=None,
        help="Import every existing cache, not only the first.",
    ),
)
_GATE_OPTIONS = (
    click.option(
        "--gate",
        "gate",
        multiple=True,
        callback=_gates,
        shell_complete=complete_gates,
        metavar="NAME=VALUE",
        help="A requirement of the build, such as `min_hit_ratio=0.8`; see [gate].",
    ),
)
_PLACE_OPTIONS = (
    click.option(
        "--branch", metavar="NAME", help="The branch, if not the one that CI or git reports."
    ),
    click.option("--git-tag", metavar="NAME", help="The git tag, likewise."),
    click.option("--base-branch", metavar="NAME", help="The branch that a pull request targets."),
    click.option("--default-branch", metavar="NAME", help="The repository's default branch."),
    click.option(
        "--trusted/--untrusted", default=None, help="Whether other builds may import its cache."
    ),
)
_SHOWN_OPTIONS = (
    CONFIG,
    click.option(
        "--progress",
        type=click.Choice(_MODES),
        default="auto",
        envvar="BUILDKIT_PROGRESS",
        show_default=True,
        help="How to show progress.",
    ),
    click.option(
        "--log",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Write BuildKit's stream to a file.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Print only the image's digest."),
    click.option(
        "--dry-run", is_flag=True, help="Print the command with reasons, and run nothing."
    ),
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout."),
    click.option("--layers", is_flag=True, help="Print the layers of every stage at the end."),
)
_REPORT_OPTIONS = (
    click.option(
        "--report",
        "reports",
        multiple=True,
        callback=check_files,
        metavar="FILE",
        help="Write a report to a .json, .md or .html file; can be repeated.",
    ),
    click.option(
        "--trace",
        callback=check_trace,
        metavar="FILE",
        help="Write the build to a file as a trace for Perfetto.",
    ),
)
_SEVERAL_OPTIONS = (
    IMAGE,
    click.option("--all", "every", is_flag=True, help="Build all images of the config file."),
    click.option(
        "--jobs",
        type=click.IntRange(1),
        metavar="N",
        help="How many images to build at once. Default: 4.",
    ),
    click.option("--fail-fast", is_flag=True, help="Stop the other images when one fails."),
)


_BAKE_OPTIONS = (
    click.option("-f", "--file", "files", multiple=True, metavar="FILE", help="A bake file."),
    click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a value of the bake file.",
    ),
)


def with_build_options(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of a build."""
    own = (*_BUILT_OPTIONS, *_RUN_OPTIONS, *_CACHE_OPTIONS, *_GATE_OPTIONS, *_PLACE_OPTIONS)
    return _with(function, *own, *_SHOWN_OPTIONS, *_REPORT_OPTIONS, *_SEVERAL_OPTIONS)


def with_bake_options(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of a bake."""
    own = (*_BAKE_OPTIONS, *_RUN_OPTIONS, *_CACHE_OPTIONS, *_GATE_OPTIONS, *_PLACE_OPTIONS)
    return _with(function, *own, *_SHOWN_OPTIONS, *_REPORT_OPTIONS)


def _with(function: Callable[..., int], *options: Any) -> Callable[..., int]:  # noqa: ANN401
    for option in reversed(options):
        function = option(function)
    return function
