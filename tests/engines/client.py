"""A docker command line that talks to one engine and shares no settings with the user's own."""

import os
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

INHERITED = (
    *("HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "TERM"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
)


@dataclass(frozen=True)
class CommandLine:
    """Where a docker command line finds its engine, its programs and its settings."""

    host: str
    folder: Path
    path: str

    def environment(self) -> dict[str, str]:
        """Return the environment of a process whose `docker` is to mean this engine."""
        basics = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return basics | {
            "PATH": self.path,
            "DOCKER_HOST": self.host,
            "DOCKER_CONFIG": str(self.folder / "docker"),
            "BUILDX_CONFIG": str(self.folder / "buildx"),
        }


def prepare_settings(folder: Path, buildx: Path | None = None) -> None:
    """Lay out settings of docker; `buildx` is the plugin to use instead of the installed one."""
    plugins = folder / "docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    (folder / "buildx").mkdir()
    if buildx:
        (plugins / "docker-buildx").symlink_to(buildx)


class DockerClient(ABC):
    """What a test needs of an engine, whoever started it."""

    @property
    @abstractmethod
    def command_line(self) -> CommandLine:
        """How to reach the engine."""

    @property
    def host(self) -> str:
        """The engine's address, as in DOCKER_HOST."""
        return self.command_line.host

    def environment(self) -> dict[str, str]:
        """Return the environment of a process whose `docker` is to mean this engine."""
        return self.command_line.environment()

    def docker(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002  named as in subprocess.run
        check: bool = True,
    ) -> "subprocess.CompletedProcess[str]":
        """Run docker and return its output; a failure's error text is part of the exception."""
        done = subprocess.run(
            ["docker", *arguments],
            env=self.environment(),
            input=input or "",
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if check and done.returncode:
            failure = subprocess.CalledProcessError(
                done.returncode, done.args, done.stdout, done.stderr
            )
            failure.add_note(done.stderr)
            raise failure
        return done
