"""Every error bxcache raises, with its exit status.

::

    BxcacheError            base; never raised itself
    ├── ConfigError         a config file, variable or flag is wrong (78)
    ├── EngineError         docker, buildx or the builder cannot do the job (69)
    ├── StoreError          a local store cannot be used (74)
    ├── RecordError         a record of a build is not there, or is of no use (66)
    ├── PlaceError          git does not tell what has to be known (72)
    ├── RegistryError       a registry could not be used (76)
    ├── StoppedError        a build was stopped since another one failed (71)
    └── ResultError         docker ran the build; base of those that have its result
        ├── CacheError          a cache failed and `strict` is on (75)
        ├── GateError           a build is not as `[gate]` wants it (65)
        ├── OutputError         docker's metadata file could not be written (73)
        └── BuildFailedError    docker's build failed (docker's own exit status)

The numbers follow sysexits.h where it has a fitting word, so none of them is one that
docker uses (1, 125, 126, 127, 130, 137). A usage error of the command line is 2, Ctrl-C and
SIGTERM are 130, a bug in bxcache is 70.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

EXIT_INTERRUPTED = 130
EXIT_BUG = 70


class BxcacheError(Exception):
    """What happened and why; `hint` says what to do about it.

    Attributes:
        exit_code: the exit status of the command line for this kind of error.
        hint: one or more lines telling the way out, or an empty string.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n\nhint: {self.hint}" if self.hint else self.message


class EngineError(BxcacheError):
    """Docker, buildx or the chosen builder is missing or down, or buildx is too old."""

    exit_code = 69


class RecordError(BxcacheError):
    """A build's record, or a stage or scope that was asked for, is not there or is of no use."""

    exit_code = 66


class PlaceError(BxcacheError):
    """git does not tell what has to be known of the repository."""

    exit_code = 72


class StoreError(BxcacheError):
    """A local store's directory cannot be read, written, or is not a store."""

    exit_code = 74


class ResultError(BxcacheError):
    """Docker ran the build, and it is not as it was to be; never raised itself.

    Attributes:
        result: the `BuildResult`, as far as the build came.
    """

    def __init__(self, message: str, *, hint: str = "", result: object = None) -> None:
        super().__init__(message, hint=hint)
        self.result = result


class CacheError(ResultError):
    """A cache could not be read or saved, and `strict` asks to fail for that."""

    exit_code = 75


class GateError(ResultError):
    """A build succeeded, and is not as `[gate]` wants it: `gates` of its result tells why."""

    exit_code = 65

    def __init__(self, gates: Iterable[object], *, result: object = None) -> None:
        """With a line for each gate that makes it fail."""
        super().__init__("\n".join(map(str, gates)), result=result)


class OutputError(ResultError):
    """A build is done, and a file that docker leaves beside it could not be written."""

    exit_code = 73


class Trouble(StrEnum):
    """What kind of trouble a registry makes."""

    DENIED = "denied"
    """It knows the caller too little. Some say so of a repository that is not there yet."""

    UNREACHABLE = "unreachable"
    """It is not reached from here; an engine elsewhere may well reach it."""

    SICK = "sick"
    """It does not answer in time, or not in order."""

    REFUSED = "refused"
    """It understands and does not do it."""


class RegistryError(BxcacheError):
    """A registry could not be used.

    Attributes:
        registry: its host, with the port if it has one.
        operation: what was asked of it, such as `looking up the scope x`.
        cause: what went wrong.
        trouble: what kind of trouble that is.
    """

    exit_code = 76

    def __init__(
        self, registry: str, operation: str, cause: str, *, trouble: Trouble, hint: str = ""
    ) -> None:
        super().__init__(f"the registry `{registry}`: {operation} failed: {cause}", hint=hint)
        self.registry = registry
        self.operation = operation
        self.cause = cause
        self.trouble = trouble


class StoppedError(BxcacheError):
    """A build of several was stopped before its end, since another one failed."""

    exit_code = 71


class BuildFailedError(ResultError):
    """Docker ran the build and it failed.

    Attributes:
        exit_status: docker's own exit status.
    """

    def __init__(self, message: str, *, exit_status: int, result: object = None) -> None:
        super().__init__(message, result=result)
        self.exit_status = exit_status


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in what a user wrote.

    Attributes:
        source: where it stands: a file's path, a variable's name, a flag.
        key: the dotted path of the key, such as `cache.backends[0].ref`; may be empty.
        message: what is wrong, and what would be right.
        line: the line in the file, counted from 1, where it is known.
    """

    source: str
    key: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        return ": ".join(part for part in (where, self.key, self.message) if part)


class ConfigError(BxcacheError):
    """All problems of a configuration at once, in `problems`."""

    exit_code = 78

    def __init__(self, problems: Iterable[Problem], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        title = "the configuration has a problem" if count == 1 else f"{count} problems"
        if count != 1:
            title = f"the configuration has {title}"
        super().__init__("\n  ".join([f"{title}:", *map(str, self.problems)]), hint=hint)
