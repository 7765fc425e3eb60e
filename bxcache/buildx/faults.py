"""What BuildKit says when a build fails because of what it imported, and not because of a step.

A layer that an imported cache promises and that is missing, cut short or changed fails the build
when another layer stands on it, or, in a registry, when the image needs it. The texts are those of
BuildKit 0.13 to 0.32; `tests/unit/test_faults.py` has them whole.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import CacheVertex
from bxcache.buildx.stream.raw import list_errors
from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, Trouble

if TYPE_CHECKING:
    from bxcache.buildx.stream.trace import Trace

_OWN_FAULT = "did not complete successfully"
"""A process of a RUN that ended with a status of its own."""

_CACHE_FAULT = re.compile(
    # The blob is missing: from a layout, from a registry.
    r"content sha256:[0-9a-f]{64}: not found"
    r"|failed to copy: httpReadSeeker: failed open: "
    # It is cut short: BuildKit of now, and of 0.13.
    r"|short read: expected \d+ bytes but got \d+"
    r"|failed to read expected number of bytes: unexpected EOF"
    # It is changed.
    r"|unexpected commit (?:digest|size) "
)


def find_cache_fault(trace: Trace) -> str:
    """What docker said that a broken cache explains, or an empty string."""
    for text in reversed(list_errors(trace.said)):
        if _OWN_FAULT not in text and _CACHE_FAULT.search(text):
            return text
    return ""


_COLLISION = re.compile(
    r"could not lock .*index\.json\.lock"
    r"|/ingest/[0-9a-f]+\b.*(?:no such file or directory|file exists|directory not empty)",
    re.DOTALL,
)


def have_nodes_met(trace: Trace) -> bool:
    """Whether two nodes of a builder were to write one layout at the same instant.

    buildx does not wait for the lock that it takes for the index, which fails the build, and the
    nodes' unfinished copies of one blob have one name, which fails the export alone:
    https://github.com/moby/buildkit/blob/v0.25.2/client/ociindex/ociindex.go
    https://github.com/containerd/containerd/blob/v2.1.4/plugins/content/local/store.go
    """
    exports = trace.find_transfers(CacheVertex.EXPORT_LOCAL)
    texts = (*list_errors(trace.said), *(each.error for each in exports))
    return any(map(_COLLISION.search, texts))


_LOGIN = re.compile(
    r"\b40[13]\b|unauthorized|no basic auth credentials|insufficient_scope|access (?:is )?denied",
    re.IGNORECASE,
)


_PASSING = re.compile(
    r"unexpected (?:HTTP )?status\b.*: 5\d\d "
    # Two that upload one blob at the same instant may each be told that it is not there.
    r"|blob unknown to registry"
    # Another build has pushed the same image, and removed it from the engine.
    r"|No such image: |does not exist locally with the tag: |tag does not exist: "
)


def is_passing(said: str) -> bool:
    """Whether a push failed in a way that may be gone at once.

    BuildKit tries again by itself; an engine without the containerd image store pushes a manifest
    once. Of several pushes at once that have a blob in common, docker's own registry refuses one
    now and then.

    >>> is_passing("Error response from daemon: received unexpected HTTP status: 502 Bad Gateway")
    True
    """
    return _PASSING.search(said) is not None


def explain_transfer(ref: str, operation: str, said: str) -> RegistryError:
    """The error of a cache that BuildKit could not read from a registry, or write to one.

    Args:
        ref: the cache.
        operation: `reading` or `saving`.
        said: BuildKit's words.
    """
    host = Reference.parse(ref).host
    denied = _LOGIN.search(said) is not None
    hint = f"`docker login {host}` logs docker in there, if it may do that" if denied else ""
    trouble = Trouble.DENIED if denied else Trouble.SICK
    return RegistryError(host, f"{operation} `{ref}`", said, trouble=trouble, hint=hint)


def blames_process(trace: Trace) -> bool:
    """Whether a process of a RUN failed by itself: no cache can mend that."""
    return any(step.outcome is Outcome.FAILED and _OWN_FAULT in step.error for step in trace.steps)
