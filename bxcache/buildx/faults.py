"""BuildKit's error messages when a build fails because of an imported cache, not because of a step.

A layer that an imported cache lists but that is missing, truncated or changed fails the build if
another layer needs it or, in a registry, if the image needs it. The messages are those of BuildKit
0.13 to 0.32; `tests/unit/test_faults.py` has their full text.
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
"""Reported if the process of a RUN failed."""

_CACHE_FAULT = re.compile(
    # A missing blob: in a layout, in a registry.
    r"content sha256:[0-9a-f]{64}: not found"
    r"|failed to copy: httpReadSeeker: failed open: "
    # A truncated blob: in current BuildKit, in 0.13.
    r"|short read: expected \d+ bytes but got \d+"
    r"|failed to read expected number of bytes: unexpected EOF"
    # A changed blob.
    r"|unexpected commit (?:digest|size) "
)


def find_cache_fault(trace: Trace) -> str | None:
    """Find the error that a broken cache explains."""
    errors = (text for text in reversed(list_errors(trace.said)) if _OWN_FAULT not in text)
    return next(filter(_CACHE_FAULT.search, errors), None)


_COLLISION = re.compile(
    r"could not lock .*index\.json\.lock"
    r"|/ingest/[0-9a-f]+\b.*(?:no such file or directory|file exists|directory not empty)",
    re.DOTALL,
)


def have_nodes_collided(trace: Trace) -> bool:
    """Whether two nodes of a builder wrote one layout at the same time.

    buildx does not wait for its lock on the index, which fails the build. The nodes' unfinished
    copies of a blob share one name, which fails only the export:
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


_TRANSIENT = re.compile(
    r"unexpected (?:HTTP )?status\b.*: 5\d\d "
    # Two uploads of one blob at the same time may both miss it.
    r"|blob unknown to registry"
    # Another build pushed the same image and removed it from the engine.
    r"|No such image: |does not exist locally with the tag: |tag does not exist: "
)


def is_transient(said: str) -> bool:
    """Whether a push may succeed at once if repeated.

    BuildKit retries by itself, but an engine without the containerd image store pushes a manifest
    only once. Docker's own registry sometimes refuses one of several concurrent pushes that share a
    blob.

    >>> is_transient("Error response from daemon: received unexpected HTTP status: 502 Bad Gateway")
    True
    """
    return _TRANSIENT.search(said) is not None


def explain_transfer(ref: str, operation: str, said: str) -> RegistryError:
    """Return the error of BuildKit, `reading` or `saving` a cache in a registry."""
    host = Reference.parse(ref).host
    denied = _LOGIN.search(said) is not None
    hint = f"log in with `docker login {host}`" if denied else ""
    trouble = Trouble.DENIED if denied else Trouble.SICK
    return RegistryError(host, f"{operation} `{ref}`", said, trouble=trouble, hint=hint)


def blames_process(trace: Trace) -> bool:
    """Whether the process of a RUN failed, which no cache can cause or fix."""
    return any(step.outcome is Outcome.FAILED and _OWN_FAULT in step.error for step in trace.steps)
