"""Tests of what the doctor says about cache services."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bxcache
from bxcache.backends.finding import Finding, Status
from bxcache.backends.service import explain_docker
from bxcache.backends.service_findings import judge_service
from bxcache.buildx.capabilities import Builder, Capabilities
from bxcache.errors import Trouble
from bxcache.services.faults import ServiceError

OK, ERROR = Status.OK, Status.ERROR


class Bucket:
    """A service that has no scope, or that fails."""

    def __init__(
        self, trouble: Trouble | None = None, credentials: str = "AWS_ACCESS_KEY_ID"
    ) -> None:
        self.name, self.credentials, self.trouble = "s3://b/", credentials, trouble

    def read(self, scope: str) -> None:
        if self.trouble is not None:
            raise ServiceError(self.name, f"looking up {scope}", "it said no", trouble=self.trouble)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # nothing else is asked
        raise AssertionError(name)


def judge(bucket: Bucket | ServiceError, refusal: str = "") -> dict[str, Finding]:
    return {each.check: each for each in judge_service("s3://b/", refusal, bucket)}


def test_a_service_that_answers_is_fine() -> None:
    """The variable that the credentials come from is named, or that there are none."""
    found = judge(Bucket())
    assert {check: each.status for check, each in found.items()} == {"login": OK, "service": OK}
    assert found["login"].found == "credentials for s3://b/: from AWS_ACCESS_KEY_ID"
    assert "none, so requests are anonymous" in judge(Bucket(credentials=""))["login"].found


@pytest.mark.parametrize("trouble", Trouble)
def test_a_service_that_fails_is_an_error(trouble: Trouble) -> None:
    """Each kind of failure has its cause, why it matters and a remedy."""
    found = judge(Bucket(trouble))["service"]
    assert (found.status, found.found) == (ERROR, "s3://b/: it said no")
    assert found.why
    assert found.remedy


def test_a_service_that_cannot_be_opened_is_an_error() -> None:
    """Nothing is asked of a service whose settings are incomplete."""
    error = ServiceError("s3://b/", "opening it", "its region is unknown", trouble=Trouble.REFUSED)
    (found,) = judge(error).values()
    assert (found.check, found.status) == ("service", ERROR)
    assert "its region is unknown" in found.found


def test_a_builder_without_the_service_is_an_error() -> None:
    """Docker's own builder has no S3; the remedy is to create one that has."""
    own = Capabilities("28", "28", "linux/amd64", Builder("default", "docker"))
    found = judge(Bucket(), explain_docker(own, "s3") or "")["export"]
    assert found.found == "docker's own builder has no `s3` caches"
    assert "bxcache.bring_up_builder()" in found.remedy


def test_gha_outside_of_github_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop without GitHub's service has nothing to mend."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "bxcache.toml").write_text('[[cache.backends]]\ntype = "gha"\n')
    found = [e for e in bxcache.diagnose(directory=tmp_path).findings if e.check == "service"]
    assert [each.status for each in found] == [OK]
    assert "not a job of GitHub Actions" in found[0].found
