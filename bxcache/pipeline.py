"""The story of one build: load, probe, plan, run, settle, report.

Docker takes as long to say what it is as Python takes to load the rest, so both go on at once.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bxcache.buildx.driver import Docker
from bxcache.config.loading import load_setup
from bxcache.errors import ConfigError
from bxcache.opening import Opening
from bxcache.request import BuildRequest, check_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.buildx.events import Observer
    from bxcache.execution import Preview
    from bxcache.result import BuildResult


def run_build(request: BuildRequest, observe: Observer | None = None) -> BuildResult:
    """Build an image; every stage is taken from the caches and saved to them.

    Args:
        request: what to build.
        observe: is told what happens, as it happens.

    Raises:
        ConfigError: the configuration is wrong; nothing was built.
        EngineError: docker cannot do it; nothing was built.
        StoreError: the local store's directory cannot be one; nothing was built.
        BuildFailedError: docker's build failed.
        CacheError: a cache failed and `strict` is on; the image was built.
    """
    with _open_build(request, boot=True) as opening:
        from bxcache.execution import execute, prepare  # noqa: PLC0415  # while docker answers

        prepared = prepare(opening, observe)
    return execute(prepared, observe)


def preview_build(request: BuildRequest) -> Preview:
    """What `run_build` would do, without writing anything or starting a builder.

    Raises:
        BxcacheError: as `run_build` does before it starts docker.
    """
    with _open_build(request, boot=False) as opening:
        from bxcache.execution import prepare, preview  # noqa: PLC0415  # while docker answers

        prepared = prepare(opening)
    return preview(prepared)


@contextmanager
def _open_build(request: BuildRequest, *, boot: bool) -> Iterator[Opening]:
    refused = check_extra(request.extra)
    if refused:
        raise ConfigError(refused)
    setup = load_setup(
        request.directory,
        os.environ,
        flags=request.to_layer(),
        file=request.config_file,
        image=request.image,
    )
    docker = Docker.find()
    with docker.probe(setup.config.build.builder, boot=boot) as probe:
        yield Opening(request, setup, docker, probe)
