"""Every error bxcache raises, with its exit status.

::

    BxcacheError            the base class; never raised
    ├── ConfigError         a config file, variable or flag is wrong (78)
    ├── EngineError         docker, buildx or the builder cannot do the job (69)
    ├── StoreError          a local store cannot be used (74)
    ├── RecordError         a build record is missing or unusable (66)
    ├── PlaceError          git does not answer what bxcache has to know (72)
    ├── RegistryError       a registry request failed (76)
    ├── StoppedError        a build was stopped: time, the caller or another failure (71)
    └── ResultError         docker ran the build; the base of errors with a result
        ├── CacheError          a cache failed and `strict` is set (75)
        ├── GateError           a build failed a gate of `[gate]` (65)
        ├── OutputError         docker's metadata file could not be written (73)
        └── BuildFailedError    docker's build failed (docker's own exit status)

The numbers follow sysexits.h where one fits, and avoid those that docker uses (1, 125, 126, 127,
130, 137). A command line usage error is 2, Ctrl-C and SIGTERM are 130, a bug in bxcache is 70,
an error that the doctor found is 79.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

EXIT_INTERRUPTED = 130
EXIT_BUG = 70
EXIT_UNHEALTHY = 79
"""The doctor found an error; beyond the numbers of sysexits.h, none of which fits."""


class BxcacheError(Exception):
    """What happened and why; `hint` says what to do.

    Attributes:
        exit_status: the exit status of the command line for the error.
        hint: what to do, in one or more lines; may be empty.
    """

    exit_status: int = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n\nhint: {self.hint}" if self.hint else self.message


class EngineError(BxcacheError):
    """Docker, buildx or the chosen builder is missing or down, or buildx is too old."""

    exit_status = 69


class RecordError(BxcacheError):
    """A build record, or the scope or stage of that name, is missing or unusable."""

    exit_status = 66


class PlaceError(BxcacheError):
    """Git does not answer what bxcache has to know about the repository."""

    exit_status = 72


class StoreError(BxcacheError):
    """A local store's directory cannot be read or written, or is not a store.

    On the command line also: `store verify` found damage, or a report, a trace or stdout could not
    be written; the build is done.
    """

    exit_status = 74


class ResultError(BxcacheError):
    """Docker ran the build, and something about it failed; never raised itself.

    Attributes:
        result: the `BuildResult`, as far as the build came.
    """

    def __init__(self, message: str, *, hint: str = "", result: object = None) -> None:
        super().__init__(message, hint=hint)
        self.result = result


class CacheError(ResultError):
    """A cache could not be read or saved, and `strict` is on; the image was built."""

    exit_status = 75


class GateError(ResultError):
    """A build failed a gate of `[gate]`; the image was built. `gates` of the result says why."""

    exit_status = 65

    def __init__(self, gates: Iterable[object], *, result: object = None) -> None:
        """Take the failed gates; the message has a line for each."""
        super().__init__("\n".join(map(str, gates)), result=result)


class OutputError(ResultError):
    """Docker's metadata file could not be written; the image was built."""

    exit_status = 73


class Trouble(StrEnum):
    """Why a request to a registry or a cache service failed."""

    DENIED = "denied"
    """Not authorized. Some registries answer this for a repository that does not exist yet."""

    UNREACHABLE = "unreachable"
    """Not reachable from here; an engine elsewhere may reach it."""

    SICK = "sick"
    """No answer in time, or an invalid one."""

    REFUSED = "refused"
    """Understood, but refused."""


class RegistryError(BxcacheError):
    """A request to a registry failed, so it could not be listed or changed.

    Attributes:
        registry: its host, with the port if it has one.
        operation: the request, such as `looking up the scope x`.
        cause: what went wrong.
        trouble: the kind of failure.
    """

    exit_status = 76

    def __init__(
        self, registry: str, operation: str, cause: str, *, trouble: Trouble, hint: str = ""
    ) -> None:
        super().__init__(f"the registry `{registry}`: {operation} failed: {cause}", hint=hint)
        self.registry = registry
        self.operation = operation
        self.cause = cause
        self.trouble = trouble


class StoppedError(BxcacheError):
    """A build was stopped: by `timeout` or `cancel` in Python, or after another one failed.

    It is never the exit status of the command line as a whole.
    """

    exit_status = 71


class BuildFailedError(ResultError):
    """Docker ran the build and it failed. The text is docker's error; the caches are unchanged.

    Attributes:
        exit_status: docker's own exit status.
    """

    def __init__(self, message: str, *, exit_status: int, result: object = None) -> None:
        super().__init__(message, result=result)
        self.exit_status = exit_status


class Problem(Struct, frozen=True):
    """One mistake in what a user wrote.

    Attributes:
        source: where it is: a file's path, a variable's name, a flag.
        key: the dotted path of the key, such as `cache.backends[0].ref`; may be empty.
        message: what is wrong, and what is valid.
        line: counted from 1, if known.
    """

    source: str
    key: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        return ": ".join(part for part in (where, self.key, self.message) if part)


class ConfigError(BxcacheError):
    """A config file, variable, flag or argument is wrong; the error lists all mistakes.

    Attributes:
        problems: every mistake, as a `Problem`.
    """

    exit_status = 78

    def __init__(self, problems: Iterable[Problem], *, hint: str = "", title: str = "") -> None:
        self.problems = tuple(problems)
        count = "a problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        title = title or f"{_name_origin(self.problems)} has {count}"
        super().__init__("\n  ".join([f"{title}:", *map(str, self.problems)]), hint=hint)


def _name_origin(problems: Iterable[Problem]) -> str:
    """What has the problems: the caller's flags or parameters, or else what files declare."""
    sources = [each.source for each in problems]
    if all(each.startswith("-") or each == "PATH" for each in sources):
        return "the command line"
    if all(each.endswith("=") for each in sources):
        return "the call"
    return "the configuration"
