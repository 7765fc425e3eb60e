"""The credentials and the region of S3, as docker finds them."""

from __future__ import annotations

from configparser import ConfigParser, Error
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.config.services import S3Settings

_ID, _KEY, _TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"

_ROLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


class AwsKeys(Struct, frozen=True):
    """Credentials, with where they come from."""

    source: str
    id: str
    secret: str
    token: str | None = None


def find_keys(environment: Mapping[str, str]) -> AwsKeys | None:
    """Find the keys in variables, or in the profile of the shared credentials file.

    https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
    """
    if environment.get(_ID) and environment.get(_KEY):
        token = environment.get(_TOKEN) or None
        return AwsKeys(_ID, environment[_ID], environment[_KEY], token)
    home = environment.get("HOME") or "/nonexistent"
    path = Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or f"{home}/.aws/credentials")
    profile = environment.get("AWS_PROFILE") or "default"
    parser = ConfigParser(interpolation=None)
    with suppress(OSError, Error, ValueError, RuntimeError):
        path = path.expanduser()
        parser.read_string(path.read_text(encoding="utf-8"))
        found = parser[profile] if parser.has_section(profile) else {}
        if found.get("aws_access_key_id") and found.get("aws_secret_access_key"):
            return AwsKeys(
                f"the profile `{profile}` of {path}",
                found["aws_access_key_id"],
                found["aws_secret_access_key"],
                found.get("aws_session_token"),
            )
    return None


def find_source(environment: Mapping[str, str]) -> str:
    """Where credentials come from, for people; empty without any."""
    keys = find_keys(environment)
    return keys.source if keys is not None else find_role(environment)


def find_role(environment: Mapping[str, str]) -> str:
    """The variable that names a role whose credentials a service gives; empty without one.

    https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
    """
    return next((name for name in _ROLES if environment.get(name)), "")


def find_region(settings: S3Settings, environment: Mapping[str, str]) -> str | None:
    """Find the region; None if neither the settings nor a variable names it."""
    named = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    return settings.region or named or ("us-east-1" if settings.endpoint_url else None)
