"""The entry points: build an image, or preview or predict the build.

Docker takes as long to answer as Python takes to load the other modules, so both run in parallel.
"""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, TypeVar

from bxcache.buildx.driver import ask_ahead
from bxcache.buildx.memory import OutdatedError
from bxcache.config.discovery import find_config_file, read_config_file
from bxcache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from bxcache.buildx.driver import Probe
    from bxcache.buildx.stream.events import Observer
    from bxcache.insight.prediction import Prediction
    from bxcache.pipeline.preview import Preview
    from bxcache.pipeline.request import BuildRequest
    from bxcache.pipeline.result import BuildResult

T = TypeVar("T")


def run_build(request: BuildRequest, observe: Observer | None = None) -> BuildResult:
    """Build an image; restore every stage from the caches, and save it to them.

    A ConfigError or an EngineError means that nothing was built; a ResultError has the result.
    """
    request = request.begin()
    return remembering(lambda: _run_build(request, observe))


def _run_build(request: BuildRequest, observe: Observer | None) -> BuildResult:
    with ask_docker(request, fresh=False) as ahead:
        from bxcache.pipeline.build import build_image  # noqa: PLC0415  # while docker answers
        from bxcache.pipeline.prepare import prepare  # noqa: PLC0415

        prepared = prepare(request, ahead, boot=True, observe=observe)
    return build_image(prepared, observe)


def remembering(build: Callable[[], T]) -> T:
    """Build; do so again if docker is not what it was, and nothing was built for that reason."""
    try:
        return build()
    except OutdatedError:
        # It is forgotten now, and docker is asked.
        return build()


def preview_build(request: BuildRequest) -> Preview:
    """Preview `run_build`, without writing anything or starting a builder; raise what it does."""
    with ask_docker(request, fresh=True) as ahead:
        from bxcache.pipeline.prepare import prepare  # noqa: PLC0415  # while docker answers
        from bxcache.pipeline.preview import make_preview  # noqa: PLC0415

        prepared = prepare(request, ahead, boot=False)
    return make_preview(prepared)


def predict_build(request: BuildRequest) -> Prediction:
    """Predict which steps `run_build` would reuse; like `preview_build`, but without its command.

    What docker can do may be remembered here.
    """
    with ask_docker(request, fresh=False) as ahead:
        from bxcache.pipeline.choose import plan_build  # noqa: PLC0415  # while docker answers
        from bxcache.pipeline.predict import predict_plan  # noqa: PLC0415  # the same
        from bxcache.pipeline.prepare import prepare  # noqa: PLC0415  # the same

        prepared = prepare(request, ahead, boot=False)
    prepared.open_backends(None)
    return predict_plan(prepared, plan_build(prepared))


def ask_docker(request: BuildRequest, *, fresh: bool) -> AbstractContextManager[Probe | None]:
    """Ask docker about itself while the block runs, as `ask_ahead`.

    Raises a `ConfigError` for an argument that docker cannot get, or that makes it build nothing.
    """
    request.check_extra()
    request.refuse_question()
    given = request.options.get("builder") or os.environ.get("BXCACHE_BUILD_BUILDER")
    if given:
        return ask_ahead(str(given), fresh=fresh)
    if not _chooses_builder(request):
        return ask_ahead("", fresh=fresh)
    # A question reaches the builder, and a stranger's file must not choose that.
    return nullcontext()


def _chooses_builder(request: BuildRequest) -> bool:
    """Whether files may choose the builder, as far as they show it before they are loaded."""
    file = request.config_file or os.environ.get("BXCACHE_CONFIG")
    with suppress(ConfigError):
        named = read_config_file(request.directory / file) if file else None
        found = named or find_config_file(request.directory)
        build = found.table.get("build") if found is not None else None
        if isinstance(build, dict) and build.get("builder"):
            return True
        is_named = any(map(os.environ.get, ("BUILDX_BUILDER", "BXCACHE_BUILDER_NAME")))
        return found is not None and "builder" in found.table and not is_named
    return False
