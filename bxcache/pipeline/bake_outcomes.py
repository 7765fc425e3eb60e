"""What becomes of each target of a bake."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bxcache.backends.local_nodes import avoid_meeting
from bxcache.buildx.run import RunResult
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import EXPORTS
from bxcache.errors import (
    BuildFailedError,
    BxcacheError,
    OutputError,
    ResultError,
    StoppedError,
)
from bxcache.pipeline.batch import ImageOutcome
from bxcache.pipeline.conclusion import Ended, conclude
from bxcache.pipeline.rescue import AGAIN, find_reason

if TYPE_CHECKING:
    from bxcache.backends.local import LocalState
    from bxcache.buildx.bake.stream import BakeReader
    from bxcache.buildx.metadata import Metadata
    from bxcache.buildx.run import Runner
    from bxcache.buildx.stream.trace import Trace
    from bxcache.pipeline.bake_targets import Baking
    from bxcache.store.staging import Staging

_CANCELED = "context canceled"


@dataclass(frozen=True, slots=True)
class OpenTarget:
    """A target with its part of the store.

    Attributes:
        baking: the target with its caches.
        runner: what its runs of docker have in common.
        staging: where it exports to, for the store.
        state: the store as it found it.
    """

    baking: Baking
    runner: Runner
    staging: Staging | None
    state: LocalState | None

    def avoid_meeting(self, ran: RunResult) -> OpenTarget:
        """The same as it is to be baked again where the nodes of the builder met; else itself."""
        plan = self.baking.plan
        uses = avoid_meeting(self.runner, plan.uses, ran, self.staging)
        if uses is None:
            return self
        return replace(self, baking=replace(self.baking, plan=replace(plan, uses=uses)))

    def without_imports(self) -> OpenTarget:
        """The same, to be built from nothing."""
        if self.staging is not None:
            self.staging.empty()
        plan = self.baking.plan.without_imports()
        return replace(self, baking=replace(self.baking, plan=plan))


def add_trouble(outcomes: dict[str, ImageOutcome], trouble: str) -> dict[str, ImageOutcome]:
    """The same with an error for the file of all of them, where that could not be written."""
    done = next((name for name, each in outcomes.items() if each.error is None), None)
    if not trouble or done is None:
        return outcomes
    error = OutputError(f"the bake is done, but {trouble}", result=outcomes[done].result)
    return {**outcomes, done: replace(outcomes[done], error=error)}


def hear_target(
    baking: Baking, reader: BakeReader, told: Metadata, status: int, seconds: float
) -> RunResult:
    """What became of a target: one that came to its end has not failed with the others."""
    trace = reader.finish(baking.target.name, told.operations)
    failed = any(step.outcome is Outcome.FAILED for step in trace.steps)
    ended_well = not failed and _has_ended(baking, reader, trace)
    return RunResult(0 if ended_well else status, trace, told, seconds)


def _has_ended(baking: Baking, reader: BakeReader, trace: Trace) -> bool:
    """Whether a target came to its end: buildx says so, or its cache was exported, as the last."""
    settings, builder = baking.prepared.setup.config.build, baking.prepared.capabilities.builder
    # Of several nodes each comes to an end of its own, and not all of them may work for a target.
    if len(builder.nodes) <= 1 or len(settings.platforms) <= 1:
        ended = reader.find_end(baking.target.name)
        if ended is not None:
            return ended
    return bool(baking.plan.exports) and any(
        transfer.digest and not transfer.error
        for kind in EXPORTS.values()
        for transfer in trace.find_transfers(kind)
    )


def explain_repetition(each: OpenTarget, ran: RunResult) -> str:
    """Why a target deserves another run without its cache, or an empty string."""
    reason = find_reason(each.baking.plan, ran, each.baking.prepared.store, each.staging)
    return f"{AGAIN}: {reason}" if reason else ""


def conclude_target(each: OpenTarget, ended: Ended, *, stopped: bool) -> ImageOutcome:
    """Save a target and tell what became of it.

    Args:
        each: the target.
        ended: its build.
        stopped: another target has failed, so this one was stopped unless it failed by itself.
    """
    name = each.baking.target.name
    try:
        return ImageOutcome(name, conclude(each.baking.prepared, each.runner, ended))
    except ResultError as error:
        result: Any = error.result
        if isinstance(error, BuildFailedError) and not has_failed(ended.ran):
            return ImageOutcome(name, result, _explain_end(each, error, stopped=stopped))
        return ImageOutcome(name, result, error)
    except BxcacheError as error:
        return ImageOutcome(name, None, error)


def _explain_end(each: OpenTarget, error: BuildFailedError, *, stopped: bool) -> BxcacheError:
    """Why a target did not come to its end that is not known to have failed by itself."""
    if stopped:
        return StoppedError("it was stopped, since another target failed")
    if each.baking.target.call:
        why = f"{error.message}; what its `call` found is on docker's stdout"
        return BuildFailedError(why, exit_status=error.exit_status, result=error.result)
    return error


def has_failed(ran: RunResult) -> bool:
    """Whether a target is known to have failed by itself, and was not only stopped."""
    if not ran.exit_status:
        return False
    failed = [step for step in ran.trace.steps if step.outcome is Outcome.FAILED]
    own = any(not step.error.endswith(_CANCELED) for step in failed)
    return own or (not failed and ran.trace.says_why)
