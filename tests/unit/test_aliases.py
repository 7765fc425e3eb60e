"""Tests of the spellings of earlier versions."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from bxcache.cli.aliases import ALIASES
from bxcache.cli.commands import COMMANDS
from bxcache.cli.completion import VARIABLE
from bxcache.cli.main import cli, run
from bxcache.store.store import Store
from tests.support.layouts import build
from tests.support.registries import MemoryRegistry

WORDS = {
    ("key", "--dir"): ("key {old} {store}", "key {new} {store}"),
    ("registry", "--ref"): ("registry ls {old}={ref}", "registry ls {new}={ref}"),
    ("store", "--dir"): ("store ls {old} {store} --json", "store ls {new} {store} --json"),
    ("store", "collect"): ("store {old} --from {store}", "store {new} --from {store}"),
}
"""A command line for each alias, with the old spelling and with the new one."""
ROWS = [(owner, old, new) for owner, known in ALIASES.items() for old, new in known.items()]


@pytest.mark.parametrize(("owner", "old", "new"), ROWS)
def test_an_old_spelling_does_what_the_new_one_does(
    owner: str,
    old: str,
    new: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each old spelling has the new one's output and status, and one warning on stderr."""
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "store")
    build(store, "app", b"1")
    with MemoryRegistry() as registry:
        names = {"old": old, "new": new, "store": "store", "ref": f"{registry.address}/app"}
        before, after = (each.format(**names).split() for each in WORDS[owner, old])
        assert run(after) == 0
        expected = capsys.readouterr()
        assert run(before) == 0
    output = capsys.readouterr()
    assert output.out == expected.out
    assert expected.err == ""
    assert output.err.splitlines() == [
        f"warning: write `{new}` instead of `{old}`, which the next version does not know"
    ]


@pytest.mark.parametrize(("owner", "old", "new"), ROWS)
def test_the_help_has_only_the_new_spelling(
    owner: str, old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No help of the commands has an old spelling, and some help has the new one."""
    texts = []
    paths = [path for path in COMMANDS if path.split()[0] == owner]
    for path in {owner, *paths}:
        assert run([*path.split(), "--help"]) == 0
        output = capsys.readouterr()
        assert output.err == ""
        texts.append(output.out)
    assert not any(old in text.split() for text in texts)
    assert any(new in text.split() for text in texts)


def test_completion_does_not_warn(capsys: pytest.CaptureFixture[str]) -> None:
    """A shell that completes after an old spelling gets its answers and no warning."""
    offered = ShellComplete(cli, {}, "bxcache", VARIABLE)
    found = offered.get_completions(["store", "collect", "--dir", "x"], "--max")
    assert [each.value for each in found] == ["--max-size", "--max-age"]
    assert capsys.readouterr().err == ""
