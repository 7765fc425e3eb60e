"""Tests of the arguments for docker."""

from __future__ import annotations

import shlex

import pytest

from bxcache.buildx.command import (
    exports_image,
    list_pushed,
    quote_command,
    reads_dockerfile,
    render_build,
    writes_stdout,
)
from bxcache.config.models import BuildSettings


def render(**settings: object) -> list[str]:
    arguments = render_build(
        BuildSettings.model_validate(settings), cache_options=[], metadata_file="/m", extra=()
    )
    head = ["buildx", "build", "--progress", "rawjson", "--metadata-file", "/m"]
    assert list(arguments[: len(head)]) == head
    return list(arguments[len(head) :])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["."]),
        ({"context": "app"}, ["app"]),
        ({"file": "x/Dockerfile"}, ["--file", "x/Dockerfile", "."]),
        ({"tags": ["a:1", "b"]}, ["--tag", "a:1", "--tag", "b", "."]),
        ({"target": "build"}, ["--target", "build", "."]),
        (
            {"platforms": ["linux/amd64", "linux/arm64"]},
            ["--platform", "linux/amd64,linux/arm64", "."],
        ),
        ({"build_args": {"A": "1", "B": None}}, ["--build-arg", "A=1", "--build-arg", "B", "."]),
        ({"build_contexts": {"base": "../x"}}, ["--build-context", "base=../x", "."]),
        ({"labels": {"a": ""}}, ["--label", "a=", "."]),
        ({"secrets": ["id=x,src=y"]}, ["--secret", "id=x,src=y", "."]),
        ({"ssh": ["default"]}, ["--ssh", "default", "."]),
        ({"outputs": ["type=local,dest=o"]}, ["--output", "type=local,dest=o", "."]),
        ({"network": "none", "builder": "b"}, ["--builder", "b", "--network", "none", "."]),
        (
            {"push": True, "load": True, "pull": True, "no_cache": True},
            ["--push", "--load", "--pull", "--no-cache", "."],
        ),
    ],
)
def test_each_setting_is_dockers_own_flag(settings: dict[str, object], expected: list[str]) -> None:
    """Each setting becomes docker's flag, and the context is last."""
    assert render(**settings) == expected


def test_extra_arguments_are_passed_on_unchanged() -> None:
    """Extra arguments follow the flags of the settings, before the caches and the context."""
    arguments = render_build(
        BuildSettings(),
        cache_options=[("--cache-to", "type=inline")],
        metadata_file="/m",
        extra=("--ulimit", "nofile=10 20", "--sbom"),
    )
    assert arguments[-6:] == (
        "--ulimit",
        "nofile=10 20",
        "--sbom",
        "--cache-to",
        "type=inline",
        ".",
    )


@pytest.mark.parametrize(
    ("args", "extra", "asked"),
    [
        ({"BUILDKIT_INLINE_CACHE": "1"}, (), 0),
        ({"BUILDKIT_INLINE_CACHE": "0"}, (), 1),
        ({}, ("--build-arg", "BUILDKIT_INLINE_CACHE=true"), 0),
        ({}, ("--build-arg=BUILDKIT_INLINE_CACHE=1",), 0),
        ({"OTHER": "1"}, (), 1),
    ],
)
def test_an_inline_cache_is_requested_once(
    args: dict[str, str], extra: tuple[str, ...], asked: int
) -> None:
    """With that build argument, buildx adds an inline cache itself, and 28.5 refuses two."""
    options = [("--cache-to", "type=inline"), ("--cache-to", "type=local,dest=x")]
    settings = BuildSettings(build_args={**args})
    found = render_build(settings, cache_options=options, metadata_file="/m", extra=extra)
    assert found.count("type=inline") == asked
    assert found.count("type=local,dest=x") == 1


