"""Writes the inputs of steps, and the files that they read, into a record."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from msgspec import Struct, field

from bxcache.buildx.context.selection import Selection
from bxcache.buildx.context.wanted import list_reads
from bxcache.buildx.instructions import read_instructions
from bxcache.buildx.step_inputs import LOCAL, read_inputs
from bxcache.insight.file_tree import fold_files
from bxcache.insight.record_inputs import (
    RecordedFiles,
    RecordedInputs,
    RecordedInstruction,
    RecordedRead,
)
from bxcache.redaction import is_secret_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from bxcache.buildx.metadata import Definition, Operation
    from bxcache.buildx.step_inputs import FileRead
    from bxcache.redaction import Redactor

MOST_FILES = 1000
"""How many files a record lists; of more, folders are recorded as a whole."""
_HASH_LENGTH = 16
_SHORT = 8


class ContextState(Struct, frozen=True):
    """What a build could read of one context.

    Attributes:
        selection: the files; None if they were not read in time.
        ignored: the patterns of the ignore file.
        names: how a record names the files whose names look like secrets, by their paths.
        listed: how a record lists all files, before secrets are masked.
    """

    selection: Selection | None = None
    ignored: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    listed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, files: Mapping[str, str], ignored: tuple[str, ...] = (), reads: Iterable[FileRead] = ()
    ) -> ContextState:
        """Prepare what a record will have of a context, so that a finished build need not wait.

        Args:
            files: the state of each file by its path, sorted.
            ignored: the patterns of the ignore file.
            reads: what steps probably read of it.
        """
        selection = Selection(files)
        for read in reads:
            selection.choose(read)
        names = {path: hide_names(path) for path in files if is_secret_name(path)}
        named = {names.get(path, path): state for path, state in files.items()}
        return cls(selection, ignored, names, fold_files(named, MOST_FILES))

    def list_states(self, paths: AbstractSet[str]) -> Mapping[str, str]:
        """List some of the files, as a record does."""
        files = self.selection.files if self.selection is not None else {}
        if len(paths) == len(files):
            return self.listed
        named = {self.names.get(path, path): files[path] for path in files if path in paths}
        return fold_files(named, MOST_FILES)


class BuildFiles(Struct, frozen=True):
    """What a build could read.

    Attributes:
        dockerfile: the text of its Dockerfile; empty if unknown.
        contexts: its local contexts, by their names.
    """

    dockerfile: str = ""
    contexts: Mapping[str, ContextState] = field(default_factory=dict)


class InputWriter:
    """Writes the inputs of one build's steps.

    Args:
        key: the key of all hashes, in hex.
        files: what the build could read.
        redact: masks secrets.
    """

    def __init__(self, key: str, files: BuildFiles, redact: Redactor) -> None:
        self.key = key
        self.dockerfile = files.dockerfile
        contexts = files.contexts
        self._contexts, self._redact = contexts, redact
        self._selections = {
            name: each.selection for name, each in contexts.items() if each.selection is not None
        }
        self._read: dict[str, set[str]] = {}
        self._instructions = read_instructions(files.dockerfile)
        self._written = {each.line: each.text for each in self._instructions}

    def write_step(
        self, operation: Operation, definition: Definition, positions: Mapping[str, int]
    ) -> RecordedInputs:
        """Write the inputs of a step; `positions` has those of the steps before it, by vertex."""
        found = read_inputs(operation.vertex, definition.described, operation.below)
        below = [operation.below] if operation.below is not None else []
        return RecordedInputs(
            settings={name: self._redact(value) for name, value in found.settings.items()},
            environment={
                name: None if is_secret_name(name) else hash_value(value, self.key)
                for name, value in found.environment.items()
            },
            definition=hash_value(found.definition, self.key) if found.definition else "",
            reads=tuple(map(self._write_read, found.reads)),
            needs=tuple(positions[each] for each in found.needs if each in positions),
            sources=dict(self._list_sources((*below, *found.needs), definition)),
            bypassing=found.bypassing,
        )

    def find_text(self, line: int) -> str:
        """Find the text of the instruction that begins in a line; empty without one."""
        return self._written.get(line, "")

    def write_known(self, lines: Iterable[int], needs: tuple[int, ...]) -> RecordedInputs:
        """Write what the Dockerfile says of a step that BuildKit does not describe."""
        written = (self._written[line] for line in lines if line in self._written)
        reads = list_reads(next(written, ""))
        return RecordedInputs(reads=tuple(map(self._write_read, reads)), needs=needs)

    def _write_read(self, read: FileRead) -> RecordedRead:
        selection = self._selections.get(read.context)
        chosen = selection.choose(read) if selection is not None else None
        if chosen is not None:
            self._read.setdefault(read.context, set()).update(chosen.states)
        return RecordedRead(
            context=read.context,
            path=hide_names(read.path),
            is_pattern=read.is_pattern,
            follows=read.follows,
            included=read.included,
            excluded=read.excluded,
            hash=chosen.hash if chosen is not None else "",
        )

    def _list_sources(
        self, vertices: Iterable[str], definition: Definition
    ) -> Iterator[tuple[str, str]]:
        for vertex in vertices:
            described = definition.described.get(vertex)
            source = described.source if described is not None else ""
            if source and not source.startswith(LOCAL):
                kind, _, rest = source.partition("://")
                name, _, digest = rest.partition("@")
                if kind in {"docker-image", "oci-layout"}:
                    yield self._redact(name), digest
                else:
                    ends = (d for uri, d in definition.fetched.items() if uri.endswith(rest))
                    yield self._redact(source), next(ends, "")

    def write_instructions(self) -> tuple[RecordedInstruction, ...]:
        """Write the instructions of the Dockerfile."""
        return tuple(
            RecordedInstruction(
                line=each.line,
                verb=each.verb,
                hash=hash_value(each.text, self.key),
                sets={name: hash_value(value, self.key) for name, value in each.sets.items()},
                variables=each.variables,
            )
            for each in self._instructions
        )

    def write_files(self) -> dict[str, RecordedFiles]:
        """Write the files that the steps have read, by the names of their contexts.

        Without a description of the steps, all files that the Dockerfile can read are written.
        """
        return {
            name: RecordedFiles(
                states={
                    path: self._redact(state) for path, state in self._list_states(name).items()
                },
                ignored=tuple(map(self._redact, self._contexts[name].ignored)),
            )
            for name in self._selections
        }

    def _list_states(self, name: str) -> Mapping[str, str]:
        context = self._contexts[name]
        return context.list_states(self._read.get(name, set())) if self._read else context.listed


def hide_names(path: str) -> str:
    """Return a path with a hash for each name that looks like a secret.

    >>> hide_names("app/main.py")
    'app/main.py'
    """
    if not is_secret_name(path):
        return path
    return "/".join(_hide(name) if is_secret_name(name) else name for name in path.split("/"))


def _hide(name: str) -> str:
    return f"({hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:_SHORT]})"


def hash_value(value: str, key: str) -> str:
    """Return the beginning of the HMAC-SHA256 of a value with a key in hex."""
    # A value may come from a variable, which can hold bytes that are not UTF-8.
    data = value.encode(errors="surrogateescape")
    return hmac.new(bytes.fromhex(key), data, hashlib.sha256).hexdigest()[:_HASH_LENGTH]
