"""What a build gives back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bxcache.buildx.steps import find_layers, find_line, is_linked
from bxcache.buildx.stream.events import Outcome
from bxcache.errors import BuildFailedError, BxcacheError, StoppedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.backends.cache_result import CacheResult
    from bxcache.buildx.metadata import Layer, Metadata
    from bxcache.buildx.stream.trace import Trace
    from bxcache.insight.history import Stage
    from bxcache.insight.record import Record, Verdict
    from bxcache.insight.report import Report
    from bxcache.redaction import Redactor


@dataclass(frozen=True, slots=True)
class Step:
    """One layer-making instruction of a stage. A `FROM` is none: it names a base image.

    Attributes:
        stage: the stage's name; `stage-N` for an unnamed one.
        text: the instruction, as BuildKit shows it.
        line: its first line in the Dockerfile, where it is known.
        outcome: `reused`, `executed` or `failed`.
        seconds: how long it was worked on, the transfer of reused layers included.
        layers: the layers it made; empty where they are not known, as for a failed build.
        platform: the platform, which only a build for several names.
        error: why it failed, or an empty string.
    """

    stage: str
    text: str
    line: int | None
    outcome: Outcome
    seconds: float
    layers: tuple[Layer, ...] = ()
    platform: str | None = None
    error: str = ""


@dataclass(frozen=True)
class BuildResult:
    """The outcome of a build.

    Attributes:
        exit_status: docker's exit status; 0 is a build that succeeded.
        digest: the image's digest, or None when no image was exported.
        tags: the image's names.
        steps: every step that was reused, executed or failed, by stage.
        caches: what was imported and saved.
        warnings: what a person should look at.
        seconds: how long `docker buildx build` took.
        record: all that bxcache remembers of it.
        gates: the gates that it does not pass.
        earlier: the records of earlier builds, the last one's first, where they were asked for.
    """

    exit_status: int
    digest: str | None
    tags: tuple[str, ...]
    steps: tuple[Step, ...]
    caches: tuple[CacheResult, ...]
    warnings: tuple[str, ...]
    seconds: float
    record: Record | None = None
    gates: tuple[Verdict, ...] = ()
    earlier: tuple[Record, ...] = ()

    @cached_property
    def stages(self) -> Mapping[str, Stage]:
        """Every stage by its name, in the order of the Dockerfile, with its steps and layers."""
        from bxcache.insight.history import view_stages  # noqa: PLC0415  # few ask for it

        return {each.name: each for each in view_stages(self.record)} if self.record else {}

    @cached_property
    def report(self) -> Report | None:
        """What there is to tell of it, with the figures that people ask for."""
        from bxcache.insight.reporting import make_report  # noqa: PLC0415  # few ask for it

        return make_report((self.record, *self.earlier)) if self.record else None

    def _count(self, outcome: Outcome) -> int:
        return sum(step.outcome is outcome for step in self.steps)

    @property
    def reused(self) -> int:
        """How many steps came from a cache."""
        return self._count(Outcome.REUSED)

    @property
    def executed(self) -> int:
        """How many steps were executed."""
        return self._count(Outcome.EXECUTED)

    @property
    def failed(self) -> int:
        """How many steps failed."""
        return self._count(Outcome.FAILED)

    @property
    def hit_ratio(self) -> float | None:
        """The share of the steps that were reused, from 0 to 1; None for a build without steps."""
        return self.reused / len(self.steps) if self.steps else None


@dataclass(frozen=True, slots=True)
class ImageOutcome:
    """What became of one of several images.

    Attributes:
        image: its name.
        result: what the build gave; None where it did not come so far.
        error: why it is not as it was to be, or None.
    """

    image: str
    result: BuildResult | None = None
    error: BxcacheError | None = None

    @property
    def exit_status(self) -> int:
        """0 where all is well, docker's own for a failed build, else that of the error."""
        if isinstance(self.error, BuildFailedError):
            return self.error.exit_status
        return self.error.exit_code if self.error is not None else 0


def find_status(outcomes: Mapping[str, ImageOutcome]) -> int:
    """The exit status of all together: docker's own of the first whose build failed, or else that
    of the first that failed by itself. It is 0 only where nothing failed."""
    failed = [each for each in outcomes.values() if each.exit_status]
    return min(failed, key=_rank_failure).exit_status if failed else 0


def _rank_failure(outcome: ImageOutcome) -> int:
    if isinstance(outcome.error, BuildFailedError):
        return 0
    return 2 if isinstance(outcome.error, StoppedError) else 1


def list_steps(trace: Trace, metadata: Metadata, redact: Redactor) -> tuple[Step, ...]:
    """The steps, those of one stage together, in the order of the Dockerfile as far as known.

    Those of another build, whose result is a named context of this one, are that one's.
    """
    own = (step for step in trace.steps if not is_linked(step, metadata))
    found = [(step, find_line(step, metadata)) for step in own]
    first: dict[str, float] = {}
    for step, line in found:
        stage = step.name.stage
        first[stage] = min(line or float("inf"), first.get(stage, float("inf")))
    found.sort(
        key=lambda each: (
            first[each[0].name.stage],
            each[0].name.stage,
            each[0].name.platform or "",
            each[0].name.index,
        )
    )
    return tuple(
        Step(
            stage=step.name.stage,
            text=redact(step.name.text),
            line=line,
            outcome=step.outcome,
            seconds=round(step.seconds, 3),
            layers=find_layers(step, metadata),
            platform=step.name.platform,
            error=redact(step.error),
        )
        for step, line in found
    )
