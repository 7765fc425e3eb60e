"""Why steps were executed, judged from two records alone, and how that is said."""

from __future__ import annotations

from typing import Any

import pytest

from bxcache.buildx.stream.events import Outcome
from bxcache.console.annotations import annotate_misses, render_annotations
from bxcache.console.comparison import render_difference
from bxcache.console.report.misses import (
    compare_words,
    describe_basis,
    describe_changes,
    list_advice,
    list_misses,
)
from bxcache.insight.causes import Cause
from bxcache.insight.difference import Difference
from bxcache.insight.misses.advice import list_advice as find_advice
from bxcache.insight.misses.explain import Donor, explain_misses
from bxcache.insight.misses.explain import describe_basis as make_basis
from bxcache.insight.record import Record
from bxcache.insight.record_inputs import (
    RecordedFiles,
    RecordedInputs,
    RecordedInstruction,
    RecordedRead,
)
from bxcache.insight.record_misses import (
    RecordedAdvice,
    RecordedBasis,
    RecordedChange,
    RecordedMiss,
)
from bxcache.insight.record_parts import (
    RecordedArguments,
    RecordedCache,
    RecordedPlace,
    RecordedScope,
    RecordedStep,
)
from bxcache.pipeline.result import BuildResult
from tests.support.histories import (
    SCOPE,
    STARTED,
    make_history,
    make_record,
    make_step,
    name_digest,
)

KEY = "00"
REUSED = Outcome.REUSED
NOTHING = RecordedChange(cause=Cause.NO_DONOR)


def describe(**more: Any) -> RecordedInputs:  # noqa: ANN401  # the inputs of a step
    """Return the inputs of a step that BuildKit has described."""
    return RecordedInputs(**{"definition": "d", **more})


def step(text: str, *lines: int, **more: Any) -> RecordedStep:  # noqa: ANN401  # a step's fields
    """Return an executed step of one stage."""
    known = {"stage": "build", "seconds": 2.0, "inputs": describe(), **more}
    if text.startswith("FROM"):
        known = {**known, "inputs": None, "seconds": 0.0}
    return make_step(text, *lines, **known)


def build(*steps: RecordedStep, **more: Any) -> Record:  # noqa: ANN401  # a record's fields
    """Return a record whose hashes can be compared with those of others."""
    return make_record(*steps, **{"arguments": RecordedArguments(key=KEY), **more})


def explain(now: Record, before: Record, **more: Any) -> list[tuple[int | None, list[str], int]]:  # noqa: ANN401  # a donor's fields
    """Return each step with reasons of its own, these, and how many steps follow from it."""
    return [
        (miss.step, [f"{each.cause} {each.name}".strip() for each in miss.changes], len(miss.later))
        for miss in explain_misses(now, Donor(before, NOTHING, **more))
    ]


BASE = step("FROM a@sha256:1", 1)
FIRST = step("COPY a .", 2, parent=0)
SECOND = step("RUN b", 3, parent=1)
THIRD = step("RUN c", 4, parent=2)
BEFORE = build(BASE, FIRST, SECOND, THIRD)


def read(value: str) -> RecordedInputs:
    """Return the inputs of a step that reads a file with this hash."""
    return describe(reads=[RecordedRead(path="/a", follows=True, hash=value)])


def contain(**states: str) -> dict[str, RecordedFiles]:
    """Return a context with files in these states."""
    return {"context": RecordedFiles(states=states)}


def test_a_chain_has_one_first_cause() -> None:
    now = build(BASE, step("COPY b .", 2, parent=0), SECOND, THIRD)
    assert explain(now, BEFORE) == [(1, ["text"], 2)]
    (miss,) = explain_misses(now, Donor(BEFORE, NOTHING))
    assert miss.seconds == 6.0


def test_a_second_cause_below_the_first_is_named_too() -> None:
    now = build(BASE, step("COPY b .", 2, parent=0), SECOND, step("RUN d", 4, parent=2))
    assert explain(now, BEFORE) == [(1, ["text"], 1), (3, ["text"], 0)]


def test_the_same_cause_is_named_once_in_a_chain() -> None:
    """A variable that many steps have changed once."""
    new, old = (describe(environment={"A": value}) for value in ("2", "1"))
    now = build(BASE, *(step(f"RUN {n}", n, parent=n - 2, inputs=new) for n in (2, 3)))
    before = build(BASE, *(step(f"RUN {n}", n, parent=n - 2, inputs=old) for n in (2, 3)))
    assert explain(now, before) == [(1, ["environment A"], 1)]


