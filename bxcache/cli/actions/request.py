"""From the options of a build to a request."""

from __future__ import annotations

from typing import Any

import click

from bxcache.cli.commands import find_extra
from bxcache.cli.files import check_alone, is_wanted
from bxcache.pipeline.request import STDERR, STDOUT, BuildOptions, BuildRequest


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
        extra=find_extra(),
        image=values.get("image"),
        config_file=values["config_file"],
        raw=mode == "rawjson" or values["log"] is not None,
        stdout=STDERR if values["as_json"] or values["layers"] or mode == "quiet" else STDOUT,
        with_earlier=is_wanted(values["reports"]),
    )


def choose_mode(values: dict[str, Any]) -> str:
    return "quiet" if values["quiet"] else str(values["progress"])
