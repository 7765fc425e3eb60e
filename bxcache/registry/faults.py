"""What went wrong with a registry, in words, and what follows from it."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ProxySchemeUnknown,
    ReadTimeoutError,
    SSLError,
)

from bxcache.errors import RegistryError, Trouble
from bxcache.redaction import mask_url

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Reply:
    """A registry's answer.

    Attributes:
        status: of HTTP.
        headers: of the answer.
        body: its content, up to a bound.
        url: where it came from after all redirects.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


_UNREACHED = (NewConnectionError, NameResolutionError, SSLError, ProxyError, ProxySchemeUnknown)
DENIED = (401, 403)
"""The statuses of one who is not known well enough."""
_UNSUPPORTED = (405, 501)
_LONGEST_CAUSE = 200


def explain_failure(host: str, operation: str, error: Exception) -> RegistryError:
    """The error of a request that got no answer."""
    while isinstance(error, MaxRetryError) and error.reason is not None:
        error = error.reason
    trouble = Trouble.UNREACHABLE if isinstance(error, _UNREACHED) else Trouble.SICK
    return RegistryError(host, operation, _name_failure(error), trouble=trouble)


def _name_failure(error: Exception) -> str:
    match error:
        case NameResolutionError():
            return "its name is not known"
        case NewConnectionError():
            return "connection refused" if "refused" in str(error) else _shorten(str(error))
        case ConnectTimeoutError():
            return "it cannot be connected to in time"
        case ReadTimeoutError():
            return "it does not answer in time"
        case SSLError(args=[ssl.SSLCertVerificationError() as cause, *_]):
            return f"its certificate is not accepted: {_shorten(str(cause))}"
        case SSLError():
            return f"it cannot be spoken to over TLS: {_shorten(str(error.args[0]))}"
        case ProxyError():
            return "the proxy between does not let it through"
    return _shorten(str(error))


def explain_reply(host: str, operation: str, reply: Reply, *, known: bool) -> RegistryError:
    """The error of a request that was answered, but not with what was asked for.

    Args:
        host: the registry.
        operation: what was asked.
        reply: its answer.
        known: docker has a login of this registry.
    """
    told = _read_errors(reply.body)
    cause = f"{reply.status} {told}".strip()
    if reply.status in DENIED:
        hint = (
            f"docker's login of it is not accepted for this; `docker login {host}` makes a new one"
            if known
            else f"docker has no login of it; `docker login {host}` makes one"
        )
        return RegistryError(host, operation, cause, trouble=Trouble.DENIED, hint=hint)
    sick = reply.status >= 500 and reply.status not in _UNSUPPORTED  # noqa: PLR2004
    sick = sick or reply.status == 429  # noqa: PLR2004  # too many requests
    trouble = Trouble.SICK if sick else Trouble.REFUSED
    return RegistryError(host, operation, cause, trouble=trouble)


def explain_token(host: str, operation: str) -> RegistryError:
    """The error of a registry whose token server gives no token."""
    return RegistryError(host, operation, "it is given no token for it", trouble=Trouble.SICK)


def _read_errors(body: bytes) -> str:
    """What the registry says of it.

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
