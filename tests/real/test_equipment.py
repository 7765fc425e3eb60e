"""The equipment of the other tests works: registries, faults, names and logins.

Nothing here runs bxcache.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engines import LOGIN, SECURE_HOST, FaultyProxy, Login, Registry, Request
from tests.engines.faults import (
    BROKEN,
    BROKEN_HALFWAY,
    FORBIDDEN,
    LOST,
    UNAUTHORIZED,
    Answer,
    Cut,
    Delay,
    Rule,
    Stall,
    Vanish,
    reading_blob,
    reading_blobs,
    too_many,
    writing_blobs,
    writing_manifests,
)
from tests.engines.registry import Answer as Reply
from tests.engines.servers import Launch, Server, sweep
from tests.real.conftest import MakeMachine
from tests.real.machines import Machine

MANY = b"x" * 3_000_000
UPLOADS = "/v2/app/blobs/uploads/"
ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=9).status)"


def ask(
    address: str,
    method: str = "GET",
    path: str = "/v2/",
    body: bytes | None = None,
    within: float = 20,
) -> Reply:
    """Return the answer of the server at this address."""
    with closing(http.client.HTTPConnection(address, timeout=within)) as connection:
        connection.request(method, path, body)
        reply = connection.getresponse()
        return Reply(reply.status, dict(reply.getheaders()), reply.read())


def status_with(registry: Registry, login: Login | None) -> int:
    """Return the status of a registry's answer to somebody with this login."""
    request = urllib.request.Request(f"http://{registry.address}/v2/")
    if login:
        request.add_header("Authorization", f"Basic {login.encoded}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def export(
    machine: Machine, ref: str, folder: Path, *, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Build with plain docker and save the cache under this name."""
    cache = f"type=registry,ref={ref},mode=max,ignore-error=false"
    plain = ("--progress", "plain", "--output", "type=cacheonly")
    return machine.raw(*plain, "--cache-to", cache, ".", folder=folder, check=check)


def name_of(folder: Path) -> str:
    """Return the name of a repository of the test's own."""
    return folder.name.lower()


def test_a_private_registry_requires_a_login(private_registry: Registry) -> None:
    """The answer is 200 with the login, and 401 without it or with a wrong password."""
    wrong = replace(LOGIN, password="wrong")
    statuses = [status_with(private_registry, login) for login in (None, wrong, LOGIN)]
    assert statuses == [401, 401, 200]


def test_only_the_authority_vouches_for_a_registry(secure_registry: Registry) -> None:
    """A client that trusts the authority gets an answer; one that trusts the system's does not."""
    assert secure_registry.authority
    host, port = "localhost", secure_registry.port
    trusting = secure_registry.authority.context()
    with closing(http.client.HTTPSConnection(host, port, timeout=20, context=trusting)) as known:
        known.request("GET", "/v2/")
        assert known.getresponse().status == 200
    system = ssl.create_default_context()
    with (
        closing(http.client.HTTPSConnection(host, port, timeout=20, context=system)) as unknown,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        unknown.request("GET", "/v2/")


def test_a_registry_lists_its_requests(
    machine: Machine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """The list has each PUT with its answer and, from a mark on, only later requests."""
    name = name_of(tmp_path)
    mark = len(registry.requests())
    assert export(machine, f"{registry.address}/{name}:tag", project).returncode == 0
    told = registry.requests(since=mark)
    assert Request("PUT", f"/v2/{name}/manifests/tag", 201) in told
    assert all(request.path == "/v2/" or f"/v2/{name}/" in request.path for request in told)
    assert registry.requests(since=mark + len(told)) == []


@pytest.mark.parametrize(("deletes", "status"), [(True, 404), (False, 405)])
def test_deletes_can_be_forbidden(deletes: bool, status: int) -> None:  # noqa: FBT001
    """A registry that forbids deletes answers 405; another one looks for what to delete."""
    with Registry(deletes=deletes) as registry:
        manifest = f"/v2/app/manifests/sha256:{'0' * 64}"
        assert registry.ask("DELETE", manifest).status == status


@pytest.mark.parametrize("by", ["nobody", "settings", "helper", "helper for all"])
def test_docker_logs_in(
    by: str, machine: Machine, private_registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Docker logs in by its settings or by a helper; without either, the export is refused."""
    address = private_registry.address
    if by == "settings":
        machine = machine.logged_in(address, LOGIN)
    elif by != "nobody":
        machine = machine.with_helper(address, LOGIN, for_all="all" in by)
    done = export(machine, f"{address}/{name_of(tmp_path)}:tag", project, check=False)
    assert (done.returncode == 0) == (by != "nobody"), done.stderr
    if by == "nobody":
        assert "401 Unauthorized" in done.stderr
    if "helper" in by:
        assert machine.settings
        calls = machine.settings / "bin" / "docker-credential-test.calls"
        assert f"get {address}" in calls.read_text().splitlines()


@pytest.mark.parametrize("kind", ["docker", "classic", "docker-container", "remote", "oldest"])
def test_docker_verifies_certificates_under_a_name(
    kind: str, machines: MakeMachine, secure_registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Docker saves and reuses a cache in a registry whose authority it trusts."""
    ref = f"{secure_registry.address}/{name_of(tmp_path)}:{kind}"
    machine = machines(kind, near=secure_registry)
    words = ("--progress", "plain", "--cache-from", f"type=registry,ref={ref}")
    if kind == "classic":
        # Its own builder cannot export, but still looks for the cache.
        done = machine.raw(*words, ".", folder=project)
        assert "not found" in done.stderr
        assert "x509" not in done.stderr
        return
    export(machine, ref, project)
    machine.docker("buildx", "prune", "--all", "--force", folder=project)
    again = machine.raw(*words, "--output", "type=cacheonly", ".", folder=project)
    assert " CACHED" in again.stderr


@pytest.mark.parametrize("kind", ["docker", "docker-container", "remote", "oldest"])
def test_docker_refuses_unknown_certificates(
    kind: str, machines: MakeMachine, secure_registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Docker refuses a certificate by an unknown authority, although it knows the name."""
    machine = machines(kind, near=secure_registry, trusting=False)
    done = export(machine, f"{secure_registry.address}/{name_of(tmp_path)}", project, check=False)
    assert done.returncode != 0
    assert "x509: certificate signed by unknown authority" in done.stderr


def test_clients_share_the_machines_name_and_trust(
    machines: MakeMachine, secure_registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Buildx and Python reach the registry under a name that is unknown outside the machine."""
    ref = f"{secure_registry.address}/{name_of(tmp_path)}:tag"
    machine = machines(near=secure_registry)
    export(machine, ref, project)
    inspected = machine.docker("buildx", "imagetools", "inspect", ref, folder=project)
    assert "sha256:" in inspected.stdout
    question = (sys.executable, "-c", ASK, f"https://{secure_registry.address}/v2/")
    asked = subprocess.run(
        machine.command(*question),
        env=machine.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.stdout == "200\n", asked.stderr
    assert SECURE_HOST not in Path("/etc/hosts").read_text()
    assert not Path("/etc/docker/certs.d", secure_registry.address).exists()
    assert "dress /etc" not in Path("/proc/mounts").read_text()


@pytest.mark.parametrize(
    ("fault", "headers"),
    [
        (UNAUTHORIZED, {"WWW-Authenticate": 'Basic realm="tests"'}),
        (FORBIDDEN, {}),
        (LOST, {}),
        (too_many(7), {"Retry-After": "7"}),
        (BROKEN, {}),
        (BROKEN_HALFWAY, {}),
    ],
)
def test_a_proxy_answers_in_the_registrys_place(
    fault: Answer, headers: dict[str, str], proxy: FaultyProxy
) -> None:
    """A proxy gives an injected answer once, also to an upload, and then passes requests on."""
    for method, path, body in (("GET", "/v2/", None), ("PATCH", f"{UPLOADS}none", MANY)):
        proxy.fail(fault=fault, times=1)
        spoiled = ask(proxy.address, method, path, body)
        assert spoiled.status == fault.status
        assert fault.code.encode() in spoiled.body
        assert headers.items() <= spoiled.headers.items()
    assert ask(proxy.address).status == 200
    assert [one.spoiled for one in proxy.requests] == [True, True, False]


def test_a_proxy_breaks_half_way_through_an_upload(proxy: FaultyProxy) -> None:
    """The error reaches a client that has sent only half of its body."""
    proxy.fail(fault=BROKEN_HALFWAY)
    with closing(http.client.HTTPConnection(proxy.address, timeout=20)) as connection:
        connection.putrequest("PATCH", f"{UPLOADS}none")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"x" * 500)
        assert connection.getresponse().status == 500


def test_a_proxy_stalls_until_the_client_gives_up(proxy: FaultyProxy) -> None:
    """A stalled proxy takes the request and never answers."""
    proxy.fail(matching=Rule("GET"), fault=Stall())
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        ask(proxy.address, within=0.5)
    assert time.monotonic() - begun >= 0.5
    assert proxy.requests == [Request("GET", "/v2/", 0, spoiled=True)]


def test_a_proxy_that_stops_releases_waiting_clients(registry: Registry) -> None:
    """When a proxy stops, no stalled client and no thread remains."""
    ended: list[type[BaseException]] = []
    before = threading.active_count()

    def wait(address: str) -> None:
        try:
            ask(address, within=60)
        except (OSError, http.client.HTTPException) as error:
            ended.append(type(error))

    with FaultyProxy(registry.address) as proxy:
        proxy.fail(fault=Stall())
        client = threading.Thread(target=wait, args=(proxy.address,))
        client.start()
        proxy.wait_for(Rule())
    client.join(10)
    assert ended == [http.client.RemoteDisconnected]
    assert threading.active_count() == before


def test_a_proxy_refuses_connections(proxy: FaultyProxy) -> None:
    """A proxy refuses connections until it is healed, and then answers on the same port."""
    proxy.refuse()
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            ask(proxy.address)
    proxy.heal()
    assert ask(proxy.address).status == 200


def test_a_registry_can_vanish_at_a_request(proxy: FaultyProxy) -> None:
    """A registry answers until a request matches, and then refuses all connections."""
    proxy.fail(matching=Rule("HEAD"), fault=Vanish())
    assert ask(proxy.address).status == 200
    with pytest.raises(ConnectionResetError):
        ask(proxy.address, "HEAD")
    with pytest.raises(ConnectionRefusedError):
        ask(proxy.address)


@pytest.mark.parametrize("halfway", [False, True])
@pytest.mark.parametrize(("method", "body"), [("GET", None), ("PUT", MANY)])
def test_a_proxy_cuts_connections(
    method: str,
    body: bytes | None,
    halfway: bool,  # noqa: FBT001
    proxy: FaultyProxy,
) -> None:
    """A cut resets the connection; half-way, the registry's answer has begun."""
    proxy.fail(fault=Cut(halfway=halfway), times=1)
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        ask(proxy.address, method, UPLOADS, body)
    [request] = proxy.requests
    assert (request.status != 0) == halfway


def test_a_proxy_delays(proxy: FaultyProxy) -> None:
    """After the delay, the registry's own answer arrives."""
    proxy.fail(fault=Delay(0.5))
    begun = time.monotonic()
    assert ask(proxy.address).status == 200
    assert time.monotonic() - begun >= 0.5


def test_a_build_passes_through_a_proxy(
    machine: Machine, proxy: FaultyProxy, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Everything passes through the proxy, which can lose blobs that the registry has."""
    name = name_of(tmp_path)
    ref = f"{proxy.address}/{name}:tag"
    export(machine, ref, project)
    wrote = [one for one in proxy.requests if writing_manifests().matches(one.method, one.path)]
    assert wrote == [Request("PUT", f"/v2/{name}/manifests/tag", 201)]
    sent = [one for one in proxy.requests if writing_blobs().matches(one.method, one.path)]
    assert sent
    assert all(one.status in (201, 202) for one in sent)
    manifest = registry.manifest(name, "tag")
    config, layers = manifest["config"], manifest["layers"]
    assert isinstance(config, dict)
    assert isinstance(layers, list)
    proxy.fail(matching=reading_blobs(but=(config["digest"],)), fault=LOST)
    digests = list(dict.fromkeys(blob["digest"] for blob in (config, *layers)))

    def statuses(method: str) -> list[int]:
        paths = (f"/v2/{name}/blobs/{digest}" for digest in digests)
        return [ask(proxy.address, method, path).status for path in paths]

    assert statuses("HEAD") == [200, *(404 for _ in digests[1:])]
    proxy.heal()
    proxy.fail(matching=reading_blob(digests[1]), fault=LOST)
    assert statuses("GET") == [200, 404, *(200 for _ in digests[2:])]


def test_a_build_fails_where_its_upload_does(
    machine: Machine, proxy: FaultyProxy, project: Path, tmp_path: Path
) -> None:
    """A rule with a path spoils only what it matches, and that makes the export fail."""
    name = name_of(tmp_path)
    proxy.fail(matching=Rule("PUT", re.compile(f"^/v2/{name}/manifests/")), fault=FORBIDDEN)
    done = export(machine, f"{proxy.address}/{name}:tag", project, check=False)
    assert done.returncode != 0
    assert "403" in done.stderr
    assert {one.method for one in proxy.requests if one.spoiled} == {"PUT"}


def test_a_server_that_is_being_prepared_keeps_its_folder() -> None:
    """A server's folder is not swept during its preparation, which can take minutes."""
    seen: list[bool] = []

    def prepare(folder: Path) -> Launch:
        os.utime(folder, (0, 0))
        sweep(folder.parent)
        seen.append(folder.exists())
        return Launch(["sleep", "60"], os.environ, lambda: True)

    server = Server.start("a test's server", prepare)
    sweep(server.folder.parent)
    assert (seen, server.folder.exists()) == ([True], True)
    server.stop()
    assert not server.folder.exists()
