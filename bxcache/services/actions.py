"""GitHub's cache service, as BuildKit's `gha` backend uses it.

A scope is an entry `index-SCOPE-1-REF#N`; REF is a hash of the git ref that may read or write it,
which the job's token lists, and N grows with each save.
https://github.com/moby/buildkit/blob/v0.32.2/cache/remotecache/gha/gha.go
https://github.com/tonistiigi/go-actions-cache/blob/master/api.md
"""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import urllib3
from msgspec import Struct
from urllib3.exceptions import HTTPError

from bxcache.errors import Trouble
from bxcache.registry.connection import make_pool
from bxcache.services.actions_access import FIRST, TOKEN
from bxcache.services.faults import ServiceError
from bxcache.services.service import LATE, SECONDS_TO_ANSWER, SECONDS_TO_CONNECT, Stored

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from bxcache.services.actions_access import Access

_VERSION = hashlib.sha256(b"|go-actionscache-1.0").hexdigest()
_TIMEOUT = urllib3.Timeout(connect=SECONDS_TO_CONNECT, read=SECONDS_TO_ANSWER)
_TWIRP = "twirp/github.actions.results.api.v1.CacheService"
_BYTES = "application/octet-stream"
_OK, _NOT_FOUND, _CONFLICT = 200, 404, 409
_DONE, _DENIED = (_OK, 201, 204), (401, 403)
_ANSWERS = (*_DONE, _NOT_FOUND, _CONFLICT)
_MOST_ATTEMPTS = 5
_CAN_WRITE = 2


class Entry(Struct, frozen=True):
    """An entry of the cache service: its key, and the address of its content."""

    key: str
    url: str


