"""Tests of building several images: their choice, their outputs and their results."""

from __future__ import annotations

import threading
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bxcache.buildx.stream.events import Event, Noted
from bxcache.console.batch import BatchProgress, render_batch
from bxcache.errors import (
    BuildFailedError,
    BxcacheError,
    ConfigError,
    EngineError,
    StoppedError,
)
from bxcache.pipeline.batch import build_batch, choose_images
from bxcache.pipeline.request import BuildRequest
from bxcache.pipeline.result import BuildResult, ImageOutcome, Outcomes

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = """\
[images.api]
file = "api/Dockerfile"
tags = ["shop/api"]
[images.worker]
[images.web]
"""
NAMES = ("api", "worker", "web")


def result(digest: str = "sha256:d", status: int = 0) -> BuildResult:
    return BuildResult(status, digest, (), (), (), (), 1.0)


@pytest.fixture
def request_(tmp_path: Path) -> BuildRequest:
    """Make a request in a project of three images."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "bxcache.toml").write_text(CONFIG)
    return BuildRequest(directory=tmp_path)


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace the build of one image."""

    def replace(build: Callable[..., BuildResult]) -> None:
        monkeypatch.setattr("bxcache.pipeline.batch.run_build", build)

    return replace


def test_all_declared_images_are_chosen_by_default(request_: BuildRequest) -> None:
    """Without names, all declared images are chosen in the file's order, else the named ones."""
    assert choose_images(request_, ()) == NAMES
    assert choose_images(request_, ("web", "api")) == ("web", "api")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("nope",), ["`nope` is not declared in [images]; known: `api`, `worker`, `web`"]),
        (("api", "nope", "no", "api"), ["`nope` is", "`no` is", "`api` is given twice"]),
        (("nope", "nope"), ["`nope` is not declared", "`nope` is given twice"]),
    ],
)
def test_all_wrong_names_are_reported(
    request_: BuildRequest, names: tuple[str, ...], expected: list[str]
) -> None:
    """Each wrong name has its own problem in the error."""
    with pytest.raises(ConfigError) as caught:
        choose_images(request_, names)
    assert len(caught.value.problems) == len(expected)
    assert all(each in str(caught.value) for each in expected)


def test_without_images_a_build_is_refused(tmp_path: Path) -> None:
    """A project that declares no image gives an error that says so."""
    with pytest.raises(ConfigError, match="no image is declared"):
        choose_images(BuildRequest(directory=tmp_path), ())


@pytest.mark.parametrize(
    ("added", "options", "told"),
    [
        ("", {"tags": ["x"]}, ["`x` would be written by `api`, `worker` and `web`"]),
        ('tags = ["shop/api"]\n', {}, ["`shop/api` would be written by `api` and `web`"]),
        ('tags = ["same", "same:latest"]\n', {"tags": ["same"]}, ["`same` would be written by"]),
        ("", {"outputs": ["type=local,dest=out"]}, ["`out` would be written by"]),
        ("", {"outputs": ["./out"]}, ["`out` would be written by"]),
        ("", {"outputs": ["type=tar,dest=-"]}, ["`-` would be written by"]),
        ("", {"outputs": ["type=image,name=r/app,push=true"]}, ["`r/app` would be written by"]),
        # An image has several spellings, and so does a path.
        (
            'tags = ["docker.io/shop/api:latest"]\n',
            {},
            ["`shop/api` would be written by"],
        ),
        ('outputs = ["type=image,name=shop/api:latest"]\n', {}, ["`shop/api` would be written by"]),
        (
            "outputs = ['type=image,\"name=r/a,shop/api\"']\n",
            {},
            ["`shop/api` would be written by"],
        ),
        (
            'outputs = ["{here}/out"]\n[build]\noutputs = ["type=local,dest=./out/"]\n',
            {},
            ["`out` would be written by `api`, `worker` and `web`"],
        ),
        ("", {"outputs": ["type=cacheonly"]}, []),
        ("", {"outputs": ["type=docker"]}, []),
        (
            '[[cache.backends]]\ntype = "registry"\nref = "r.example.com/app:main"\n',
            {},
            ["`r.example.com/app:main` would be written by `api`, `worker` and `web`"],
        ),
        (
            '[[cache.backends]]\ntype = "inline"\nref = "r.example.com/app"\n',
            {},
            ["`r.example.com/app` would be imported by", '`stages = "all"`'],
        ),
        ("[[cache.backends]]\ntype = 'registry'\nref = 'r.example.com/app'\n", {}, []),
        ("[[cache.backends]]\ntype = 'local'\ndir = 'store'\n", {}, []),
    ],
)
def test_duplicate_outputs_are_refused_before_anything_runs(
    request_: BuildRequest,
    builds: Callable[..., None],
    added: str,
    options: dict[str, Any],
    told: list[str],
) -> None:
    """Images may not share a tag, an output or a tagged cache; scopes never collide."""
    ran: list[str | None] = []

    def build(request: BuildRequest, _: object) -> BuildResult:
        ran.append(request.image)
        return result()

    builds(build)
    added = added.replace("{here}", str(request_.directory))
    (request_.directory / "bxcache.toml").write_text(CONFIG + added)
    request = BuildRequest(options=options, directory=request_.directory)
    if not told:
        build_batch(request, NAMES)
        assert sorted(filter(None, ran)) == sorted(NAMES)
        return
    with pytest.raises(ConfigError) as caught:
        build_batch(request, NAMES)
    assert ran == []
    for each in told:
        assert each in str(caught.value)


