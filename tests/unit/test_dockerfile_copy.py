"""Tests that a copy of a Dockerfile differs only in the names of stages."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.dockerfile import copy_dockerfile, list_stages, name_stages, read_dockerfile

# Each text with its copy, written by hand; unnamed stages are named `n0`, `n1`, ...
CASES = {
    "one": ("FROM a\n", "FROM a AS n0\n"),
    "no last line feed": ("FROM a", "FROM a AS n0"),
    "others have names": (
        "FROM a AS b\nRUN x\nFROM b\nRUN y\n",
        "FROM a AS b\nRUN x\nFROM b AS n0\nRUN y\n",
    ),
    "two of one base": ("FROM a\nFROM a\n", "FROM a AS n0\nFROM a AS n1\n"),
    "called as a keyword": ("FROM from\nFROM as\n", "FROM from AS n0\nFROM as AS n1\n"),
    "small letters": ("from from\n", "from from AS n0\n"),
    "scratch": ("FROM scratch\nCOPY scratch /\n", "FROM scratch AS n0\nCOPY scratch /\n"),
    "the base again": ("FROM a\nRUN a\nENV a a\n", "FROM a AS n0\nRUN a\nENV a a\n"),
    "a platform": (
        "FROM --platform=linux/amd64 linux/amd64\n",
        "FROM --platform=linux/amd64 linux/amd64 AS n0\n",
    ),
    "a variable": ("ARG V=1\nFROM a:${V}\n", "ARG V=1\nFROM a:${V} AS n0\n"),
    "a digest": ("FROM r.io:5000/a@sha256:00\n", "FROM r.io:5000/a@sha256:00 AS n0\n"),
    "a BOM": ("\ufeffFROM a\n", "\ufeffFROM a AS n0\n"),
    "spaces": ("  FROM  a\nFROM b\n", "  FROM  a AS n0\nFROM b AS n1\n"),
    "carriage returns": ("FROM a\r\nRUN x\r\n", "FROM a AS n0\r\nRUN x\r\n"),
    "it goes on": ("FROM \\\n  a\nRUN x\n", "FROM \\\n  a AS n0\nRUN x\n"),
    "it goes on twice": (
        "FROM \\\n  --platform=x \\\n  a\n",
        "FROM \\\n  --platform=x \\\n  a AS n0\n",
    ),
    "it goes on within a word": ("FROM al\\\npine\n", "FROM al\\\npine AS n0\n"),
    "another escape": ("# escape=`\nFROM `\n  a\n", "# escape=`\nFROM `\n  a AS n0\n"),
    "no escape": ("# escape=`\nFROM a\\\nRUN x\n", "# escape=`\nFROM a\\ AS n0\nRUN x\n"),
    "a comment between": (
        "FROM \\\n# a good base is a\n\n  a\n",
        "FROM \\\n# a good base is a\n\n  a AS n0\n",
    ),
    "it would go on": ("FROM a \\", "FROM a \\\n AS n0"),
    "a heredoc": (
        "FROM a\nRUN <<EOF\nFROM b\nEOF\nFROM c\n",
        "FROM a AS n0\nRUN <<EOF\nFROM b\nEOF\nFROM c AS n1\n",
    ),
    "other separators": ("FROM a\nRUN x\x0c\x85\u2028y\nFROM b\n", None),
}  # fmt: skip


def name_all(text: str) -> str:
    unnamed = [stage for stage in list_stages(text) if not stage.is_named]
    return name_stages(text, {stage: f"n{number}" for number, stage in enumerate(unnamed)})


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_a_name_is_added_at_the_end_of_its_from(text: str, expected: str | None) -> None:
    """Only names are added to unnamed stages, and no line moves."""
    expected = expected or text.replace("FROM a", "FROM a AS n0").replace("FROM b", "FROM b AS n1")
    named = name_all(text)
    assert named.rstrip() == expected.rstrip()


@pytest.mark.parametrize("text", [text for text, _ in CASES.values()], ids=CASES)
def test_only_the_names_of_stages_change(text: str) -> None:
    """The copy has the same stages at the same lines with the same bases, all named."""
    before, after = list_stages(text), list_stages(name_all(text))
    assert [(each.line, each.base, each.uses) for each in before] == [
        (each.line, each.base, each.uses) for each in after
    ]
    assert all(stage.is_named for stage in after)
    kept = [stage.name for stage in before if stage.is_named]
    assert kept == [stage.name for stage in after if stage.name in kept]


LINES = st.sampled_from(
    [
        *("FROM a", "FROM a AS b", "FROM \\", "  a", "  a \\", "# a", "", "from a", "FROM a\r"),
        *("RUN a \\", "RUN <<EOF", "EOF", "COPY a a", "FROM --platform=a a", "FROM a \\", "AS c"),
    ]
)


@given(st.lists(LINES, max_size=12).map("\n".join))
def test_no_line_moves_in_any_dockerfile(text: str) -> None:
    """Removing the new names from a copy gives the original lines."""
    named = name_all(text)
    lines = text.split("\n")
    changed = named.split("\n")
    assert len(changed) - len(lines) in (0, 1)
    for number in range(sum(not stage.is_named for stage in list_stages(text))):
        changed = [line.replace(f" AS n{number}", "", 1) for line in changed]
    assert changed[: len(lines)] == lines
    assert not any(changed[len(lines) :])


def test_without_names_nothing_changes() -> None:
    """Without names, the copy equals the original."""
    text = "FROM a\nFROM b AS c\n"
    assert name_stages(text, {}) == text


@pytest.mark.parametrize("ignored", [None, "*\n!src\n"])
@pytest.mark.parametrize("name", ["Dockerfile", "web.Dockerfile"])
def test_a_copy_has_the_same_ignore_file(name: str, ignored: str | None, tmp_path: Path) -> None:
    """The Dockerfile's own ignore file is copied too, byte for byte."""
    (tmp_path / "copies").mkdir()
    dockerfile = tmp_path / name
    dockerfile.write_bytes(b"FROM a\n# \xff\xe9\n")
    if ignored is not None:
        (tmp_path / f"{name}.dockerignore").write_text(ignored)
    text = read_dockerfile(dockerfile)
    names = {list_stages(text)[0]: "n"}
    copy = copy_dockerfile(dockerfile, text, names, tmp_path / "copies")
    assert copy.read_bytes() == b"FROM a AS n\n# \xff\xe9\n"
    beside = copy.with_name(f"{copy.name}.dockerignore")
    assert (beside.read_text() if beside.exists() else None) == ignored
