"""The branches and tags of a git remote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.errors import PlaceError
from bxcache.place.repository import run_git
from bxcache.redaction import mask_url

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = 60.0
_HEADS, _TAGS = "refs/heads/", "refs/tags/"
_HINT = "`git ls-remote --heads --tags {remote}` shows the full error; `--remote` names another"


@dataclass(frozen=True, slots=True)
class RemoteRefs:
    """The branches and tags of a remote, by their short names."""

    branches: frozenset[str]
    tags: frozenset[str]


def list_remote(directory: Path, remote: str) -> RemoteRefs:
    """List a remote's branches and tags. A clone knows only what it fetched, often one branch.

    Args:
        directory: the working directory.
        remote: a remote's name, or a URL.

    Raises:
        PlaceError: git fails, or the remote has no branches.
    """
    hint = _HINT.format(remote=mask_url(remote))
    # Without `--`, a remote that begins with a dash would be an option.
    words = ("ls-remote", "--heads", "--tags", "--refs", "--", remote)
    try:
        answer = run_git(words, directory, seconds=_SECONDS)
    except TimeoutError as error:
        raise PlaceError(f"git did not answer within {_SECONDS:.0f} s", hint=hint) from error
    except OSError as error:
        raise PlaceError("cannot list the remote's branches: there is no `git` on PATH") from error
    if answer.status != 0:
        said = mask_url(" ".join(answer.stderr.split())) or f"exit status {answer.status}"
        raise PlaceError(f"git cannot list the remote's branches: {said}", hint=hint)
    names = [line.partition("\t")[2] for line in answer.stdout.splitlines()]
    refs = RemoteRefs(
        frozenset(name.removeprefix(_HEADS) for name in names if name.startswith(_HEADS)),
        frozenset(name.removeprefix(_TAGS) for name in names if name.startswith(_TAGS)),
    )
    if not refs.branches:
        raise PlaceError("the git remote has no branches; refusing to remove anything", hint=hint)
    return refs