@pytest.mark.parametrize("words", [("--metadata-file", "m.json"), ("--iidfile=id",)])
def test_a_file_that_each_image_would_write_is_refused(
    request_: BuildRequest, words: tuple[str, ...]
) -> None:
    """Docker's own file flags are refused for several images."""
    request = BuildRequest(extra=words, directory=request_.directory)
    flag = words[0].partition("=")[0].strip("-").replace("-", "_") + "="
    with pytest.raises(ConfigError, match=f"{flag}: `(m.json|id)` would be written by"):
        build_batch(request, NAMES)


def test_problems_of_all_images_are_reported_at_once(request_: BuildRequest) -> None:
    """A problem that every image has is reported once."""
    request = BuildRequest(options={"network": 7, "target": []}, directory=request_.directory)
    with pytest.raises(ConfigError) as caught:
        build_batch(request, NAMES)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("jobs", [1, 2, 3, 9])
def test_the_number_of_parallel_builds_is_limited(
    request_: BuildRequest, builds: Callable[..., None], jobs: int
) -> None:
    """As many images are built at once as allowed, and no more."""
    lock, running, most = threading.Lock(), 0, 0
    first = min(jobs, len(NAMES))
    together, begun = threading.Barrier(first, timeout=20), count(1)

    def build(*_: object) -> BuildResult:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if next(begun) <= first:
            together.wait()
        time.sleep(0.05)
        with lock:
            running -= 1
        return result()

    builds(build)
    outcomes = build_batch(request_, NAMES, jobs=jobs)
    assert list(outcomes) == list(NAMES)
    assert most <= jobs
    assert most == min(jobs, len(NAMES))


def test_a_failed_image_leaves_the_others_alone(
    request_: BuildRequest, builds: Callable[..., None]
) -> None:
    """The overall status is that of the first failed image, and each error is kept."""

    def build(request: BuildRequest, _: object) -> BuildResult:
        if request.image == "worker":
            raise BuildFailedError("it broke", exit_status=3, result=result("", 3))
        if request.image == "web":
            raise EngineError("no docker")
        return result()

    builds(build)
    outcomes = build_batch(request_, NAMES)
    assert [each.exit_status for each in outcomes.values()] == [0, 3, 69]
    assert outcomes.exit_status == 3
    document = outcomes.to_dict()
    assert document["exit_status"] == 3
    assert document["images"]["api"]["image"]["digest"] == "sha256:d"
    assert document["images"]["web"] == {"exit_status": 69, "error": "no docker"}
    shown = render_batch(outcomes, 2.0, quiet=True).splitlines()
    assert shown == ["worker: it broke", "web: no docker", "3 images: 1 built, 2 failed, in 2.0 s"]


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ([None, None], 0),
        ([StoppedError("x"), None], 71),
        ([StoppedError("x"), EngineError("x")], 69),
        ([EngineError("x"), BuildFailedError("x", exit_status=3)], 3),
        ([BuildFailedError("x", exit_status=2), BuildFailedError("x", exit_status=3)], 2),
    ],
)
def test_any_failure_sets_the_status(errors: list[BxcacheError | None], status: int) -> None:
    """A failed build takes precedence over an error of bxcache, and both over a stopped build."""
    outcomes = {str(at): ImageOutcome(str(at), error=each) for at, each in enumerate(errors)}
    assert Outcomes(outcomes).exit_status == status


def test_fail_fast_stops_the_other_images(
    request_: BuildRequest, builds: Callable[..., None]
) -> None:
    """Stopped images do not decide the status, and waiting images never begin."""
    began: list[str | None] = []

    def build(request: BuildRequest, _: object) -> BuildResult:
        assert request.stop is not None
        began.append(request.image)
        if request.image == "worker":
            raise BuildFailedError("it broke", exit_status=1, result=result("", 1))
        while not request.stop.is_set:
            time.sleep(0.01)
        raise StoppedError("the build was stopped")

    builds(build)
    outcomes = build_batch(request_, NAMES, fail_fast=True, jobs=2)
    assert [type(each.error) for each in outcomes.values()] == [
        StoppedError,
        BuildFailedError,
        StoppedError,
    ]
    assert outcomes.exit_status == 1
    assert set(began) == {"api", "worker"}


def test_an_interrupt_stops_all_images(request_: BuildRequest, builds: Callable[..., None]) -> None:
    """A KeyboardInterrupt stops all running builds and reaches the caller."""
    stopped: list[bool] = []
    begun = threading.Barrier(len(NAMES))

    def build(request: BuildRequest, _: object) -> BuildResult:
        # A build that has not begun by then never begins.
        begun.wait(60)
        if request.image == "api":
            raise KeyboardInterrupt
        assert request.stop is not None
        for _ in range(1000):
            if request.stop.is_set:
                break
            time.sleep(0.01)
        stopped.append(request.stop.is_set)
        return result()

    builds(build)
    with pytest.raises(KeyboardInterrupt):
        build_batch(request_, NAMES, jobs=3)
    assert stopped == [True, True]


def test_each_line_is_prefixed_with_its_image(capsys: pytest.CaptureFixture[str]) -> None:
    """Every line of a multi-line text is prefixed with its image."""
    import sys  # noqa: PLC0415

    progress = BatchProgress(sys.stderr, NAMES)
    event: Event = Noted("one\ntwo")
    progress("api", event)
    progress("worker", Noted("three"))
    assert capsys.readouterr().err.splitlines() == [
        "api    | note: one",
        "api    | two",
        "worker | note: three",
    ]
