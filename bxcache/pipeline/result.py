"""The result of a build."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from bxcache.buildx.metadata import find_layers, find_line, is_linked
from bxcache.buildx.stream.events import Outcome
from bxcache.config.json_documents import make_document, pick
from bxcache.errors import BuildFailedError, BxcacheError, StoppedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bxcache.backends.cache_result import CacheResult
    from bxcache.buildx.metadata import Layer, Metadata
    from bxcache.buildx.stream.trace import Trace, TracedStep
    from bxcache.insight.history import Stage
    from bxcache.insight.record import Record
    from bxcache.insight.record_misses import RecordedMiss
    from bxcache.insight.record_parts import RecordedLayer, RecordedPhase, Verdict
    from bxcache.insight.report import Report
    from bxcache.redaction import Redactor


_CACHE = (
    *("backend", "place", "scope", "digest", "bytes", "new_bytes", "layers"),
    *("salvaged", "imported", "exported", "unchanged", "aliased", "seconds"),
    *("store_bytes", "store_budget", "freed_bytes"),
)


class Step(Struct, frozen=True):
    """One layer-making instruction of a stage. A `FROM` is not a step: it names a base image.

    Attributes:
        stage: the stage's name; `stage-N` for an unnamed one.
        text: the instruction, as BuildKit shows it.
        line: its first line in the Dockerfile; None if unknown.
        outcome: whether it was reused, executed or failed.
        seconds: its duration, including the transfer of reused layers.
        layers: the layers it made; empty if unknown, as for a failed build.
        platform: the platform; None unless the build has several.
        error: why it failed, or an empty string.
    """

    stage: str
    text: str
    line: int | None
    outcome: Outcome
    seconds: float
    layers: tuple[Layer, ...] = ()
    platform: str | None = None
    error: str = ""


class BuildResult(Struct, frozen=True, dict=True):
    """The result of a build.

    Attributes:
        exit_status: docker's exit status; 0 for a successful build.
        digest: the image's digest; None if no image was exported.
        tags: the image's names.
        steps: every step that was reused, executed or failed, by stage.
        caches: the imported and saved caches.
        warnings: the warnings of bxcache, with secrets masked.
        seconds: how long the build took.
        phases: what the time was spent on; together they are all of it.
        record: what bxcache keeps of the build: steps, times, layers, inputs. None if nothing.
        gates: the gates that it failed.
        earlier: the records of earlier builds, newest first, if requested.
        why_unsaved: why no cache has the build, or what finished of a failed one, in a few words;
            empty if one has, or if there is no reason to say.
    """

    exit_status: int
    digest: str | None
    tags: tuple[str, ...]
    steps: tuple[Step, ...]
    caches: tuple[CacheResult, ...]
    warnings: tuple[str, ...]
    seconds: float
    record: Record | None = None
    phases: tuple[RecordedPhase, ...] = ()
    gates: tuple[Verdict, ...] = ()
    earlier: tuple[Record, ...] = ()
    why_unsaved: str = ""

    @cached_property
    def stages(self) -> Mapping[str, Stage]:
        """Every stage by its name, in the order of the Dockerfile, with its steps and layers."""
        from bxcache.insight.history import view_stages  # noqa: PLC0415  # rarely needed

        return {each.name: each for each in view_stages(self.record)} if self.record else {}

    @cached_property
    def report(self) -> Report | None:
        """The report of the build, with its key figures."""
        from bxcache.insight.reporting import make_report  # noqa: PLC0415  # rarely needed

        return make_report((self.record, *self.earlier)) if self.record else None

    @property
    def misses(self) -> tuple[RecordedMiss, ...]:
        """Why steps were executed, each first cause once."""
        return self.record.misses if self.record is not None else ()

    @property
    def pushed(self) -> tuple[str, ...]:
        """The names by which the image was pushed."""
        return self.record.pushed if self.record is not None else ()

    def _count(self, outcome: Outcome) -> int:
        return sum(step.outcome is outcome for step in self.steps)

    @property
    def reused(self) -> int:
        """The number of steps that came from a cache."""
        return self._count(Outcome.REUSED)

    @property
    def executed(self) -> int:
        """The number of executed steps."""
        return self._count(Outcome.EXECUTED)

    @property
    def failed(self) -> int:
        """The number of failed steps."""
        return self._count(Outcome.FAILED)

    @property
    def hit_ratio(self) -> float | None:
        """The share of the steps that were reused, from 0 to 1; None for a build without steps."""
        return self.reused / len(self.steps) if self.steps else None

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bxcache build --json` prints."""
        return make_document(
            {
                "exit_status": self.exit_status,
                "image": pick(self, "tags", "digest", "pushed"),
                "steps": [_describe_step(step) for step in self.steps],
                "stages": [_describe_stage(stage) for stage in self.stages.values()],
                "counts": pick(self, "reused", "executed", "failed"),
                **_describe_misses(self.record),
                "caches": [pick(cache, *_CACHE) for cache in self.caches],
                "warnings": self.warnings,
                **(_describe_amounts(self.report) if self.report is not None else {}),
                "gates": [pick(each, "gate", "reason", "fails") for each in self.gates],
                "seconds": self.seconds,
                "phases": [pick(each, "name", "seconds", "bytes") for each in self.phases],
            }
        )


