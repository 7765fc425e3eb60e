"""Tests that a Dockerfile has the stages that BuildKit's own parser finds.

https://github.com/moby/buildkit/blob/v0.25.2/frontend/dockerfile/parser/parser.go
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.dockerfile import (
    DockerfileStage,
    list_bases,
    list_needed,
    list_stages,
    list_unpinned,
)

RECORDED = (Path(__file__).parents[1] / "streams" / "Dockerfile").read_text()


def heads(text: str) -> list[tuple[str, int, str]]:
    """List each stage's name, line and base."""
    return [(stage.name, stage.line, stage.base) for stage in list_stages(text)]


def test_the_stages_of_the_recorded_dockerfile() -> None:
    """The stages are those counted by hand; the last has no name."""
    assert heads(RECORDED) == [
        ("base", 1, "scratch"),
        ("deps", 4, "base"),
        ("build", 7, "base"),
        ("test", 15, "base"),
        ("stage-4", 18, "base"),
    ]
    assert [stage.last_line for stage in list_stages(RECORDED)] == [3, 6, 14, 17, 21]
    assert [stage.is_named for stage in list_stages(RECORDED)] == [True] * 4 + [False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n\n", []),
        ("# FROM a\n", []),
        ("ARG x=1\n", []),
        ("FROM a", [("stage-0", 1, "a")]),
        ("FROM a\nFROM b", [("stage-0", 1, "a"), ("stage-1", 2, "b")]),
        ("FROM a AS b\nFROM b", [("b", 1, "a"), ("stage-1", 2, "b")]),
        ("FROM a AS Build", [("build", 1, "a")]),
        ("from a as build", [("build", 1, "a")]),
        ("From  a\tAs\tbuild ", [("build", 1, "a")]),
        ("\n# comment\n\n  FROM a AS b\n", [("b", 4, "a")]),
        ("ARG v=1\nFROM a:${v} AS b", [("b", 2, "a:${v}")]),
        ("FROM --platform=$BUILDPLATFORM a AS b", [("b", 1, "a")]),
        ("FROM --platform=linux/amd64 --x=y a", [("stage-0", 1, "a")]),
        ("FROM r.example.com:5000/b@sha256:00 AS c", [("c", 1, "r.example.com:5000/b@sha256:00")]),
        ("FROM a\nRUN echo FROM b", [("stage-0", 1, "a")]),
        ("FROM a\nENV FROM=b\nFROMAGE b", [("stage-0", 1, "a")]),
    ],
)  # fmt: skip
def test_each_from_begins_a_stage(text: str, expected: list[tuple[str, int, str]]) -> None:
    """Each `FROM` begins a stage; names are in lower case, and unnamed stages are numbered."""
    assert heads(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # An instruction continues after a backslash.
        ("FROM \\\n  a \\\n  AS b\nFROM b", [("b", 1, "a"), ("stage-1", 4, "b")]),
        ("FROM al\\\npine", [("stage-0", 1, "alpine")]),
        ("FROM a\nRUN x \\\nFROM b", [("stage-0", 1, "a")]),
        ("FROM a\nRUN x \\ \t\nFROM b", [("stage-0", 1, "a")]),
        ("FROM a\nRUN x \\", [("stage-0", 1, "a")]),
        # Comments and empty lines do not end an instruction.
        ("FROM a AS i\nRUN x \\\n# y\n\n# z\nFROM b\nFROM c", [("i", 1, "a"), ("stage-1", 7, "c")]),
        # A comment does not continue, and neither does a line that ends in an escaped backslash.
        ("FROM a\n# x \\\nFROM b", [("stage-0", 1, "a"), ("stage-1", 3, "b")]),
        ("FROM a\nRUN x \\\\\nFROM b", [("stage-0", 1, "a"), ("stage-1", 3, "b")]),
        # The first lines can choose another character.
        ("# escape=`\nFROM a\nRUN x `\nFROM b", [("stage-0", 2, "a")]),
        ("#syntax=x\n# Escape = ` \nFROM a\nRUN x `\nFROM b", [("stage-0", 3, "a")]),
        ("# escape=`\nFROM a\nRUN dir C:\\\nFROM b", [("stage-0", 2, "a"), ("stage-1", 4, "b")]),
        # A directive does not count after another comment, an empty line, or an unknown directive.
        ("# x\n# escape=`\nFROM a\nRUN x `\nFROM b", [("stage-0", 3, "a"), ("stage-1", 5, "b")]),
        ("\n# escape=`\nFROM a\nRUN x `\nFROM b", [("stage-0", 3, "a"), ("stage-1", 5, "b")]),
        ("# x=y\n# escape=`\nFROM a\nRUN x `\nFROM b", [("stage-0", 3, "a"), ("stage-1", 5, "b")]),
    ],
)  # fmt: skip
def test_an_instruction_can_have_several_lines(
    text: str, expected: list[tuple[str, int, str]]
) -> None:
    """The line of an instruction is its first one."""
    assert heads(text) == expected


