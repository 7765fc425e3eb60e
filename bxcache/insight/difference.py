"""What differs between two builds: their stages, and the steps and layers of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from msgspec import Struct
from msgspec.structs import replace

from bxcache.config.json_documents import make_document, pick
from bxcache.config.wording import name_call
from bxcache.errors import RecordError
from bxcache.insight.find import find_history
from bxcache.insight.history_request import HistoryOptions, HistoryRequest
from bxcache.insight.misses.documents import write_changes
from bxcache.insight.misses.files import compare_contexts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bxcache.insight.history import History, Stage
    from bxcache.insight.record import Record
    from bxcache.insight.record_misses import RecordedChange
    from bxcache.insight.record_parts import RecordedLayer, RecordedStep


class StageDifference(Struct, frozen=True):
    """A stage in two builds.

    Attributes:
        name: its name; `stage-N` for an unnamed one.
        before: as the first build has it; None if that build did not need it.
        after: as the second build has it; None if that build did not need it.
        gone: the layers that only the first build has.
        new: the layers that only the second build has.
        kept: the layers that both builds have.
    """

    name: str
    before: Stage | None
    after: Stage | None
    gone: tuple[RecordedLayer, ...]
    new: tuple[RecordedLayer, ...]
    kept: tuple[RecordedLayer, ...]

    @property
    def is_same(self) -> bool:
        """Whether both builds have the stage with the same layers."""
        return None not in (self.before, self.after) and not (self.gone or self.new)

    @property
    def state(self) -> str:
        """`new`, `gone`, `same` or `changed`."""
        if self.before is None:
            return "new"
        if self.after is None:
            return "gone"
        return "same" if self.is_same else "changed"

    @property
    def gone_bytes(self) -> int:
        """The size of the layers that are gone."""
        return sum(layer.size for layer in self.gone)

    @property
    def new_bytes(self) -> int:
        """The size of the new layers."""
        return sum(layer.size for layer in self.new)

    @property
    def unknown_steps(self) -> int:
        """How many steps in both builds have unknown layers, which are not compared."""
        stages = (self.before, self.after)
        steps = (step for stage in stages if stage is not None for step in stage.steps)
        return sum(not step.layers for step in steps)

    def list_changes(self) -> list[tuple[str, int, str]]:
        """List the steps whose layers differ: a sign (`+` or `-`), the size in bytes, the text.

        A step's new version follows its old one.
        """
        gone, new = _list_steps(self.before, self.gone), _list_steps(self.after, self.new)
        changes = []
        for step, size in gone:
            changes.append(("-", size, step.text))
            twin = next((each for each in new if _is_twin(each[0], step)), None)
            if twin is not None:
                new.remove(twin)
                changes.append(("+", twin[1], twin[0].text))
        return [*changes, *(("+", size, step.text) for step, size in new)]


class Difference(Struct, frozen=True):
    """What differs between two builds, stage by stage.

    Attributes:
        before: the first build.
        after: the second build.
        stages: every stage that one of them needed, in the second's order, then the first's.
        files: how the files differ that their steps read of build contexts, as far as known.
    """

    before: History
    after: History
    stages: tuple[StageDifference, ...]
    files: tuple[RecordedChange, ...] = ()

    @classmethod
    def of(cls, before: History, after: History) -> Difference:
        """Compare two builds."""
        stages = compare_stages(before.stages, after.stages)
        return cls(before, after, stages, tuple(_compare_files(before.record, after.record)))

    @property
    def is_same(self) -> bool:
        """Whether no stage differs."""
        return all(each.is_same for each in self.stages)

    def of_stages(self, names: Sequence[str]) -> Difference:
        """The difference of the stages with these names; of all stages without names.

        Raises:
            RecordError: neither build has such a stage.
        """
        known = {each.name for each in self.stages}
        wanted = [name.lower() for name in names]
        # A name in neither build gets the error of a history.
        self.after.find_stages([name for name in wanted if name not in known])
        chosen = (each for each in self.stages if not wanted or each.name in wanted)
        return replace(self, stages=tuple(chosen))

    def measure(self) -> tuple[int, int, int]:
        """Return the bytes that only the first build has, only the second has, and both have.

        A layer of several stages counts once.
        """
        had = {layer.digest: layer.size for d in self.stages for layer in (*d.gone, *d.kept)}
        has = {layer.digest: layer.size for d in self.stages for layer in (*d.new, *d.kept)}
        kept = sum(had[digest] for digest in had.keys() & has)
        return sum(had.values()) - kept, sum(has.values()) - kept, kept

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bxcache diff --json` prints."""
        sizes = zip(("gone_bytes", "new_bytes", "kept_bytes"), self.measure(), strict=True)
        return make_document(
            {
                "before": _describe_build(self.before),
                "after": _describe_build(self.after),
                "same": self.is_same,
                **dict(sizes),
                "unknown_steps": sum(each.unknown_steps for each in self.stages),
                "stages": [_describe_stage(each) for each in self.stages],
                "files": write_changes(self.files),
            }
        )


