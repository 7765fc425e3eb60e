"""A dry run: everything up to the start of docker."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.buildx.capabilities import check_buildx
from bxcache.buildx.command import VARIABLES
from bxcache.buildx.secrets import find_secrets, redact_argv
from bxcache.pipeline.choose import plan_build
from bxcache.pipeline.metadata_file import note_metadata
from bxcache.pipeline.prepare import list_notes, open_backends, render_arguments
from bxcache.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview of a build.

    Attributes:
        command: the command, secrets masked, after the variables it needs.
        plan: the caches, with the reasons.
        notes: notes for the user.
    """

    command: tuple[str, ...]
    plan: BuildPlan
    notes: tuple[str, ...]


def make_preview(prepared: Prepared) -> Preview:
    """Preview the build.

    Raises:
        EngineError: buildx is too old.
    """
    check_buildx(prepared.docker.ask_buildx_version())
    open_backends(prepared, None)
    plan = plan_build(prepared)
    command = (*prepared.docker.command, *render_arguments(prepared, plan.uses))
    redact = Redactor(find_secrets(command, os.environ, prepared.request.directory))
    notes = (
        *prepared.notes,
        *note_metadata(prepared),
        *list_notes(prepared),
        *(each for backend in prepared.backends for each in backend.list_warnings()),
        *plan.notes,
    )
    return Preview(show_command(command, redact), plan, notes)


def show_command(command: Sequence[str], redact: Redactor) -> tuple[str, ...]:
    """A command with secrets masked, after the variables it needs."""
    variables = (f"{name}={value}" for name, value in VARIABLES.items())
    return (*variables, *redact_argv(command, redact))
