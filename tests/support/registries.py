"""An image registry in the memory of the tests, over real HTTP on the loopback interface.

It follows the OCI distribution spec, records its requests, and fails on demand.
https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#endpoints
https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
USER, PASSWORD = "maria", "p:w:only-for-tests"
_ROUTE = re.compile(
    r"/v2/(?P<name>.+?)/(?:manifests/(?P<reference>[^/]+)|tags/(?P<tags>list)"
    r"|blobs/(?P<blob>sha256:[0-9a-f]{64})|blobs/uploads/(?P<upload>[^/]*))"
)
_ACTIONS = {"GET": {"pull"}, "HEAD": {"pull"}, "DELETE": {"delete"}}


def digest_of(data: bytes) -> str:
    """Return the digest that addresses a blob or a manifest."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def basic(user: str = USER, password: str = PASSWORD) -> str:
    """Return the header of a login (RFC 7617)."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def cache_manifest(*layers: bytes) -> bytes:
    """Return the manifest of a cache, in BuildKit's form for `image-manifest=true`."""
    config = b'{"layers":[]}'
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CACHE_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [
            {"mediaType": LAYER, "digest": digest_of(layer), "size": len(layer)} for layer in layers
        ],
    }
    return json.dumps(document).encode()


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def authorization(self) -> str:
        """The credentials of the request."""
        return self.headers.get("authorization", "")

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Answer:
    """An answer; if `cut`, it ends early."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


def refuse(status: int, code: str, message: str, **headers: str) -> Answer:
    """Return an error in the format of the spec."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, body, {"Content-Type": "application/json", **named})


@dataclass
class Shelf:
    """The content of a repository."""

    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)


