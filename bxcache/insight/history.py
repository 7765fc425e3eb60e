"""The layers of each stage, from a build's record, and their state in a cache."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from enum import StrEnum
from functools import cached_property, partial
from math import inf
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from bxcache.buildx.dockerfile import list_bases
from bxcache.config.json_documents import make_document, pick
from bxcache.config.wording import name_call
from bxcache.errors import RecordError
from bxcache.insight.stage_order import order_stages

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from bxcache.insight.chains import Chain
    from bxcache.insight.record import Record
    from bxcache.insight.record_parts import RecordedLayer, RecordedStep


class Stage(Struct, frozen=True, dict=True):
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
    line: int | None = None
    base: str = ""
    needed: bool = True
    steps: tuple[RecordedStep, ...] = ()
    inherited: tuple[RecordedStep, ...] = ()
    next_line: float = inf

    def covers(self, line: int) -> bool:
        """Whether a line is known to be in this stage."""
        return self.line is not None and self.line <= line < self.next_line

    def list_lines(self, step: RecordedStep) -> tuple[int, ...]:
        """The lines of a step in this stage; other stages may contain it too."""
        return step.lines if self.line is None else tuple(filter(self.covers, step.lines))

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


class History(Struct, frozen=True, dict=True):
    """The history of a scope.

    Attributes:
        scope: its name, which is the tag of its cache.
        source: its location for people: the store's directory or the ref.
        backend: its location as the configuration declares it.
        record: what bxcache keeps of the build; None if the cache has no record.
        present: the size of each layer in the cache, by digest; None if unknown.
        unsaved: the layers that the build did not save to the cache; None if unknown.
        stages: every stage of the build, in the order of the Dockerfile; empty without a record.
        chains: how the layers build on each other, if there is no record.
        places: where each layer is stored, by digest; empty unless requested.
        notes: what is unknown or missing, and why, for people.
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
                hint=f"`{name_call('build')}` leaves one",
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
                    hint=f"`{name_call('build', target=name)}` builds it",
                )
        return tuple(stage for stage in self.stages if not wanted or stage.name in wanted)

    def to_dict(self, *stages: str, chain: bool = False) -> dict[str, Any]:
        """Return the document that `bxcache history --json` prints.

        Args:
            stages: only these stages. Default: all.
            chain: with the inherited layers of each stage.

        Raises:
            RecordError: see `find_stages`.
        """
        chosen = self.find_stages(stages)
        return make_document(
            {
                **pick(self, "scope", "source"),
                **_describe_record(self.record),
                "notes": self.notes,
                "stages": [_describe_stage(self, stage, chain=chain) for stage in chosen],
                "chains": [{"layers": _describe_states(self, c.layers)} for c in self.chains],
            }
        )


def _describe_record(record: Record | None) -> dict[str, Any]:
    if record is None:
        keys = ("image", "target", "branch", "started", "seconds", "exit_status", "tools", "place")
        return {**dict.fromkeys(keys), "platforms": [], "images": [], "arguments": {}}
    return {
        **pick(record.scope, "image", "target", "branch"),
        **pick(record, "started", "seconds", "exit_status"),
        "platforms": list_platforms(record),
        "tools": record.tools.model_dump(mode="json"),
        "images": [pick(image, "name", "digest") for image in record.images],
        "arguments": record.arguments.values,
        "place": record.place.model_dump(mode="json"),
    }


def _describe_stage(history: History, stage: Stage, *, chain: bool) -> dict[str, Any]:
    document = {
        **pick(stage, "name", "line", "base", "needed", "bytes"),
        "layers": _describe_states(history, stage.layers),
        "steps": [_describe_step(step) for step in stage.steps],
    }
    if chain:
        inherited = [{"stage": step.stage, **_describe_step(step)} for step in stage.inherited]
        layers = _describe_states(history, list_layers(stage.inherited))
        document |= {"inherited": inherited, "inherited_layers": layers}
    return document


def _describe_states(history: History, layers: Iterable[RecordedLayer]) -> list[dict[str, Any]]:
    return [
        {
            "digest": layer.digest,
            "bytes": layer.size,
            "shared": layer.digest in history.shared,
            "present": state is LayerState.KEPT if state is not None else None,
            "evicted": state is LayerState.EVICTED,
            **({"place": history.places[layer.digest]} if layer.digest in history.places else {}),
        }
        for layer in layers
        for state in [history.find_state(layer)]
    ]


def _describe_step(step: RecordedStep) -> dict[str, Any]:
    known = pick(step, "text", "kind", "lines", "platforms", "outcome", "seconds", "log_bytes")
    return {**known, "layers": [layer.digest for layer in step.layers], "error": step.error}


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
    return tuple(_StageReader(record, steps, platforms if several else (None,)).read())


