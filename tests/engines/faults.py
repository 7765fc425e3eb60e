"""Faults of a registry, which a proxy in front of it plays."""

import json
import re
from dataclasses import dataclass, field
from threading import Event

ANYWHERE = re.compile("")


@dataclass(frozen=True)
class Rule:
    """A rule that matches requests; without a pattern, it matches all.

    Attributes:
        method: one method, or several as in "GET|HEAD".
        path: a pattern to find in the path, which begins with /v2/ and includes the query.
    """

    method: str = ""
    path: re.Pattern[str] = ANYWHERE

    def matches(self, method: str, path: str) -> bool:
        """Return whether a request matches."""
        named = not self.method or method in self.method.split("|")
        return named and self.path.search(path) is not None


@dataclass(frozen=True)
class Answer:
    """An answer in place of the registry, which does not get the request.

    Attributes:
        status: its status.
        code: the error's name in the registries' protocol.
        headers: its other fields.
        halfway: whether it comes when half of the request's body has been read.
    """

    status: int
    code: str
    headers: tuple[tuple[str, str], ...] = ()
    halfway: bool = False

    @property
    def body(self) -> bytes:
        """The error as a registry would put it."""
        error = {"code": self.code, "message": "made up by a test", "detail": None}
        return json.dumps({"errors": [error]}).encode()


@dataclass(frozen=True)
class Stall:
    """The client gets no answer, for as long as it waits."""


@dataclass(frozen=True)
class Cut:
    """The connection is reset: once the request was read, or half-way through the answer."""

    halfway: bool = False


@dataclass(frozen=True)
class Delay:
    """The request is passed on after this many seconds."""

    seconds: float


@dataclass(frozen=True)
class Hold:
    """Half of a large answer comes, and the rest after a release.

    Attributes:
        least: the least size in bytes of an answer that is held.
        released: set when the rest may come.
    """

    least: int
    released: Event = field(default_factory=Event)


@dataclass(frozen=True)
class Vanish:
    """The connection is reset, and every later one is refused."""


Fault = Answer | Stall | Cut | Delay | Hold | Vanish

UNAUTHORIZED = Answer(401, "UNAUTHORIZED", (("WWW-Authenticate", 'Basic realm="tests"'),))
FORBIDDEN = Answer(403, "DENIED")
BROKEN = Answer(500, "UNKNOWN")
BROKEN_HALFWAY = Answer(500, "UNKNOWN", halfway=True)
LOST = Answer(404, "BLOB_UNKNOWN")
UNREACHABLE = Answer(502, "UNAVAILABLE")


def too_many(retry_after: int = 1) -> Answer:
    """Return the answer to a client that asks too often and may try again after some seconds."""
    return Answer(429, "TOOMANYREQUESTS", (("Retry-After", str(retry_after)),))


def reading_blob(*digests: str) -> Rule:
    """Return a rule for looking up or reading these blobs."""
    wanted = "|".join(map(re.escape, digests))
    return Rule("GET|HEAD", re.compile(rf"/blobs/(?:{wanted})$"))


def reading_blobs(*, but: tuple[str, ...] = ()) -> Rule:
    """Return a rule for looking up or reading any blob except some, such as configurations."""
    spared = "".join(f"(?!{re.escape(digest)}$)" for digest in but)
    return Rule("GET|HEAD", re.compile(rf"/blobs/{spared}sha256:[0-9a-f]+$"))


def writing_blobs() -> Rule:
    """Return a rule for sending the content of a blob."""
    return Rule("PATCH|PUT", re.compile("/blobs/uploads/"))


def writing_manifests() -> Rule:
    """Return a rule for writing a manifest or an index."""
    return Rule("PUT", re.compile("/manifests/"))
