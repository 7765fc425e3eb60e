"""What git says of a checkout.

https://git-scm.com/docs/git-symbolic-ref, https://git-scm.com/docs/git-for-each-ref

Whoever wrote the files of a checkout does not decide what git says, nor what it runs. A folder
among them can look like a bare repository, so only one with a `.git`, which git never checks out,
is a checkout here: git before 2.38 does not know `safe.bareRepository`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bxcache.place.statement import Found
from bxcache.process import Answer, ask

Ask = Callable[[Sequence[str], Path], Answer]
"""Runs git with some arguments in a directory; raises OSError, or TimeoutError in time."""

_SECONDS = 5
_COMMAND = (
    *("git", "--no-pager", "--no-optional-locks"),
    *("-c", "safe.bareRepository=explicit"),
    *("-c", "core.fsmonitor=false"),
    *("-c", f"core.hooksPath={os.devnull}"),
)
_NO_REPOSITORY = {"GIT_DIR": os.devnull}
_NO_TRANSPORT = {"GIT_ALLOW_PROTOCOL": ""}
"""Nothing is fetched, by no program that a repository's settings name: git looks in a promisor
remote for an object that is not there (https://git-scm.com/docs/partial-clone)."""
_DETACHED = 1
_ORIGIN_HEAD = "refs/remotes/origin/HEAD"
_USUAL = (
    "refs/remotes/origin/main",
    "refs/remotes/origin/master",
    "refs/heads/main",
    "refs/heads/master",
)


def ask_git(arguments: Sequence[str], directory: Path) -> Answer:
    """Run git.

    Raises:
        OSError: there is no git, or no such directory.
        TimeoutError: it did not end in five seconds.
    """
    return run_git(arguments, directory, seconds=_SECONDS, variables=_NO_TRANSPORT)


def run_git(
    arguments: Sequence[str],
    directory: Path,
    *,
    seconds: float,
    variables: Mapping[str, str] | None = None,
) -> Answer:
    """Run git for the checkout around a folder, or for none where there is no checkout.

    `GIT_DIR` in the environment names another repository, as for git itself.

    Raises:
        OSError: there is no git, or no such directory.
        TimeoutError: it did not end in time.
    """
    known = dict(variables or {})
    if "GIT_DIR" not in os.environ:
        checkout = _find_checkout(directory)
        known |= _NO_REPOSITORY if checkout is None else {}
        directory = checkout or directory
    return ask((*_COMMAND, *arguments), variables=known, directory=directory, seconds=seconds)


def _find_checkout(directory: Path) -> Path | None:
    folder = directory.absolute()
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)


class Repository:
    """A checkout, asked as little as possible.

    Attributes:
        is_there: whether git answered as for a repository; None before anything was asked.
        notes: what went wrong with asking, where that is a surprise.
    """

    def __init__(self, directory: Path, ask: Ask = ask_git) -> None:
        self._directory = directory
        self._ask = ask
        self.is_there: bool | None = None
        self.notes: list[str] = []

    def find_branch(self) -> Found | None:
        """The branch of HEAD, also one without a commit; None when HEAD is detached."""
        # Not `--short`, which lengthens a name that a tag has too.
        ref = self._read("symbolic-ref", "--quiet", "HEAD", fine=_DETACHED)
        name = (ref or "").removeprefix("refs/heads/")
        return Found(name, "HEAD of git") if name else None

    def find_tag(self) -> Found | None:
        """The tag of HEAD, if exactly one points to it."""
        # Not `tag`, which lists them as the user's settings want it.
        pattern = "--format=%(refname:strip=2)"
        listed = self._read("for-each-ref", "--points-at=HEAD", pattern, "refs/tags")
        tags = (listed or "").splitlines()
        return Found(tags[0], "tags at HEAD of git") if len(tags) == 1 else None

    def find_default(self) -> Found | None:
        """The default branch: the remote's HEAD, or else the one with a usual name."""
        pattern = "--format=%(refname) %(symref)"
        text = self._read("for-each-ref", pattern, _ORIGIN_HEAD, *_USUAL) or ""
        refs = dict(line.partition(" ")[::2] for line in text.splitlines())
        head = refs.get(_ORIGIN_HEAD, "").removeprefix("refs/remotes/origin/")
        if head:
            return Found(head, _ORIGIN_HEAD)
        return next((Found(ref.rpartition("/")[2], ref) for ref in _USUAL if ref in refs), None)

    def _read(self, *arguments: str, fine: int = 0) -> str | None:
        """What git prints; None when it says nothing or cannot be asked."""
        if self.is_there is False:
            return None
        try:
            answer = self._ask(arguments, self._directory)
        except OSError as error:
            self.is_there = False
            self.notes += _explain_failure(error)
            return None
        self.is_there = answer.status in (0, fine)
        if not self.is_there:
            self.notes += self._explain_refusal(answer)
        return answer.stdout.rstrip("\n") if answer.status == 0 else None

    def _explain_refusal(self, answer: Answer) -> tuple[str, ...]:
        """Why git refused. Its words are in the user's language; the setting's name is not."""
        if "safe.directory" in answer.stderr:
            return ("git does not read this checkout: it belongs to another user (safe.directory)",)
        if _find_checkout(self._directory) is not None:
            return ("git does not read this checkout, though there is a .git",)
        return ()


def _explain_failure(error: OSError) -> tuple[str, ...]:
    """Why git could not be asked; that there is no git needs no words."""
    if isinstance(error, TimeoutError):
        return (f"git did not answer within {_SECONDS} seconds",)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ()
    return (f"git cannot be run: {error.strerror}",)
