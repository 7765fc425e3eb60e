"""Tests of the output of `bxcache history` and `bxcache diff`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from bxcache.buildx.stream.events import Outcome
from bxcache.console.comparison import render_difference
from bxcache.console.history import render_digests, render_history
from bxcache.console.tables import render_document, show_text
from bxcache.insight.chains import Chain
from bxcache.insight.difference import Difference
from bxcache.insight.history import History
from bxcache.insight.record import Record
from bxcache.insight.record_parts import (
    RecordedArguments,
    RecordedImage,
    RecordedPlace,
    RecordedScope,
    RecordedStep,
    RecordedTools,
)
from tests.support.histories import (
    SCOPE,
    STARTED,
    make_history,
    make_layer,
    make_record,
    make_stages,
    make_step,
    name_digest,
)

# FROM alpine:3 AS base       1
# RUN apk add make            2
# FROM base AS lint           3     not part of the build
# FROM base AS build          4
# COPY src /src               5
# RUN make                    6
# FROM alpine:3               7
# COPY --from=build /o /      8
STAGES = make_stages(
    ("base", 1, "alpine:3"),
    ("-lint", 3, "base"),
    ("build", 4, "base"),
    ("stage-3", 7, "alpine:3"),
)
STEPS = (
    make_step("FROM alpine:3", 1, 7, layers="a1:3000000 a2:1500", seconds=0.04),
    make_step("RUN apk add make", 2, layers="apk:70000", parent=0, outcome=Outcome.REUSED),
    make_step("COPY src /src", 5, layers="src:40", parent=1, seconds=0.26),
    make_step("RUN make", 6, layers="out:900", parent=2, seconds=75.0),
    make_step("COPY --from=build /o /", 8, layers="out:900", parent=0, seconds=0.1),
)
RECORD = make_record(*STEPS, stages=STAGES, seconds=83.2)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the clock to three minutes after the build began."""
    monkeypatch.setattr("bxcache.console.tables.time", SimpleNamespace(time=lambda: STARTED + 185))


def show(
    history: History, *names: str, chain: bool = False, full: bool = False, places: bool = False
) -> list[str]:
    text = render_history(
        history, history.find_stages(names), chain=chain, full=full, places=places
    )
    return text.splitlines()


def short(name: str) -> str:
    return name_digest(name)[:19]


def find_line(lines: Iterable[str], text: str) -> str:
    (found,) = (line for line in lines if text in line)
    return found


def test_each_stage_is_a_table_of_its_layers() -> None:
    """The tables are those written by hand; a base image has a row for each layer."""
    assert show(make_history(RECORD)) == [
        f"{SCOPE}: built 3 min ago in 1 m 23 s, 4 steps: 1 reused, 3 executed",
        "in /store",
        "",
        "base  FROM alpine:3, line 1",
        "  LAYER                     SIZE   OUTCOME  SECONDS  LINE  CREATED BY",
        f"  {short('a1')} *   3.0 MB                0.0     1  FROM alpine:3",
        f"  {short('a2')} *   1.5 kB",
        f"  {short('apk')}    70.0 kB    reused      0.0     2  RUN apk add make",
        "  3 layers, 3.1 MB, 0.0 s",
        "",
        "build  FROM base, line 4",
        "  LAYER                     SIZE   OUTCOME  SECONDS  LINE  CREATED BY",
        f"  {short('src')}       40 B  executed      0.3     5  COPY src /src",
        f"  {short('out')} *    900 B  executed     75.0     6  RUN make",
        "  2 layers, 940 B, 1 m 15 s",
        "",
        "stage-3  FROM alpine:3, line 7",
        "  LAYER                     SIZE   OUTCOME  SECONDS  LINE  CREATED BY",
        f"  {short('a1')} *   3.0 MB                0.0     7  FROM alpine:3",
        f"  {short('a2')} *   1.5 kB",
        f"  {short('out')} *    900 B  executed      0.1     8  COPY --from=build /o /",
        "  3 layers, 3.0 MB, 0.1 s",
        "",
        "*: shared by several steps or stages",
        "not part of this build: lint",
    ]


