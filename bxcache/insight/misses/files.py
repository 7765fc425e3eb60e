"""What changed among the files that a step reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.context.files import LINK
from bxcache.buildx.context.ignore import IgnoreRules
from bxcache.buildx.context.selection import Selection
from bxcache.buildx.step_inputs import FileRead
from bxcache.insight.causes import Cause
from bxcache.insight.file_tree import fold_alike
from bxcache.insight.record_inputs import RecordedFiles, RecordedRead
from bxcache.insight.record_misses import RecordedChange

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def compare_contexts(
    now: Mapping[str, RecordedFiles], before: Mapping[str, RecordedFiles]
) -> Iterator[RecordedChange]:
    """Yield what differs in all files that two builds read."""
    for name in dict.fromkeys((*now, *before)):
        yield from compare_files(RecordedRead(context=name, path="/"), now, before)


def compare_files(
    read: RecordedRead, now: Mapping[str, RecordedFiles], before: Mapping[str, RecordedFiles]
) -> Iterator[RecordedChange]:
    """Yield what differs in the files that a step reads, by what two builds recorded."""
    ours = now.get(read.context, RecordedFiles())
    theirs = before.get(read.context, RecordedFiles())
    chosen = FileRead(**{key: getattr(read, key) for key in FileRead.__struct_fields__})
    new = Selection(fold_alike(ours.states, theirs.states)).select(chosen)
    old = Selection(fold_alike(theirs.states, ours.states)).select(chosen)
    changed = sorted(path for path in new.keys() | old.keys() if new.get(path) != old.get(path))
    folders = {path.rpartition("/")[0] for path in changed}
    rules_now, rules_before = (IgnoreRules.of_patterns(each.ignored) for each in (ours, theirs))
    for path in changed:
        if path in new and path in old:
            yield _compare_states(path, old[path], new[path])
        elif path not in folders:
            # A folder that has come or gone is named by its content.
            is_new = path in new
            is_ignored = (rules_before if is_new else rules_now).excludes(path)
            yield _describe_one(path, is_new=is_new, is_ignored=is_ignored)


def _describe_one(path: str, *, is_new: bool, is_ignored: bool) -> RecordedChange:
    """Describe a file that only one of two builds has; the other one may have ignored it."""
    if is_ignored:
        after = "sent" if is_new else "excluded"
        return RecordedChange(cause=Cause.IGNORED, name=path, after=after)
    return RecordedChange(cause=Cause.ADDED if is_new else Cause.GONE, name=path)


def _compare_states(path: str, old: str, new: str) -> RecordedChange:
    if old.startswith(LINK) and new.startswith(LINK):
        before, after = old.removeprefix(LINK), new.removeprefix(LINK)
        return RecordedChange(cause=Cause.LINK, name=path, before=before, after=after)
    mode, _, content = old.partition(" ")
    later, _, current = new.partition(" ")
    if content == current and mode[:1] == later[:1]:
        return RecordedChange(cause=Cause.MODE, name=path, before=mode[1:], after=later[1:])
    return RecordedChange(cause=Cause.CONTENT, name=path)
