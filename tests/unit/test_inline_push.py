"""Tests of pushing stages side by side, and of the errors of several that fail."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from msgspec.structs import replace

from bxcache.backends.inline_push import _bake_all, _write_files, restore_names
from bxcache.buildx.dockerfile import list_stages, name_stages
from bxcache.buildx.metadata import Definition, Metadata
from bxcache.buildx.run import RunResult
from bxcache.buildx.stream.events import Outcome, Transferred
from bxcache.buildx.stream.names import Transfer, parse_step_name
from bxcache.buildx.stream.trace import Trace, TracedSource, TracedStep
from bxcache.errors import RegistryError
from bxcache.place.scope import Owner, Scope
from bxcache.store.store import Store
from tests.support.backends import make_registry
from tests.support.synthetic_build import make_prepared, make_silent_runner

if TYPE_CHECKING:
    from collections.abc import Callable

    from bxcache.backends.base import CacheUse
    from bxcache.buildx.run import Runner
    from bxcache.buildx.stream.events import Event

REF = "r.example.com/app:main"
USE: CacheUse = cast("Any", SimpleNamespace(place=REF, backend=make_registry(REF)))
DONE, FAILED = ((RunResult(status, Trace(), Metadata(), 1.0), "") for status in (0, 1))


def make_classic_runner(folder: Path) -> Runner:
    """Make a runner for an engine with the classic image store."""
    scope = Scope("image", None, ("linux/amd64",), Owner.of_branch("main"))
    runner = make_silent_runner(make_prepared(folder, Store(folder / "store"), scope))
    builder = SimpleNamespace(is_classic=True, name="default")
    return replace(runner, capabilities=cast("Any", SimpleNamespace(builder=builder)))


@pytest.fixture(autouse=True)
def _no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bxcache.backends.inline_push.remove_images", lambda *_: None)


@pytest.mark.parametrize("failing", [0, 1, 4])
def test_the_error_is_that_of_the_registry(
    failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the registry's, not a waiting push's, and pushes after it do not start."""
    runner = make_classic_runner(tmp_path)
    baked: list[int] = []

    def bake(*_: object, feed: Callable[[], str], **__: object) -> tuple[RunResult, str]:
        (name,) = json.loads(feed())["target"]
        baked.append(int(name))
        return FAILED if baked[-1] == failing else DONE

    monkeypatch.setattr("bxcache.backends.inline_push.run_quietly", bake)
    documents = [{"target": {str(number): {"tags": [REF]}}} for number in range(5)]
    with pytest.raises(RegistryError, match="saving"):
        _bake_all(runner, USE, cast("Any", documents))
    assert baked == [*range(failing + 1)]


@pytest.mark.parametrize(
    "released",
    [
        Transferred(Transfer.PUSH, "layer", 1, 2, done=False),
        Transferred(Transfer.SEND, "context", 2, 2, done=True, is_context=True),
    ],
    ids=["pushes", "has sent its context"],
)
def test_a_push_without_the_context_does_not_delay_the_next(
    released: Transferred, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the classic image store, the next bake starts once the first one left the context."""
    runner = make_classic_runner(tmp_path)
    second_began = threading.Event()

    def bake(
        *_: object, feed: Callable[[], str], observe: Callable[[Event], None], **__: object
    ) -> tuple[RunResult, str]:
        (name,) = json.loads(feed())["target"]
        if name == "1":
            second_began.set()
        observe(released)
        assert second_began.wait(30)
        return DONE

    monkeypatch.setattr("bxcache.backends.inline_push.run_quietly", bake)
    documents = [{"target": {str(number): {"tags": [REF]}}} for number in range(2)]
    assert len(_bake_all(runner, USE, cast("Any", documents))) == 2


def test_the_names_of_a_copy_are_restored() -> None:
    """Steps, bases and the Dockerfile have the original names, not those of the copy."""
    text = "FROM a\nRUN x\nFROM b AS last\nCOPY --from=0 / /\n"
    names = {list_stages(text)[0]: "bxcache-stage-0"}

    def hear(stage: str, dockerfile: str) -> RunResult:
        run, head = (parse_step_name(f"[{stage} {each}") for each in ("2/2] RUN x", "1/2] FROM a"))
        last = parse_step_name("[last 2/2] COPY --from=0 / /")
        assert run is not None
        assert last is not None
        steps = [TracedStep(each, ("v",), Outcome.REUSED, 0.0) for each in (run, last)]
        trace = Trace(steps=tuple(steps), sources=(TracedSource("s", "FROM a", head, 0.0),))
        return RunResult(0, trace, Metadata(None, (Definition(None, dockerfile, ()),)), 1.0)

    told = hear("bxcache-stage-0", name_stages(text, names))
    assert restore_names(told, text, names) == hear("stage-0", text)


def test_every_stage_of_a_shared_name_can_be_built(tmp_path: Path) -> None:
    """Each stage of a shared name is the last of that name in its file, after the same stages."""
    text = "FROM a AS x\nRUN 1\nFROM x AS y\nFROM b AS x\nRUN 2\nFROM x\nRUN 3"
    original = tmp_path / "Dockerfile"
    stages = list_stages(text)
    files = _write_files(stages, original, text, {}, tmp_path)
    for stage in stages[:3]:
        file = files[stage]
        found = list_stages(text if file == original else file.read_text())
        assert [each for each in found if each.name == stage.name][-1].line == stage.line
        assert found[: stages.index(stage)] == stages[: stages.index(stage)]
    assert [files[each] == original for each in stages] == [False, True, True, True]
