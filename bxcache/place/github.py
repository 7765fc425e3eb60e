"""GitHub Actions, and Gitea and Forgejo, which set the same variables.

https://docs.github.com/en/actions/reference/workflows-and-actions/variables
https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from bxcache.place.events import Event, read_event
from bxcache.place.statement import (
    FORK,
    MAYBE_FORK,
    PUSH,
    Found,
    Statement,
    Verdict,
    compare,
    split_ref,
    strip_prefixes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.place.variables import Variables

_PULL_REQUESTS = frozenset(
    {
        "pull_request",
        "pull_request_target",
        "pull_request_review",
        "pull_request_review_comment",
    }
)
# These build a branch or tag that someone with write access pushed. What other events build is up
# to the workflow; many check out a pull request's commit.
_OWN = frozenset({"push", "schedule", "workflow_dispatch", "release", "create"})
# Events whose run can be judged by its head repository; for a pull request that is the fork.
_JUDGED_BY_HEAD = _OWN | {"pull_request", "merge_group"}
_GONE = Verdict(trusted=False, reason="a pull request from a deleted fork")
_COMMENT = Verdict(trusted=False, reason="a comment on a pull request, which may be from a fork")
_QUEUE = Verdict(trusted=True, reason="a merge queue of the repository")
_RUN = Verdict(trusted=True, reason="it follows a workflow of the same repository")
_FOREIGN_RUN = Verdict(trusted=False, reason="it follows a workflow of a fork")
_ANY_RUN = Verdict(trusted=False, reason="it follows a workflow that no trusted event started")
_ANY_EVENT = Verdict(trusted=False, reason="the event does not show whose code is built")
_REQUEST_REF = re.compile(r"refs/pull/(?P<number>[0-9]+)/[a-z]+")


def read_github(variables: Variables) -> Statement:
    """Read GitHub's variables and event.

    Trust depends on the event and, for a pull request, on the two repository names in the event
    file.
    """
    event = read_event(variables)
    statement = _read_kind(variables, event)
    doubts = (*statement.doubts, *_doubt_repository(variables, event))
    default = event.find("repository.default_branch")
    return replace(statement, default=default, doubts=doubts)


def _read_kind(variables: Variables, event: Event) -> Statement:
    name = variables.get("GITHUB_EVENT_NAME")
    if name in _PULL_REQUESTS:
        return _read_pull_request(variables, event)
    if name == "issue_comment":
        return _read_comment(variables, event)
    if name == "workflow_run":
        return _read_workflow_run(variables, event)
    if name == "merge_group":
        return _read_merge_group(variables, event)
    statement = _read_ref(variables, event)
    if name in _OWN:
        return statement
    if not name:
        doubts = (*statement.doubts, "GITHUB_EVENT_NAME is not set")
        return replace(statement, verdict=_ANY_EVENT, doubts=doubts)
    remark = "the event in GITHUB_EVENT_NAME does not show whose code is built"
    return replace(statement, verdict=_ANY_EVENT, remarks=(*statement.remarks, remark))


def _read_ref(variables: Variables, event: Event) -> Statement:
    """Read the branch or tag that the workflow runs on."""
    branch, tag = split_ref(variables.find("GITHUB_REF"))
    if not variables.get("GITHUB_REF"):
        name = variables.find("GITHUB_REF_NAME")
        kind = variables.get("GITHUB_REF_TYPE")
        branch, tag = (name if kind == "branch" else None), (name if kind == "tag" else None)
    return Statement(
        PUSH,
        branch=branch,
        tag=tag,
        doubts=tuple(_doubt_ref(variables, branch, tag)),
        remarks=(event.trouble,) if event.trouble else (),
    )


def _doubt_ref(variables: Variables, branch: Found | None, tag: Found | None) -> Iterator[str]:
    named = branch or tag
    if named and variables.get("GITHUB_REF_NAME") not in ("", named.value):
        yield "GITHUB_REF and GITHUB_REF_NAME contradict each other"
    if named and variables.get("GITHUB_REF_TYPE") not in ("", "branch" if branch else "tag"):
        yield "GITHUB_REF and GITHUB_REF_TYPE contradict each other"
    if _REQUEST_REF.fullmatch(variables.get("GITHUB_REF")):
        yield "GITHUB_REF is a pull request's, GITHUB_EVENT_NAME is not"
    yield from variables.find_stray("GITHUB_HEAD_REF", "GITHUB_BASE_REF")


def _doubt_repository(variables: Variables, event: Event) -> Iterator[str]:
    named, sent = variables.get("GITHUB_REPOSITORY"), event.get("repository.full_name")
    if named and sent and named.casefold() != sent.casefold():
        yield "GITHUB_REPOSITORY and the file of GITHUB_EVENT_PATH contradict each other"


def _read_pull_request(variables: Variables, event: Event) -> Statement:
    match = _REQUEST_REF.fullmatch(variables.get("GITHUB_REF"))
    number = Found(match["number"], "GITHUB_REF") if match else None
    head = event.find("pull_request.head.ref")
    base = event.find("pull_request.base.ref")
    return Statement(
        _judge_pull_request(event),
        branch=variables.find("GITHUB_HEAD_REF") or head,
        base=variables.find("GITHUB_BASE_REF") or base,
        pull_request=event.find("pull_request.number") or number,
        doubts=tuple(_doubt_pull_request(variables, event, number)),
    )


def _judge_pull_request(event: Event) -> Verdict:
    if event.is_null("pull_request.head.repo"):
        return _GONE
    head = event.get("pull_request.head.repo.full_name")
    return compare(head, event.get("repository.full_name"))


def _doubt_pull_request(variables: Variables, event: Event, number: Found | None) -> Iterator[str]:
    if event.trouble:
        yield event.trouble
    elif _judge_pull_request(event) is MAYBE_FORK:
        yield "the file of GITHUB_EVENT_PATH does not name the pull request's repositories"
    for name, path in (
        ("GITHUB_HEAD_REF", "pull_request.head.ref"),
        ("GITHUB_BASE_REF", "pull_request.base.ref"),
    ):
        if variables.get(name) and event.get(path) not in ("", variables.get(name)):
            yield f"{name} and the file of GITHUB_EVENT_PATH contradict each other"
    if number and event.get("pull_request.number") not in ("", number.value):
        yield "GITHUB_REF and the file of GITHUB_EVENT_PATH contradict each other"
    if not number and not event.find("pull_request.number"):
        yield "the pull request's number is missing"


def _read_comment(variables: Variables, event: Event) -> Statement:
    """Read a comment on an issue or a pull request; GitHub treats a pull request as an issue."""
    statement = _read_ref(variables, event)
    if event.trouble:
        doubts = (*statement.doubts, event.trouble)
        return replace(statement, verdict=_COMMENT, doubts=doubts, remarks=())
    if not isinstance(event.look_up("issue"), dict):
        doubt = "the file of GITHUB_EVENT_PATH does not name the issue of the comment"
        return replace(statement, verdict=_COMMENT, doubts=(*statement.doubts, doubt))
    if event.look_up("issue.pull_request") is None:
        return statement
    return replace(statement, verdict=_COMMENT, pull_request=event.find("issue.number"))


def _read_workflow_run(variables: Variables, event: Event) -> Statement:
    """Read a workflow started by another workflow; it always runs on the default branch.

    It is trusted if the run that started it was, judged by that run's event and head repository.
    """
    statement = _read_ref(variables, event)
    verdict = compare(
        event.get("workflow_run.head_repository.full_name"), event.get("repository.full_name")
    )
    started_by = event.get("workflow_run.event")
    if verdict is MAYBE_FORK or not started_by:
        missing = "the head repository" if verdict is MAYBE_FORK else "the event that started it"
        doubt = event.trouble or f"the file of GITHUB_EVENT_PATH does not name {missing}"
        doubts = (*statement.doubts, doubt)
        return replace(statement, verdict=_FOREIGN_RUN, doubts=doubts, remarks=())
    head, branch = event.get("workflow_run.head_branch"), statement.branch
    remarks = ("GITHUB_REF is not the branch of the workflow that started this one",)
    own = _RUN if started_by in _JUDGED_BY_HEAD else _ANY_RUN
    return replace(
        statement,
        verdict=_FOREIGN_RUN if verdict is FORK else own,
        remarks=remarks if branch and head not in ("", branch.value) else (),
    )


def _read_merge_group(variables: Variables, event: Event) -> Statement:
    """Read a merge queue's trial merge, which starts only after a maintainer approves."""
    statement = _read_ref(variables, event)
    base = strip_prefixes(event.find("merge_group.base_ref"), "refs/heads/")
    doubts = () if base else (event.trouble or "the merge queue's base branch is missing",)
    return replace(
        statement, verdict=_QUEUE, base=base, doubts=(*statement.doubts, *doubts), remarks=()
    )