def test_only_the_requested_stages_are_shown() -> None:
    """Other stages and unused marks are not mentioned."""
    step = make_step("RUN x", 2, layers="x:1")
    stages = make_stages(("one", 1, "scratch"), ("two", 3, "one"), ("-three", 4, "one"))
    assert show(make_history(make_record(step, stages=stages)), "one")[2:] == [
        "",
        "one  FROM scratch, line 1",
        "  LAYER                SIZE   OUTCOME  SECONDS  LINE  CREATED BY",
        f"  {short('x')}   1 B  executed      0.0     2  RUN x",
        "  1 layer, 1 B, 0.0 s",
    ]


def test_the_chain_shows_which_stage_each_layer_is_from() -> None:
    """Inherited layers come before the stage's own, with their stage's lines."""
    assert show(make_history(RECORD), "build", chain=True)[4:-2] == [
        "  LAYER                  INHERITED FROM     SIZE   OUTCOME  SECONDS  LINE  CREATED BY",
        f"  {short('a1')} *  base             3.0 MB                0.0     1  FROM alpine:3",
        f"  {short('a2')} *  base             1.5 kB",
        f"  {short('apk')}    base            70.0 kB    reused      0.0     2  RUN apk add make",
        f"  {short('src')}                       40 B  executed      0.3     5  COPY src /src",
        f"  {short('out')} *                    900 B  executed     75.0     6  RUN make",
        "  2 layers, 940 B, 1 m 15 s; 5 layers, 3.1 MB with what it builds on",
    ]


def test_a_stage_without_steps_of_its_own_says_so() -> None:
    """A stage without its own steps says so, with and without its chain."""
    stages = make_stages(("base", 1, "scratch"), ("alias", 3, "base"))
    history = make_history(make_record(make_step("RUN x", 2, layers="x:5"), stages=stages))
    assert show(history, "alias")[3:] == ["alias  FROM base, line 3", "  no steps of its own"]
    lines = show(history, "alias", chain=True)
    assert find_line(lines, "RUN x").split()[:2] == [short("x"), "base"]
    assert lines[-1] == "  no steps of its own; 1 layer, 5 B with what it builds on"


def test_layers_inherited_from_an_unknown_stage_are_marked() -> None:
    """A layer inherited through a build argument, whose stage is unknown, is marked `?`."""
    steps = (make_step("RUN x", 2, layers="x"), make_step("RUN y", 4, layers="y", parent=0))
    stages = make_stages(("dev", 1, "scratch"), ("app", 3, "${BASE}"))
    lines = show(make_history(make_record(*steps, stages=stages)), "app", chain=True)
    assert find_line(lines, "RUN x").split()[:2] == [short("x"), "?"]
    assert find_line(lines, "RUN y").split()[:2] == [short("y"), "100"]


def test_evicted_layers_are_marked() -> None:
    """The mark replaces the size, appears in the sum, and is explained below the tables."""
    present = {name_digest(name): 1 for name in ("a1", "a2", "apk", "out")}
    lines = show(make_history(RECORD, present=present, unsaved=set()), "build")
    assert "  evicted  " in find_line(lines, "COPY src /src")
    assert "  900 B  " in find_line(lines, "RUN make")
    assert "  2 layers, 940 B (40 B evicted), 1 m 15 s" in lines
    assert lines[-1] == "evicted: no longer in the cache; a build that needs it makes it again"
    history = make_history(RECORD, present=present, unsaved=set())
    assert "evicted" not in "\n".join(show(history, "stage-3"))
    assert "evicted" not in "\n".join(show(make_history(RECORD)))


@pytest.mark.parametrize(
    ("unsaved", "word", "legend"),
    [
        ({name_digest("src")}, "not saved", "the build did not save it, because no saved step"),
        (None, "absent", "not in the cache"),
    ],
)
def test_unsaved_layers_are_marked(unsaved: set[str] | None, word: str, legend: str) -> None:
    """A layer that is missing but not evicted has its own mark, and its digest is not printed."""
    present = {name_digest(name): 1 for name in ("a1", "a2", "apk", "out")}
    history = make_history(RECORD, present=present, unsaved=unsaved)
    lines = show(history, "build")
    assert f"  {word}  " in find_line(lines, "COPY src /src")
    assert f"  2 layers, 940 B (40 B {word}), 1 m 15 s" in lines
    assert lines[-1].startswith(f"{word}: {legend}")
    assert "evicted" not in "\n".join(lines)
    printed = render_digests(history, history.find_stages(["build"]), chain=False)
    assert printed == name_digest("out")


