"""Tests of what a registry is asked for the doctor, and of what is said about its answers."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from threading import Event

import pytest
from msgspec.structs import replace

from bxcache.backends.finding import Finding, Status
from bxcache.backends.registry_findings import judge_registry
from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, Trouble
from bxcache.process import Answer as Said
from bxcache.registry.credentials import FoundLogin, find_helper_trouble, find_login
from bxcache.registry.soundings import Sounding, sound_repository
from tests.support.registries import (
    PASSWORD,
    USER,
    Answer,
    Asked,
    MemoryRegistry,
    cache_manifest,
    refuse,
)

OK, WARNING, ERROR = Status.OK, Status.WARNING, Status.ERROR
YEAR = 365 * 86_400
SECONDS = 5.0


pytestmark = pytest.mark.usefixtures("nobody")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a user without a login."""
    return tmp_path


def log_in(home: Path, host: str, password: str = PASSWORD) -> None:
    """Write the file that `docker login` writes."""
    text = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {host: {"auth": text}}}))


def sound(registry: MemoryRegistry, *, writes: bool = True, seconds: float = SECONDS) -> Sounding:
    """Ask the registry about the repository `app`."""
    reference = Reference(f"{registry.address}/app")
    return sound_repository(reference, {}, insecure=False, writes=writes, seconds=seconds)


def judge(registry: MemoryRegistry, *, writes: bool = True) -> dict[str, Finding]:
    """Return the findings about the repository `app` by check."""
    found = judge_registry(sound(registry, writes=writes), f"{registry.address}/app")
    return {each.check: each for each in found}


def list_statuses(found: dict[str, Finding]) -> dict[str, Status]:
    return {check: each.status for check, each in found.items()}


ALL_FINE = dict.fromkeys(("registry", "login", "clock", "pull", "push", "delete"), OK)


@pytest.mark.parametrize("access", ["open", "basic", "bearer"])
def test_a_registry_that_allows_all_is_fine_and_stays_as_it_is(
    access: str, registry: MemoryRegistry, home: Path
) -> None:
    """An upload is canceled, the deleted manifest is none, and the content stays the same."""
    registry.access = access
    registry.put("main", cache_manifest(b"layer"))
    before = json.dumps(registry.shelf().tags)
    log_in(home, registry.address)
    assert list_statuses(judge(registry)) == ALL_FINE
    assert json.dumps(registry.shelf().tags) == before
    assert not registry.shelf().blobs
    assert not registry._uploads


def test_only_reading_is_tried_where_nothing_is_saved(registry: MemoryRegistry) -> None:
    """A build that does not save asks for nothing that could change a registry."""
    assert "push" not in judge(registry, writes=False)
    assert {each.method for each in registry.asked} <= {"GET", "HEAD"}


def forbid(method: str, status: int = 403) -> Answer:
    return refuse(status, "DENIED", f"no {method}")


@pytest.mark.parametrize(
    ("method", "status", "expected", "words"),
    [
        ("POST", 403, {"push": ERROR}, "cannot be written: 403 no POST"),
        ("POST", 405, {"push": ERROR}, "cannot be written: 405 no POST"),
        ("POST", 404, {"push": ERROR}, "cannot be written: 404 no POST"),
        ("POST", 500, {"push": WARNING}, "can be written is unknown: 500 no POST"),
        ("HEAD", 403, {"pull": OK}, "may not exist yet"),
        ("HEAD", 503, {"pull": WARNING}, "can be read is unknown: 503"),
        ("DELETE", 405, {"delete": WARNING}, "cannot be removed: 405 no DELETE"),
        ("DELETE", 403, {"delete": WARNING}, "cannot be removed: 403 no DELETE"),
        ("DELETE", 500, {"delete": WARNING}, "is unknown: 500 no DELETE"),
    ],
)
def test_each_permission_is_judged(
    method: str, status: int, expected: dict[str, Status], words: str, registry: MemoryRegistry
) -> None:
    """What is refused is an error, or a warning for removing; what is unknown is said to be."""
    registry.interfere = lambda each: forbid(method, status) if each.method == method else None
    found = judge(registry)
    fine = {"delete"} if method == "POST" else set()
    wanted = {name: each for name, each in ALL_FINE.items() if name not in fine} | expected
    assert list_statuses(found) == wanted
    (check,) = expected
    assert words in found[check].found
    assert found[check].why or expected[check] is OK


@pytest.mark.parametrize("access", ["basic", "bearer"])
def test_a_login_that_is_refused_is_an_error(
    access: str, registry: MemoryRegistry, home: Path
) -> None:
    """An expired password is one error of the login, with its user and never the password."""
    registry.access = access
    log_in(home, registry.address, "expired-password")
    found = judge(registry)
    assert found["login"].status is ERROR
    assert found["login"].found.startswith(f"`{registry.address}` refuses the login of `{USER}`")
    assert found["login"].remedy == f"`docker login {registry.address}`"
    assert (found["pull"].status, found["push"].status) == (ERROR, ERROR)
    assert "expired-password" not in str(found)


@pytest.mark.parametrize("access", ["basic", "bearer"])
def test_a_missing_login_is_named(access: str, registry: MemoryRegistry) -> None:
    """A registry that wants a login refuses, and the remedy is to log in."""
    registry.access = access
    found = judge(registry)
    assert found["login"].status is OK
    assert "docker has none for" in found["login"].found
    assert found["push"].status is ERROR
    assert f"docker login {registry.address}" in found["push"].remedy