def _describe_misses(record: Record | None) -> dict[str, Any]:
    from bxcache.insight.explanation import describe_miss  # noqa: PLC0415  # rarely needed
    from bxcache.insight.misses.documents import write_advice  # noqa: PLC0415  # the same

    if record is None:
        return {"misses": [], "advice": []}
    misses = [describe_miss(each, record) for each in record.misses]
    return {"misses": misses, "advice": write_advice(record.advice)}


def _describe_amounts(report: Report) -> dict[str, Any]:
    counts = report.counts
    is_known = not counts.reused or counts.reused > counts.unknown
    return {
        "build_warnings": report.build_warnings,
        "saved_seconds": counts.saved if is_known else None,
        **pick(report, "pulled_bytes", "sent_bytes"),
    }


def _describe_step(step: Step) -> dict[str, Any]:
    known = pick(step, "stage", "text", "line", "outcome", "seconds")
    layers = _describe_layers(step.layers)
    return {**known, "layers": layers, "platform": step.platform, "error": step.error or ""}


def _describe_stage(stage: Stage) -> dict[str, Any]:
    known = pick(stage, "name", "line", "base", "needed")
    return {**known, "layers": _describe_layers(stage.layers)}


def _describe_layers(layers: Iterable[Layer | RecordedLayer]) -> list[dict[str, Any]]:
    return [{"digest": layer.digest, "bytes": layer.size} for layer in layers]


class ImageOutcome(Struct, frozen=True):
    """The outcome of one of several images.

    Attributes:
        image: its name in the config file, or that of a bake's target.
        result: what the build did; None if it did not run.
        error: why it did not succeed; None if it did.
    """

    image: str
    result: BuildResult | None = None
    error: BxcacheError | None = None

    @property
    def exit_status(self) -> int:
        """0 for success, else that of the error, which is docker's own for a failed build."""
        return self.error.exit_status if self.error is not None else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the part of the image in the document of all, with the `error` as text."""
        document = self.result.to_dict() if self.result is not None else {}
        error = str(self.error) if self.error is not None else ""
        return {**document, "exit_status": self.exit_status, "error": error}


class Outcomes(dict[str, ImageOutcome]):
    """The outcome of each of several images or targets, by name."""

    what = "image"
    """What the names are: of an `image` or a `target`."""

    @property
    def exit_status(self) -> int:
        """Docker's own of the first failed build, else that of the first other failure.

        A stopped build counts last, and 0 means that all succeeded.
        """
        failed = [each for each in self.values() if each.exit_status]
        return min(failed, key=_rank_failure).exit_status if failed else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bxcache build --all --json` or `bxcache bake --json` prints."""
        each = {name: outcome.to_dict() for name, outcome in self.items()}
        return make_document({"exit_status": self.exit_status, f"{self.what}s": each})


class TargetOutcomes(Outcomes):
    """The outcomes of a bake."""

    what = "target"


def _rank_failure(outcome: ImageOutcome) -> tuple[bool, bool]:
    return not isinstance(outcome.error, BuildFailedError), isinstance(outcome.error, StoppedError)


def list_steps(trace: Trace, metadata: Metadata, redact: Redactor) -> tuple[Step, ...]:
    """List the steps, grouped by stage, in the order of the Dockerfile as far as known.

    If the result of another build is a named context of this one, its steps are left out.
    """
    own = (step for step in trace.steps if not is_linked(step, metadata))
    found = [(step, find_line(step, metadata)) for step in own]
    first = defaultdict[str, float](lambda: inf)
    for step, line in found:
        first[step.name.stage] = min(line or inf, first[step.name.stage])

    def place(each: tuple[TracedStep, int | None]) -> tuple[float, str, str, int]:
        name = each[0].name
        return first[name.stage], name.stage, name.platform or "", name.index

    return tuple(
        Step(
            stage=step.name.stage,
            text=redact(step.name.text),
            line=line,
            outcome=step.outcome,
            seconds=round(step.seconds, 3),
            layers=find_layers(step, metadata),
            platform=step.name.platform,
            error=redact(step.error),
        )
        for step, line in sorted(found, key=place)
    )
