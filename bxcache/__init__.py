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
    from bxcache.api import bake as bake
    from bxcache.api import build as build
    from bxcache.api import build_images as build_images
    from bxcache.api import diagnose as diagnose
    from bxcache.api import diff as diff
    from bxcache.api import explain as explain
    from bxcache.api import history as history
    from bxcache.api import predict as predict
    from bxcache.api import report as report
    from bxcache.backends.cache_result import CacheResult as CacheResult
    from bxcache.backends.finding import Finding as Finding
    from bxcache.backends.finding import Status as Status
    from bxcache.buildx.metadata import Layer as Layer
    from bxcache.buildx.stream.events import Event as Event
    from bxcache.buildx.stream.events import Noted as Noted
    from bxcache.buildx.stream.events import Observer as Observer
    from bxcache.buildx.stream.events import Outcome as Outcome
    from bxcache.buildx.stream.events import Phase as Phase
    from bxcache.buildx.stream.events import Recalled as Recalled
    from bxcache.buildx.stream.events import RunStarted as RunStarted
    from bxcache.buildx.stream.events import Said as Said
    from bxcache.buildx.stream.events import StepFinished as StepFinished
    from bxcache.buildx.stream.events import StepListed as StepListed
    from bxcache.buildx.stream.events import StepLogged as StepLogged
    from bxcache.buildx.stream.events import StepShown as StepShown
    from bxcache.buildx.stream.events import StepStarted as StepStarted
    from bxcache.buildx.stream.events import StepStopped as StepStopped
    from bxcache.buildx.stream.events import Streamed as Streamed
    from bxcache.buildx.stream.events import Transferred as Transferred
    from bxcache.buildx.stream.events import Warned as Warned
    from bxcache.buildx.stream.events import Worked as Worked
    from bxcache.buildx.stream.names import Transfer as Transfer
    from bxcache.console.report.rendering import render_report as render_report
    from bxcache.console.report.trace_events import render_trace as render_trace
    from bxcache.errors import BuildFailedError as BuildFailedError
    from bxcache.errors import BxcacheError as BxcacheError
    from bxcache.errors import CacheError as CacheError
    from bxcache.errors import ConfigError as ConfigError
    from bxcache.errors import EngineError as EngineError
    from bxcache.errors import GateError as GateError
    from bxcache.errors import OutputError as OutputError
    from bxcache.errors import PlaceError as PlaceError
    from bxcache.errors import Problem as Problem
    from bxcache.errors import RecordError as RecordError
    from bxcache.errors import RegistryError as RegistryError
    from bxcache.errors import ResultError as ResultError
    from bxcache.errors import StoppedError as StoppedError
    from bxcache.errors import StoreError as StoreError
    from bxcache.errors import Trouble as Trouble
    from bxcache.insight.causes import Cause as Cause
    from bxcache.insight.chains import Chain as Chain
    from bxcache.insight.difference import Difference as Difference
    from bxcache.insight.difference import StageDifference as StageDifference
    from bxcache.insight.explanation import ExplainedStep as ExplainedStep
    from bxcache.insight.explanation import Explanation as Explanation
    from bxcache.insight.history import History as History
    from bxcache.insight.history import Stage as Stage
    from bxcache.insight.history_request import HistoryOptions as HistoryOptions
    from bxcache.insight.prediction import PredictedStep as PredictedStep
    from bxcache.insight.prediction import Prediction as Prediction
    from bxcache.insight.record import Record as Record
    from bxcache.insight.record_misses import RecordedBasis as RecordedBasis
    from bxcache.insight.record_misses import RecordedChange as RecordedChange
    from bxcache.insight.record_misses import RecordedMiss as RecordedMiss
    from bxcache.insight.record_parts import RecordedLayer as RecordedLayer
    from bxcache.insight.record_parts import RecordedPhase as RecordedPhase
    from bxcache.insight.record_parts import RecordedStep as RecordedStep
    from bxcache.insight.record_parts import Verdict as Verdict
    from bxcache.insight.report import Report as Report
    from bxcache.insight.reporting import make_report as make_report
    from bxcache.insight.tuning import Blocker as Blocker
    from bxcache.insight.tuning import StageTuning as StageTuning
    from bxcache.insight.tuning import Tuning as Tuning
    from bxcache.insight.tuning import Worth as Worth
    from bxcache.insight.tuning import tuning as tuning
    from bxcache.pipeline.batch import ImageObserver as ImageObserver
    from bxcache.pipeline.builder_list import BuilderList as BuilderList
    from bxcache.pipeline.builder_list import ListedBuilder as ListedBuilder
    from bxcache.pipeline.builder_list import list_builders as list_builders
    from bxcache.pipeline.builders import BuilderRemoved as BuilderRemoved
    from bxcache.pipeline.builders import BuilderUp as BuilderUp
    from bxcache.pipeline.builders import bring_up_builder as bring_up_builder
    from bxcache.pipeline.builders import remove_builder as remove_builder
    from bxcache.pipeline.doctor.diagnosis import Diagnosis as Diagnosis
    from bxcache.pipeline.doctor.diagnosis import Mended as Mended
    from bxcache.pipeline.options import BakeOptions as BakeOptions
    from bxcache.pipeline.options import BuildOptions as BuildOptions
    from bxcache.pipeline.options import Gate as Gate
    from bxcache.pipeline.options import InlineBackend as InlineBackend
    from bxcache.pipeline.options import LocalBackend as LocalBackend
    from bxcache.pipeline.options import Output as Output
    from bxcache.pipeline.options import RegistryBackend as RegistryBackend
    from bxcache.pipeline.options import Secret as Secret
    from bxcache.pipeline.question import Answer as Answer
    from bxcache.pipeline.result import BuildResult as BuildResult
    from bxcache.pipeline.result import ImageOutcome as ImageOutcome
    from bxcache.pipeline.result import Outcomes as Outcomes
    from bxcache.pipeline.result import Step as Step
    from bxcache.registry.registry_cache import Pruned as Pruned
    from bxcache.registry.registry_cache import RegistryCache as RegistryCache
    from bxcache.registry.registry_cache import Removal as Removal
    from bxcache.registry.scopes import RemoteScope as RemoteScope
    from bxcache.store.collection import Collected as Collected
    from bxcache.store.directory import Adopted as Adopted
    from bxcache.store.inventory import ScopeUsage as ScopeUsage
    from bxcache.store.inventory import Usage as Usage
    from bxcache.store.packing import Packed as Packed
    from bxcache.store.packing import Unpacked as Unpacked
    from bxcache.store.store import Store as Store
    from bxcache.store.verification import Damage as Damage
    from bxcache.store.verification import Verification as Verification

