"""Manifests, tags and blobs of one repository, and the lookup of several refs at once.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#endpoints
"""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from msgspec import Struct
from msgspec.structs import replace

from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, Trouble
from bxcache.oci.documents import IMAGE_CONFIG_TYPES, MANIFEST_TYPES, CacheManifest, compute_digest
from bxcache.registry.connection import Connection, Query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bxcache.registry.faults import Reply

_MOST_PAGES = 1000
_MOST_AT_ONCE = 16
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
_ACCEPT = {"Accept": ", ".join(sorted(MANIFEST_TYPES))}
_PAUSES = (0.2, 0.5)
"""How long to wait before retrying a refused request, in seconds."""
_ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "pull,push,delete"}
_OK, _CREATED, _ACCEPTED, _NO_CONTENT, _NOT_FOUND = 200, 201, 202, 204, 404


class RemoteManifest(Struct, frozen=True):
    """A manifest in a registry, with the media type that the registry gives it."""

    digest: str
    media_type: str
    body: bytes

    def parse(self) -> CacheManifest | None:
        """Its content; None if it is not a build cache."""
        found = self.parse_any()
        return None if found is None or found.find_problem() else found

    def parse_image(self) -> CacheManifest | None:
        """Its content; None if it is not an image for one platform."""
        found = self.parse_any()
        config = found.config if found is not None and found.layers else None
        return found if config is not None and config.media_type in IMAGE_CONFIG_TYPES else None

    def parse_any(self) -> CacheManifest | None:
        """Its content, whatever it is of; None if it is not a manifest."""
        with suppress(ValueError):
            return CacheManifest.model_validate_json(self.body)
        return None


