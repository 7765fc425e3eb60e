"""The actions of `bxcache builder`; `cli/builder.py` has their help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.cli.job_log import say, show
from bxcache.console import builders as console
from bxcache.pipeline.builder_list import list_builders
from bxcache.pipeline.builders import bring_up_builder, remove_builder

if TYPE_CHECKING:
    from pathlib import Path


def bring_up(config_file: Path | None, *, as_json: bool) -> None:
    up = bring_up_builder(config_file=config_file)
    for note in up.notes:
        say(f"note: {note}")
    show(up.to_dict, lambda: console.render_up(up), as_json=as_json)


def list_all(config_file: Path | None, *, as_json: bool) -> None:
    found = list_builders(config_file=config_file)
    for note in found.notes:
        say(f"note: {note}")
    show(found.to_dict, lambda: console.render_builders(found), as_json=as_json)


def remove(name: str | None, config_file: Path | None, *, dry_run: bool, as_json: bool) -> None:
    removed = remove_builder(name, dry_run=dry_run, config_file=config_file)
    for note in removed.notes:
        say(f"note: {note}")
    show(removed.to_dict, lambda: console.render_removed(removed), as_json=as_json)