# Each name is loaded on first use, so the command line starts in a fraction of the time.
_NAMES = {
    "api": "bake build build_images diagnose diff explain history predict report",
    "backends.cache_result": "CacheResult",
    "backends.finding": "Finding Status",
    "buildx.metadata": "Layer",
    "buildx.stream.events": (
        "Event Noted Observer Outcome Phase Recalled RunStarted Said StepFinished StepListed "
        "StepLogged StepShown StepStarted StepStopped Streamed Transferred Warned Worked"
    ),
    "buildx.stream.names": "Transfer",
    "console.report.rendering": "render_report",
    "console.report.trace_events": "render_trace",
    "errors": (
        "BuildFailedError BxcacheError CacheError ConfigError EngineError GateError "
        "OutputError PlaceError Problem RecordError RegistryError ResultError StoppedError "
        "StoreError Trouble"
    ),
    "insight.causes": "Cause",
    "insight.chains": "Chain",
    "insight.difference": "Difference StageDifference",
    "insight.explanation": "ExplainedStep Explanation",
    "insight.history_request": "HistoryOptions",
    "insight.history": "History Stage",
    "insight.prediction": "PredictedStep Prediction",
    "insight.record": "Record",
    "insight.record_misses": "RecordedBasis RecordedChange RecordedMiss",
    "insight.record_parts": "RecordedLayer RecordedPhase RecordedStep Verdict",
    "insight.report": "Report",
    "insight.reporting": "make_report",
    "insight.tuning": "Blocker StageTuning Tuning Worth tuning",
    "pipeline.batch": "ImageObserver",
    "pipeline.builder_list": "BuilderList ListedBuilder list_builders",
    "pipeline.builders": "BuilderRemoved BuilderUp bring_up_builder remove_builder",
    "pipeline.doctor.diagnosis": "Diagnosis Mended",
    "pipeline.options": (
        "BakeOptions BuildOptions Gate InlineBackend LocalBackend Output RegistryBackend Secret"
    ),
    "pipeline.question": "Answer",
    "pipeline.result": "BuildResult ImageOutcome Outcomes Step",
    "registry.registry_cache": "Pruned RegistryCache Removal",
    "registry.scopes": "RemoteScope",
    "store.collection": "Collected",
    "store.directory": "Adopted",
    "store.inventory": "ScopeUsage Usage",
    "store.packing": "Packed Unpacked",
    "store.store": "Store",
    "store.verification": "Damage Verification",
}
_HOMES = {name: f"bxcache.{home}" for home, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOMES)  # noqa: PLE0605  # whoever checks types reads the imports above


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module `bxcache` has no attribute `{name}`")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
