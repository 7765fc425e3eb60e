"""A container of Azure Blob Storage."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bxcache.errors import Trouble
from bxcache.services.faults import ServiceError
from bxcache.services.objects import Folders, ObjectService, make_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.config.services import AzblobSettings

_CONTAINER, _MANIFESTS, _BLOBS = "buildkit-cache", "manifests", "blobs"
"""https://github.com/moby/buildkit/blob/v0.32.2/cache/remotecache/azblob/utils.go"""
_IDENTITIES = ("AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE")


def open_container(
    settings: AzblobSettings, key: str | None, environment: Mapping[str, str]
) -> ObjectService:
    """Open the container, without a request; ServiceError if the key is not one."""
    from obstore.exceptions import BaseError  # noqa: PLC0415  # loads HTTP
    from obstore.store import AzureStore  # noqa: PLC0415  # loads HTTP

    identity = next((name for name in _IDENTITIES if environment.get(name)), "")
    container = settings.container or _CONTAINER
    url = urlsplit(settings.account_url)
    name = settings.account_name or (url.hostname or "").partition(".")[0]
    shown = f"{settings.account_url.rstrip('/')}/{container}"
    credentials = {"account_key": key} if key else {} if identity else {"skip_signature": True}
    try:
        store = AzureStore(
            container,
            account_name=name,
            endpoint=settings.account_url,
            **credentials,
            **make_client(),
        )
    except BaseError as error:
        why = "the storage account's key is not valid"
        raise ServiceError(shown, "opening it", why, trouble=Trouble.REFUSED) from error
    manifests, blobs = settings.manifests_prefix, settings.blobs_prefix
    folders = Folders(
        _join(settings.prefix, _MANIFESTS if manifests is None else manifests),
        _join(settings.prefix, _BLOBS if blobs is None else blobs),
    )
    return ObjectService(store, folders, shown, "AZURE_STORAGE_KEY" if key else identity)


def _join(*parts: str) -> str:
    """Join the parts of a folder's name, as BuildKit does."""
    joined = posixpath.normpath("/".join(parts)).strip("/")
    return "" if joined == "." else f"{joined}/"
