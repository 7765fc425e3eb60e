"""Notes that a CI system shows beside the job, and not only in its log.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions
https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.console.tables import show_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bxcache.insight.gates import Verdict


def render_annotations(
    verdicts: Iterable[Verdict], environment: Mapping[str, str]
) -> Iterator[str]:
    """The lines by which a CI system is told of gates that are not passed; none elsewhere."""
    for each in verdicts:
        text = show_text(str(each))
        if environment.get("GITHUB_ACTIONS"):
            kind = "error" if each.fails else "warning"
            # `%` begins an escape; line breaks are gone already.
            yield f"::{kind} title=bxcache::{text.replace('%', '%25')}"
        elif environment.get("TF_BUILD"):
            kind = "error" if each.fails else "warning"
            yield f"##vso[task.logissue type={kind}]{text}"