@pytest.mark.parametrize(
    ("instruction", "held"),
    [
        ("RUN <<EOF", "FROM x\nEOF"),
        ("RUN cat <<EOF > /y", "FROM x\nEOF"),
        ("RUN cat << EOF", "FROM x\nEOF"),
        ("RUN <<'EOF' sh", "FROM x\nEOF"),
        ('RUN <<"E O F"', "FROM x\nE O F"),
        ("RUN 3<<EOF sh /dev/fd/3", "FROM x\nEOF"),
        ("RUN \\\n  <<EOF", "FROM x\nEOF"),
        ("RUN --mount=type=cache,target=/c <<EOF", "FROM x\nEOF"),
        ("run <<EOF", "FROM x\nEOF"),
        ("ONBUILD RUN <<EOF", "FROM x\nEOF"),
        ("COPY <<-FILE /y", "\tFROM x\n\t\tFILE"),
        ("ADD <<a.txt /y", "FROM x\na.txt"),
        ("COPY <<robots.txt <<humans.txt /y/", "FROM x\nrobots.txt\nFROM y\nhumans.txt"),
        ("RUN <<A cat && <<-B cat", "FROM x\nB\nA\nFROM y\n\tB"),
        ("RUN <<EOF", " EOF\nEOF \nFROM x\nEOF"),
        ("RUN <<EOF", "RUN <<OTHER\nFROM x\nEOF"),
        ("RUN <<EOF", "echo \\\nEOF"),
    ],
)
def test_a_heredoc_contains_no_instructions(instruction: str, held: str) -> None:
    """The stage after a heredoc has the right line."""
    text = f"FROM a\n{instruction}\n{held}\nFROM b AS c\n"
    lines = text.count("\n")
    assert heads(text) == [("stage-0", 1, "a"), ("c", lines, "b")]
    assert list_stages(text)[0].last_line == lines - 1


@pytest.mark.parametrize(
    "instruction",
    [
        "RUN cat <<<EOF",
        "RUN cat<<EOF",
        "RUN echo $((1<<EOF))",
        'RUN python -c "a <<EOF b"',
        "RUN echo 'a <<EOF b'",
        'RUN ["cat", "<<EOF"]',
        "RUN echo \\\" it's <<EOF",
        "RUN cat <<",
        "ENV x=a <<EOF",
        "CMD cat <<EOF",
    ],
)
def test_text_like_a_heredoc_hides_nothing(instruction: str) -> None:
    """`<<` in a word, in quotes or in other instructions is not a heredoc."""
    assert heads(f"FROM a\n{instruction}\nFROM b\nEOF") == [
        ("stage-0", 1, "a"),
        ("stage-1", 3, "b"),
    ]


def test_lines_may_end_in_crlf() -> None:
    """Directives, continued lines and heredocs may end in CRLF."""
    text = "# escape=`\nFROM a AS b\nRUN x `\n  y\nCOPY <<EOF /f\nFROM x\nEOF\nFROM b\n"
    expected = [("b", 2, "a"), ("stage-1", 8, "b")]
    assert heads(text) == expected
    assert heads(text.replace("\n", "\r\n")) == expected


