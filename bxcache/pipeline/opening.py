"""What is known of a build while docker is still being asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bxcache.buildx.driver import Docker, Probe
    from bxcache.config.loading import Setup
    from bxcache.pipeline.request import BuildRequest
    from bxcache.place.trust import Trust


@dataclass(frozen=True, slots=True)
class Opening:
    """A build whose configuration is read and whose docker is being asked.

    Attributes:
        setup: the configuration, as it counts where the build runs.
        trust: where the build runs, and which caches it may read and save.
        ahead: what docker was asked ahead, if there is a docker.
    """

    request: BuildRequest
    setup: Setup
    trust: Trust
    docker: Docker
    ahead: Probe | None
