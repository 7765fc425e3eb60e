r"""The log of a CI job: sections that fold, and lines that its provider would take for commands.

Providers with sections, and the lines that mark them:

- GitHub: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
- GitLab: https://docs.gitlab.com/ci/jobs/job_logs/#create-custom-collapsible-sections
- Azure: https://learn.microsoft.com/azure/devops/pipelines/scripts/logging-commands
- Buildkite, where the next header ends a section:
  https://buildkite.com/docs/pipelines/configure/managing-log-output
- Travis: https://github.com/travis-ci/travis-build/blob/master/lib/travis/build/bash/travis_fold.bash
- TeamCity has blocks, but reads them only from stdout, which is for data here:
  https://www.jetbrains.com/help/teamcity/service-messages.html

Jenkins, CircleCI, Bitbucket, Drone and Woodpecker have none.

Lines that providers take for commands:

- GitHub's runner reads `::` at the start of a line, after spaces, and the older `##[` anywhere. It
  ignores both while commands are stopped, but the log page still reads `##[group]`.
  https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs
- Azure and TeamCity read commands anywhere in a line.
- Buildkite's headers are at the start of a line, ignoring colours.
  https://github.com/buildkite/agent/blob/main/agent/header_times_streamer.go
- GitLab's sections need a carriage return and an escape, which bxcache prints in readable form.
  https://gitlab.com/gitlab-org/gitlab/-/blob/master/lib/gitlab/regex.rb
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Literal

from bxcache.console.tables import COLORS, show_line

Sign = Literal["begin", "end", "stop", "resume"]
_CLEAR = "\r\x1b[0K"
_SIGNS: dict[str | None, dict[str, str]] = {
    "github": {
        "begin": "::group::{title}",
        "end": "::endgroup::",
        "stop": "::stop-commands::{token}",
        "resume": "::{token}::",
        "command": r"^\s*::|##\[",
    },
    "gitlab": {
        "begin": f"\x1b[0Ksection_start:{{now}}:bxcache_{{token}}[collapsed=true]{_CLEAR}{{title}}",
        "end": f"\x1b[0Ksection_end:{{now}}:bxcache_{{token}}{_CLEAR}",
    },
    "azure": {"begin": "##[group]{title}", "end": "##[endgroup]", "command": r"##(?:vso)?\["},
    "buildkite": {
        "begin": "--- {title}",
        "end": "+++ bxcache",
        "command": r"^\s*(?:---|\+\+\+|~~~|\^\^\^)(?=\s|$)",
    },
    "travis": {
        "begin": f"travis_fold:start:bxcache_{{token}}{_CLEAR}{{title}}",
        "end": f"travis_fold:end:bxcache_{{token}}{_CLEAR}",
        "command": r"travis_(?:fold|time):",
    },
    "teamcity": {"command": r"##teamcity\["},
}
"""The lines that begin and end a section, those that stop and resume commands, and the pattern of
commands, which is missing where all need control characters."""


class JobLog:
    """The log of a job of a provider, if it is known, and the lines that mark a section in it."""

    def __init__(self, provider: str | None) -> None:
        self.provider = provider
        self._signs = _SIGNS.get(provider, {})
        # Output in the section cannot know the token, and so cannot end the section.
        self._token = secrets.token_hex(16)

    @property
    def folds(self) -> bool:
        """Whether it supports sections."""
        return "begin" in self._signs

    def mark(self, sign: Sign, title: str = "") -> list[str]:
        """Return the line that begins or ends the section, or stops or resumes commands, if any."""
        if sign not in self._signs:
            return []
        known = {"title": title, "token": self._token, "now": int(time.time())}
        return [self._signs[sign].format(**known)]

    def defuse(self, line: str) -> str:
        r"""Make a foreign line safe to print: it is neither a command nor more than one line.

        Colours and tabs are kept. A command's sign gets a space inserted.

        >>> JobLog("azure").defuse("a ##vso[task.complete result=Failed]\r")
        'a # #vso[task.complete result=Failed]\\r'
        """
        line = show_line(line)
        command = self._signs.get("command")
        if command is None:
            return line
        # A provider may remove colours before it reads commands.
        plain = COLORS.sub("", line)
        broken, count = re.subn(command, _break_sign, plain, flags=re.IGNORECASE)
        return broken if count else line


def _break_sign(found: re.Match[str]) -> str:
    sign = found[0].lstrip()
    return f"{found[0].removesuffix(sign)}{sign[0]} {sign[1:]}"
