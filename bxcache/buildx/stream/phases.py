"""The phases of a build: what each second of BuildKit's work is spent on.

BuildKit names its work by vertices, and parts of it by statuses. The names are fixed by its solver
and exporters: https://github.com/moby/buildkit/tree/v0.25.2/exporter and, for the classic image
store, https://github.com/moby/moby/blob/v28.5.2/builder/builder-next/exporter/mobyexporter/export.go
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.buildx.stream.events import Outcome, Phase
from bxcache.buildx.stream.names import CacheVertex, is_local
from bxcache.buildx.stream.times import parse_spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bxcache.buildx.stream.vertices import Vertex


class Span(Struct, frozen=True):
    """Some work of one phase, from a beginning to an end, in seconds on one clock."""

    phase: Phase
    began: float
    ended: float

    def shift(self, seconds: float) -> Span:
        """Return the same span by a clock that differs by so many seconds."""
        return Span(self.phase, self.began + seconds, self.ended + seconds)


_LAYER = "sha256:"
_EXACT = {
    "exporting to image": Phase.IMAGE,
    "importing to docker": Phase.LOAD,
    "resolving provenance for metadata file": Phase.DOCKER,
}
_PREFIXES = (
    ("load build definition", Phase.DEFINITION),
    ("load .dockerignore", Phase.DEFINITION),
    ("load local bake definitions", Phase.DEFINITION),
    ("load remote bake definitions", Phase.DEFINITION),
    ("resolve image config for ", Phase.DEFINITION),
    ("docker-image://", Phase.DEFINITION),
    ("load metadata for ", Phase.RESOLVE),
    ("sharing credentials for ", Phase.RESOLVE),
    ("load remote build context", Phase.CONTEXT),
    ("load git source", Phase.CONTEXT),
    ("preparing inline document", Phase.CONTEXT),
    ("booting buildkit", Phase.DOCKER),
    ("waiting for connection", Phase.DOCKER),
    (CacheVertex.IMPORT, Phase.IMPORT),
    *((name, Phase.SAVE) for name in CacheVertex if name is not CacheVertex.IMPORT),
    ("exporting to client ", Phase.LOAD),
    ("exporting to ", Phase.IMAGE),
    ("pushing ", Phase.PUSH),
    ("merging manifest list ", Phase.PUSH),
)
_PARTS = (
    ("exporting layers", Phase.LAYERS),
    ("unpacking to ", Phase.UNPACK),
    ("pushing ", Phase.PUSH),
    ("sending tarball", Phase.LOAD),
    ("copying files", Phase.LOAD),
    ("loading layer ", Phase.LOAD),
    ("preparing layers for inline cache", Phase.SAVE),
    ("resolve ", Phase.RESOLVE),
    (_LAYER, Phase.FETCH),
    ("extracting ", Phase.FETCH),
    ("transferring ", Phase.CONTEXT),
    ("writing layer ", Phase.SAVE),
)
WORK = (Phase.LAYERS, Phase.UNPACK, Phase.PUSH, Phase.LOAD)
"""The phases of parts that take time of their own, and that nothing else reports."""
_MOVES = (Phase.FETCH, Phase.CONTEXT, Phase.SAVE)
_MOVING = (Phase.PULL, Phase.CONTEXT, Phase.DEFINITION, Phase.IMPORT, Phase.SAVE)
"""The phases that consist of such transfers; in other phases, a transfer is a phase of its own."""
_EDGES = (Phase.CONTEXT, Phase.IMPORT, Phase.RESOLVE, Phase.DEFINITION, Phase.DOCKER)
_BRACKET = re.compile(r"\[[^\]]*\] ")


def find_phase(vertex: Vertex) -> Phase:
    """Find the phase of a vertex's work."""
    step = vertex.step
    if step is not None and step.is_base:
        return Phase.PULL
    if step is not None:
        return Phase.FETCH if vertex.outcome is Outcome.REUSED else Phase.STEPS
    if is_local(vertex.name):
        return Phase.CONTEXT
    name = _BRACKET.sub("", vertex.name, count=1)
    found = (phase for prefix, phase in _PREFIXES if name.startswith(prefix))
    # The rest are files that steps fetch, such as a git repository.
    return _EXACT.get(name) or next(found, Phase.STEPS)