def test_unknown_layers_are_shown_as_a_dash() -> None:
    """Steps with unknown layers are counted, and a column without any value is left out."""
    steps = (make_step("FROM alpine", stage="a"), make_step("RUN x", stage="a"))
    assert show(make_history(make_record(*steps)))[3:] == [
        "a",
        "  LAYER   OUTCOME  SECONDS  CREATED BY",
        "  -                    0.0  FROM alpine",
        "  -      executed      0.0  RUN x",
        "  0 layers, 0 B, 0.0 s; the layers of 2 steps are unknown",
    ]


AMD, ARM = "linux/amd64", "linux/arm64"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ([[AMD], [AMD]], None),
        ([[], []], None),
        ([[AMD], [ARM]], [AMD, ARM]),
        ([[AMD, ARM], [AMD]], [f"{AMD},{ARM}", AMD]),
        ([[AMD, ARM], [AMD, ARM]], [f"{AMD},{ARM}", f"{AMD},{ARM}"]),
    ],
)
def test_platforms_are_shown_if_there_are_several(
    shown: list[list[str]], expected: list[str] | None
) -> None:
    """The column appears only if the platforms of the shown steps differ."""
    steps = [
        make_step(f"RUN {number}", 2, layers=f"x{number}", platforms=tuple(platforms))
        for number, platforms in enumerate(shown)
    ]
    lines = show(make_history(make_record(*steps, stages=make_stages(("a", 1, "scratch")))))
    assert ("PLATFORM" in lines[4].split()) == (expected is not None)
    if expected is not None:
        assert [line.split()[1] for line in lines[5:7]] == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "built 3 min ago in 12.3 s, 1 step: 0 reused, 1 executed"),
        (
            {"exit_status": 1, "seconds": 60.0},
            "failed 3 min ago after 1 m 00 s, 1 step: 0 reused, 1 executed",
        ),
        (
            {"scope": RecordedScope(name=SCOPE, image="image", branch="feature/x")},
            "built 3 min ago in 12.3 s, 1 step: 0 reused, 1 executed, branch feature/x",
        ),
        (
            {"place": RecordedPlace(branch="main")},
            "built 3 min ago in 12.3 s, 1 step: 0 reused, 1 executed, branch main",
        ),
    ],
)
def test_the_first_line_describes_the_build(more: dict[str, Any], expected: str) -> None:
    """The first line has the build's age, outcome and steps, and the branch if known."""
    assert show(make_history(make_record(make_step("RUN x"), **more)))[0] == f"{SCOPE}: {expected}"


def test_a_failed_step_shows_its_error() -> None:
    """The error of a failed step is printed below its stage."""
    failed = make_step("RUN x", 2, outcome=Outcome.FAILED, error="exit code: 3\n" + "y" * 200)
    record = make_record(failed, stages=make_stages(("a", 1, "scratch")), exit_status=1)
    lines = show(make_history(record))
    assert lines[0].endswith("1 step: 0 reused, 0 executed, 1 failed")
    assert find_line(lines, "RUN x").split() == ["-", "failed", "0.0", "2", "RUN", "x"]
    assert lines[-1].startswith(r"  failed: exit code: 3\nyyy")
    assert len(lines[-1]) == 120
    assert lines[-1].endswith("…")
    assert show(make_history(record), full=True)[-1].endswith("yyy")


def test_a_build_without_stages_says_so() -> None:
    """A build that failed before its first stage says so."""
    assert show(make_history(make_record(exit_status=1))) == [
        f"{SCOPE}: failed 3 min ago after 12.3 s, 0 steps: 0 reused, 0 executed",
        "in /store",
        "",
        "the build reported no stages",
    ]


