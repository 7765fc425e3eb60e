"""Reads the files that a build can read of its contexts, while docker builds."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING

from bxcache.buildx.dockerfile import list_instructions, list_unpinned
from bxcache.config.paths import is_remote, read_dockerfile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bxcache.buildx.context.wanted import Wanted
    from bxcache.buildx.step_inputs import FileRead
    from bxcache.config.models import BuildSettings
    from bxcache.insight.inputs import BuildFiles, ContextState

_PATIENCE = 2.0
"""How long a finished build waits for its files, in seconds."""


class ContextFiles:
    """Reads the files of all local contexts in the background, once it is started.

    Args:
        settings: the build.
        directory: the working directory.
        stdin: the Dockerfile, if docker reads it from there.
    """

    def __init__(self, settings: BuildSettings, directory: Path, stdin: bytes | None) -> None:
        self._settings, self._directory, self._stdin = settings, directory, stdin
        self._dockerfile = ""
        self._found: dict[str, ContextState] = {}
        self._is_late = False
        # A slow disk must not keep the process from ending.
        self._thread = Thread(target=self._read, daemon=True)

    def may_change(self) -> bool:
        """Whether the build gets anything from elsewhere that can change, as far as is known."""
        settings = self._settings
        text, contexts = self._find_dockerfile(), settings.build_contexts
        elsewhere = any(map(is_remote, (settings.context, *contexts.values())))
        return elsewhere or not text or any(list_unpinned(text, settings.target, contexts))

    def start(self) -> None:
        """Start to read, unless that was done before."""
        if self._thread.ident is None:
            self._thread.start()

    def peek(self, patience: float) -> BuildFiles | None:
        """Return what was read, or None if that takes longer; reading goes on then."""
        self.start()
        self._thread.join(patience)
        return None if self._thread.is_alive() else self.wait()

    def wait(self, patience: float | None = _PATIENCE) -> BuildFiles:
        """Return what was read within some seconds; None waits for all of it."""
        from bxcache.insight.inputs import BuildFiles  # noqa: PLC0415  # after docker has started

        if self._thread.ident is not None and not self._is_late:
            self._thread.join(patience)
        self._is_late = self._thread.is_alive()
        return BuildFiles(self._dockerfile, dict(self._found))

    def _read(self) -> None:
        from bxcache.buildx.context.wanted import Wanted, list_reads, list_wanted  # noqa: PLC0415  # as below

        text = self._dockerfile = self._find_dockerfile()
        wanted = list_wanted(text, self._settings.target)
        reads = [read for _, _, each in list_instructions(text) for read in list_reads(each)]
        for name, folder in self._list_contexts():
            own = wanted.get(name, Wanted(())) if text else Wanted([()])
            known = [each for each in reads if each.context == name]
            self._found[name] = self._read_context(name, folder, own, known)

    def _list_contexts(self) -> Iterator[tuple[str, Path]]:
        from bxcache.buildx.context.wanted import MAIN  # noqa: PLC0415  # while docker builds

        settings = self._settings
        for name, context in {MAIN: settings.context, **settings.build_contexts}.items():
            folder = self._directory / context
            if not is_remote(context) and folder.is_dir():
                yield name, folder

    def _read_context(
        self, name: str, folder: Path, wanted: Wanted, reads: list[FileRead]
    ) -> ContextState:
        from bxcache.buildx.context.files import ContextReader  # noqa: PLC0415  # the same
        from bxcache.buildx.context.ignore import (  # noqa: PLC0415  # the same
            IgnoreRules,
            find_ignore_file,
            read_ignore_file,
        )
        from bxcache.buildx.context.known_hashes import KnownHashes  # noqa: PLC0415  # the same
        from bxcache.buildx.context.wanted import MAIN  # noqa: PLC0415  # the same
        from bxcache.insight.inputs import ContextState  # noqa: PLC0415  # the same

        settings = self._settings if name == MAIN else None
        file = find_ignore_file(self._directory, folder, settings)
        rules, known = IgnoreRules(read_ignore_file(file)), KnownHashes.of_context(folder)
        reader = ContextReader(str(folder), rules, known, lambda: not self._is_late)
        files = reader.read(wanted)
        known.keep()
        if files is None:
            return ContextState(ignored=rules.patterns)
        return ContextState.of(files, rules.patterns, reads)

    def _find_dockerfile(self) -> str:
        settings = self._settings
        if self._stdin is not None:
            return self._stdin.decode(errors="replace")
        return read_dockerfile(self._directory, settings.context, settings.file)
