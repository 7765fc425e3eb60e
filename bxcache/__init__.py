"""Cache and restore every stage of a multi-stage `docker buildx build`.

>>> import bxcache
>>> result = bxcache.build("app", tags=["app:dev"], load=True)  # doctest: +SKIP
>>> result.digest, result.reused, result.executed  # doctest: +SKIP
('sha256:…', 12, 0)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bxcache.version import __version__ as __version__

if TYPE_CHECKING:
    from bxcache.api import bake, build, build_images, history, report
    from bxcache.backends.cache_result import CacheResult
    from bxcache.buildx.metadata import Layer
    from bxcache.buildx.stream.events import (
        Event,
        Noted,
        Observer,
        Outcome,
        RunStarted,
        Said,
        StepFinished,
        StepLogged,
        StepShown,
        StepStarted,
        StepStopped,
        Streamed,
        Transferred,
        Warned,
    )
    from bxcache.buildx.stream.names import Transfer
    from bxcache.console.report.rendering import render_report
    from bxcache.console.report.trace_events import render_trace
    from bxcache.errors import (
        BuildFailedError,
        BxcacheError,
        CacheError,
        ConfigError,
        EngineError,
        GateError,
        OutputError,
        PlaceError,
        Problem,
        RecordError,
        RegistryError,
        StoppedError,
        StoreError,
    )
    from bxcache.insight.chains import Chain
    from bxcache.insight.history import History, Stage
    from bxcache.insight.record import Record, RecordedLayer, RecordedStep, Verdict
    from bxcache.insight.report import Report
    from bxcache.insight.reporting import make_report
    from bxcache.pipeline.batch import ImageObserver
    from bxcache.pipeline.request import BakeOptions, BuildOptions
    from bxcache.pipeline.result import BuildResult, ImageOutcome, Step
    from bxcache.registry.registry_cache import Pruned, RegistryCache
    from bxcache.registry.retention import Removal
    from bxcache.registry.scopes import RemoteScope
    from bxcache.store.adoption import Adopted
    from bxcache.store.collection import Collected
    from bxcache.store.inventory import ScopeUsage, Usage
    from bxcache.store.packing import Packed, Unpacked
    from bxcache.store.store import Store
    from bxcache.store.verification import Damage, Verification

# Each name is loaded on first use, so the command line starts in a fraction of the time.
_HOMES = {
    "bake": "bxcache.api",
    "build": "bxcache.api",
    "build_images": "bxcache.api",
    "history": "bxcache.api",
    "report": "bxcache.api",
    "ImageObserver": "bxcache.pipeline.batch",
    "ImageOutcome": "bxcache.pipeline.result",
    "Event": "bxcache.buildx.stream.events",
    "Observer": "bxcache.buildx.stream.events",
    "Outcome": "bxcache.buildx.stream.events",
    "Noted": "bxcache.buildx.stream.events",
    "RunStarted": "bxcache.buildx.stream.events",
    "Said": "bxcache.buildx.stream.events",
    "StepFinished": "bxcache.buildx.stream.events",
    "StepLogged": "bxcache.buildx.stream.events",
    "StepShown": "bxcache.buildx.stream.events",
    "StepStarted": "bxcache.buildx.stream.events",
    "StepStopped": "bxcache.buildx.stream.events",
    "Streamed": "bxcache.buildx.stream.events",
    "Transfer": "bxcache.buildx.stream.names",
    "Transferred": "bxcache.buildx.stream.events",
    "Warned": "bxcache.buildx.stream.events",
    "Layer": "bxcache.buildx.metadata",
    "render_report": "bxcache.console.report.rendering",
    "render_trace": "bxcache.console.report.trace_events",
    "BuildFailedError": "bxcache.errors",
    "BxcacheError": "bxcache.errors",
    "CacheError": "bxcache.errors",
    "ConfigError": "bxcache.errors",
    "EngineError": "bxcache.errors",
    "GateError": "bxcache.errors",
    "OutputError": "bxcache.errors",
    "PlaceError": "bxcache.errors",
    "Problem": "bxcache.errors",
    "RecordError": "bxcache.errors",
    "RegistryError": "bxcache.errors",
    "StoppedError": "bxcache.errors",
    "StoreError": "bxcache.errors",
    "Chain": "bxcache.insight.chains",
    "Verdict": "bxcache.insight.record",
    "History": "bxcache.insight.history",
    "Stage": "bxcache.insight.history",
    "Record": "bxcache.insight.record",
    "RecordedLayer": "bxcache.insight.record",
    "RecordedStep": "bxcache.insight.record",
    "Report": "bxcache.insight.report",
    "make_report": "bxcache.insight.reporting",
    "Pruned": "bxcache.registry.registry_cache",
    "RegistryCache": "bxcache.registry.registry_cache",
    "Removal": "bxcache.registry.retention",
    "RemoteScope": "bxcache.registry.scopes",
    "BakeOptions": "bxcache.pipeline.request",
    "BuildOptions": "bxcache.pipeline.request",
    "BuildResult": "bxcache.pipeline.result",
    "CacheResult": "bxcache.backends.cache_result",
    "Step": "bxcache.pipeline.result",
    "Adopted": "bxcache.store.adoption",
    "Collected": "bxcache.store.collection",
    "ScopeUsage": "bxcache.store.inventory",
    "Usage": "bxcache.store.inventory",
    "Packed": "bxcache.store.packing",
    "Unpacked": "bxcache.store.packing",
    "Store": "bxcache.store.store",
    "Damage": "bxcache.store.verification",
    "Verification": "bxcache.store.verification",
}

__all__ = [
    "Adopted",
    "BakeOptions",
    "BuildFailedError",
    "BuildOptions",
    "BuildResult",
    "BxcacheError",
    "CacheError",
    "CacheResult",
    "Chain",
    "Collected",
    "ConfigError",
    "Damage",
    "EngineError",
    "Event",
    "GateError",
    "History",
    "ImageObserver",
    "ImageOutcome",
    "Layer",
    "Noted",
    "Observer",
    "Outcome",
    "OutputError",
    "Packed",
    "PlaceError",
    "Problem",
    "Pruned",
    "Record",
    "RecordError",
    "RecordedLayer",
    "RecordedStep",
    "RegistryCache",
    "RegistryError",
    "RemoteScope",
    "Removal",
    "Report",
    "RunStarted",
    "Said",
    "ScopeUsage",
    "Stage",
    "Step",
    "StepFinished",
    "StepLogged",
    "StepShown",
    "StepStarted",
    "StepStopped",
    "StoppedError",
    "Store",
    "StoreError",
    "Streamed",
    "Transfer",
    "Transferred",
    "Unpacked",
    "Usage",
    "Verdict",
    "Verification",
    "Warned",
    "bake",
    "build",
    "build_images",
    "history",
    "make_report",
    "render_report",
    "render_trace",
    "report",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module `bxcache` has no attribute `{name}`")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
