"""Tests of requests to a registry: schemes, logins, waiting, and explained failures."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from urllib3.util import Timeout

from bxcache.errors import RegistryError, Trouble
from bxcache.process import Answer as Said
from bxcache.registry import connection as module
from bxcache.registry.connection import Connection, Query
from bxcache.registry.faults import Reply
from tests.support.registries import (
    PASSWORD,
    USER,
    Answer,
    Asked,
    MemoryRegistry,
    basic,
    cache_manifest,
    refuse,
)

NAME = "registry.test"
"""A name that leads to the loopback interface without being one of its names."""
PULL = "repository:app:pull"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user without a login or proxy, who can resolve `NAME`, and with waits that end at once."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)
    resolve = socket.getaddrinfo

    def lead(host: Any, *rest: Any, **named: Any) -> Any:  # noqa: ANN401  # the function's own
        return resolve("127.0.0.1" if host == NAME else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lead)
    return tmp_path


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been waited between attempts."""
    found: list[float] = []
    clock = SimpleNamespace(sleep=found.append, time=time.time)
    monkeypatch.setattr("urllib3.util.retry.time", clock)
    return found


@pytest.fixture
def registry() -> Iterator[MemoryRegistry]:
    """A registry with one cache, `app:main`."""
    with MemoryRegistry() as started:
        started.put("main", cache_manifest(b"layer"))
        yield started


def log_in(home: Path, host: str, user: str = USER, password: str = PASSWORD) -> None:
    """Write the file that `docker login` writes."""
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    write_settings(home, {"auths": {host: {"auth": text}}})


def write_settings(home: Path, settings: Mapping[str, Any]) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker" / "config.json").write_text(json.dumps(settings))


def connect(host: str, *, insecure: bool = False) -> Connection:
    return Connection(host, {}, insecure=insecure)


def pull(tag: str = "main", **fields: Any) -> Query:  # noqa: ANN401  # a query's
    known = {"operation": "looking up", "expected": (200, 404), "access": PULL}
    return Query("GET", f"/v2/app/manifests/{tag}", **{**known, **fields})


def fail(connection: Connection, query: Query | None = None) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        connection.ask(query or pull())
    return caught.value


def shows_no_secret(error: RegistryError, *secrets: str) -> bool:
    words = (PASSWORD, basic().removeprefix("Basic "), *secrets)
    texts = (str(error), error.hint, error.cause, repr(error), str(error.__cause__))
    return not any(word in text for word in words for text in texts)


def test_a_registry_on_this_machine_uses_plain_http(registry: MemoryRegistry) -> None:
    """A registry on this machine is contacted over plain HTTP, without credentials."""
    reply = connect(registry.address).ask(pull())
    assert reply.status == 200
    assert reply.body == cache_manifest(b"layer")
    (asked,) = registry.asked
    assert asked.authorization == ""
    assert asked.headers["user-agent"] == "bxcache"


def test_requests_share_a_connection(registry: MemoryRegistry) -> None:
    """Consecutive requests use one connection."""
    connection = connect(registry.address)
    for tag in ("main", "other", "main"):
        connection.ask(pull(tag))
    assert registry.connections == 1


