"""A private image registry on the loopback interface."""

import http.client
import socket
from functools import partial
from pathlib import Path
from typing import Self

from tests.engines.errors import EngineError
from tests.engines.packages import ensure_suite
from tests.engines.servers import Launch, Server, Service

ATTEMPTS = 5
LOOPBACK = "127.0.0.1"
SETTINGS = """\
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: "{folder}/storage"}}, delete: {{enabled: true}}}}
http: {{addr: "{address}"}}
"""


class Registry(Service[str]):
    """A registry of its own, empty at the start; tags and blobs can be deleted."""

    @property
    def address(self) -> str:
        """Host and port, as in the name of an image."""
        return self.running[1]

    @property
    def storage(self) -> Path:
        """The folder that holds the registry's blobs."""
        return self.running[0].folder / "storage"

    def start(self) -> Self:
        """Start the registry and wait until it answers."""
        for _ in range(ATTEMPTS):
            port = _free_port()
            try:
                server = Server.start("docker-registry", partial(_prepare, port))
            except EngineError as error:
                # Between being found free and being used, a port can be taken by another process.
                if "address already in use" not in error.detail:
                    raise
            else:
                self._running = server, f"{LOOPBACK}:{port}"
                return self
        raise EngineError("No port for a registry could be had", "Try again")


def _prepare(port: int, folder: Path) -> Launch:
    settings = folder / "registry.yml"
    settings.write_text(SETTINGS.format(folder=folder, address=f"{LOOPBACK}:{port}"))
    command = [str(ensure_suite("forky").bin / "docker-registry"), "serve", str(settings)]
    return Launch(
        command, {"OTEL_TRACES_EXPORTER": "none"}, partial(_answers, port, folder / "log")
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int, log: Path) -> bool:
    # Another registry may answer on a port that was lost to it.
    if not log.exists() or f"listening on {LOOPBACK}:{port}" not in log.read_text():
        return False
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