class Repository:
    """One repository of a registry. All methods raise RegistryError if a request fails."""

    def __init__(self, connection: Connection, path: str) -> None:
        """Create the repository, whose name in its registry is `path`, without a request."""
        self._connection = connection
        self._path = path

    @property
    def host(self) -> str:
        return self._connection.host

    @property
    def name(self) -> str:
        """The repository with its registry, as in a reference."""
        return f"{self.host}/{self._path}"

    def read_manifest(self, reference: str) -> RemoteManifest | None:
        """The manifest of a tag or digest; None if it does not exist."""
        reply = self._look_up("GET", reference)
        if reply is None:
            return None
        kind = reply.headers.get("Content-Type", "").partition(";")[0]
        return RemoteManifest(compute_digest(reply.body), kind, reply.body)

    def read_digest(self, reference: str) -> str | None:
        """The digest of a tag's manifest; None if the tag does not exist."""
        reply = self._look_up("HEAD", reference)
        if reply is None:
            return None
        announced = reply.headers.get("Docker-Content-Digest")
        if announced:
            return announced
        found = self.read_manifest(reference)
        return found.digest if found is not None else None

    def list_tags(self, most_pages: int | None = None) -> list[str]:
        """Every tag on so many pages, each of up to 1000; empty if there is no repository."""
        path = self._below(f"tags/list?{urlencode({'n': 1000})}")
        tags: list[str] = []
        for _ in range(most_pages or _MOST_PAGES):
            reply = self._read(Query("GET", path, f"listing `{self._path}`"))
            if reply is None:
                break
            tags += _read_tags(reply.body)
            following = _NEXT.search(reply.headers.get("Link", ""))
            if following is None:
                break
            path = following[1]
        return tags

    def write_manifest(self, reference: str, body: bytes, media_type: str) -> None:
        """Write a manifest under a tag or its digest; its blobs must exist."""
        operation = f"writing `{self._path}:{reference}`"
        path, kind = self._below(f"manifests/{reference}"), {"Content-Type": media_type}
        expected = (_OK, _CREATED, _ACCEPTED)
        self._ask(Query("PUT", path, operation, expected, headers=kind, body=body))

    def write_with_config(
        self, reference: str, manifest: bytes, media_type: str, config: bytes
    ) -> None:
        """Write a config, then the manifest that names it, under a tag.

        If two clients upload one blob at once, docker's own registry may report it as missing to
        both. So a refused write is retried.
        """
        for pause in (*_PAUSES, None):
            try:
                self.write_blob(config)
                self.write_manifest(reference, manifest, media_type)
            except RegistryError as error:
                if error.trouble is not Trouble.REFUSED or pause is None:
                    raise
                time.sleep(pause)
            else:
                return

    def read_blob(self, digest: str) -> bytes | None:
        """A small blob, with its digest checked; None if it does not exist."""
        operation = f"reading `{self._path}@{digest}`"
        reply = self._read(Query("GET", self._below(f"blobs/{digest}"), operation))
        if reply is None:
            return None
        if compute_digest(reply.body) != digest:
            cause = "it does not match its digest"
            raise RegistryError(self.host, operation, cause, trouble=Trouble.SICK)
        return reply.body

    def write_blob(self, data: bytes) -> None:
        operation = f"writing to `{self._path}`"
        begun = self._ask(Query("POST", self._below("blobs/uploads/"), operation, (_ACCEPTED,)))
        target = begun.headers.get("Location", "")
        digest = urlencode({"digest": compute_digest(data)})
        path = f"{target}{'&' if '?' in target else '?'}{digest}"
        kind = {"Content-Type": "application/octet-stream"}
        self._ask(Query("PUT", path, operation, (_CREATED,), headers=kind, body=data))

    def try_upload(self) -> None:
        """Begin an upload and cancel it, which shows whether writing is allowed."""
        operation = f"writing to `{self._path}`"
        begun = self._ask(Query("POST", self._below("blobs/uploads/"), operation, (_ACCEPTED,)))
        # An upload that cannot be canceled expires.
        with suppress(RegistryError):
            fine = (_OK, _ACCEPTED, _NO_CONTENT)
            self._ask(Query("DELETE", begun.headers.get("Location", ""), operation, fine))

    def delete_manifest(self, digest: str) -> None:
        """Delete a manifest and every tag that names it."""
        self._delete(digest, (_OK, _ACCEPTED, _NOT_FOUND))

    def delete_tag(self, tag: str) -> bool:
        """Delete a tag but not its manifest; whether the registry supports that."""
        try:
            self._delete(tag, (_OK, _ACCEPTED))
        except RegistryError as error:
            if error.trouble is Trouble.REFUSED:
                return False
            raise
        return True

    def _delete(self, reference: str, expected: tuple[int, ...]) -> None:
        operation = f"deleting `{self._path}:{reference}`"
        self._ask(Query("DELETE", self._below(f"manifests/{reference}"), operation, expected))

    def _below(self, path: str) -> str:
        return f"/v2/{self._path}/{path}"

    def _look_up(self, method: str, reference: str) -> Reply | None:
        operation = f"looking up `{self._path}:{reference}`"
        path = self._below(f"manifests/{reference}")
        return self._read(Query(method, path, operation, headers=_ACCEPT))

    def _read(self, query: Query) -> Reply | None:
        """The answer; None if what was asked for does not exist."""
        reply = self._ask(replace(query, expected=(_OK, _NOT_FOUND)))
        return reply if reply.status == _OK else None

    def _ask(self, query: Query) -> Reply:
        actions = _ACTIONS.get(query.method, "pull,push")
        return self._connection.ask(replace(query, access=f"repository:{self._path}:{actions}"))


def _read_tags(body: bytes) -> Iterator[str]:
    try:
        tags = json.loads(body).get("tags")
    except (ValueError, AttributeError, RecursionError):
        return
    yield from (tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()


class Sighting(Struct, frozen=True):
    """A ref after it was looked up; without a manifest, it does not exist or the lookup failed."""

    repository: Repository
    manifest: RemoteManifest | None = None
    error: RegistryError | None = None


def open_repository(
    reference: Reference, environment: Mapping[str, str], *, insecure: bool
) -> Repository:
    """The repository of a reference, without a request."""
    connection = Connection(reference.host, environment, insecure=insecure)
    return Repository(connection, reference.path)


def probe_refs(refs: Mapping[str, bool], environment: Mapping[str, str]) -> dict[str, Sighting]:
    """Look up refs in parallel, each given with whether its registry may be insecure."""
    repositories: dict[tuple[str, bool], Repository] = {}
    jobs = {}
    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        for ref, insecure in refs.items():
            parsed = Reference.parse(ref)
            key = parsed.name, insecure
            if key not in repositories:
                repositories[key] = open_repository(parsed, environment, insecure=insecure)
            jobs[ref] = pool.submit(_look, repositories[key], parsed.tag or "latest")
    return {ref: job.result() for ref, job in jobs.items()}


def _look(repository: Repository, tag: str) -> Sighting:
    try:
        return Sighting(repository, repository.read_manifest(tag))
    except RegistryError as error:
        return Sighting(repository, error=error)
