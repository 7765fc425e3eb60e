"""A prepared build: run it, settle its caches, report."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from bxcache.buildx.capabilities import check_buildx
from bxcache.buildx.command import VARIABLES
from bxcache.buildx.events import Noted, Streamed, Warned, redact_event
from bxcache.buildx.metadata import Metadata, parse_metadata
from bxcache.buildx.raw_stream import join_documents, redact_line
from bxcache.buildx.trace import TraceReader
from bxcache.errors import BuildFailedError, CacheError
from bxcache.preparation import open_store, plan_build, render_arguments
from bxcache.redaction import Redactor, find_secrets
from bxcache.result import BuildResult
from bxcache.settlement import Heard, Settled, list_steps, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bxcache.buildx.events import Event, Observer
    from bxcache.plan import LocalState
    from bxcache.preparation import Prepared


def execute(prepared: Prepared, observe: Observer | None) -> BuildResult:
    """Run the build and settle its caches; what it raises is told at `run_build`."""
    with ExitStack() as stack:
        staging, state = open_store(prepared, stack)
        folder = prepared.choose_folder(state)
        if staging is None:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
        plan = plan_build(prepared, state)
        arguments = render_arguments(prepared, plan, folder)
        redact = Redactor(find_secrets((*arguments, *prepared.docker.command), os.environ))
        tell = _redacting(observe, redact)
        for note in (*prepared.notes, *plan.notes):
            tell(Noted(note))
        heard = _run(prepared, folder, arguments, tell, redact)
        if heard.exit_status and _refused_stream(heard):
            check_buildx(prepared.docker.ask_buildx_version())
        settled = settle(plan, heard, prepared.store, staging)
    warnings = tuple(map(redact, (*_list_troubles(state), *settled.warnings)))
    for warning in warnings:
        tell(Warned(warning))
    return _report(prepared, heard, replace(settled, warnings=warnings), redact)


def _run(
    prepared: Prepared,
    folder: Path,
    arguments: tuple[str, ...],
    tell: Callable[[Event], None],
    redact: Redactor,
) -> Heard:
    reader = TraceReader()
    begun = time.monotonic()
    with prepared.docker.build(
        arguments,
        variables=VARIABLES,
        directory=prepared.request.directory,
        stdout=prepared.request.stdout,
    ) as process:
        for line in join_documents(process.read_lines()):
            if prepared.request.raw:
                tell(Streamed(redact_line(line, redact)))
            for event in reader.feed(line):
                tell(event)
        status = process.wait()
    file = prepared.choose_metadata_file(folder)
    metadata = _read_metadata(file) if status == 0 else Metadata()
    return Heard(status, reader.finish(), metadata, time.monotonic() - begun)


def _refused_stream(heard: Heard) -> bool:
    """Whether buildx does not know the stream it was asked for, and so built nothing."""
    return any("progress" in line or "rawjson" in line for line in heard.trace.said[:3])


def _read_metadata(file: Path) -> Metadata:
    try:
        return parse_metadata(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return Metadata()


def _list_troubles(state: LocalState | None) -> Iterator[str]:
    if state is not None and state.trouble:
        yield f"the local cache `{state.store}` was not used: {state.trouble}"
    if state is not None and state.damage:
        yield f"the scope `{state.donor}` was not imported, since it is damaged: {state.damage}"


def _report(prepared: Prepared, heard: Heard, settled: Settled, redact: Redactor) -> BuildResult:
    result = BuildResult(
        exit_status=heard.exit_status,
        digest=heard.metadata.image_digest,
        tags=prepared.setup.config.build.tags,
        steps=list_steps(heard.trace, heard.metadata, redact),
        caches=tuple(replace(each, place=redact(each.place)) for each in settled.caches),
        warnings=settled.warnings,
        seconds=round(heard.seconds, 3),
    )
    if heard.exit_status:
        said = [line for line in heard.trace.said if line.startswith("ERROR: ")]
        why = redact(said[-1].removeprefix("ERROR: ")) if said else "docker did not say why"
        raise BuildFailedError(why, exit_status=heard.exit_status, result=result)
    if prepared.setup.config.cache.strict and settled.warnings:
        raise CacheError("; ".join(settled.warnings), result=result)
    return result


def _redacting(observe: Observer | None, redact: Redactor) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        if observe is not None:
            observe(redact_event(event, redact))

    return tell
