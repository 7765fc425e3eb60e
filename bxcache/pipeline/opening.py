"""The start of a build: read the configuration while docker describes itself.

Docker takes as long to answer as Python takes to load the other modules, so both run in parallel.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.buildx.driver import Docker, ask_ahead
from bxcache.errors import ConfigError, Problem
from bxcache.pipeline.request import STDOUT, BuildRequest, check_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.buildx.driver import Probe
    from bxcache.config.loading import Setup
    from bxcache.place.trust import Trust


_OUTPUTS = ("build", "outputs")
_NO_STDOUT = (
    "the image would go to stdout, which `--json`, `--layers`, `--quiet` and Python keep for "
    "themselves; give it a `dest`"
)


@dataclass(frozen=True, slots=True)
class Opening:
    """A build with its configuration, while docker is still answering.

    Attributes:
        setup: the configuration, guarded for the place where the build runs.
        trust: where the build runs, and which caches it may read and save.
        ahead: the early query to docker, if docker exists.
    """

    request: BuildRequest
    setup: Setup
    trust: Trust
    docker: Docker
    ahead: Probe | None


@contextmanager
def open_build(request: BuildRequest) -> Iterator[Opening]:
    """Read the configuration, while docker is queried in parallel.

    Raises:
        ConfigError: the configuration is wrong.
        EngineError: docker was not found.
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