def test_a_copy_from_a_rebuilt_stage_follows_from_it() -> None:
    copied = step("COPY --from=build /x /", 6, stage="last", inputs=describe(needs=(1,)))
    now = build(BASE, step("COPY b .", 2, parent=0), copied)
    assert explain(now, build(BASE, FIRST, copied)) == [(1, ["text"], 1)]


def test_what_follows_a_linked_copy_needs_what_is_below_it() -> None:
    """A `COPY --link` is reused on top of one that is executed; a step after both is not."""
    linked = step("COPY --link b .", 3, parent=1, outcome=REUSED)
    now = build(BASE, step("COPY --link c .", 2, parent=0), linked, THIRD)
    before = build(BASE, step("COPY --link a .", 2, parent=0), linked, THIRD)
    assert explain(now, before) == [(1, ["text"], 1)]


def test_reused_steps_have_no_cause() -> None:
    assert explain(build(BASE, step("COPY a .", 2, parent=0, outcome=REUSED)), BEFORE) == []


CASES: dict[str, tuple[RecordedStep, RecordedStep, list[str]]] = {
    "content": (
        step("COPY a .", inputs=read("2")),
        step("COPY a .", inputs=read("1")),
        ["content a"],
    ),
    "a variable": (
        step("RUN b", inputs=describe(environment={"A": "1", "B": "1"})),
        step("RUN b", inputs=describe(environment={"A": "1"})),
        ["environment B"],
    ),
    "a setting": (
        step("RUN b", inputs=describe(settings={"user": "me"})),
        step("RUN b", inputs=describe(settings={})),
        ["setting user"],
    ),
    "the platform": (
        step("RUN b", inputs=describe(settings={"platform": "linux/arm64"})),
        step("RUN b", inputs=describe(settings={"platform": "linux/amd64"})),
        ["platform platform"],
    ),
    "an image that is copied from": (
        step("COPY --from=x a .", inputs=describe(sources={"x": "sha256:2"})),
        step("COPY --from=x a .", inputs=describe(sources={"x": "sha256:1"})),
        ["base x"],
    ),
    "a remote file": (
        step("ADD https://x/a .", inputs=describe(sources={"https://x/a": "sha256:2"})),
        step("ADD https://x/a .", inputs=describe(sources={"https://x/a": "sha256:1"})),
        ["remote https://x/a"],
    ),
    "anything else": (
        step("RUN b", inputs=describe(definition="e")),
        step("RUN b"),
        ["setting definition"],
    ),
    "nothing": (step("RUN b"), step("RUN b"), ["unknown"]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_cause_is_what_differs(name: str) -> None:
    now, before, expected = CASES[name]
    files, olds = contain(a="f644 2"), contain(a="f644 1")
    found = explain(build(now, files=files), build(before, files=olds), is_imported=True)
    assert found == [(0, expected, 0)]


def test_a_base_image_that_moved_is_the_cause() -> None:
    now = build(step("FROM a@sha256:2", 1), FIRST)
    assert explain(now, build(BASE, FIRST)) == [(1, ["base"], 0)]


def test_hashes_with_another_key_are_not_compared() -> None:
    """They differ even if the values are the same."""
    now = build(step("RUN b", inputs=describe(definition="x", environment={"A": "x"})))
    before = build(step("RUN b"), arguments=RecordedArguments(key="11"))
    assert explain(now, before, is_imported=True) == [(0, ["unknown"], 0)]


def test_a_variable_in_a_text_is_not_an_edit() -> None:
    written = {"line": 2, "verb": "COPY", "hash": "same", "variables": ("DIR",)}
    more = {"instructions": (RecordedInstruction(**written),)}
    given, earlier = (RecordedArguments(key=KEY, values={"DIR": v}) for v in ("2", "1"))
    now = build(step("COPY 2 .", 2), arguments=given, **more)
    before = build(step("COPY 1 .", 2), arguments=earlier, **more)
    assert explain(now, before) == [(0, ["argument DIR"], 0)]


@pytest.mark.parametrize(
    ("unsaved", "present", "expected"),
    [
        ([name_digest("l")], None, "not-exported"),
        ([], set[str](), "evicted"),
        ([], {name_digest("l")}, "unknown"),
        ([], None, "unknown"),
    ],
)
def test_a_step_whose_inputs_are_the_same(
    unsaved: list[str], present: set[str] | None, expected: str
) -> None:
    """Its layer was never saved, or is gone; otherwise nobody knows."""
    cache = RecordedCache(backend="local", place="/s", scope=SCOPE, unsaved=unsaved)
    before = build(step("RUN b", layers="l"), caches=(cache,))
    found = explain(build(step("RUN b")), before, is_imported=True, find_layers=lambda: present)
    assert found == [(0, [expected], 0)]


@pytest.mark.parametrize(("uncached", "step_at"), [(("*",), None), (("build",), 1)])
def test_a_build_without_a_cache_was_asked_for(
    uncached: tuple[str, ...], step_at: int | None
) -> None:
    found = explain(build(BASE, FIRST, uncached=uncached), BEFORE)
    assert found[0][0] == step_at
    assert found[0][1][0].startswith("no-cache")


@pytest.mark.parametrize(
    ("definition", "texts", "causes"),
    [
        ("another", (), ["frontend"]),
        # A failed build describes none of its steps.
        ("", (), ["frontend"]),
        ("d", (), ["no-donor"]),
        ("d", ("RUN b",), ["text"]),
    ],
)
def test_another_frontend_is_the_cause_where_the_definition_changed(
    definition: str, texts: tuple[str, ...], causes: list[str]
) -> None:
    """A frontend that moved is no cause as long as BuildKit is given the same operation."""
    (text,) = texts or ("RUN a",)
    now = step(text, 1, inputs=describe(definition=definition))
    frontends = [build(now, frontend="f@sha256:2"), build(step("RUN a", 1), frontend="f@sha256:1")]
    assert explain(*frontends) == [(0, causes, 0)]


def test_a_renamed_stage_is_recognized() -> None:
    renamed = [each.model_copy(update={"stage": "other"}) for each in (BASE, FIRST, SECOND)]
    edited = step("RUN d", 4, parent=2, stage="other")
    assert explain(build(*renamed, edited), BEFORE, is_imported=True)[-1][1] == ["text"]


def test_without_a_record_to_compare_with_the_whole_build_has_the_cause() -> None:
    reason = RecordedChange(cause=Cause.FIRST_BUILD, name=SCOPE)
    (miss,) = explain_misses(BEFORE, Donor(None, reason))
    assert (miss.step, miss.changes, miss.later) == (None, (reason,), (1, 2, 3))


def with_cause(
    cause: Cause,
    name: str = "",
    seconds: float = 10.0,
    *,
    before: str = "",
    after: str = "",
    **more: Any,  # noqa: ANN401  # a record's fields
) -> Record:
    """Return a record whose build executed a step for one cause."""
    words = {"before": before, "after": after or f"FROM {name}@sha256:1"}
    change = RecordedChange(cause=cause, name=name, **words)
    miss = RecordedMiss(step=0, changes=(change,), seconds=seconds)
    return build(FIRST, misses=(miss,), **more)


CONTENT, ARGUMENT = with_cause(Cause.CONTENT, "log"), Cause.ARGUMENT


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([CONTENT] * 4, [("log", 4, 40.0)]),
        ([CONTENT, CONTENT, BEFORE, CONTENT], [("log", 3, 30.0)]),
        ([CONTENT, CONTENT, BEFORE, BEFORE], []),
        ([BEFORE, CONTENT, CONTENT, CONTENT], []),
        ([with_cause(Cause.CONTENT, "log", 0.1)] * 4, []),
        ([with_cause(Cause.TEXT, before="RUN a 1.2", after="RUN a 1.3")] * 4, []),
        (
            [
                with_cause(Cause.TEXT, before="LABEL at=2026-01-02", after=f"LABEL at=2026-01-0{n}")
                for n in (3, 4, 5)
            ],
            [("LABEL at=…", 3, 30.0)],
        ),
        ([with_cause(Cause.ADDED, "x"), with_cause(Cause.GONE, "x")] * 2, [("x", 4, 40.0)]),
        (
            [CONTENT, CONTENT.model_copy(update={"exit_status": 1}), CONTENT, CONTENT],
            [("log", 3, 30.0)],
        ),
    ],
)
def test_a_cause_that_recurs_is_worth_advice(
    records: list[Record], expected: list[tuple[str, int, float]]
) -> None:
    """It recurs in three of the last four builds, in the last one too, and costs some time."""
    found = [(each.name, each.times, each.seconds) for each in find_advice(records)]
    assert found == expected


