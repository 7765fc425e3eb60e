"""One cache after the build."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheResult:
    """The state of one cache after the build.

    Attributes:
        backend: the declared type, such as `local`, `registry` or `inline`.
        place: the store's directory or the ref.
        scope: the scope's name.
        digest: the manifest that was saved, or else the one that was imported; None if unknown.
        bytes: the size of what the scope now has there; None if unknown. A local store can have
            dropped a part of what was saved.
        imported: the build started from it.
        exported: the build was saved to it.
        aliased: it is now what another scope of the same registry is; nothing was uploaded.
        new_bytes: the part of `bytes` that was not there before; None if unknown.
        unchanged: what there was to save was there already.
        layers: how many different layers the scope has; None if unknown.
        contents: the layers that the build saved there or found saved, by digest; None if unknown.
        store_bytes: the size of the whole store afterwards; None for other backends.
        store_budget: how large the store may be, in bytes; None where no bound is known.
        freed_bytes: the size of what the store dropped afterwards; None for other backends.
        seconds: how long saving to a registry took; None where that was a part of the build.
        where: where the scope is, for people.
    """

    backend: str
    place: str
    scope: str
    digest: str | None = None
    bytes: int | None = None
    imported: bool = False
    exported: bool = False
    new_bytes: int | None = None
    unchanged: bool = False
    layers: int | None = None
    store_bytes: int | None = None
    store_budget: int | None = None
    freed_bytes: int | None = None
    aliased: bool = False
    seconds: float | None = None
    contents: frozenset[str] | None = None
    where: str = ""
