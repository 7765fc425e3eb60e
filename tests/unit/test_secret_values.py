"""Build arguments that look like secrets: known formats, names, random values; and others."""

from __future__ import annotations

import secrets
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.secret_values import FORMATS, describe_secret

MIXED = "aB3dE6fG9hJ2kL5mN8pQ1rS4tU7vW0xY3zA6bC9dE2fG5hJ8kL1mN4pQ7rS0tU3vW6xY9zA2bC5dE8fG1h4"
HEX = "0123456789abcdef" * 4
EXAMPLES: dict[str, list[str]] = {
    "a GitHub token": [f"ghp_{MIXED[:36]}", f"ghs_{MIXED[:36]}", f"github_pat_{MIXED[:82]}"],
    "a GitLab token": [f"glpat-{MIXED[:20]}", f"glcbt-64_{MIXED[:20]}", f"gldt-{MIXED[:20]}"],
    "an AWS access key": ["AKIA" + "IOSFODNN7EXAMPLE", "ASIA" + "IOSFODNN7EXAMPLE"],
    "an Azure storage key": [
        f"{MIXED[:60]}{MIXED[:26]}==",
        f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={MIXED[:60]}{MIXED[:26]}==;E=x",
    ],
    "an Azure signature": [f"https://a.blob.core.windows.net/c?sv=2024&sig={MIXED[:43]}%3D&se=1"],
    "a Google API key": [f"AIza{MIXED[:35]}"],
    "a Google token": [f"ya29.{MIXED[:40]}", f"GOCSPX-{MIXED[:28]}"],
    "a Slack token": [f"xoxb-1234567890-{MIXED[:24]}", f"xapp-1-A012-{MIXED[:30]}"],
    "a Slack webhook": [f"https://hooks.slack.com/services/T0123/B0123/{MIXED[:24]}"],
    "an npm token": [f"npm_{MIXED[:36]}"],
    "a PyPI token": [f"pypi-AgEIcHlwaS5vcmc{MIXED[:60]}"],
    "a Docker Hub token": [f"dckr_pat_{MIXED[:27]}", f"dckr_oat_{MIXED[:32]}"],
    "a RubyGems key": [f"rubygems_{HEX[:48]}"],
    "a Stripe key": [f"sk_live_{MIXED[:24]}", f"rk_test_{MIXED[:24]}", f"whsec_{MIXED[:32]}"],
    "an OpenAI key": [f"sk-{MIXED[:48]}", f"sk-proj-{MIXED[:60]}"],
    "an Anthropic key": [f"sk-ant-api03-{MIXED[:80]}"],
    "a Hugging Face token": [f"hf_{MIXED[:34]}"],
    "a SendGrid key": [f"SG.{MIXED[:22]}.{MIXED[:43]}"],
    "a DigitalOcean token": [f"dop_v1_{HEX[:64]}"],
    "a Vault token": [f"hvs.{MIXED[:24]}"],
    "a Terraform token": [f"{MIXED[:14]}.atlasv1.{MIXED[:67]}"],
    "a Sentry token": [f"sntrys_{MIXED[:60]}"],
    "a Telegram token": [f"123456789:AA{MIXED[:33]}"],
    "a JSON web token": [f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.{MIXED[:43]}"],
    "a private key": ["-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n"],
    "an age key": [f"AGE-SECRET-KEY-1{(MIXED[:58]).upper()}"],
}
"""Values in the form that the page of each format shows."""
ORDINARY = """\
VERSION=1.2.3
VERSION=v22.11.0-rc.1+build.7
PYTHON_VERSION=3.13
NODE_VERSION=lts/jod
BASE_IMAGE=python:3.13-slim-bookworm
BASE=registry.example.com/Team/Base-Image:2026-11-30@sha256:{sha256}
GIT_COMMIT={sha1}
SHORT_SHA=3f2a91c
GIT_BRANCH=feature/ABC-1234-add-new-API-v2
GIT_TAG=release/2026.11
BUILD_DATE=2026-11-30T22:06:45Z
SOURCE_DATE_EPOCH=1764540405
BUILD_NUMBER=18234
BUILD_ID=5f3759df-1b2c-4d5e-8f90-a1b2c3d4e5f6
RUN_ID=9876543210
CHECKSUM=sha256:{sha256}
INTEGRITY=sha512-{base64}==
GO_SUM=h1:{base64}=
MD5=9e107d9d372bb6826bd81d3542a419d6
USER=app
UID=1000
GID=1000
HOME=/home/app
TZ=Europe/Berlin
LANG=en_US.UTF-8
HTTP_PROXY=http://proxy.example.com:3128
NO_PROXY=localhost,127.0.0.1,.example.com
PIP_INDEX_URL=https://pypi.example.com/simple/
NPM_CONFIG_REGISTRY=https://npm.example.com/Team/Group/Repository/
MIRROR=http://mirror.example.com/debian
TARGETPLATFORM=linux/arm64/v8
GOFLAGS=-trimpath -mod=readonly
GOPROXY=https://goproxy.example.com,direct
LDFLAGS=-s -w -X main.version=1.2.3
CFLAGS=-O2 -march=x86-64-v3 -DNDEBUG -fstack-protector-strong
JAVA_OPTS=-Xmx512m -XX:+UseG1GC -XX:MaxRAMPercentage=75.0
MAVEN_OPTS=-Dmaven.repo.local=/root/.m2/Repository
RUSTFLAGS=-C target-cpu=native
FEATURES=postgres,redis,s3
NODE_ENV=production
DEBUG=false
JOBS=4
PORT=8080
DB_HOST=db.internal
DB_NAME=app_production
REQUIREMENTS=requirements/dev.txt
EXTRA_PACKAGES=curl ca-certificates gnupg2
CACHE_KEY=deps-2026-11
PUBLIC_KEY=MCowBQYDK2VwAyEA
SSH_KEY_FILE=/run/secrets/ssh
TOKEN_VERSION=2
PASSTHROUGH=yes
BYPASS=true
COMPASS=north
USE_AUTH=true
CI_JOB_NAME=build: [linux, 3.13]
GREETING=Hello World
MAX_TOKENS=32768
ACCESS_TOKEN_EXPIRE_SECONDS=86400
JWT_ALGORITHM=HS256
AUTH_URL=https://login.example.com/oauth
AUTH_MODE=oidc
VITE_AUTH0_DOMAIN=example.eu.auth0.com
OAUTH_CLIENT_ID=web-frontend
KUBECONFIG=/etc/kube/config
SSH_AUTH_SOCK=/tmp/ssh
SSH_PUBLIC_KEY=ssh-rsa {base64}
VAPID_PUBLIC_KEY={base64}
PACKAGE=sk-learn-ai-something-long-name-with-dashes-000
EMPTY=
"""
NAMES = {
    "NPM_TOKEN": "letmein",
    "DB_PASSWORD": "postgres",
    "AWS_SECRET_ACCESS_KEY": "not-even-long",
    "API_KEY": "abc",
    "GIT_CREDENTIALS": "maria:hunter2",
    "CACHE_KEY": MIXED[:40],
    "KEY_PASSWORD": "changeit",
    "TLS_KEY_PASSPHRASE": "abc",
    "PAT_TOKEN": "abc",
}


def test_every_format_has_an_example() -> None:
    assert EXAMPLES.keys() == FORMATS.keys()


@pytest.mark.parametrize("kind", EXAMPLES)
def test_each_format_is_found_whatever_the_name(kind: str) -> None:
    found = [describe_secret("VALUE", each) for each in EXAMPLES[kind]]
    assert found == [f"its value looks like {kind}"] * len(found)


def test_ordinary_arguments_are_left_alone() -> None:
    digests = {"sha1": HEX[:40], "sha256": HEX, "base64": f"{MIXED[:60]}{MIXED[:26]}"}
    pairs = [line.partition("=")[::2] for line in ORDINARY.format(**digests).splitlines()]
    assert len(pairs) > 60
    assert {name: why for name, value in pairs if (why := describe_secret(name, value))} == {}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_enough(name: str) -> None:
    assert describe_secret(name, NAMES[name]) == "its name looks like that of a secret"


@pytest.mark.parametrize("value", ["", "true", "0", "none", "auto"])
def test_a_switch_with_such_a_name_is_none(value: str) -> None:
    assert describe_secret("USE_TOKEN", value) is None


@pytest.mark.parametrize(
    "value", ["https://maria:hunter2@example.com/simple", "redis://:pw@cache/0"]
)
def test_a_url_with_a_password_is_one(value: str) -> None:
    assert describe_secret("INDEX", value) == "its value is a URL with a password"


def test_random_values_are_found() -> None:
    """Of 400 passwords of 40 letters and digits, nearly all are found."""
    signs = string.ascii_letters + string.digits
    values = ["".join(secrets.choice(signs) for _ in range(40)) for _ in range(400)]
    assert sum(describe_secret("VALUE", each) is not None for each in values) > 380


@given(st.text(), st.text())
def test_any_text_is_judged(name: str, value: str) -> None:
    """No name or value makes it fail, and an empty value is never a secret."""
    describe_secret(name, value)
    assert describe_secret(name, "") is None