@pytest.mark.parametrize(("values", "alternates"), [("1212", True), ("1234", False)])
def test_a_matrix_in_one_scope_is_recognized(values: str, *, alternates: bool) -> None:
    records = [
        with_cause(ARGUMENT, "PY", arguments=RecordedArguments(key=KEY, values={"PY": value}))
        for value in values
    ]
    (advice,) = find_advice(records)
    assert advice.alternates == alternates
    (line,) = list_advice([advice])
    assert ("[images.NAME]" in line) == alternates
    assert line.startswith("the build argument `PY` changed in 4 of the last 4 builds, which ran")


SYSTEM, PIP = "RUN apt-get install gcc", "RUN pip install -r requirements.txt"


@pytest.mark.parametrize(
    ("changed", "steps", "expected"),
    [
        ("main.py", [SYSTEM], [(SYSTEM, ())]),
        ("main.py", [PIP], [(PIP, ("requirements.txt",))]),
        ("main.py", ["WORKDIR /x", PIP, SYSTEM], [(PIP, ("requirements.txt",)), (SYSTEM, ())]),
        ("main.py", ["RUN ./configure", SYSTEM], [("", ())]),
        ("main.py", [f"{SYSTEM} && make"], [("", ())]),
        ("main.py", ["RUN pip install -r unknown.txt"], [("", ())]),
        ("app/requirements.txt", [PIP], [("", ())]),
    ],
)
def test_packages_below_a_copy_that_changes_are_worth_advice(
    changed: str, steps: list[str], expected: list[tuple[str, tuple[str, ...]]]
) -> None:
    """If nothing that they read changed and nothing else is in between, they can be above it."""
    miss = RecordedMiss(
        step=1,
        changes=(RecordedChange(cause=Cause.CONTENT, name=changed),),
        later=tuple(range(2, len(steps) + 2)),
        seconds=9.0,
    )
    below = (step(text, n, parent=n - 1) for n, text in enumerate(steps, start=2))
    record = build(
        BASE,
        step("COPY . .", 2, parent=0),
        *below,
        misses=(miss,),
        files=contain(**{"requirements.txt": "f644 1"}),
    )
    assert [(each.step, each.files) for each in find_advice([record] * 3)] == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ((), "move it above that; it reads none of them"),
        (("go.mod", "go.sum"), "copy `go.mod` and `go.sum` before it, and the rest after it"),
    ],
)
def test_advice_about_a_step_says_where_it_belongs(files: tuple[str, ...], expected: str) -> None:
    how_often = {"times": 3, "builds": 4, "seconds": 12.0}
    (line,) = list_advice(
        [
            RecordedAdvice(
                cause=Cause.CONTENT, name="COPY . .", step="RUN a", files=files, **how_often
            )
        ]
    )
    assert line == (
        "`RUN a` ran again in 3 of the last 4 builds, for 12.0 s, since files of `COPY . .` "
        f"changed: {expected}"
    )


