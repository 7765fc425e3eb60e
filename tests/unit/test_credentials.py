"""Tests of reading docker's login to a registry, from the config files of docker and others."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.process import Answer
from bxcache.registry.credentials import Login, find_login

HOST = "registry.example.com:5000"
HUB_KEY = "https://index.docker.io/v1/"
SECRET = "s:e:c:r:e:t"


def encode(user: str, secret: str) -> str:
    """Encode a login as `docker login` does."""
    return base64.b64encode(f"{user}:{secret}".encode()).decode()


ENTRY = {"auth": encode("maria", SECRET)}
STORED = Login("maria", SECRET)
HELPED = Login("helper", "from-helper")


class Helper:
    """A stand-in for all `docker-credential-*` programs."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], str | None]] = []
        self.answer: Answer | Exception = Answer(1, "credentials not found", "")

    def __call__(self, command: list[str], *, stdin: str | None, seconds: float) -> Answer:
        assert 0 < seconds <= 60
        self.asked.append((command, stdin))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture(autouse=True)
def helper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Helper:
    """Set up a helper without logins, and no config file."""
    found = Helper()
    monkeypatch.setattr("bxcache.registry.credentials.ask", found)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return found


def find(tmp_path: Path, settings: object, host: str = HOST) -> Login | None:
    text = settings if isinstance(settings, bytes) else json.dumps(settings).encode()
    (tmp_path / "config.json").write_bytes(text)
    return find_login(host, {"DOCKER_CONFIG": str(tmp_path)}).login


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": encode("maria", "pw")}, Login("maria", "pw")),
        ({"auth": encode("maria", SECRET)}, STORED),
        ({"auth": base64.b64encode(b"maria:pw\0\0").decode()}, Login("maria", "pw")),
        ({"auth": encode("maria", "pässword")}, Login("maria", "pässword")),
        ({"auth": "", "identitytoken": "token"}, Login("", "token")),
        ({"auth": encode("maria", "pw"), "identitytoken": "token"}, Login("", "token")),
        ({"auth": encode("<token>", "token")}, Login("", "token")),
        ({"username": "maria", "password": "pw"}, Login("maria", "pw")),
        ({"auth": encode("maria", "")}, None),
        ({"auth": encode("", "pw")}, None),
        ({"auth": base64.b64encode(b"maria").decode()}, None),
        ({"auth": "!!!"}, None),
        ({"auth": base64.b64encode(b"\xff:\xfe").decode()}, None),
        ({"auth": 7}, None),
        ({"auth": None}, None),
        ({}, None),
        ("maria:pw", None),
        (None, None),
    ],
)
def test_an_entry_of_the_config_file(tmp_path: Path, entry: object, expected: Login | None) -> None:
    """Docker's entries are read; other entries give no login and no error."""
    assert find(tmp_path, {"auths": {HOST: entry}}) == expected


@given(
    st.text(st.characters(exclude_characters=":\0", exclude_categories=["Cs"]), min_size=1),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
)
def test_any_user_and_password_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, user: str, secret: str
) -> None:
    """Any user without a colon and any password are read back unchanged."""
    found = find(
        tmp_path_factory.mktemp("docker"), {"auths": {HOST: {"auth": encode(user, secret)}}}
    )
    assert found == (Login(user, secret) if user != "<token>" else Login("", secret))


@pytest.mark.parametrize(
    ("key", "host", "known"),
    [
        (HOST, HOST, True),
        (f"https://{HOST}", HOST, True),
        (f"https://{HOST}/", HOST, True),
        (f"http://{HOST}", HOST, True),
        (f"https://{HOST}/v1/", HOST, True),
        (f"https://{HOST}/v2/", HOST, True),
        ("registry.example.com", HOST, False),
        (HOST, "registry.example.com", False),
        ("evil.example", HOST, False),
        (f"https://evil.example/{HOST}", HOST, False),
        (HUB_KEY, "docker.io", True),
        ("docker.io", "docker.io", True),
        (HUB_KEY, "index.example.io", False),
    ],
)
def test_a_login_belongs_to_one_registry(
    tmp_path: Path,
    key: str,
    host: str,
    known: bool,  # noqa: FBT001
) -> None:
    """A login belongs to one registry, also under the URLs of old docker and of Docker Hub."""
    assert find(tmp_path, {"auths": {key: ENTRY}}, host) == (STORED if known else None)


@pytest.mark.parametrize(
    ("settings", "host", "command", "asked_for"),
    [
        ({"credsStore": "desktop"}, HOST, "docker-credential-desktop", HOST),
        ({"credsStore": "desktop"}, "docker.io", "docker-credential-desktop", HUB_KEY),
        ({"credHelpers": {HOST: "ecr"}}, HOST, "docker-credential-ecr", HOST),
        ({"credHelpers": {HUB_KEY: "pass"}}, "docker.io", "docker-credential-pass", HUB_KEY),
        ({"credHelpers": {"docker.io": "pass"}}, "docker.io", "docker-credential-pass", HUB_KEY),
        (
            {"credHelpers": {HOST: "ecr"}, "credsStore": "desktop"},
            HOST,
            "docker-credential-ecr",
            HOST,
        ),
        (
            {"credHelpers": {"other": "ecr"}, "credsStore": "desktop"},
            HOST,
            "docker-credential-desktop",
            HOST,
        ),
    ],
)
def test_a_registrys_own_helper_is_used(
    tmp_path: Path, helper: Helper, settings: object, host: str, command: str, asked_for: str
) -> None:
    """A registry's own helper takes precedence over the common one and gets the key on stdin."""
    helper.answer = Answer(0, json.dumps({"Username": "helper", "Secret": "from-helper"}), "")
    assert find(tmp_path, settings, host) == HELPED
    assert helper.asked == [([command, "get"], asked_for)]


