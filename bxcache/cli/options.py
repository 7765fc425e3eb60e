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


def under(heading: str, *options: Decorator) -> Decorator:
    """Several options as one, under a heading of the help."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        before = len(getattr(command, "__click_params__", ()))
        done = together(*options)(command)
        for parameter in getattr(done, "__click_params__", ())[before:]:
            parameter.heading = heading
        return done

    return decorate


class GroupedCommand(click.Command):
    """A command whose help lists the options under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of each heading, those without one last."""
        listed: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                names, text = record
                repeated = isinstance(parameter, click.Option) and parameter.multiple
                rows = listed.setdefault(getattr(parameter, "heading", ""), [])
                rows.append((names, f"{text}  [repeatable]" if repeated else text))
        for heading in sorted(listed, key=bool, reverse=True):
            with formatter.section(heading or "Options"):
                formatter.write_dl(listed[heading])


class Choice(click.Choice):  # type: ignore[type-arg]  # click 8.1 has none
    """A choice whose error names the most similar value."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        """Find the value among the choices."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            from bxcache.config.problems import suggest  # noqa: PLC0415  # only an error

            similar = suggest(str(value), self.choices)
            text = f"{error.message.rstrip('.')}{similar}" if similar else error.message
            raise click.BadParameter(text, ctx, param) from error


def to_path(text: str) -> Path | None:
    """The type of an optional path; an empty text counts as not given."""
    return Path(text) if text else None


def read_with(parser: str) -> Callable[[Any], Any]:
    """The type of values that `MODULE.FUNCTION` of `bxcache.config` parses, imported only then."""

    def read(text: Any) -> Any:  # noqa: ANN401  # whatever the parser takes and returns
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
