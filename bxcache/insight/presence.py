"""What a cache has of the layers of a build, and why it lacks the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bxcache.backends.declared import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bxcache.insight.record import Record

_UNTOLD = "the record does not say why"


def find_unsaved(record: Record, backend: Mapping[str, Any]) -> frozenset[str] | None:
    """The layers that a build did not save to a backend; None where that is not known.

    A store that has been moved is known by being the only one.
    """
    if not backend:
        return None
    remote = is_remote(backend["type"])
    known = [
        each
        for each in record.caches
        if each.unsaved is not None and is_remote(each.backend) == remote
    ]
    place = backend.get("dir") or backend.get("ref")
    chosen = [each for each in known if each.place == place] or known
    return frozenset(chosen[0].unsaved or ()) if len(chosen) == 1 else None


def explain_layers(
    record: Record, present: Mapping[str, int] | None, unsaved: frozenset[str] | None
) -> Iterator[str]:
    """What a person should know of a build's layers, where they are unknown or in no cache.

    Args:
        record: the build's.
        present: the layers that the cache has, with their sizes; None where that is not known.
        unsaved: those that the build did not save to it; None where that is not known.
    """
    layers = {each.digest for step in record.steps for each in step.layers}
    if record.steps and not layers:
        yield f"the layers are not known: {record.why_unknown or _UNTOLD}"
    elif present == {}:
        if unsaved is None:
            yield "the cache has none of these layers"
        elif layers <= unsaved:
            yield "the build saved nothing to this cache"
        else:
            yield "the cache is gone; these are the layers that the build left"
