"""Annotations that a CI system shows beside the job, not only in its log.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands#logissue-log-an-error-or-warning
"""

from __future__ import annotations

import os.path
import re
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.buildx.stream.events import Outcome
from bxcache.config.paths import is_remote
from bxcache.console.report.misses import describe_changes
from bxcache.console.report.sections import label_stage
from bxcache.console.tables import cut_text, show_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bxcache.insight.record_parts import Verdict
    from bxcache.pipeline.result import BuildResult

_LONGEST = 1000
_MOST_MISSES = 3
_USUAL_FILE = "Dockerfile"
_TITLE = "bxcache"
# https://github.com/moby/buildkit/blob/v0.25.2/solver/errdefs/source.go
_POSITION = re.compile(r"(?P<file>.+):(?P<line>[0-9]+)")
_RULE = "-" * 20
_GITHUB_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_GITHUB_PROPERTY = {**_GITHUB_DATA, ":": "%3A", ",": "%2C"}
_AZURE = {"%": "%AZP25", ";": "%3B", "\r": "%0D", "\n": "%0A", "]": "%5D"}


class Annotation(Struct, frozen=True):
    """A note beside the job: an error if it fails, or else a warning or just a notice."""

    text: str
    fails: bool = True
    title: str = _TITLE
    file: str | None = None
    """Relative to the project's top folder."""
    line: int | None = None
    is_notice: bool = False


def annotate_misses(result: BuildResult, name: str | None = None) -> Iterator[Annotation]:
    """Yield a notice for each of the most expensive causes for which steps were executed."""
    file, steps = _find_file(result), result.record.steps if result.record is not None else ()
    worth = (each for each in result.misses if each.step is not None)
    for miss in sorted(worth, key=lambda each: -each.seconds)[:_MOST_MISSES]:
        step = steps[miss.step or 0]
        label = label_stage(step.stage, step.platforms)
        title = _prefix(f"[{label}] {step.text.partition(chr(10))[0]}", name)
        text = f"executed: {describe_changes(miss.changes, miss.more)}"
        line = next(iter(step.lines), None)
        yield Annotation(text, fails=False, title=title, file=file, line=line, is_notice=True)


def annotate_gates(verdicts: Iterable[Verdict], name: str | None = None) -> Iterator[Annotation]:
    """Yield a note for each gate that failed; the name is the image, if several are built."""
    for each in verdicts:
        yield Annotation(str(each), fails=each.fails, title=_prefix(_TITLE, name))


def annotate_failure(
    result: BuildResult, error: str, words: Sequence[str] = (), name: str | None = None
) -> Iterator[Annotation]:
    """Yield a note for each failed step, or one if no step failed; none for a successful build.

    The words are docker's last lines, which quote the Dockerfile at the failed step.
    """
    if not result.exit_status:
        return
    file, line = _find_file(result), _find_line(words)
    failed = [step for step in result.steps if step.outcome is Outcome.FAILED]
    for step in failed:
        first, _, _ = step.text.partition("\n")
        known = step.line or (line if len(failed) == 1 else None)
        label = label_stage(step.stage, [step.platform] if step.platform else [])
        title = _prefix(f"[{label}] {first}", name)
        yield Annotation(step.error or error, title=title, file=file, line=known)
    if not failed:
        yield Annotation(error, title=_prefix(_TITLE, name), file=file if line else None, line=line)


def render_annotations(annotations: Iterable[Annotation], provider: str | None) -> Iterator[str]:
    """Render notes as the lines that a CI provider, by its name, reads; most have none."""
    for each in annotations:
        kind, line = "error" if each.fails else "warning", each.line if each.file else None
        kind = "notice" if each.is_notice else kind
        if provider == "github":
            pairs = _list_pairs(_GITHUB_PROPERTY, file=each.file, line=line, title=each.title)
            yield f"::{kind} {','.join(pairs)}::{_escape(each.text, _GITHUB_DATA)}"
        elif provider == "azure" and not each.is_notice:
            pairs = _list_pairs(_AZURE, type=kind, sourcepath=each.file, linenumber=line)
            # Azure has no titles.
            text = each.text if each.title == _TITLE else f"{each.title}: {each.text}"
            yield f"##vso[task.logissue {';'.join(pairs)}]{_escape(text, _AZURE)}"


def _find_line(words: Sequence[str]) -> int | None:
    """Find the line of the Dockerfile that docker quotes."""
    for line, rule in pairwise(words):
        found = _POSITION.fullmatch(line)
        if rule == _RULE and found is not None:
            return int(found["line"])
    return None


def _find_file(result: BuildResult) -> str | None:
    """Find the Dockerfile, from the project's top folder."""
    record = result.record
    if record is None or not record.context or any(map(is_remote, (record.file, record.context))):
        return None
    file = os.path.normpath(record.file or os.path.join(record.context, _USUAL_FILE))  # noqa: PTH118  # text
    return None if file.startswith("..") else file


def _prefix(title: str, name: str | None) -> str:
    return f"{name}: {title}" if name else title


def _escape(text: str, signs: dict[str, str]) -> str:
    return "".join(signs.get(each, each) for each in show_text(cut_text(text, _LONGEST)))


def _list_pairs(signs: dict[str, str], **values: str | int | None) -> list[str]:
    return [f"{key}={_escape(str(value), signs)}" for key, value in values.items() if value]