@pytest.mark.parametrize("access", ["open", "basic", "bearer"])
def test_a_helper_runs_only_after_a_challenge(
    access: str, registry: MemoryRegistry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A credential helper, which may unlock a keychain, runs once, and only after a 401."""
    asked: list[str | None] = []

    def help_(_: object, *, stdin: str | None, seconds: float) -> Said:
        assert seconds
        asked.append(stdin)
        return Said(0, json.dumps({"Username": USER, "Secret": PASSWORD}), "")

    monkeypatch.setattr("bxcache.registry.credentials.ask", help_)
    write_settings(home, {"credsStore": "keychain"})
    registry.access = access
    connection = connect(registry.address)
    connection.ask(pull())
    connection.ask(pull("other"))
    registry.interfere = lambda _: Answer(418)
    fail(connection)
    assert asked == ([] if access == "open" else [registry.address])


def test_a_password_is_sent_after_a_challenge(registry: MemoryRegistry, home: Path) -> None:
    """A password is sent after a challenge, and from the second request on without one."""
    log_in(home, registry.address)
    registry.access = "basic"
    connection = connect(registry.address)
    assert connection.ask(pull()).status == 200
    assert connection.ask(pull("other")).status == 404
    assert [asked.authorization for asked in registry.asked] == ["", basic(), basic()]


def test_a_token_is_requested_for_each_kind_of_access(registry: MemoryRegistry, home: Path) -> None:
    """A token is requested once for each kind of access, and then reused."""
    log_in(home, registry.address)
    registry.access = "bearer"
    connection = connect(registry.address)
    connection.ask(pull())
    connection.ask(pull())
    tokens = [asked for asked in registry.asked if asked.path == "/token"]
    assert [asked.query["scope"] for asked in tokens] == [PULL]
    assert [asked.query["service"] for asked in tokens] == ["tests"]
    assert [asked.authorization for asked in tokens] == [basic()]
    writes = "repository:app:pull,push"
    body = b'{"schemaVersion":2}'
    kind = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
    put = Query("PUT", "/v2/app/manifests/new", "writing", (201,), writes, kind, body)
    connection.ask(put)
    assert registry.asked[-2].query["scope"] == writes
    connection.ask(pull())
    assert len([asked for asked in registry.asked if asked.path == "/token"]) == 2


def test_an_expired_token_is_renewed(registry: MemoryRegistry, home: Path) -> None:
    """An expired token is renewed without the caller noticing."""
    log_in(home, registry.address)
    registry.access = "bearer"
    connection = connect(registry.address)
    connection.ask(pull())
    registry.forget_tokens()
    assert connection.ask(pull()).status == 200
    assert [asked.path for asked in registry.asked].count("/token") == 2


def test_an_identity_token_is_exchanged(registry: MemoryRegistry, home: Path) -> None:
    """An identity token is exchanged by OAuth 2 and is not part of any URL."""
    registry.access, registry.identity = "bearer", "the-identity-token"
    write_settings(home, {"auths": {registry.address: {"identitytoken": registry.identity}}})
    assert connect(registry.address).ask(pull()).status == 200
    (asked,) = [asked for asked in registry.asked if asked.path == "/token"]
    assert asked.method == "POST"
    assert asked.query == {}
    assert b"grant_type=refresh_token" in asked.body


def test_a_realm_can_have_a_query_of_its_own(registry: MemoryRegistry, home: Path) -> None:
    """The parameters of a token request are appended to a realm's own query."""
    log_in(home, registry.address)
    registry.access = "bearer"
    registry.realm = f"http://{registry.address}/token?account=x"
    assert connect(registry.address).ask(pull()).status == 200
    (asked,) = [asked for asked in registry.asked if asked.path == "/token"]
    assert (asked.query["account"], asked.query["scope"]) == ("x", PULL)


@pytest.mark.parametrize("access", ["basic", "bearer"])
@pytest.mark.parametrize("login", [None, "wrong"])
def test_a_denied_caller_gets_advice(
    access: str, login: str | None, registry: MemoryRegistry, home: Path
) -> None:
    """The hint has the command to run and no password; a wrong password is not retried."""
    registry.access = access
    if login:
        log_in(home, registry.address, password="the-wrong-password")
    error = fail(connect(registry.address))
    assert error.trouble is Trouble.DENIED
    assert error.cause.startswith("401 ")
    assert f"`docker login {registry.address}`" in error.hint
    assert ("does not allow" if login else "not logged in") in error.hint
    assert shows_no_secret(error, "the-wrong-password")
    assert len(registry.asked) <= 3


def test_a_refused_token_is_tried_once(registry: MemoryRegistry, home: Path) -> None:
    """If a registry refuses its own token, the request is repeated once at most."""
    log_in(home, registry.address)
    registry.access = "bearer"

    def give_less(asked: Asked) -> Answer | None:
        return Answer(200, b'{"token":"useless"}') if asked.path == "/token" else None

    registry.interfere = give_less
    error = fail(connect(registry.address))
    assert error.trouble is Trouble.DENIED
    assert shows_no_secret(error, "useless")
    assert len(registry.asked) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"no JSON",
        b"[" * 100_000,
        b'{"token":7}',
        b'{"token":"two\\nlines"}',
        b'{"token":"\\u2603"}',
    ],
)
def test_a_token_server_without_a_token_is_an_error(registry: MemoryRegistry, body: bytes) -> None:
    """A token server's invalid answer is an error and never becomes a header."""
    registry.access = "bearer"
    registry.interfere = lambda asked: Answer(200, body) if asked.path == "/token" else None
    error = fail(connect(registry.address))
    assert (error.trouble, error.cause) == (Trouble.SICK, "its token server did not return a token")


