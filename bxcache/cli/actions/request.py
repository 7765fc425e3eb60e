"""From the options of a build to a request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.commands import find_extra
from bxcache.cli.files import check_alone, is_wanted
from bxcache.pipeline.options import BuildOptions
from bxcache.pipeline.request import STDERR, STDOUT, BuildRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


def check_options(values: dict[str, Any]) -> None:
    """Refuse options that exclude each other, and what `check_alone` refuses."""
    if values["layers"] and (values["as_json"] or choose_mode(values) == "quiet"):
        raise click.UsageError(
            "`--layers` cannot be combined with `--json` (which includes them) or `--quiet`"
        )
    check_alone((*values["reports"], values["trace"], values["log"]))


def to_request(values: dict[str, Any], path: str | None = None) -> BuildRequest:
    """The request that the options make, for a build context where one is named."""
    options = {
        name: values[name]
        for name in BuildOptions.__annotations__
        if values.get(name) not in (None, (), {})
    }
    if path is not None:
        options["context"] = path
    mode = choose_mode(values)
    return BuildRequest(
        options=options,
        extra=(*_list_questions(values), *find_extra()),
        image=values.get("image"),
        config_file=values["config_file"],
        raw=mode == "rawjson" or values["log"] is not None,
        stdout=STDERR if values["as_json"] or values["layers"] or mode == "quiet" else STDOUT,
        # A process that has waited for nothing has only used its processor since it began.
        began=time.time() - time.process_time(),
        with_earlier=is_wanted(values["reports"]),
    )


def _list_questions(values: dict[str, Any]) -> Iterator[str]:
    """List the flags that make docker answer instead of building."""
    for name in ("check", "print"):
        if values.get(name):
            yield f"--{name}"
    for name in ("call", "list"):
        if values.get(name):
            yield f"--{name}={values[name]}"


def choose_plain_mode(values: dict[str, Any]) -> str:
    """The value of docker's own `--progress` that fits best where docker itself prints."""
    return {"rawjson": "rawjson", "quiet": "quiet", "none": "quiet"}.get(
        choose_mode(values), "plain"
    )


def choose_mode(values: dict[str, Any]) -> str:
    return "quiet" if values["quiet"] else str(values["progress"])
