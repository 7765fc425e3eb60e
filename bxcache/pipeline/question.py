"""Questions that docker answers instead of building, such as `--check`, without a cache."""

from __future__ import annotations

import json
import os
import tempfile
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from bxcache.buildx.command import render_question
from bxcache.buildx.driver import Docker
from bxcache.buildx.extra_flags import UNASKED
from bxcache.buildx.run import check_stop
from bxcache.buildx.secrets import find_secrets
from bxcache.buildx.stream.raw import ERROR
from bxcache.config.wording import name_option
from bxcache.errors import BuildFailedError, ConfigError, Problem
from bxcache.pipeline.prepare import read_setup
from bxcache.process import run
from bxcache.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bxcache.pipeline.request import BuildRequest


class Answer(Struct, frozen=True):
    """Docker's answer to a question about a build, which is not built.

    Attributes:
        exit_status: 0, or docker's own: a check that finds something has another one.
        text: the answer, as docker prints it.
    """

    exit_status: int
    text: str

    @property
    def document(self) -> Any:  # noqa: ANN401  # docker's document
        """The answer as data; None if it is not JSON, as where another format was asked for.

        https://docs.docker.com/reference/cli/docker/buildx/build/#call
        """
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    def to_dict(self) -> dict[str, Any]:
        """Return docker's document, or an empty one."""
        return self.document if isinstance(self.document, dict) else {}


def find_answer(
    request: BuildRequest, call: str, ask: Callable[[BuildRequest, Callable[[str], None]], int]
) -> Answer:
    """Return docker's answer to a call, such as `check`, as JSON unless it asks for another format.

    `ask` is `ask_build`, or the same for a bake. A ConfigError means that it is not a question; a
    BuildFailedError that docker does not answer.
    """
    if call.partition(",")[0] in UNASKED:
        raise ConfigError([Problem(name_option("call"), "", f"`{call}` is not a question")])
    form = "" if "format=" in call else ",format=json"
    said: list[str] = []
    with tempfile.TemporaryFile() as file:
        extra = (f"--call={call}{form}", *request.extra)
        status = ask(replace(request, extra=extra, stdout=file.fileno()), said.append)
        check_stop(request.stop)
        file.seek(0)
        text = file.read().decode(errors="replace")
    if status and not text.strip():
        errors = [line.removeprefix(ERROR) for line in said if line.startswith(ERROR)]
        why = (errors or said or ["docker did not say why"])[-1]
        raise BuildFailedError(why, exit_status=status)
    return Answer(status, text)


def ask_build(request: BuildRequest, report: Callable[[str], None], progress: str) -> int:
    """Have docker answer a question about a build; return its exit status.

    Args:
        request: the build, with the question in its arguments for docker.
        report: called with each line that docker writes to stderr, with secrets masked.
        progress: a value of docker's `--progress`.
    """
    request.check_extra()
    setup, docker = read_setup(request)[0], Docker.find()
    settings = setup.config.build
    arguments = render_question(settings, request.list_extra(settings), progress)
    return relay_answer(docker, arguments, request, report)


def relay_answer(
    docker: Docker, arguments: Sequence[str], request: BuildRequest, report: Callable[[str], None]
) -> int:
    """Run docker with the caller's stdin and stdout, and return its exit status."""
    command = (*docker.command, *arguments)
    redact = Redactor(find_secrets(command, os.environ, request.directory))
    with run(
        command, variables={}, directory=request.directory, stdout=request.stdout, stop=request.stop
    ) as process:
        for line in process.read_lines():
            report(redact(line))
        return process.wait()
