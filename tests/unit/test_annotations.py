"""Tests of annotations: their text and line, and that no text adds other annotations."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bxcache.buildx.stream.events import Outcome
from bxcache.console.annotations import (
    Annotation,
    annotate_failure,
    annotate_gates,
    render_annotations,
)
from bxcache.insight.record_parts import Verdict
from bxcache.pipeline.result import BuildResult, Step
from tests.support.histories import make_record

RULE = "-" * 20
WORDS = ("Dockerfile:17", RULE, "  17 | >>> RUN make", RULE, "ERROR: failed: exit code: 2")
STEP = Step("build", "RUN make\nRUN x", None, Outcome.FAILED, 1.0, error="exit code: 2")
RECORD = make_record().model_copy(update={"context": ".", "file": ""})


def failed(*steps: Step, file: str = "", context: str = ".") -> BuildResult:
    record = RECORD.model_copy(update={"context": context, "file": file})
    return BuildResult(1, None, (), steps, (), (), 1.0, record=record)


def position(each: Annotation) -> tuple[str | None, int | None]:
    return each.file, each.line


@pytest.mark.parametrize(
    ("file", "context", "expected"),
    [
        ("", ".", "Dockerfile"),
        ("", "api", "api/Dockerfile"),
        ("docker/api.Dockerfile", "api", "docker/api.Dockerfile"),
        # A page cannot show files outside the repository.
        ("../Dockerfile", ".", None),
        ("", "https://example.com/x.git", None),
        ("-", ".", None),
        ("", "", None),
    ],
)
def test_a_failed_step_has_its_file_and_line(file: str, context: str, expected: str | None) -> None:
    """The line is the one that docker quotes, and the file is relative to the repository."""
    [note] = annotate_failure(failed(STEP, file=file, context=context), "it broke", WORDS)
    assert note == Annotation("exit code: 2", True, "[build] RUN make", expected, 17)  # noqa: FBT003


def test_a_steps_line_does_not_go_to_another_step() -> None:
    """Docker quotes only one step's line, and a step's own line comes first."""
    several = failed(STEP, replace(STEP, stage="test", line=3))
    assert [position(each) for each in annotate_failure(several, "it broke", WORDS)] == [
        ("Dockerfile", None),
        ("Dockerfile", 3),
    ]


def test_the_platform_of_a_failed_step_is_named() -> None:
    """The platform distinguishes steps with the same text."""
    [note] = annotate_failure(failed(replace(STEP, platform="linux/arm64")), "it broke", WORDS)
    assert note.title == "[build (linux/arm64)] RUN make"


def test_an_error_without_a_failed_step_is_reported() -> None:
    """The annotation of an unreadable Dockerfile has the line that docker quotes."""
    [note] = annotate_failure(failed(), "unknown instruction: RUNN", WORDS, "api")
    assert note == Annotation("unknown instruction: RUNN", True, "api: bxcache", "Dockerfile", 17)  # noqa: FBT003
    [note] = annotate_failure(failed(), "no space left", ())
    assert position(note) == (None, None)
    assert list(annotate_failure(replace(failed(STEP), exit_status=0), "", ())) == []


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        (
            "github",
            [
                "::error file=a%2Cb,line=7,title=x%3A%3A%25::50%25 of\\n::error::y",
                "::warning title=bxcache::gate `max_size` failed: too large",
            ],
        ),
        (
            "azure",
            [
                (
                    "##vso[task.logissue type=error;sourcepath=a,b;linenumber=7]"
                    "x::%AZP25: 50%AZP25 of\\n::error::y"
                ),
                "##vso[task.logissue type=warning]gate `max_size` failed: too large",
            ],
        ),
        *((provider, []) for provider in ("gitlab", "buildkite", "jenkins", "teamcity", "")),
    ],
)
def test_each_provider_has_its_own_format(provider: str, expected: list[str]) -> None:
    """An annotation is one line with the provider's markers escaped; some providers have none."""
    notes = [
        Annotation("50% of\n::error::y", title="x::%", file="a,b", line=7),
        *annotate_gates([Verdict(gate="max_size", reason="too large", fails=False)]),
    ]
    assert list(render_annotations(notes, provider)) == expected


TEXTS = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ["::endgroup::", "a,line=9", "x::y", "]##vso[task.complete]", "a;type=warning", "%0A::error::"]
)


@given(TEXTS, TEXTS.filter(bool), TEXTS)
def test_no_text_changes_other_parts_of_an_annotation(text: str, title: str, file: str) -> None:
    """A provider reads exactly the annotation's parts, whatever they contain."""
    note = Annotation(text, title=title, file=file, line=7)
    [github] = render_annotations([note], "github")
    match = re.fullmatch(r"::error ([^:]*)::(.*)", github)
    assert match is not None
    properties = dict(each.split("=", 1) for each in match[1].split(","))
    assert set(properties) <= {"file", "line", "title"}
    assert properties.get("line") == ("7" if file else None)
    assert unquote(match[2]) == escape(text)
    assert unquote(properties["title"]) == escape(title)
    [azure] = render_annotations([note], "azure")
    head, _, rest = azure.removeprefix("##vso[task.logissue ").partition("]")
    assert {each.split("=", 1)[0] for each in head.split(";")} <= {
        *("type", "sourcepath", "linenumber")
    }
    seen = text if title == "bxcache" else f"{title}: {text}"
    assert unquote(rest.replace("%AZP25", "%25")) == escape(seen)


def escape(text: str) -> str:
    """Escape a text's unprintable characters as Python does."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