@pytest.mark.parametrize(
    "cause",
    [
        *("argument", "environment", "content", "mode", "base", "remote", "frontend", "added"),
    ],
)
def test_advice_has_words(cause: str) -> None:
    (advice,) = find_advice([with_cause(Cause(cause), "name")] * 3)
    (line,) = list_advice([advice])
    assert "`name`" in line
    assert "  " not in line


def test_the_files_of_two_builds_are_compared() -> None:
    before, after = (
        build(BASE, files=contain(a="f644 1", b="l a")),
        build(BASE, files=contain(a="f644 2")),
    )
    found = Difference.of(make_history(before), make_history(after))
    assert [(each.cause, each.name) for each in found.files] == [("content", "a"), ("gone", "b")]
    shown = render_difference(found, full=False)
    assert "files:\n  content of `a` changed\n  `b` was removed\n" in shown


def test_a_job_gets_notices_for_the_most_expensive_causes() -> None:
    misses = [
        RecordedMiss(step=1, changes=(RecordedChange(cause=Cause.NEW),), seconds=each)
        for each in (1.0, 4.0, 3.0, 2.0)
    ]
    record = build(BASE, FIRST, misses=misses, context=".")
    result = BuildResult(0, None, (), (), (), (), 1.0, record=record)
    lines = [*render_annotations(annotate_misses(result), "github")]
    assert len(lines) == 3
    assert lines[0] == (
        "::notice file=Dockerfile,line=2,title=[build] COPY a .::executed: the instruction is new"
    )
    assert [*render_annotations(annotate_misses(result), "azure")] == []