def test_the_first_line_may_begin_with_a_byte_order_mark() -> None:
    """A byte order mark, as from an editor on Windows, is ignored."""
    assert heads("\ufeffFROM a AS b") == [("b", 1, "a")]
    assert heads("\ufeff# escape=`\nFROM a\nRUN x `\nFROM b") == [("stage-0", 2, "a")]


@pytest.mark.parametrize("character", ["\f", "\v", "\x1c", "\x85", "\u2028", "\r"])
def test_only_a_line_feed_ends_a_line(character: str) -> None:
    """Lines are counted as BuildKit counts them."""
    text = f"FROM a\n# x{character}FROM y\nFROM b"
    assert heads(text) == [("stage-0", 1, "a"), ("stage-1", 3, "b")]


def test_a_base_is_the_last_earlier_stage_of_that_name() -> None:
    """Images, later stages and the stage itself are not base stages."""
    stages = list_stages("FROM b AS a\nFROM A AS b\nFROM x AS a\nFROM a AS a\nFROM c")
    assert list_bases(stages) == (None, 0, None, 2, None)


# Each instruction with the stages that it uses.
USES = [
    ("COPY --from=a /x /y", {"a"}),
    ("COPY --link --from=a --chown=1 /x /y", {"a"}),
    ("copy --FROM=a /x /y", {"a"}),
    ("COPY --from=A /x /y", {"a"}),
    ("COPY \\\n  --from=a \\\n  /x /y", {"a"}),
    ("COPY --from=0 /x /y", {"a"}),
    ("COPY --from=1 /x /y", {"b"}),
    ("RUN --mount=from=a,target=/x y", {"a"}),
    ("RUN --mount=type=bind,from=a,target=/x y", {"a"}),
    ("RUN --mount=target=/x,from=a --mount=from=b,target=/z y", {"a", "b"}),
    ("RUN --network=none --mount=type=cache,from=b,target=/x <<EOF\nCOPY --from=a / /\nEOF", {"b"}),
    ("ONBUILD COPY --from=a /x /y", {"a"}),
    ("COPY --from=elsewhere/a:1 /x /y", set()),
    ("COPY --from=last /x /y", set()),
    ("COPY --from=2 /x /y", set()),
    ("COPY --from=7 /x /y", set()),
    ("COPY from=a /y", set()),
    ("RUN echo --from=a", set()),
    ("RUN x from=a", set()),
    ("ENV x=--from=a", set()),
    ("# COPY --from=a /x /y", set()),
]


@pytest.mark.parametrize(("instruction", "used"), USES)
def test_the_stages_that_a_stage_uses_are_needed(instruction: str, used: set[str]) -> None:
    """A stage needs the earlier stages that it uses by name or number."""
    stages = list_stages(f"FROM i AS a\nFROM i AS b\nFROM i AS last\n{instruction}\n")
    assert {stage.name for stage in list_needed(stages, None)} == {"last", *used}


@pytest.mark.parametrize(
    ("target", "needed"),
    [
        (None, {"base", "deps", "build", "test", "stage-4"}),
        ("test", {"base", "deps", "build", "test"}),
        ("build", {"base", "deps", "build"}),
        ("Deps", {"base", "deps"}),
        ("base", {"base"}),
    ],
)
def test_only_the_stages_below_the_target_are_needed(target: str | None, needed: set[str]) -> None:
    """The needed stages are those read by hand from the recorded Dockerfile."""
    assert {stage.name for stage in list_needed(list_stages(RECORDED), target)} == needed


@pytest.mark.parametrize(
    ("end", "target", "lines"),
    [
        ("FROM x", None, {2, 4}),
        ("FROM x", "x", {2}),
        ("FROM i AS x", "X", {4}),
        ("FROM x AS x", "x", {2, 4}),
        # An unnamed stage cannot be referenced by BuildKit's name for it.
        ("FROM stage-2", None, {4}),
    ],
)
def test_the_last_earlier_stage_of_a_name_is_used(
    end: str, target: str | None, lines: set[int]
) -> None:
    """A target is the last stage of its name, and a base is the last earlier one."""
    stages = list_stages(f"FROM i AS x\nFROM i AS x\nFROM i\n{end}\n")
    assert {stage.line for stage in list_needed(stages, target)} == lines


