"""The Dockerfile of a failed build, cut after the last finished step of each stage. Pure.

BuildKit exports a cache only after a build that succeeds. A build of what finished succeeds, finds
every step built, and can export it: each stage ends before its first unfinished step, and one more
stage copies nothing from each of them, so that BuildKit reaches them all.

Which steps finished, and where they are, is known from BuildKit's stream: it numbers the steps of
each stage, and lists all of them before the first one runs.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from bxcache.buildx.dockerfile import (
    SCRATCH,
    find_stage,
    list_bases,
    list_instructions,
    list_stages,
    list_used,
)
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import ONLY_STAGE, has_link_flag
from bxcache.oci.union import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from bxcache.buildx.dockerfile import DockerfileStage
    from bxcache.buildx.stream.names import StepName
    from bxcache.buildx.stream.trace import Trace

_STAGE = "bxcache-finished-steps"
_VARIABLES = ("ENV", "ARG")


class Cut(Struct, frozen=True):
    """A Dockerfile that has only finished steps.

    Attributes:
        text: its text.
        stage: the stage to build, which reaches all others that have finished steps.
        steps: the steps that it has and that the failed build executed.
    """

    text: str
    stage: str
    steps: tuple[StepName, ...]


def cut_dockerfile(text: str, trace: Trace) -> Cut | None:
    """Cut a Dockerfile after the last finished step of each stage; None if none was executed.

    A stage is left out if its steps are not certain: another one has its name, or its instructions
    are not those that BuildKit reports.
    """
    stages = list_stages(text)
    found = [*_find_finished(stages, trace)]
    for number in _find_whole(stages, found, text):
        length = len(stages[number].steps)
        found[number] = replace(found[number], length=length, linked=(), is_based=True)
    reached = [number for number, each in enumerate(found) if each.executed]
    if not reached:
        return None
    name = _STAGE
    while any(each.name == name for each in stages):
        name += "-"
    lines = text.split("\n")
    kept = {*range(stages[0].line - 1)}
    spans = _list_spans(text)
    for stage, finished in zip(stages, found, strict=True):
        own = [each for each in spans if stage.line <= each[0] <= stage.last_line]
        for start, end in _list_kept(stage, finished, own):
            kept.update(range(start - 1, end - 1))
    # No line moves, so that BuildKit names the same ones.
    left = (line if at in kept else "" for at, line in enumerate(lines))
    copies = (" ".join(("COPY", f"--from={number}", NOTHING, "/")) for number in reached)
    steps = tuple(step for each in found for step in each.executed)
    return Cut("\n".join([*left, f"FROM scratch AS {name}", *copies, ""]), name, steps)


class _Finished(Struct, frozen=True):
    """The finished steps of a stage.

    Attributes:
        length: how many of its steps are finished, from the first one.
        linked: the positions of later ones that need no other, each a `COPY --link`.
        executed: the names of those that this build executed.
        is_based: whether what they build on has finished, as far as it was to be built.
    """

    length: int = 0
    linked: tuple[int, ...] = ()
    executed: tuple[StepName, ...] = ()
    is_based: bool = False


def _find_finished(stages: Sequence[DockerfileStage], trace: Trace) -> Iterator[_Finished]:
    """Yield the finished steps of each stage."""
    listed: dict[str, list[StepName]] = {}
    for name in dict.fromkeys(trace.listed):
        listed.setdefault(name.stage, []).append(name)
    outcomes = dict(_list_outcomes(trace))
    counts = Counter(each.name for each in stages)
    reachable: list[bool] = []
    for stage, base in zip(stages, list_bases(stages), strict=True):
        label = stage.name if len(stages) > 1 else ONLY_STAGE
        places = _place_steps(stage, listed.get(label, ())) if counts[stage.name] == 1 else {}
        below = reachable[base] if base is not None else stage.base.lower() == SCRATCH
        found = _judge_stage(stage, places, outcomes, has_base=below)
        reachable.append(found.is_based)
        yield found


def _find_whole(
    stages: Sequence[DockerfileStage], found: Sequence[_Finished], text: str
) -> AbstractSet[int]:
    """Find the stages that have finished as a whole, since finished steps of others need them.

    What targets of a bake share is reported for one of them alone.
    """
    texts = {line: words for line, _, words in list_instructions(text)}
    bases, whole = list_bases(stages), set[int]()
    for number in reversed(range(len(stages))):
        stage, finished, base = stages[number], found[number], bases[number]
        is_whole = number in whole
        places = {*range(len(stage.steps) if is_whole else finished.length), *finished.linked}
        if base is not None and (is_whole or finished.length):
            whole.add(base)
        names = (name for at in places for name in list_used(texts[stage.steps[at][0]]))
        used = (find_stage(stages, name, number) for name in names)
        whole.update(each for each in used if each is not None)
    return whole


def _list_outcomes(trace: Trace) -> Iterator[tuple[StepName, Outcome]]:
    """Yield the outcome of each finished step; steps of several platforms can share a name."""
    wanted = Counter(trace.listed)
    steps: dict[StepName, list[Outcome]] = {}
    for each in trace.steps:
        steps.setdefault(each.name, []).append(each.outcome)
    for name, outcomes in steps.items():
        # An `ADD` of a URL has a second vertex, which fetches it.
        is_whole = len(outcomes) >= wanted[name] or _read_verb(name) == "ADD"
        if is_whole and Outcome.FAILED not in outcomes:
            is_new = Outcome.EXECUTED in outcomes
            yield name, Outcome.EXECUTED if is_new else Outcome.REUSED


def _place_steps(stage: DockerfileStage, names: Sequence[StepName]) -> dict[StepName, int]:
    """Return the position of each step in the stage; empty if they are not the stage's own.

    BuildKit counts a base image, and the triggers that it adds by `ONBUILD`, before them: their
    positions are negative.
    """
    before = {name.total - len(stage.steps) for name in names}
    places = {name: name.index - 1 - min(before) for name in names}
    same = all(
        place < 0 or (place < len(stage.steps) and stage.steps[place][1] == _read_verb(name))
        for name, place in places.items()
    )
    return places if len(before) == 1 and min(before) >= 0 and same else {}


def _read_verb(name: StepName) -> str:
    return name.text.split(maxsplit=1)[0].upper()


def _judge_stage(
    stage: DockerfileStage,
    places: Mapping[StepName, int],
    outcomes: Mapping[StepName, Outcome],
    *,
    has_base: bool,
) -> _Finished:
    """Find the finished steps of a stage.

    A finished step means that those before it have finished, too, unless it is a `COPY --link`. In
    a build for several platforms, a step has finished once all of them have it; BuildKit names no
    platform for one that they share.
    """
    done = {name for name in places if name in outcomes}
    linked = {name for name in places if has_link_flag(name.text)}
    triggers = {name for name, at in places.items() if at < 0}
    is_based = triggers <= done if triggers else has_base or not done <= linked
    lengths = []
    for platform in {name.platform for name in places} - {None} or {None}:
        own = {at: name for name, at in places.items() if name.platform in {platform, None}}
        length = max((at + 1 for at, name in own.items() if name in done - linked), default=0)
        while is_based and own.get(length) in done:
            length += 1
        lengths.append(length)
    length = min(lengths, default=0)
    wanted = Counter(places[name] for name in places)
    ready = Counter(places[name] for name in done & linked)
    rest = range(length, len(stage.steps)) if is_based else ()
    later = tuple(at for at in rest if ready[at] and ready[at] == wanted[at])
    kept = {*range(-len(places), length), *later} if is_based else set()
    executed = (name for name in done if places[name] in kept)
    new = tuple(name for name in executed if outcomes[name] is Outcome.EXECUTED)
    return _Finished(length, later, new, is_based=is_based)


def _list_spans(text: str) -> list[tuple[int, int, str]]:
    """List the first line of each instruction, the line after it, and its verb."""
    found = [*list_instructions(text)]
    ends = [*(line for line, _, _ in found[1:]), text.count("\n") + 2]
    verbs = (words.split(maxsplit=1)[0].upper() for _, _, words in found)
    return [(line, end, verb) for (line, _, _), end, verb in zip(found, ends, verbs, strict=True)]


def _list_kept(
    stage: DockerfileStage, finished: _Finished, spans: Sequence[tuple[int, int, str]]
) -> Iterator[tuple[int, int]]:
    """Yield the spans of lines to keep of a stage: up to the first unfinished step, and what later
    steps need that have finished.
    """
    positions = {line: at for at, (line, _) in enumerate(stage.steps)}
    is_cut = False
    for start, end, verb in spans:
        at = positions.get(start)
        if at is None:
            if not is_cut or verb in _VARIABLES:
                yield start, end
        elif at < finished.length or at in finished.linked:
            yield start, end
        elif verb == "WORKDIR":
            # Paths after it are relative to that folder.
            break
        else:
            is_cut = True
