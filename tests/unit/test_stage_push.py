"""Pushes of stages side by side: what is told of several that fail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from bxcache.backends.inline_push import Export, _bake_all, _StageFiles, restore_names
from bxcache.buildx.dockerfile import list_stages, name_stages
from bxcache.buildx.metadata import Definition, Metadata
from bxcache.buildx.run import RunResult
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import parse_step_name
from bxcache.buildx.stream.trace import Trace, TracedSource, TracedStep
from bxcache.errors import RegistryError, StoppedError, Trouble
from bxcache.place.scope import Owner, Scope
from bxcache.store.store import Store
from tests.support.synthetic_build import make_prepared, make_silent_runner

if TYPE_CHECKING:
    from collections.abc import Sequence

REFUSED = RegistryError("r.example.com", "saving", "502", trouble=Trouble.SICK)
NOT_BEGUN = StoppedError("the stages before it were not saved")


@pytest.mark.parametrize("order", [(REFUSED, NOT_BEGUN), (NOT_BEGUN, REFUSED)])
def test_the_registry_is_to_blame_and_not_who_waited(
    order: Sequence[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever comes first: what is told is a warning, and not that the build was stopped."""
    scope = Scope("image", None, ("linux/amd64",), Owner.of_branch("main"))
    runner = make_silent_runner(make_prepared(tmp_path, Store(tmp_path / "store"), scope))
    export = Export(runner, cast("Any", None), cast("Any", None), cast("Any", None), "main", "")

    def fail(_export: object, document: dict[str, Any], _turn: object) -> None:
        raise order[document["number"]]

    monkeypatch.setattr("bxcache.backends.inline_push._bake", fail)
    with pytest.raises(RegistryError, match="502"):
        _bake_all(export, [{"number": cast("Any", number)} for number in range(2)])


def test_what_a_copy_has_for_names_is_not_told() -> None:
    """Steps, bases and the Dockerfile are as without the copy."""
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


def test_every_stage_of_a_name_can_be_built_by_it(tmp_path: Path) -> None:
    """Docker builds the last one that a file has; all that a stage is made of stands before it."""
    text = "FROM a AS x\nRUN 1\nFROM x AS y\nFROM b AS x\nRUN 2\nFROM x\nRUN 3"
    original = tmp_path / "Dockerfile"
    stages = list_stages(text)
    files = _StageFiles(original, text, {}, tmp_path)
    for stage in stages[:3]:
        file = files.find(stage)
        found = list_stages(text if file == original else file.read_text())
        assert [each for each in found if each.name == stage.name][-1].line == stage.line
        assert found[: stages.index(stage)] == stages[: stages.index(stage)]
    assert [files.find(each) == original for each in stages] == [False, True, True, True]
