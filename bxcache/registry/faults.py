"""Explain failed registry requests, and classify them."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING

from msgspec import Struct
from urllib3 import exceptions as http

from bxcache.errors import RegistryError, Trouble
from bxcache.redaction import mask_url

if TYPE_CHECKING:
    from collections.abc import Mapping


class Reply(Struct, frozen=True):
    """A registry's answer, its body up to a limit, its URL after all redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


_UNREACHED = (
    http.NewConnectionError,
    http.NameResolutionError,
    http.SSLError,
    http.ProxyError,
    http.ProxySchemeUnknown,
)
DENIED = (401, 403)
"""The statuses of a missing authorization."""
_UNSUPPORTED = (405, 501)
_LONGEST_CAUSE = 200


def explain_failure(host: str, operation: str, error: Exception) -> RegistryError:
    """The error of a request without an answer."""
    while isinstance(error, http.MaxRetryError) and error.reason is not None:
        error = error.reason
    trouble = Trouble.UNREACHABLE if isinstance(error, _UNREACHED) else Trouble.SICK
    return RegistryError(host, operation, _name_failure(error), trouble=trouble)


def _name_failure(error: Exception) -> str:
    match error:
        case http.NameResolutionError():
            return "its host name is unknown"
        case http.NewConnectionError():
            return "connection refused" if "refused" in str(error) else _shorten(str(error))
        case http.ConnectTimeoutError():
            return "the connection timed out"
        case http.ReadTimeoutError():
            return "it did not answer in time"
        case http.SSLError(args=[ssl.SSLCertVerificationError() as cause, *_]):
            return f"its certificate is not trusted: {_shorten(str(cause))}"
        case http.SSLError():
            return f"the TLS connection failed: {_shorten(str(error.args[0]))}"
        case http.ProxyError():
            return "the proxy refused the connection"
    return _shorten(str(error))


def explain_reply(host: str, operation: str, reply: Reply, *, known: bool) -> RegistryError:
    """The error of a request with an unexpected status; `known`: docker has a login there."""
    cause, hint = f"{reply.status} {_read_errors(reply.body)}".strip(), ""
    sick = reply.status >= 500 and reply.status not in _UNSUPPORTED  # noqa: PLR2004
    sick = sick or reply.status == 429  # noqa: PLR2004  # too many requests
    trouble = Trouble.SICK if sick else Trouble.REFUSED
    if reply.status in DENIED:
        trouble = Trouble.DENIED
        hint = f"docker is not logged in to this registry; run `docker login {host}`"
        if known:
            why = "docker's login does not allow this"
            hint = f"{why}; run `docker login {host}` with another account"
    return RegistryError(host, operation, cause, trouble=trouble, hint=hint)


def _read_errors(body: bytes) -> str:
    """The registry's own error messages.

    https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#error-codes
    """
    try:
        errors = json.loads(body)["errors"]
        return _shorten("; ".join(str(e.get("message") or e.get("code")) for e in errors))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""


def _shorten(text: str) -> str:
    line = mask_url(" ".join(text.split()))
    return line if len(line) <= _LONGEST_CAUSE else f"{line[:_LONGEST_CAUSE]}…"
