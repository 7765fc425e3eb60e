"""The forms for issues are valid, by GitHub's schemas as check-jsonschema has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from check_jsonschema import main as check_jsonschema  # type: ignore[import-untyped]
from click.testing import CliRunner

from tests.bootstrap import ROOT

FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").iterdir())


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_a_form_is_valid(form: Path) -> None:
    """Each form, and what stands beside them, has only keys that GitHub knows."""
    schema = "config" if form.stem == "config" else "forms"
    words = ["--builtin-schema", f"vendor.github-issue-{schema}", str(form)]
    checked = CliRunner().invoke(check_jsonschema, words)
    assert checked.exit_code == 0, checked.output


def test_there_is_a_form_for_bugs_and_one_for_features() -> None:
    """The chooser has both forms."""
    assert [form.name for form in FORMS] == ["bug.yml", "config.yml", "feature.yml"]
