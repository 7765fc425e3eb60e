"""Tests that secrets are masked wherever they occur."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bxcache.buildx.secrets import find_secrets, redact_argv
from bxcache.buildx.stream.raw import StreamRedactor
from bxcache.redaction import MASK, Redactor, is_secret_name

SECRET = "hunter2-hunter2"


BUILDKIT = (
    *("apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd"),
    *("secret", "token"),
)
HARMLESS = ("public", "file", "version")
"""The words that BuildKit's rule SecretsUsedInArgOrEnv matches, and those that it excludes:
https://github.com/moby/buildkit/blob/v0.32.2/frontend/dockerfile/dockerfile2llb/validations.go"""


@pytest.mark.parametrize("word", BUILDKIT)
def test_names_that_buildkit_warns_about_are_secret(word: str) -> None:
    """The words that BuildKit warns about are recognised in any position, except in file names."""
    for name in (word, f"{word}_X", f"X_{word}", f"x_{word}_x"):
        assert is_secret_name(name)
        assert is_secret_name(name.upper())
        for harmless in HARMLESS:
            assert not is_secret_name(f"{harmless}_{name}")
            assert not is_secret_name(f"{name}_{harmless}".upper())


@pytest.mark.parametrize(
    "name",
    [
        *("TOKEN", "NPM_TOKEN", "GITHUB_TOKEN", "ghtoken", "token", "session_token"),
        *("PASSWORD", "db_passwd", "PASS", "PIP_PASS", "PGPASSFILE_PASSWORD", "passphrase"),
        *("SECRET", "client_secret", "secret_access_key", "access_key_id", "ACCOUNT_KEY"),
        *("API_KEY", "apikey", "SSH_PRIVATE_KEY", "NPM_AUTH", "CREDENTIALS", "GH_PAT", "key"),
        *("PWORD", "DBPWORD", "PGPASS", "AUTHORIZATION", "JWT", "COOKIE", "SESSION", "SENTRY_DSN"),
        *("SLACK_WEBHOOK", "SLACK_WEBHOOK_URL", "CONNECTION_STRING", "ConnectionString"),
        *("AZURE_SAS", "SAS_URL", "SSHKEY", "DEPLOYKEY", "ENCRYPTIONKEY", "MASTERKEY"),
        *("BASICAUTH", "USERPASS", "NPMRC", "DOCKERCONFIGJSON", "DOCKER_AUTH_CONFIG", "DBPWD"),
        *("privateKey", "API_KEYS", "OAUTH", "MYSQL_PWD", "auth.token", "PROFILE_TOKEN", "KEY2"),
    ],
)
def test_common_names_of_secrets_are_recognized(name: str) -> None:
    """Common names of secrets are recognised."""
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("VERSION", "MONKEY", "KEYBOARD", "AUTHOR", "PATH", "COMPASS", "BYPASSED", "PATCH"),
        *("target", "PUBLIC_KEY", "PUBLICKEY", "TURKEY", "BYPASS", "MULTIPASS", "AUTHORITY"),
        *("TOKENIZER", "SESSION_TIMEOUT", "COOKIE_DOMAIN", "COOKIECUTTER", "CACHEKEY", "DESIGN"),
        *("KEYCLOAK_URL", "PASSENGER", "SASS", "PASSWORD_FILE", "KEY_VERSION", "PATTERN", "SIGNAL"),
    ],
)
def test_other_names_are_not_taken_for_secrets(name: str) -> None:
    """A short word inside a longer word does not make a secret."""
    assert not is_secret_name(name)


ARGUMENTS = [
    ["--build-arg", f"TOKEN={SECRET}"],
    [f"--build-arg=TOKEN={SECRET}"],
    ["--build-arg", f"PASSWORD={SECRET}"],
    ["--build-arg", f"INDEX=https://me:{SECRET}@pypi.example.com/simple"],
    ["--build-arg", f"INDEX=https://{SECRET}@pypi.example.com/simple"],
    ["--cache-to", f"type=s3,bucket=b,secret_access_key={SECRET}"],
    ["--cache-to", f'type=s3,"secret_access_key={SECRET}"'],
    ["--label", f"api_key={SECRET}"],
    [f"https://me:{SECRET}@git.example.com/repo.git#main"],
]


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_a_secret_is_never_in_a_shown_command(arguments: list[str]) -> None:
    """A shown command has its secrets masked and everything else unchanged."""
    shown = " ".join(redact_argv(arguments, Redactor(find_secrets(arguments, {}))))
    assert SECRET not in shown
    assert MASK in shown
    assert shown.replace(MASK, "").strip()


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_a_secret_found_in_a_command_is_masked_in_other_text(arguments: list[str]) -> None:
    """A secret from a command is masked in a step's output."""
    redact = Redactor(find_secrets(arguments, {}))
    assert redact(f"curl -H 'Authorization: {SECRET}'") == f"curl -H 'Authorization: {MASK}'"


