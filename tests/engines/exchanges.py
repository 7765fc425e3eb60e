"""Requests of clients to a registry, as the registry or a proxy reports them."""

import re
from dataclasses import dataclass

# The registry writes Apache's "combined" format: client, user, time, request, status, size,
# referrer and agent.
LINE = re.compile(
    r'^\S+ - \S+ \[[^\]]*\] "(?P<method>[A-Z]+) (?P<path>\S+) HTTP/[\d.]+" (?P<status>\d{3}) \S+'
    r' "[^"]*" "(?P<agent>[^"]*)"$',
    re.MULTILINE,
)


@dataclass(frozen=True)
class Request:
    """A request and its outcome.

    Attributes:
        method: the method, as in "PUT".
        path: the path, with the query if there is one.
        status: the answer's status; 0 if there is none, or none yet.
        spoiled: whether a proxy interfered.
    """

    method: str
    path: str
    status: int
    spoiled: bool = False


def logged_requests(log: str, *, besides: str) -> list[Request]:
    """Return the requests in an access log, oldest first.

    Args:
        log: the text.
        besides: the start of the agent's name whose requests are left out.
    """
    found = (match for match in LINE.finditer(log) if not match["agent"].startswith(besides))
    return [Request(match["method"], match["path"], int(match["status"])) for match in found]