class MemoryRegistry:
    """A registry of the tests, empty at the start.

    Attributes:
        deletes: whether manifests can be deleted.
        tag_deletes: whether a tag can be deleted separately.
        access: `open`, `basic`, or `bearer`.
        realm: the address that issues tokens; the registry itself if empty.
        page: the number of tags in one page of a list.
        identity: the identity token that it accepts for issuing tokens.
        interfere: sees each request first; if it returns an answer, that is sent.
        asked: all requests.
        connections: the number of connections.
    """

    def __init__(self, *, context: ssl.SSLContext | None = None, access: str = "open") -> None:
        self.deletes = True
        self.tag_deletes = False
        self.access = access
        self.realm = ""
        self.page = 1000
        self.identity = ""
        self.interfere: Callable[[Asked], Answer | None] = lambda _: None
        self.asked: list[Asked] = []
        self.connections = 0
        self.shelves: dict[str, Shelf] = {}
        self._tokens: dict[str, str] = {}
        self._uploads: set[str] = set()
        self._lock = Lock()
        self._context = context

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _make_handler(self))
        self._server.context = self._context
        Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        """The port on the loopback interface."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """The registry's address, as in the name of an image."""
        return f"127.0.0.1:{self.port}"

    def shelf(self, name: str = "app") -> Shelf:
        """Return the content of a repository, which is created if it does not exist."""
        return self.shelves.setdefault(name, Shelf())

    def put(self, tag: str, body: bytes, name: str = "app", kind: str = MANIFEST) -> str:
        """Put a manifest under a tag, without any checks, and return its digest."""
        shelf, digest = self.shelf(name), digest_of(body)
        shelf.manifests[digest] = kind, body
        shelf.tags[tag] = digest
        return digest

    def requests(self) -> list[str]:
        """Return the method and path of each request."""
        return [str(asked) for asked in self.asked]

    def forget_tokens(self) -> None:
        """Forget all tokens, as if they had expired."""
        self._tokens.clear()

    def answer(self, asked: Asked) -> Answer:
        """Answer a request."""
        with self._lock:
            self.asked.append(asked)
        found = self.interfere(asked)
        if found is not None:
            return found
        with self._lock:
            return self._answer(asked)

    def _answer(self, asked: Asked) -> Answer:
        if asked.path == "/token":
            return self._give_token(asked)
        if asked.path == "/v2/":
            return self._greet(asked)
        route = _ROUTE.fullmatch(asked.path)
        if route is None:
            return refuse(404, "NAME_UNKNOWN", "there is no such place")
        needed = f"repository:{route['name']}"
        actions = _ACTIONS.get(asked.method, {"pull", "push"})
        if not self._is_allowed(asked, needed, actions):
            return self._challenge(f"{needed}:{','.join(sorted(actions))}")
        shelf = self.shelf(route["name"])
        if route["tags"]:
            return self._list_tags(route["name"], shelf, asked.query)
        if route["reference"]:
            return self._do_manifest(asked, shelf, route["reference"])
        if route["blob"]:
            data = shelf.blobs.get(route["blob"])
            return (
                refuse(404, "BLOB_UNKNOWN", "no such blob") if data is None else Answer(200, data)
            )
        return self._upload(asked, shelf, route["name"], route["upload"])

    def _greet(self, asked: Asked) -> Answer:
        known = {"open": True, "basic": asked.authorization == basic()}
        token = asked.authorization.removeprefix("Bearer ")
        return Answer(200) if known.get(self.access, token in self._tokens) else self._challenge("")

    def _is_allowed(self, asked: Asked, needed: str, actions: set[str]) -> bool:
        if self.access == "basic":
            return asked.authorization == basic()
        if self.access == "bearer":
            scope = self._tokens.get(asked.authorization.removeprefix("Bearer "), "")
            place, _, allowed = scope.rpartition(":")
            return place == needed and actions <= set(allowed.split(","))
        return True

    def _challenge(self, scope: str) -> Answer:
        told = 'Basic realm="tests"'
        if self.access == "bearer":
            realm = self.realm or f"http://{self.address}/token"
            told = f'Bearer realm="{realm}",service="tests",scope="{scope}"'
        return refuse(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=told)

    def _give_token(self, asked: Asked) -> Answer:
        query = asked.query
        if asked.method == "POST":
            query = {k: v[0] for k, v in parse_qs(asked.body.decode()).items()}
            known = query.get("refresh_token") == self.identity != ""
        else:
            known = asked.authorization == basic()
        if not known:
            return refuse(401, "UNAUTHORIZED", "incorrect username or password")
        token = secrets.token_hex(8)
        self._tokens[token] = query["scope"]
        key = "access_token" if asked.method == "POST" else "token"
        return Answer(200, json.dumps({key: token}).encode())

    def _list_tags(self, name: str, shelf: Shelf, query: Mapping[str, str]) -> Answer:
        if not shelf.tags:
            return refuse(404, "NAME_UNKNOWN", "repository name not known to registry")
        tags = sorted(tag for tag in shelf.tags if tag > query.get("last", ""))
        size = min(int(query.get("n", "1000")), self.page)
        page, headers = tags[:size], {}
        if len(tags) > size:
            rest = f"/v2/{name}/tags/list?n={size}&last={page[-1]}"
            headers = {"Link": f'<{rest}>; rel="next"'}
        return Answer(200, json.dumps({"name": name, "tags": page}).encode(), headers)

    def _do_manifest(self, asked: Asked, shelf: Shelf, reference: str) -> Answer:
        if asked.method == "PUT":
            return self._put_manifest(asked, shelf, reference)
        if asked.method == "DELETE":
            return self._delete(shelf, reference)
        digest = shelf.tags.get(reference, reference)
        if digest not in shelf.manifests:
            return refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")
        kind, body = shelf.manifests[digest]
        return Answer(200, body, {"Content-Type": kind, "Docker-Content-Digest": digest})

    def _put_manifest(self, asked: Asked, shelf: Shelf, reference: str) -> Answer:
        document: dict[str, Any] = json.loads(asked.body)
        needed = [document["config"], *document["layers"]] if "config" in document else []
        for blob in needed:
            if blob["digest"] not in shelf.blobs:
                return refuse(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")
        digest = digest_of(asked.body)
        if ":" in reference and reference != digest:
            return refuse(400, "DIGEST_INVALID", "provided digest did not match")
        shelf.manifests[digest] = asked.headers["content-type"], asked.body
        if ":" not in reference:
            shelf.tags[reference] = digest
        return Answer(201, headers={"Docker-Content-Digest": digest})

    def _delete(self, shelf: Shelf, reference: str) -> Answer:
        if not self.deletes:
            return refuse(405, "UNSUPPORTED", "The operation is unsupported.")
        if ":" not in reference:
            if not self.tag_deletes:
                return refuse(400, "DIGEST_INVALID", "provided digest did not match")
            if shelf.tags.pop(reference, None) is None:
                return refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")
            return Answer(202)
        if shelf.manifests.pop(reference, None) is None:
            return refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")
        shelf.tags = {tag: digest for tag, digest in shelf.tags.items() if digest != reference}
        return Answer(202)

    def _upload(self, asked: Asked, shelf: Shelf, name: str, upload: str) -> Answer:
        if asked.method == "POST":
            begun = secrets.token_hex(8)
            self._uploads.add(begun)
            return Answer(202, headers={"Location": f"/v2/{name}/blobs/uploads/{begun}?_state=x"})
        if upload not in self._uploads or asked.query.get("_state") != "x":
            return refuse(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        if asked.method == "DELETE":
            self._uploads.remove(upload)
            return Answer(204)
        if digest_of(asked.body) != asked.query.get("digest"):
            return refuse(400, "DIGEST_INVALID", "provided digest did not match")
        shelf.blobs[digest_of(asked.body)] = asked.body
        return Answer(201)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    context: ssl.SSLContext | None = None

    def handle_error(self, *_: object) -> None:
        """Ignore errors: some tests disconnect clients on purpose."""


def _make_handler(registry: MemoryRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            registry.connections += 1
            context = self.server.context if isinstance(self.server, _Server) else None
            if context is not None:
                # Accepting a connection does not wait for the handshake: a client may stay silent.
                self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

        def finish(self) -> None:
            super().finish()
            self.request.close()

        def do_any(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = registry.answer(
                Asked(
                    self.command,
                    url.path,
                    {key: values[0] for key, values in parse_qs(url.query).items()},
                    {key.lower(): value for key, value in self.headers.items()},
                    body,
                )
            )
            self.send_response(answer.status)
            for key, value in answer.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(answer.body) + answer.cut))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
            if answer.cut:
                self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any  # noqa: N815  # as it is called

        def log_message(self, *_: object) -> None:
            """Log nothing: `asked` contains the requests."""

    return Handler


def kind_of_request(asked: Asked) -> tuple[str, ...]:
    """Return what similar requests share: the method and the kind of object."""
    return asked.method, *re.findall(r"/(manifests|blobs|tags)/", asked.path)
