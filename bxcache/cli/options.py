"""Options that several commands have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = click.option("--config", "config_file", metavar="FILE", help="The config file.")
IMAGE = click.option("--image", metavar="NAME", help="One of the config file's [images].")
JSON = click.option("--json", "as_json", is_flag=True, help="Print a JSON document on stdout.")


def read_with(parser: str) -> Callable[..., int | None]:
    """The callback of an option whose value has a unit; its parser is in `config.quantities`."""

    def read(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
        from bxcache.config import quantities  # noqa: PLC0415  # help needs none of it

        try:
            return None if value is None else getattr(quantities, parser)(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return read