class ActionsService:
    """GitHub's cache service. All methods raise ServiceError if a request fails."""

    credentials = TOKEN

    def __init__(self, access: Access) -> None:
        """Take the access, without a request."""
        self._access = access
        self._pools: dict[str, urllib3.PoolManager] = {}
        self.name = access.url.rstrip("/")

    def read(self, scope: str) -> Stored | None:
        with self._explain(f"looking up `{scope}`"):
            for ref in self._refs:
                entry = self._find(f"index-{scope}-1-{ref}#")
                reply = self._request("GET", entry.url) if entry is not None else None
                if reply is not None and reply.status == _OK:
                    return Stored(reply.data)
        return None

    def write(self, scope: str, data: bytes) -> None:
        """Write a new entry of the scope; entries never change, and the newest one counts."""
        with self._explain(f"writing `{scope}`"):
            name = f"index-{scope}-1-{self._refs[0]}#"
            last = self._find(name)
            number = int(last.key.removeprefix(name)) if last is not None else 0
            for key in (f"{name}{number + more}" for more in range(1, _MOST_ATTEMPTS + 1)):
                if self._upload(key, data):
                    return
        why = "other jobs are saving the same scope"
        raise ServiceError(self.name, f"writing `{scope}`", why, trouble=Trouble.SICK)

    def _upload(self, key: str, data: bytes) -> bool:
        """Write an entry; return False if it exists."""
        if self._access.version == FIRST:
            created = self._ask_first("POST", "caches", {"key": key, "version": _VERSION})
            if not created:
                return False
            place = f"{self._first}caches/{created['cacheId']}"
            content = {"Content-Range": f"bytes 0-{len(data) - 1}/*", "Content-Type": _BYTES}
            self._request("PATCH", place, {**self._headers, **content}, data, answers=_DONE)
            size = json.dumps({"size": len(data)}).encode()
            self._request("POST", place, self._headers, size, answers=_DONE)
            return True
        created = self._ask_second("CreateCacheEntry", {"key": key, "version": _VERSION})
        if not created.get("ok"):
            return False
        # https://learn.microsoft.com/rest/api/storageservices/put-blob
        kind = {"x-ms-blob-type": "BlockBlob", "Content-Type": _BYTES}
        self._request("PUT", str(created["signed_upload_url"]), kind, data, answers=_DONE)
        done = {"key": key, "version": _VERSION, "size_bytes": len(data)}
        return bool(self._ask_second("FinalizeCacheEntryUpload", done)["ok"])

    def remove(self, scope: str) -> None:
        """Remove nothing: a job cannot remove entries, and GitHub drops unused ones after a week.

        https://docs.github.com/actions/reference/workflows-and-actions/dependency-caching
        """

    def remove_damaged(
        self,
        sizes: Mapping[str, int],  # noqa: ARG002  # the protocol's
        suspects: Container[str],  # noqa: ARG002  # the protocol's
    ) -> int:
        """Remove nothing: a job cannot remove entries."""
        return 0

    def list_scopes(self) -> list[str]:
        """List nothing: a job cannot list entries."""
        return []

    @cached_property
    def _refs(self) -> list[str]:
        """The hashes of the git refs whose entries the job may read; the one it writes comes first.

        https://github.com/tonistiigi/go-actions-cache/blob/master/api.md#authentication
        """
        body = self._access.token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        listed: list[dict[str, Any]] = json.loads(claims["ac"])
        listed.sort(key=lambda each: not each["Permission"] & _CAN_WRITE)
        return [hashlib.sha256(each["Scope"].encode()).hexdigest()[:8] for each in listed]

    def _find(self, prefix: str) -> Entry | None:
        """Find the newest entry whose key begins like this."""
        if self._access.version == FIRST:
            query = urlencode({"keys": prefix, "version": _VERSION})
            found = self._ask_first("GET", f"cache?{query}")
            return Entry(found["cacheKey"], found["archiveLocation"]) if found else None
        asked = {"key": prefix, "restore_keys": [prefix], "version": _VERSION}
        found = self._ask_second("GetCacheEntryDownloadURL", asked)
        if not found.get("ok"):
            return None
        return Entry(found["matched_key"], found["signed_download_url"])

    def _ask_first(
        self, method: str, path: str, asked: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Ask version 1 of the API; empty if there is no such entry, or already one."""
        body = json.dumps(asked).encode() if asked is not None else None
        reply = self._request(method, f"{self._first}{path}", self._headers, body)
        found: dict[str, Any] = json.loads(reply.data or b"{}")
        return found if reply.status in _DONE else {}

    def _ask_second(self, method: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Ask version 2 of the API."""
        url = f"{self.name}/{_TWIRP}/{method}"
        reply = self._request("POST", url, self._headers, json.dumps(asked).encode())
        found: dict[str, Any] = json.loads(reply.data)
        return found

    @property
    def _first(self) -> str:
        return f"{self.name}/_apis/artifactcache/"

    @property
    def _headers(self) -> dict[str, str]:
        return {
            "Accept": "application/json;api-version=6.0-preview.1",
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self._access.token}",
        }

    def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        answers: tuple[int, ...] = _ANSWERS,
    ) -> urllib3.BaseHTTPResponse:
        pool = self._open_pool(urlsplit(url).netloc)
        reply = pool.request(
            method, url, headers=headers, body=body, timeout=_TIMEOUT, retries=False
        )
        if reply.status in answers:
            return reply
        trouble = Trouble.DENIED if reply.status in _DENIED else Trouble.SICK
        why = f"it answered {reply.status} {reply.reason or ''}".strip()
        raise ServiceError(self.name, "a request", why, trouble=trouble)

    def _open_pool(self, host: str) -> urllib3.PoolManager:
        # The entries are on another host. Several threads may open the same, and one is kept.
        if host not in self._pools:
            self._pools.setdefault(host, make_pool(host, verify=True))
        return self._pools[host]

    @contextmanager
    def _explain(self, operation: str) -> Iterator[None]:
        try:
            yield
        except ServiceError as error:
            cause, trouble = error.cause, error.trouble
            raise ServiceError(self.name, operation, cause, trouble=trouble) from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            why = "its answer, or the job's token, is not in the expected form"
            raise ServiceError(self.name, operation, why, trouble=Trouble.SICK) from error
        except HTTPError as error:
            late = isinstance(error, urllib3.exceptions.TimeoutError)
            why = LATE if late else "it cannot be reached"
            raise ServiceError(self.name, operation, why, trouble=Trouble.SICK) from error
