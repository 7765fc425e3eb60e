"""Pushes of stages side by side: what is told of several that fail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from bxcache.errors import RegistryError, StoppedError, Trouble
from bxcache.scope import Scope
from bxcache.stage_push import Export, _bake_all
from bxcache.store.store import Store
from tests.synthetic_build import make_run

if TYPE_CHECKING:
    from collections.abc import Sequence

REFUSED = RegistryError("r.example.com", "saving", "502", trouble=Trouble.SICK)
NOT_BEGUN = StoppedError("the stages before it were not saved")


@pytest.mark.parametrize("order", [(REFUSED, NOT_BEGUN), (NOT_BEGUN, REFUSED)])
def test_the_registry_is_to_blame_and_not_who_waited(
    order: Sequence[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever comes first: what is told is a warning, and not that the build was stopped."""
    scope = Scope("image", None, ("linux/amd64",), "main")
    run = make_run(tmp_path, Store(tmp_path / "store"), scope)
    export = Export(run, cast("Any", None), cast("Any", None), cast("Any", None), "main", "")

    def fail(_export: object, document: dict[str, Any], _turn: object) -> None:
        raise order[document["number"]]

    monkeypatch.setattr("bxcache.stage_push._bake", fail)
    with pytest.raises(RegistryError, match="502"):
        _bake_all(export, [{"number": cast("Any", number)} for number in range(2)])
