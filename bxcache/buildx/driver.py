"""The one place that runs docker.

python-on-whales finds the client and its global options, and talks to registries. The build
itself is run here, because python-on-whales cannot pass several `--cache-to`, joins option fields
without quoting, and leaves buildx running when its log generator is abandoned.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bxcache.buildx.capabilities import (
    Capabilities,
    check_buildx,
    parse_builder,
    parse_engine,
)
from bxcache.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_SECONDS_TO_ANSWER = 60
_SECONDS_TO_BOOT = 900
_SECONDS_BEFORE_WAITING_IS_SAID = 2
_SECONDS_TO_STOP = ((signal.SIGINT, 10), (signal.SIGTERM, 5), (signal.SIGKILL, 5))
_INSTALL = "https://docs.docker.com/engine/install/"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    stdout: str
    stderr: str


class BuildProcess:
    """A running `docker buildx build`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def read_lines(self) -> Iterator[str]:
        """Each line of the progress stream, as it comes, without its line break."""
        stream = self._process.stderr
        for line in stream or ():
            yield line.rstrip("\n")

    def wait(self) -> int:
        """docker's exit status; one that a signal ended is 128 plus the signal, as in a shell."""
        status = self._process.wait()
        return status if status >= 0 else 128 - status


@dataclass(frozen=True, slots=True)
class Probe:
    """Questions that docker is answering.

    Attributes:
        docker: the client that was asked.
        builder: the builder it was asked about; empty is the current one.
    """

    docker: Docker
    builder: str
    version: subprocess.Popen[str]
    inspect: subprocess.Popen[str]

    def wait(self, on_slow: Callable[[], None]) -> Capabilities:
        """The answers; `on_slow` is called once when they take their time."""
        client, engine, platform = parse_engine(_await_answer(self.version).stdout)
        try:
            self.inspect.wait(_SECONDS_BEFORE_WAITING_IS_SAID)
        except subprocess.TimeoutExpired:
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
            for process in running:
                _end(process)

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

    def has_manifest(self, ref: str) -> bool | None:
        """Whether a registry has a ref; None when it does not say."""
        from python_on_whales import DockerClient  # noqa: PLC0415  # 140 ms
        from python_on_whales.exceptions import DockerException  # noqa: PLC0415

        try:
            DockerClient().buildx.imagetools.inspect(ref)
        except DockerException as error:
            return False if "not found" in (error.stderr or "") else None
        except ValueError:
            # It answered with a document that python-on-whales has no model for: a cache.
            return True
        return True

    def _ask(self, *arguments: str, seconds: float | None = None) -> _Answer:
        process = self._start(arguments)
        try:
            return _await_answer(process, seconds)
        finally:
            _end(process)

    def _start(self, arguments: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603  # the client that was found, with our own arguments
            [*self.command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )

    @contextmanager
    def build(
        self,
        arguments: Sequence[str],
        *,
        variables: Mapping[str, str],
        directory: Path,
        stdout: int | None,
    ) -> Iterator[BuildProcess]:
        """Run `docker buildx build`; whatever ends the block ends the build too.

        Args:
            arguments: what follows `docker`.
            variables: what to add to the environment.
            directory: the working directory.
            stdout: the file descriptor for the build's stdout, or None to drop it.
        """
        process = subprocess.Popen(  # noqa: S603  # the client that was found, with our own arguments
            [*self.command, *arguments],
            stdout=subprocess.DEVNULL if stdout is None else stdout,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            cwd=directory,
            env={**os.environ, **variables},
            # Ctrl-C reaches only this process, which then stops buildx in order.
            start_new_session=True,
        )
        try:
            yield BuildProcess(process)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    for number, seconds in _SECONDS_TO_STOP:
        if process.poll() is not None:
            break
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        # A second Ctrl-C goes on to the stronger signal.
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            # Reading on lets buildx finish what it has to say, which it would block on.
            process.communicate(timeout=seconds)
    if process.stderr is not None:
        process.stderr.close()


def _end(process: subprocess.Popen[str]) -> None:
    """Leave nothing of a short command behind, whether or not it was waited for."""
    if process.poll() is None:
        process.kill()
    process.communicate()


def _await_answer(process: subprocess.Popen[str], seconds: float | None = None) -> _Answer:
    """The answer of a short command, which the caller ends whatever comes of it."""
    seconds = _SECONDS_TO_ANSWER if seconds is None else seconds
    try:
        stdout, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            f"docker did not answer within {seconds} s",
            hint="`docker version` shows whether its engine is reached; is DOCKER_HOST right?",
        ) from error
    return _Answer(process.returncode, stdout, stderr)


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
