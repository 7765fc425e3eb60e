"""What the doctor says about the configuration, the place and the trust."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.backends.finding import Finding, Status, fine
from bxcache.config.discovery import shorten_path
from bxcache.errors import ConfigError
from bxcache.place.place import FIELDS
from bxcache.place.trust import advise, open_defaults, open_setup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bxcache.config.loading import Setup
    from bxcache.place.trust import Trust

_BROKEN = "every build here stops before it begins, and its caches were not examined"
_IGNORED = "it has no effect in this build"


class Project(Struct, frozen=True):
    """The configuration of a project, or the defaults if it is wrong, because of an error."""

    setup: Setup
    trust: Trust
    error: ConfigError | None = None


def open_project(directory: Path, config_file: Path | None) -> Project:
    """Load the configuration that counts in a directory."""
    try:
        return Project(*open_setup(directory, os.environ, file=config_file))
    except ConfigError as error:
        return Project(*open_defaults(directory, os.environ), error)


def judge_project(project: Project) -> Iterator[Finding]:
    """Judge the configuration, and what a build here may do."""
    yield from judge_config(project)
    yield from judge_place(project.trust)


def judge_config(project: Project) -> Iterator[Finding]:
    """Judge the configuration: each problem, and each setting that does not count."""
    setup, check = project.setup, "config"
    if project.error is not None:
        for problem in project.error.problems:
            remedy = project.error.hint or f"correct it in {problem.source}"
            yield Finding(check, Status.ERROR, str(problem), _BROKEN, remedy)
        return
    file = setup.file
    is_sound = f"`{shorten_path(file.path)}` is valid" if file else "no config file, so defaults"
    yield fine(check, is_sound)
    for note in setup.notes:
        yield Finding(check, Status.WARNING, note, _IGNORED, "correct its name, or unset it")
    for refused in project.trust.refused:
        text = f"{refused} does not count: {refused.why}"
        remedy = "set it by a variable in the job, if the job may"
        yield Finding(check, Status.WARNING, text, "the build is not trusted", remedy)


def judge_place(trust: Trust) -> Iterator[Finding]:
    """Judge where a build here runs, and whether it may save."""
    place = trust.place
    known = [f"{name} `{getattr(place, name)}`" for name in FIELDS if getattr(place, name)]
    provider = "no CI system, no checkout" if place.provider == "none" else place.provider
    yield fine("place", ", ".join((provider, *known)).replace("pull_request", "pull request"))
    for note in place.notes:
        yield Finding("place", Status.WARNING, note, "it decides which caches a build imports")
    remedy = advise(place).removeprefix("; ")
    if trust.writes:
        yield fine("trust", trust.reason)
    elif place.trusted or place.is_fork or not remedy:
        # It is meant so.
        yield fine("trust", f"no cache is saved: {trust.denied}")
    else:
        why = "other builds cannot start from this one"
        yield Finding("trust", Status.WARNING, f"no cache is saved: {trust.denied}", why, remedy)