def long_history(text: str, **more: Any) -> History:  # noqa: ANN401  # a history's fields
    steps = (make_step(text, 2, layers="x"), make_step("RUN y", 3, layers="y"))
    return make_history(make_record(*steps, stages=make_stages(("a", 1, "scratch"))), **more)


def test_long_texts_are_cut_unless_full() -> None:
    """Lines have at most 120 columns; `full` shows whole texts and digests."""
    text = "RUN " + "0123456789" * 30
    lines = show(long_history(text))
    line = find_line(lines, "RUN 0")
    assert len(line) == max(map(len, lines)) == 120
    assert line.endswith("…")
    assert name_digest("x") not in line
    line = find_line(show(long_history(text), full=True), "RUN 0")
    assert line.endswith(text)
    assert name_digest("x") in line


def test_places_are_shown_on_request() -> None:
    """Places have their own column, which is empty where a place is unknown."""
    place = "/store/blobs/sha256/" + name_digest("x")[7:]
    history = long_history("RUN x", places={name_digest("x"): place})
    lines = show(history, places=True)
    assert lines[4].split()[:3] == ["LAYER", "WHERE", "SIZE"]
    assert find_line(lines, "RUN x").split()[1:3] == [place, "100"]
    assert find_line(lines, "RUN y").split()[1] == "100"
    assert place not in "\n".join(show(history))


UGLY = "RUN a\nb\r\x1b[2J\x07\u2028\u202e\x9b\x00\ud800\t"
VISIBLE = r"RUN a\nb\r\x1b[2J\x07\u2028\u202e\x9b\x00\ud800\t"


UGLY_STAGES = make_stages((f"up{UGLY}", 1, UGLY), ("two", 3, f"up{UGLY}"), (f"-{UGLY}", 5, "b"))


def ugly_history() -> History:
    record = make_record(
        make_step("COPY x", 2, layers="x", platforms=(UGLY,)),
        RecordedStep(text=UGLY, lines=(4,), platforms=("b",), error=UGLY, parent=0),
        stages=UGLY_STAGES,
        scope=RecordedScope(name=UGLY, image="i", branch=UGLY),
    )
    digest = name_digest("x")
    return make_history(record, scope=UGLY, source=UGLY, places={digest: UGLY})


def ugly_chains() -> History:
    chains = (Chain((make_layer("x"),)),)
    places = {name_digest("x"): UGLY}
    return make_history(None, scope=UGLY, source=UGLY, chains=chains, places=places)


def ugly_difference(before: History) -> str:
    nothing = make_history(make_record())
    changed = make_history(make_record(make_step(UGLY, 2, layers="z"), stages=UGLY_STAGES))
    texts = [
        render_difference(Difference.of(one, other), full=True)
        for one, other in ((before, nothing), (nothing, before), (before, changed))
    ]
    return "\n".join(texts)


def whole(history: History) -> str:
    return render_history(history, history.stages, chain=True, full=True, places=True)


@pytest.mark.parametrize(
    ("render", "history"),
    [(whole, ugly_history()), (whole, ugly_chains()), (ugly_difference, ugly_history())],
)
def test_control_characters_do_not_reach_a_terminal(
    render: Callable[[History], str], history: History
) -> None:
    """Control characters and line breaks are shown as in a Python string."""
    text = render(history)
    assert VISIBLE in text
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [("RUN é ✓ 日本", "RUN é ✓ 日本"), (r"a\nb", r"a\nb"), ("'\n'", r"'\n'"), (UGLY, VISIBLE)],
)  # fmt: skip
def test_printable_text_stays_unchanged(text: str, shown: str) -> None:
    """Other scripts, quotes and backslashes are printed unchanged."""
    assert show_text(text) == shown


CHAINS = (
    Chain((make_layer("a", 1000), make_layer("b", 20))),
    Chain((make_layer("a", 1000), make_layer("c", 3))),
)


