"""Docker's command line: questions about docker and its builders on the way of a build.

`builders` does what is not on that way with python-on-whales, which takes 60 ms to load. `run` runs
the build, because python-on-whales cannot pass several `--cache-to`, joins option fields without
quoting, and leaves buildx running when its log generator is abandoned.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.buildx.capabilities import (
    Capabilities,
    check_buildx,
    name_up,
    parse_builder,
    parse_engine,
)
from bxcache.buildx.memory import Memory
from bxcache.config.wording import choose_words, name_call
from bxcache.errors import EngineError
from bxcache.process import Answer, Question

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_SECONDS_TO_ANSWER = 60.0
_SECONDS_TO_BOOT = 900.0
_SECONDS_BEFORE_WAITING_IS_SAID = 2
_CHOSEN = "BUILDX_BUILDER"
# https://github.com/docker/buildx/blob/v0.29.1/store/storeutil/storeutil.go
_NO_BUILDER = re.compile(r'no builder "(?P<name>.*?)" found')
# https://github.com/docker/buildx/blob/v0.29.1/commands/rm.go
_NOT_REMOVED = re.compile(r"^failed to remove [^:]*: (?P<why>.*)", re.MULTILINE)
_INSTALL = "https://docs.docker.com/engine/install/"


class Probe(Struct, frozen=True):
    """Pending questions to docker about itself and a builder, by default the current one.

    Attributes:
        memory: where to remember the answers.
    """

    docker: Docker
    builder: str
    memory: Memory
    version: Question
    inspect: Question

    def wait(self, on_slow: Callable[[], None]) -> Capabilities:
        """Wait for the answers; call `on_slow` once if they take long."""
        client, engine, platform = parse_engine(_await_answer(self.version).stdout)
        if not self.inspect.is_answered_within(_SECONDS_BEFORE_WAITING_IS_SAID):
            on_slow()
        inspected = _await_answer(self.inspect)
        if inspected.status != 0:
            # Ask for the reason only now: it takes a tenth of a second.
            check_buildx(self.docker.ask_buildx_version(client))
            if engine is not None:
                raise explain_builder(self.builder, inspected.stderr)
        return Capabilities(client, engine, platform, parse_builder(inspected.stdout))


class Examination(Struct, frozen=True):
    """What docker answered within a few seconds; None for a question that it did not answer.

    Attributes:
        version: about its client and the engine.
        buildx: the version of buildx.
        inspect: about the builder.
    """

    version: Answer | None
    buildx: Answer | None
    inspect: Answer | None

    @property
    def capabilities(self) -> Capabilities | None:
        """What docker and the builder can do; None if that is unknown."""
        if self.version is None or self.inspect is None or self.inspect.status:
            return None
        builder = parse_builder(self.inspect.stdout)
        return Capabilities(*parse_engine(self.version.stdout), builder)


@contextmanager
def ask_ahead(builder: str, *, fresh: bool) -> Iterator[Probe | None]:
    """Ask the docker on PATH about itself, while Python imports the rest.

    Without a docker nothing is asked, nor if its answers are remembered and need not be `fresh`.
    """
    client = shutil.which("docker")
    docker = Docker((client,)) if client is not None else None
    if docker is not None and (fresh or docker.remember(builder).recall() is None):
        with docker.probe(builder) as probe:
            yield probe
    else:
        yield None


class Docker:
    """A docker client; its command has the global options, but no subcommand."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self.command = command

    @classmethod
    def find(cls) -> Docker:
        """Find the docker client on PATH; raise EngineError if PATH has no client."""
        client = shutil.which("docker")
        if client is None:
            raise EngineError(
                "there is no `docker` on PATH",
                hint=f"`apt-get install docker.io docker-buildx` on Debian and Ubuntu; {_INSTALL}",
            )
        return cls((client,))

    @contextmanager
    def probe(self, builder: str) -> Iterator[Probe]:
        """Ask what docker and the builder are; this starts or changes nothing."""
        inspect = ("buildx", "inspect", *([builder] if builder else []))
        memory = self.remember(builder)
        with (
            self._asking("version", "--format", "{{json .}}") as version,
            self._asking(*inspect) as inspected,
        ):
            yield Probe(self, builder, memory, version, inspected)

    def remember(self, builder: str) -> Memory:
        """Return the memory of what this docker answered about a builder."""
        return Memory.find(self.command, builder, os.environ)

    def learn(
        self, ahead: Probe | None, builder: str, *, boot: bool, on_slow: Callable[[], None]
    ) -> tuple[Capabilities, Memory]:
        """Find out what docker, the engine and a builder, by default the current one, can do.

        Returns it, and where to remember it.

        Args:
            ahead: earlier questions; ignored if they concern another client or builder.
            boot: start the builder if it is not running, as the build would; otherwise, answers
                that are only remembered do not count.

        Raises:
            EngineError: there is no buildx, no such builder, or no answer.
        """
        memory = self.remember(builder)
        recalled = memory.recall() if boot else None
        if recalled is not None:
            return recalled, memory
        with ExitStack() as stack:
            wanted = (self.command, builder)
            if ahead is None or (ahead.docker.command, ahead.builder) != wanted:
                ahead = stack.enter_context(self.probe(builder))
            found = ahead.wait(on_slow)
        if not (boot and found.builder.sleeps):
            return found, ahead.memory
        on_slow()
        booted = parse_builder(self.boot(found.builder.name))
        return replace(found, builder=booted), ahead.memory

    def boot(self, name: str) -> str:
        """Start the nodes of a builder that do not run; return what docker then reports of it.

        Raises:
            EngineError: a node does not start.
        """
        answer = self._ask("buildx", "inspect", "--bootstrap", name, seconds=_SECONDS_TO_BOOT)
        if answer.status != 0:
            raise explain_builder(name, answer.stderr)
        return answer.stdout

    def inspect(self, name: str) -> str | None:
        """Return what docker reports of a builder; None without one.

        By default, it is the current one, whatever BUILDX_BUILDER names.

        Raises:
            EngineError: docker has no buildx, or no answer.
        """
        own = {key: value for key, value in os.environ.items() if key != _CHOSEN}
        answer = self._ask("buildx", "inspect", *([name] if name else []), environment=own)
        if answer.status == 0:
            return answer.stdout
        self.ask_buildx_version()
        if find_missing_builder(answer.stderr) is not None:
            return None
        raise explain_builder(name, answer.stderr)

    def remove_builder(self, name: str) -> None:
        """Remove a builder, but keep what it has built.

        Raises:
            EngineError: docker does not remove it.
        """
        answer = self._ask("buildx", "rm", "--keep-state", name)
        if answer.status != 0:
            raise EngineError(
                f"the builder `{name}` cannot be removed: {find_error(answer.stderr)}",
                hint=f"`docker buildx inspect {name}` shows what docker knows of it",
            )

    def ask_buildx_version(self, client: str = "") -> str:
        """Return the output of `docker buildx version`; raise EngineError without buildx."""
        answer = self._ask("buildx", "version")
        if answer.status != 0:
            raise explain_no_buildx(client)
        return answer.stdout.strip()

    def print_bake(
        self,
        arguments: Sequence[str],
        directory: Path,
        environment: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the output of `docker buildx bake --print`: a document, or the error on stderr.

        The bake file may read the variables of `environment`, by default all.

        Raises:
            EngineError: docker does not answer.
        """
        return self._ask_bake("--print", arguments, directory, environment)

    def list_bake(
        self,
        arguments: Sequence[str],
        directory: Path,
        environment: Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        """List the targets and groups of bake files, as `print_bake`; none if buildx is too old."""
        answer = self._ask_bake("--list=targets", arguments, directory, environment)
        rows = answer.stdout.splitlines()[1:] if not answer.status else ()
        return tuple(row.split()[0] for row in rows if row.strip())

    def _ask_bake(
        self,
        flag: str,
        arguments: Sequence[str],
        directory: Path,
        environment: Mapping[str, str] | None,
    ) -> Answer:
        words = ("buildx", "bake", flag, "--progress", "quiet", *arguments)
        with self._asking(*words, directory=directory, environment=environment) as question:
            return _await_answer(question, _SECONDS_TO_BOOT)

    @contextmanager
    def asking_buildx(self) -> Iterator[Callable[[], str]]:
        """Ask for buildx's version; yield a function that waits for it, empty if unknown."""
        with self._asking("buildx", "version") as question:
            yield lambda: _read_version(question)

    def examine(self, builder: str, seconds: float) -> Examination:
        """Ask docker about itself and a builder, by default the current one, for the doctor.

        This starts or changes nothing. All questions together take so many seconds at most.
        """
        end = time.monotonic() + seconds
        inspect = ("buildx", "inspect", *([builder] if builder else []))
        questions = (("version", "--format", "{{json .}}"), ("buildx", "version"), inspect)
        with ExitStack() as stack:
            asked = [stack.enter_context(self._asking(*each)) for each in questions]
            return Examination(*(_wait_until(end, each) for each in asked))

    def ask_together(
        self, questions: Sequence[Sequence[str]], seconds: float | None = None
    ) -> list[Answer]:
        """Ask several short questions, the arguments after `docker`; failures are answers too.

        All of them have to be answered within the same `seconds`.
        """
        end = time.monotonic() + (_SECONDS_TO_ANSWER if seconds is None else seconds)
        with ExitStack() as stack:
            asked = [stack.enter_context(self._asking(*each)) for each in questions]
            return [_take_answer(each, max(0.1, end - time.monotonic())) for each in asked]

    def _ask(
        self,
        *arguments: str,
        seconds: float | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Answer:
        with self._asking(*arguments, environment=environment) as question:
            return _await_answer(question, seconds)

    @contextmanager
    def _asking(
        self,
        *arguments: str,
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[Question]:
        command = (*self.command, *arguments)
        question = Question(command, directory=directory, environment=environment)
        try:
            yield question
        finally:
            question.end()


def _wait_until(end: float, question: Question) -> Answer | None:
    try:
        return question.wait(max(0.0, end - time.monotonic()))
    except TimeoutError:
        return None


def _read_version(question: Question) -> str:
    answer = _take_answer(question)
    # `github.com/docker/buildx v0.29.1 a1b2c3d`; Debian's version lacks the `v`.
    words = answer.stdout.split()[1:2]
    return words[0] if words and answer.status == 0 else ""


def _take_answer(question: Question, seconds: float | None = None) -> Answer:
    try:
        return _await_answer(question, seconds)
    except EngineError as error:
        return Answer(1, "", error.message)


def _await_answer(question: Question, seconds: float | None = None) -> Answer:
    """Wait for the answer to a short question; the caller ends the question."""
    seconds = _SECONDS_TO_ANSWER if seconds is None else seconds
    try:
        return question.wait(seconds)
    except TimeoutError as error:
        raise EngineError(
            f"docker did not answer within {seconds:.0f} s",
            hint="`docker version` shows whether the engine is reachable; check DOCKER_HOST, or "
            f"see `{name_call('doctor')}`",
        ) from error


def find_error(stderr: str) -> str:
    """Find the last line of docker's stderr, without `ERROR: `; for a removal, why it failed."""
    said = stderr.strip().splitlines() or ["docker did not say why"]
    failed = _NOT_REMOVED.search(stderr)
    return failed["why"] if failed else said[-1].removeprefix("ERROR: ")


def find_missing_builder(text: str) -> str | None:
    """Find the name of the builder that does not exist, by docker's words; None in others."""
    found = _NO_BUILDER.search(text)
    return found["name"] if found else None


def explain_no_buildx(client: str) -> EngineError:
    """The error of a docker, of this version, without buildx."""
    return EngineError(
        f"docker {client} has no buildx plugin".replace("  ", " "),
        hint="`apt-get install docker-buildx-plugin` (docker's packages) or "
        "`apt-get install docker-buildx` (Debian's); "
        "https://docs.docker.com/build/install-buildx/",
    )


def explain_builder(name: str, stderr: str) -> EngineError:
    """The error of a builder that is missing or cannot be started, from docker's stderr."""
    why = find_error(stderr)
    if (missing := find_missing_builder(why)) is not None:
        listing = choose_words("bxcache builder ls", "bxcache.list_builders()")
        # Without a name, docker takes that of its variable.
        named = "" if name else ", which BUILDX_BUILDER names"
        return EngineError(
            f"there is no builder `{missing}`{named}",
            hint=f"`{name_up()}` creates the one of `[builder]`, or the default one; `{listing}` "
            "lists those that exist",
        )
    return EngineError(
        f"the builder `{name or 'default'}` cannot be started: {why}",
        hint="`docker buildx inspect --bootstrap` shows the full error",
    )
