"""Why steps were executed, in words: one line for each first cause."""

from __future__ import annotations

import time
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from bxcache.config.quantities import format_age, format_count, format_seconds
from bxcache.console.report.head import name_build
from bxcache.console.report.sections import (
    NO_STAGE,
    Quoted,
    Table,
    drop_empty,
    label_stage,
    show_lines,
)
from bxcache.console.report.step_tables import tabulate_first
from bxcache.console.tables import clean_text, cut_digest, cut_text
from bxcache.insight.causes import Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bxcache.insight.record import Record
    from bxcache.insight.record_misses import (
        RecordedAdvice,
        RecordedBasis,
        RecordedChange,
        RecordedMiss,
    )
    from bxcache.insight.report import Report, ReportedStep

_MOST_NAMES = 3
_LONGEST = 60
_LONGEST_WORD = 40
_TAG = "@"
_SAME_UMASK = "`umask 022` before the checkout gives files the same modes everywhere"


def list_misses(record: Record) -> list[str]:
    """List why steps were executed, a line for each first cause."""
    causes: dict[tuple[RecordedChange, ...], list[RecordedMiss]] = {}
    for miss in record.misses:
        causes.setdefault(miss.changes, []).append(miss)
    return [clean_text(_describe_misses(record, misses)) for misses in causes.values()]


def tabulate_misses(report: Report) -> Table:
    """Tabulate why steps were executed; in an old record, the first executed ones."""
    rows = [
        (
            *_name_step(report.steps[miss.step] if miss.step is not None else None),
            Quoted(describe_changes(miss.changes, miss.more)),
            str(len(miss.later) or ""),
            format_seconds(miss.seconds),
        )
        for miss in report.misses
    ]
    if not rows:
        return tabulate_first(report)
    basis = report.basis
    note = None if basis is None else f"Compared with {describe_basis(basis, report.started)}."
    head = ("Stage", "Step", "Line", "Why", "Later steps", "Time")
    return drop_empty(Table("Why steps ran", head, rows, 4, note))


def _name_step(step: ReportedStep | None) -> tuple[str, str, str]:
    if step is None:
        return NO_STAGE, "all", ""
    stage = Quoted(label_stage(step.stage, step.platforms)) if step.stage else NO_STAGE
    return stage, Quoted(cut_text(step.text, _LONGEST)), show_lines(step)


def summarize_misses(report: Report, quote: Callable[[str], str] = clean_text) -> str | None:
    """Show the most expensive cause, `quote`d, and how many steps it executed; or None."""
    if not report.misses:
        return None
    first = max(report.misses, key=lambda each: each.seconds)
    steps = len(first.later) + (first.step is not None)
    others = len(report.misses) - 1
    more = f", and {format_count(others, 'other cause')}" if others else ""
    why = quote(describe_changes(first.changes, first.more))
    return f"{format_count(steps, 'step')} ran: {why}{more}"


def explain_step(report: Report, at: int) -> str:
    """Explain why a step was executed; empty if that is unknown."""
    for miss in report.misses:
        if miss.step == at or (miss.step is None and at in miss.later):
            return describe_changes(miss.changes, miss.more)
        if miss.step is not None and at in miss.later:
            return f"it needs `{cut_text(report.steps[miss.step].text, _LONGEST)}`, which ran"
    return ""


def list_advice(advice: Sequence[RecordedAdvice]) -> list[str]:
    """List what to do about what makes steps run again and again, a line each."""
    return [clean_text(_describe_advice(each)) for each in advice]


def _describe_advice(advice: RecordedAdvice) -> str:
    from bxcache.insight.record_misses import RecordedChange  # noqa: PLC0415  # after the build

    often = f"in {advice.times} of the last {advice.builds} builds"
    took = format_seconds(advice.seconds)
    if advice.step:
        files = _list_quoted(advice.files)
        alone = f"copy {files} before it, and the rest after it" if files else _MOVE
        above, step = (f"`{cut_text(each, _LONGEST)}`" for each in (advice.name, advice.step))
        return f"{step} ran again {often}, for {took}, since files of {above} changed: {alone}"
    how = _MATRIX if advice.alternates else _ADVICE[advice.cause]
    what = describe_changes([RecordedChange(cause=advice.cause, name=advice.name)])
    if advice.cause in _RECURRING:
        what = _RECURRING[advice.cause].format(advice.name)
    return f"{what} {often}, which ran steps for {took}: {how}"


def advise_cause(cause: Cause) -> str:
    """Say what to do about a cause that recurs; empty if nothing is known to help."""
    return _ADVICE.get(cause, "")


