"""How providers read a job's log, by their documentation and their own code.

Nothing of bxcache is used here: each provider decides which commands it obeys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

COLOR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Shown:
    """A job's log as a provider shows it.

    Attributes:
        folded: the lines inside a section.
        open: the lines outside all sections.
        obeyed: the commands that the provider obeyed.
    """

    folded: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    obeyed: list[str] = field(default_factory=list)
    depth: int = 0

    def show(self, line: str) -> None:
        (self.folded if self.depth else self.open).append(line)


COMMANDS = {"group", "endgroup", "error", "warning", "set-output", "set-env", "add-mask", "debug"}


def read_github(text: str) -> Shown:
    """Read as GitHub's runner: `::` after spaces, `##[` anywhere; the page adds `##[group]`."""
    shown = Shown()
    stopped = ""
    for line in re.split(r"\r\n|\r|\n", text):
        match = re.match(r"\s*::(?P<name>[^ :]+)(?: [^:]*)?::(?P<data>.*)", line) or re.search(
            r"##\[(?P<name>[^ \]]+)[^\]]*\](?P<data>.*)", line
        )
        name, data = (match["name"].lower(), match["data"]) if match else ("", "")
        if stopped:
            if name == stopped:
                stopped = ""
            elif re.match(r"##\[(end)?group\]", COLOR.sub("", line)):
                shown.obeyed.append(line)
            else:
                shown.show(line)
        elif name == "stop-commands":
            stopped = data
        elif name in COMMANDS:
            shown.obeyed.append(line)
            shown.depth += {"group": 1, "endgroup": -1}.get(name, 0)
        else:
            shown.show(line)
    assert not stopped
    return shown


def read_gitlab(text: str) -> Shown:
    """Find sections anywhere; their markers end in a carriage return and an escape sequence."""
    sign = re.compile(
        r"section_(start|end):\d+:([A-Za-z0-9_.-]+)(?:\[\w+=\w+(?:, ?\w+=\w+)*\])?\r\x1b\[0K"
    )
    shown = Shown()
    for line in text.split("\n"):
        found = sign.search(line)
        if found is not None:
            shown.obeyed.append(line)
            shown.depth += 1 if found[1] == "start" else -1
        else:
            shown.show(line)
    return shown


def read_azure(text: str) -> Shown:
    """Find `##vso[` anywhere, and treat `##[` the same way to be safe."""
    shown = Shown()
    for line in re.split(r"\r\n|\r|\n", text):
        found = re.search(r"##(?:vso)?\[([\w.]+)", COLOR.sub("", line), re.IGNORECASE)
        if found is not None:
            shown.obeyed.append(line)
            shown.depth += {"group": 1, "endgroup": -1}.get(found[1], 0)
        else:
            shown.show(line)
    return shown


def read_buildkite(text: str) -> Shown:
    """Find headers at the start of a line, ignoring colours; `+++` is open, the others fold."""
    shown = Shown()
    for line in re.split(r"\r\n|\r|\n", text):
        found = re.match(r"(---|\+\+\+|~~~|\^\^\^)\s", COLOR.sub("", line))
        if found is not None:
            shown.obeyed.append(line)
            shown.depth = 0 if found[1] == "+++" else 1
        else:
            shown.show(line)
    shown.depth = 0
    return shown


def read_travis(text: str) -> Shown:
    """Find folds by their name; each marker ends in a carriage return."""
    shown = Shown()
    for line in text.split("\n"):
        found = re.search(r"travis_(?:fold|time):(start|end):?\S*", line)
        if found is not None:
            shown.obeyed.append(line)
            shown.depth += 1 if found[1] == "start" else -1
        else:
            shown.show(line)
    return shown


def read_teamcity(text: str) -> Shown:
    """Find service messages anywhere in a line."""
    shown = Shown()
    for line in re.split(r"\r\n|\r|\n", text):
        if "##teamcity[" in COLOR.sub("", line):
            shown.obeyed.append(line)
        else:
            shown.show(line)
    return shown


def read_plainly(text: str) -> Shown:
    """Read as a provider without sections and commands."""
    return Shown(open=text.split("\n"))


READERS: dict[str, Callable[[str], Shown]] = {
    "github": read_github,
    "gitlab": read_gitlab,
    "azure": read_azure,
    "buildkite": read_buildkite,
    "travis": read_travis,
    "teamcity": read_teamcity,
}
FOLDING = ("github", "gitlab", "azure", "buildkite", "travis")
HOSTILE = (
    *("::error::x", "  ::endgroup::", "::set-env name=PATH::/x", "\t::stop-commands::mine"),
    *("##[endgroup]", "a ##[error]b", "##[group]c", "\x1b[31m::warning::x", "#\x1b[0m#[endgroup]"),
    *("##vso[task.complete result=Failed]", "x ##VSO[task.setvariable variable=PATH]/x"),
    *("--- a header", "+++ open", "~~~ less", "^^^ +++", "\x1b[1m+++ coloured"),
    "\x1b[0Ksection_start:1:mine[collapsed=true]\r\x1b[0Khidden",
    "\x1b[0Ksection_end:1:bxcache\r\x1b[0K",
    *("travis_fold:end:mine\r\x1b[0K", "travis_time:start:x\r"),
    *("##teamcity[buildProblem description='x']", "a\r::error::b", "a\x0b::error::b", "\x1b[2J"),
)
"""Lines that would do something."""


def list_others(lines: Iterable[str]) -> list[str]:
    """Return the lines that are not empty."""
    return [line for line in lines if line.strip()]