def test_without_stages_nothing_is_needed() -> None:
    """Without stages, no target needs any."""
    assert list_needed((), None) == list_needed((), "x") == frozenset()


def test_a_number_of_any_length_is_read() -> None:
    """A stage that copies from a number of thousands of digits needs no other stage."""
    stages = list_stages(f"FROM a AS one\nFROM b AS two\nCOPY --from={'9' * 5_000} / /\n")
    assert {stage.name for stage in list_needed(stages, None)} == {"two"}


NAMES = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_.-]{0,8}", fullmatch=True).filter(
    # Only unnamed stages have a number.
    lambda name: not name.lower().startswith("stage-")
)
IMAGES = st.from_regex(r"[a-z0-9]{1,8}(:[a-z0-9]{1,4})?", fullmatch=True)
BODIES = st.sampled_from(
    [
        [],
        [""],
        ["# FROM x \\"],
        ["RUN a"],
        ["RUN a \\", "FROM x"],
        ["RUN a \\", "  # b", "", "FROM x"],
        ["RUN a \\\\"],
        ["RUN <<EOF", "FROM x", "EOF"],
        ["COPY <<-'a.b' <<c /d/", "FROM x", "\ta.b", "FROM y", "c"],
        ["RUN cat <<EOF \\", "  > /x", "FROM y", "EOF"],
        ['RUN echo "<<EOF"'],
        ["COPY --from=0 /x /y"],
        ["    ENV FROM=x"],
    ]
)
STAGES = st.tuples(NAMES | st.none(), IMAGES, st.lists(BODIES, max_size=4))


@given(
    opening=st.sampled_from([[], ["# syntax=docker/dockerfile:1"], ["", "# x"], ["ARG a=b"]]),
    stages=st.lists(STAGES, max_size=6, unique_by=lambda stage: (stage[0] or stage[1]).lower()),
    verb=st.sampled_from(["FROM", "from", "  FROM", "FROM --platform=x", "FROM \\\n "]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_written_dockerfile_is_read_back(
    opening: list[str],
    stages: list[tuple[str | None, str, list[list[str]]]],
    verb: str,
    end: str,
) -> None:
    """Names, lines, last lines and bases are read back, whatever the stages contain."""
    lines, expected = list(opening), []
    for number, (name, base, bodies) in enumerate(stages):
        line = len(lines) + 1
        lines += f"{verb} {base}{f' AS {name}' if name else ''}".split("\n")
        lines += [each for body in bodies for each in body]
        shown = name.lower() if name else f"stage-{number}"
        expected.append((shown, line, len(lines), base))
    text = "".join(f"{line}{end}" for line in lines)

    def read(stage: DockerfileStage) -> tuple[str, int, int, str]:
        return stage.name, stage.line, stage.last_line, stage.base

    assert [read(stage) for stage in list_stages(text)] == expected


UNPINNED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "a base image": ("FROM a", [("base image", "a")]),
    "one with its digest": ("FROM a@sha256:1", []),
    "one behind a variable": ("ARG BASE\nFROM $BASE", [("base image", "$BASE")]),
    "nothing": ("FROM scratch", []),
    "a stage": ("FROM scratch AS a\nFROM a\nCOPY --from=a x y\nCOPY --from=0 x y", []),
    "an image that is copied from": ("FROM scratch\nCOPY --from=a x y", [("image", "a")]),
    "an image that is mounted": (
        "FROM scratch\nRUN --mount=from=a,target=/a true",
        [("image", "a")],
    ),
    "a local context": ("FROM scratch\nCOPY --from=context x y", []),
    "a stage that is not needed": ("FROM a AS other\nFROM scratch", []),
    "a frontend": ("# syntax=a:1\nFROM scratch", [("frontend", "a:1")]),
    "a remote file": ("FROM scratch\nADD https://a/b /", [("remote file", "https://a/b")]),
    "one with a checksum": ("FROM scratch\nADD --checksum=sha256:1 https://a/b /", []),
}


@pytest.mark.parametrize("name", UNPINNED)
def test_what_can_change_elsewhere_is_listed(name: str) -> None:
    text, expected = UNPINNED[name]
    assert [*list_unpinned(text, None, ["context"])] == expected
