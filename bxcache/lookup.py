"""Finds what is known of a scope, wherever its cache is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bxcache.insight.history import History


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """What somebody wants to know of.

    Attributes:
        name: an image of the config file, or a scope; `~N` behind it, or alone, is the Nth build
            before the last one.
        source: the store's directory or the registry's ref, instead of the configured backends.
        target: the stage that was built, where that is not the last.
        branch: the branch, instead of the one that CI or git tells.
        platform: only what was built for this one.
        config_file: the config file to use instead of the one that is found.
        directory: the working directory.
        with_places: also tell where each layer lies.
    """

    name: str | None = None
    source: str | None = None
    target: str | None = None
    branch: str | None = None
    platform: str | None = None
    config_file: Path | None = None
    directory: Path = field(default_factory=Path.cwd)
    with_places: bool = False


def find_history(request: HistoryRequest) -> History:
    """What is known of a scope.

    Raises:
        ConfigError: the configuration is wrong.
        RecordError: there is no such scope or build, or its record is of no use.
        StoreError: the store cannot be read.
        RegistryError: the registry does not tell.
    """
    raise NotImplementedError(request)
