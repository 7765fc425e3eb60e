"""The story of one build: load, probe, plan, run, settle, report.

Docker takes as long to say what it is as Python takes to load the rest, so both go on at once.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bxcache.buildx.driver import Docker, ask_ahead
from bxcache.errors import ConfigError, Problem
from bxcache.pipeline.opening import Opening
from bxcache.pipeline.request import STDOUT, BuildRequest, check_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.buildx.stream.events import Observer
    from bxcache.pipeline.preview import Preview
    from bxcache.pipeline.result import BuildResult


_OUTPUTS = ("build", "outputs")
_NO_STDOUT = (
    "the image would go to stdout, which `--json`, `--layers`, `--quiet` and Python keep for "
    "themselves; give it a `dest`"
)


def run_build(request: BuildRequest, observe: Observer | None = None) -> BuildResult:
    """Build an image; every stage is taken from the caches and saved to them.

    Args:
        request: what to build.
        observe: is told what happens, as it happens.

    Raises:
        ConfigError: the configuration is wrong; nothing was built.
        EngineError: docker cannot do it; nothing was built.
        BuildFailedError: docker's build failed.
        CacheError: a cache failed and `strict` is on; the image was built.
        OutputError: docker's metadata file cannot be written; the image was built.
    """
    with open_build(request) as opening:
        from bxcache.pipeline.execution import execute  # noqa: PLC0415  # while docker answers
        from bxcache.pipeline.prepare import prepare  # noqa: PLC0415

        prepared = prepare(opening, boot=True, observe=observe)
    return execute(prepared, observe)


def preview_build(request: BuildRequest) -> Preview:
    """What `run_build` would do, without writing anything or starting a builder.

    Raises:
        BxcacheError: as `run_build` does before it starts docker.
    """
    with open_build(request) as opening:
        from bxcache.pipeline.prepare import prepare  # noqa: PLC0415  # while docker answers
        from bxcache.pipeline.preview import make_preview  # noqa: PLC0415

        prepared = prepare(opening, boot=False)
    return make_preview(prepared)


@contextmanager
def open_build(request: BuildRequest) -> Iterator[Opening]:
    """Read the configuration, and have docker asked about itself meanwhile.

    Raises:
        ConfigError: the configuration is wrong.
        EngineError: there is no docker.
    """
    refused = check_extra(request.extra)
    if refused:
        raise ConfigError(refused)
    with ask_ahead(str(request.options.get("builder", ""))) as ahead:
        from bxcache.buildx.command import writes_stdout  # noqa: PLC0415  # while docker answers
        from bxcache.pipeline.destinations import check_build  # noqa: PLC0415
        from bxcache.place.trust import open_setup  # noqa: PLC0415

        setup, trust = open_setup(
            request.directory,
            os.environ,
            flags=request.to_layer(),
            file=request.config_file,
            image=request.image,
        )
        if request.stdout != STDOUT and writes_stdout(setup.config.build):
            problem = Problem(str(setup.source_of(_OUTPUTS)), "build.outputs", _NO_STDOUT)
            raise ConfigError([problem])
        check_build(setup, request.extra, request.directory)
        yield Opening(request, setup, trust, Docker.find(), ahead)
