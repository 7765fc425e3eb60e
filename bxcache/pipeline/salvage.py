"""After a failed build: save the steps that finished, so that the next build starts from them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bxcache.backends.base import REFUSED, Built, Salvage, SavedScope
from bxcache.buildx.bake.definition import LINK
from bxcache.buildx.command import explain_once
from bxcache.buildx.dockerfile import write_dockerfile
from bxcache.buildx.extra_flags import list_flags
from bxcache.buildx.salvage import cut_dockerfile
from bxcache.buildx.stream.events import Noted, Outcome, Phase
from bxcache.config.paths import find_dockerfile, read_dockerfile
from bxcache.config.quantities import format_count
from bxcache.errors import EXIT_INTERRUPTED, BxcacheError, StoppedError
from bxcache.pipeline.save import Caches, merge_results

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bxcache.backends.base import Backend, Save
    from bxcache.buildx.run import RunResult
    from bxcache.buildx.salvage import Cut
    from bxcache.pipeline.target import Target

_FOLDER = "finished"
_NO_IMAGE = "an inline cache is part of the image, and the build made no image"


def salvage_build(target: Target, ran: RunResult, caches: Caches) -> Caches:
    """Save what has finished of a failed build to each cache that can have it.

    The caches keep what they have. The build still fails for its own reason: whatever goes wrong
    here is a note.
    """
    cache = target.prepared.setup.config.cache
    executed = any(step.outcome is Outcome.EXECUTED for step in ran.trace.steps)
    wanted = cache.salvage != "never" and executed
    if not (wanted and target.plan.saves) or target.call:
        return caches
    saves = [each for each in target.plan.saves if each.use.backend.salvages]
    text = read_text(target)
    why = _explain_impossible(target, text) if saves else _NO_IMAGE
    cut = None if why else cut_dockerfile(text, ran.trace)
    if cut is None:
        return replace(caches, why_unsalvaged=why)
    try:
        file = _write(target, cut)
    except OSError as error:
        return replace(caches, why_unsalvaged=f"a file could not be written: {error.strerror}")
    salvage = Salvage(file, cut.stage, cache.salvage_timeout)
    saved = dict(_save_all(target, ran, saves, salvage))
    done = {
        backend: replace(each, result=replace(each.result, salvaged=len(cut.steps)))
        for backend, each in saved.items()
        if each.result.exported
    }
    results = [each.result for each in done.values()]
    troubles = [trouble for each in saved.values() for trouble in (*each.warnings, each.why)]
    for trouble in filter(None, troubles):
        target.runner.report(Noted(f"its finished steps are not saved: {trouble}"))
    return replace(caches, results=merge_results([*caches.results, *results]), saved=done)


def salvage_stopped(target: Target) -> None:
    """Save what has finished of a build that is being stopped, and report it."""
    # What stopped the build must not stop this; another signal does.
    lasting = replace(target, runner=replace(target.runner, stop=None))
    ran = target.seen.make_result(EXIT_INTERRUPTED)
    caches = salvage_build(lasting, ran, Caches())
    for cache in caches.results:
        steps = format_count(cache.salvaged, "finished step")
        target.runner.report(Noted(f"{steps} saved to {cache.where}"))


def _explain_impossible(target: Target, text: str) -> str:
    """Why what has finished cannot be built again; empty if it can."""
    if target.prepared.refuses_borrowed:
        return REFUSED
    settings, runner = target.runner.settings, target.runner
    if runner.stdin is not None:
        # The Dockerfile is known, and written to a file.
        settings = settings.model_copy(update={"file": None})
    reason = explain_once(settings, runner.extra)
    return reason or ("" if text else "its Dockerfile is not known here")


def _write(target: Target, cut: Cut) -> Path:
    runner, settings = target.runner, target.runner.settings
    folder = runner.folder / _FOLDER
    folder.mkdir(mode=0o700)
    original = find_dockerfile(runner.directory, settings.context, settings.file)
    return write_dockerfile(cut.text, folder, original if runner.stdin is None else None)


def _save_all(
    target: Target, ran: RunResult, saves: Sequence[Save], salvage: Salvage
) -> Iterator[tuple[Backend, SavedScope]]:
    """Save to each cache in turn, as long as there is time."""
    until = time.monotonic() + salvage.seconds
    for save in sorted(saves, key=lambda each: each.use.backend.is_remote):
        begun = time.monotonic()
        left = replace(salvage, seconds=max(0.0, until - begun))
        built = Built(target.runner, target.plan.imports, ran, salvage=left)
        with target.measure(Phase.COMMIT, save.use.place):
            try:
                saved = save.use.backend.save(save, built)
            except StoppedError:
                raise
            except BxcacheError as error:
                saved = SavedScope(save.use.result, warnings=(error.message,))
        took = round(time.monotonic() - begun, 3)
        yield save.use.backend, replace(saved, result=replace(saved.result, seconds=took))


def read_text(target: Target) -> str:
    """Read the Dockerfile of a target; empty if it is unknown, or if steps may be in another."""
    settings, runner = target.runner.settings, target.runner
    linked = any(each.startswith(LINK) for each in settings.build_contexts.values())
    if linked:
        return ""
    if runner.stdin is not None:
        return runner.stdin.decode(errors="replace")
    if not {"--file", "-f"}.isdisjoint(list_flags(runner.extra)):
        return ""
    return read_dockerfile(runner.directory, settings.context, settings.file)
