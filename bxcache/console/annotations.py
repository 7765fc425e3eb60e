"""Annotations that a CI system shows beside the job, not only in its log.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands#logissue-log-an-error-or-warning
"""

from __future__ import annotations

import os.path
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome
from bxcache.config.paths import is_remote
from bxcache.console.report.sections import label_stage
from bxcache.console.tables import cut_text, show_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bxcache.insight.record import Verdict
    from bxcache.pipeline.result import BuildResult

_LONGEST = 1000
_USUAL_FILE = "Dockerfile"
_TITLE = "bxcache"
# https://github.com/moby/buildkit/blob/v0.25.2/solver/errdefs/source.go
_POSITION = re.compile(r"(?P<file>.+):(?P<line>[0-9]+)")
_RULE = "-" * 20

_GITHUB_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_GITHUB_PROPERTY = {**_GITHUB_DATA, ":": "%3A", ",": "%2C"}
_AZURE = {"%": "%AZP25", ";": "%3B", "\r": "%0D", "\n": "%0A", "]": "%5D"}


@dataclass(frozen=True, slots=True)
class Annotation:
    """A note beside the job.

    Attributes:
        text: its text.
        fails: whether it is an error, not a warning.
        title: its title.
        file: the file that it concerns, relative to the project's top folder; empty if unknown.
        line: the line in that file, from 1; None if unknown.
    """

    text: str
    fails: bool = True
    title: str = _TITLE
    file: str = ""
    line: int | None = None


def annotate_gates(verdicts: Iterable[Verdict], name: str = "") -> Iterator[Annotation]:
    """Yield a note for each gate that failed.

    Args:
        verdicts: the gates.
        name: the image, if several are built.
    """
    for each in verdicts:
        yield Annotation(str(each), fails=each.fails, title=_prefix(_TITLE, name))


def annotate_failure(
    result: BuildResult, error: str, words: Sequence[str] = (), name: str = ""
) -> Iterator[Annotation]:
    """Yield a note for each failed step, or one if no step failed; none for a successful build.

    Args:
        result: the build's result.
        error: why it failed.
        words: docker's last lines, which quote the Dockerfile around the failed step after its
            position.
        name: the image, if several are built.
    """
    if not result.exit_status:
        return
    file, line = _find_position(result, words)
    failed = [step for step in result.steps if step.outcome is Outcome.FAILED]
    for step in failed:
        first, _, _ = step.text.partition("\n")
        known = step.line or (line if len(failed) == 1 else None)
        label = label_stage(step.stage, [step.platform] if step.platform else [])
        title = _prefix(f"[{label}] {first}", name)
        yield Annotation(step.error or error, title=title, file=file, line=known)
    if not failed:
        yield Annotation(error, title=_prefix(_TITLE, name), file=file if line else "", line=line)


def render_annotations(annotations: Iterable[Annotation], provider: str) -> Iterator[str]:
    """Render notes as the lines that a CI system reads; none if it supports none.

    Args:
        annotations: the notes.
        provider: the CI provider's name in `bxcache.place`.
    """
    for each in annotations:
        if provider == "github":
            yield _render_github(each)
        elif provider == "azure":
            yield _render_azure(each)


def _find_position(result: BuildResult, words: Sequence[str]) -> tuple[str, int | None]:
    """Find the Dockerfile, from the project's top folder, and the line that docker quotes."""
    found = next(
        (
            match
            for line, rule in pairwise(words)
            if rule == _RULE and (match := _POSITION.fullmatch(line)) is not None
        ),
        None,
    )
    line = int(found["line"]) if found is not None else None
    return _find_file(result), line


def _find_file(result: BuildResult) -> str:
    record = result.record
    if record is None or not record.context or any(map(is_remote, (record.file, record.context))):
        return ""
    file = os.path.normpath(record.file or os.path.join(record.context, _USUAL_FILE))  # noqa: PTH118  # text
    return "" if file.startswith("..") else file


def _prefix(title: str, name: str) -> str:
    return f"{name}: {title}" if name else title


def _clean(text: str) -> str:
    return show_text(cut_text(text, _LONGEST))


def _escape(text: str, signs: dict[str, str]) -> str:
    return "".join(signs.get(each, each) for each in _clean(text))


def _render_github(each: Annotation) -> str:
    kind = "error" if each.fails else "warning"
    line = str(each.line or "") if each.file else ""
    properties = {"file": each.file, "line": line, "title": each.title}
    pairs = (f"{key}={_escape(text, _GITHUB_PROPERTY)}" for key, text in properties.items() if text)
    return f"::{kind} {','.join(pairs)}::{_escape(each.text, _GITHUB_DATA)}"


def _render_azure(each: Annotation) -> str:
    kind = "error" if each.fails else "warning"
    line = str(each.line or "") if each.file else ""
    properties = {"type": kind, "sourcepath": each.file, "linenumber": line}
    pairs = (f"{key}={_escape(value, _AZURE)}" for key, value in properties.items() if value)
    # Azure has no titles.
    text = each.text if each.title == _TITLE else f"{each.title}: {each.text}"
    return f"##vso[task.logissue {';'.join(pairs)}]{_escape(text, _AZURE)}"
