"""Which steps a build would reuse, and which it would execute and why, from records alone."""

from __future__ import annotations

import posixpath
from collections import Counter
from functools import reduce
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from bxcache.buildx.dockerfile import REMOTE_FILE, list_unpinned
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import has_link_flag
from bxcache.config.json_documents import make_document, pick
from bxcache.insight.causes import Cause
from bxcache.insight.misses.documents import write_basis, write_changes, write_step
from bxcache.insight.misses.pairs import list_below
from bxcache.insight.misses.steps import Comparison
from bxcache.insight.record_misses import RecordedBasis, RecordedChange, RecordedPrediction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from bxcache.insight.record import Record
    from bxcache.insight.record_parts import RecordedStep

_COPYING = ("COPY ", "ADD ")


class PredictedStep(Struct, frozen=True):
    """A step that a build would have.

    Attributes:
        step: the step with what the Dockerfile says of it, in the form of a record.
        outcome: `reused` or `executed`; None if nobody can know before.
        changes: why it would be executed, if it has a reason of its own.
        because: the position of the step whose execution makes this one necessary or uncertain.
    """

    step: RecordedStep
    outcome: Outcome | None
    changes: tuple[RecordedChange, ...] = ()
    because: int | None = None


class Prediction(Struct, frozen=True):
    """What a build would do.

    Attributes:
        steps: its steps, base images included.
        basis: the build whose cache it would import; None if none is known.
        why_unknown: why nothing can be predicted; empty if something is.
        assumptions: what is taken for granted, such as that a base image has not moved.
    """

    steps: tuple[PredictedStep, ...] = ()
    basis: RecordedBasis | None = None
    why_unknown: str = ""
    assumptions: tuple[str, ...] = ()

    @property
    def is_certain(self) -> bool:
        """Whether the outcome of every step is predicted, with nothing taken for granted."""
        known = all(each.outcome for each in self.steps if each.step.kind == "instruction")
        return bool(self.steps) and known and not self.assumptions

    @property
    def reuses_all(self) -> bool:
        """Whether it is certain that every step is reused."""
        own = (each.outcome for each in self.steps if each.step.kind == "instruction")
        return self.is_certain and set(own) == {Outcome.REUSED}

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bxcache predict --json` prints."""
        return make_document(
            {
                "basis": write_basis(self.basis),
                "why_unknown": self.why_unknown,
                "assumptions": self.assumptions,
                "steps": [
                    {
                        **write_step(each.step),
                        "outcome": each.outcome,
                        "changes": write_changes(each.changes),
                        "because": None if each.because is None else self._name(each.because),
                    }
                    for each in self.steps
                    if each.step.kind == "instruction"
                ],
            }
        )

    def _name(self, at: int) -> dict[str, Any]:
        step = self.steps[at].step
        return {**pick(step, "stage", "text"), "line": next(iter(step.lines), None)}


def predict_steps(
    expected: Record, before: Record, present: AbstractSet[str] | None
) -> tuple[PredictedStep, ...]:
    """Predict the outcome of each step of an expected build.

    Args:
        expected: the build, whose steps are in an order in which each follows those it needs.
        before: the build whose cache it would import.
        present: the layers in that cache; None if unknown.
    """
    predictor = _Predictor(expected, before, present)
    for at in range(len(expected.steps)):
        predictor.judge(at)
    predictor.judge_absent()
    return tuple(predictor.found)


def predict_from(
    known: Sequence[Record], expect: Callable[[Record], Record], present: AbstractSet[str] | None
) -> tuple[PredictedStep, ...]:
    """Predict the steps of a build from what made the cache that it would import.

    What a failed build finished is reused, and what it did not reach is as far as the build before
    it had that. What it has in another version may be gone from the cache, so nobody can know.

    Args:
        known: the last successful build, and a later one that failed, if there are both.
        expect: writes the expected build in terms of one of them, as `expect_build`.
        present: the layers in that cache; None if unknown.
    """
    return reduce(_join, [predict_steps(expect(each), each, present) for each in known])


def _join(
    steps: tuple[PredictedStep, ...], later: tuple[PredictedStep, ...]
) -> tuple[PredictedStep, ...]:
    if len(steps) != len(later):
        return steps
    pairs = [*zip(steps, later, strict=True)]
    if any(own.step.lines != other.step.lines for own, other in pairs):
        return tuple(own for own, _ in pairs)
    return tuple(_choose(own, other) for own, other in pairs)


def _choose(own: PredictedStep, other: PredictedStep) -> PredictedStep:
    is_unfinished = any(each.cause is Cause.UNFINISHED for each in other.changes)
    if is_unfinished and own.outcome is not Outcome.EXECUTED:
        return own
    if own.outcome is Outcome.REUSED and other.outcome is Outcome.EXECUTED:
        return replace(other, outcome=None)
    return other


def list_assumptions(
    dockerfile: str, target: str | None, contexts: Iterable[str] = ()
) -> Iterator[str]:
    """List what a prediction takes for granted: images that are not pinned can move.

    The arguments are those of `list_unpinned`.
    """
    for kind, name in list_unpinned(dockerfile, target, contexts):
        yield f"the {kind} `{name}` has not {'changed' if kind == REMOTE_FILE else 'moved'}"


def judge_prediction(steps: Iterable[PredictedStep], record: Record) -> RecordedPrediction:
    """Compare a prediction with what the build did."""
    outcomes = {
        (step.stage, step.platforms, line): step.outcome
        for step in record.steps
        for line in step.lines
        if step.kind == "instruction"
    }
    counts = Counter[bool | None]()
    for each in steps:
        seen = [outcomes.get((each.step.stage, each.step.platforms, n)) for n in each.step.lines]
        if each.step.kind == "instruction" and seen and seen[0] is not None:
            counts[None if each.outcome is None else each.outcome is seen[0]] += 1
    return RecordedPrediction(right=counts[True], wrong=counts[False], unknown=counts[None])


class _Predictor:
    def __init__(self, expected: Record, before: Record, present: AbstractSet[str] | None) -> None:
        self.found: list[PredictedStep] = []
        self._steps, self._expected, self._before = expected.steps, expected, before
        self._comparison = Comparison.of(expected, before)
        self._present = present

    def judge(self, at: int) -> None:
        """Predict a step by its own inputs and the outcomes of those that it needs."""
        step = self._steps[at]
        if step.kind == "from":
            self.found.append(PredictedStep(step, None))
            return
        changes = tuple(self._list_changes(at))
        if changes:
            outcome = None if _may_be_same(changes) else Outcome.EXECUTED
            self.found.append(PredictedStep(step, outcome, changes))
            return
        self.found.append(self._follow(at))

    def _follow(self, at: int) -> PredictedStep:
        """Predict a step whose own inputs are the same."""
        step = self._steps[at]
        needs = step.inputs.needs if step.inputs is not None else ()
        below = [] if has_link_flag(step.text) else [*list_below(self._steps, at)]
        executed = (each for each in below if self._find_outcome(each) is Outcome.EXECUTED)
        first = next(executed, None)
        if first is not None:
            return PredictedStep(step, Outcome.EXECUTED, because=first)
        for each in (*needs, *below, step.parent):
            if self._find_outcome(each) is not Outcome.REUSED:
                # What is copied from a step that is executed may turn out to be the same.
                return PredictedStep(step, None, because=each)
        return PredictedStep(step, Outcome.REUSED)

    def _find_outcome(self, at: int | None) -> Outcome | None:
        if at is None or self._steps[at].kind == "from":
            return Outcome.REUSED
        return self.found[at].outcome

    def _list_changes(self, at: int) -> Iterable[RecordedChange]:
        step = self._steps[at]
        if step.stage in self._expected.uncached or "*" in self._expected.uncached:
            return (RecordedChange(cause=Cause.NO_CACHE, name=step.stage),)
        return self._comparison.list_changes(at)

    def judge_absent(self) -> None:
        """Predict the execution of steps whose layers are not in the cache, but are needed."""
        if self._present is None:
            return
        for at in reversed(range(len(self.found))):
            predicted = self.found[at]
            if predicted.outcome is not Outcome.REUSED or at not in self._comparison.pairs:
                continue
            twin = self._before.steps[self._comparison.pairs[at]]
            layers = {layer.digest for form in twin.forms for layer in form}
            if layers and layers.isdisjoint(self._present):
                outcome = self._find_need(at)
                if outcome is not Outcome.REUSED:
                    change = RecordedChange(cause=Cause.EVICTED)
                    self.found[at] = PredictedStep(predicted.step, outcome, (change,))

    def _find_need(self, at: int) -> Outcome | None:
        """Find whether a step is needed: `executed` if it is, None if that is unknown."""
        users = [
            each
            for each in self.found[at + 1 :]
            if each.step.parent == at
            or (each.step.inputs is not None and at in each.step.inputs.needs)
        ]
        outcomes = {each.outcome for each in users}
        if Outcome.EXECUTED in outcomes or not users:
            return Outcome.EXECUTED
        return None if None in outcomes else Outcome.REUSED


def _may_be_same(changes: Iterable[RecordedChange]) -> bool:
    """Whether a change of the text may leave BuildKit's operation as it was."""
    return all(
        each.cause is Cause.TEXT
        and each.before.startswith(_COPYING)
        and _normalize(each.before) == _normalize(each.after)
        for each in changes
    )


def _normalize(text: str) -> list[str]:
    return [posixpath.normpath(f"/{word}") for word in text.split()]