def describe_changes(changes: Sequence[RecordedChange], more: int = 0) -> str:
    """Describe what changed, in words."""
    groups: dict[Cause, list[RecordedChange]] = {}
    for each in changes:
        groups.setdefault(each.cause, []).append(each)
    words = [_WORDS[cause](own) for cause, own in groups.items()]
    return "; ".join([*words, *([f"{format_count(more, 'more file')} changed"] if more else [])])


def describe_basis(basis: RecordedBasis, now: float | None = None) -> str:
    """Name an earlier build: its branch, its commit and its age."""
    age = format_age((time.time() if now is None else now) - basis.started)
    name = name_build(basis.branch or "the build", basis.commit)
    return f"{name} {age} ago" if basis.branch is None else f"{name} ({age} ago)"


def _describe_misses(record: Record, misses: Sequence[RecordedMiss]) -> str:
    """Describe steps that were executed for the same reason."""
    miss, others = misses[0], len(misses) - 1
    why = describe_changes(miss.changes, miss.more)
    seconds = format_seconds(sum(each.seconds for each in misses))
    if miss.step is None:
        steps = format_count(len(miss.later), "step")
        return f"{why}; {steps} ran, {seconds}"
    step = record.steps[miss.step]
    line = f", line {step.lines[0]}" if step.lines else ""
    stage = f"stage {label_stage(step.stage, step.platforms)}" if step.stage else "the stage"
    is_unfinished = any(each.cause is Cause.UNFINISHED for each in miss.changes)
    since = "" if is_unfinished else _describe_since(record)
    followed = sum(len(each.later) for each in misses)
    more = f"; {format_count(followed, 'later step')} ran because of it" if followed else ""
    twins = f" and {format_count(others, 'other step')}" if others else ""
    what = f"{stage}{line} `{cut_text(step.text, _LONGEST)}`{twins}"
    is_mode = any(each.cause is Cause.MODE for each in miss.changes)
    fix = f"; {_SAME_UMASK}" if is_mode else ""
    return f"{what}: {why}{since}{more}, {seconds}{fix}"


def _describe_since(record: Record) -> str:
    if record.basis is None:
        return ""
    # What differs then is not in git, or was changed after the checkout.
    is_same = record.basis.commit == record.place.commit != ""
    return f" since {describe_basis(record.basis)}{', the same commit' if is_same else ''}"


def _list_names(changes: Sequence[RecordedChange]) -> str:
    return _list_quoted([each.name for each in changes])


def _list_quoted(all_names: Sequence[str]) -> str:
    names = [f"`{each}`" for each in all_names[:_MOST_NAMES]]
    left = len(all_names) - len(names)
    if left:
        return f"{', '.join(names)} and {format_count(left, 'other')}"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _describe_modes(changes: Sequence[RecordedChange]) -> str:
    first = changes[0]
    same = {(each.before, each.after) for each in changes} == {(first.before, first.after)}
    how = f" from {first.before} to {first.after}" if same and first.before else ""
    return f"only the mode of {_list_names(changes)} changed{how}"


def _describe_ignored(changes: Sequence[RecordedChange]) -> str:
    gone = [each for each in changes if each.after == "excluded"]
    new = [each for each in changes if each.after != "excluded"]
    parts = [f"excludes {_list_names(gone)}"] if gone else []
    parts += [f"does not exclude {_list_names(new)}"] if new else []
    return f"the ignore file now {' and '.join(parts)}"


def _describe_text(changes: Sequence[RecordedChange]) -> str:
    removed, added = compare_words(changes[0].before, changes[0].after)
    if removed and added:
        return f"the instruction has `{added}`, not `{removed}`"
    return f"the instruction has `{added}` now" if added else f"the instruction lacks `{removed}`"


def compare_words(before: str, after: str) -> tuple[str, str]:
    """Return the words that are gone and those that are new, from the first change to the last.

    >>> compare_words("RUN make all", "RUN make -j all")
    ('', '-j')
    """
    old, new = before.split(), after.split()
    codes = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    spans = [each for each in codes if each[0] != "equal"]
    if not spans:
        return before, after
    gone = " ".join(old[spans[0][1] : spans[-1][2]])
    come = " ".join(new[spans[0][3] : spans[-1][4]])
    return cut_text(gone, _LONGEST_WORD), cut_text(come, _LONGEST_WORD)


def _describe_setting(change: RecordedChange) -> str:
    if change.name == "definition":
        return "BuildKit sees another operation, though the instruction is the same"
    before, after = (
        f"`{each}`" if each else "the default" for each in (change.before, change.after)
    )
    return f"the {change.name} is {after}, not {before}"


