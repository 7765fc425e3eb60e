"""The W3C trace context of the pipeline that a build belongs to.

https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})"
    r"-(?!0{32})(?P<trace>[0-9a-f]{32})"
    r"-(?!0{16})(?P<parent>[0-9a-f]{16})"
    r"-[0-9a-f]{2}(?P<more>-.*)?"
)
_FIRST_VERSION = "00"


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The trace and span that a build belongs to.

    Attributes:
        trace_id: the trace, 32 hex digits.
        span_id: the span that started the build, 16 hex digits.
    """

    trace_id: str
    span_id: str


def parse_traceparent(text: str) -> TraceContext | None:
    """Parse a `traceparent`; return None if it is invalid.

    Versions after the first may append further fields.

    >>> parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").span_id
    '00f067aa0ba902b7'
    >>> parse_traceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01")
    """
    found = _TRACEPARENT.fullmatch(text)
    if found is None or (found["version"] == _FIRST_VERSION and found["more"] is not None):
        return None
    return TraceContext(found["trace"], found["parent"])
