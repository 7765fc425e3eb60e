"""The entry points: build an image, or preview or predict the build.

Docker takes as long to answer as Python takes to load the other modules, so both run in parallel.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from bxcache.buildx.driver import ask_ahead
from bxcache.buildx.memory import OutdatedError
from bxcache.config.discovery import find_config_file, read_config_file
from bxcache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from bxcache.buildx.driver import Probe
    from bxcache.buildx.stream.events import Observer
    from bxcache.insight.prediction import Prediction
    from bxcache.pipeline.preview import Preview
    from bxcache.pipeline.request import BuildRequest
    from bxcache.pipeline.result import BuildResult

T = TypeVar("T")
_DEFAULT = "bxcache"
# A name from a file that may be a stranger's must not be a flag.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


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
    return ask_ahead(_guess_builder(request), fresh=fresh)


def _guess_builder(request: BuildRequest) -> str:
    """Guess which builder the configuration chooses, before it is loaded; empty for docker's.

    A wrong guess costs only time: docker is then asked again.
    """
    given = request.options.get("builder") or os.environ.get("BXCACHE_BUILD_BUILDER")
    if given:
        return str(given)
    file = request.config_file or os.environ.get("BXCACHE_CONFIG")
    table: Mapping[str, Any] = {}
    with suppress(ConfigError):
        named = read_config_file(request.directory / file) if file else None
        found = named or find_config_file(request.directory)
        table = found.table if found is not None else {}
    own = os.environ.get("BXCACHE_BUILDER_NAME")
    name = _read_name(table, "build", "builder")
    if not name and not os.environ.get("BUILDX_BUILDER"):
        name = own or (_read_name(table, "builder", "name", _DEFAULT) if "builder" in table else "")
        # As the configuration will have it.
        name = name.lower()
    return name if _NAME.fullmatch(name) else ""


def _read_name(table: Mapping[str, Any], section: str, key: str, default: str = "") -> str:
    values = table.get(section)
    return str(values.get(key, default)) if isinstance(values, dict) else default