WORDS: dict[str, tuple[list[RecordedChange], str]] = {
    "one file": ([RecordedChange(cause=Cause.CONTENT, name="a")], "content of `a` changed"),
    "some files": (
        [RecordedChange(cause=Cause.CONTENT, name=name) for name in "ab"],
        "content of `a` and `b` changed",
    ),
    "many files": (
        [RecordedChange(cause=Cause.ADDED, name=name) for name in "abcde"],
        "`a`, `b`, `c` and 2 others were added",
    ),
    "a mode": (
        [RecordedChange(cause=Cause.MODE, name="a", before="644", after="755")],
        "only the mode of `a` changed from 644 to 755",
    ),
    "an ignored file": (
        [RecordedChange(cause=Cause.IGNORED, name="a", after="excluded")],
        "the ignore file now excludes `a`",
    ),
    "a text": (
        [RecordedChange(cause=Cause.TEXT, before="RUN make all", after="RUN make -j4 all")],
        "the instruction has `-j4` now",
    ),
    "a user": (
        [RecordedChange(cause=Cause.SETTING, name="user", after="me")],
        "the user is `me`, not the default",
    ),
    "a base image": (
        [RecordedChange(cause=Cause.BASE, before="FROM a@sha256:1", after="FROM b@sha256:2")],
        "the base is `b`, not `a`",
    ),
    "two causes": (
        [
            RecordedChange(cause=Cause.ARGUMENT, name="A"),
            RecordedChange(cause=Cause.GONE, name="b"),
        ],
        "the build argument `A` changed; `b` was removed",
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_causes_have_words(name: str) -> None:
    changes, expected = WORDS[name]
    assert describe_changes(changes) == expected


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_words(cause: Cause) -> None:
    change = RecordedChange(cause=cause, name="name", before="before", after="after")
    words = describe_changes([change])
    assert words
    assert words.strip("; ") == words
    assert "{" not in words


@pytest.mark.parametrize(
    ("branch", "commit", "expected"),
    [
        ("main", "3f2a" * 10, "main@3f2a3f2 (2 days ago)"),
        ("main", "", "main (2 days ago)"),
        (None, "", "the build 2 days ago"),
    ],
)
def test_an_earlier_build_has_a_name(branch: str | None, commit: str, expected: str) -> None:
    basis = RecordedBasis(scope=SCOPE, branch=branch, commit=commit, started=STARTED)
    assert describe_basis(basis, STARTED + 2 * 86_400 + 9) == expected


def test_a_miss_is_one_line() -> None:
    now = build(BASE, step("COPY b .", 2, parent=0), SECOND, THIRD)
    before = BEFORE.model_copy(
        update={
            "scope": RecordedScope(name=SCOPE, image="image", branch="main"),
            "place": RecordedPlace(commit="3f2a" * 10),
        }
    )
    misses = explain_misses(now, Donor(before, NOTHING))
    shown = now.model_copy(update={"misses": misses, "basis": make_basis(before)})
    (line,) = list_misses(shown)
    assert line.startswith(
        "stage build, line 2 `COPY b .`: the instruction has `b`, not `a` since main@3f2a3f2 ("
    )
    assert line.endswith("; 2 later steps ran because of it, 6.0 s")
    same = shown.model_copy(update={"place": before.place})
    assert "ago), the same commit; 2 later" in list_misses(same)[0]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("RUN a b c", "RUN a x c", ("b", "x")),
        ("RUN a", "RUN a b", ("", "b")),
        ("RUN a  b", "RUN a b", ("RUN a  b", "RUN a b")),
    ],
)
def test_the_words_that_differ(before: str, after: str, expected: tuple[str, str]) -> None:
    assert compare_words(before, after) == expected
