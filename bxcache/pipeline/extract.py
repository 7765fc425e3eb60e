"""Write the files of a stage from a cache, for inspection.

This is a build of the stage that imports the cache and saves nothing. BuildKit compares the stage's
inputs with the current ones, and re-executes the steps that differ.

Anyone who can write to the cache can write the record, so the record cannot select anything outside
the project: no folder, no file, no network.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bxcache.buildx.command import render_build
from bxcache.buildx.dockerfile import copy_dockerfile, list_stages, read_dockerfile
from bxcache.buildx.extra_flags import list_flags
from bxcache.buildx.option_text import render_options
from bxcache.config.paths import find_dockerfile, is_remote
from bxcache.errors import RecordError
from bxcache.insight.record_steps import hash_arguments
from bxcache.pipeline.entry import run_build
from bxcache.pipeline.request import BuildRequest
from bxcache.place.trust import load_guarded

if TYPE_CHECKING:
    from bxcache.buildx.dockerfile import DockerfileStage
    from bxcache.buildx.stream.events import Observer
    from bxcache.config.loading import Setup
    from bxcache.insight.history import History
    from bxcache.insight.history_request import HistoryRequest
    from bxcache.insight.record import Record
    from bxcache.pipeline.result import BuildResult

_NAME = "bxcache-export"
_ANY_KEY = "00"
_CLOSED_NETWORKS = ("", "default", "none")
_OWN = ("--provenance=false",)
"""Without this, docker would also write attestations beside the files."""


def extract_stage(  # noqa: PLR0913  # a stage of a cache, and where its files go
    request: HistoryRequest,
    history: History,
    stage: str,
    folder: Path,
    *,
    extra: tuple[str, ...] = (),
    observe: Observer | None = None,
) -> BuildResult:
    """Write the files of a stage to a new or empty folder.

    The request is the query that found the scope; its directory has the build context. The extra
    arguments are for docker, the same as for the build. Besides the errors of `run_build`, it
    raises a RecordError if the folder is not empty or the stage no longer exists here.
    """
    folder = request.directory / folder
    if folder.is_symlink():
        raise RecordError(f"`{folder}` is a link, and nothing is written through one")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecordError(f"`{folder}` is not an empty directory; refusing to overwrite it")
    record = _find_record(history)
    file = request.config_file
    setup, image = load_guarded(request.directory, os.environ, file=file), None
    if record.scope.image in setup.config.images:
        image = record.scope.image
        setup = load_guarded(request.directory, os.environ, file=file, image=image)
    context, dockerfile = _find_sources(setup.root, record)
    text = read_dockerfile(dockerfile)
    found = _find_stage(text, stage, dockerfile)
    _check_arguments(setup, extra, record)
    _check_network(setup, extra, record)
    options = _choose_options(history, record, request.platform) | {
        "context": str(context),
        "file": str(dockerfile),
        "target": found.name,
        "outputs": [render_options((("type", "local"), ("dest", str(folder))))],
    }
    with tempfile.TemporaryDirectory(prefix="bxcache-") as name:
        if not found.is_named:
            options["target"] = _NAME
            options["file"] = str(copy_dockerfile(dockerfile, text, {found: _NAME}, Path(name)))
        build = BuildRequest(
            options=options,
            extra=(*_OWN, *extra),
            image=image,
            config_file=file,
            directory=request.directory,
            donor=history.scope,
        )
        return run_build(build, observe)


def _find_record(history: History) -> Record:
    if history.record is None:
        raise RecordError("this cache has no record, so its stages have no names")
    if not history.backend:
        raise RecordError(
            "no declared backend has a cache of that build to take files from",
            hint="`--from` names a store or a registry's repository that has one",
        )
    return history.record


def _find_sources(root: Path, record: Record) -> tuple[Path, Path]:
    """Find the build context and the Dockerfile of a build in the current project, nowhere else."""
    if is_remote(record.context) or "-" in (record.context, record.file):
        raise RecordError("the build context is not on this machine")
    if "\0" in record.context or "\0" in (record.file or ""):
        raise RecordError("the record names a build context or a Dockerfile that cannot be one")
    context = root / record.context
    path = find_dockerfile(root, record.context, record.file)
    if not path.is_file():
        raise RecordError(
            f"there is no `{path}` to find the stage in",
            hint="run it in a checkout of the project that the image is built from",
        )
    real_root, *found = (Path(os.path.realpath(each)) for each in (root, context, path))
    for each in found:
        if not each.is_relative_to(real_root):
            raise RecordError(
                f"the record names `{each}`, which lies outside of the project `{root}`",
                hint="only what is in the project is read, since others may have written the "
                "record",
            )
    return context, path


def _find_stage(text: str, name: str, dockerfile: Path) -> DockerfileStage:
    known = {stage.name: stage for stage in list_stages(text)}
    if name not in known:
        listed = ", ".join(f"`{each}`" for each in known) or "none"
        raise RecordError(f"`{dockerfile}` has no stage `{name}`", hint=f"it has {listed}")
    return known[name]


def _check_arguments(setup: Setup, extra: tuple[str, ...], record: Record) -> None:
    given = render_build(setup.config.build, cache_options=(), metadata_file="", extra=extra)
    now = hash_arguments(given, os.environ, record.arguments.key or _ANY_KEY)
    different = record.arguments.list_different(now)
    if different:
        names = ", ".join(f"`{name}`" for name in different)
        raise RecordError(
            f"the stage was built with other build arguments: {names}",
            hint=f"give the same behind `--`, as in `-- --build-arg {different[0]}=…`",
        )


def _check_network(setup: Setup, extra: tuple[str, ...], record: Record) -> None:
    own = setup.config.build.network or ""
    if record.network in (*_CLOSED_NETWORKS, own) or "--network" in list_flags(extra):
        return
    raise RecordError(
        f"the stage was built with the network `{record.network}`, which the record alone asks for",
        hint="if you want that, give the same `--network` behind `--`",
    )


def _choose_options(history: History, record: Record, platform: str | None) -> dict[str, Any]:
    """The options of a build that imports a scope and saves nothing."""
    network = {"network": record.network} if record.network in _CLOSED_NETWORKS[1:] else {}
    return network | {
        "platforms": [platform] if platform else list(record.scope.platforms),
        "tags": [],
        "push": False,
        "load": False,
        # The image is not kept, so nothing describes it.
        "annotations": [],
        "attest": [],
        **dict.fromkeys(("iidfile", "metadata_file", "provenance", "sbom"), ""),
        "backends": [dict(history.backend)],
    }
