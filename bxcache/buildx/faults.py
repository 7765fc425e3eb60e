"""The messages of a failed build: whether its cache is to blame, and where its steps are.

A layer that an imported cache lists but that is missing, truncated or changed fails the build if
another layer needs it or, in a registry, if the image needs it. The messages are those of BuildKit
0.13 to 0.32; `tests/unit/test_faults.py` has their full text.

A failed build has no metadata, where a successful one has the lines of the steps. Docker quotes the
Dockerfile around the failed step. The other steps are found by counting: BuildKit numbers the steps
of each stage.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bxcache.buildx.dockerfile import list_bases, list_stages
from bxcache.buildx.stream.causes import OWN_FAULT
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import ONLY_STAGE, CacheVertex, StepName
from bxcache.buildx.stream.raw import ERROR, list_errors
from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bxcache.buildx.stream.trace import Trace

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


def find_cache_fault(trace: Trace, is_own: Callable[[str], bool] = lambda _: False) -> str | None:
    """Find the error that a broken cache explains, or one that `is_own` of the caches in use."""
    errors = (text for text in reversed(list_errors(trace.said)) if OWN_FAULT not in text)
    return next((text for text in errors if _CACHE_FAULT.search(text) or is_own(text)), None)


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
    return any(step.outcome is Outcome.FAILED and OWN_FAULT in step.error for step in trace.steps)


# https://github.com/moby/buildkit/blob/v0.25.2/solver/errdefs/source.go
_POSITION = re.compile(r".+:(?P<line>[0-9]+)")
_RULE = "-" * 20


def locate_steps(trace: Trace, dockerfile: str) -> Trace:
    """Add lines of the Dockerfile to the steps of a failed build, where they are certain."""
    quoted, counted = _find_quoted(trace), _count_lines(dockerfile)
    steps = []
    for step in trace.steps:
        name = step.name
        line, verb = counted.get((name.stage, name.index, name.total), (0, ""))
        # ONBUILD steps and those of other frontends do not match.
        found = (line,) if [verb] == name.text.upper().split(maxsplit=1)[:1] else ()
        steps.append(replace(step, lines=quoted.get(name) or found))
    return replace(trace, steps=tuple(steps))


def _find_quoted(trace: Trace) -> dict[StepName, tuple[int, ...]]:
    """Find the lines that docker quotes for the failed step: of several, it quotes only one."""
    lines, error = _split_quotes(trace.said)
    failed = [each for each in trace.steps if each.outcome is Outcome.FAILED and each.error]
    meant = [each.name for each in failed if error.endswith(each.error)]
    places = {(name.stage, name.index) for name in meant}
    return dict.fromkeys(meant, lines) if lines and len(places) == 1 else {}


def _split_quotes(said: Sequence[str]) -> tuple[tuple[int, ...], str]:
    """Find the first lines of the quotes from the Dockerfile, and the error that follows them."""
    lines: set[int] = set()
    for at, (line, rule) in enumerate(pairwise(said)):
        position = _POSITION.fullmatch(line)
        if rule == _RULE and position is not None:
            lines.add(int(position["line"]))
        elif lines and line == _RULE and rule.startswith(ERROR):
            return tuple(sorted(lines)), "\n".join(said[at + 1 :]).rstrip("\n")
    return (), ""


def _count_lines(text: str) -> dict[tuple[str, int, int], tuple[int, str]]:
    """Return each step's line and verb, by its stage and numbers, where these are certain."""
    stages = list_stages(text)
    names = Counter(stage.name for stage in stages)
    found: dict[tuple[str, int, int], tuple[int, str]] = {}
    for stage, base in zip(stages, list_bases(stages), strict=True):
        if "$" in stage.base or names[stage.name] > 1:
            continue
        # A single stage has no name in the stream. A base image counts as the first step.
        name = stage.name if len(stages) > 1 else ONLY_STAGE
        offset = 0 if base is not None or stage.base == "scratch" else 1
        total = offset + len(stage.steps)
        for at, step in enumerate(stage.steps, offset + 1):
            found[name, at, total] = step
    return found
