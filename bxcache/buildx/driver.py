"""What is asked of docker, and the build itself.

python-on-whales finds the client and its global options, and talks to registries. The build
itself is run here, because python-on-whales cannot pass several `--cache-to`, joins option fields
without quoting, and leaves buildx running when its log generator is abandoned.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bxcache.buildx.capabilities import (
    Capabilities,
    check_buildx,
    parse_builder,
    parse_engine,
)
from bxcache.errors import EngineError
from bxcache.process import Answer, Question, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bxcache.process import RunningProcess, Stop

_SECONDS_TO_ANSWER = 60.0
_SECONDS_TO_BOOT = 900.0
_SECONDS_BEFORE_WAITING_IS_SAID = 2
_INSTALL = "https://docs.docker.com/engine/install/"


@dataclass(frozen=True, slots=True)
class Probe:
    """Questions that docker is answering.

    Attributes:
        docker: the client that was asked.
        builder: the builder it was asked about; empty is the current one.
    """

    docker: Docker
    builder: str
    version: Question
    inspect: Question

    def wait(self, on_slow: Callable[[], None]) -> Capabilities:
        """The answers; `on_slow` is called once when they take their time."""
        client, engine, platform = parse_engine(_await_answer(self.version).stdout)
        if not self.inspect.is_answered_within(_SECONDS_BEFORE_WAITING_IS_SAID):
            on_slow()
        inspected = _await_answer(self.inspect)
        if inspected.status != 0:
            # Why is asked only now: it takes a tenth of a second that each build would pay.
            check_buildx(self.docker.ask_buildx_version(client))
            if engine is not None:
                raise _no_builder(self.builder, inspected.stderr)
        return Capabilities(client, engine, platform, parse_builder(inspected.stdout))


@contextmanager
def ask_ahead(builder: str) -> Iterator[Probe | None]:
    """Ask the docker on PATH about itself, to have the answers by the time they are needed.

    Docker takes as long to say what it is as Python takes to load what a build needs.

    Args:
        builder: the builder that will probably be used, or empty for the current one.
    """
    client = shutil.which("docker")
    if client is None:
        yield None
        return
    with Docker((client,)).probe(builder) as probe:
        yield probe


class Docker:
    """A docker client.

    Attributes:
        command: the client with its global options, to put a sub-command behind.
    """

    def __init__(self, command: tuple[str, ...]) -> None:
        self.command = command

    @classmethod
    def find(cls) -> Docker:
        """The docker client on PATH.

        Raises:
            EngineError: there is none.
        """
        from python_on_whales import DockerClient  # noqa: PLC0415  # 140 ms
        from python_on_whales.client_config import ClientNotFoundError  # noqa: PLC0415

        try:
            return cls(tuple(map(str, DockerClient().client_config.docker_cmd)))
        except ClientNotFoundError as error:
            raise EngineError(
                "there is no `docker` on PATH",
                hint=f"`apt-get install docker.io docker-buildx` on Debian and Ubuntu; {_INSTALL}",
            ) from error

    @contextmanager
    def probe(self, builder: str) -> Iterator[Probe]:
        """Ask what docker and the builder are; nothing is started or changed by that."""
        questions = (
            ("version", "--format", "{{json .}}"),
            ("buildx", "inspect", *([builder] if builder else [])),
        )
        running = [self._start(question) for question in questions]
        try:
            yield Probe(self, builder, *running)
        finally:
            for question in running:
                question.end()

    def learn(
        self, ahead: Probe | None, builder: str, *, boot: bool, on_slow: Callable[[], None]
    ) -> Capabilities:
        """What docker, the engine and the builder can do.

        Args:
            ahead: what was asked ahead; it is asked again if that was another client or builder.
            builder: the builder's name, or empty for the current one.
            boot: start the builder if it is not running, as the build would.
            on_slow: is called when that takes its time.

        Raises:
            EngineError: there is no buildx, no such builder, or no answer.
        """
        if ahead is not None and (ahead.docker.command, ahead.builder) == (self.command, builder):
            found = ahead.wait(on_slow)
        else:
            with self.probe(builder) as probe:
                found = probe.wait(on_slow)
        return self._boot(found, on_slow) if boot and found.builder.sleeps else found

    def _boot(self, found: Capabilities, on_slow: Callable[[], None]) -> Capabilities:
        on_slow()
        name = found.builder.name
        answer = self._ask("buildx", "inspect", "--bootstrap", name, seconds=_SECONDS_TO_BOOT)
        if answer.status != 0:
            raise _no_builder(name, answer.stderr)
        return replace(found, builder=parse_builder(answer.stdout))

    def ask_buildx_version(self, client: str = "") -> str:
        """What `docker buildx version` says.

        Args:
            client: docker's own version, for the error.

        Raises:
            EngineError: there is no buildx.
        """
        answer = self._ask("buildx", "version")
        if answer.status != 0:
            raise _no_buildx(client)
        return answer.stdout.strip()

    def print_bake(
        self,
        arguments: Sequence[str],
        directory: Path,
        environment: Mapping[str, str] | None = None,
    ) -> Answer:
        """What `docker buildx bake --print` says, as a document; why it does not, on stderr.

        Args:
            arguments: what follows that.
            directory: the working directory.
            environment: the only variables that a bake file can read, where it is not to read all.

        Raises:
            EngineError: there is no answer.
        """
        words = ("buildx", "bake", "--print", "--progress", "quiet", *arguments)
        question = Question((*self.command, *words), directory=directory, environment=environment)
        try:
            return _await_answer(question, _SECONDS_TO_BOOT)
        finally:
            question.end()

    @contextmanager
    def asking_buildx(self) -> Iterator[Callable[[], str]]:
        """Have docker say which buildx it has while something else goes on.

        Yields:
            what waits for the answer and gives buildx's version, or an empty string.
        """
        question = self._start(("buildx", "version"))
        try:
            yield lambda: _read_version(question)
        finally:
            question.end()

    def remove_images(self, context: str, refs: Sequence[str]) -> None:
        """Remove images from the engine of a docker context, as far as they are there."""
        # What is left costs some room; the build is as good.
        with suppress(EngineError):
            self._ask("--context", context, "image", "rm", *refs)

    def ask_together(self, questions: Sequence[Sequence[str]]) -> list[Answer]:
        """The answers to short questions that are asked at the same time; failures are answers.

        Args:
            questions: what follows `docker` in each.
        """
        with ExitStack() as stack:
            asked = []
            for each in questions:
                asked.append(self._start(each))
                stack.callback(asked[-1].end)
            return [_take_answer(each) for each in asked]

    def _ask(self, *arguments: str, seconds: float | None = None) -> Answer:
        question = self._start(arguments)
        try:
            return _await_answer(question, seconds)
        finally:
            question.end()

    def _start(self, arguments: Sequence[str]) -> Question:
        return Question((*self.command, *arguments))

    def build(  # noqa: PLR0913  # each is a property of its own of what runs
        self,
        arguments: Sequence[str],
        *,
        variables: Mapping[str, str],
        directory: Path,
        stdout: int | None,
        seconds: float | None = None,
        stop: Stop | None = None,
        fed: bool = False,
    ) -> AbstractContextManager[RunningProcess]:
        """Run `docker buildx build`; whatever ends the block ends the build too.

        Args:
            arguments: what follows `docker`.
            variables: what to add to the environment.
            directory: the working directory.
            stdout: the file descriptor for the build's stdout, or None to drop it.
            seconds: how long it may take.
            stop: what ends it from another thread.
            fed: `RunningProcess.feed` gives it what it reads from stdin.
        """
        return run(
            (*self.command, *arguments),
            variables=variables,
            directory=directory,
            stdout=stdout,
            seconds=seconds,
            stop=stop,
            fed=fed,
        )


def _read_version(question: Question) -> str:
    try:
        answer = question.wait(_SECONDS_TO_ANSWER)
    except TimeoutError:
        return ""
    # `github.com/docker/buildx v0.29.1 a1b2c3d`; Debian's version has no `v`.
    words = answer.stdout.split()[1:2]
    return words[0] if words and answer.status == 0 else ""


def _take_answer(question: Question) -> Answer:
    try:
        return _await_answer(question)
    except EngineError as error:
        return Answer(1, "", error.message)


def _await_answer(question: Question, seconds: float | None = None) -> Answer:
    """The answer of a short command, which the caller ends whatever comes of it."""
    seconds = _SECONDS_TO_ANSWER if seconds is None else seconds
    try:
        return question.wait(seconds)
    except TimeoutError as error:
        raise EngineError(
            f"docker did not answer within {seconds:.0f} s",
            hint="`docker version` shows whether its engine is reached; is DOCKER_HOST right?",
        ) from error


def _no_buildx(client: str) -> EngineError:
    return EngineError(
        f"docker {client} has no buildx plugin".replace("  ", " "),
        hint="`apt-get install docker-buildx-plugin` (docker's packages) or "
        "`apt-get install docker-buildx` (Debian's); "
        "https://docs.docker.com/build/install-buildx/",
    )


def _no_builder(name: str, stderr: str) -> EngineError:
    said = stderr.strip().splitlines()
    why = said[-1].removeprefix("ERROR: ") if said else "docker did not say why"
    if "no builder" in why:
        return EngineError(
            f"there is no builder `{name}`",
            hint=f"`docker buildx ls` lists them; `docker buildx create --name {name or 'NAME'} "
            "--driver docker-container` makes one",
        )
    return EngineError(
        f"the builder `{name or 'default'}` cannot be started: {why}",
        hint="`docker buildx inspect --bootstrap` shows all that it says",
    )
