"""GitHub's cache service, as far as BuildKit uses it, on the loopback interface.

- https://github.com/tonistiigi/go-actions-cache/blob/master/api.md
- https://github.com/actions/toolkit/blob/main/packages/cache/src/generated/results/api/v1/cache.ts
"""

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

LOOPBACK = "127.0.0.1"
TWIRP = "/twirp/github.actions.results.api.v1.CacheService/"
FIRST = "/_apis/artifactcache/"
READ, WRITE = 1, 3
BLOCK = re.compile(r"<Latest>([^<]+)</Latest>")
LONG = 10**9


def make_token(scopes: Mapping[str, int]) -> str:
    """Make a job's token, which nobody has signed, with its permission for each git ref."""
    listed = [{"Scope": name, "Permission": permission} for name, permission in scopes.items()]
    now = int(time.time())
    claims = {"ac": json.dumps(listed), "nbf": now - 60, "exp": now + 3600}
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
    return ".".join([*(part.rstrip(b"=").decode() for part in coded), "unsigned"])


class CacheService:
    """The service, for the duration of a block.

    Attributes:
        token: the only token that it accepts.
        entries: the content of each finished entry by key, the oldest first.
        answer: what it answers instead of its own answers, if anything.
        fail: gets the method and path of a request, and may return the status to refuse it with.
    """

    def __init__(self, token: str = "") -> None:
        self.token = token or make_token({"refs/heads/main": WRITE})
        self.entries: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.fail: Callable[[str, str], int | None] = lambda _method, _path: None
        self.answer: bytes | None = None
        self.uploads: dict[str, dict[str, bytes]] = {}
        self.keys: list[str] = []

    @property
    def url(self) -> str:
        """The service's address."""
        return f"http://{LOOPBACK}:{self._server.server_port}/"

    @property
    def job(self) -> dict[str, str]:
        """The variables of a job of GitHub Actions with version 2 of the service."""
        return {
            "ACTIONS_RUNTIME_TOKEN": self.token,
            "ACTIONS_RESULTS_URL": self.url,
            "ACTIONS_CACHE_SERVICE_V2": "true",
        }

    @property
    def first_job(self) -> dict[str, str]:
        """The variables of a job with version 1."""
        return {"ACTIONS_RUNTIME_TOKEN": self.token, "ACTIONS_CACHE_URL": self.url}

    def find(self, prefixes: list[str]) -> str | None:
        """Find the newest entry whose key begins with the first prefix that any has."""
        for prefix in prefixes:
            for key in reversed(self.entries):
                if key.startswith(prefix):
                    return key
        return None

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"service": self})
        self._server = ThreadingHTTPServer((LOOPBACK, 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: CacheService

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its own name
        pass

    def _serve(self) -> None:
        body = self._read_body()
        path = urlsplit(self.path).path.replace("//", "/")
        self.service.requests.append(f"{self.command} {path}")
        refused = self.service.fail(self.command, path)
        if refused is not None:
            self._answer(refused)
        elif self.service.answer is not None:
            self._answer(HTTPStatus.OK, self.service.answer)
        elif path.startswith("/blob/"):
            self._serve_blob(int(path.removeprefix("/blob/")), body)
        elif self.headers.get("Authorization") != f"Bearer {self.service.token}":
            self._answer(HTTPStatus.UNAUTHORIZED)
        elif path.startswith(TWIRP):
            self._serve_second(path.removeprefix(TWIRP), json.loads(body))
        elif path.startswith(FIRST):
            self._serve_first(path.removeprefix(FIRST), body)
        else:
            self._answer(HTTPStatus.NOT_FOUND)

    do_GET = do_POST = do_PUT = do_PATCH = do_HEAD = _serve  # noqa: N815  # the base class's names

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _serve_second(self, method: str, asked: dict[str, Any]) -> None:
        service = self.service
        if method == "CreateCacheEntry":
            key = asked["key"]
            if key in service.keys:
                self._answer_json({"ok": False})
                return
            service.keys.append(key)
            self._answer_json({"ok": True, "signed_upload_url": self._name_blob(key)})
        elif method == "FinalizeCacheEntryUpload":
            service.entries[asked["key"]] = service.uploads[asked["key"]][""]
            self._answer_json({"ok": True, "entry_id": "1"})
        else:
            key = service.find([asked["key"], *asked["restore_keys"]])
            found = {"signed_download_url": self._name_blob(key), "matched_key": key} if key else {}
            self._answer_json({"ok": key is not None, **found})

    def _serve_first(self, path: str, body: bytes) -> None:
        service, asked = self.service, parse_qs(urlsplit(self.path).query)
        if path == "cache":
            key = service.find(asked["keys"][0].split(","))
            if key is None:
                self._answer(HTTPStatus.NO_CONTENT)
            else:
                self._answer_json({"cacheKey": key, "archiveLocation": self._name_blob(key)})
        elif path == "caches":
            key = json.loads(body)["key"]
            service.keys.append(key)
            self._answer_json({"cacheId": len(service.keys)})
        else:
            key = service.keys[int(path.removeprefix("caches/")) - 1]
            if self.command == "PATCH":
                start = self.headers["Content-Range"].removeprefix("bytes ").partition("-")[0]
                service.uploads.setdefault(key, {})[start] = body
            else:
                pieces = service.uploads[key]
                service.entries[key] = b"".join(pieces[at] for at in sorted(pieces, key=int))
            self._answer(HTTPStatus.NO_CONTENT)

    def _name_blob(self, key: str) -> str:
        return f"{self.service.url}blob/{self.service.keys.index(key)}?sig=secret"

    def _serve_blob(self, number: int, body: bytes) -> None:
        key, asked = self.service.keys[number], parse_qs(urlsplit(self.path).query)
        if self.command == "PUT":
            blocks = self.service.uploads.setdefault(key, {})
            if asked.get("comp") == ["block"]:
                blocks[asked["blockid"][0]] = body
            elif asked.get("comp") == ["blocklist"]:
                blocks[""] = b"".join(blocks[each] for each in BLOCK.findall(body.decode()))
            else:
                blocks[""] = body
            self._answer(HTTPStatus.CREATED)
            return
        data = self.service.entries[key]
        wanted = re.match(
            r"bytes=(\d+)-(\d*)", self.headers.get("x-ms-range") or self.headers.get("Range") or ""
        )
        if wanted is None:
            self._answer(HTTPStatus.OK, data)
            return
        begin, end = int(wanted[1]), min(int(wanted[2] or LONG), len(data) - 1)
        place = {"Content-Range": f"bytes {begin}-{end}/{len(data)}"}
        self._answer(HTTPStatus.PARTIAL_CONTENT, data[begin : end + 1], place)

    def _answer_json(self, document: dict[str, Any]) -> None:
        self._answer(HTTPStatus.OK, json.dumps(document).encode())

    def _answer(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        known = {"x-ms-request-id": "1", "ETag": '"1"', "x-ms-blob-type": "BlockBlob"}
        for name, value in {**known, **(headers or {})}.items():
            self.send_header(name, value)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