def test_a_cache_without_a_record_shows_its_chains() -> None:
    """A chain is a table like a stage's, and a layer in two chains counts once."""
    assert show(make_history(None, chains=CHAINS), chain=True) == [
        f"{SCOPE}: 3 layers, 1.0 kB in 2 chains",
        "in /store",
        "",
        "chain 1",
        "  LAYER                    SIZE",
        f"  {short('a')} *  1.0 kB",
        f"  {short('b')}      20 B",
        "  2 layers, 1.0 kB",
        "",
        "chain 2",
        "  LAYER                    SIZE",
        f"  {short('a')} *  1.0 kB",
        f"  {short('c')}       3 B",
        "  2 layers, 1.0 kB",
        "",
        "*: shared by several chains",
        "stage names need a record, which only builds with bxcache write",
    ]


def test_an_empty_cache_has_no_chains() -> None:
    """An empty cache has no table."""
    assert show(make_history(None)) == [
        f"{SCOPE}: 0 layers, 0 B in 0 chains",
        "in /store",
        "",
        "stage names need a record, which only builds with bxcache write",
    ]


@pytest.mark.parametrize(
    ("history", "names", "chain", "expected"),
    [
        (make_history(RECORD), (), False, ["a1", "a2", "apk", "src", "out"]),
        (make_history(RECORD), ("stage-3", "build"), False, ["src", "out", "a1", "a2"]),
        (make_history(RECORD), ("build",), True, ["a1", "a2", "apk", "src", "out"]),
        (make_history(None, chains=CHAINS), (), False, ["a", "b", "c"]),
        (make_history(make_record()), (), True, []),
        (make_history(None), (), False, []),
    ],
)
def test_digests_are_printed_one_per_line(
    history: History,
    names: tuple[str, ...],
    chain: bool,  # noqa: FBT001
    expected: list[str],
) -> None:
    """Full digests are printed in the order of the stages, from the bottom, each once."""
    text = render_digests(history, history.find_stages(names), chain=chain)
    assert text.split("\n") == ([name_digest(name) for name in expected] or [""])


def read(document: dict[str, Any]) -> Any:  # noqa: ANN401  # a document
    """Read the document as a script does."""
    found = json.loads(render_document(document))
    assert found.pop("version") == "1"
    return found


def test_a_history_has_a_json_document() -> None:
    """The document has full digests, bytes and seconds, but not the key of the arguments."""
    record = make_record(
        *STEPS,
        stages=STAGES,
        exit_status=1,
        images=(RecordedImage(name="alpine:3", digest=name_digest("image")),),
        arguments=RecordedArguments(key="00ff", values={"A": "12", "TOKEN": None}),
        place=RecordedPlace(provider="github", branch="main"),
        tools=RecordedTools(buildkit="v0.25"),
    )
    history = make_history(
        record,
        notes=("a note",),
        present={name_digest("out"): 900},
        unsaved={name_digest("other")},
        places={name_digest("out"): "/o"},
    )
    document = read(history.to_dict("build"))
    (stage,) = document.pop("stages")
    assert document.pop("tools")["buildkit"] == "v0.25"
    assert document.pop("place")["branch"] == "main"
    assert document == {
        "scope": SCOPE,
        "source": "/store",
        "image": "image",
        "target": None,
        "branch": None,
        "started": STARTED,
        "seconds": 12.34,
        "exit_status": 1,
        "platforms": ["linux/amd64"],
        "images": [{"name": "alpine:3", "digest": name_digest("image")}],
        "arguments": {"A": "12", "TOKEN": None},
        "notes": ["a note"],
        "chains": [],
    }
    source, made = {"digest": name_digest("src")}, {"digest": name_digest("out"), "place": "/o"}
    assert stage == {
        "name": "build",
        "line": 4,
        "base": "base",
        "needed": True,
        "bytes": 940,
        "layers": [
            {**source, "bytes": 40, "shared": False, "present": False, "evicted": True},
            {**made, "bytes": 900, "shared": True, "present": True, "evicted": False},
        ],
        "steps": [
            describe("COPY src /src", 5, 0.26, "src"),
            describe("RUN make", 6, 75.0, "out"),
        ],
    }


