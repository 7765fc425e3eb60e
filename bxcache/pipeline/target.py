"""One image on its way through the story: a build of its own, or a target of a bake."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bxcache.buildx.run import Runner, RunResult
    from bxcache.insight.earlier import EarlierBuilds
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared


@dataclass(frozen=True, slots=True)
class Target:
    """An image that docker is about to build.

    Attributes:
        prepared: what is known of it.
        plan: what it does about caches.
        runner: runs docker for it.
        arguments: what follows `docker`, as far as a record has it.
        name: its name among others; empty for a build of its own.
        call: what docker checks instead of building it; empty for a build.
        earlier: reads what earlier builds left; None where nothing is read.
        reason: why it is built without its caches; None where it is built with them.
    """

    prepared: Prepared
    plan: BuildPlan
    runner: Runner
    arguments: tuple[str, ...] = ()
    name: str = ""
    call: str = ""
    earlier: EarlierBuilds | None = None
    reason: str | None = None

    def retry_after_collision(self, ran: RunResult) -> Target:
        """The same to be run again where its own export made it fail; else itself."""
        for backend in self.prepared.backends:
            uses = backend.retry_after_collision(self.runner, self.plan.uses, ran)
            if uses is not None:
                saves = tuple(s for s in self.plan.saves if s.apart or s.use in uses)
                return replace(self, plan=replace(self.plan, saves=saves))
        return self

    def without_caches(self, reason: str | None) -> Target:
        """The same, built from nothing."""
        for backend in self.prepared.backends:
            backend.drop_imports()
        return replace(self, plan=self.plan.without_imports(), reason=reason)
