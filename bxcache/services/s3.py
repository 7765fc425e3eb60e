"""A bucket of S3, with the credentials that docker would find for it."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bxcache.errors import Trouble
from bxcache.services.aws_keys import find_keys, find_role, find_source
from bxcache.services.faults import ServiceError
from bxcache.services.objects import Folders, ObjectService, make_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore.store import S3Config

    from bxcache.config.services import S3Settings

_MANIFESTS, _BLOBS = "manifests/", "blobs/"
"""https://github.com/moby/buildkit/blob/v0.32.2/cache/remotecache/s3/s3.go"""


def open_bucket(
    settings: S3Settings, name: str, region: str, environment: Mapping[str, str]
) -> ObjectService:
    """Open the bucket, called `name` in messages, without a request.

    Raises:
        ServiceError: variables of AWS have values that it cannot have.
    """
    from obstore.exceptions import BaseError  # noqa: PLC0415  # loads HTTP
    from obstore.store import S3Store  # noqa: PLC0415  # loads HTTP

    endpoint, is_hosted = find_endpoint(settings, region)
    config: S3Config = {
        "region": region,
        "endpoint": endpoint,
        "virtual_hosted_style_request": is_hosted,
    }
    keys = find_keys(environment)
    if keys is not None:
        config |= {"access_key_id": keys.id, "secret_access_key": keys.secret}
        if keys.token is not None:
            config["session_token"] = keys.token
    elif not find_role(environment):
        # The store would ask the machine's metadata service, which may not answer.
        config["skip_signature"] = True
    try:
        store = S3Store(settings.bucket, config=config, **make_client())
    except BaseError as error:
        why = f"a variable with `AWS_` is not valid: {str(error).splitlines()[0]}"
        raise ServiceError(name, "opening it", why, trouble=Trouble.REFUSED) from error
    manifests, blobs = settings.manifests_prefix, settings.blobs_prefix
    folders = Folders(
        settings.prefix + (_MANIFESTS if manifests is None else manifests),
        settings.prefix + (_BLOBS if blobs is None else blobs),
    )
    return ObjectService(store, folders, name, find_source(environment))


def find_endpoint(settings: S3Settings, region: str) -> tuple[str, bool]:
    """Find the address of a bucket's objects, and whether its host names the bucket.

    AWS's client puts the bucket into the host, unless that is an address of the network, or TLS
    would not know the host: https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
    """
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    url = urlsplit(settings.endpoint_url or f"https://s3.{region}.{domain}")
    is_pathed = settings.use_path_style and settings.endpoint_url is not None
    is_dotted = "." in settings.bucket and url.scheme == "https"
    if is_pathed or is_dotted or _is_address(url.hostname or ""):
        return url.geturl(), False
    return url._replace(netloc=f"{settings.bucket}.{url.netloc}").geturl(), True


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return False
