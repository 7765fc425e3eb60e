"""A private image registry on the loopback interface."""

import base64
import http.client
import itertools
import json
import socket
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from tests.engines.certificates import SECURE_HOST, Authority
from tests.engines.errors import EngineError
from tests.engines.exchanges import Request, logged_requests
from tests.engines.packages import ensure_suite
from tests.engines.servers import Launch, Server, Service

ATTEMPTS = 5
LOOPBACK = "127.0.0.1"
PATIENCE = 10.0
# The tests' own questions do not count as requests.
AGENT = "bxcache-tests"
ANSWERING = (http.HTTPStatus.OK, http.HTTPStatus.UNAUTHORIZED)


@dataclass(frozen=True)
class Login:
    """A user of a registry; the hash is bcrypt's, the only kind that the registry takes."""

    user: str
    password: str
    hashed: str

    @property
    def encoded(self) -> str:
        """The login as in docker's `auths`, and after `Basic` in a header."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


LOGIN = Login(
    "tester", "only-for-tests", "$2y$05$bxcacheTestsOnlySalt.u2XYLUm6xFxNH1GAUz3NXuxaCDWi9rG6"
)


@dataclass(frozen=True)
class Answer:
    """A registry's answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Registry(Service[int]):
    """A registry of its own, empty at the start."""

    def __init__(
        self,
        *,
        login: Login | None = None,
        authority: Authority | None = None,
        deletes: bool = True,
    ) -> None:
        """Choose who has access, which authority certifies the registry, and whether it deletes.

        Without a login everybody has access, and without an authority it speaks plain HTTP.
        """
        self.login = login
        self.authority = authority
        self.deletes = deletes
        self._probes = itertools.count(1)

    @property
    def port(self) -> int:
        """The port on the loopback interface."""
        return self.running[1]

    @property
    def address(self) -> str:
        """Host and port, as in the name of an image."""
        return f"{SECURE_HOST if self.authority else LOOPBACK}:{self.port}"

    @property
    def storage(self) -> Path:
        """The folder that holds the registry's blobs."""
        return self.running[0].folder / "storage"

    def requests(self, since: int = 0) -> list[Request]:
        """Return the requests of others, oldest first, without the first `since`.

        A request is listed as soon as it is answered.
        """
        log = self.running[0].folder / "log"
        # Lines are written after the answers; the line of a last question comes after all others.
        probe = f"{AGENT}/{next(self._probes)}."
        self.ask("GET", "/v2/", agent=probe)
        limit = time.monotonic() + PATIENCE
        while f'"{probe}"' not in (text := log.read_text(errors="replace")):
            if time.monotonic() > limit:
                raise EngineError("The registry does not log", "Its log tells why", text[-4000:])
            time.sleep(0.01)
        return logged_requests(text, besides=AGENT)[since:]

    def ask(
        self, method: str, path: str, agent: str = AGENT, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask the registry as its user, over a connection that trusts its authority."""
        known = {"Authorization": f"Basic {self.login.encoded}"} if self.login else {}
        with closing(_connection(self.port, self.authority)) as connection:
            connection.request(
                method, path, headers={"User-Agent": agent, **known, **(headers or {})}
            )
            reply = connection.getresponse()
            return Answer(reply.status, dict(reply.getheaders()), reply.read())

    def manifest(self, name: str, reference: str) -> "dict[str, object]":
        """Return the manifest or index of a tag or a digest in a repository."""
        kinds = ("manifest.v1+json", "index.v1+json")
        accept = ", ".join(f"application/vnd.oci.image.{kind}" for kind in kinds)
        answer = self.ask("GET", f"/v2/{name}/manifests/{reference}", headers={"Accept": accept})
        if answer.status != http.HTTPStatus.OK:
            raise LookupError(f"{name} has no {reference}: {answer}")
        document: dict[str, object] = json.loads(answer.body)
        return document

    def start(self) -> Self:
        """Start the registry and wait until it answers."""
        for _ in range(ATTEMPTS):
            port = _free_port()
            try:
                server = Server.start("docker-registry", partial(self._prepare, port))
            except EngineError as error:
                # Another process can take a free port before the registry does.
                if "address already in use" not in error.detail:
                    raise
            else:
                self._running = server, port
                return self
        raise EngineError("No port for a registry could be had", "Try again")

    def _prepare(self, port: int, folder: Path) -> Launch:
        settings = folder / "registry.yml"
        # All JSON is YAML too.
        settings.write_text(json.dumps(self._settings(port, folder)))
        command = [str(ensure_suite("forky").bin / "docker-registry"), "serve", str(settings)]
        answers = partial(_answers, port, self.authority, folder / "log")
        return Launch(command, {"OTEL_TRACES_EXPORTER": "none"}, answers)

    def _settings(self, port: int, folder: Path) -> dict[str, object]:
        listening: dict[str, object] = {"addr": f"{LOOPBACK}:{port}"}
        if self.authority:
            files = {"certificate": self.authority.certificate, "key": self.authority.key}
            listening["tls"] = {name: str(file) for name, file in files.items()}
        settings: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(folder / "storage")},
                "delete": {"enabled": self.deletes},
            },
            "http": listening,
        }
        if self.login:
            users = folder / "users"
            users.write_text(f"{self.login.user}:{self.login.hashed}\n")
            settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(users)}}
        return settings


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _connection(port: int, authority: Authority | None) -> http.client.HTTPConnection:
    if authority is None:
        return http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    return http.client.HTTPSConnection(LOOPBACK, port, timeout=5, context=authority.context())


def _answers(port: int, authority: Authority | None, log: Path) -> bool:
    # If another process took the port, that may be a registry, and answer.
    if not log.exists() or f"listening on {LOOPBACK}:{port}" not in log.read_text():
        return False
    with closing(_connection(port, authority)) as connection:
        try:
            connection.request("GET", "/v2/", headers={"User-Agent": AGENT})
            return connection.getresponse().status in ANSWERING
        except (OSError, http.client.HTTPException):
            return False
