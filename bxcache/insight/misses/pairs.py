"""Which steps of two builds correspond to each other."""

from __future__ import annotations

from collections import defaultdict
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.buildx.stream.names import has_link_flag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bxcache.insight.record import Record
    from bxcache.insight.record_parts import RecordedStep

_ALIKE = 0.5
"""How alike two stages with different names must be, from 0 to 1."""
_Group = tuple[str, tuple[str, ...]]


class NamedSteps(Struct, frozen=True):
    """The steps of a build, each with a name that stays the same as long as nobody edits it."""

    steps: Sequence[RecordedStep]
    names: Sequence[str]

    @classmethod
    def of(cls, record: Record, *, with_hashes: bool) -> NamedSteps:
        """Name the steps of a build, by hashes of their instructions or by their texts."""
        hashes = {each.line: each.hash for each in record.instructions} if with_hashes else {}
        return cls(record.steps, [_name(step, hashes) for step in record.steps])

    def list_names(self, places: Sequence[int]) -> list[str]:
        return [self.names[at] for at in places]

    def read_verb(self, at: int) -> str:
        return self.steps[at].text.partition(" ")[0].upper()


def list_below(steps: Sequence[RecordedStep], at: int) -> Iterator[int]:
    """List the steps on which a step builds: the one below, and those below a `COPY --link`.

    Its files are merged onto those below it, so that what follows needs both.
    """
    below = steps[at].parent
    while below is not None:
        yield below
        below = steps[below].parent if has_link_flag(steps[below].text) else None


def pair_steps(now: NamedSteps, before: NamedSteps) -> dict[int, int]:
    """Pair the positions of corresponding steps: same stage, same or changed instruction.

    A stage that was renamed is recognized by its instructions.
    """
    ours, theirs = _group(now.steps), _group(before.steps)
    pairs: dict[int, int] = {}
    left = {name: theirs[name] for name in theirs if name not in ours}
    for name, own in ours.items():
        other = theirs.get(name) or _find_renamed(own, left, now, before)
        pairs |= _pair_stage(own, other, now, before)
    return pairs


def _group(steps: Sequence[RecordedStep]) -> dict[_Group, list[int]]:
    found: dict[_Group, list[int]] = defaultdict(list)
    for at, step in enumerate(steps):
        found[step.stage, step.platforms].append(at)
    return dict(found)


def _find_renamed(
    own: Sequence[int],
    left: dict[_Group, list[int]],
    now: NamedSteps,
    before: NamedSteps,
) -> Sequence[int]:
    names = now.list_names(own)

    def measure(name: _Group) -> float:
        other = before.list_names(left[name])
        return SequenceMatcher(None, names, other, autojunk=False).ratio()

    best = max(left, key=measure, default=None)
    if best is None or measure(best) < _ALIKE:
        return ()
    return left.pop(best)


def _pair_stage(
    own: Sequence[int], other: Sequence[int], now: NamedSteps, before: NamedSteps
) -> Mapping[int, int]:
    ours, theirs = now.list_names(own), before.list_names(other)
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    pairs: dict[int, int] = {}
    for kind, start, end, since, until in matcher.get_opcodes():
        if kind == "equal":
            pairs |= dict(zip(own[start:end], other[since:until], strict=True))
        elif kind == "replace":
            # A changed instruction has the same verb as before.
            waiting = list(other[since:until])
            for at in own[start:end]:
                verb = now.read_verb(at)
                twin = next((each for each in waiting if before.read_verb(each) == verb), None)
                if twin is not None:
                    waiting = waiting[waiting.index(twin) + 1 :]
                    pairs[at] = twin
    return pairs


def _name(step: RecordedStep, hashes: Mapping[int, str]) -> str:
    if step.kind == "from":
        return step.text.partition("@")[0]
    return next((hashes[line] for line in step.lines if line in hashes), step.text)
