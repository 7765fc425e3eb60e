r"""The log of a CI job: sections that fold, and lines that its provider would take for commands.

Where sections are told by lines, and which lines they are:

- GitHub: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
- GitLab: https://docs.gitlab.com/ci/jobs/job_logs/#create-custom-collapsible-sections
- Azure: https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands
- Buildkite, which ends a section by the next header:
  https://buildkite.com/docs/pipelines/configure/managing-log-output
- Travis: https://github.com/travis-ci/travis-build/blob/master/lib/travis/build/bash/travis_fold.bash
- TeamCity has blocks, but hears them on stdout alone, which is for data here:
  https://www.jetbrains.com/help/teamcity/service-messages.html

Jenkins, CircleCI, Bitbucket, Drone and Woodpecker have none.

Where a line is taken for a command:

- GitHub's runner wants `::` first, after spaces, and its older `##[` anywhere. While commands are
  stopped it obeys neither, but the page that shows the log still reads `##[group]`.
  https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs
- Azure and TeamCity look anywhere in a line.
- Buildkite's headers are first in their line, colours apart.
  https://github.com/buildkite/agent/blob/main/agent/header_times_streamer.go
- GitLab's sections need a carriage return and an escape, which are shown here and not printed.
  https://gitlab.com/gitlab-org/gitlab/-/blob/master/lib/gitlab/regex.rb
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass

from bxcache.console.tables import COLORS, show_line

_CLEAR = "\r\x1b[0K"


@dataclass(frozen=True, slots=True)
class _Signs:
    """What a provider looks for in the lines of a log.

    Attributes:
        begin: begins a section.
        end: ends it.
        stop: what follows is no command, whatever it looks like.
        resume: what follows may be one again.
        command: how a command looks; empty where there is none but with control characters.
    """

    begin: str = ""
    end: str = ""
    stop: str = ""
    resume: str = ""
    command: str = ""


_SIGNS = {
    "github": _Signs(
        begin="::group::{title}",
        end="::endgroup::",
        stop="::stop-commands::{token}",
        resume="::{token}::",
        command=r"^\s*::|##\[",
    ),
    "gitlab": _Signs(
        begin=f"\x1b[0Ksection_start:{{now}}:bxcache_{{token}}[collapsed=true]{_CLEAR}{{title}}",
        end=f"\x1b[0Ksection_end:{{now}}:bxcache_{{token}}{_CLEAR}",
    ),
    "azure": _Signs(begin="##[group]{title}", end="##[endgroup]", command=r"##(?:vso)?\["),
    "buildkite": _Signs(
        begin="--- {title}", end="+++ bxcache", command=r"^\s*(?:---|\+\+\+|~~~|\^\^\^)(?=\s|$)"
    ),
    "travis": _Signs(
        begin=f"travis_fold:start:bxcache_{{token}}{_CLEAR}{{title}}",
        end=f"travis_fold:end:bxcache_{{token}}{_CLEAR}",
        command=r"travis_(?:fold|time):",
    ),
    "teamcity": _Signs(command=r"##teamcity\["),
}


class JobLog:
    """The log of a job at a provider, and the lines that a section of it is made of.

    Attributes:
        provider: the provider, by the name that `bxcache.place` has for it; may be empty.
    """

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self._signs = _SIGNS.get(provider, _Signs())
        # What is printed in between cannot know it, and so cannot end it.
        self._token = secrets.token_hex(16)
        command = self._signs.command
        self._command = re.compile(command, re.IGNORECASE) if command else None

    @property
    def folds(self) -> bool:
        """Whether it has sections."""
        return bool(self._signs.begin)

    def begin(self, title: str) -> list[str]:
        """The lines that begin the section; none where nothing folds."""
        return self._render(self._signs.begin, title)

    def end(self) -> list[str]:
        """The lines that end it."""
        return self._render(self._signs.end)

    def stop(self) -> list[str]:
        """The lines after which nothing is a command, as far as the provider has such."""
        return self._render(self._signs.stop)

    def resume(self) -> list[str]:
        """The lines after which there are commands again."""
        return self._render(self._signs.resume)

    def _render(self, line: str, title: str = "") -> list[str]:
        if not line:
            return []
        return [line.format(title=title, token=self._token, now=int(time.time()))]

    def defuse(self, line: str) -> str:
        r"""A line that came from elsewhere, fit to be printed: it is no command, and stays a line.

        Colours and tabs are kept. What looks like a command gets a space into its sign.

        >>> JobLog("azure").defuse("a ##vso[task.complete result=Failed]\r")
        'a # #vso[task.complete result=Failed]\\r'
        """
        line = show_line(line)
        if self._command is None:
            return line
        plain = COLORS.sub("", line)
        # A provider may drop the colours before it looks.
        return self._command.sub(_break_sign, plain) if self._command.search(plain) else line


def _break_sign(found: re.Match[str]) -> str:
    sign = found[0].lstrip()
    indent = found[0][: len(found[0]) - len(sign)]
    return f"{indent}{sign[0]} {sign[1:]}"
