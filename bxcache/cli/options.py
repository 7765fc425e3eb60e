"""Options that several commands have, and kinds of options."""

from __future__ import annotations

from functools import partial, reduce
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

flag = partial(click.option, is_flag=True)
repeated = partial(click.option, multiple=True)


def together(*options: Decorator) -> Decorator:
    """Several options as one, in the order of the help."""
    return lambda command: reduce(lambda done, option: option(done), reversed(options), command)


def to_path(text: str) -> Path | None:
    """The type of an optional path; an empty text counts as not given."""
    return Path(text) if text else None


def read_with(parser: str) -> Callable[[str], Any]:
    """The type of values that `MODULE.FUNCTION` of `bxcache.config` parses, imported only then."""

    def read(text: str) -> Any:  # noqa: ANN401  # whatever the parser returns
        module, _, name = parser.partition(".")
        try:
            return getattr(import_module(f"bxcache.config.{module}"), name)(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return read


AGE, SIZE = read_with("quantities.parse_age"), read_with("quantities.parse_size")
"""Types of values with a unit."""
BRANCH = click.option(
    "--branch", metavar="NAME", help="The branch, if not the one that CI or git reports."
)
CONFIG = click.option(
    "--config", "config_file", type=to_path, metavar="FILE", help="The config file."
)
IMAGE = click.option("--image", metavar="NAME", help="One of the config file's [images].")
JSON = flag("--json", "as_json", help="Print a JSON document on stdout.")
PREVIEW = flag("--dry-run", help="Only show what would be removed.")