@pytest.mark.parametrize(
    ("status", "trouble"),
    [(401, Trouble.DENIED), (403, Trouble.DENIED), (400, Trouble.REFUSED), (500, Trouble.SICK)],
)
def test_the_refusal_of_a_token_server_is_reported(
    registry: MemoryRegistry, naps: list[float], status: int, trouble: Trouble
) -> None:
    """A token server's refusal is reported in its own words."""
    registry.access = "bearer"
    no = refuse(status, "X", "not for you")
    registry.interfere = lambda asked: no if asked.path == "/token" else None
    error = fail(connect(registry.address))
    assert (error.trouble, error.cause) == (trouble, f"{status} not for you")
    assert len(naps) <= 2


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer garbage",
        "Bearer realm=",
        'Bearer realm="',
        "Bearer realm=http://[",
        'Bearer realm="http://127.0.0.1:x/token"',
        'Bearer realm="gopher://127.0.0.1/"',
        'Bearer =,=,"',
        "Negotiate",
        "Basic",
    ],
)
def test_an_invalid_challenge_is_an_error(registry: MemoryRegistry, challenge: str) -> None:
    """An invalid challenge is an error, not a traceback."""
    answer = Answer(401, headers={"WWW-Authenticate": challenge})
    registry.interfere = lambda _: answer
    error = fail(connect(registry.address))
    assert error.trouble in (Trouble.DENIED, Trouble.SICK)


