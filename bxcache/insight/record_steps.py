"""Writes the parts of a record: steps and stages from the stream and the metadata, build arguments.

A step of the record is an operation of BuildKit, joined with its events in the stream.
"""

from __future__ import annotations

import re
from collections import defaultdict
from math import inf
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.buildx.dockerfile import list_needed, list_stages
from bxcache.buildx.extra_flags import list_build_arguments
from bxcache.buildx.stream.events import Outcome
from bxcache.insight.bases import IMAGES, find_base_lines
from bxcache.insight.critical_path import find_critical_path
from bxcache.insight.document import shorten
from bxcache.insight.inputs import hash_value
from bxcache.insight.record_parts import (
    RecordedArguments,
    RecordedImage,
    RecordedLayer,
    RecordedStage,
    RecordedStep,
)
from bxcache.insight.stage_order import order_stages
from bxcache.redaction import is_secret_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bxcache.buildx.dockerfile import DockerfileStage
    from bxcache.buildx.metadata import Definition, Layer, Metadata, Operation
    from bxcache.buildx.stream.names import StepName
    from bxcache.buildx.stream.trace import Trace, TracedSource, TracedStep
    from bxcache.insight.inputs import InputWriter
    from bxcache.insight.record import Record
    from bxcache.insight.record_inputs import RecordedInputs
    from bxcache.redaction import Redactor

_ROOM_FOR_TEXTS = 100_000
_SHORTEST_TEXT, _LONGEST_TEXT = 400, 4_000
_ROOM_FOR_LOGS, _LONGEST_LOG = 60_000, 4_000
_FROM = "FROM "
_Key = tuple[object, ...]
_OMITTED = re.compile(r"^docker\.io/(?:library/)?")
"""The part of an image's name that docker omits."""


class Account(Struct, frozen=True):
    """Everything that is known of a build's steps.

    Attributes:
        built: the stream of the build: outcomes, times, logs.
        detailed: the stream of the run that knows most about the layers; often the same.
        metadata: the metadata of that run.
        offset: what to add to the times of the stream to get seconds since the build began; None
            to count from BuildKit's first action.
        inputs: writes the inputs of steps; None to leave them out.
    """

    built: Trace
    detailed: Trace
    metadata: Metadata
    target: str | None = None
    offset: float | None = None
    inputs: InputWriter | None = None


def list_recorded_stages(account: Account, redact: Redactor) -> tuple[RecordedStage, ...]:
    """The stages of the Dockerfile, as far as it is known."""
    texts = [each.dockerfile for each in account.metadata.definitions]
    if account.inputs is not None:
        texts.append(account.inputs.dockerfile)
    stages = list_stages(next(filter(None, texts), ""))
    needed = list_needed(stages, account.target) if account.metadata.definitions else frozenset()
    # A stage that a variable names was needed if any of its operations ran. Of a build that failed,
    # only what it began is known.
    operations = account.metadata.operations.values()
    done = {line for each in operations if not each.is_linked for line in each.lines}
    began = {step.name.stage for step in account.built.steps}
    return tuple(
        RecordedStage(
            name=stage.name,
            line=stage.line,
            base=redact(stage.base),
            needed=stage in needed
            or stage.name in began
            or any(stage.line <= at <= stage.last_line for at in done),
        )
        for stage in stages
    )


def list_recorded_images(metadata: Metadata, redact: Redactor) -> tuple[RecordedImage, ...]:
    """The base images with their digests."""
    found: dict[str, RecordedImage] = {}
    for definition in metadata.definitions:
        for operation in definition.operations:
            if operation.source.startswith(IMAGES):
                name, _, digest = operation.source.partition("://")[2].partition("@")
                known = digest or definition.images.get(_OMITTED.sub("", name))
                found[operation.source] = RecordedImage(name=redact(name), digest=known or None)
    return tuple(found.values())