def describe(text: str, line: int, seconds: float, *layers: str) -> dict[str, Any]:
    return {
        "text": text,
        "kind": "instruction",
        "lines": [line],
        "platforms": [],
        "outcome": "executed",
        "seconds": seconds,
        "log_bytes": 0,
        "layers": [name_digest(name) for name in layers],
        "error": "",
    }


def test_the_document_has_the_chain_of_a_stage() -> None:
    """The document has inherited steps with their stage, and their layers."""
    history = make_history(RECORD)
    document = read(history.to_dict("build", chain=True))
    (stage,) = document["stages"]
    seen = [(step["stage"], step["text"], step["kind"]) for step in stage["inherited"]]
    assert seen == [
        ("base", "FROM alpine:3", "from"),
        ("base", "RUN apk add make", "instruction"),
    ]
    assert stage["inherited"][0].keys() == {"stage", *stage["steps"][0].keys()}
    assert stage["inherited"][0]["outcome"] is None
    below = [(layer["digest"], layer["bytes"]) for layer in stage["inherited_layers"]]
    assert below == [
        (name_digest("a1"), 3_000_000),
        (name_digest("a2"), 1500),
        (name_digest("apk"), 70_000),
    ]


def test_the_document_of_chains_has_the_same_keys() -> None:
    """Values that need a record are null or empty in the document."""
    history = make_history(None, chains=CHAINS)
    document = read(history.to_dict())
    assert document.keys() == read(make_history(RECORD).to_dict()).keys()
    assert [[layer["bytes"] for layer in chain["layers"]] for chain in document["chains"]] == [
        [1000, 20],
        [1000, 3],
    ]
    assert [layer["shared"] for layer in document["chains"][0]["layers"]] == [True, False]
    empty = {key: document[key] for key in ("started", "platforms", "arguments", "place", "stages")}
    assert empty == {
        "started": None,
        "platforms": [],
        "arguments": {},
        "place": None,
        "stages": [],
    }


def test_a_document_can_contain_invalid_text() -> None:
    """A branch from a variable may contain bytes that are not UTF-8, and stays unchanged."""
    history = ugly_history()
    assert read(history.to_dict(chain=True))["scope"] == UGLY


AFTER = make_record(
    make_step("FROM alpine:3", 1, layers="a1:3000000 a3:1600"),
    make_step("RUN apk add make", 2, layers="apk:70000", parent=0),
    make_step("COPY src /src", 4, layers="src2:61", parent=1),
    make_step("RUN make", 5, layers="out:900", parent=2),
    make_step("RUN strip", 6, layers="strip:12000", parent=3),
    make_step("RUN test", 8, layers="test:7", parent=4),
    stages=make_stages(
        ("base", 1, "alpine:3"), ("build", 3, "base"), ("test", 7, "build"), ("-lint", 9, "base")
    ),
    started=STARTED + 120,
)


def compare(before: Record, after: Record, *, full: bool = False) -> list[str]:
    first, second = make_history(before), make_history(after)
    return render_difference(Difference.of(first, second), full=full).splitlines()


def test_two_builds_are_compared_by_stage() -> None:
    """The table, the changed steps and the sum are those written by hand."""
    assert compare(RECORD, AFTER) == [
        f"{SCOPE}, built 3 min ago -> {SCOPE}, built 65 s ago",
        "",
        "STAGE    LAYERS    GONE      NEW",
        "base     3 -> 3  1.5 kB   1.6 kB  changed",
        "build    2 -> 3    40 B  12.1 kB  changed",
        "test     0 -> 1              7 B      new",
        "stage-3  3 -> 0  3.0 MB              gone",
        "",
        "base:",
        "  - 1.5 kB  FROM alpine:3",
        "  + 1.6 kB  FROM alpine:3",
        "",
        "build:",
        "  -    40 B  COPY src /src",
        "  +    61 B  COPY src /src",
        "  + 12.0 kB  RUN strip",
        "",
        # 1500 + 40; 1600 + 61 + 12000 + 7; 3000000 + 70000 + 900.
        "in all 1.5 kB gone, 13.7 kB new, 3.1 MB in both; shared layers counted once",
    ]


