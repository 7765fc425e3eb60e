"""The explanation of a build: the outcome of each step, and why it was executed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from msgspec import Struct

from bxcache.config.json_documents import make_document, pick
from bxcache.insight.causes import Cause
from bxcache.insight.find import find_builds
from bxcache.insight.history_request import HistoryOptions, HistoryRequest
from bxcache.insight.misses.documents import (
    write_advice,
    write_basis,
    write_changes,
    write_step,
)
from bxcache.insight.misses.explain import Donor, describe_basis, explain_misses
from bxcache.insight.record_misses import (
    RecordedBasis,
    RecordedChange,
    RecordedMiss,
    RecordedPrediction,
)

if TYPE_CHECKING:
    from bxcache.insight.record import Record
    from bxcache.insight.record_parts import RecordedStep


class ExplainedStep(Struct, frozen=True):
    """A step of a build.

    Attributes:
        step: the step as recorded.
        changes: why it was executed, if it has a reason of its own.
        more: how many other files changed.
        because: the step whose execution made this one necessary; None if it has its own reason, or
            was reused.
    """

    step: RecordedStep
    changes: tuple[RecordedChange, ...] = ()
    more: int = 0
    because: RecordedStep | None = None


class Explanation(Struct, frozen=True):
    """The explanation of a build.

    Attributes:
        record: the build.
        basis: the earlier build with which it is compared; None if none is known.
        misses: why steps were executed, each first cause once.
    """

    record: Record
    basis: RecordedBasis | None
    misses: tuple[RecordedMiss, ...]

    @property
    def steps(self) -> tuple[ExplainedStep, ...]:
        """Every step but the base images, each with why it was executed."""
        steps = self.record.steps
        own = {miss.step: miss for miss in self.misses if miss.step is not None}
        roots = {at: miss.step for miss in self.misses for at in miss.later}
        found = []
        for at, step in enumerate(steps):
            if step.kind == "instruction":
                miss, root = own.get(at), roots.get(at)
                found.append(
                    ExplainedStep(
                        step,
                        changes=miss.changes if miss is not None else (),
                        more=miss.more if miss is not None else 0,
                        because=steps[root] if root is not None else None,
                    )
                )
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bxcache explain --json` prints."""
        return make_document(
            {
                "scope": self.record.scope.name,
                **pick(self.record, "started", "seconds", "exit_status"),
                "basis": write_basis(self.basis),
                "misses": [describe_miss(miss, self.record) for miss in self.misses],
                "advice": write_advice(self.record.advice),
                "steps": [_describe_step(each) for each in self.steps],
            }
        )


class Predictions(Struct, frozen=True):
    """How well the last builds of a scope could be predicted.

    Attributes:
        scope: the scope.
        builds: when each build that was predicted began, and the prediction, the last one first.
    """

    scope: str
    builds: tuple[tuple[float, RecordedPrediction], ...]

    @property
    def ratio(self) -> float | None:
        """The share of right ones among the predictions that were made; None without any."""
        right = sum(each.right for _, each in self.builds)
        wrong = sum(each.wrong for _, each in self.builds)
        return right / (right + wrong) if right + wrong else None

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bxcache explain --predictions --json` prints."""
        return make_document(
            {
                "scope": self.scope,
                "ratio": self.ratio,
                "builds": [
                    {"started": started, **pick(each, "right", "wrong", "unknown")}
                    for started, each in self.builds
                ],
            }
        )


def find_predictions(name: str | None = None, **options: Unpack[HistoryOptions]) -> Predictions:
    """Return how well the last builds of a scope could be predicted; raise as `find_history`."""
    records = find_builds(HistoryRequest.of(name, **options), "explain")
    scope = records[0].scope.name
    known = ((r.started, r.prediction) for r in records if r.scope.name == scope)
    return Predictions(scope, tuple((at, each) for at, each in known if each is not None))


def find_explanation(
    name: str | None = None, against: str | None = None, **options: Unpack[HistoryOptions]
) -> Explanation:
    """Explain a build, compared with the one whose cache it had or with a named one.

    Raises:
        RecordError: one of them is not known, or has no record; also what `find_history` raises.
    """
    record = find_builds(HistoryRequest.of(name, **options), "explain")[0]
    if against is None:
        return Explanation(record, record.basis, record.misses)
    other = find_builds(HistoryRequest.of(against, **options), "explain")[0]
    nothing = RecordedChange(cause=Cause.UNKNOWN)
    return Explanation(record, describe_basis(other), explain_misses(record, Donor(other, nothing)))


def describe_miss(miss: RecordedMiss, record: Record) -> dict[str, Any]:
    """Return a miss as it is in JSON documents."""
    step = record.steps[miss.step] if miss.step is not None else None
    return {
        **write_step(step),
        "changes": write_changes(miss.changes),
        **pick(miss, "more", "seconds"),
        "later": len(miss.later),
    }


def _describe_step(explained: ExplainedStep) -> dict[str, Any]:
    because = explained.because
    return {
        **write_step(explained.step),
        **pick(explained.step, "outcome", "seconds", "from_builder"),
        "changes": write_changes(explained.changes),
        "more": explained.more,
        "because": write_step(because) if because is not None else None,
    }
