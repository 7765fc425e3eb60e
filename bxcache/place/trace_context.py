"""The trace of a pipeline that a build is a part of, as W3C Trace Context writes it.

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
    """Whose work the build is.

    Attributes:
        trace_id: the trace, 32 hex digits.
        span_id: the span of that trace that asked for the build, 16 hex digits.
    """

    trace_id: str
    span_id: str


def parse_traceparent(text: str) -> TraceContext | None:
    """The context that a `traceparent` names; None for what is none.

    Of a later version than the first there may be more behind it.

    >>> parse_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").span_id
    '00f067aa0ba902b7'
    >>> parse_traceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01")
    """
    found = _TRACEPARENT.fullmatch(text)
    if found is None or (found["version"] == _FIRST_VERSION and found["more"] is not None):
        return None
    return TraceContext(found["trace"], found["parent"])
