"""Tests of the help of the commands and its examples."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from bxcache.cli.commands import COMMANDS as ENTRIES
from bxcache.cli.commands import GROUPS, load_command
from bxcache.cli.main import cli, split_extra
from bxcache.version import DOCS
from tests.bootstrap import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = {path: load_command(path) for path in ENTRIES}
EXAMPLES = {path: examples for path, (_, *examples) in ENTRIES.items()}
LINES = [
    (path, line)
    for path, examples in EXAMPLES.items()
    for line in examples
    if line.startswith("bxcache ")
]


def list_placeholders(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield the commands of a group and its subgroups, with their paths."""
    for name, command in group.commands.items():
        path = f"{above} {name}".strip()
        if isinstance(command, click.Group):
            yield from list_placeholders(command, path)
        else:
            yield path, command


def test_every_command_has_examples() -> None:
    """Every command of the program has an entry with examples, and every entry is a command."""
    listed = dict(list_placeholders(cli))
    assert listed.keys() == COMMANDS.keys()
    assert all(EXAMPLES.values())
    for path, command in listed.items():
        assert command.name == COMMANDS[path].name == path.split()[-1]
        assert command.get_short_help_str() == COMMANDS[path].get_short_help_str()


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_is_imported_when_it_is_used(path: str) -> None:
    """The help of a command comes from its module, not from the row of the table."""
    done = CliRunner().invoke(cli, [*path.split(), "--help"], prog_name="bxcache")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Usage: bxcache {path} ")
    assert (COMMANDS[path].help or "").split()[:8] == done.stdout.split("\n\n")[1].split()[:8]


@pytest.mark.parametrize(("path", "line"), LINES, ids=[line for _, line in LINES])
def test_an_example_can_be_parsed(path: str, line: str) -> None:
    """Every example is parsed with the flags and arguments of its command."""
    words = shlex.split(line.partition(" > ")[0])[1:]
    own, _ = split_extra(words)
    depth = len(path.split())
    assert list(own[:depth]) == path.split()
    with click.Context(COMMANDS[path]) as context:
        COMMANDS[path].parse_args(context, list(own[depth:]))


@pytest.mark.parametrize("path", COMMANDS)
def test_the_help_ends_with_the_examples_and_a_page(path: str) -> None:
    """The help ends with the examples, each on its own line, and the link to a page."""
    shown = COMMANDS[path].get_help(click.Context(COMMANDS[path], info_name=path))
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    assert lines[-len(EXAMPLES[path]) - 1 : -1] == EXAMPLES[path]
    assert lines[-1].startswith(f"Docs: {DOCS}/")


@pytest.mark.parametrize("path", ["", *GROUPS, *COMMANDS])
def test_the_page_of_a_help_exists(path: str) -> None:
    """Each help ends with a link to an existing page of the documentation, and to its heading."""
    shown = CliRunner().invoke(cli, [*path.split(), "--help"], prog_name="bxcache").stdout
    page, _, anchor = shown.rstrip().rpartition(f"Docs: {DOCS}/")[2].partition("#")
    text = (ROOT / "docs" / page).read_text()
    headings = [line.lstrip("# ").lower() for line in text.splitlines() if line.startswith("#")]
    assert not anchor or anchor in [each.replace(" ", "-") for each in headings]
