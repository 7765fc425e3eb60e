"""Git's view of a checkout and of its remote.

https://git-scm.com/docs/git-symbolic-ref, https://git-scm.com/docs/git-for-each-ref

The author of a checkout's files must not control what git reports or runs. A folder among them can
look like a bare repository. So only a folder with a `.git`, which git never checks out, counts as a
checkout: git before 2.38 does not know `safe.bareRepository`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from bxcache.config.discovery import find_root
from bxcache.errors import PlaceError
from bxcache.place.statement import Found
from bxcache.process import Answer, ask
from bxcache.redaction import mask_url

Ask = Callable[[Sequence[str], Path], Answer]
"""Runs git with arguments in a directory; raises OSError, or TimeoutError if git hangs."""

_SECONDS = 5
_REMOTE_SECONDS = 60.0
_HINT = "`git ls-remote --heads --tags {remote}` shows the full error; `--remote` names another"
_COMMAND = (
    *("git", "--no-pager", "--no-optional-locks"),
    *("-c", "safe.bareRepository=explicit"),
    *("-c", "core.fsmonitor=false"),
    *("-c", f"core.hooksPath={os.devnull}"),
)
_NO_REPOSITORY = {"GIT_DIR": os.devnull}
_NO_TRANSPORT = {"GIT_ALLOW_PROTOCOL": ""}
"""Prevents fetching, and the programs that a repository's settings name for it: git would fetch a
missing object from a promisor remote (https://git-scm.com/docs/partial-clone)."""
_DETACHED = 1
_ORIGIN_HEAD = "refs/remotes/origin/HEAD"
_USUAL = (
    "refs/remotes/origin/main",
    "refs/remotes/origin/master",
    "refs/heads/main",
    "refs/heads/master",
)


def ask_git(arguments: Sequence[str], directory: Path) -> Answer:
    """Run git with a short time limit; the usual `Ask`."""
    return _run_git(arguments, directory, _SECONDS, _NO_TRANSPORT)


def _run_git(
    arguments: Sequence[str], directory: Path, seconds: float, variables: Mapping[str, str]
) -> Answer:
    """Run git in the checkout around a folder, or without a repository if there is no checkout."""
    # `GIT_DIR` in the environment names another repository, as for git itself.
    if "GIT_DIR" not in os.environ:
        checkout = find_root(directory.absolute())
        variables = variables if checkout else {**variables, **_NO_REPOSITORY}
        directory = checkout or directory
    return ask((*_COMMAND, *arguments), variables=variables, directory=directory, seconds=seconds)


class Repository:
    """A checkout. It runs git as rarely as possible.

    Attributes:
        is_there: whether git found a repository; None before git ran.
        notes: unexpected errors of git.
    """

    def __init__(self, directory: Path, ask: Ask = ask_git) -> None:
        self._directory = directory
        self._ask = ask
        self.is_there: bool | None = None
        self.notes: list[str] = []

    def find_branch(self) -> Found | None:
        """Find the branch of HEAD, even without a commit; None if HEAD is detached."""
        # Not `--short`, which lengthens a name that a tag shares.
        ref = self._read("symbolic-ref", "--quiet", "HEAD", fine=_DETACHED)
        name = (ref or "").removeprefix("refs/heads/")
        return Found(name, "HEAD of git") if name else None

    def find_tag(self) -> Found | None:
        """Find the tag of HEAD, if exactly one points to it."""
        # Not `tag`, whose output depends on the user's settings.
        pattern = "--format=%(refname:strip=2)"
        listed = self._read("for-each-ref", "--points-at=HEAD", pattern, "refs/tags")
        tags = (listed or "").splitlines()
        return Found(tags[0], "tags at HEAD of git") if len(tags) == 1 else None

    def find_default(self) -> Found | None:
        """Find the default branch: the remote's HEAD, or else a branch with a usual name."""
        pattern = "--format=%(refname) %(symref)"
        text = self._read("for-each-ref", pattern, _ORIGIN_HEAD, *_USUAL) or ""
        refs = dict(line.partition(" ")[::2] for line in text.splitlines())
        head = refs.get(_ORIGIN_HEAD, "").removeprefix("refs/remotes/origin/")
        if head:
            return Found(head, _ORIGIN_HEAD)
        return next((Found(ref.rpartition("/")[2], ref) for ref in _USUAL if ref in refs), None)

    def find_commit(self) -> str | None:
        """Find the full hash of the commit at HEAD; None if there is no commit."""
        return self._read("rev-parse", "--verify", "--quiet", "HEAD", fine=_DETACHED) or None

    def find_remote(self) -> str | None:
        """Find the URL of the remote `origin`, as its settings have it."""
        return self._read("config", "--get", "remote.origin.url", fine=_DETACHED) or None

    def _read(self, *arguments: str, fine: int = 0) -> str | None:
        """Return git's output; None if git reports nothing or cannot run."""
        if self.is_there is False:
            return None
        try:
            answer = self._ask(arguments, self._directory)
        except OSError as error:
            self.is_there = False
            if isinstance(error, TimeoutError):
                self.notes.append(f"git did not answer within {_SECONDS} seconds")
            elif not isinstance(error, FileNotFoundError | NotADirectoryError):
                self.notes.append(f"git cannot be run: {error.strerror}")
            return None
        self.is_there = answer.status in (0, fine)
        # Git's messages are localized; the setting's name is not.
        if not self.is_there and "safe.directory" in answer.stderr:
            note = "git cannot read this checkout: it belongs to another user (safe.directory)"
            self.notes.append(note)
        elif not self.is_there and find_root(self._directory.absolute()):
            self.notes.append("git cannot read this checkout, although it has a .git")
        return answer.stdout.rstrip("\n") if answer.status == 0 else None


class RemoteRefs(Struct, frozen=True):
    """The branches and tags of a remote, by their short names."""

    branches: frozenset[str]
    tags: frozenset[str]


def list_remote(directory: Path, remote: str) -> RemoteRefs:
    """List the branches and tags of a remote, given by name or URL.

    A clone knows only what it fetched, often one branch.

    Raises:
        PlaceError: git fails, or the remote has no branches.
    """
    hint = _HINT.format(remote=mask_url(remote))
    # Without `--`, a remote that begins with a dash would be an option.
    words = ("ls-remote", "--heads", "--tags", "--refs", "--", remote)
    try:
        answer = _run_git(words, directory, _REMOTE_SECONDS, {})
    except TimeoutError as error:
        raise PlaceError(f"git did not answer within {_REMOTE_SECONDS:.0f} s", hint=hint) from error
    except OSError as error:
        raise PlaceError("cannot list the remote's branches: there is no `git` on PATH") from error
    if answer.status != 0:
        said = _find_cause(answer.stderr) or f"exit status {answer.status}"
        raise PlaceError(f"git cannot list the remote's branches: {said}", hint=hint)
    names = [line.partition("\t")[2] for line in answer.stdout.splitlines()]
    branches, tags = (
        frozenset(name.removeprefix(prefix) for name in names if name.startswith(prefix))
        for prefix in ("refs/heads/", "refs/tags/")
    )
    if not branches:
        raise PlaceError("the git remote has no branches; refusing to remove anything", hint=hint)
    return RemoteRefs(branches, tags)


def _find_cause(stderr: str) -> str:
    """Git's lines up to the first fatal one, as one; general advice follows that."""
    lines = [line.strip().rstrip(".") for line in stderr.splitlines() if line.strip()]
    fatal = next((n for n, line in enumerate(lines) if line.startswith("fatal:")), len(lines))
    return mask_url("; ".join(lines[: fatal + 1]))
