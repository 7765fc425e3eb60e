"""A container of Azure Blob Storage."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bxcache.errors import Trouble
from bxcache.services.azure_key import CONTAINER, KEY
from bxcache.services.faults import ServiceError
from bxcache.services.objects import Folders, ObjectService, make_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.config.services import AzblobSettings

_MANIFESTS, _BLOBS = "manifests", "blobs"
"""https://github.com/moby/buildkit/blob/v0.32.2/cache/remotecache/azblob/utils.go"""
_IDENTITIES = ("AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE")


def open_container(
    settings: AzblobSettings, name: str, environment: Mapping[str, str]
) -> ObjectService:
    """Open the container, called `name` in messages, without a request.

    Raises:
        ServiceError: the key is not one, or the address has none of a container.
    """
    from obstore.exceptions import BaseError  # noqa: PLC0415  # loads HTTP
    from obstore.store import AzureStore  # noqa: PLC0415  # loads HTTP

    key = environment.get(KEY)
    identity = next((name for name in _IDENTITIES if environment.get(name)), "")
    url = urlsplit(settings.account_url)
    account = settings.account_name or (url.hostname or "").partition(".")[0]
    credentials = {"account_key": key} if key else {} if identity else {"skip_signature": True}
    try:
        store = AzureStore(
            settings.container or CONTAINER,
            account_name=account,
            endpoint=settings.account_url,
            **credentials,
            **make_client(),
        )
    except BaseError as error:
        why = f"{KEY if key else 'a variable with `AZURE_`'} is not valid"
        raise ServiceError(name, "opening it", why, trouble=Trouble.REFUSED) from error
    manifests, blobs = settings.manifests_prefix, settings.blobs_prefix
    folders = Folders(
        _join(settings.prefix, _MANIFESTS if manifests is None else manifests),
        _join(settings.prefix, _BLOBS if blobs is None else blobs),
    )
    return ObjectService(store, folders, name, KEY if key else identity)


def _join(*parts: str) -> str:
    """Join the parts of a folder's name, as BuildKit does."""
    joined = posixpath.normpath("/".join(parts)).strip("/")
    return "" if joined == "." else f"{joined}/"