@pytest.mark.parametrize("access", ["basic", "bearer"])
def test_several_requests_can_be_refused_at_once(
    access: str, registry: MemoryRegistry, home: Path
) -> None:
    """Requests that are refused at the same time all succeed after one challenge each."""
    log_in(home, registry.address)
    registry.access = access
    together = threading.Barrier(4)

    def wait(asked: Asked) -> Answer | None:
        if asked.path == "/token":
            return Answer(200, b'{"token":"the-same"}')
        if not asked.authorization:
            together.wait(10)
        return Answer(200, b"in") if asked.authorization == "Bearer the-same" else None

    registry.interfere = wait
    connection = connect(registry.address)
    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda: replies.append(connection.ask(pull()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [reply.status for reply in replies] == [200] * 4


@pytest.mark.parametrize(
    ("answer", "trouble", "cause"),
    [
        (refuse(403, "DENIED", "requested access is denied"), Trouble.DENIED, "403 requested"),
        (refuse(404, "NAME_UNKNOWN", "no such name"), Trouble.REFUSED, "404 no such name"),
        (refuse(405, "UNSUPPORTED", "unsupported"), Trouble.REFUSED, "405 unsupported"),
        (refuse(501, "UNSUPPORTED", "not here"), Trouble.REFUSED, "501 not here"),
        (refuse(400, "", ""), Trouble.REFUSED, "400"),
        (Answer(418, b"<html>teapot</html>"), Trouble.REFUSED, "418"),
        (Answer(418, b'{"errors":7}'), Trouble.REFUSED, "418"),
        (Answer(418, b'{"errors":{"a":1}}'), Trouble.REFUSED, "418"),
        (Answer(418, b'{"errors":[7]}'), Trouble.REFUSED, "418"),
        (Answer(418, b"[" * 100_000), Trouble.REFUSED, "418"),
        (Answer(418, b'{"errors":[{"code":"TEAPOT"}]}'), Trouble.REFUSED, "418 TEAPOT"),
        (
            refuse(418, "X", "see https://me:password@x.example/"),
            Trouble.REFUSED,
            "418 see https://***@x.example/",
        ),
    ],
)
def test_an_error_names_registry_operation_and_cause(
    registry: MemoryRegistry, answer: Answer, trouble: Trouble, cause: str
) -> None:
    """A registry's error is reported in one line with its name, the operation and the cause."""
    registry.interfere = lambda _: answer
    error = fail(connect(registry.address), pull(expected=(200,)))
    assert error.trouble is trouble
    assert error.cause.startswith(cause)
    assert error.cause.count("418") <= 1
    start = f"the registry `{registry.address}`: looking up failed: {cause}"
    assert error.message.startswith(start)
    assert "\n" not in error.message
    assert len(registry.asked) == 1


def test_a_long_message_is_cut(registry: MemoryRegistry) -> None:
    """A long message of a registry is cut to one line."""
    registry.interfere = lambda _: refuse(400, "X", "very " * 10_000)
    assert len(fail(connect(registry.address)).cause) < 220


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_temporary_failure_is_retried(
    registry: MemoryRegistry, naps: list[float], status: int, method: str
) -> None:
    """A temporary failure is retried twice and then reported."""
    answers = [refuse(status, "X", "later"), refuse(status, "X", "later"), Answer(200)]
    left = list(answers)
    registry.interfere = lambda _: left.pop(0)
    query = Query(method, "/v2/app/x", "trying", (200,))
    assert connect(registry.address).ask(query).status == 200
    assert 0 < sum(naps) < 5
    left.extend([answers[0]] * 9)
    error = fail(connect(registry.address), query)
    assert (error.trouble, error.cause) == (Trouble.SICK, f"{status} later")
    assert len(left) == 6


@pytest.mark.parametrize(
    ("asked", "waited"),
    [
        ("1", [1, 1]),
        ("3600", [5, 5]),
        ("Fri, 31 Dec 9999 23:59:59 GMT", [5, 5]),
        ("0", [0.4]),
        ("Thu, 01 Jan 1970 00:00:00 GMT", [0.4]),
    ],
)
def test_the_waiting_time_of_a_registry_is_kept(
    registry: MemoryRegistry, naps: list[float], asked: str, waited: list[float]
) -> None:
    """The waiting time that a registry requests is kept, up to five seconds."""
    registry.interfere = lambda _: refuse(429, "TOOMANYREQUESTS", "slow down", Retry_After=asked)
    error = fail(connect(registry.address))
    assert (error.trouble, error.cause) == (Trouble.SICK, "429 slow down")
    assert naps == waited
    assert len(registry.asked) == 3


def test_an_invalid_waiting_time_is_an_error(registry: MemoryRegistry) -> None:
    """An invalid waiting time is an error, not a traceback."""
    registry.interfere = lambda _: refuse(429, "X", "slow down", Retry_After="soon")
    assert fail(connect(registry.address)).trouble is Trouble.SICK


def test_a_silent_registry_is_an_error(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that does not answer is an error after a timeout, without a retry."""
    monkeypatch.setattr(module, "_TIMEOUT", Timeout(connect=5, read=0.3))
    done = threading.Event()

    def stall(_: Asked) -> Answer:
        done.wait(10)
        return Answer(200)

    registry.interfere = stall
    error = fail(connect(registry.address))
    done.set()
    assert (error.trouble, error.cause) == (Trouble.SICK, "it did not answer in time")
    assert len(registry.asked) == 1


def test_a_closed_port_is_unreachable() -> None:
    """A registry with a closed port is unreachable."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        error = fail(connect(host))
    assert (error.trouble, error.cause) == (Trouble.UNREACHABLE, "connection refused")
    assert error.registry == host


def test_an_unknown_host_name_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown host name (`.invalid` never exists, RFC 2606) is unreachable."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = fail(connect("registry.invalid"))
    assert (error.trouble, error.cause) == (Trouble.UNREACHABLE, "its host name is unknown")


def test_an_incomplete_answer_is_an_error(registry: MemoryRegistry) -> None:
    """An incomplete answer is an error, and its content is not used."""
    registry.interfere = lambda _: Answer(200, b'{"schemaVersion":2', cut=True)
    assert fail(connect(registry.address)).trouble is Trouble.SICK


def test_a_large_answer_is_cut(registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large answer is cut, and the next request works."""
    monkeypatch.setattr(module, "_LARGEST_ANSWER", 1000)
    answers = [Answer(200, b"x" * 3_000_000), Answer(200, b"small"), Answer(200, b"y" * 1000)]
    registry.interfere = lambda _: answers.pop(0)
    connection = connect(registry.address)
    assert connection.ask(pull()).body == b"x" * 1000
    assert connection.ask(pull()).body == b"small"
    assert connection.ask(pull()).body == b"y" * 1000


@pytest.mark.parametrize("location", ["/v2/other", "http://127.0.0.1:{port}/v2/other"])
def test_a_redirect_is_followed(registry: MemoryRegistry, home: Path, location: str) -> None:
    """A redirect within the registry is followed with the login."""
    log_in(home, registry.address)
    registry.access = "basic"
    there = {"Location": location.format(port=registry.port)}

    def redirect(asked: Asked) -> Answer | None:
        if asked.authorization and "manifests" in asked.path:
            return Answer(307, headers=there)
        return Answer(200, b"there") if asked.authorization else None

    registry.interfere = redirect
    assert connect(registry.address).ask(pull()).body == b"there"


@pytest.mark.parametrize("access", ["basic", "bearer"])
def test_a_login_does_not_follow_to_another_host(
    access: str, registry: MemoryRegistry, home: Path
) -> None:
    """A redirect to another host, such as blob storage, is followed without the login."""
    log_in(home, registry.address)
    registry.access = access
    with MemoryRegistry() as other:
        other.interfere = lambda _: Answer(200, b"elsewhere")
        there = {"Location": f"http://{other.address}/blob"}

        def redirect(asked: Asked) -> Answer | None:
            shown = asked.authorization and asked.path != "/token"
            return Answer(307, headers=there) if shown else None

        registry.interfere = redirect
        assert connect(registry.address).ask(pull()).body == b"elsewhere"
        (asked,) = other.asked
        assert asked.authorization == ""


@pytest.mark.parametrize("kind", ["Basic", "Bearer"])
def test_a_challenge_of_another_host_is_not_answered(
    kind: str, registry: MemoryRegistry, home: Path
) -> None:
    """A challenge of another host is not answered."""
    log_in(home, registry.address)
    with MemoryRegistry() as other:
        challenge = f'{kind} realm="http://{other.address}/token",service="x"'
        other.interfere = lambda _: refuse(401, "X", "who are you?", WWW_Authenticate=challenge)
        there = {"Location": f"http://{other.address}/blob"}
        registry.interfere = lambda _: Answer(307, headers=there)
        assert fail(connect(registry.address)).trouble is Trouble.DENIED
        assert [(a.path, a.authorization) for a in other.asked] == [("/blob", "")]
        assert [a.authorization for a in registry.asked] == [""]


def test_a_url_on_another_host_gets_no_login(registry: MemoryRegistry, home: Path) -> None:
    """The URL of an upload or a next page on another host gets no login."""
    log_in(home, registry.address)
    registry.access = "basic"
    connection = connect(registry.address)
    connection.ask(pull())
    with MemoryRegistry() as other:
        other.interfere = lambda _: Answer(200)
        query = Query("GET", f"http://{other.address}/next", "listing", (200,), PULL)
        connection.ask(query)
        assert [asked.authorization for asked in other.asked] == [""]


def test_a_loop_of_redirects_is_an_error(registry: MemoryRegistry) -> None:
    """A loop of redirects is an error."""
    registry.interfere = lambda asked: Answer(307, headers={"Location": asked.path})
    error = fail(connect(registry.address))
    assert error.trouble is Trouble.SICK
    assert len(registry.asked) < 10


@pytest.mark.parametrize("path", ["http://[", "http://127.0.0.1:x/", "gopher://x/"])
def test_an_invalid_address_is_an_error(registry: MemoryRegistry, path: str) -> None:
    """An invalid URL from a registry is an error."""
    assert fail(connect(registry.address), Query("GET", path, "x", (200,))).cause


@pytest.fixture
def authority() -> trustme.CA:
    """A certificate authority that is not trusted."""
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[MemoryRegistry]:
    """A registry over TLS, as `NAME`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)
    with MemoryRegistry(context=context) as started:
        started.put("main", cache_manifest(b"layer"))
        yield started


def trust(home: Path, host: str, authority: trustme.CA) -> None:
    folder = home / ".docker" / "certs.d" / host
    folder.mkdir(parents=True)
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))


def test_an_untrusted_certificate_is_refused(secure: MemoryRegistry) -> None:
    """Nothing is sent to a registry with an untrusted certificate."""
    error = fail(connect(f"{NAME}:{secure.port}"))
    assert error.trouble is Trouble.UNREACHABLE
    assert error.cause.startswith("its certificate is not trusted: ")
    assert secure.asked == []


def test_certificates_of_docker_are_trusted(
    secure: MemoryRegistry, home: Path, authority: trustme.CA
) -> None:
    """Docker's certificates for a registry are trusted for that registry alone."""
    host = f"{NAME}:{secure.port}"
    trust(home, f"{NAME}:1", authority)
    assert fail(connect(host)).trouble is Trouble.UNREACHABLE
    trust(home, host, authority)
    assert connect(host).ask(pull()).status == 200


def test_a_certificate_for_another_name_is_not_accepted(home: Path, authority: trustme.CA) -> None:
    """A certificate for another host name is refused, even from a trusted authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.test").configure_cert(context)
    with MemoryRegistry(context=context) as other:
        trust(home, f"{NAME}:{other.port}", authority)
        error = fail(connect(f"{NAME}:{other.port}"))
    assert error.trouble is Trouble.UNREACHABLE
    assert "certificate" in error.cause


def test_an_insecure_registry_is_contacted_over_tls_first(secure: MemoryRegistry) -> None:
    """An insecure registry is contacted over unverified TLS first."""
    assert connect(f"{NAME}:{secure.port}", insecure=True).ask(pull()).status == 200


def test_a_registry_without_tls_must_be_declared(registry: MemoryRegistry) -> None:
    """A registry without TLS must be declared insecure; the error does not mention certificates."""
    error = fail(connect(f"{NAME}:{registry.port}"))
    assert error.trouble is Trouble.UNREACHABLE
    assert error.cause.startswith("the TLS connection failed: ")
    assert registry.asked == []


@pytest.mark.parametrize("access", ["open", "basic", "bearer"])
def test_an_insecure_registry_falls_back_to_plain_http(
    access: str, registry: MemoryRegistry, home: Path
) -> None:
    """After one failed TLS attempt, an insecure registry and its logins use plain HTTP."""
    host = f"{NAME}:{registry.port}"
    log_in(home, host)
    registry.access = access
    connection = connect(host, insecure=True)
    assert connection.ask(pull()).status == 200
    before = registry.connections
    assert connection.ask(pull("other")).status == 404
    assert connection.ask(pull()).status == 200
    assert registry.connections == before


def test_an_insecure_registry_without_a_port_is_found(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An insecure registry without a port is found at port 80 if port 443 is closed."""
    resolve = socket.getaddrinfo

    def lead(host: Any, port: Any, *rest: Any, **named: Any) -> Any:  # noqa: ANN401
        return resolve(host, {443: 1, 80: registry.port}.get(port, port), *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lead)
    assert connect(NAME, insecure=True).ask(pull()).status == 200


@pytest.mark.parametrize(
    "words",
    [
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"<center>The plain HTTP request was sent to HTTPS port</center>",
    ],
)
def test_a_local_registry_can_require_tls(monkeypatch: pytest.MonkeyPatch, words: bytes) -> None:
    """A local registry that requires TLS, in Go's or nginx's words, is then contacted over TLS."""
    schemes: list[str] = []
    connection = connect("127.0.0.1:5000")

    def send(_method: str, url: str, *_: object) -> Reply:
        schemes.append(url.partition(":")[0])
        return Reply(400, {}, words, url) if schemes[-1] == "http" else Reply(200, {}, b"", url)

    monkeypatch.setattr(connection, "_send", send)
    connection.ask(pull())
    connection.ask(pull())
    assert schemes == ["http", "https", "https"]


def test_a_manifest_that_mentions_tls_is_a_manifest(registry: MemoryRegistry) -> None:
    """A successful answer that mentions TLS does not change the scheme."""
    body = b"Client sent an HTTP request to an HTTPS server."
    registry.interfere = lambda _: Answer(200, body)
    assert connect(registry.address).ask(pull()).body == body


@pytest.mark.parametrize("identity", ["", "the-identity-token"])
def test_a_login_over_tls_is_not_sent_to_a_plain_realm(
    secure: MemoryRegistry, home: Path, authority: trustme.CA, identity: str
) -> None:
    """A login that came over TLS is not sent to a plain realm; the token request is anonymous."""
    host = f"{NAME}:{secure.port}"
    trust(home, host, authority)
    if identity:
        write_settings(home, {"auths": {host: {"identitytoken": identity}}})
    else:
        log_in(home, host)
    secure.access = "bearer"
    with MemoryRegistry() as plain:
        plain.interfere = lambda _: Answer(200, b'{"token":"t"}')
        secure.realm = f"http://{plain.address}/token"
        fail(connect(host))
        assert [str(asked) for asked in plain.asked] == ["GET /token"]
        for asked in plain.asked:
            assert asked.authorization == ""
            assert identity.encode() not in asked.body or not identity


def test_a_login_does_not_follow_from_tls_to_plain(
    secure: MemoryRegistry, home: Path, authority: trustme.CA
) -> None:
    """A login is not sent with a redirect from TLS to plain HTTP, even on the same host."""
    host = f"{NAME}:{secure.port}"
    trust(home, host, authority)
    log_in(home, host)
    secure.access = "basic"
    connection = connect(host)
    connection.ask(pull())
    with MemoryRegistry() as plain:
        plain.interfere = lambda _: Answer(200)
        url = f"http://{NAME}:{plain.port}/x"
        secure.interfere = lambda _: Answer(307, headers={"Location": url})
        connection.ask(pull())
        connection.ask(Query("GET", url, "listing", (200,), PULL))
        assert [asked.authorization for asked in plain.asked] == ["", ""]


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}"])
def test_requests_to_this_machine_bypass_the_proxy(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """Requests to this machine do not use the proxy, as in docker."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert connect(host.format(port=registry.port)).ask(pull()).status == 200


@pytest.mark.parametrize(
    "proxy",
    ["http://127.0.0.1:1", "127.0.0.1:1", "socks5://127.0.0.1:1", "http://u:secret@127.0.0.1:1"],
)
def test_a_proxy_that_refuses_makes_a_registry_unreachable(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """Behind any proxy that refuses the connection, the registry is unreachable."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    error = fail(connect(NAME))
    assert error.trouble is Trouble.UNREACHABLE
    assert shows_no_secret(error, "secret")


def test_docker_hub_is_contacted_at_its_own_address(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker Hub is contacted at its own address, with the login under docker's name for it."""
    log_in(home, "https://index.docker.io/v1/")
    connection = connect("docker.io")
    urls: list[str] = []

    def send(_method: str, url: str, headers: Mapping[str, str], _body: object) -> Reply:
        urls.append(f"{url} {headers.get('Authorization', '')}")
        challenge = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"'
        if len(urls) == 1:
            return Reply(401, {"WWW-Authenticate": challenge}, b"", url)
        return Reply(200, {}, b'{"token":"t"}', url)

    monkeypatch.setattr(connection, "_send", send)
    connection.ask(pull())
    first, second, third = urls
    assert first == "https://registry-1.docker.io/v2/app/manifests/main "
    assert second.startswith("https://auth.docker.io/token?service=registry.docker.io&")
    assert second.endswith(basic())
    assert third == "https://registry-1.docker.io/v2/app/manifests/main Bearer t"