def find_difference(
    before: str, after: str | None = None, **options: Unpack[HistoryOptions]
) -> Difference:
    """Compare two builds, by default one and the last of the same image.

    Raises:
        RecordError: one of them is not known, or has no record; also what `find_history` raises.
    """
    name, back, _ = before.partition("~")
    last = after or (f"{name}~0" if back else "~0")
    return Difference.of(*(_find_recorded(each, options) for each in (before, last)))


def _compare_files(before: Record | None, after: Record | None) -> Iterator[RecordedChange]:
    if before is not None and after is not None and before.files and after.files:
        yield from compare_contexts(after.files, before.files)


def _find_recorded(name: str, options: HistoryOptions) -> History:
    history = find_history(HistoryRequest.of(name, **options))
    if history.record is None:
        raise RecordError(
            f"`{name}` has no record, so the cache of `{history.scope}` in {history.source} has "
            "no stages to compare",
            hint=f"`{name_call('build')}` leaves one",
        )
    return history


def compare_stages(before: Iterable[Stage], after: Iterable[Stage]) -> tuple[StageDifference, ...]:
    """The stages of two builds by their names, in the order of the second, then of the first.

    A stage that a build did not need counts as absent there.
    """
    first = {stage.name: stage for stage in before if stage.needed}
    second = {stage.name: stage for stage in after if stage.needed}
    return tuple(_compare(name, first.get(name), second.get(name)) for name in second | first)


def _compare(name: str, before: Stage | None, after: Stage | None) -> StageDifference:
    first = before.layers if before is not None else ()
    second = after.layers if after is not None else ()
    had, has = ({layer.digest for layer in layers} for layers in (first, second))
    return StageDifference(
        name=name,
        before=before,
        after=after,
        gone=tuple(layer for layer in first if layer.digest not in has),
        new=tuple(layer for layer in second if layer.digest not in had),
        kept=tuple(layer for layer in second if layer.digest in had),
    )


def _list_steps(
    stage: Stage | None, layers: Iterable[RecordedLayer]
) -> list[tuple[RecordedStep, int]]:
    """List a stage's steps that made some of these layers, with the size of those."""
    wanted = {layer.digest for layer in layers}
    steps = stage.steps if stage is not None else ()
    sizes = [[each.size for each in step.layers if each.digest in wanted] for step in steps]
    return [(step, sum(each)) for step, each in zip(steps, sizes, strict=True) if each]


def _is_twin(one: RecordedStep, other: RecordedStep) -> bool:
    """Whether two steps do the same; base images match whatever their digest."""
    same_text = one.text == other.text or one.kind == "from"
    return same_text and (one.kind, one.platforms) == (other.kind, other.platforms)


def _describe_build(history: History) -> dict[str, Any]:
    record = history.record
    keys = ("started", "seconds", "exit_status")
    known = pick(record, *keys) if record is not None else dict.fromkeys(keys)
    return {**pick(history, "scope", "source"), **known}


def _describe_stage(difference: StageDifference) -> dict[str, Any]:
    layers = {
        key: [{"digest": each.digest, "bytes": each.size} for each in getattr(difference, key)]
        for key in ("gone", "new", "kept")
    }
    return {
        **pick(difference, "name", "state", "gone_bytes", "new_bytes"),
        **layers,
        "steps": [
            {"change": "gone" if sign == "-" else "new", "bytes": size, "text": text}
            for sign, size, text in difference.list_changes()
        ],
    }
