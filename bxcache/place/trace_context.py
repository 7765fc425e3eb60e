"""The W3C trace context of the pipeline that a build belongs to.

https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import re

from msgspec import Struct

_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})"
    r"-(?!0{32})(?P<trace>[0-9a-f]{32})"
    r"-(?!0{16})(?P<parent>[0-9a-f]{16})"
    r"-[0-9a-f]{2}(?P<more>-.*)?"
)


class TraceContext(Struct, frozen=True):
    """The trace that a build belongs to (32 hex digits), and the span that started it (16)."""

    trace_id: str
    span_id: str


def parse_traceparent(text: str) -> TraceContext | None:
    """Parse a `traceparent`; return None if it is invalid.

    >>> parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").span_id
    '00f067aa0ba902b7'
    >>> parse_traceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01")
    """
    found = _TRACEPARENT.fullmatch(text)
    # Only versions after the first may append further fields.
    if found is None or (found["version"] == "00" and found["more"] is not None):
        return None
    return TraceContext(found["trace"], found["parent"])
