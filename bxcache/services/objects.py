"""A cache in an object store: one object for each scope, beside those of the layers."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, TypedDict

from msgspec import Struct
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from bxcache.errors import Trouble
from bxcache.services.faults import ServiceError
from bxcache.services.service import LATE, SECONDS_TO_ANSWER, SECONDS_TO_CONNECT, Stored

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from obstore.store import ClientConfig, ObjectStore, RetryConfig

_AT_ONCE = 8
_PAGE = 1000
"""How many objects one request lists."""
_ANSWERED = re.compile(r"status code: (?P<status>\d{3}[^:\n]*)(?::\s*(?P<body>.*))?", re.DOTALL)
_XML = re.compile(r"<(?P<name>Code|Message)>(?P<text>[^<]*)</")
_FAILURES = {
    "Timeout": LATE,
    "Connect": "it cannot be reached",
}
_KIND = re.compile(r"HttpError \{\s*kind: (?P<kind>\w+)")
_LONGEST_CAUSE = 200
_ABSENT = "status code: 404"


class Folders(Struct, frozen=True):
    """What the names of the objects of scopes and of layers begin with."""

    scopes: str
    layers: str


class Client(TypedDict):
    """How a store makes its requests."""

    client_options: ClientConfig
    retry_config: RetryConfig


def make_client() -> Client:
    """Make the options of a client whose requests end soon, and are not repeated."""
    answer, connect = timedelta(seconds=SECONDS_TO_ANSWER), timedelta(seconds=SECONDS_TO_CONNECT)
    return {
        "client_options": {"allow_http": True, "timeout": answer, "connect_timeout": connect},
        "retry_config": {"max_retries": 0, "retry_timeout": answer},
    }


class ObjectService:
    """A cache in an object store. All methods raise ServiceError if a request fails."""

    def __init__(self, store: ObjectStore, folders: Folders, name: str, credentials: str) -> None:
        """Take a store, without a request."""
        self.name, self.credentials = name, credentials
        self._store, self._folder, self._layers = store, folders.scopes, folders.layers

    def read(self, scope: str) -> Stored | None:
        with self._explain(f"looking up `{scope}`"):
            try:
                found = self._store.get(f"{self._folder}{scope}")
            except FileNotFoundError:
                return None
            data, modified = bytes(found.bytes()), found.meta["last_modified"]
        return Stored(data, modified.timestamp())

    def write(self, scope: str, data: bytes) -> None:
        with self._explain(f"writing `{scope}`"):
            self._store.put(f"{self._folder}{scope}", data)

    def remove(self, scope: str) -> None:
        with self._explain(f"removing `{scope}`"), suppress(FileNotFoundError):
            self._store.delete(f"{self._folder}{scope}")

    def remove_damaged(self, sizes: Mapping[str, int], suspects: Container[str]) -> int:
        def find(digest: str) -> list[str]:
            path = f"{self._layers}{digest}"
            with suppress(FileNotFoundError):
                if self._store.head(path)["size"] != sizes[digest]:
                    return [path]
                if digest in suspects and self._compute_digest(path) != digest:
                    return [path]
            return []

        with self._explain("looking for damaged layers"):
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                damaged = [path for found in pool.map(find, sizes) for path in found]
            if damaged:
                self._store.delete(damaged)
        return len(damaged)

    def _compute_digest(self, path: str) -> str:
        hashed = hashlib.sha256()
        for chunk in self._store.get(path).stream():
            hashed.update(chunk)
        return f"sha256:{hashed.hexdigest()}"

    def list_scopes(self) -> list[str]:
        folder, slash, rest = self._folder.rpartition("/")
        if not slash or rest:
            return []
        with self._explain("listing the scopes"):
            try:
                found = next(iter(self._store.list(folder, chunk_size=_PAGE)), ())
            except BaseError as error:
                # Before the first save, the container does not exist.
                if _ABSENT not in str(error):
                    raise
                return []
        return [each["path"].removeprefix(self._folder) for each in found]

    @contextmanager
    def _explain(self, operation: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise ServiceError(
                self.name, operation, explain_error(str(error)), trouble=_classify(error)
            ) from error


def _classify(error: Exception) -> Trouble:
    denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
    return Trouble.DENIED if denied else Trouble.SICK


def explain_error(text: str) -> str:
    """Return what matters of an error of obstore, which has the request and the whole answer.

    >>> explain_error("Generic S3 error: Error performing GET http://x/y in 1ms - Server returned "
    ...     "non-2xx status code: 403 Forbidden: <Error><Code>AccessDenied</Code></Error>")
    '403 Forbidden: AccessDenied'
    """
    kind = _KIND.search(text)
    if kind is not None and kind["kind"] in _FAILURES:
        return _FAILURES[kind["kind"]]
    head = text.partition("\n\nDebug source:")[0]
    answered = _ANSWERED.search(head)
    if answered is None:
        return _shorten(head)
    parts = [each["text"] for each in _XML.finditer(answered["body"] or "")]
    parts = [part.strip().partition("\n")[0] for part in parts]
    return _shorten(": ".join([answered["status"], *parts]))


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_CAUSE else f"{line[:_LONGEST_CAUSE]}…"
