"""The examples that the help ends with."""

from __future__ import annotations

import shlex

import click
import pytest

from bxcache.cli.examples import EXAMPLES, list_commands
from bxcache.cli.main import cli, split_extra

COMMANDS = dict(list_commands(cli))
LINES = [
    (path, line)
    for path, lines in EXAMPLES.items()
    for line in lines
    if line.startswith("bxcache ")
]


def test_every_command_has_examples() -> None:
    """And there are none of commands that do not exist."""
    assert EXAMPLES.keys() == COMMANDS.keys()


@pytest.mark.parametrize(("path", "line"), LINES, ids=[line for _, line in LINES])
def test_an_example_is_understood(path: str, line: str) -> None:
    """Its flags and arguments are those that the command has."""
    words = shlex.split(line.partition(" > ")[0])[1:]
    own, _ = split_extra(words)
    depth = len(path.split())
    assert list(own[:depth]) == path.split()
    with click.Context(COMMANDS[path]) as context:
        COMMANDS[path].parse_args(context, list(own[depth:]))


@pytest.mark.parametrize("path", COMMANDS)
def test_the_help_ends_with_them(path: str) -> None:
    """Each on a line of its own, as it is to be typed."""
    shown = COMMANDS[path].get_help(click.Context(COMMANDS[path], info_name=path))
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    assert tuple(lines[-len(EXAMPLES[path]) :]) == EXAMPLES[path]
