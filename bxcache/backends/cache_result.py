"""One cache after the build."""

from __future__ import annotations

from msgspec import Struct


class CacheResult(Struct, frozen=True):
    """The state of one cache after the build.

    Attributes:
        backend: the declared type, such as `local`, `registry` or `inline`.
        place: the store's directory or the ref.
        scope: its name there: an image, its platforms and a branch.
        digest: the digest of the saved manifest, else of the imported one; None if unknown.
        bytes: the current size of the scope there; None if unknown. A local store may have
            dropped some of the saved layers.
        imported: whether the build started from it.
        exported: whether the build was saved to it.
        aliased: whether it now equals another scope of the registry, and nothing was uploaded.
        new_bytes: the part of `bytes` that was not there before; None if unknown.
        unchanged: whether everything was there already.
        layers: the number of distinct layers in the scope; None if unknown.
        contents: the digests of the layers that the build saved or found there; None if unknown.
        store_bytes: the size of the whole store afterwards; None for other backends.
        store_budget: the maximum size of the store, in bytes; None if there is no known limit.
        freed_bytes: the bytes that the store freed afterwards; None for other backends.
        seconds: how long saving to a registry took, or saving what finished of a failed build;
            None if the build itself saved.
        where: where the scope is, for display.
        salvaged: how many steps of a failed build were saved, which it had executed.
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
    salvaged: int = 0

    @property
    def is_kept(self) -> bool:
        """Whether the build is in this cache now: saved by it, or there before."""
        # A cache without layers was evicted at once, and a warning names the size that it needs.
        return (self.exported or self.aliased or self.unchanged) and self.layers != 0