def _choose_form(
    step: RecordedStep, present: Container[str] | None, unsaved: Container[str]
) -> RecordedStep:
    """The step with the form of its layers that is in the cache, or else was saved to it."""
    if present is None or not step.alternatives:
        return step
    there = [form for form in step.forms if all(each.digest in present for each in form)]
    saved = [form for form in step.forms if all(each.digest not in unsaved for each in form)]
    return step.model_copy(update={"layers": [*there, *saved, step.layers][0]})


class _StageReader:
    def __init__(
        self, record: Record, steps: Sequence[RecordedStep], platforms: Sequence[str | None]
    ) -> None:
        self._steps = steps
        self._platforms = platforms
        self._heads = [*_list_heads(record)]
        self._bases = list_bases(self._heads)
        self._named: dict[str, list[int]] = defaultdict(list)
        for number, head in enumerate(self._heads):
            self._named[head.name].append(number)
        lined = ((head.line, at) for at, head in enumerate(self._heads) if head.line is not None)
        self._lined = sorted(lined)
        self._own: list[set[int]] = [set() for _ in self._heads]
        for position, step in enumerate(steps):
            for number in self._find_stages(step) if is_for(step, platforms) else ():
                self._own[number].add(position)

    def _find_stages(self, step: RecordedStep) -> set[int]:
        """The positions of the stages that contain a step, by its lines or else by its stage."""
        named = self._named.get(step.stage, ())
        found = {at for at in named if self._heads[at].line is None or not step.lines}
        for line in step.lines:
            last = bisect_right(self._lined, (line, len(self._heads))) - 1
            if last >= 0 and self._heads[self._lined[last][1]].covers(line):
                found.add(self._lined[last][1])
        return found

    def read(self) -> Iterator[Stage]:
        for number, head in enumerate(self._heads):
            own = sorted(self._own[number], key=partial(self._place, head))
            yield replace(
                head,
                needed=head.needed or bool(own),
                steps=tuple(self._steps[each] for each in own),
                inherited=self._inherit(number),
            )

    def _place(self, head: Stage, position: int) -> tuple[int, float, int]:
        step, known = self._steps[position], self._platforms
        ranks = (known.index(each) if each in known else len(known) for each in step.platforms)
        return min(ranks, default=0), min(filter(head.covers, step.lines), default=0), position

    def _inherit(self, number: int) -> tuple[RecordedStep, ...]:
        """The steps below a stage's own, from the bottom, platform by platform."""
        found: dict[int, RecordedStep] = {}
        for platform in self._platforms:
            for position in self._descend(number, platform):
                if position not in self._own[number]:
                    owner = self._find_owner(number, position)
                    found[position] = self._steps[position].model_copy(update={"stage": owner})
        return tuple(found.values())

    def _find_owner(self, number: int, position: int) -> str:
        base = self._bases[number]
        while base is not None and position not in self._own[base]:
            base = self._bases[base]
        return self._steps[position].stage if base is None else self._heads[base].name

    def _descend(self, number: int, platform: str | None) -> list[int]:
        """The positions of all steps of a stage, from the bottom."""
        top: int | None = None
        stage: int | None = number
        while top is None and stage is not None:
            own = (at for at in self._own[stage] if is_for(self._steps[at], (platform,)))
            top, stage = max(own, default=None), self._bases[stage]
        path: list[int] = []
        while top is not None:
            path.append(top)
            top = self._steps[top].parent
        return path[::-1]


def _list_heads(record: Record) -> Iterator[Stage]:
    """The stages without their steps."""
    ends = [*(stage.line for stage in record.stages[1:]), inf]
    for stage, end in zip(record.stages, ends, strict=False):
        yield Stage(stage.name, stage.line, stage.base, stage.needed, next_line=end)
    known = {stage.name for stage in record.stages}
    # An old buildx, or a failed build, reports only the names.
    began: dict[str, float] = {}
    for step in record.steps:
        if step.stage and not (step.lines and known):
            moment = step.began if step.kind == "instruction" and step.began is not None else inf
            began[step.stage] = min(moment, began.get(step.stage, inf))
    for name in order_stages(sorted(began, key=began.__getitem__), record.steps):
        if name not in known:
            yield Stage(name)


def is_for(step: RecordedStep, platforms: Sequence[str | None]) -> bool:
    """Whether a step is for one of these platforms; None stands for any."""
    return not step.platforms or not {*platforms} - {None} or bool({*step.platforms} & {*platforms})


def choose_steps(record: Record, platform: str | None) -> tuple[RecordedStep, ...]:
    """The steps of a build for a platform, or all."""
    return tuple(each for each in record.steps if is_for(each, (platform,)))
