"""The backends in cache services: GitHub's, S3 and Azure Blob Storage.

The attributes are BuildKit's, except those that bxcache sets itself: `mode` is always `max`, and
`scope` or `name` is the name of a scope. Secrets come from the environment.
https://github.com/moby/buildkit/tree/v0.32.2#export-cache
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from bxcache.config.declaration import Declaration
from bxcache.config.quantities import Age, Duration
from bxcache.config.trust import HARMLESS, asks

ALWAYS_MAX = "bxcache always exports every stage (mode=max); remove this key"
_NAMED = "bxcache names each scope itself; remove this key"
_APART = (
    "bxcache saves the cache after the image, where an error is only a warning; `cache.strict` "
    "makes it an error; remove this key"
)
_NO_COMPRESSION = "BuildKit ignores it for this kind of cache; remove this key"
_COMMON = {
    "mode": ALWAYS_MAX,
    "ignore_error": _APART,
    "ignore-error": _APART,
    "compression": _NO_COMPRESSION,
    "compression_level": _NO_COMPRESSION,
    "force_compression": _NO_COMPRESSION,
    "max_age": "bxcache removes nothing from a cache service: its own rules for old objects do",
}
_REVEALED = (
    "a secret does not belong into a file, and BuildKit's history would show it in clear; remove "
    "this key, and "
)
_AWS_KEY = (
    f"{_REVEALED}give the builder its own credentials, or this job AWS_ACCESS_KEY_ID, "
    "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
)
_CREDENTIALS = asks("it uses the credentials of the runner")
_AZURE_KEY = f"{_REVEALED}give the builder its own identity, or this job AZURE_STORAGE_KEY"
_VERSIONS = (1, 2)
Credentials = Literal["job", "builder"]
_ADDRESS = asks("it says where to send the credentials of the runner")

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z0-9][a-z0-9-]*")
# https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
_CONTAINER = re.compile(r"(?=.{3,63}$)(?:\$root|[a-z0-9](?:-?[a-z0-9])*)")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_HOST = re.compile(r"[a-zA-Z0-9.-]+|[0-9a-fA-F:.]+", re.ASCII)
_URL = re.compile(r"[!-~]+", re.ASCII)
_PART = re.compile(r"[\w.-]+", re.ASCII)
# https://docs.github.com/rest/repos/repos
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def _expect(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"`{text[:80]}` is not {what}")
        return text

    return AfterValidator(check)


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        has_host = url.port != 0 and _HOST.fullmatch(url.hostname or "") is not None
    except ValueError:
        return False
    return url.scheme in ("http", "https") and has_host and _URL.fullmatch(text) is not None


def _check_url(text: str) -> str:
    if not _is_url(text):
        raise ValueError("must be a URL with `https://` or `http://`")
    url = urlsplit(text)
    if "@" in url.netloc:
        raise ValueError("must not contain a user or password")
    if url.query or url.fragment:
        raise ValueError("must not have a `?` or `#`; credentials come from the environment")
    return text


def _check_prefix(text: str) -> str:
    parts = text.removesuffix("/").split("/")
    if text and not all(_PART.fullmatch(part) and part.strip(".") for part in parts):
        raise ValueError("must be a path of letters, digits, `_`, `-` and `.`, such as `ci/`")
    return text


def _check_count(number: int) -> int:
    if number < 1:
        raise ValueError(f"must be at least 1, not {number}")
    return number


Url = Annotated[str, AfterValidator(_check_url)]
Prefix = Annotated[str, AfterValidator(_check_prefix)]


def _check_version(number: int) -> int:
    if number not in _VERSIONS:
        raise ValueError(f"must be 1 or 2, not {number}")
    return number


Version = Annotated[
    int, AfterValidator(_check_version), Field(json_schema_extra={"enum": [*_VERSIONS]})
]
Count = Annotated[int, AfterValidator(_check_count), Field(json_schema_extra={"minimum": 1})]


class ServiceSettings(Declaration):
    """The common settings of cache services."""

    timeout: Annotated[Duration, HARMLESS] = 600
    """The time limit for saving, such as `20m`. Default: 10 minutes."""

    @property
    def keeps_all(self) -> bool:
        """Every stage is kept, and each scope has its own name."""
        return True


class GhaSettings(ServiceSettings):
    """GitHub's cache service, inside a job of GitHub Actions."""

    misplaced: ClassVar[dict[str, str]] = {
        **_COMMON,
        "scope": _NAMED,
        "name": _NAMED,
        "token": f"{_REVEALED}give this job ACTIONS_RUNTIME_TOKEN",
        "ghtoken": f"{_REVEALED}give this job GITHUB_TOKEN",
    }

    type: Annotated[Literal["gha"], HARMLESS]

    version: Annotated[Version | None, HARMLESS] = None
    """The version of the service's API. Default: as the job's ACTIONS_CACHE_SERVICE_V2 says."""

    url: Annotated[Url | None, _ADDRESS] = None
    """The service's address with version 1. Default: the job's ACTIONS_CACHE_URL."""

    url_v2: Annotated[Url | None, _ADDRESS] = None
    """The service's address with version 2. Default: the job's ACTIONS_RESULTS_URL."""

    repository: Annotated[
        str | None,
        _expect(_REPOSITORY, "a repository, such as `acme/shop`"),
        asks("it sends GITHUB_TOKEN to BuildKit"),
    ] = None
    """The repository, such as `acme/shop`. BuildKit then lists with GITHUB_TOKEN what the service
    has, instead of asking for each layer; a large cache may need that to stay below its limits."""


