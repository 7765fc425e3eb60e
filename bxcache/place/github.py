"""GitHub Actions, and Gitea and Forgejo, which set the same variables.

https://docs.github.com/en/actions/reference/workflows-and-actions/variables
https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows
https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from bxcache.place.statement import (
    ANY_EVENT,
    FORK,
    MAYBE_FORK,
    PUSH,
    Found,
    Statement,
    Verdict,
    compare,
    read_file,
    split_ref,
    strip_prefixes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.place.statement import Variables

_FILE = "GITHUB_EVENT_PATH"
_PULL_REQUESTS = frozenset(
    {"pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment"}
)
# These build a branch or tag that someone with write access pushed. What other events build is up
# to the workflow; many check out a pull request's commit.
_OWN = frozenset({"push", "schedule", "workflow_dispatch", "release", "create"})
# Events whose run can be judged by its head repository; for a pull request that is the fork.
_JUDGED_BY_HEAD = _OWN | {"pull_request", "merge_group"}
_GONE = Verdict(trusted=False, reason="a pull request from a deleted fork", is_fork=True)
_COMMENT = Verdict(trusted=False, reason="a comment on a pull request, which may be from a fork")
_QUEUE = Verdict(trusted=True, reason="a merge queue of the repository")
_RUN = Verdict(trusted=True, reason="it follows a workflow of the same repository")
_FOREIGN_RUN = Verdict(trusted=False, reason="it follows a workflow of a fork", is_fork=True)
_ANY_RUN = Verdict(trusted=False, reason="it follows a workflow that no trusted event started")
_REQUEST_REF = re.compile(r"refs/pull/(?P<number>[0-9]+)/[a-z]+")


class _Event(Struct, frozen=True):
    """The event that started a workflow; empty, with the trouble, if it could not be read."""

    document: dict[str, Any] = field(default_factory=dict)
    trouble: str | None = None

    def look_up(self, path: str) -> object:
        """Return the value at a dotted path, or None."""
        value: object = self.document
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def find(self, path: str) -> Found | None:
        """Return the string or integer at a dotted path, or None."""
        value = self.look_up(path)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            return None
        return Found(str(value), f"{path} in {_FILE}")

    def get(self, path: str) -> str | None:
        """Return the text at a dotted path, or None."""
        found = self.find(path)
        return found.value if found else None


def _read_event(variables: Variables) -> _Event:
    import json  # noqa: PLC0415

    path = variables.get(_FILE)
    if path is None:
        return _Event(trouble=f"{_FILE} is not set")
    try:
        document = json.loads(read_file(path))
    except OSError as error:
        return _Event(trouble=f"the file of {_FILE} cannot be read: {error.strerror}")
    except (ValueError, RecursionError, MemoryError):
        return _Event(trouble=f"the file of {_FILE} is not an event: not JSON, or too large")
    if not isinstance(document, dict):
        return _Event(trouble=f"the file of {_FILE} is not an event: not a JSON object")
    return _Event(document)


def read_github(variables: Variables) -> Statement:
    """Read GitHub's variables and event; trust depends on the event and the repositories in it."""
    event = _read_event(variables)
    statement = _read_kind(variables, event)
    doubts = statement.doubts
    named, sent = variables.get("GITHUB_REPOSITORY"), event.get("repository.full_name")
    if named and sent and named.casefold() != sent.casefold():
        doubts = (*doubts, f"GITHUB_REPOSITORY and the file of {_FILE} contradict each other")
    return replace(statement, default=event.find("repository.default_branch"), doubts=doubts)


def _read_kind(variables: Variables, event: _Event) -> Statement:
    name = variables.get("GITHUB_EVENT_NAME")
    if name in _PULL_REQUESTS:
        return _read_pull_request(variables, event)
    if name == "issue_comment":
        return _read_comment(variables, event)
    if name == "workflow_run":
        return _read_workflow_run(variables, event)
    if name == "merge_group":
        return _read_merge_group(variables, event)
    remarks = (event.trouble,) if event.trouble else ()
    if name in _OWN:
        return _read_ref(variables, PUSH, remarks=remarks)
    if name is None:
        return _read_ref(variables, ANY_EVENT, "GITHUB_EVENT_NAME is not set", remarks=remarks)
    remark = "the event in GITHUB_EVENT_NAME does not show whose code is built"
    return _read_ref(variables, ANY_EVENT, remarks=(*remarks, remark))


def _read_ref(
    variables: Variables, verdict: Verdict, *doubts: str, remarks: tuple[str, ...] = ()
) -> Statement:
    """Read the branch or tag that the workflow runs on."""
    branch, tag = split_ref(variables.find("GITHUB_REF"))
    if not variables.get("GITHUB_REF"):
        name = variables.find("GITHUB_REF_NAME")
        kind = variables.get("GITHUB_REF_TYPE")
        branch, tag = (name if kind == "branch" else None), (name if kind == "tag" else None)
    doubts = (*_doubt_ref(variables, branch, tag), *doubts)
    return Statement(verdict, branch=branch, tag=tag, doubts=doubts, remarks=remarks)