def test_equal_builds_are_reported_as_equal() -> None:
    """A comparison of equal builds shows no step and says that no layers differ."""
    assert compare(RECORD, RECORD)[3:] == [
        "base     3 -> 3             same",
        "build    2 -> 2             same",
        "stage-3  3 -> 3             same",
        "",
        "no layers differ",
    ]


def test_unknown_layers_are_not_reported_as_equal() -> None:
    """Steps whose layers are unknown, as before buildx 0.14, are counted and not compared."""
    record = make_record(make_step("RUN x", stage="a"))
    assert compare(record, record)[-2:] == [
        "no layers differ",
        "the layers of 2 steps are unknown and not compared",
    ]
    nothing = make_record()
    assert compare(nothing, nothing)[1:] == ["", "the builds reported no stages"]


def test_a_replaced_step_is_followed_by_its_replacement() -> None:
    """A base image is matched despite its digest, and a step only for the same platform."""
    stages = make_stages(("a", 1, "x"))
    before = make_record(
        make_step("FROM x@1", 1, layers="x1:1"),
        make_step("RUN y", 2, layers="y1:2", platforms=(AMD,)),
        make_step("RUN y", 2, layers="y2:3", platforms=(ARM,)),
        stages=stages,
    )
    after = make_record(
        make_step("FROM x@2", 1, layers="x2:4"),
        make_step("RUN y", 2, layers="y3:5", platforms=(AMD,)),
        make_step("RUN z", 3, layers="y1:2", platforms=(AMD,)),
        make_step("RUN y", 2, layers="y4:6", platforms=(ARM,)),
        stages=stages,
    )
    assert compare(before, after)[6:11] == [
        "  - 1 B  FROM x@1",
        "  + 4 B  FROM x@2",
        "  - 3 B  RUN y",
        "  + 6 B  RUN y",
        "  + 5 B  RUN y",
    ]


def test_a_long_step_is_cut_in_a_comparison() -> None:
    """A comparison has at most 120 columns, unless `full` is set."""
    stages = make_stages(("a", 1, "scratch"))
    before, after = (
        make_record(make_step("RUN " + "x" * 200, 2, layers=f"{name}:1"), stages=stages)
        for name in ("one", "two")
    )
    assert max(map(len, compare(before, after))) == 120
    assert find_line(compare(before, after, full=True), "  - 1 B").endswith("x" * 200)


def test_a_comparison_has_a_json_document() -> None:
    """The document has full digests and each stage's state."""
    first, second = make_history(RECORD), make_history(AFTER)
    document = read(Difference.of(first, second).to_dict())
    assert document["before"] == {
        "scope": SCOPE,
        "source": "/store",
        "started": STARTED,
        "seconds": 83.2,
        "exit_status": 0,
    }
    assert document["after"]["started"] == STARTED + 120
    assert (document["same"], document["unknown_steps"]) == (False, 0)
    sums = [document[key] for key in ("gone_bytes", "new_bytes", "kept_bytes")]
    assert sums == [1540, 13_668, 3_070_900]
    states = [(stage["name"], stage["state"]) for stage in document["stages"]]
    assert states == [
        ("base", "changed"),
        ("build", "changed"),
        ("test", "new"),
        ("stage-3", "gone"),
    ]
    assert document["stages"][1] == {
        "name": "build",
        "state": "changed",
        "gone_bytes": 40,
        "new_bytes": 12_061,
        "gone": [{"digest": name_digest("src"), "bytes": 40}],
        "new": [
            {"digest": name_digest("src2"), "bytes": 61},
            {"digest": name_digest("strip"), "bytes": 12_000},
        ],
        "kept": [{"digest": name_digest("out"), "bytes": 900}],
        "steps": [
            {"change": "gone", "bytes": 40, "text": "COPY src /src"},
            {"change": "new", "bytes": 61, "text": "COPY src /src"},
            {"change": "new", "bytes": 12_000, "text": "RUN strip"},
        ],
    }
    same = read(Difference.of(first, first).to_dict())
    assert same["same"]
    assert {stage["state"] for stage in same["stages"]} == {"same"}
