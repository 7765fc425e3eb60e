"""From the options of a build to a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bxcache.cli.report_files import is_wanted
from bxcache.pipeline.request import STDERR, STDOUT, BuildOptions, BuildRequest


def to_request(
    values: dict[str, Any], extra: tuple[str, ...], path: str | None = None
) -> BuildRequest:
    """The request that the options make, for a build context where one is named."""
    options = {
        name: values[name]
        for name in BuildOptions.__annotations__
        if values.get(name) not in (None, (), {})
    }
    if path is not None:
        options["context"] = path
    own = values["as_json"] or values["layers"] or choose_mode(values) == "quiet"
    return BuildRequest(
        options=options,
        extra=extra,
        image=values.get("image"),
        config_file=Path(values["config_file"]) if values["config_file"] else None,
        raw=choose_mode(values) == "rawjson" or values["log"] is not None,
        stdout=STDERR if own else STDOUT,
        with_earlier=is_wanted(values.get("reports", ())),
    )


def choose_mode(values: dict[str, Any]) -> str:
    """How progress is shown."""
    return "quiet" if values["quiet"] else str(values["progress"])