def _describe_base(change: RecordedChange) -> str:
    if change.name:
        before, after = cut_digest(change.before), cut_digest(change.after)
        how = f" from {before} to {after}" if before and after else ""
        return f"the image `{change.name}` moved{how}"
    (old, _, was), (new, _, now) = (
        each.removeprefix("FROM ").partition(_TAG) for each in (change.before, change.after)
    )
    if old == new:
        return f"the base image `{new}` moved from {cut_digest(was)} to {cut_digest(now)}"
    return f"the base is `{new}`, not `{old}`"


def _describe_frontends(changes: Sequence[RecordedChange]) -> str:
    names = [each or "BuildKit's own" for each in (changes[0].before, changes[0].after)]
    return f"the frontend of the Dockerfile is {names[1]}, not {names[0]}"


def _describe_unknown(changes: Sequence[RecordedChange]) -> str:
    mounts = (
        f"; what its {changes[0].after} mounts contain does not count" if changes[0].after else ""
    )
    return (
        "no input that is known changed, and BuildKit did not find its layer: "
        f"`bxcache build --log FILE` has what BuildKit saw{mounts}"
    )


def _each(
    describe: Callable[[RecordedChange], str],
) -> Callable[[Sequence[RecordedChange]], str]:
    return lambda changes: "; ".join(map(describe, changes))


def _name(text: str) -> Callable[[Sequence[RecordedChange]], str]:
    def describe(changes: Sequence[RecordedChange]) -> str:
        return text.format(_list_names(changes), changes[0].before, changes[0].after)

    return describe


def _plural(one: str, many: str) -> Callable[[Sequence[RecordedChange]], str]:
    def describe(changes: Sequence[RecordedChange]) -> str:
        return (one if len(changes) == 1 else many).format(_list_names(changes))

    return describe


_PINNED = "name it with its digest, or accept it"
_MOVE = "move it above that; it reads none of them"
_DECLARED = "declare it below the steps that do not need it"
_MATRIX = (
    "builds with different values take turns in one scope; give each an image of its own, such as "
    "`[images.NAME]` with `build_args` in the config file"
)
_ADVICE = {
    Cause.ARGUMENT: _DECLARED,
    Cause.ENVIRONMENT: _DECLARED,
    Cause.CONTENT: "if no step needs it, list it in `.dockerignore`; if some do, copy it later",
    Cause.MODE: _SAME_UMASK,
    Cause.BASE: _PINNED,
    Cause.REMOTE: _PINNED,
    Cause.FRONTEND: _PINNED,
    Cause.ADDED: "not every machine has it; commit it, or list it in `.dockerignore`",
    Cause.TEXT: "a script writes it; give the value as an `ARG` below the expensive steps",
}
_RECURRING = {
    Cause.ADDED: "`{}` was added or removed",
    Cause.TEXT: "`{}` had another value",
    Cause.FRONTEND: "the frontend `{}` moved",
}
_WORDS: dict[Cause, Callable[[Sequence[RecordedChange]], str]] = {
    Cause.FIRST_BUILD: _name("first build of the scope {}"),
    Cause.NO_DONOR: _name("there was no cache to import ({2})"),
    Cause.UNREADABLE: _name("the cache could not be read: {2}"),
    Cause.UNKNOWN_DONOR: _name("{2} has no record, so there is nothing to compare with"),
    Cause.NO_CACHE: _name("`--no-cache` or a filter asked for it"),
    Cause.FRONTEND: _describe_frontends,
    Cause.PLATFORM: _each(_describe_setting),
    Cause.NEW: _name("the instruction is new"),
    Cause.REMOVED: _name("`{1}` before it was removed or moved"),
    Cause.TEXT: _describe_text,
    Cause.ARGUMENT: _plural("the build argument {} changed", "the build arguments {} changed"),
    Cause.ENVIRONMENT: _plural("the variable {} changed", "the variables {} changed"),
    Cause.SETTING: _each(_describe_setting),
    Cause.BASE: _each(_describe_base),
    Cause.REMOTE: _plural("the remote file {} changed", "the remote files {} changed"),
    Cause.CONTENT: _name("content of {} changed"),
    Cause.ADDED: _plural("{} was added", "{} were added"),
    Cause.GONE: _plural("{} was removed", "{} were removed"),
    Cause.MODE: _describe_modes,
    Cause.LINK: _plural("the link {} has another target", "the links {} have other targets"),
    Cause.IGNORED: _describe_ignored,
    Cause.EVICTED: _name("the cache no longer has its layer"),
    Cause.NOT_EXPORTED: _name("its layer was never saved"),
    Cause.UNFINISHED: _name("the failed build had not finished it"),
    Cause.UNKNOWN: _describe_unknown,
}
