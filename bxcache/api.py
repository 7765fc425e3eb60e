"""The Python API, which the command line uses too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

from msgspec.structs import replace

from bxcache.config.wording import name_option
from bxcache.errors import ConfigError, Problem
from bxcache.insight.difference import find_difference
from bxcache.insight.explanation import find_explanation
from bxcache.insight.find import find_history, find_report
from bxcache.insight.history_request import HistoryOptions, HistoryRequest
from bxcache.pipeline.bake import ask_bake, bake_targets
from bxcache.pipeline.bake_targets import BakeRequest
from bxcache.pipeline.batch import MOST_AT_ONCE, ImageObserver, build_batch, choose_images
from bxcache.pipeline.entry import predict_build, run_build
from bxcache.pipeline.options import BakeOptions, BuildOptions, Texts
from bxcache.pipeline.question import Answer, ask_build, find_answer
from bxcache.pipeline.request import BuildRequest
from bxcache.process import limit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from threading import Event

    from bxcache.buildx.stream.events import Observer
    from bxcache.insight.difference import Difference
    from bxcache.insight.explanation import Explanation
    from bxcache.insight.history import History
    from bxcache.insight.prediction import Prediction
    from bxcache.insight.report import Report
    from bxcache.pipeline.doctor.diagnosis import Diagnosis
    from bxcache.pipeline.result import BuildResult, Outcomes
    from bxcache.process import Stop


@overload
def build(
    path: str | os.PathLike[str] | None = None,
    *,
    call: str,
    image: str | None = None,
    config_file: str | os.PathLike[str] | None = None,
    extra: Texts = (),
    timeout: float | None = None,
    cancel: Event | None = None,
    **options: Unpack[BuildOptions],
) -> Answer: ...


@overload
def build(
    path: str | os.PathLike[str] | None = None,
    *,
    call: None = None,
    image: str | None = None,
    config_file: str | os.PathLike[str] | None = None,
    extra: Texts = (),
    observe: Observer | None = None,
    timeout: float | None = None,
    cancel: Event | None = None,
    **options: Unpack[BuildOptions],
) -> BuildResult: ...


def build(  # noqa: PLR0913  # each is an option of its own
    path: str | os.PathLike[str] | None = None,
    *,
    call: str | None = None,
    image: str | None = None,
    config_file: str | os.PathLike[str] | None = None,
    extra: Texts = (),
    observe: Observer | None = None,
    timeout: float | None = None,
    cancel: Event | None = None,
    **options: Unpack[BuildOptions],
) -> BuildResult | Answer:
    """Build an image, importing every stage from the caches and saving it there.

    Nothing is printed. The configuration is that of the working directory, or of `directory`;
    arguments take precedence over it.

    Args:
        path: the build context. Default: the config file's, else the working directory.
        call: ask docker instead of building: `check`, `outline` or `targets`. The result is an
            `Answer`.
        image: one of the config file's `[images]`.
        config_file: the config file, instead of the one that is found.
        extra: arguments for `docker buildx build`, passed on unchanged.
        observe: called with each event of the build, as it happens.
        timeout: the time limit of the whole call, in seconds.
        cancel: an event that stops the build when another thread sets it.
        options: the options of a build, see `BuildOptions`.

    Raises:
        ConfigError: the configuration or an argument is wrong; nothing was built.
        EngineError: docker is missing or too old; nothing was built.
        BuildFailedError: docker's build failed; `.result` shows how far it got.
        GateError: the build failed a gate; the image was built, see `.result`.
        CacheError: a cache failed and `strict` is on; the image was built, see `.result`.
        OutputError: docker's metadata file cannot be written; the image was built, see `.result`.
        StoppedError: the time was up, or `cancel` was set; the caches are unchanged.
        PlaceError: git does not answer what bxcache has to know.
    """
    given = {**options} if path is None else {**options, "context": os.fspath(path)}
    request = _make_request(given, extra, config_file, image)
    with _limit(timeout, cancel) as stop:
        request = replace(request, stop=stop)
        if call is None:
            return run_build(request, observe)
        return find_answer(request, call, lambda own, report: ask_build(own, report, "plain"))


def build_images(  # noqa: PLR0913  # each is an option of its own
    *names: str,
    config_file: str | os.PathLike[str] | None = None,
    extra: Texts = (),
    observe: ImageObserver | None = None,
    jobs: int = MOST_AT_ONCE,
    fail_fast: bool = False,
    timeout: float | None = None,
    cancel: Event | None = None,
    **options: Unpack[BuildOptions],
) -> Outcomes:
    """Build several of the config file's `[images]` side by side, each with a cache of its own.

    A failure does not stop the others; its outcome contains the error. So does the outcome of an
    image that `timeout`, `cancel` or `fail_fast` stopped: a `StoppedError`.

    Args:
        names: the images. Default: all.
        config_file: the config file, instead of the one that is found.
        extra: arguments for `docker buildx build`, passed on unchanged.
        observe: called with an image and each event of its build, from several threads but one
            event at a time for each image.
        jobs: how many images to build at once.
        fail_fast: stop the others when one fails.
        timeout: the time limit of the whole call, in seconds.
        cancel: an event that stops all builds when another thread sets it.
        options: the options of all builds, see `BuildOptions`.

    Returns:
        The outcome of each image, by name.

    Raises:
        ConfigError: the configuration or an argument is wrong, an image is unknown, or two images
            would write to one place; nothing was built.
    """
    request = _make_request(options, extra, config_file)
    with _limit(timeout, cancel) as stop:
        chosen = choose_images(request, names)
        request = replace(request, stop=stop)
        return build_batch(request, chosen, observe, jobs=jobs, fail_fast=fail_fast)


@overload
def bake(
    *targets: str,
    call: str,
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    sets: Texts = (),
    config_file: str | os.PathLike[str] | None = None,
    extra: Texts = (),
    timeout: float | None = None,
    cancel: Event | None = None,
    **options: Unpack[BakeOptions],
) -> Answer: ...


@overload
def bake(
    *targets: str,
    call: None = None,
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    sets: Texts = (),
    config_file: str | os.PathLike[str] | None = None,
    extra: Texts = (),
    observe: ImageObserver | None = None,
    timeout: float | None = None,
    cancel: Event | None = None,
    **options: Unpack[BakeOptions],
) -> Outcomes: ...


def bake(  # noqa: PLR0913  # each is an option of its own
    *targets: str,
    call: str | None = None,
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    sets: Texts = (),
    config_file: str | os.PathLike[str] | None = None,
    extra: Texts = (),
    observe: ImageObserver | None = None,
    timeout: float | None = None,
    cancel: Event | None = None,
    **options: Unpack[BakeOptions],
) -> Outcomes | Answer:
    """Build targets of a bake file with one `docker buildx bake`, each with its own cache.

    Args:
        targets: the targets and groups. Default: bake's.
        call: ask docker instead of building: `check`, `outline` or `targets`. The result is an
            `Answer`.
        files: the bake files. Default: those that bake finds.
        sets: values that override the bake files, such as `api.args.VERSION=1`.
        config_file: the config file, instead of the one that is found.
        extra: arguments for `docker buildx bake`, passed on unchanged.
        observe: called with a target and each event of its build, and with an empty name for
            events of no single target; from several threads but one event at a time for each.
        timeout: the time limit of the whole call, in seconds.
        cancel: an event that stops the bake when another thread sets it.
        options: the options of all targets, see `BakeOptions`.

    Returns:
        The outcome of each target, by name, including targets that others need.

    Raises:
        ConfigError: the configuration, the bake file or an argument is wrong; nothing was built.
        EngineError: docker is missing or too old; nothing was built.
        StoppedError: the time was up, or `cancel` was set; the caches are unchanged.
        PlaceError: git does not answer what bxcache has to know.
        TypeError: the option belongs to `build`; the bake file has a setting for it.
    """
    unknown = [name for name in options if name not in BakeOptions.__annotations__]
    if unknown:
        raise TypeError(f"bake() has no option `{unknown[0]}`; it belongs in the bake file")
    chosen = (files,) if isinstance(files, str | os.PathLike) else files
    own = _make_request(options, extra, config_file)
    with _limit(timeout, cancel) as stop:
        request = BakeRequest(
            replace(own, stop=stop), targets, tuple(os.fspath(file) for file in chosen), _list(sets)
        )
        if call is None:
            return bake_targets(request, observe)
        return find_answer(
            request.build, call, lambda build, say: ask_bake(replace(request, build=build), say)
        )


def predict(
    path: str | os.PathLike[str] | None = None,
    *,
    image: str | None = None,
    config_file: str | os.PathLike[str] | None = None,
    extra: Texts = (),
    **options: Unpack[BuildOptions],
) -> Prediction:
    """Predict which steps a build would reuse, and why it would execute the others.

    Nothing is built; the prediction comes from the records of earlier builds, and says where it
    cannot know.

    Args:
        path: as for `build`.
        image: as for `build`.
        config_file: as for `build`.
        extra: as for `build`.
        options: as for `build`.

    Raises:
        ConfigError: the configuration is wrong.
        EngineError: docker or the builder cannot build.
        PlaceError: CI or git reports something that cannot be used.
    """
    given = {"context": path, **options} if path is not None else options
    return predict_build(_make_request(given, extra, config_file, image))


def history(name: str | None = None, **options: Unpack[HistoryOptions]) -> History:
    """Return the stages of an image's last build, with their steps and layers.

    Args:
        name: an image of the config file, or a scope; `~N` after it, or alone, is the Nth build
            before the last one. Default: the working directory's image on the current branch.
        options: where to look and which build is meant, see `HistoryOptions`.

    Raises:
        ConfigError: the configuration is wrong.
        RecordError: there is no such scope, build or platform, or the record is unusable.
        StoreError: the store cannot be read.
        RegistryError: the registry does not answer.
    """
    return find_history(HistoryRequest.of(name, **options))


def diff(
    before: str = "~1", after: str | None = None, **options: Unpack[HistoryOptions]
) -> Difference:
    """Compare the stages of two builds.

    Args:
        before: the first build, as for `history`.
        after: the second one. Default: the last build of the same image.
        options: where to look, see `HistoryOptions`.

    Raises:
        ConfigError: the configuration is wrong.
        RecordError: one of them is not known, or has no record.
        StoreError: the store cannot be read.
        RegistryError: the registry does not answer.
    """
    return find_difference(before, after, **options)


def explain(
    name: str | None = None, against: str | None = None, **options: Unpack[HistoryOptions]
) -> Explanation:
    """Explain why steps of a build were executed.

    Args:
        name: as for `history`; failed builds count too.
        against: the build to compare with. Default: the one whose cache the build imported.
        options: where to look and which build is meant, see `HistoryOptions`.

    Raises:
        ConfigError: the configuration is wrong.
        RecordError: one of them is not known, or has no record.
        StoreError: the store cannot be read.
        RegistryError: the registry does not answer.
    """
    return find_explanation(name, against, **options)


def report(name: str | None = None, **options: Unpack[HistoryOptions]) -> Report:
    """Return the report of an image's last build, for `render_report` to write.

    Args:
        name: as for `history`; failed builds count too.
        options: where to look and which build is meant, see `HistoryOptions`.

    Raises:
        ConfigError: the configuration is wrong.
        RecordError: there is no such scope, build or platform, or the record is unusable.
        StoreError: the store cannot be read.
        RegistryError: the registry does not answer.
    """
    return find_report(HistoryRequest.of(name, **options))


def diagnose(
    *,
    fix: bool = False,
    config_file: str | os.PathLike[str] | None = None,
    directory: str | os.PathLike[str] = "",
) -> Diagnosis:
    """Examine everything that a build here depends on: docker, builder, caches, configuration.

    It takes a second if all is well, and each question to a network five at most. Without `fix`, it
    changes nothing.

    Args:
        fix: mend what is safe to mend: create a builder if the current one cannot save caches,
            adopt or repair the local store, and remove what killed builds left. The result is the
            state after it.
        config_file: the config file, instead of the one that is found.
        directory: the working directory of the builds. Default: this process's.

    Returns:
        What was found. Nothing is raised for a problem, not even for a wrong configuration.
    """
    from bxcache.pipeline.doctor.diagnosis import find_diagnosis  # noqa: PLC0415  # the doctor's

    file = Path(config_file) if config_file is not None else None
    return find_diagnosis(Path(directory).absolute(), file, fix=fix)


def _limit(seconds: float | None, cancel: Event | None) -> AbstractContextManager[Stop]:
    if seconds is not None and not seconds > 0:
        raise ConfigError([Problem(name_option("timeout"), "", "must be more than 0 seconds")])
    return limit(seconds, cancel)


def _list(texts: Texts) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)


def _make_request(
    options: Mapping[str, object],
    extra: Texts,
    config_file: str | os.PathLike[str] | None,
    image: str | None = None,
) -> BuildRequest:
    given = {**options}
    directory: Any = given.pop("directory", "")
    return BuildRequest(
        options=given,
        extra=_list(extra),
        image=image,
        config_file=Path(config_file) if config_file is not None else None,
        directory=Path(directory).absolute(),
    )
