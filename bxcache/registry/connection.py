"""Requests to one registry.

Which scheme is spoken is docker's rule: TLS, verified. To a registry on the loopback interface it
is plain HTTP, or TLS without verification where it asks for that; to one that is declared insecure
the same, TLS first. https://docs.docker.com/reference/cli/dockerd/#insecure-registries
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode, urljoin, urlsplit
from urllib.request import getproxies, parse_http_list, parse_keqv_list, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.exceptions import TimeoutError as LateError
from urllib3.util import Retry, Timeout, make_headers

from bxcache.registry.certificates import make_context
from bxcache.registry.credentials import HUB, find_login
from bxcache.registry.faults import explain_failure, explain_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.errors import RegistryError
    from bxcache.registry.credentials import Login

_HUB_ADDRESS = "registry-1.docker.io"
_LARGEST_ANSWER = 16 << 20
_LONGEST_WAIT = 5
_TIMEOUT = Timeout(connect=5.0, read=10.0)
_LOOPBACK = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?")
# Go's words and nginx's for a request that should have come over TLS.
_WRONG_SCHEME = re.compile(rb"HTTP request .*to (?:an )?HTTPS (?:server|port)")
_UNAUTHORIZED = 401
_MOST_AT_ONCE = 8
_CLIENT = "bxcache"


class _Patience(Retry):
    """Waits as long as a registry asks for, within reason."""

    def get_retry_after(self, response: Any) -> float | None:  # noqa: ANN401  # urllib3's own
        asked = super().get_retry_after(response)
        return None if asked is None else min(asked, _LONGEST_WAIT)


_RETRIES = _Patience(
    total=8,
    connect=0,
    read=0,
    redirect=5,
    status=2,
    other=0,
    backoff_factor=0.2,
    allowed_methods=None,
    status_forcelist=(429, 500, 502, 503, 504),
    raise_on_status=False,
)


@dataclass(frozen=True, slots=True)
class Query:
    """One request.

    Attributes:
        method: of HTTP.
        path: below the registry's address, or a URL that the registry gave.
        operation: what is being done, for the error.
        expected: which statuses are no error.
        access: what a token has to allow, as `repository:app:pull`.
        headers: of the request.
        body: of the request.
    """

    method: str
    path: str
    operation: str
    expected: tuple[int, ...]
    access: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A registry's answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """One registry. Several threads may use it at once."""

    def __init__(self, host: str, environment: Mapping[str, str], *, insecure: bool) -> None:
        """Nothing is asked yet.

        Args:
            host: the registry as a reference names it.
            environment: the process's variables, for docker's settings.
            insecure: plain HTTP and unverified TLS are allowed.
        """
        self.host = host
        self._environment = environment
        loopback = _LOOPBACK.fullmatch(host) is not None
        self._schemes = ["http", "https"] if loopback else ["https", *(["http"] * insecure)]
        self._pool = _make_pool(host, verify=not (insecure or loopback))
        self._lock = Lock()
        self._login: Login | None = None
        self._asked_login = False
        self._access: dict[str, str] = {}

    @property
    def login(self) -> Login | None:
        """Docker's login of the registry; asked for once, and only when it is needed."""
        with self._lock:
            if not self._asked_login:
                self._login = find_login(self.host, self._environment)
                self._asked_login = True
            return self._login

    def ask(self, query: Query) -> Reply:
        """One request, with credentials where they are asked for.

        Raises:
            RegistryError: it did not answer, or with another status.
        """
        try:
            reply = self._try_schemes(query)
            if reply.status == _UNAUTHORIZED and self._authorize(reply, query):
                reply = self._try_schemes(query)
        except (HTTPError, OSError) as error:
            raise explain_failure(self.host, query.operation, error) from error
        if reply.status not in query.expected:
            raise self._refuse(query, reply)
        return reply

    def _refuse(self, query: Query, reply: Reply) -> RegistryError:
        known = self.login is not None
        return explain_reply(self.host, query.operation, reply, known=known)

    def _try_schemes(self, query: Query) -> Reply:
        """Speak the first scheme that the registry speaks too, and keep to it."""
        address = _HUB_ADDRESS if self.host == HUB else self.host
        granted = self._access.get(query.access)
        headers = {**query.headers, **({"Authorization": granted} if granted else {})}
        *others, last = list(self._schemes)
        for scheme in others:
            url = urljoin(f"{scheme}://{address}", query.path)
            try:
                reply = self._send(query.method, url, headers, query.body)
            except MaxRetryError as error:
                if scheme == "http" or isinstance(error.reason, LateError):
                    raise
                continue
            if not _WRONG_SCHEME.search(reply.body):
                self._schemes = [scheme]
                return reply
        url = urljoin(f"{last}://{address}", query.path)
        return self._send(query.method, url, headers, query.body)

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        answer = self._pool.request(
            method,
            url,
            headers={"User-Agent": _CLIENT, **headers},
            body=body,
            timeout=_TIMEOUT,
            retries=_RETRIES,
            preload_content=False,
        )
        try:
            data = answer.read(_LARGEST_ANSWER, decode_content=True)
        finally:
            answer.release_conn()
        return Reply(answer.status, answer.headers, data)

    def _authorize(self, reply: Reply, query: Query) -> bool:
        """Do what the challenge asks for; tell whether that changed anything.

        https://distribution.github.io/distribution/spec/auth/token/
        """
        scheme, _, rest = reply.headers.get("WWW-Authenticate", "").partition(" ")
        if scheme.lower() == "basic" and self.login is not None and not self.login.is_token:
            granted = self.login.basic
        elif scheme.lower() == "bearer":
            granted = self._fetch_token(parse_keqv_list(parse_http_list(rest)), query)
        else:
            return False
        before = self._access.get(query.access)
        self._access[query.access] = granted
        return granted != before

    def _fetch_token(self, challenge: Mapping[str, str], query: Query) -> str:
        realm = urljoin(f"{self._schemes[0]}://{self.host}", challenge.get("realm", ""))
        asked = {
            "service": challenge.get("service", ""),
            "client_id": _CLIENT,
            "scope": query.access or challenge.get("scope", ""),
        }
        login = self.login
        if login is not None and self._schemes[0] == "https" and urlsplit(realm).scheme != "https":
            # What came over TLS does not leave without it.
            login = None
        if login is not None and login.is_token:
            form = {**asked, "grant_type": "refresh_token", "refresh_token": login.secret}
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._send("POST", realm, kind, urlencode(form).encode())
        else:
            own = {"Authorization": login.basic} if login is not None else {}
            answer = self._send("GET", f"{realm}?{urlencode(asked)}", own, None)
        token = _read_token(answer.body)
        if not token:
            raise self._refuse(query, answer)
        return f"Bearer {token}"


def _make_pool(host: str, *, verify: bool) -> urllib3.PoolManager:
    context = make_context(host, verify=verify)
    proxy = _find_proxy(host)
    if not proxy:
        return urllib3.PoolManager(ssl_context=context, maxsize=_MOST_AT_ONCE)
    user = urlsplit(proxy)
    login = f"{unquote(user.username)}:{unquote(user.password or '')}" if user.username else None
    return urllib3.ProxyManager(
        proxy,
        proxy_headers=make_headers(proxy_basic_auth=login),
        ssl_context=context,
        maxsize=_MOST_AT_ONCE,
    )


def _find_proxy(host: str) -> str:
    """The proxy of the environment, which Go uses as well, though never for loopback.

    https://pkg.go.dev/golang.org/x/net/http/httpproxy
    """
    name = urlsplit(f"//{host}").hostname or host
    if _LOOPBACK.fullmatch(host) or proxy_bypass(name):
        return ""
    return getproxies().get("https", "")


def _read_token(body: bytes) -> str:
    try:
        document = json.loads(body)
        token = document.get("token") or document.get("access_token")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return token if isinstance(token, str) else ""