class S3Settings(ServiceSettings):
    """A bucket of S3, or of a service that is like S3."""

    misplaced: ClassVar[dict[str, str]] = {
        **_COMMON,
        "name": _NAMED,
        "scope": _NAMED,
        "access_key_id": _AWS_KEY,
        "secret_access_key": _AWS_KEY,
        "session_token": _AWS_KEY,
        "endpoint": "write it as `endpoint_url`",
    }

    type: Annotated[Literal["s3"], _CREDENTIALS]

    bucket: Annotated[str, _expect(_BUCKET, "a bucket's name"), HARMLESS]
    """The bucket's name."""

    region: Annotated[
        str | None, _expect(_REGION, "a region, such as `eu-central-1`"), HARMLESS
    ] = None
    """The bucket's region, such as `eu-central-1`. Default: AWS_REGION or AWS_DEFAULT_REGION of
    this job, or, with an `endpoint_url`, `us-east-1`."""

    prefix: Annotated[Prefix, HARMLESS] = ""
    """What all names in the bucket begin with, such as `ci/`."""

    blobs_prefix: Annotated[Prefix | None, HARMLESS] = None
    """What the names of layers begin with, after the prefix. BuildKit's default is `blobs/`."""

    manifests_prefix: Annotated[Prefix | None, HARMLESS] = None
    """What the names of scopes begin with, after the prefix. BuildKit's default is `manifests/`."""

    credentials: Annotated[Credentials | None, _CREDENTIALS] = None
    """Whose credentials BuildKit uses. `job` passes on those that docker finds in this job, and the
    builder's history shows them in clear to whoever may use it; `builder` leaves it to the builder
    to have its own. Default: `job` for a builder on this machine, `builder` for any other."""

    endpoint_url: Annotated[Url | None, _ADDRESS] = None
    """The address of a service that is like S3. Default: that of AWS."""

    use_path_style: Annotated[bool, HARMLESS] = False
    """Put the bucket into the path of addresses instead of the host; many services that are like S3
    need it."""

    touch_refresh: Annotated[Age, HARMLESS] = 86_400
    """How old an object may become before a save renews it, such as `12h`, so that the bucket's
    rules for old objects keep what is in use. Default: a day."""

    upload_parallelism: Annotated[Count | None, HARMLESS] = None
    """How many layers to upload at once. BuildKit's default is 4."""

    disable_accept_encoding: Annotated[bool, HARMLESS] = False
    """Leave the header `Accept-Encoding` out of requests, as some services that are like S3 need.
    BuildKit 0.30 and later."""

    retry_mode: Annotated[Literal["standard", "adaptive"] | None, HARMLESS] = None
    """How to repeat failed requests. BuildKit 0.30 and later."""

    retry_max_attempts: Annotated[Count | None, HARMLESS] = None
    """How often to try a request. BuildKit 0.30 and later."""


class AzblobSettings(ServiceSettings):
    """A container of Azure Blob Storage."""

    misplaced: ClassVar[dict[str, str]] = {
        **_COMMON,
        "name": _NAMED,
        "scope": _NAMED,
        "secret_access_key": _AZURE_KEY,
        "account_key": _AZURE_KEY,
    }

    type: Annotated[Literal["azblob"], _CREDENTIALS]

    account_url: Annotated[Url, HARMLESS]
    """The storage account's address, such as `https://acme.blob.core.windows.net`."""

    account_name: Annotated[str | None, _expect(_ACCOUNT, "a storage account's name"), HARMLESS] = (
        None
    )
    """The storage account's name. Default: the first part of the address's host."""

    container: Annotated[str | None, _expect(_CONTAINER, "a container's name"), HARMLESS] = None
    """The container's name. BuildKit's default is `buildkit-cache`."""

    prefix: Annotated[Prefix, HARMLESS] = ""
    """The folder of all names in the container, such as `ci`."""

    credentials: Annotated[Credentials | None, _CREDENTIALS] = None
    """Whose credentials BuildKit uses. `job` passes on this job's AZURE_STORAGE_KEY, and the
    builder's history shows it in clear to whoever may use it; `builder` leaves it to the builder to
    have its own. Default: `job` for a builder on this machine, `builder` for any other."""

    blobs_prefix: Annotated[Prefix | None, HARMLESS] = None
    """The folder of layers, in that of the prefix. BuildKit's default is `blobs`."""

    manifests_prefix: Annotated[Prefix | None, HARMLESS] = None
    """The folder of scopes, in that of the prefix. BuildKit's default is `manifests`."""
