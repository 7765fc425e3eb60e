"""A repository as a CI system presents it to a build: variables, and a file with the event."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypedDict, Unpack

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Variables(TypedDict, total=False):
    """The variables of GitHub Actions in a build's environment, as far as they matter here."""

    CI: str
    GITHUB_ACTIONS: str
    GITHUB_REPOSITORY: str
    GITHUB_EVENT_PATH: str
    GITHUB_EVENT_NAME: str
    GITHUB_REF: str
    GITHUB_REF_NAME: str
    GITHUB_REF_TYPE: str
    GITHUB_HEAD_REF: str
    GITHUB_BASE_REF: str


OWN, FORK = "acme/app", "stranger/app"


def push(branch: str, folder: Path) -> Variables:
    """Return the variables of a push in GitHub Actions."""
    event = {
        "repository": {"full_name": OWN, "default_branch": "main"},
        "ref": f"refs/heads/{branch}",
    }
    return _tell(
        folder,
        event,
        GITHUB_EVENT_NAME="push",
        GITHUB_REF=f"refs/heads/{branch}",
        GITHUB_REF_NAME=branch,
        GITHUB_REF_TYPE="branch",
    )


def pull(branch: str, folder: Path, *, head: str = OWN, base: str = "main") -> Variables:
    """Return the variables of a pull request; `head` is the repository that it comes from."""
    event = {
        "number": 7,
        "repository": {"full_name": OWN, "default_branch": "main"},
        "pull_request": {
            "number": 7,
            "head": {"ref": branch, "repo": {"full_name": head, "fork": head != OWN}},
            "base": {"ref": base, "repo": {"full_name": OWN, "fork": False}},
        },
    }
    return _tell(
        folder,
        event,
        GITHUB_EVENT_NAME="pull_request",
        GITHUB_REF="refs/pull/7/merge",
        GITHUB_REF_NAME="7/merge",
        GITHUB_REF_TYPE="branch",
        GITHUB_HEAD_REF=branch,
        GITHUB_BASE_REF=base,
    )


def _tell(folder: Path, event: Mapping[str, object], **variables: Unpack[Variables]) -> Variables:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "event.json"
    path.write_text(json.dumps(event))
    known: Variables = {"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": OWN}
    return {**known, "GITHUB_EVENT_PATH": str(path), **variables}