def test_a_quoted_command_splits_into_the_same_words() -> None:
    """A shell splits a quoted command into the original words."""
    words = ["docker", "build", "--label", "a=it's $HOME", "--tag", "x y", ".", "--", "\n"]
    assert shlex.split(quote_command(words).replace("\\\n", "")) == words


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("-", True),
        ("type=tar", True),
        ("type=tar,dest=-", True),
        ("type=oci", True),
        ("type=docker,dest=-", True),
        ("type=tar,dest=x.tar", False),
        ("type=docker", False),
        ("type=local,dest=out", False),
        ("out", False),
        ("type=image,push=true", False),
    ],
)
def test_outputs_to_stdout_are_recognized(output: str, expected: bool) -> None:  # noqa: FBT001
    """Only an output that docker writes to stdout counts as one."""
    assert writes_stdout(BuildSettings(outputs=(output,))) is expected


@pytest.mark.parametrize(
    ("settings", "driver", "expected"),
    [
        ({}, "docker", True),
        ({}, "docker-container", False),
        ({"push": True}, "docker-container", True),
        ({"load": True}, "docker-container", True),
        ({"outputs": ["type=image,push=true"]}, "remote", True),
        ({"outputs": ["type=cacheonly"]}, "docker", False),
        ({"outputs": ["type=local,dest=x"]}, "docker", False),
    ],
)
def test_builds_that_make_an_image_are_recognized(
    settings: dict[str, object],
    driver: str,
    expected: bool,  # noqa: FBT001
) -> None:
    """Only the docker driver makes an image by default."""
    assert exports_image(BuildSettings.model_validate(settings), driver) is expected


@pytest.mark.parametrize(
    ("settings", "extra", "expected"),
    [
        ({"tags": ["r/a:1", "r/a:2"], "push": True}, (), ["r/a:1", "r/a:2"]),
        ({"tags": ["r/a:1"], "outputs": ["type=registry"]}, (), ["r/a:1"]),
        ({"outputs": ["type=registry,name=r/a:1"]}, (), ["r/a:1"]),
        ({"outputs": ['type=image,"name=r/a:1,r/a:2",push=true']}, (), ["r/a:1", "r/a:2"]),
        # Docker names each output by the tags.
        ({"tags": ["r/a:1"], "outputs": ["type=image,push=1,name=r/b"]}, (), ["r/a:1"]),
        ({"outputs": ["type=image,name=r/a,push=true,push-by-digest=true"]}, (), ["r/a"]),
        ({"tags": ["r/a:1"]}, ("--push",), ["r/a:1"]),
        ({}, ("--output=type=registry", "-t", "r/a:1"), ["r/a:1"]),
        ({"tags": ["r/a:1"]}, ("-o", "type=registry"), ["r/a:1"]),
        ({"tags": ["r/a:1"]}, (), []),
        ({"tags": ["r/a:1"], "load": True}, (), []),
        ({"tags": ["r/a:1"], "outputs": ["type=image,push=false"]}, (), []),
        ({"tags": ["r/a:1"], "outputs": ["type=oci,dest=push=true"]}, (), []),
        ({"tags": ["r/a:1"], "outputs": ["registry"]}, (), []),
    ],
)
def test_the_names_of_a_pushed_image_are_known(
    settings: dict[str, object], extra: tuple[str, ...], expected: list[str]
) -> None:
    """The names of an image are listed if the build pushes it, however that is requested."""
    assert [*list_pushed(BuildSettings.model_validate(settings), extra)] == expected


@pytest.mark.parametrize(
    ("settings", "extra", "expected"),
    [
        ({"file": "-"}, (), True),
        ({"file": "-", "context": "https://example.com/a.git"}, (), True),
        ({}, ("--file", "-"), True),
        ({}, ("-f", "-"), True),
        ({}, ("--file=-",), True),
        ({}, (), False),
        ({"file": "a"}, ("--iidfile", "-"), False),
        # Docker reads only one thing from stdin.
        ({"file": "-", "context": "-"}, (), False),
    ],
)
def test_a_dockerfile_from_stdin_is_recognized(
    settings: dict[str, str],
    extra: tuple[str, ...],
    expected: bool,  # noqa: FBT001
) -> None:
    """A Dockerfile from stdin is recognized in settings and flags, unless the context is stdin."""
    assert reads_dockerfile(BuildSettings.model_validate(settings), extra) is expected
