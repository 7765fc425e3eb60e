"""`bxcache build`, `bxcache predict` and `bxcache bake`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click import option

from bxcache.cli.commands import command
from bxcache.cli.completion import (
    complete_builders,
    complete_gates,
    complete_images,
    complete_stages,
    complete_targets,
)
from bxcache.cli.files import to_file, to_report_file
from bxcache.cli.options import (
    BRANCH,
    CONFIG,
    IMAGE,
    JSON,
    Choice,
    flag,
    read_with,
    repeated,
    together,
    under,
)

_MODES = ("auto", "plain", "tty", "quiet", "rawjson", "none")


def _split(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))


def _join(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> Any:  # noqa: ANN401
    return _split(",".join(values))


def _pairs(_context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Any:  # noqa: ANN401
    pairs = [value.partition("=") for value in values]
    if parameter.name == "build_contexts" and not all(equals for _, equals, _ in pairs):
        raise click.BadParameter("write it `NAME=PATH`")
    # Docker takes a build argument without a value from the environment.
    missing = None if parameter.name == "build_args" else ""
    return {name: value if equals else missing for name, equals, value in pairs}


def _gates(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> Any:  # noqa: ANN401
    return read_with("environment.parse_gates")(values) if values else {}


_DOCKER = under(
    "Docker's options",
    flag("--push", default=None, help="Push the image."),
    flag("--load", default=None, help="Load the image into docker."),
    flag("--pull", default=None, help="Look for newer base images."),
    flag("--no-cache", default=None, help="Import nothing, but still save the result."),
    option(
        "--builder",
        shell_complete=complete_builders,
        metavar="NAME",
        help="The buildx builder, instead of the declared or current one.",
    ),
    repeated("--allow", metavar="NAME", help="Privilege of the build, such as `network.host`."),
    option("--provenance", metavar="VALUE", help="Provenance: `false`, `true` or `mode=max`."),
    option("--sbom", metavar="VALUE", help="Bill of materials: `false` or `true`."),
    option("--metadata-file", metavar="FILE", help="Write docker's metadata of the build."),
    option("--call", metavar="METHOD", help="Ask docker instead: `check`, `outline`, `targets`."),
    flag("--check", help="Let docker check the Dockerfile instead, like `--call check`."),
    flag("-D", "--debug", default=None, help="Let docker print what helps its developers."),
)

_CACHES = under(
    "Caches",
    repeated(
        "--backend",
        "backends",
        type=read_with("environment.parse_backend"),
        metavar="SPEC",
        help="Cache backend, instead of the configured ones: `type=local`, `type=registry,ref=…` "
        "or `type=inline,ref=…`; always with `type=`.",
    ),
    option(
        "--write",
        type=Choice(("always", "trusted", "never")),
        help="Which builds save their cache.",
    ),
    option("--strict/--no-strict", default=None, help="Fail when a cache fails."),
    option(
        "--salvage",
        type=Choice(("failed", "always", "never")),
        help="After which builds to save the steps that finished.",
    ),
    option("--salvage-timeout", metavar="TIME", help="How long that may take, such as 2m."),
    repeated(
        "--allow-arg",
        "allow_args",
        metavar="NAME",
        help="Allow a build argument although it looks like a secret.",
    ),
    option(
        "--shared-builder",
        type=Choice(("warn", "refuse", "trust")),
        help="How to treat layers that untrusted builds may have left in the builder.",
    ),
    option(
        "--read",
        type=_split,
        metavar="LIST",
        help="Whose caches to import, in this order: branch,base,default.",
    ),
    option(
        "--read-all/--read-first",
        default=None,
        help="Import every existing cache, not only the first.",
    ),
    repeated(
        "--gate",
        callback=_gates,
        shell_complete=complete_gates,
        metavar="NAME=VALUE",
        help="A requirement of the build, such as `min_hit_ratio=0.8`; see [gate].",
    ),
)

_PLACE = under(
    "Place",
    BRANCH,
    option("--git-tag", metavar="NAME", help="The git tag, likewise."),
    option("--base-branch", metavar="NAME", help="The branch that a pull request targets."),
    option("--default-branch", metavar="NAME", help="The repository's default branch."),
    option(
        "--trusted/--untrusted", default=None, help="Whether other builds may import its cache."
    ),
    CONFIG,
)

_SHOWN = under(
    "Output",
    option(
        "--progress",
        type=Choice(_MODES),
        default="auto",
        envvar="BUILDKIT_PROGRESS",
        show_default=True,
        help="How to show progress.",
    ),
    option(
        "--log",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Write BuildKit's stream to a file.",
    ),
    flag("-q", "--quiet", help="Print only the image's digest."),
    flag("--dry-run", help="Print the command with reasons, and run nothing."),
    flag("--json", "as_json", help="Print the result as JSON on stdout."),
    flag("--layers", help="Print the layers of every stage at the end."),
    repeated(
        "--report",
        "reports",
        type=to_report_file,
        metavar="FILE",
        help="Write a report to a .json, .md or .html file.",
    ),
    option(
        "--trace",
        type=to_file,
        metavar="FILE",
        help="Write the build to a file as a trace for Perfetto.",
    ),
)

_IMAGE = under(
    "Docker's options",
    repeated("-t", "--tag", "tags", metavar="NAME", help="Name for the image."),
    option("-f", "--file", metavar="FILE", help="The Dockerfile."),
    option("--target", metavar="STAGE", shell_complete=complete_stages, help="The stage to build."),
    repeated(
        "--platform",
        "platforms",
        callback=_join,
        metavar="LIST",
        help="Platforms to build for, such as `linux/amd64,linux/arm64`.",
    ),
    repeated(
        "--build-arg",
        "build_args",
        callback=_pairs,
        metavar="NAME[=VALUE]",
        help="Build argument; without a value, the variable's.",
    ),
    repeated(
        "--secret",
        "secrets",
        metavar="SPEC",
        help="Secret for RUN steps: `id=NAME[,src=FILE]`, `id=NAME,env=VARIABLE`.",
    ),
    repeated("--ssh", metavar="SPEC", help="SSH agent or keys for RUN steps: `default`, `ID=KEY`."),
    repeated(
        "--build-context",
        "build_contexts",
        callback=_pairs,
        metavar="NAME=PATH",
        help="Named context.",
    ),
    repeated(
        "--label", "labels", callback=_pairs, metavar="NAME[=VALUE]", help="Label of the image."
    ),
    repeated(
        "-o",
        "--output",
        "outputs",
        metavar="SPEC",
        help="Output, such as `type=oci,dest=app.tar` or a folder.",
    ),
    option("--network", metavar="MODE", help="Network of RUN steps: default, none or host."),
    repeated(
        "--no-cache-filter",
        shell_complete=complete_stages,
        metavar="STAGE",
        help="Execute every step of a stage.",
    ),
    repeated("--add-host", "add_hosts", metavar="HOST:IP", help="Host that RUN steps know."),
    repeated("--ulimit", "ulimits", metavar="NAME=SOFT[:HARD]", help="Limit of RUN steps."),
    option("--shm-size", metavar="SIZE", help="Size of `/dev/shm` in RUN steps."),
    option("--cgroup-parent", metavar="NAME", help="Control group of RUN steps."),
    repeated("--annotation", "annotations", metavar="NAME=VALUE", help="Annotation."),
    repeated("--attest", metavar="SPEC", help="Attestation, such as `type=sbom`."),
    option("--iidfile", metavar="FILE", help="Write the image's digest to a file."),
    repeated("--cache-from", hidden=True),
    repeated("--cache-to", hidden=True),
)

_BUILD_OPTIONS = together(
    _IMAGE,
    _DOCKER,
    _CACHES,
    _PLACE,
    _SHOWN,
    under(
        "Images of the config file",
        IMAGE,
        flag("--all", "every", help="Build all images of the config file."),
        option(
            "--jobs",
            type=click.IntRange(1),
            metavar="N",
            help="How many images to build at once. Default: 4.",
        ),
        flag("--fail-fast", help="Stop the other images when one fails."),
    ),
)

_BAKE_OPTIONS = together(
    under(
        "Docker's options",
        repeated("-f", "--file", "files", metavar="FILE", help="A bake file."),
        repeated("--set", "sets", metavar="KEY=VALUE", help="Override a value of the bake file."),
        flag("--print", help="Let bake print its definition instead."),
        option("--list", metavar="KIND", help="Let bake list `targets` or `variables`."),
    ),
    _DOCKER,
    _CACHES,
    _PLACE,
    _SHOWN,
)


@command("build:build")
@click.argument("words", nargs=-1, metavar="[PATH | IMAGE...]", shell_complete=complete_images)
@_BUILD_OPTIONS
def build_command() -> None:
    """Build an image with docker buildx, importing every stage from the caches and saving it there.

    PATH is the build context, as for docker. IMAGE is one of the config file's [images]; several
    images, or --all, build side by side. Arguments after `--` are passed to docker unchanged.
    """


@command("predict:predict")
@click.argument("word", required=False, metavar="[PATH | IMAGE]", shell_complete=complete_images)
@together(_IMAGE, _DOCKER, _CACHES, _PLACE)
@under("Output", JSON, flag("--no-trunc", "full", help="Do not truncate the output."))
@under("Images of the config file", IMAGE)
def predict_command() -> None:
    """Predict which steps a build would reuse from which cache, and which it would execute and why.

    PATH, IMAGE and the options are those of `bxcache build`. Nothing is built or written: the
    prediction comes from the records of earlier builds, and says where it cannot know.
    """


@command("bake:bake")
@click.argument("targets", nargs=-1, metavar="[TARGET...]", shell_complete=complete_targets)
@_BAKE_OPTIONS
def bake_command() -> None:
    """Build the targets of a bake file with docker buildx bake, each from a cache of its own.

    The bake file alone says what is built; bxcache adds the caches. A target with a `cache-to` of
    its own stays as it is. Arguments after `--` are passed to bake unchanged.
    """
