"""The output files of several images: one each, with the image's name before the suffix."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from bxcache.cli.report_files import check_outside, to_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

_NO_FILE_NAME = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
"""Characters that some system forbids in file names."""


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """The files of one image; `log` is for BuildKit's stream."""

    reports: tuple[Path, ...] = ()
    trace: Path | None = None
    log: Path | None = None

    def list_paths(self) -> Iterator[Path]:
        """All the files."""
        yield from self.reports
        yield from filter(None, (self.trace, self.log))


def name_file(path: Path, name: str) -> Path:
    """The file of one image, when the option names one file for all images.

    >>> from pathlib import Path
    >>> print(name_file(Path("out/report.html"), "team/api"))
    out/report.team_api.html
    """
    return path.with_name(f"{path.stem}.{_NO_FILE_NAME.sub('_', name)}{path.suffix}")


def spread_files(
    values: Mapping[str, Any], names: Sequence[str], *, with_log: bool
) -> dict[str, ImageFiles]:
    """The files of each image.

    Args:
        values: the command's options.
        names: the images.
        with_log: give each image its own log; otherwise all share one.

    Raises:
        click.UsageError: a file cannot be written, or two images would write it.
    """
    trace, log = values["trace"], values["log"] if with_log else None
    files = {
        name: ImageFiles(
            tuple(name_file(each, name) for each in values["reports"]),
            name_file(trace, name) if trace is not None else None,
            name_file(log, name) if log is not None else None,
        )
        for name in names
    }
    own = [(f"`{name}`", path) for name, each in files.items() for path in each.list_paths()]
    shared = [] if with_log or values["log"] is None else [("`--log`", values["log"])]
    _check_owners([*shared, *own])
    check_outside(path for _, path in own)
    for _, path in own:
        to_file(path)
    return files


def _check_owners(owned: Iterable[tuple[str, Path]]) -> None:
    owners: dict[str, tuple[str, Path]] = {}
    for owner, path in owned:
        # Some file systems ignore case.
        real = os.path.realpath(path).casefold()
        other, first = owners.setdefault(real, (owner, path))
        if (other, first) != (owner, path):
            who = f"{owner} would write `{first}` twice"
            if other != owner:
                who = f"{other} and {owner} would both write `{first}`"
            raise click.UsageError(who)
