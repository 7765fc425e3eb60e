"""Questions that docker answers instead of building, such as `--check`, without a cache."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bxcache.buildx.command import render_question
from bxcache.buildx.driver import Docker
from bxcache.buildx.secrets import find_secrets
from bxcache.pipeline.prepare import read_setup
from bxcache.process import run
from bxcache.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bxcache.pipeline.request import BuildRequest


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
