"""Requests to one registry.

The scheme follows docker's rule: verified TLS; for a registry on the loopback interface, plain HTTP
or, if it asks for it, unverified TLS; for one declared insecure, the same with TLS first.
https://docs.docker.com/reference/cli/dockerd/#insecure-registries
"""

from __future__ import annotations

import json
import re
import time
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode, urljoin, urlsplit
from urllib.request import getproxies, parse_http_list, parse_keqv_list, proxy_bypass

import urllib3
from msgspec import Struct, field
from urllib3.exceptions import HTTPError, InsecureRequestWarning, MaxRetryError, NewConnectionError
from urllib3.exceptions import TimeoutError as LateError
from urllib3.util import Retry, Timeout, make_headers

from bxcache.config.reference import HUB
from bxcache.errors import RegistryError, Trouble
from bxcache.registry.credentials import find_login, make_context
from bxcache.registry.faults import DENIED, Reply, explain_failure, explain_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.registry.credentials import FoundLogin, Login

_HUB_ADDRESS = "registry-1.docker.io"
_LARGEST_ANSWER = 16 << 20
_LONGEST_WAIT = 5
_TIMEOUT = Timeout(connect=5.0, read=10.0)
_LOOPBACK = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?")
# Go's and nginx's message for a request that should use TLS.
_WRONG_SCHEME = re.compile(rb"HTTP request .*to (?:an )?HTTPS (?:server|port)")
_OK, _BAD_REQUEST, _UNAUTHORIZED = 200, 400, 401
_MOST_AT_ONCE = 8
_CLIENT = "bxcache"
_PORTS = {"http": 80, "https": 443}
_LEAST = 0.01


class _Patience(Retry):
    """Waits as long as a registry asks, up to a limit."""

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
_ONCE = _Patience(
    total=5,
    connect=0,
    read=0,
    redirect=5,
    status=0,
    other=0,
    allowed_methods=None,
    raise_on_status=False,
)


class Query(Struct, frozen=True):
    """One request.

    Attributes:
        path: the path on the registry, or a URL from the registry.
        operation: what the request does, for errors.
        expected: the statuses that are not errors.
        access: what a token must allow, such as `repository:app:pull`.
    """

    method: str
    path: str
    operation: str
    expected: tuple[int, ...] = (_OK,)
    access: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


