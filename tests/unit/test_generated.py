"""The generated files of the repository are those that its code makes today."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bootstrap import ROOT
from tests.support.generated import GENERATED, list_unknown

STALE = "stale: run `python3 -m tests.regenerate`, and look at the difference before you commit it"


@pytest.mark.parametrize("name", GENERATED, ids=str)
def test_a_generated_file_is_as_its_code_makes_it(name: Path) -> None:
    """Schemas are those of the models; reports say what they said when somebody last read them."""
    assert (ROOT / name).read_text(encoding="utf-8") == GENERATED[name](), STALE


def test_nothing_else_stands_beside_generated_files() -> None:
    """A file that nothing makes is never compared."""
    assert not list_unknown(), STALE
