"""Tests of the tables of `docs/json.md`."""

from __future__ import annotations

import re

from bxcache.cli.commands import COMMANDS, load_command
from tests.support.json_reference import PAGE

ROWS = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)


def test_a_key_that_may_be_null_says_when() -> None:
    """A key has the type `null` where its meaning says what `null` stands for, and nowhere else."""
    assert len(ROWS) > 40
    said = {key for key, _, meaning in ROWS if "`null`" in meaning}
    assert {"digest", "line", "saved_seconds"} <= said
    for key, kind, meaning in ROWS:
        assert kind.endswith(" or `null`") == ("`null`" in meaning), key


def test_every_command_with_a_document_is_named() -> None:
    """The page names each command that has `--json`."""
    named = set(re.findall(r"`bxcache ([a-z ]+?)(?: --[a-z -]*)?`", PAGE.read_text()))
    found = {
        path
        for path in COMMANDS
        if any("--json" in each.opts for each in load_command(path).params)
    }
    assert len(found) > 10
    assert found - named == set()