class Connection:
    """A connection to one registry. Several threads may use it at once."""

    def __init__(
        self,
        host: str,
        environment: Mapping[str, str],
        *,
        insecure: bool,
        limit: float | None = None,
    ) -> None:
        """Create the connection to a reference's host, without a request.

        With a `limit`, in seconds, nothing is asked twice: a credential helper has so long to
        answer, and so have all requests together.
        """
        self.host = host
        self._limit = limit
        self._environment = environment
        self._loopback = _LOOPBACK.fullmatch(host) is not None
        self._insecure = insecure
        self._address = _HUB_ADDRESS if host == HUB else host
        self._schemes = ["http", "https"] if self._loopback else ["https", *(["http"] * insecure)]
        self._lock = Lock()
        self._found: FoundLogin | None = None
        self._access: dict[str, str] = {}

    @property
    def login(self) -> Login | None:
        """Docker's login to the registry; None without one."""
        return self.docker_login.login

    @property
    def docker_login(self) -> FoundLogin:
        """Docker's login to the registry and its source, looked up once, when needed."""
        # Before Python 3.12, all instances share the lock of a cached property: a helper that hangs
        # for one registry would stop the others.
        with self._lock:
            if self._found is None:
                self._found = find_login(self.host, self._environment, self._limit)
            return self._found

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        return make_pool(self.host, verify=not (self._insecure or self._loopback))

    @cached_property
    def _end(self) -> float:
        """When the time for all requests is over."""
        return time.monotonic() + (self._limit or 0)

    def _find_patience(self) -> tuple[Timeout, Retry]:
        if self._limit is None:
            return _TIMEOUT, _RETRIES
        return Timeout(total=max(_LEAST, self._end - time.monotonic())), _ONCE

    def ask(self, query: Query) -> Reply:
        """Send a request, with credentials if the registry asks for them.

        Raises:
            RegistryError: the registry did not answer, or with an unexpected status.
        """
        shown = self._access.get(query.access)
        try:
            reply = self._try_schemes(query, shown)
            if reply.status == _UNAUTHORIZED and self._is_own(reply.url):
                granted = self._authorize(reply, query)
                if granted not in (None, shown):
                    reply = self._try_schemes(query, granted)
        # A registry can give an invalid address.
        except (HTTPError, OSError, ValueError) as error:
            raise explain_failure(self.host, query.operation, error) from error
        if reply.status not in query.expected:
            raise self._refuse(query, reply)
        return reply

    def _refuse(self, query: Query, reply: Reply) -> RegistryError:
        known = reply.status in DENIED and self.login is not None
        return explain_reply(self.host, query.operation, reply, known=known)

    def _try_schemes(self, query: Query, granted: str | None) -> Reply:
        """Try each scheme, and keep the first that works."""
        *others, last = self._schemes
        for scheme in others:
            try:
                reply = self._speak(scheme, query, granted)
            except MaxRetryError as error:
                if scheme == "http" or _is_late(error):
                    raise
                continue
            if not _is_wrong_scheme(reply):
                self._schemes = [scheme]
                return reply
        reply = self._speak(last, query, granted)
        if not _is_wrong_scheme(reply):
            self._schemes = [last]
        return reply

    def _speak(self, scheme: str, query: Query, granted: str | None) -> Reply:
        url = urljoin(f"{scheme}://{self._address}", query.path)
        # A registry can redirect a request; its token is not sent elsewhere.
        own = {"Authorization": granted} if granted and self._is_own(url, scheme) else {}
        return self._send(query.method, url, {**query.headers, **own}, query.body)

    def _is_own(self, url: str, scheme: str = "") -> bool:
        """Whether a URL has the registry's own origin."""
        return _find_origin(url) == _find_origin(f"{scheme or self._schemes[0]}://{self._address}")

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        timeout, retries = self._find_patience()
        answer = self._pool.request(
            method,
            url,
            headers={"User-Agent": _CLIENT, **headers},
            body=body,
            timeout=timeout,
            retries=retries,
            preload_content=False,
        )
        try:
            data = answer.read(_LARGEST_ANSWER, decode_content=True)
        finally:
            # A connection with unread data cannot be reused.
            answer.close()
            answer.release_conn()
        for past in answer.retries.history if answer.retries else ():
            url = urljoin(url, past.redirect_location or "")
        return Reply(answer.status, answer.headers, data, url)

    def _authorize(self, reply: Reply, query: Query) -> str | None:
        """The Authorization header that answers a challenge, or None.

        https://distribution.github.io/distribution/spec/auth/token/
        """
        scheme, _, rest = reply.headers.get("WWW-Authenticate", "").partition(" ")
        if scheme.lower() == "basic" and self.login is not None and not self.login.is_token:
            self._access[query.access] = self.login.basic
        elif scheme.lower() == "bearer":
            self._access[query.access] = self._fetch_token(_parse_challenge(rest), query)
        else:
            return None
        return self._access[query.access]

    def _fetch_token(self, challenge: Mapping[str, str], query: Query) -> str:
        realm = urljoin(f"{self._schemes[0]}://{self._address}", challenge.get("realm", ""))
        asked = {
            "service": challenge.get("service", ""),
            "client_id": _CLIENT,
            "scope": query.access or challenge.get("scope", ""),
        }
        login = self.login
        if login is not None and self._schemes[0] == "https" and urlsplit(realm).scheme != "https":
            # Never send a login to a realm without TLS if the registry has TLS.
            login = None
        if login is not None and login.is_token:
            form = {**asked, "grant_type": "refresh_token", "refresh_token": login.secret}
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._send("POST", realm, kind, urlencode(form).encode())
        else:
            own = {"Authorization": login.basic} if login is not None else {}
            mark = "&" if urlsplit(realm).query else "?"
            answer = self._send("GET", f"{realm}{mark}{urlencode(asked)}", own, None)
        if answer.status != _OK:
            raise self._refuse(query, answer)
        token = _read_token(answer.body)
        if not token:
            cause = "its token server did not return a token"
            raise RegistryError(self.host, query.operation, cause, trouble=Trouble.SICK)
        return f"Bearer {token}"


def _find_origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _is_late(error: MaxRetryError) -> bool:
    # For urllib3, a refused connection is a timeout, too.
    refused = isinstance(error.reason, NewConnectionError)
    return isinstance(error.reason, LateError) and not refused


def _is_wrong_scheme(reply: Reply) -> bool:
    return reply.status == _BAD_REQUEST and _WRONG_SCHEME.search(reply.body) is not None


def _parse_challenge(text: str) -> dict[str, str]:
    # Ignore parameters without a value.
    parts = (part for part in parse_http_list(text) if part.partition("=")[2])
    return parse_keqv_list(list(parts))


def make_pool(host: str, *, verify: bool) -> urllib3.PoolManager:
    """Make connections to a host, with the certificates and the proxy that it needs."""
    context = make_context(host, verify=verify)
    if not verify:
        # The user chose this.
        urllib3.disable_warnings(InsecureRequestWarning)
    proxy = _find_proxy(host)
    if not proxy:
        return urllib3.PoolManager(maxsize=_MOST_AT_ONCE, ssl_context=context)
    user = urlsplit(proxy)
    login = f"{unquote(user.username)}:{unquote(user.password or '')}" if user.username else None
    headers = make_headers(proxy_basic_auth=login)
    return urllib3.ProxyManager(
        proxy, maxsize=_MOST_AT_ONCE, proxy_headers=headers, ssl_context=context
    )


def _find_proxy(host: str) -> str | None:
    """The environment's proxy, by Go's rule: never for loopback.

    https://pkg.go.dev/golang.org/x/net/http/httpproxy
    """
    name = urlsplit(f"//{host}").hostname or host
    if _LOOPBACK.fullmatch(host) or proxy_bypass(name):
        return None
    proxy = getproxies().get("https")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _read_token(body: bytes) -> str | None:
    try:
        document = json.loads(body)
        token = document.get("token") or document.get("access_token")
    except (ValueError, AttributeError, RecursionError):
        return None
    # A header cannot contain other characters.
    printable = isinstance(token, str) and token.isascii() and token.isprintable()
    return token if printable else None
