"""Predictions from records and files alone, and how they are shown."""

from __future__ import annotations

import pytest

from bxcache.buildx.stream.events import Outcome
from bxcache.console.explanation import render_predictions
from bxcache.console.prediction import render_prediction, summarize_prediction
from bxcache.insight.causes import Cause
from bxcache.insight.expectation import expect_build
from bxcache.insight.explanation import Predictions
from bxcache.insight.inputs import BuildFiles, ContextState, InputWriter
from bxcache.insight.misses.explain import describe_basis
from bxcache.insight.prediction import (
    PredictedStep,
    Prediction,
    judge_prediction,
    list_assumptions,
    predict_from,
    predict_steps,
)
from bxcache.insight.record import Record
from bxcache.insight.record_misses import RecordedChange, RecordedPrediction
from bxcache.insight.record_parts import RecordedArguments, RecordedLayer
from bxcache.redaction import Redactor
from tests.support.histories import SCOPE, STARTED, make_record, name_digest

KEY = "00"
DOCKERFILE = """\
FROM python:3.13 AS deps
COPY requirements.txt .
RUN pip install -r requirements.txt
FROM scratch AS build
ARG MODE=fast
COPY app /app
COPY --from=deps /lib /lib
RUN compile $MODE
FROM build
COPY start.sh /
"""
FILES = {"app": "d755", "app/main.py": "f644 1", "requirements.txt": "f644 2", "start.sh": "f644 3"}
NOTHING = make_record()


def expect(text: str = DOCKERFILE, before: Record = NOTHING, **changes: str) -> Record:
    """Return the record of a build of some files that has not happened."""
    states = {**FILES, **{name.replace("_", "."): state for name, state in changes.items()}}
    files = BuildFiles(text, {"context": ContextState.of(dict(sorted(states.items())))})
    arguments = RecordedArguments(key=KEY)
    return expect_build(InputWriter(KEY, files, Redactor()), arguments, None, before)


def finish(record: Record) -> Record:
    """Return the record as if the build had happened, and saved a layer for each step."""
    steps = [
        step.model_copy(update={"layers": (RecordedLayer(digest=name_digest(str(at)), size=1),)})
        for at, step in enumerate(record.steps)
    ]
    return record.model_copy(update={"steps": tuple(steps)})


BEFORE = finish(expect())
PRESENT = {layer.digest for step in BEFORE.steps for layer in step.layers}
LINES = {2: "requirements", 3: "pip", 6: "app", 7: "lib", 8: "compile", 10: "start"}


def predict(expected: Record, present: set[str] | None = None) -> dict[str, str]:
    """Return the predicted outcome of each step, by a word for it."""
    found = predict_steps(expected, BEFORE, PRESENT if present is None else present)
    return {
        LINES.get(each.step.lines[0], "new"): each.outcome or "unknown"
        for each in found
        if each.step.kind == "instruction"
    }


REUSED = dict.fromkeys(LINES.values(), "reused")
EXECUTED, UNKNOWN = "executed", "unknown"
CASES: dict[str, tuple[Record, dict[str, str]]] = {
    "nothing changed": (expect(before=BEFORE), {}),
    "the last file": (expect(before=BEFORE, start_sh="f644 9"), {"start": EXECUTED}),
    "the first file of a stage": (
        expect(before=BEFORE, **{"app/main_py": "f644 9"}),
        dict.fromkeys(("app", "lib", "compile", "start"), EXECUTED),
    ),
    "a file of a stage that another copies from": (
        expect(before=BEFORE, requirements_txt="f644 9"),
        {
            **dict.fromkeys(("requirements", "pip"), EXECUTED),
            **dict.fromkeys(("lib", "compile", "start"), UNKNOWN),
        },
    ),
    "a default of an argument": (
        expect(DOCKERFILE.replace("fast", "slow"), BEFORE),
        dict.fromkeys(("compile", "start"), EXECUTED),
    ),
    "an edited command": (
        expect(DOCKERFILE.replace("RUN compile", "RUN compile -v"), BEFORE),
        dict.fromkeys(("compile", "start"), EXECUTED),
    ),
    "another spelling of a copy": (
        expect(DOCKERFILE.replace("COPY start.sh /", "COPY ./start.sh /"), BEFORE),
        {"start": UNKNOWN},
    ),
    "a comment": (expect(f"{DOCKERFILE}# a comment\n", BEFORE), {}),
}


def test_a_prediction_follows_from_a_failed_build_too() -> None:
    """What it finished is reused; its version of a step replaces the earlier one, with the rest."""
    edited = {"app/main_py": "f644 9"}
    steps = finish(expect(before=BEFORE, **edited)).steps
    done = [each for each in steps if each.lines[0] not in (7, 8, 10)]
    failed = BEFORE.model_copy(
        update={
            "exit_status": 1,
            "steps": tuple(done),
            "files": expect(before=BEFORE, **edited).files,
        }
    )

    def join(**changes: str) -> dict[str, str]:
        found = predict_from([BEFORE, failed], lambda each: expect(before=each, **changes), PRESENT)
        return {
            LINES[each.step.lines[0]]: each.outcome or UNKNOWN
            for each in found
            if each.step.kind == "instruction"
        }

    after = dict.fromkeys(("lib", "compile", "start"), EXECUTED)
    assert join(**edited) == {**REUSED, **after}
    assert join()["app"] == UNKNOWN
    assert (join()["requirements"], join()["pip"]) == ("reused", "reused")


