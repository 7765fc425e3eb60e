"""Tests that commands end without a traceback, whatever a store's documents contain."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest

from bxcache.buildx.stream.events import Outcome
from bxcache.cli.main import run
from bxcache.errors import EXIT_BUG, RecordError
from bxcache.insight.record import parse_record
from bxcache.insight.record_parts import RecordedArguments, RecordedCache, RecordedImage, Verdict
from bxcache.pipeline.result import BuildResult
from bxcache.store.journal import parse_page
from bxcache.store.store import Store
from tests.support.histories import SCOPE, make_record, make_stages, make_step
from tests.support.layouts import build
from tests.support.sampling import Effort

EXTREMES: tuple[object, ...] = (
    *(1.7e308, 1e9, (1 << 60) - 1, 10**400, -1),
    *("", "no hex", "a\0b", [], None),
)
WHOLE = make_record(
    make_step("FROM alpine", 1, layers="base:10", stage="build"),
    make_step("RUN a", 2, layers="a:10", stage="build", seconds=7.0, parent=0, log="said"),
    make_step("RUN b", 3, layers="b:10", stage="build", outcome=Outcome.REUSED, parent=1),
    stages=make_stages(("build", 1, "alpine")),
    images=(RecordedImage(name="alpine", digest=f"sha256:{64 * 'a'}"),),
    arguments=RecordedArguments(key="00ff", values={"A": "0123"}),
    caches=(RecordedCache(backend="local", place="/s", scope=SCOPE, bytes=7, new_bytes=7),),
    gates=(Verdict(gate="min_hit_ratio", reason="0.5 is below 0.8", fails=True),),
    warnings=("a warning",),
    context=".",
    file="Dockerfile",
)
DONE = BuildResult(0, None, (), (), (), (), 1.0)
COMMANDS = (
    ["report", *(f"--output=report.{form}" for form in ("json", "md", "html"))],
    ["report", "--trace=trace.json"],
    ["history"],
    ["history", "--json"],
    ["history", "--stage=build", "--export=files", "--", "--build-arg=A=b"],
)


def list_changed(document: Any, top: Any) -> Iterator[str]:  # noqa: ANN401  # JSON
    """Yield copies of a document, each with one value replaced by an extreme."""
    if not isinstance(document, dict | list):
        return
    for key in list(document) if isinstance(document, dict) else range(len(document)):
        before = document[key]
        for extreme in EXTREMES:
            document[key] = extreme
            yield json.dumps(top)
        document[key] = before
        yield from list_changed(before, top)


def list_alike(text: str) -> Iterator[str]:
    """Yield copies of a document, each with all values of one key replaced by an extreme."""
    for key in set(re.findall(r'"(\w+)":', text)):
        for extreme in EXTREMES:
            yield json.dumps(json.loads(text, object_hook=partial(change, key, extreme)))


def change(key: str, value: object, part: dict[str, object]) -> dict[str, object]:
    return {name: value if name == key else each for name, each in part.items()}


def is_record(text: str) -> bool:
    try:
        parse_record(text.encode(), "here")
    except RecordError:
        return False
    return True


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Make a project whose store has a record of a build."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bxcache.pipeline.extract.run_build", lambda *_: DONE)
    Path("Dockerfile").write_text("FROM alpine AS build\nRUN a\nRUN b\n")
    made = Store(tmp_path / "store")
    build(made, SCOPE, b"one")
    made.add_record(SCOPE, WHOLE.to_json())
    return made


def test_a_record_with_any_value_is_not_a_bug(
    store: Store,
    capsys: pytest.CaptureFixture[str],
    effort: Effort,
) -> None:
    """A record with an extreme value is reported, or refused as damaged."""
    document = json.loads(WHOLE.model_dump_json())
    file = store.path / ".bxcache" / "records" / f"{SCOPE}.jsonl"
    bugs = []
    # A sample tries two or three extremes in each place, each of them equally often.
    changed = islice(
        list_changed(document, document), 0, None, {"sample": 4, "thorough": 1}[effort]
    )
    for text in chain(changed, list_alike(WHOLE.model_dump_json())):
        file.write_text(f"{text}\n")
        for command in COMMANDS if is_record(text) else ():
            status = run([command[0], SCOPE, f"--from={store.path}", *command[1:]])
            if status == EXIT_BUG:
                bugs.append((command[0], capsys.readouterr().err[-300:], text))
    assert not bugs, [bug[:2] for bug in bugs]


PAGE_COMMANDS = (
    ["ls"],
    ["ls", "--json"],
    ["du"],
    ["prune", "--dry-run", "--max-size=10", "--max-age=1h"],
    ["pack", "packed.tar.zst"],
    ["unpack", "packed.tar.zst"],
)


def test_a_page_with_any_value_is_not_a_bug(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page with impossible values causes no traceback in any command of the store."""
    build(store, SCOPE, b"one", b"two", seconds={b"one": 3.0, b"two": 4.0})
    (file,) = (store.path / ".bxcache" / "scopes").iterdir()
    whole = file.read_text()
    for text in list_alike(whole):
        # An invalid page is invalid to all commands; some commands read only the head of a page.
        for command in PAGE_COMMANDS if parse_page(text.encode()) else PAGE_COMMANDS[:1]:
            file.write_text(f"{text}\n")
            status = run(["store", command[0], f"--from={store.path}", *command[1:]])
            assert status != EXIT_BUG, (command, text, capsys.readouterr().err[-600:])
        Path("packed.tar.zst").unlink(missing_ok=True)
