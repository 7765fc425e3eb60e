"""What passed between a registry and its clients, as told by the registry or by a proxy."""

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
    """A request and what came of it.

    Attributes:
        method: as in "PUT".
        path: with the query, if there is one.
        status: of the answer; 0 where there was none, or none yet.
        spoiled: whether a proxy had a hand in it.
    """

    method: str
    path: str
    status: int
    spoiled: bool = False


def logged_requests(log: str, *, besides: str) -> list[Request]:
    """Return the requests that an access log tells of, oldest first.

    Args:
        log: the text.
        besides: the start of the agent's name whose requests are left out.
    """
    found = (match for match in LINE.finditer(log) if not match["agent"].startswith(besides))
    return [Request(match["method"], match["path"], int(match["status"])) for match in found]