@pytest.mark.parametrize("name", CASES)
def test_a_prediction_follows_from_what_changed(name: str) -> None:
    expected, changes = CASES[name]
    assert predict(expected) == {**REUSED, **changes}


def test_another_base_image_executes_what_is_on_it() -> None:
    found = predict(expect(DOCKERFILE.replace("3.13", "3.14"), BEFORE))
    assert (found["requirements"], found["pip"], found["app"]) == (EXECUTED, EXECUTED, "reused")


def test_a_layer_that_is_gone_counts_if_something_needs_it() -> None:
    """A step whose layer is gone is skipped as long as all that builds on it is there."""
    numbers = {step.lines[0]: at for at, step in enumerate(BEFORE.steps)}
    without_app = PRESENT - {name_digest(str(numbers[6]))}
    assert predict(expect(before=BEFORE), without_app)["app"] == "reused"
    changed = expect(DOCKERFILE.replace("/lib /lib", "/lib /lib64"), BEFORE)
    assert predict(changed, without_app)["app"] == EXECUTED


def test_an_image_that_is_not_pinned_is_taken_for_granted() -> None:
    moved = "the base image `python:3.13` has not moved"
    assert [*list_assumptions(DOCKERFILE, None)] == [moved]
    pinned = DOCKERFILE.replace("python:3.13", f"python:3.13@{name_digest('x')}")
    assert [*list_assumptions(pinned, None)] == []
    remote = f"{pinned}ADD http://a/b /"
    assert [*list_assumptions(remote, None)] == ["the remote file `http://a/b` has not changed"]


def make_prediction(expected: Record) -> Prediction:
    """Return the prediction of an expected build."""
    steps = predict_steps(expected, BEFORE, PRESENT)
    return Prediction(steps, describe_basis(BEFORE), "", tuple(list_assumptions(DOCKERFILE, None)))


def test_a_prediction_says_which_steps_run_and_why() -> None:
    prediction = make_prediction(CASES["a file of a stage that another copies from"][0])
    lines = render_prediction(prediction, full=False).splitlines()
    assert lines[0].startswith("1 of 6 steps would be reused, 2 executed, 3 cannot be known from")
    assert lines[0].endswith("; if the base image `python:3.13` has not moved")
    assert lines[2:7] == [
        "deps",
        "  execute  COPY requirements.txt .",
        "           ^ content of `requirements.txt` changed",
        "  execute  RUN pip install -r requirements.txt",
        "           ^ it needs `COPY requirements.txt .`, which would be executed",
    ]
    assert not prediction.is_certain
    assert not prediction.reuses_all
    (first, *_) = prediction.to_dict()["steps"]
    assert (first["outcome"], first["changes"][0]["cause"]) == ("executed", "content")


def test_nothing_is_predicted_without_a_record() -> None:
    words = summarize_prediction(Prediction(why_unknown="no cache would be imported"))
    assert words == "nothing can be predicted: no cache would be imported"


def test_a_prediction_is_judged_by_what_happened() -> None:
    expected = CASES["the first file of a stage"][0]
    predicted = [*predict_steps(expected, BEFORE, PRESENT)]
    outcomes = {each.step.lines[0]: each.outcome for each in predicted}
    # What happens is as predicted, but for one step; another one could not be known.
    steps = [
        step.model_copy(
            update={"outcome": Outcome.REUSED if step.lines == (8,) else outcomes[step.lines[0]]}
        )
        for step in expected.steps
    ]
    predicted[-1] = PredictedStep(predicted[-1].step, None)
    built = expected.model_copy(update={"steps": tuple(steps)})
    judged = judge_prediction(predicted, built)
    assert judged == RecordedPrediction(right=4, wrong=1, unknown=1)


def test_the_share_of_right_predictions_is_shown() -> None:
    judged = Predictions(SCOPE, ((STARTED, RecordedPrediction(right=3, wrong=1, unknown=2)),))
    shown = render_predictions(judged)
    assert shown.splitlines()[-1] == f"steps of {SCOPE}: 75 % were right"
    assert judged.to_dict()["ratio"] == 0.75
    assert render_predictions(Predictions(SCOPE, ())) == f"no build of {SCOPE} was predicted"


def test_a_change_has_the_words_of_a_miss() -> None:
    step = PredictedStep(BEFORE.steps[1], Outcome.EXECUTED, (RecordedChange(cause=Cause.NEW),))
    assert "^ the instruction is new" in render_prediction(Prediction((step,)), full=True)