def test_short_secrets_are_masked_only_where_they_are_written() -> None:
    """A short secret, such as `PASS=1`, is masked only where it is written."""
    arguments = ["--build-arg", "PASS=1", "--build-arg", "DISABLE_AUTH=true"]
    redact = Redactor(find_secrets(arguments, {}))
    assert redact_argv(arguments, redact)[1] == f"PASS={MASK}"
    assert redact("step 1 is true") == "step 1 is true"


def test_values_that_docker_takes_from_the_environment_are_secrets_too() -> None:
    """The variables that `--build-arg TOKEN` and `--secret id=x,env=Y` name are secrets."""
    environment = {"TOKEN": SECRET, "Y": "another-secret", "npm": "third-secret", "HOME": "/root"}
    arguments = ["--build-arg", "TOKEN", "--secret", "id=x,env=Y", "--secret", "id=npm"]
    found = set(find_secrets([*arguments, "--build-arg", "HOME"], environment))
    assert {SECRET, "another-secret", "third-secret"} <= found
    assert "/root" not in found


def test_each_line_of_a_key_is_masked() -> None:
    """Each line of a key is masked by itself."""
    key = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\n-----END KEY-----"
    redact = Redactor(find_secrets([f"SSH_KEY={key}"], {}))
    assert redact("  MIIEpAIBAAKCAQEA") == f"  {MASK}"


def test_secrets_in_the_raw_stream_are_masked_inside_base64() -> None:
    """A secret in a base64 log line of the raw stream is masked."""
    data = base64.b64encode(f"token is {SECRET}\n".encode()).decode()
    line = json.dumps({"logs": [{"vertex": "v", "data": data}], "note": SECRET})
    shown = json.loads(StreamRedactor(Redactor([SECRET]))(line))
    assert base64.b64decode(shown["logs"][0]["data"]).decode() == f"token is {MASK}\n"
    assert shown["note"] == MASK


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="*"), max_size=60))
def test_masking_is_stable(text: str) -> None:
    """Masking a masked text changes nothing."""
    redact = Redactor([SECRET])
    assert redact(redact(text)) == redact(text)


def mask_pieces(secrets: list[str], pieces: list[tuple[int, bytes]], *, ends: bool) -> list[bytes]:
    """Return the final output of a step that prints these pieces to two streams."""
    mask = StreamRedactor(Redactor(secrets))
    lines = [
        {"logs": [{"vertex": "v", "stream": stream, "data": base64.b64encode(piece).decode()}]}
        for stream, piece in pieces
    ]
    end = {"vertexes": [{"digest": "v", "completed": "2026-01-01T00:00:00Z"}]} if ends else {}
    shown = [mask(json.dumps(line)) for line in [*lines, end]]
    assert not (ends and list(mask.finish()))
    logs = [
        log
        for line in [*shown, *([] if ends else mask.finish())]
        for log in json.loads(line).get("logs", [])
    ]
    return [
        b"".join(base64.b64decode(log["data"]) for log in logs if log["stream"] == stream)
        for stream in (1, 2)
    ]


@example(secrets=["aaaa"], pieces=[(1, "a"), (1, "a"), (1, "aa")], ends=False)
@given(
    secrets=st.lists(st.text("ab", min_size=4, max_size=6), min_size=1, max_size=3),
    pieces=st.lists(st.tuples(st.sampled_from([1, 2]), st.text("ab\n", max_size=7)), max_size=12),
    ends=st.booleans(),
)
def test_a_secret_in_several_pieces_is_masked(
    secrets: list[str],
    pieces: list[tuple[int, str]],
    ends: bool,  # noqa: FBT001
) -> None:
    """A secret in several pieces is masked on each stream, and no other text is lost."""
    encoded = [(stream, piece.encode()) for stream, piece in pieces]
    redact = Redactor(secrets)
    whole = ("".join(piece for stream, piece in pieces if stream == number) for number in (1, 2))
    assert mask_pieces(secrets, encoded, ends=ends) == [redact(each).encode() for each in whole]
