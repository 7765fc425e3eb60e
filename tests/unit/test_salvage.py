"""Tests of the Dockerfile of what finished, against BuildKit's stream and hand-made traces."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bxcache.buildx.dockerfile import list_stages
from bxcache.buildx.salvage import cut_dockerfile
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import StepName
from bxcache.buildx.stream.reader import TraceReader
from bxcache.buildx.stream.trace import Trace, TracedStep

STREAMS = Path(__file__).parents[1] / "streams"
E, R, F = Outcome.EXECUTED, Outcome.REUSED, Outcome.FAILED


def trace(text: str, *outcomes: tuple[str, Outcome | None], before: int = 0) -> Trace:
    """Return the trace of a build whose steps have these names, `[STAGE i] TEXT`, and outcomes.

    `before` is how many steps BuildKit counts before those of the Dockerfile.
    """
    totals = {each.name: len(each.steps) + before for each in list_stages(text)}
    names = []
    for name, outcome in outcomes:
        head, _, words = name[1:].partition("] ")
        *platforms, stage, index = head.split()
        total = totals.get(stage) or next(iter(totals.values()))
        step = StepName(next(iter(platforms), None), stage, int(index), total, words)
        names.append((step, outcome))
    steps = [TracedStep(name, (str(name),), outcome, 1.0) for name, outcome in names if outcome]
    return Trace(steps=tuple(steps), listed=tuple(name for name, _ in names))


def list_kept(text: str, found: Trace) -> list[str]:
    """Return the instructions that are left, without the last stage."""
    cut = cut_dockerfile(text, found)
    if cut is None:
        return []
    own, _, last = cut.text.partition(f"FROM scratch AS {cut.stage}")
    assert last
    return [line for line in own.splitlines() if line.strip()]


def test_the_recorded_failure_keeps_what_had_finished() -> None:
    """The stage that failed ends before the failed step, and the stages below are whole.

    In the recorded build, all finished steps were reused, so that there is nothing to save.
    """
    reader = TraceReader()
    for line in (STREAMS / "failing-step.ndjson").read_text().splitlines():
        list(reader.feed(line))
    text, found = (STREAMS / "Dockerfile").read_text(), reader.finish()
    assert cut_dockerfile(text, found) is None
    steps = (replace(s, outcome=E) if s.outcome is R else s for s in found.steps)
    cut = cut_dockerfile(text, replace(found, steps=tuple(steps)))
    assert cut is not None
    lines = text.splitlines()
    failed = next(n for n, line in enumerate(lines) if line.startswith("RUN test"))
    last = next(n for n, line in enumerate(lines) if line.startswith("RUN cp /out/app"))
    gone = {failed, last - 2, last - 1, last}
    assert cut.text.splitlines()[: last + 1] == [
        "" if n in gone else line for n, line in enumerate(lines)
    ]
    assert {step.label for step in cut.steps} == {
        *("[base 1/2]", "[base 2/2]", "[deps 1/2]", "[deps 2/2]"),
        *("[build 1/3]", "[build 2/3]", "[build 3/3]", "[test 1/2]"),
    }


CASES: dict[str, tuple[str, list[tuple[str, Outcome | None]], list[str]]] = {
    "a step that failed": (
        "FROM scratch\nCOPY a /\nRUN b\nRUN c",
        [("[stage-0 1] COPY a /", E), ("[stage-0 2] RUN b", F), ("[stage-0 3] RUN c", None)],
        ["FROM scratch", "COPY a /"],
    ),
    "nothing finished": ("FROM scratch\nRUN b", [("[stage-0 1] RUN b", F)], []),
    "nothing was executed": (
        "FROM scratch\nCOPY a /\nRUN b",
        [("[stage-0 1] COPY a /", R), ("[stage-0 2] RUN b", F)],
        [],
    ),
    "settings between steps": (
        "FROM scratch\nENV A=1\nCOPY a /\nUSER 1\nRUN b\nENV C=1\nRUN c",
        [("[stage-0 1] COPY a /", E), ("[stage-0 2] RUN b", F), ("[stage-0 3] RUN c", None)],
        ["FROM scratch", "ENV A=1", "COPY a /", "USER 1", "ENV C=1"],
    ),
    "stages side by side": (
        "FROM scratch AS a\nCOPY a /\nRUN a\nFROM scratch AS b\nCOPY b /\nRUN b",
        [
            *(("[a 1] COPY a /", E), ("[a 2] RUN a", F)),
            *(("[b 1] COPY b /", E), ("[b 2] RUN b", None)),
        ],
        ["FROM scratch AS a", "COPY a /", "FROM scratch AS b", "COPY b /"],
    ),
    "an earlier step that is not reported": (
        "FROM scratch\nCOPY a /\nRUN b\nRUN c",
        [("[stage-0 1] COPY a /", None), ("[stage-0 2] RUN b", E), ("[stage-0 3] RUN c", F)],
        ["FROM scratch", "COPY a /", "RUN b"],
    ),
    "a COPY --link below the failed step": (
        "FROM scratch\nCOPY a /\nRUN b\nARG D=1\nCOPY --link c /$D\nRUN d",
        [
            *(("[stage-0 1] COPY a /", E), ("[stage-0 2] RUN b", F)),
            *(("[stage-0 3] COPY --link c /1", E), ("[stage-0 4] RUN d", None)),
        ],
        ["FROM scratch", "COPY a /", "ARG D=1", "COPY --link c /$D"],
    ),
    "one that is relative to a folder": (
        "FROM scratch\nCOPY a /\nRUN b\nWORKDIR /x\nCOPY --link c .",
        [
            *(("[stage-0 1] COPY a /", E), ("[stage-0 2] RUN b", F)),
            *(("[stage-0 3] WORKDIR /x", None), ("[stage-0 4] COPY --link c .", E)),
        ],
        ["FROM scratch", "COPY a /"],
    ),
    "one platform that is ahead": (
        "FROM scratch\nCOPY a /\nRUN b",
        [
            *(("[linux/a stage-0 1] COPY a /", E), ("[linux/b stage-0 1] COPY a /", E)),
            *(("[linux/a stage-0 2] RUN b", E), ("[linux/b stage-0 2] RUN b", F)),
        ],
        ["FROM scratch", "COPY a /"],
    ),
    "stages below that another target reports": (
        (
            "FROM scratch AS a\nCOPY a /\nFROM scratch AS b\nCOPY b /\nFROM b AS c\n"
            "COPY --from=a /a /\nFROM c\nRUN d\nRUN e"
        ),
        [("[stage-3 1] RUN d", E), ("[stage-3 2] RUN e", F)],
        [
            *("FROM scratch AS a", "COPY a /", "FROM scratch AS b", "COPY b /", "FROM b AS c"),
            *("COPY --from=a /a /", "FROM c", "RUN d"),
        ],
    ),
    "two stages of one name": (
        "FROM scratch AS a\nCOPY a /\nFROM scratch AS a\nCOPY b /\nFROM scratch\nCOPY c /\nRUN d",
        [("[a 1] COPY a /", E), ("[stage-2 1] COPY c /", E), ("[stage-2 2] RUN d", F)],
        ["FROM scratch AS a", "FROM scratch AS a", "FROM scratch", "COPY c /"],
    ),
    "another frontend's steps": (
        "FROM scratch\nCOPY a /\nRUN b",
        [("[stage-0 1] FETCH a", E), ("[stage-0 2] RUN b", F)],
        [],
    ),
    "a heredoc": (
        "FROM scratch\nRUN <<END\nFROM x\nEND\nRUN b",
        [("[stage-0 1] RUN <<END (FROM x)", E), ("[stage-0 2] RUN b", F)],
        ["FROM scratch", "RUN <<END", "FROM x", "END"],
    ),
    "a continued line": (
        "FROM scratch\nRUN a && \\\n  # why\n  b\nRUN c && \\\n  d\n",
        [("[stage-0 1] RUN a && b", E), ("[stage-0 2] RUN c && d", F)],
        ["FROM scratch", "RUN a && \\", "  # why", "  b"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_stage_ends_before_its_first_unfinished_step(name: str) -> None:
    text, outcomes, expected = CASES[name]
    assert list_kept(text, trace(text, *outcomes)) == expected


def test_triggers_of_a_base_image_count_before_the_steps() -> None:
    """With the base image itself, two steps come before those of the Dockerfile."""
    text = "FROM a\nCOPY a /\nRUN b"
    done = [("[stage-0 2] RUN trigger", E), ("[stage-0 3] COPY a /", E), ("[stage-0 4] RUN b", F)]
    assert list_kept(text, trace(text, *done, before=2)) == ["FROM a", "COPY a /"]
    only = [
        ("[stage-0 2] RUN trigger", E),
        ("[stage-0 3] COPY a /", F),
        ("[stage-0 4] RUN b", None),
    ]
    assert list_kept(text, trace(text, *only, before=2)) == ["FROM a"]
    none = [("[stage-0 2] RUN trigger", F), ("[stage-0 3] COPY a /", None)]
    assert list_kept(text, trace(text, *none, before=2)) == []


def test_the_last_stage_reaches_each_stage_with_something_new() -> None:
    text = "FROM scratch AS a\nCOPY a /\nFROM scratch AS bxcache-finished-steps\nRUN b"
    outcomes = [("[a 1] COPY a /", E), ("[bxcache-finished-steps 1] RUN b", F)]
    cut = cut_dockerfile(text, trace(text, *outcomes))
    assert cut is not None
    assert cut.stage == "bxcache-finished-steps-"
    stage = list_stages(cut.text)[-1]
    assert (stage.name, stage.uses) == (cut.stage, ("0",))


@given(
    st.lists(
        st.lists(st.sampled_from([E, R, F, None]), min_size=1, max_size=5), min_size=1, max_size=5
    )
)
def test_a_cut_has_only_what_finished(stages: list[list[Outcome | None]]) -> None:
    """No step that did not finish is left, and none before the last finished one is missing."""
    text = "".join(
        f"FROM scratch AS s{n}\n" + "".join(f"RUN step {n} {k}\n" for k in range(len(steps)))
        for n, steps in enumerate(stages)
    )
    labels = [f"s{n}" if len(stages) > 1 else "stage-0" for n in range(len(stages))]
    # Steps run in order: those before a finished one have finished, too.
    ends = [max((k + 1 for k, o in enumerate(s) if o in (E, R)), default=0) for s in stages]
    named = [
        (f"[{labels[n]} {k + 1}] RUN step {n} {k}", o if o in (E, R) or k >= ends[n] else R)
        for n, steps in enumerate(stages)
        for k, o in enumerate(steps)
    ]
    kept = [each for each in list_kept(text, trace(text, *named)) if each.startswith("RUN")]
    if any(o is E for _, o in named):
        assert kept == [f"RUN step {n} {k}" for n, end in enumerate(ends) for k in range(end)]
    else:
        assert kept == []