def list_recorded_steps(account: Account, redact: Redactor) -> tuple[RecordedStep, ...]:
    """The steps of a build, each after the step that it builds on."""
    writer = _StepWriter(account, redact)
    if not account.metadata.definitions:
        return writer.write_without_metadata()
    for definition in account.metadata.definitions:
        writer.write(definition)
    return (*writer.steps.values(), *writer.write_elsewhere())


class _StepWriter:
    """Writes the steps of one build; a step that platforms share is written once."""

    def __init__(self, account: Account, redact: Redactor) -> None:
        self.steps: dict[str, RecordedStep] = {}
        self._positions: dict[str, int] = {}
        self._heads: dict[int, DockerfileStage] = {}
        self._redact = redact
        self._account, self._detailed = account, account.detailed
        self._traced = {each: step for step in account.detailed.steps for each in step.digests}
        sources = (*account.detailed.sources, *account.built.sources)
        self._sources = {source.digest: source for source in sources}
        self._built = _match_steps(account.built, account.detailed)
        path = find_critical_path(account.built)
        self._critical, self._gains = frozenset(path.vertices), path.gains
        count = max(1, len(account.detailed.steps))
        printed = sum(bool(step.log) for step in account.built.steps)
        self._longest_log = min(_LONGEST_LOG, _ROOM_FOR_LOGS // max(1, printed))
        self._longest = max(_SHORTEST_TEXT, min(_LONGEST_TEXT, _ROOM_FOR_TEXTS // count))

    def write(self, definition: Definition) -> None:
        """Write the steps of one platform."""
        known = {each.vertex: each for each in definition.operations}
        bases = find_base_lines(definition, self._sources, self._account.target)
        # The upper side of a merge is not a step, but the first half of a `COPY --link`.
        halves = {each.beside for each in definition.operations if each.lines or each.is_linked}
        self._heads = {stage.line: stage for stage in list_stages(definition.dockerfile)}
        platforms = (definition.platform,) if definition.platform else ()
        for operation in definition.operations:
            vertex = operation.vertex
            if vertex in self.steps:
                both = tuple(dict.fromkeys((*self.steps[vertex].platforms, *platforms)))
                self.steps[vertex] = self.steps[vertex].model_copy(update={"platforms": both})
            elif vertex not in halves:
                step = self._describe(operation, bases.get(vertex, ()))
                if step is not None:
                    update = {
                        "platforms": platforms,
                        "parent": self._find_parent(operation, known),
                        "inputs": self._write_inputs(step, operation, definition),
                    }
                    self._positions[vertex] = len(self.steps)
                    self.steps[vertex] = step.model_copy(update=update)

    def _write_inputs(
        self, step: RecordedStep, operation: Operation, definition: Definition
    ) -> RecordedInputs | None:
        writer = self._account.inputs
        if writer is None or step.kind == "from":
            return None
        return writer.write_step(operation, definition, self._positions)

    def _find_parent(self, operation: Operation, known: Mapping[str, Operation]) -> int | None:
        # The result of another build stands for all its operations.
        below, passed = None if operation.is_linked else operation.below, set[str]()
        # Damaged metadata may contain a cycle.
        while below is not None and below not in self._positions and below not in passed:
            passed.add(below)
            is_own = below in known and not known[below].is_linked
            below = known[below].below if is_own else None
        return self._positions.get(below) if below is not None else None

    def _describe(self, operation: Operation, bases: Sequence[int]) -> RecordedStep | None:
        vertex, lines = operation.vertex, bases or operation.lines
        traced = self._traced.get(vertex) or self._traced.get(operation.beside or "")
        if bases and operation.is_linked:
            head = self._heads[bases[0]]
            text = self._shorten(f"{_FROM}{head.base}")
            step = RecordedStep(kind="from", text=text, stage=head.name)
        elif bases:
            step = self._write_base(self._sources.get(vertex), operation.source)
        elif traced is None or operation.source or operation.is_linked:
            # An internal operation, such as loading the context, or a step of another build.
            return None
        else:
            step = self._write_instruction(traced)
        chains = (chain if bases else chain[-1:] for chain in operation.chains)
        layers, *others = dict.fromkeys(map(_write_layers, chains)) or [()]
        found = {"lines": tuple(sorted({*lines})), "layers": layers, "alternatives": tuple(others)}
        return step.model_copy(update=found)

    def _write_instruction(self, traced: TracedStep) -> RecordedStep:
        built = self._built.get(traced.digests, traced)
        return RecordedStep(
            text=self._shorten(traced.name.text),
            stage=traced.name.stage,
            lines=traced.lines,
            platforms=_list_platforms(traced.name),
            outcome=built.outcome,
            seconds=round(built.seconds, 3),
            began=self._find_offset(built.began),
            critical=built.digests[0] in self._critical,
            gain=self._gains.get(built.digests[0], 0.0),
            log_bytes=built.log_bytes,
            log=self._write_log(built),
            error=self._shorten(built.error),
        )

    def _write_log(self, traced: TracedStep) -> str:
        log = self._redact(traced.log)
        if traced.is_cut:
            # It may begin with the end of a secret, which is not recognized.
            log = log.partition("\n")[2] or log[self._redact.longest :]
        return log[-self._longest_log :]

    def _write_base(self, source: TracedSource | None, identifier: str = "") -> RecordedStep:
        image = identifier.partition("://")[2] or identifier
        named = f"{_FROM}{image}"
        if source is None:
            return RecordedStep(kind="from", text=self._shorten(named))
        return RecordedStep(
            kind="from",
            text=self._shorten(source.text if source.text.startswith(_FROM) else named),
            stage=source.step.stage if source.step is not None else "",
            platforms=_list_platforms(source.step) if source.step is not None else (),
            seconds=round(source.seconds, 3),
            began=self._find_offset(source.began),
            critical=source.digest in self._critical,
            gain=self._gains.get(source.digest, 0.0),
        )

    def _find_offset(self, began: float | None) -> float | None:
        """A moment in seconds from the beginning of the build; None for another build's step."""
        first = self._account.built.began
        if began is None or first is None:
            return None
        since = began + (-first if self._account.offset is None else self._account.offset)
        return round(since, 3) if since >= 0 else None

    def write_elsewhere(self) -> Iterator[RecordedStep]:
        """Write the steps of other nodes of the builder: the metadata describes only one node."""
        for step in self._detailed.steps:
            if self._account.metadata.operations.keys().isdisjoint(step.digests):
                yield self._write_instruction(step)

    def write_without_metadata(self) -> tuple[RecordedStep, ...]:
        """Write the steps from the stream alone, without layers."""
        bases = ((base.step, self._write_base(base)) for base in self._detailed.sources)
        found = [(name, step) for name, step in bases if name is not None]
        found += [(step.name, self._write_instruction(step)) for step in self._detailed.steps]
        began = self._list_began(name.stage for name, _ in found)
        stages = order_stages(began, (step for _, step in found))
        order = {name: at for at, name in enumerate(stages)}
        found.sort(key=lambda each: (order[each[0].stage], each[0].platform or "", each[0].index))
        return self._join_steps([name for name, _ in found], [step for _, step in found])

    def _join_steps(
        self, names: Sequence[StepName], steps: Sequence[RecordedStep]
    ) -> tuple[RecordedStep, ...]:
        """Add on what each step builds, as far as the stream says it, and what it says itself."""
        places = {name: at for at, name in enumerate(names)}
        needed = {each.name: each.inputs for each in self._detailed.steps}
        vertices = {d: each.name for each in self._detailed.steps for d in each.digests}
        joined = []
        for at, (name, step) in enumerate(zip(names, steps, strict=True)):
            inputs = {vertices[each] for each in needed.get(name, ()) if each in vertices}
            below = {n for n in inputs if (n.stage, n.platform) == (name.stage, name.platform)}
            parent = max((places[each] for each in below if places[each] < at), default=None)
            update: dict[str, object] = {"parent": parent}
            if self._account.inputs is not None and step.kind != "from":
                others = tuple(sorted(places[each] for each in inputs if places[each] != parent))
                update["inputs"] = self._account.inputs.write_known(step.lines, others)
            joined.append(step.model_copy(update=update))
        return tuple(joined)

    def _list_began(self, stages: Iterable[str]) -> list[str]:
        """List stages by the beginning of their first instructions."""
        # Stages that were not needed, because a later result was found, are listed all at once,
        # the last one first.
        order = defaultdict[str, tuple[float, int]](lambda: (inf, 0))
        for at, step in enumerate(self._detailed.steps):
            own = inf if step.began is None else step.began
            began, position = order.get(step.name.stage, (own, at if own == inf else -at))
            order[step.name.stage] = min(began, own), position
        return sorted(dict.fromkeys(stages), key=lambda each: order[each])

    def _shorten(self, text: str) -> str:
        return shorten(self._redact(text), self._longest)


def _list_platforms(name: StepName) -> tuple[str, ...]:
    return (name.platform,) if name.platform else ()


def _match_steps(built: Trace, detailed: Trace) -> dict[tuple[str, ...], TracedStep]:
    """The steps of the build by their vertices in another run."""
    waiting = defaultdict(list)
    for step in built.steps:
        waiting[step.name].append(step)
    found = {}
    for step in detailed.steps:
        if waiting[step.name]:
            found[step.digests] = waiting[step.name].pop(0)
    return found


def _write_layers(layers: Iterable[Layer]) -> tuple[RecordedLayer, ...]:
    return tuple(RecordedLayer(digest=layer.digest, size=layer.size) for layer in layers)


def recall_seconds(
    steps: Iterable[RecordedStep], earlier: Iterable[Record]
) -> tuple[RecordedStep, ...]:
    """Return steps, with the time of the last execution in those that were reused.

    The records of earlier builds begin with the last one.
    """
    builds = [_list_times(record) for record in earlier]

    def recall(step: RecordedStep) -> RecordedStep:
        if step.outcome is not Outcome.REUSED or step.ran is not None:
            return step
        keys = [*_list_keys(step)]
        found = next((times[key] for times in builds for key in keys if key in times), None)
        return step.model_copy(update={"ran": found})

    return tuple(map(recall, steps))


def list_last_times(earlier: Iterable[Record]) -> dict[tuple[str, str], float]:
    """How long each step ran when it was last executed, by its stage and its text.

    The records of earlier builds begin with the last one.
    """
    found: dict[tuple[str, str], float] = {}
    for record in earlier:
        for step in record.steps:
            ran = step.seconds if step.outcome is Outcome.EXECUTED else step.ran
            if ran is not None:
                found.setdefault((step.stage, step.text), ran)
    return found


def _list_times(record: Record) -> dict[_Key, float]:
    """The time of the last execution of each step, as far as a build knows it, by all its keys."""
    times: dict[_Key, float] = {}
    for step in record.steps:
        took = step.seconds if step.outcome is Outcome.EXECUTED else step.ran
        if took is not None:
            for key in _list_keys(step):
                times.setdefault(key, took)
    return times


def _list_keys(step: RecordedStep) -> Iterator[_Key]:
    """The keys that identify a step in other builds, best first: its layers, or stage and text."""
    # Two steps can make the same layer, such as a `RUN` and a `COPY` of its whole result.
    forms = [tuple(layer.digest for layer in form) for form in step.forms if form]
    named = (step.stage, step.text, step.platforms)
    yield from ((*named, digests) for digests in forms)
    kind = step.text.partition(" ")[0]
    yield from ((kind, digests) for digests in forms)
    yield named


def hash_arguments(
    arguments: Sequence[str], environment: Mapping[str, str], key: str
) -> RecordedArguments:
    """The build arguments of a command, their values hashed with a key in hex."""
    values: dict[str, str | None] = {}
    for name, known in list_build_arguments(arguments, environment):
        values[name] = None if known is None or is_secret_name(name) else hash_value(known, key)
    return RecordedArguments(key=key, values=values)
