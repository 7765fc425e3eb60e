"""Tests that a build started by another build has that build's trust."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bxcache.place.place import read_place
from tests.unit.places.recordings import Recording, make_clone, read_recording, read_recordings

if TYPE_CHECKING:
    from pathlib import Path

# The events that start a workflow:
# https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows
# A pull request's run has the fork as its head repository. Anybody can cause the untrusted events,
# or these leave the choice of the code to the workflow.
EVENTS = {
    **dict.fromkeys(("push", "schedule", "workflow_dispatch", "release", "create"), True),
    **dict.fromkeys(("pull_request", "merge_group"), True),
    **dict.fromkeys(("issue_comment", "pull_request_target", "repository_dispatch"), False),
    **dict.fromkeys(("pull_request_review", "pull_request_review_comment", "issues"), False),
    **dict.fromkeys(("workflow_run", "discussion", "fork", "watch", "deployment", ""), False),
}


def find(provider: str, name: str) -> Recording:
    return next(each for each in read_recordings(provider) if name in each.name)


@pytest.mark.parametrize("head", ["acme/shop", "eve/shop"])
@pytest.mark.parametrize("event", EVENTS)
def test_a_workflow_that_follows_another_is_judged_by_its_event(
    event: str, head: str, tmp_path: Path
) -> None:
    """Trust depends on the first workflow's event and on its head repository."""
    variables = find("github", "after a workflow of the repository").write(tmp_path)
    file = tmp_path / "event"
    document = json.loads(file.read_text())
    document["workflow_run"] |= {"event": event}
    document["workflow_run"]["head_repository"]["full_name"] = head
    file.write_text(json.dumps(document))
    place = read_place(variables, tmp_path, ask_git=make_clone())
    assert place.trusted is (EVENTS[event] and head == "acme/shop")


STARTED = [
    # https://docs.gitlab.com/ci/jobs/job_rules/#ci_pipeline_source-predefined-variable
    *(("gitlab", {"CI_PIPELINE_SOURCE": source}, False) for source in ("pipeline", "trigger")),
    *(
        ("gitlab", {"CI_PIPELINE_SOURCE": source}, True)
        for source in ("push", "web", "schedule", "api", "parent_pipeline")
    ),
    # https://buildkite.com/docs/pipelines/configure/environment-variables
    ("buildkite", {"BUILDKITE_SOURCE": "trigger_job"}, False),
    ("buildkite", {"BUILDKITE_TRIGGERED_FROM_BUILD_ID": "01890b"}, False),
    ("buildkite", {"BUILDKITE_SOURCE": "schedule"}, True),
    # https://learn.microsoft.com/en-us/azure/devops/pipelines/build/variables
    ("azure", {"BUILD_REASON": "BuildCompletion"}, False),
    ("azure", {"BUILD_REASON": "ResourceTrigger"}, False),
    ("azure", {"BUILD_TRIGGEREDBY_BUILDID": "12"}, False),
    ("azure", {"BUILD_REASON": "Schedule"}, True),
    # https://plugins.jenkins.io/envinject/
    ("jenkins", {"BUILD_CAUSE_UPSTREAMTRIGGER": "true"}, False),
    ("jenkins", {"BUILD_CAUSE_TIMERTRIGGER": "true"}, True),
]


@pytest.mark.parametrize(("provider", "variables", "trusted"), STARTED, ids=str)
def test_a_branch_that_another_build_named_is_not_trusted(
    provider: str,
    variables: dict[str, str],
    trusted: bool,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    """Only builds by GitLab's child pipelines keep trust, since another build may be a fork's."""
    environment = {**read_recording(provider).write(tmp_path), **variables}
    assert read_place(environment, tmp_path, ask_git=make_clone()).trusted is trusted
