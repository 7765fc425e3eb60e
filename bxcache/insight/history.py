"""The layers of each stage, from a build's record, and their state in the cache."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bxcache.buildx.dockerfile import list_bases
from bxcache.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from bxcache.insight.chains import Chain
    from bxcache.insight.record import Record, RecordedLayer, RecordedStep


@dataclass(frozen=True)
class Stage:
    """A stage and its steps.

    Attributes:
        name: its name; `stage-N` for an unnamed one.
        line: the line of its `FROM`; None if unknown.
        base: the name in its `FROM`; empty if unknown.
        needed: whether the build needed it.
        steps: its own steps, after its base image if it has one.
        inherited: the steps of other stages below it, from the bottom; `stage` of each names the
            stage that it is inherited from.
        next_line: the line where the next stage begins; infinite for the last one.
    """

    name: str
    line: int | None
    base: str
    needed: bool
    steps: tuple[RecordedStep, ...]
    inherited: tuple[RecordedStep, ...]
    next_line: float = float("inf")

    def list_lines(self, step: RecordedStep) -> tuple[int, ...]:
        """The lines of a step in this stage; other stages may contain it too."""
        if self.line is None:
            return step.lines
        return tuple(line for line in step.lines if self.line <= line < self.next_line)

    @cached_property
    def layers(self) -> tuple[RecordedLayer, ...]:
        """Its own layers from the bottom without duplicates, including those of its base image."""
        return list_layers(self.steps)

    @cached_property
    def chain(self) -> tuple[RecordedLayer, ...]:
        """Its own layers and those below, from the bottom without duplicates."""
        return list_layers((*self.inherited, *self.steps))

    @property
    def bytes(self) -> int:
        """The size of its own layers."""
        return sum(layer.size for layer in self.layers)


class LayerState(StrEnum):
    """The state of a layer in the cache, for people."""

    KEPT = "in the cache"
    EVICTED = "evicted"
    UNSAVED = "not saved"
    ABSENT = "absent"


@dataclass(frozen=True)
class History:
    """The history of a scope.

    Attributes:
        scope: the name of the scope.
        source: its location for people: the store's directory or the ref.
        backend: its location as the configuration declares it.
        record: the record of the build that is shown; None if there is no record.
        present: the size of each layer in the cache, by digest; None if unknown.
        unsaved: the layers that the build did not save to the cache; None if unknown.
        stages: the stages of the record, in the order of the Dockerfile.
        chains: how the layers build on each other, if there is no record.
        places: where each layer is stored, by digest; empty unless requested.
        notes: notes for the user.
    """

    scope: str
    source: str
    backend: Mapping[str, Any] = field(default_factory=dict)
    record: Record | None = None
    present: Mapping[str, int] | None = None
    unsaved: AbstractSet[str] | None = None
    stages: tuple[Stage, ...] = ()
    chains: tuple[Chain, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def shared(self) -> AbstractSet[str]:
        """The layers of more than one step, stage or chain."""
        steps = [step.layers for stage in self.stages for step in stage.steps]
        groups = (*steps, *(chain.layers for chain in self.chains))
        uses = Counter(digest for group in groups for digest in {layer.digest for layer in group})
        return {digest for digest, count in uses.items() if count > 1}

    def find_state(self, layer: RecordedLayer) -> LayerState | None:
        """Whether the cache has a layer, has lost it, or never had it; None if unknown.

        Records of old versions of bxcache do not list the saved layers.
        """
        if self.present is None:
            return None
        if layer.digest in self.present:
            return LayerState.KEPT
        if self.unsaved is None:
            return LayerState.ABSENT
        return LayerState.UNSAVED if layer.digest in self.unsaved else LayerState.EVICTED

    def is_evicted(self, layer: RecordedLayer) -> bool:
        """Whether the cache is known to have lost a layer."""
        return self.find_state(layer) is LayerState.EVICTED

    def find_stages(self, names: Sequence[str]) -> tuple[Stage, ...]:
        """The stages with these names, in the order of the Dockerfile; all stages without names.

        Raises:
            RecordError: there is no such stage, the build did not need it, or there is no record.
        """
        if names and self.record is None:
            raise RecordError(
                f"the cache of `{self.scope}` has no record, so its stages have no names",
                hint="`bxcache build` leaves one",
            )
        known = {stage.name: stage for stage in self.stages}
        wanted = [name.lower() for name in names]
        unknown = [name for name in wanted if name not in known]
        if unknown:
            listed = ", ".join(f"`{name}`" for name in known) or "none"
            raise RecordError(f"there is no stage `{unknown[0]}`", hint=f"the stages are {listed}")
        for name in wanted:
            if not known[name].needed:
                raise RecordError(
                    f"the stage `{name}` is not part of this build, which did not need it",
                    hint=f"`bxcache build --target {name}` builds it",
                )
        return tuple(stage for stage in self.stages if not wanted or stage.name in wanted)


def list_layers(steps: Iterable[RecordedStep]) -> tuple[RecordedLayer, ...]:
    """The layers of steps in order, without duplicates."""
    return tuple({layer.digest: layer for step in steps for layer in step.layers}.values())


def list_platforms(record: Record) -> tuple[str, ...]:
    """The platforms of a build."""
    named = dict.fromkeys(platform for step in record.steps for platform in step.platforms)
    return tuple(sorted(named)) or record.scope.platforms


def view_stages(
    record: Record,
    platform: str | None = None,
    present: Container[str] | None = None,
    unsaved: Container[str] = (),
) -> tuple[Stage, ...]:
    """The stages of a build.

    Args:
        record: the record of the build.
        platform: include only the steps for this platform.
        present: the layers in the cache; if a step has its layers in several forms, the form in
            the cache is shown.
        unsaved: the layers that the build did not save to the cache.

    Raises:
        RecordError: the build was not for that platform.
    """
    known = list_platforms(record)
    if platform is not None and platform not in known:
        listed = ", ".join(f"`{each}`" for each in known) or "none"
        raise RecordError(
            f"the build was not for the platform `{platform}`", hint=f"it was for {listed}"
        )
    several = any(step.platforms for step in record.steps)
    platforms = known if platform is None else (platform,)
    steps = [_choose_form(step, present, unsaved) for step in record.steps]
    reader = _StageReader(record, steps, platforms if several else (None,))
    return tuple(reader.read(number) for number in range(len(reader.heads)))


def _choose_form(
    step: RecordedStep, present: Container[str] | None, unsaved: Container[str]
) -> RecordedStep:
    """The step with the form of its layers that is in the cache, or else was saved to it."""
    if present is None or not step.alternatives:
        return step
    there = [form for form in step.forms if all(each.digest in present for each in form)]
    saved = [form for form in step.forms if all(each.digest not in unsaved for each in form)]
    return step.model_copy(update={"layers": [*there, *saved, step.layers][0]})


@dataclass(frozen=True, slots=True)
class _Head:
    name: str
    line: int | None = None
    next_line: float = float("inf")
    base: str = ""
    needed: bool = True


class _StageReader:
    """Finds the steps of each stage."""

    def __init__(
        self,
        record: Record,
        steps: Sequence[RecordedStep],
        platforms: Sequence[str | None],
    ) -> None:
        self._steps = steps
        self._platforms = platforms
        self.heads = list(_list_heads(record))
        self._bases = list_bases(self.heads)
        finder = _HeadFinder(self.heads)
        self._own: dict[int, list[int]] = {number: [] for number in range(len(self.heads))}
        for position, step in enumerate(self._steps):
            if _is_for(step, platforms):
                for number in finder.find(step):
                    self._own[number].append(position)
        self._owned = {number: frozenset(own) for number, own in self._own.items()}

    def read(self, number: int) -> Stage:
        """The stage at a position."""
        head = self.heads[number]
        own = self._sort(number)
        return Stage(
            name=head.name,
            line=head.line,
            base=head.base,
            needed=head.needed or bool(own),
            steps=tuple(self._steps[each] for each in own),
            inherited=self._inherit(number, self._owned[number]),
            next_line=head.next_line,
        )

    def _sort(self, number: int) -> list[int]:
        head = self.heads[number]

        def place(position: int) -> tuple[int, float, int]:
            step = self._steps[position]
            lines = [line for line in step.lines if _covers(head, line)]
            rank = min((self._rank(each) for each in step.platforms), default=0)
            return rank, min(lines, default=0), position

        return sorted(self._own[number], key=place)

    def _rank(self, platform: str) -> int:
        known = platform in self._platforms
        return self._platforms.index(platform) if known else len(self._platforms)

    def _inherit(self, number: int, own: AbstractSet[int]) -> tuple[RecordedStep, ...]:
        """The steps below a stage's own, from the bottom, platform by platform."""
        found: dict[int, RecordedStep] = {}
        for platform in self._platforms:
            for position in self._descend(number, platform):
                if position not in own:
                    owner = self._find_owner(number, position)
                    found[position] = self._steps[position].model_copy(update={"stage": owner})
        return tuple(found.values())

    def _find_owner(self, number: int, position: int) -> str:
        """The stage that an inherited step comes from."""
        base = self._bases[number]
        while base is not None and position not in self._owned[base]:
            base = self._bases[base]
        return self._steps[position].stage if base is None else self.heads[base].name

    def _descend(self, number: int, platform: str | None) -> list[int]:
        """The positions of all steps of a stage, from the bottom."""
        top: int | None = None
        stage: int | None = number
        while top is None and stage is not None:
            own = (at for at in self._own[stage] if _is_for(self._steps[at], (platform,)))
            top, stage = max(own, default=None), self._bases[stage]
        path: list[int] = []
        while top is not None:
            path.append(top)
            top = self._steps[top].parent
        return path[::-1]


