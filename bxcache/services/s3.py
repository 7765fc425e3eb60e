"""A bucket of S3, with the credentials that docker would find for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.services.aws_keys import find_keys
from bxcache.services.objects import Folders, ObjectService, make_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore.store import S3Config

    from bxcache.config.services import S3Settings

_MANIFESTS, _BLOBS = "manifests/", "blobs/"
"""https://github.com/moby/buildkit/blob/v0.32.2/cache/remotecache/s3/s3.go"""
_ROLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


def open_bucket(settings: S3Settings, region: str, environment: Mapping[str, str]) -> ObjectService:
    """Open the bucket, without a request."""
    from obstore.store import S3Store  # noqa: PLC0415  # loads HTTP

    keys = find_keys(environment)
    role = next((name for name in _ROLES if environment.get(name)), "")
    config: S3Config = {"region": region}
    if settings.endpoint_url:
        config["endpoint"] = settings.endpoint_url
    config["virtual_hosted_style_request"] = not settings.use_path_style
    if keys is not None:
        config |= {"access_key_id": keys.id, "secret_access_key": keys.secret}
        if keys.token is not None:
            config["session_token"] = keys.token
    elif not role:
        # The store would ask the machine's metadata service, which may not answer.
        config["skip_signature"] = True
    store = S3Store(settings.bucket, config=config, **make_client())
    manifests, blobs = settings.manifests_prefix, settings.blobs_prefix
    folders = Folders(
        settings.prefix + (_MANIFESTS if manifests is None else manifests),
        settings.prefix + (_BLOBS if blobs is None else blobs),
    )
    name = f"s3://{settings.bucket}/{settings.prefix}"
    return ObjectService(store, folders, name, keys.source if keys is not None else role)
