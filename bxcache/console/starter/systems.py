"""The CI systems for which `bxcache init` writes a job."""

from __future__ import annotations

from msgspec import Struct

_REGISTRY = "registry.example.com"
"""What a person has to replace."""


class System(Struct, frozen=True):
    """A CI system for which a job is written.

    Attributes:
        label: its name for people.
        file: where it reads its jobs.
        template: of that file.
        registry: the registry that its jobs log in to; None where the cache is a local store.
        host: where a repository must be for the remote to name the image in that registry.
        elsewhere: stands for the registry of a repository on another host, if it is not `registry`.
    """

    label: str
    file: str
    template: str
    registry: str | None = None
    host: str | None = None
    elsewhere: str | None = None


SYSTEMS = {
    "github": System(
        "GitHub Actions", ".github/workflows/build.yml", "github.yml", "ghcr.io", "github.com"
    ),
    "github-files": System(
        "GitHub Actions without a registry", ".github/workflows/build.yml", "github-files.yml"
    ),
    "gitlab": System(
        "GitLab", ".gitlab-ci.yml", "gitlab.yml", "registry.gitlab.com", "gitlab.com", _REGISTRY
    ),
    "circleci": System("CircleCI", ".circleci/config.yml", "circleci.yml"),
    "buildkite": System("Buildkite", ".buildkite/pipeline.yml", "buildkite.yml", _REGISTRY),
    "jenkins": System("Jenkins", "Jenkinsfile", "jenkins.groovy"),
    "azure": System("Azure Pipelines", "azure-pipelines.yml", "azure.yml", _REGISTRY),
}
