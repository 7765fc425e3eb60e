"""What changed between a step of a build and the same step of an earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.buildx.instructions import ARG
from bxcache.buildx.stream.events import Outcome
from bxcache.insight.causes import Cause
from bxcache.insight.misses.dockerfile import WrittenSteps
from bxcache.insight.misses.files import compare_files
from bxcache.insight.misses.pairs import NamedSteps, pair_steps
from bxcache.insight.record_inputs import RecordedInputs
from bxcache.insight.record_misses import RecordedChange
from bxcache.insight.record_parts import list_different

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from bxcache.insight.record import Record
    from bxcache.insight.record_inputs import RecordedFiles, RecordedInstruction
    from bxcache.insight.record_parts import RecordedStep

_REMOTE = ("http://", "https://", "git://")
_SCRATCH = "FROM scratch"
_SETTINGS = {"USER": "user", "SHELL": "shell", "WORKDIR": "folder"}


class Comparison(Struct, frozen=True):
    """Two builds, to compare their steps.

    Attributes:
        now: the later build.
        before: the earlier one.
        pairs: the positions of corresponding steps, in the later and the earlier build.
    """

    now: Record
    before: Record
    pairs: Mapping[int, int]
    written: tuple[WrittenSteps, WrittenSteps]

    @classmethod
    def of(cls, now: Record, before: Record) -> Comparison:
        """Pair the steps of two builds."""
        has_hashes = _share_key(now, before) and bool(now.instructions and before.instructions)
        named = (NamedSteps.of(each, with_hashes=has_hashes) for each in (now, before))
        return cls(now, before, pair_steps(*named), (WrittenSteps(now), WrittenSteps(before)))

    def list_changes(self, at: int) -> list[RecordedChange]:
        """List what changed of the step at a position, apart from the steps that it needs."""
        if at not in self.pairs:
            is_known = self.before.exit_status and self._is_written(at)
            return [RecordedChange(cause=Cause.UNFINISHED if is_known else Cause.NEW)]
        step, other = self.now.steps[at], self.before.steps[self.pairs[at]]
        written = tuple(
            each.find(one) for each, one in zip(self.written, (step, other), strict=True)
        )
        found = _Pair(step, other, written, shares_key=_share_key(self.now, self.before))
        changes: list[RecordedChange] = []
        if found.is_described or None not in {step.parent, other.parent}:
            changes += self._compare_parents(step, other)
        if found.has_new_text:
            # What else differs may follow from the new text.
            texts = {"before": other.text, "after": step.text}
            changes.append(RecordedChange(cause=Cause.TEXT, **texts))
            return [*changes, *self._compare_arguments(found)]
        changes += found.compare_sources(skip_base=bool(changes))
        changes += self._compare_arguments(found)
        named = {each.name for each in changes if each.cause is Cause.ARGUMENT}
        changes += (each for each in found.compare_environments() if each.name not in named)
        changes += found.compare_settings()
        if not found.is_described:
            ours, theirs = self.written
            given = self.now.arguments.values.keys() & self.before.arguments.values.keys()
            settings = (ours.list_settings(step), theirs.list_settings(other))
            changes += _compare_written(*settings, given)
        changes += found.compare_reads(self.now.files, self.before.files)
        if not changes and other.outcome is Outcome.FAILED:
            changes.append(RecordedChange(cause=Cause.UNFINISHED))
        if not changes and not found.has_same_definition:
            changes += self._explain_definition(is_known=found.has_new_definition)
        return changes

    def _is_written(self, at: int) -> bool:
        """Whether the same stage of the earlier Dockerfile has the instruction of a step, too."""
        step, (now, before) = self.now.steps[at], self.written
        own = now.find(step) if _share_key(self.now, self.before) else None
        return own is not None and own.hash in before.list_hashes(step.stage)

    def _explain_definition(self, *, is_known: bool) -> Iterator[RecordedChange]:
        """Explain a definition that may be another one although nothing else of the step is."""
        now, before = self.now.frontend, self.before.frontend
        if now is not None and before is not None and now != before:
            yield RecordedChange(cause=Cause.FRONTEND, before=before, after=now)
        elif is_known:
            yield RecordedChange(cause=Cause.SETTING, name="definition")

    def _compare_parents(self, step: RecordedStep, other: RecordedStep) -> Iterator[RecordedChange]:
        """Compare what the steps build on: an image, or an instruction that may be gone."""
        at, then = step.parent, other.parent
        below = self.now.steps[at] if at is not None else None
        under = self.before.steps[then] if then is not None else None
        first, last = (each.text if each is not None else _SCRATCH for each in (under, below))
        if at is not None and self.pairs.get(at) == then:
            if _is_image(below) and first != last:
                yield RecordedChange(cause=Cause.BASE, before=first, after=last)
        elif at is not None and at not in self.pairs and not _is_image(below):
            # It is new, and a reason of its own.
            return
        elif under is not None and not _is_image(under):
            yield RecordedChange(cause=Cause.REMOVED, before=first)
        elif below is not None or under is not None:
            after = last if below is None or _is_image(below) else f"FROM {below.stage}"
            yield RecordedChange(cause=Cause.BASE, before=first, after=after)

    def _compare_arguments(self, pair: _Pair) -> Iterator[RecordedChange]:
        """Compare the build arguments that a step has or mentions."""
        different = self.now.arguments.list_different(self.before.arguments)
        if _share_key(self.now, self.before):
            for name in pair.list_variables():
                if name in different:
                    yield RecordedChange(cause=Cause.ARGUMENT, name=name)


class _Pair:
    """A step, and the same step of an earlier build."""

    def __init__(
        self,
        step: RecordedStep,
        other: RecordedStep,
        written: Sequence[RecordedInstruction | None],
        *,
        shares_key: bool,
    ) -> None:
        self._written = written
        self._texts = other.text, step.text
        self._now = step.inputs or RecordedInputs()
        self._before = other.inputs or RecordedInputs()
        self._shares_key = shares_key
        # A failed build does not say what its steps read, or which variables they have.
        self.is_described = bool(self._now.definition and self._before.definition)

    @property
    def has_new_text(self) -> bool:
        """Whether someone edited the instruction; the values of its variables do not count."""
        now, before = self._written
        if now is not None and before is not None and self._shares_key:
            return now.hash != before.hash
        return self._texts[0] != self._texts[1]

    @property
    def has_new_definition(self) -> bool:
        """Whether BuildKit sees another operation."""
        return self.is_described and self._shares_key and not self.has_same_definition

    @property
    def has_same_definition(self) -> bool:
        """Whether it is known that BuildKit sees the same operation."""
        same = self._now.definition == self._before.definition
        return self.is_described and self._shares_key and same

    def list_variables(self) -> tuple[str, ...]:
        """List the variables that the step has or mentions."""
        own = self._written[0]
        mentioned = own.variables if own is not None else ()
        names = (self._now.environment, self._before.environment, mentioned)
        return tuple(dict.fromkeys(name for each in names for name in each))

    def compare_sources(self, *, skip_base: bool) -> Iterator[RecordedChange]:
        """Compare the images and other remote files that it reads."""
        for name, digest in self._now.sources.items():
            known = self._before.sources.get(name)
            cause = Cause.REMOTE if name.startswith(_REMOTE) else Cause.BASE
            if known is not None and known != digest and not (skip_base and cause is Cause.BASE):
                yield RecordedChange(cause=cause, name=name, before=known, after=digest)

    def compare_environments(self) -> Iterator[RecordedChange]:
        """Compare the variables that it has."""
        if self.is_described and self._shares_key:
            for name in list_different(self._now.environment, self._before.environment):
                yield RecordedChange(cause=Cause.ENVIRONMENT, name=name)

    def compare_settings(self) -> Iterator[RecordedChange]:
        """Compare what other instructions set for it."""
        now, before = self._now.settings, self._before.settings
        if self.is_described:
            for name in list_different(now, before):
                cause = Cause.PLATFORM if name == "platform" else Cause.SETTING
                values = {"before": before.get(name, ""), "after": now.get(name, "")}
                yield RecordedChange(cause=cause, name=name, **values)

    def compare_reads(
        self, now: Mapping[str, RecordedFiles], before: Mapping[str, RecordedFiles]
    ) -> Iterator[RecordedChange]:
        """Compare the files that it reads of the contexts of both builds."""
        hashes = [each.hash for each in self._now.reads]
        for at, old in enumerate(self._before.reads):
            new = hashes[at] if at < len(hashes) else ""
            if new and new == old.hash:
                continue
            changes = [*compare_files(old, now, before)]
            yield from changes
            if not changes and new and old.hash:
                # They are too many to name.
                yield RecordedChange(cause=Cause.CONTENT, name=old.path)


def _share_key(now: Record, before: Record) -> bool:
    """Whether the hashes of two records can be compared."""
    return now.arguments.key == before.arguments.key != ""


def _compare_written(
    now: Mapping[str, str] | None, before: Mapping[str, str] | None, given: Container[str]
) -> Iterator[RecordedChange]:
    """Compare what the instructions before a step set for it, unless the caller gave it."""
    if now is None or before is None:
        return
    names = list_different(now, before)
    for name in dict.fromkeys(name.removeprefix(f"{ARG} ") for name in names):
        if name in given:
            continue
        setting = _SETTINGS.get(name)
        cause = Cause.ENVIRONMENT if setting is None else Cause.SETTING
        yield RecordedChange(cause=cause, name=setting or name)


def _is_image(step: RecordedStep | None) -> bool:
    return step is not None and step.kind == "from"
