"""The Python API, which the command line uses too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from bxcache.insight.find import HistoryOptions, HistoryRequest, find_history, find_report
from bxcache.pipeline.bake import bake_targets
from bxcache.pipeline.bake_targets import BakeRequest
from bxcache.pipeline.batch import MOST_AT_ONCE, ImageObserver, build_batch, choose_images
from bxcache.pipeline.entry import run_build
from bxcache.pipeline.request import BakeOptions, BuildOptions, BuildRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bxcache.buildx.stream.events import Observer
    from bxcache.insight.history import History
    from bxcache.insight.report import Report
    from bxcache.pipeline.result import BuildResult, ImageOutcome


def build(
    path: str | os.PathLike[str] | None = None,
    *,
    image: str | None = None,
    config_file: str | os.PathLike[str] | None = None,
    extra: Sequence[str] = (),
    observe: Observer | None = None,
    **options: Unpack[BuildOptions],
) -> BuildResult:
    """Build an image, importing every stage from the caches and saving it there.

    Nothing is printed. The configuration is that of the working directory, or of `directory`;
    arguments take precedence over it.

    Args:
        path: the build context. Default: the config file's, else the working directory.
        image: one of the config file's `[images]`.
        config_file: the config file, instead of the one that is found.
        extra: arguments for `docker buildx build`, passed on unchanged.
        observe: called with each event of the build, as it happens.
        options: the options of a build, see `BuildOptions`.

    Raises:
        ConfigError: the configuration is wrong; nothing was built.
        EngineError: docker is missing or too old; nothing was built.
        BuildFailedError: docker's build failed; `.result` shows how far it got.
        CacheError: a cache failed and `strict` is on; the image was built, see `.result`.
        OutputError: docker's metadata file cannot be written; the image was built, see `.result`.
    """
    given = {**options} if path is None else {**options, "context": os.fspath(path)}
    return run_build(_make_request(given, extra, config_file, image), observe)


def build_images(
    *names: str,
    config_file: str | os.PathLike[str] | None = None,
    extra: Sequence[str] = (),
    observe: ImageObserver | None = None,
    jobs: int = MOST_AT_ONCE,
    fail_fast: bool = False,
    **options: Unpack[BuildOptions],
) -> dict[str, ImageOutcome]:
    """Build several of the config file's `[images]` side by side, each with a cache of its own.

    A failure does not stop the others; its outcome contains the error.

    Args:
        names: the images. Default: all.
        config_file: the config file, instead of the one that is found.
        extra: arguments for `docker buildx build`, passed on unchanged.
        observe: called with an image and each event of its build, from several threads but one
            event at a time for each image.
        jobs: how many images to build at once.
        fail_fast: stop the others when one fails.
        options: the options of all builds, see `BuildOptions`.

    Returns:
        The outcome of each image, by name.

    Raises:
        ConfigError: the configuration is wrong, an image is unknown, or two images would write
            to one place; nothing was built.
    """
    request = _make_request(options, extra, config_file)
    chosen = choose_images(request, names)
    return build_batch(request, chosen, observe, jobs=jobs, fail_fast=fail_fast)


def bake(
    *targets: str,
    files: Sequence[str | os.PathLike[str]] = (),
    sets: Sequence[str] = (),
    config_file: str | os.PathLike[str] | None = None,
    extra: Sequence[str] = (),
    observe: ImageObserver | None = None,
    **options: Unpack[BakeOptions],
) -> dict[str, ImageOutcome]:
    """Build targets of a bake file with one `docker buildx bake`, each with its own cache.

    Args:
        targets: the targets and groups. Default: bake's.
        files: the bake files. Default: those that bake finds.
        sets: values that override the bake files, in the form of bake's `--set`.
        config_file: the config file, instead of the one that is found.
        extra: arguments for `docker buildx bake`, passed on unchanged.
        observe: called with a target and each event of its build, and with an empty name for
            events of no single target; from several threads but one event at a time for each.
        options: the options of all targets, see `BakeOptions`.

    Returns:
        The outcome of each target, by name, including targets that others need.

    Raises:
        ConfigError: the configuration or the bake file is wrong; nothing was built.
        EngineError: docker is missing or too old; nothing was built.
        TypeError: the option belongs to `build`; the bake file has a setting for it.
    """
    unknown = [name for name in options if name not in BakeOptions.__annotations__]
    if unknown:
        raise TypeError(f"bake() has no option `{unknown[0]}`; it belongs in the bake file")
    request = _make_request(options, extra, config_file)
    chosen = tuple(os.fspath(file) for file in files)
    return bake_targets(BakeRequest(request, targets, chosen, tuple(sets)), observe)


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


def _make_request(
    options: Mapping[str, object],
    extra: Sequence[str],
    config_file: str | os.PathLike[str] | None,
    image: str | None = None,
) -> BuildRequest:
    given = {**options}
    directory: Any = given.pop("directory", "")
    return BuildRequest(
        options=given,
        extra=tuple(extra),
        image=image,
        config_file=Path(config_file) if config_file is not None else None,
        directory=Path(directory).absolute(),
    )
