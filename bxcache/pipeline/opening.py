"""How a build begins: the configuration is read while docker is asked about itself.

Docker takes as long to say what it is as Python takes to load the rest, so both go on at once.
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
    """A build whose configuration is read and whose docker is being asked.

    Attributes:
        setup: the configuration, as it counts where the build runs.
        trust: where that is, and which caches it may read and save.
        ahead: what docker was asked ahead, if there is a docker.
    """

    request: BuildRequest
    setup: Setup
    trust: Trust
    docker: Docker
    ahead: Probe | None


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
