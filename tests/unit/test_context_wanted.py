"""Which files a Dockerfile can read, and what each of its instructions sets."""

from __future__ import annotations

import pytest

from bxcache.buildx.context.wanted import MAIN, Wanted, list_reads, list_wanted, match_part
from bxcache.buildx.instructions import read_instructions

READS = {
    "COPY a b /c/": {"/a", "/b"},
    'COPY ["a b", "/c"]': {"/a b"},
    "COPY --chmod=755 --link src/ ./other /c": {"/src", "/other"},
    "ADD a.tar /": {"/a.tar"},
    "ADD https://example.com/x git@example.com:x.git a /": {"/a"},
    "COPY <<EOT b /c": {"/b"},
    "RUN --mount=type=bind,source=src,target=/s --mount=type=cache,target=/c make": {"/src"},
    "RUN --mount=type=bind,target=/s,rw make": {"/"},
    "RUN --mount=type=secret,id=x --mount=type=ssh make": set[str](),
    "RUN make src": set[str](),
    "COPY $DIR/a b /c": {"/b"},
    "WORKDIR /src": set[str](),
}


@pytest.mark.parametrize("instruction", READS)
def test_an_instruction_reads_what_it_names(instruction: str) -> None:
    assert {each.path for each in list_reads(instruction)} == READS[instruction]


TEXT = """\
FROM base AS one
COPY src/*.py lib /app/
COPY $WHAT/a docs/${PART}/b /c/
FROM one AS unused
COPY unused /
FROM one
COPY --from=Files /data /d
RUN --mount=type=bind,from=files,source=more,target=/m true
COPY --from=one /app /app
COPY <<EOT /x
COPY heredoc /
EOT
"""


def covers(wanted: Wanted | None, path: str) -> bool:
    """Whether everything at a path is wanted, and below it."""
    for name in path.split("/"):
        wanted = wanted.enter(name) if wanted is not None else None
    return wanted is not None and wanted.is_complete


@pytest.mark.parametrize(
    ("context", "path", "covered"),
    [
        (MAIN, "src/a.py", True),
        (MAIN, "src/a.js", True),  # `$WHAT` may be anything.
        (MAIN, "lib/deep/down", True),
        ("files", "data/x", True),
        ("files", "more/x", True),
        ("files", "other", False),
        ("base", "any", True),
        ("nowhere", "any", False),
    ],
)
def test_what_a_build_may_read_is_known_beforehand(
    context: str, path: str, *, covered: bool
) -> None:
    assert covers(list_wanted(TEXT, None).get(context), path) == covered


@pytest.mark.parametrize(
    ("path", "covered"),
    [("src/a.py", True), ("src/a.js", False), ("docs/x/b", True), ("unused", False), ("lib", True)],
)
def test_only_what_is_named_is_wanted(path: str, *, covered: bool) -> None:
    """A variable stands for everything in the folder around it; stages that are not built do not
    count.
    """
    wanted = list_wanted(TEXT.replace("$WHAT/a", ""), None)[MAIN]
    assert covers(wanted, path) == covered


def test_the_target_decides_which_stages_count() -> None:
    assert covers(list_wanted(TEXT.replace("$WHAT/a", ""), "unused")[MAIN], "unused")


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*.py", "a.py", True),
        ("*.py", ".py", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        (r"a\*", "a*", True),
        (r"a\*", "ab", False),
        ("a.b", "axb", False),
        ("[", "[", False),
    ],
)
def test_patterns_match_as_in_go(pattern: str, name: str, *, matches: bool) -> None:
    """The examples follow https://pkg.go.dev/path#Match."""
    assert match_part(pattern, name) == matches


def test_an_instruction_sets_variables_and_settings() -> None:
    text = 'FROM a\nENV A=1 B="2 3"\nENV C all of it\nARG D=4\nARG E\nUSER me\nONBUILD ENV F=1\n'
    sets = [dict(each.sets) for each in read_instructions(text)]
    assert sets == [
        {},
        {"A": "1", "B": '"2 3"'},
        {"C": "all of it"},
        {"ARG D": "", "D": "4"},
        {"ARG E": ""},
        {"USER": "me"},
        {},
    ]