def test_the_source_of_a_login_is_shown(registry: MemoryRegistry, home: Path) -> None:
    """The user and docker's file are named; the password is not."""
    log_in(home, registry.address)
    found = judge(registry)["login"]
    assert found.found == f"`{USER}` at `{registry.address}`, from {home}/.docker/config.json"
    assert PASSWORD not in str(found)


def test_a_registry_that_is_gone_is_an_error(registry: MemoryRegistry) -> None:
    """Nothing more is asked of a registry that refuses connections."""
    gone = Reference("127.0.0.1:1/app")
    sounding = sound_repository(gone, {}, insecure=False, writes=True, seconds=SECONDS)
    found = {each.check: each for each in judge_registry(sounding, str(gone))}
    assert list_statuses(found) == {"registry": ERROR, "login": OK}
    assert "connection refused" in found["registry"].found
    assert "curl -v https://127.0.0.1:1/v2/" in found["registry"].remedy
    assert registry.asked == []


def test_an_unknown_authority_has_its_own_remedy() -> None:
    """The remedy says where docker looks for certificates, and that a wrong clock spoils them."""
    cause = "its certificate is not trusted: certificate is not yet valid"
    error = RegistryError("r.example.com", "reaching it", cause, trouble=Trouble.UNREACHABLE)
    sounding = Sounding("r.example.com", FoundLogin(), error)
    found = next(judge_registry(sounding, "r.example.com/app"))
    assert cause in found.found
    assert "/etc/docker/certs.d/r.example.com/ca.crt" in found.remedy
    assert "clock" in found.remedy


def test_a_registry_that_never_answers_is_given_up(registry: MemoryRegistry) -> None:
    """All requests together have a limit; a second try would double it."""
    over = Event()

    def stall(_: Asked) -> Answer:
        over.wait(60)
        return Answer(200)

    registry.interfere = stall
    sounding = sound(registry, seconds=0.3)
    over.set()
    assert sounding.error is not None
    assert "did not answer in time" in sounding.error.cause
    assert len(registry.asked) == 1


def test_a_slow_registry_has_one_limit_for_all_requests(registry: MemoryRegistry) -> None:
    """What is asked when the time is over is unknown, not refused."""
    over = Event()

    def stall(asked: Asked) -> Answer | None:
        if asked.method == "GET":
            return None
        over.wait(60)
        return Answer(200)

    registry.interfere = stall
    sounding = sound(registry, seconds=0.5)
    over.set()
    assert sounding.error is None
    parts = (sounding.pull, sounding.push, sounding.delete)
    assert [each and each.allowed for each in parts] == [None, None, None]


def test_a_clock_a_year_off_is_an_error(registry: MemoryRegistry) -> None:
    """The registry's own time, from the header of its answer, is compared with this clock's."""
    sounding = sound(registry)
    assert sounding.moments is not None
    mine, its = sounding.moments
    assert abs(mine - its) < 60
    wrong = replace(sounding, moments=(its + YEAR, its))
    found = {each.check: each for each in judge_registry(wrong, "r/app")}
    assert found["clock"].status is ERROR
    assert "365 days ahead of the registry" in found["clock"].found


def told(status: int, out: str = "", err: str = "") -> Said:
    return Said(status, out, err)


LOGIN = json.dumps({"Username": "maria", "Secret": "s3cret-value"})


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (told(0, LOGIN), ""),
        (told(1, "credentials not found in native keychain\n"), ""),
        (told(1, "s3cret-value"), "fails: status 1"),
        (told(-9), "crashes: signal 9"),
        (told(0, "nonsense"), "gives no login in docker's form"),
        (TimeoutError(), "does not answer within 5 s"),
        (FileNotFoundError(), "is not on PATH"),
        (PermissionError(13, "Permission denied"), "cannot be run: Permission denied"),
    ],
)
def test_the_trouble_with_a_helper_is_told_apart(
    answer: Said | Exception, trouble: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helper that hangs, crashes, fails, or is missing has its own words, and no secret."""

    def ask(command: list[str], **_: object) -> Said:
        assert command == ["docker-credential-x", "get"]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("bxcache.registry.credentials.ask", ask)
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text('{"credsStore": "x"}')
    found = find_login("r.example.com", {}, SECONDS)
    assert found.trouble == (trouble and f"`docker-credential-x` {trouble}")
    assert found.hangs == isinstance(answer, TimeoutError)
    assert (found.login is not None) == (answer == told(0, LOGIN))
    assert "s3cret-value" not in str(found)
    finding = next(
        each
        for each in judge_registry(Sounding("r.example.com", found), "r")
        if "login" in each.check
    )
    assert finding.status is (ERROR if found.hangs else WARNING if trouble else OK)


@pytest.mark.parametrize(
    ("status", "trouble"), [(0, ""), (1, ""), (-11, "`docker-credential-x` crashes: signal 11")]
)
def test_a_helper_that_cannot_list_is_fine(
    status: int, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every helper lists its registries; a crash is another matter."""
    monkeypatch.setattr("bxcache.registry.credentials.ask", lambda *_, **__: told(status))
    assert find_helper_trouble("x", SECONDS).trouble == trouble


def test_the_login_is_asked_for_once(
    registry: MemoryRegistry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helper that takes long is asked once, whatever the registry asks for."""
    calls: list[float] = []

    def ask(*_: object, **__: object) -> Said:
        calls.append(time.time())
        return told(0, json.dumps({"Username": USER, "Secret": PASSWORD}))

    monkeypatch.setattr("bxcache.registry.credentials.ask", ask)
    registry.access = "basic"
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text('{"credsStore": "x"}')
    assert list_statuses(judge(registry)) == ALL_FINE
    assert len(calls) == 1