def _doubt_ref(variables: Variables, branch: Found | None, tag: Found | None) -> Iterator[str]:
    named = branch or tag
    if named and variables.differs("GITHUB_REF_NAME", named.value):
        yield "GITHUB_REF and GITHUB_REF_NAME contradict each other"
    if named and variables.differs("GITHUB_REF_TYPE", "branch" if branch else "tag"):
        yield "GITHUB_REF and GITHUB_REF_TYPE contradict each other"
    if _find_number(variables):
        yield "GITHUB_REF is a pull request's, GITHUB_EVENT_NAME is not"
    yield from variables.find_stray("GITHUB_HEAD_REF", "GITHUB_BASE_REF")


def _find_number(variables: Variables) -> Found | None:
    match = _REQUEST_REF.fullmatch(variables.get("GITHUB_REF") or "")
    return Found(match["number"], "GITHUB_REF") if match else None


def _read_pull_request(variables: Variables, event: _Event) -> Statement:
    verdict, number = _judge_pull_request(event), _find_number(variables)
    return Statement(
        verdict,
        branch=variables.find("GITHUB_HEAD_REF") or event.find("pull_request.head.ref"),
        base=variables.find("GITHUB_BASE_REF") or event.find("pull_request.base.ref"),
        pull_request=event.find("pull_request.number") or number,
        doubts=tuple(_doubt_pull_request(variables, event, verdict, number)),
    )


def _judge_pull_request(event: _Event) -> Verdict:
    head = event.look_up("pull_request.head")
    if isinstance(head, dict) and head.get("repo", ...) is None:
        return _GONE
    return compare(event.get("pull_request.head.repo.full_name"), event.get("repository.full_name"))


def _doubt_pull_request(
    variables: Variables, event: _Event, verdict: Verdict, number: Found | None
) -> Iterator[str]:
    if event.trouble:
        yield event.trouble
    elif verdict is MAYBE_FORK:
        yield f"the file of {_FILE} does not name the pull request's repositories"
    for name, path in (("GITHUB_HEAD_REF", "head.ref"), ("GITHUB_BASE_REF", "base.ref")):
        value = event.get(f"pull_request.{path}")
        if value and variables.differs(name, value):
            yield f"{name} and the file of {_FILE} contradict each other"
    known = event.get("pull_request.number")
    if number and known not in (None, number.value):
        yield f"GITHUB_REF and the file of {_FILE} contradict each other"
    if not number and not known:
        yield "the pull request's number is missing"


def _read_comment(variables: Variables, event: _Event) -> Statement:
    """Read a comment on an issue or a pull request; GitHub treats a pull request as an issue."""
    if not isinstance(event.look_up("issue"), dict):
        doubt = event.trouble or f"the file of {_FILE} does not name the issue of the comment"
        return _read_ref(variables, _COMMENT, doubt)
    if event.look_up("issue.pull_request") is None:
        return _read_ref(variables, PUSH)
    return replace(_read_ref(variables, _COMMENT), pull_request=event.find("issue.number"))


def _read_workflow_run(variables: Variables, event: _Event) -> Statement:
    """Read a workflow started by another one, as trusted as that; it runs on the default branch."""
    verdict = compare(
        event.get("workflow_run.head_repository.full_name"), event.get("repository.full_name")
    )
    started_by = event.get("workflow_run.event")
    if verdict is MAYBE_FORK or not started_by:
        missing = "the head repository" if verdict is MAYBE_FORK else "the event that started it"
        doubt = event.trouble or f"the file of {_FILE} does not name {missing}"
        return _read_ref(variables, _FOREIGN_RUN, doubt)
    own = _RUN if started_by in _JUDGED_BY_HEAD else _ANY_RUN
    statement = _read_ref(variables, _FOREIGN_RUN if verdict is FORK else own)
    head, branch = event.get("workflow_run.head_branch"), statement.branch
    if not branch or head in (None, branch.value):
        return statement
    remark = "GITHUB_REF is not the branch of the workflow that started this one"
    return replace(statement, remarks=(remark,))


def _read_merge_group(variables: Variables, event: _Event) -> Statement:
    """Read a merge queue's trial merge, which starts only after a maintainer approves."""
    base = strip_prefixes(event.find("merge_group.base_ref"), "refs/heads/")
    doubts = () if base else (event.trouble or "the merge queue's base branch is missing",)
    return replace(_read_ref(variables, _QUEUE, *doubts), base=base)
