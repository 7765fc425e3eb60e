"""Backends made from declared settings, without a configuration file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from pydantic import TypeAdapter

from bxcache.backends.base import EXPORT, IMPORT, Backend, CacheUse, Save
from bxcache.backends.declared import load_backend
from bxcache.config.backends import BackendSettings
from bxcache.config.loading import Setup
from bxcache.config.models import Config
from bxcache.pipeline.plan import BuildPlan
from bxcache.place.scope import Scope

PARSER: TypeAdapter[BackendSettings] = TypeAdapter(BackendSettings)


def make_backend(declared: dict[str, Any], config: Config | None = None) -> Backend:
    """Return a backend of a trusted build, by default the only one."""
    setup = SimpleNamespace(
        config=config or Config.model_validate({"cache": {"backends": [declared]}}),
        root=Path("/project"),
        directory=Path.cwd(),
        is_guarded=False,
        is_callers=lambda _key: True,
    )
    settings = PARSER.validate_python(declared)
    return load_backend(settings.type)(settings, cast("Setup", setup))


def plan_uses(scope: Scope, uses: Sequence[CacheUse]) -> BuildPlan:
    """Return the plan of a build with these cache flags."""
    imports = tuple(use for use in uses if use.flag == IMPORT)
    return BuildPlan(scope, imports, tuple(Save(use) for use in uses if use.flag == EXPORT))


def make_local() -> Backend:
    """Return a backend with a store at `/store`."""
    return make_backend({"type": "local", "dir": "/store"})


def make_registry(ref: str) -> Backend:
    """Return a backend with a repository of a registry."""
    return make_backend({"type": "registry", "ref": ref})
