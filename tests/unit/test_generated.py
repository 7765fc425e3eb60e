"""Tests that the generated files of the repository are up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bootstrap import ROOT
from tests.support.generated import GENERATED, list_unknown

STALE = "stale: run `python3 -m tests.regenerate`, and look at the difference before you commit it"


@pytest.mark.parametrize("name", GENERATED, ids=str)
def test_a_generated_file_is_up_to_date(name: Path) -> None:
    """Each schema is that of its model, and each report is the one last reviewed."""
    assert (ROOT / name).read_text(encoding="utf-8") == GENERATED[name](), STALE


def test_only_generated_files_are_beside_them() -> None:
    """Each file in the folders of generated files is generated, and so compared."""
    assert not list_unknown(), STALE