def find_part(status: str) -> Phase | None:
    """Find the phase of a part of a vertex's work, named by a status; None if it is not one."""
    return next((phase for prefix, phase in _PARTS if status.startswith(prefix)), None)


def list_spans(vertices: Iterable[Vertex]) -> Iterator[Span]:
    """Yield the spans of all work that has ended; a vertex's work excludes that of its parts."""
    found: list[Span] = []
    for vertex in vertices:
        phase = find_phase(vertex)
        parts = [
            Span(_place_part(phase, status), *span)
            for status, part in vertex.parts.items()
            for span in parse_spans(part.spans)
        ]
        found += parts
        for began, ended in parse_spans(vertex.spans):
            found += _exclude(Span(phase, began, ended), parts)
    yield from found
    yield from _infer_edges(found)


def _infer_edges(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield what happens between the work at both ends of a build, which has no vertex.

    The frontend translates the Dockerfile before the first step, and the builder closes its record
    of the build after the last export.
    """
    definitions = [each for each in spans if each.phase is Phase.DEFINITION]
    work = [each for each in spans if each.phase not in _EDGES and each.began < each.ended]
    if definitions and work:
        first = min(each.began for each in definitions)
        yield Span(Phase.DEFINITION, first, min(each.began for each in work))
    ends = [each for each in spans if each.phase is Phase.DOCKER]
    if ends and work:
        last = max(each.ended for each in work)
        yield Span(Phase.DOCKER, last, max(each.ended for each in ends))


def count_bytes(vertices: Iterable[Vertex]) -> dict[Phase, int]:
    """Count the bytes that each phase moved, as far as BuildKit reports them."""
    found: dict[tuple[Phase, str], int] = {}
    for vertex in vertices:
        phase = find_phase(vertex)
        for status, part in vertex.parts.items():
            # A layer is fetched once for all its users, but sent contexts share one name.
            item = status if status.startswith(_LAYER) else f"{vertex.digest} {status}"
            key = _place_part(phase, status), item
            found[key] = max(part.bytes, found.get(key, 0))
    counts = Counter[Phase]()
    for (phase, _), size in found.items():
        counts[phase] += size
    return {phase: size for phase, size in counts.items() if size}


def _place_part(phase: Phase, status: str) -> Phase:
    found = find_part(status) or phase
    return phase if found in _MOVES and phase in _MOVING else found


def _exclude(span: Span, parts: Iterable[Span]) -> Iterator[Span]:
    """Yield what is left of a span without the time of others."""
    at = span.began
    for part in sorted(parts, key=lambda each: each.began):
        if at < part.began < span.ended:
            yield Span(span.phase, at, part.began)
        at = max(at, part.ended)
    if at < span.ended:
        yield Span(span.phase, at, span.ended)


def share_time(spans: Iterable[Span], began: float, ended: float) -> dict[Phase, float]:
    """Share the time between two moments among the phases; each moment counts once.

    Of several phases at one moment, the first in their ranking gets it; `OTHER` gets the rest.
    """
    ends: list[tuple[float, int, Phase]] = []
    for span in spans:
        start, stop = max(began, span.began), min(ended, span.ended)
        if start < stop:
            ends += [(start, 1, span.phase), (stop, -1, span.phase)]
    shares, active, at = dict.fromkeys(Phase, 0.0), Counter[Phase](), began
    for moment, change, phase in sorted(ends):
        shares[_find_first(active)] += moment - at
        active[phase] += change
        at = moment
    shares[Phase.OTHER] += max(0.0, ended - at)
    return {phase: seconds for phase, seconds in shares.items() if seconds > 0}


def _find_first(active: Mapping[Phase, int]) -> Phase:
    return next((phase for phase in Phase if active.get(phase)), Phase.OTHER)
