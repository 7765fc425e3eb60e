"""A dry run: everything up to the start of docker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.buildx.capabilities import check_buildx
from bxcache.buildx.command import VARIABLES
from bxcache.buildx.secrets import find_secrets, redact_argv
from bxcache.pipeline.choose import plan_build
from bxcache.pipeline.tripwire import refuse_secrets
from bxcache.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.insight.prediction import Prediction
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared


class Preview(Struct, frozen=True):
    """A preview of a build: its command, secrets masked, its caches, and what it would reuse."""

    command: tuple[str, ...]
    plan: BuildPlan
    notes: tuple[str, ...]
    prediction: Prediction


def make_preview(prepared: Prepared) -> Preview:
    """Preview the build; raise `EngineError` if buildx is too old."""
    from bxcache.pipeline.predict import predict_plan  # noqa: PLC0415  # loads records

    check_buildx(prepared.docker.ask_buildx_version())
    prepared.open_backends(None)
    plan = plan_build(prepared)
    arguments = prepared.render_arguments(plan.uses)
    refuse_secrets([(plan, arguments)], prepared.setup.config.cache.allow_args)
    command = (*prepared.docker.command, *arguments)
    secrets = find_secrets(command, os.environ, prepared.request.directory)
    redact = Redactor((*secrets, *prepared.list_secrets()))
    notes = (
        *prepared.notes,
        *prepared.note_metadata(),
        *prepared.list_notes(),
        *(each for backend in prepared.backends for each in backend.list_warnings()),
        *plan.notes,
    )
    return Preview(show_command(command, redact), plan, notes, predict_plan(prepared, plan))


def show_command(command: Sequence[str], redact: Redactor) -> tuple[str, ...]:
    """A command with secrets masked, after the variables it needs."""
    variables = (f"{name}={value}" for name, value in VARIABLES.items())
    return (*variables, *redact_argv(command, redact))
