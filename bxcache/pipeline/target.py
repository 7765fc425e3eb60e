"""One image on its way through a build: a single build, or a target of a bake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from bxcache.buildx.faults import blames_process, find_cache_fault
from bxcache.buildx.run import report_work
from bxcache.pipeline.ledger import Entry, enter_alone
from bxcache.pipeline.seen_steps import SeenSteps
from bxcache.pipeline.timeline import Timeline

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from bxcache.backends.base import Backend, CacheUse
    from bxcache.buildx.run import Runner, RunResult
    from bxcache.buildx.stream.events import Phase
    from bxcache.insight.earlier import EarlierBuilds
    from bxcache.pipeline.context_files import ContextFiles
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared


class Target(Struct, frozen=True):
    """An image that docker is about to build.

    Attributes:
        arguments: the arguments of `docker`, as far as the record needs them.
        name: its name among others; empty for a single build.
        call: the check that docker runs instead of a build; empty for a build.
        earlier: reads the records of earlier builds; None if none are read.
        files: reads the files of the build contexts; None if nothing reads them.
        timeline: what its time is spent on.
        seen: its steps, as far as they have been reported.
        entry: its entry among the builds of the same run.
        reason: why it is built without its caches; None if it is built with them.
    """

    prepared: Prepared
    plan: BuildPlan
    runner: Runner
    arguments: tuple[str, ...] = ()
    name: str = ""
    call: str = ""
    earlier: EarlierBuilds | None = None
    files: ContextFiles | None = None
    reason: str | None = None
    timeline: Timeline = field(default_factory=Timeline)
    seen: SeenSteps = field(default_factory=SeenSteps)
    entry: Entry = field(default_factory=enter_alone)

    def measure(self, phase: Phase, item: str) -> AbstractContextManager[None]:
        """Report the block as work of a phase, with its time."""
        return report_work(self.runner.report, phase, item)

    def retry_after_collision(self, ran: RunResult) -> Target:
        """A copy to run again if its own export made it fail; else the target itself."""
        for backend in self.prepared.backends:
            uses = backend.retry_after_collision(self.runner, self.plan.uses, ran)
            if uses is not None:
                saves = tuple(s for s in self.plan.saves if s.apart or s.use in uses)
                return replace(self, plan=replace(self.plan, saves=saves))
        return self

    def mend_caches(self, ran: RunResult) -> str | None:
        """Explain how a cache made the build fail, after its repair on this machine; else None."""
        if not ran.exit_status or not self.plan.imports or blames_process(ran.trace):
            return None
        used: dict[Backend, list[CacheUse]] = {}
        for use in self.plan.imports:
            used.setdefault(use.backend, []).append(use)
        fault = find_cache_fault(ran.trace, lambda text: any(each.blames(text) for each in used))
        if not fault and not ran.trace.unloaded:
            return None
        notes = [note for each, own in used.items() for note in each.mend(fault or "", own)]
        return "; ".join(filter(None, (fault, *notes))) or None

    def without_exports(self) -> Target:
        """A copy that saves nothing itself, since that took too long."""
        why = f"it took longer than {self.plan.limit or 0:.0f} s"
        reasons = (
            use.backend.explain_failure(use.place, "saving", why) for use in self.plan.exports
        )
        return replace(self, plan=self.plan.without_exports(), reason=next(reasons, None))

    def without_caches(self, reason: str | None) -> Target:
        """A copy that is built without imports."""
        for backend in self.prepared.backends:
            backend.drop_imports()
        return replace(self, plan=self.plan.without_imports(), reason=reason)
