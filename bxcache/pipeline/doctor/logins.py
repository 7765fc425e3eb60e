"""What the doctor says about docker's config file and the credential helpers that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.backends.finding import SECONDS_TO_ANSWER, Finding, Status, fine
from bxcache.backends.registry_findings import judge_helper
from bxcache.registry.credentials import find_helper_trouble, read_docker_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bxcache.registry.credentials import DockerSettings

CHECK = "docker-config"
_WHY = "docker works without its logins, its contexts and its builders"


def diagnose_settings(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Examine docker's config file and the helpers that it names."""
    settings = read_docker_settings(environment)
    yield judge_settings(settings)
    for name in settings.helpers:
        found = find_helper_trouble(name, SECONDS_TO_ANSWER)
        if found.trouble:
            yield judge_helper(found)


def judge_settings(settings: DockerSettings) -> Finding:
    """Judge docker's config file."""
    if settings.problem:
        remedy = (
            f"`python3 -m json.tool {settings.file}` shows where; mend the file or move it away"
        )
        return Finding(CHECK, Status.ERROR, f"`{settings.file}` {settings.problem}", _WHY, remedy)
    if not settings.exists:
        return fine(CHECK, f"`{settings.file}` does not exist; docker has no logins")
    return fine(CHECK, f"`{settings.file}` is valid")
