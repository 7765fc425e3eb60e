"""Docker engines: private ones started for a test, or one that is running already."""

import atexit
import http.client
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Self

from tests.engines.client import CommandLine, DockerClient, prepare_settings
from tests.engines.confinement import directly, isolated, lay_out_etc
from tests.engines.errors import EngineError
from tests.engines.packages import Toolset, ensure_suite
from tests.engines.servers import Launch, Server, Service

ETC = "etc"
_LATE = "timeout waiting for containerd to start"


class Engine(DockerClient, Service[CommandLine]):
    """A Docker engine of its own, empty at the start and gone without a trace at the end."""

    def __init__(
        self,
        suite: str = "forky",
        *,
        containerd_store: bool = True,
        hosts: Mapping[str, str] | None = None,
        certificates: Mapping[str, Path] | None = None,
    ) -> None:
        """Choose the engine's Debian suite, its image store, and the hosts that it knows.

        Args:
            suite: the suite.
            containerd_store: whether the image store is containerd's.
            hosts: addresses by the names that only this engine knows them under.
            certificates: the authority's certificate for each registry, by host and port.
        """
        self.suite = suite
        self.containerd_store = containerd_store
        self.hosts = dict(hosts or {})
        self.certificates = dict(certificates or {})

    @property
    def tools(self) -> Toolset:
        """The programs the engine is made of."""
        return ensure_suite(self.suite)

    @property
    def command_line(self) -> CommandLine:
        """How to reach the engine."""
        return self.running[1]

    @property
    def folder(self) -> Path:
        """The engine's own folder, removed when it stops."""
        return self.command_line.folder

    @property
    def etc(self) -> Path | None:
        """The files that the engine sees in /etc, if there are any."""
        return self.folder / ETC if self.hosts or self.certificates else None

    @property
    def process(self) -> int:
        """The process below which the engine and all that it runs are."""
        return self.running[0].process

    @property
    def socket(self) -> Path:
        """The engine's unix socket."""
        return Path(self.host.removeprefix("unix://"))

    def start(self) -> Self:
        """Start the engine and wait until it answers."""
        tools = self.tools
        path = f"{tools.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        name, prepare = f"dockerd of {self.suite}", partial(self._prepare, path)
        try:
            server = Server.start(name, prepare)
        except EngineError as error:
            # dockerd gives containerd a few seconds, whether or not the machine stands still.
            if _LATE not in str(error):
                raise
            server = Server.start(name, prepare)
        client = CommandLine(f"unix://{server.folder}/socket", server.folder, path)
        self._running = server, client
        return self

    def _prepare(self, path: str, folder: Path) -> Launch:
        prepare_settings(folder, self.tools.buildx)
        settings = folder / "daemon.json"
        content = _daemon_settings(folder, containerd_store=self.containerd_store)
        settings.write_text(json.dumps(content))
        dockerd = [str(self.tools.bin / "dockerd"), "--config-file", str(settings)]
        etc = None
        if self.hosts or self.certificates:
            etc = folder / ETC
            lay_out_etc(etc, self.hosts, self.certificates)
        command = isolated(folder, self.tools.bin / "docker-init", dockerd, etc)
        environment = directly(_daemon_environment(folder, path), tuple(self.hosts))
        return Launch(command, environment, partial(answers, folder / "socket"))


class ExternalEngine(DockerClient):
    """An engine that somebody else runs, with the docker found on PATH."""

    def __init__(self, host: str) -> None:
        """Talk to the engine at this address."""
        folder = Path(tempfile.mkdtemp(prefix="bxcache-docker-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        prepare_settings(folder, _own_plugin())
        self._command_line = CommandLine(host, folder, os.environ.get("PATH", os.defpath))

    @property
    def command_line(self) -> CommandLine:
        """How to reach the engine."""
        return self._command_line


def external_engine() -> ExternalEngine | None:
    """Return the engine that BXCACHE_TEST_DOCKER_HOST names, if it does."""
    host = os.environ.get("BXCACHE_TEST_DOCKER_HOST")
    return ExternalEngine(host) if host else None


def _own_plugin() -> Path | None:
    """The buildx that the user has installed for themselves, if any."""
    settings = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    plugin = settings / "cli-plugins" / "docker-buildx"
    return plugin.resolve() if plugin.exists() else None


def answers(path: Path) -> bool:
    """Return whether an engine answers on this unix socket."""
    connection = http.client.HTTPConnection("engine", timeout=5)
    try:
        with socket.socket(socket.AF_UNIX) as connection.sock:
            connection.sock.settimeout(5)
            connection.sock.connect(str(path))
            connection.request("GET", "/_ping")
            return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False


def _daemon_settings(folder: Path, *, containerd_store: bool) -> dict[str, object]:
    return {
        "data-root": str(folder / "data"),
        "exec-root": str(folder / "exec"),
        "pidfile": str(folder / "pid"),
        "hosts": [f"unix://{folder}/socket"],
        "bridge": "none",
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
        "features": {"containerd-snapshotter": containerd_store},
        "insecure-registries": ["127.0.0.0/8"],
        "shutdown-timeout": 3,
        # A control group of its own, so that what the engine leaves there can be found.
        "cgroup-parent": f"/{folder.name}",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
    }


def _daemon_environment(folder: Path, path: str) -> dict[str, str]:
    foreign = ("DOCKER_", "BUILDX_", "BUILDKIT_", "CONTAINERD_")
    own = {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
    return own | {"PATH": path, "HOME": str(folder), "TMPDIR": str(folder)}
