"""What git says of a checkout.

https://git-scm.com/docs/git-symbolic-ref, https://git-scm.com/docs/git-for-each-ref
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bxcache.place.statement import Found
from bxcache.process import Answer, ask

Ask = Callable[[Sequence[str], Path], Answer]
"""Runs git with some arguments in a directory; raises OSError, or TimeoutError in time."""

_SECONDS = 5
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
    return ask(["git", *arguments], directory=directory, seconds=_SECONDS)


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
        tags = (self._read("tag", "--points-at", "HEAD") or "").splitlines()
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
        folder = self._directory.absolute()
        if any((parent / ".git").exists() for parent in (folder, *folder.parents)):
            return ("git does not read this checkout, though there is a .git",)
        return ()


def _explain_failure(error: OSError) -> tuple[str, ...]:
    """Why git could not be asked; that there is no git needs no words."""
    if isinstance(error, TimeoutError):
        return (f"git did not answer within {_SECONDS} seconds",)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ()
    return (f"git cannot be run: {error.strerror}",)
