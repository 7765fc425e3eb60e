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
    named = environment.get("AWS_SHARED_CREDENTIALS_FILE")
    path = Path(named).expanduser() if named else _find_home(environment) / ".aws" / "credentials"
    profile = environment.get("AWS_PROFILE") or "default"
    parser = ConfigParser(interpolation=None)
    with suppress(OSError, Error, ValueError):
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


def _find_home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or "/nonexistent")


def find_region(settings: S3Settings, environment: Mapping[str, str]) -> str | None:
    """Find the region; None if neither the settings nor a variable names it."""
    named = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    return settings.region or named or ("us-east-1" if settings.endpoint_url else None)
