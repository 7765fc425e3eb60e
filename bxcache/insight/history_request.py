"""Which build a caller means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypedDict, Unpack

from msgspec import Struct, field


class HistoryOptions(TypedDict, total=False):
    """Which build is meant, where its name is not enough.

    Attributes:
        source: the store's directory or the registry's ref, instead of the configured backends.
        target: the stage that was built, if it is not the last one.
        branch: the branch, instead of the one that CI or git reports.
        platform: show only what was built for this platform.
        config_file: the config file to use instead of the one that is found.
        directory: the directory to look from, instead of the working directory.
    """

    source: str | os.PathLike[str] | None
    target: str | None
    branch: str | None
    platform: str | None
    config_file: str | os.PathLike[str] | None
    directory: str | os.PathLike[str]


class HistoryRequest(Struct, frozen=True):
    """Which build is meant; see `HistoryOptions`.

    Attributes:
        name: an image or a scope; `~N` after it, or alone, is the Nth build before the last one.
            By default, and with no other option, the last build in the directory.
        with_places: also find where each layer is stored.
    """

    name: str | None = None
    source: str | None = None
    target: str | None = None
    branch: str | None = None
    platform: str | None = None
    config_file: Path | None = None
    directory: Path = field(default_factory=Path.cwd)
    with_places: bool = False

    @classmethod
    def of(cls, name: str | None, **options: Unpack[HistoryOptions]) -> HistoryRequest:
        """The request that a caller's options make; paths may be strings."""
        source, file = options.get("source"), options.get("config_file")
        given: dict[str, Any] = {
            **options,
            "source": None if source is None else os.fspath(source),
            "config_file": Path(file) if file else None,
            "directory": Path(options.get("directory", "")).absolute(),
        }
        return cls(name, **given)