def _list_heads(record: Record) -> Iterator[_Head]:
    ends = [*(stage.line for stage in record.stages[1:]), float("inf")]
    for stage, end in zip(record.stages, ends, strict=False):
        yield _Head(stage.name, stage.line, end, stage.base, stage.needed)
    known = {stage.name for stage in record.stages}
    # An old buildx, or a failed build, reports only the names.
    named = [step for step in record.steps if not (step.lines and known) and step.stage]
    names = dict.fromkeys(step.stage for step in named)
    began = _find_beginnings(named)
    for name in sorted(names, key=lambda each: began.get(each, float("inf"))):
        if name not in known:
            yield _Head(name)


def _find_beginnings(steps: Iterable[RecordedStep]) -> dict[str, float]:
    """When the first instruction of each stage began, if known."""
    found: dict[str, float] = {}
    for step in steps:
        if step.kind == "instruction" and step.began is not None:
            found[step.stage] = min(step.began, found.get(step.stage, step.began))
    return found


class _HeadFinder:
    """Finds the stages of a step without a search through all stages."""

    def __init__(self, heads: Sequence[_Head]) -> None:
        self._named: dict[str, list[int]] = defaultdict(list)
        for number, head in enumerate(heads):
            self._named[head.name].append(number)
        lined = [(head.line, number) for number, head in enumerate(heads) if head.line is not None]
        self._lined = sorted(lined)
        self._heads = heads

    def find(self, step: RecordedStep) -> list[int]:
        """The positions of the stages that contain a step, by its lines or else by its stage."""
        found = {at for line in step.lines for at in self._find_line(line)}
        for number in self._named.get(step.stage, ()):
            if self._heads[number].line is None or not step.lines:
                found.add(number)
        return sorted(found)

    def _find_line(self, line: int) -> Iterator[int]:
        last = bisect_right(self._lined, (line, len(self._heads))) - 1
        if last >= 0 and _covers(self._heads[self._lined[last][1]], line):
            yield self._lined[last][1]


def _covers(head: _Head, line: int) -> bool:
    return head.line is not None and head.line <= line < head.next_line


def _is_for(step: RecordedStep, platforms: Sequence[str | None]) -> bool:
    return not step.platforms or not {*platforms} - {None} or bool({*step.platforms} & {*platforms})