@pytest.mark.parametrize(
    "settings",
    [
        {"credHelpers": {"other": "ecr"}},
        {"credHelpers": {HOST: ""}, "credsStore": "desktop"},
        {"credHelpers": [HOST], "credsStore": ["x"]},
        {"credsStore": ""},
        {},
    ],
)
def test_without_a_helper_only_the_file_is_used(
    tmp_path: Path, helper: Helper, settings: dict[str, Any]
) -> None:
    """An empty helper name for a registry means docker's own file."""
    assert find(tmp_path, {**settings, "auths": {HOST: ENTRY}}) == STORED
    assert helper.asked == []


def test_a_helper_can_give_an_identity_token(tmp_path: Path, helper: Helper) -> None:
    """A special user name in the helpers' protocol marks an identity token."""
    helper.answer = Answer(0, json.dumps({"Username": "<token>", "Secret": "token"}), "")
    found = find(tmp_path, {"credsStore": "desktop"})
    assert found == Login("", "token")
    assert found is not None
    assert found.is_token


@pytest.mark.parametrize(
    "answer",
    [
        FileNotFoundError("docker-credential-desktop"),
        PermissionError("docker-credential-desktop"),
        TimeoutError(),
        Answer(1, "credentials not found in native keychain", ""),
        Answer(0, "", ""),
        Answer(0, "no JSON", ""),
        Answer(0, "[]", ""),
        Answer(0, "[" * 100_000, ""),
        Answer(0, json.dumps({"Username": "helper"}), ""),
        Answer(0, json.dumps({"Username": "", "Secret": ""}), ""),
        Answer(0, json.dumps({"Username": 1, "Secret": 2}), ""),
    ],
)
def test_a_failing_helper_falls_back_to_the_file(
    tmp_path: Path, helper: Helper, answer: Answer | Exception
) -> None:
    """After a missing, failing, late or malformed answer of a helper, the file is used."""
    helper.answer = answer
    settings = {"credsStore": "desktop", "auths": {HOST: ENTRY}}
    assert find(tmp_path, settings) == STORED
    assert find(tmp_path, {"credsStore": "desktop"}) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b"null",
        b'{"auths": []}',
        b'{"auths": null}',
        json.dumps({"auths": {HOST: ENTRY}, "rest": "x" * (2 << 20)}).encode(),
    ],
    ids=["empty", "open", "no UTF-8", "deep", "list", "null", "no table", "nothing", "huge"],
)
def test_an_invalid_config_file_gives_no_login(tmp_path: Path, text: bytes) -> None:
    """An invalid config file gives no login; docker reports it itself."""
    assert find(tmp_path, text) is None


def test_without_a_config_file_there_is_no_login(tmp_path: Path) -> None:
    """Without a config file, or with a folder in its place, there is no login."""
    assert find_login(HOST, {"DOCKER_CONFIG": str(tmp_path / "nowhere")}).login is None
    (tmp_path / "config.json").mkdir()
    assert find_login(HOST, {"DOCKER_CONFIG": str(tmp_path)}).login is None


@pytest.mark.parametrize("environment", [{}, {"DOCKER_CONFIG": ""}])
def test_the_file_is_in_the_home_folder(tmp_path: Path, environment: dict[str, str]) -> None:
    """The config file is in the home folder unless `DOCKER_CONFIG` is set."""
    folder = tmp_path / "home" / ".docker"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"auths": {HOST: ENTRY}}))
    assert find_login(HOST, environment).login == STORED
    assert find_login(HOST, {"DOCKER_CONFIG": str(tmp_path)}).login is None


@pytest.mark.parametrize("login", [STORED, Login("", SECRET)])
def test_a_secret_is_not_in_a_logins_text(login: Login) -> None:
    """A login's text and repr do not contain the secret."""
    for text in (repr(login), str(login), f"{login}", f"{[login]}", f"{login!r}"):
        assert SECRET not in text


def test_the_header_of_a_login() -> None:
    """The header matches the example of RFC 7617, section 2."""
    assert Login("Aladdin", "open sesame").basic == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_helper_that_cannot_be_named_is_trouble_only(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name of a helper that no program can have leaves docker without a login, and no more."""

    def refuse(words: list[str], **_: object) -> None:
        for word in words:
            os.fsencode(word)
        raise ValueError("embedded null byte")

    monkeypatch.setattr("bxcache.registry.credentials.ask", refuse)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": name}))
    found = find_login("r.example.com", {"DOCKER_CONFIG": str(tmp_path)})
    assert found.login is None
    assert "cannot be run" in found.trouble
    assert found.trouble.isprintable()
