"""What all backends share: the flags that docker is given for a cache, and what was saved to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.buildx.command import Saving
from bxcache.buildx.option_text import Attributes, render_options
from bxcache.buildx.run import Runner, RunResult, run_quietly
from bxcache.buildx.stream.names import EXPORTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.buildx.stream.trace import CacheTransfer
    from bxcache.config.backends import Backend

IMPORT = "--cache-from"
EXPORT = "--cache-to"


@dataclass(frozen=True, slots=True)
class CacheUse:
    """One cache flag of the build.

    Attributes:
        flag: `--cache-from` or `--cache-to`.
        backend: the type that was declared. An inline cache is imported as `registry`.
        place: the store's directory or the ref, for people.
        scope: the scope's name.
        attributes: what docker is told.
        reason: why this cache is used.
    """

    flag: str
    backend: str
    place: str
    scope: str
    attributes: Attributes
    reason: str

    @property
    def option(self) -> tuple[str, str]:
        """The flag with its value."""
        return self.flag, render_options(self.attributes)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cache that a build may start from.

    Attributes:
        backend: where it is kept.
        place: the store's directory or the ref, for people.
        scope: the scope's name.
        what: whose cache it is to the build.
    """

    backend: Backend
    place: str
    scope: str
    what: str


@dataclass(frozen=True, slots=True)
class CacheResult:
    """What became of one cache.

    Attributes:
        backend: `local`, `registry` or `inline`.
        place: the store's directory or the ref.
        scope: the scope's name.
        digest: the manifest that was saved, or else the one that was imported; None if unknown.
        bytes: the size of what the scope now has there; None if unknown. A local store can have
            dropped a part of what was saved.
        imported: the build started from it.
        exported: the build was saved to it.
        aliased: it is now what another scope of the same registry is; nothing was uploaded.
        new_bytes: the part of `bytes` that was not there before; None if unknown.
        unchanged: what there was to save was there already.
        layers: how many different layers the scope has; None if unknown.
        contents: the layers that the build saved there or found saved, by digest; None if unknown.
        store_bytes: the size of the whole store afterwards; None for other backends.
        store_budget: how large the store may be, in bytes; None where no bound is known.
        freed_bytes: the size of what the store dropped afterwards; None for other backends.
        seconds: how long saving to a registry took; None where that was a part of the build.
    """

    backend: str
    place: str
    scope: str
    digest: str | None = None
    bytes: int | None = None
    imported: bool = False
    exported: bool = False
    new_bytes: int | None = None
    unchanged: bool = False
    layers: int | None = None
    store_bytes: int | None = None
    store_budget: int | None = None
    freed_bytes: int | None = None
    aliased: bool = False
    seconds: float | None = None
    contents: frozenset[str] | None = None


def save_quietly(
    runner: Runner, imports: Sequence[CacheUse], use: CacheUse, seconds: float, platform: str = ""
) -> tuple[RunResult, list[CacheTransfer], str]:
    """Save what was built to one cache.

    Args:
        runner: the build.
        imports: what the build starts from.
        use: the cache.
        seconds: how long that may take.
        platform: the only platform that is saved; all of the build's where it is empty.

    Returns:
        what became of the run, its exports, and why they are not what they were to be, or nothing.
    """
    options = tuple(each.option for each in (*imports, use))
    saving = Saving(options, runner.name_metadata(), platform)
    ran, ended = run_quietly(runner, runner.repeat(saving), seconds)
    transfers = ran.trace.find_transfers(EXPORTS[use.backend])
    return ran, transfers, find_trouble(ran, transfers, ended)


def find_trouble(ran: RunResult, transfers: Sequence[CacheTransfer], ended: str) -> str:
    """Why a run that was to save something did not, or an empty string.

    Args:
        ran: what became of the run.
        transfers: its exports of what was to be saved.
        ended: why it was ended early, or an empty string.
    """
    if ended:
        return ": ".join([ended, *[each.log for each in transfers if each.log][-1:]])
    if not transfers:
        return ran.error if ran.exit_status else "BuildKit did not export it"
    return next((each.error for each in transfers if each.error), "")
