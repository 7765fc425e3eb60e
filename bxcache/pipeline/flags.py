"""What docker is told of each cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.backends.base import EXPORT, IMPORT, CacheUse
from bxcache.pipeline.candidates import find_ref

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.backends.base import Candidate
    from bxcache.backends.local import LocalState
    from bxcache.config.backends import InlineBackend, LocalBackend, RegistryBackend
    from bxcache.place.scope import Scope


def import_local(local: LocalState, candidate: Candidate) -> CacheUse:
    digest = local.donors[candidate.scope]
    attributes = (("type", "local"), ("src", str(local.staging)), ("digest", digest))
    reason = f"the store has the scope `{candidate.scope}`, {candidate.what}"
    return CacheUse(IMPORT, "local", str(local.store), candidate.scope, attributes, reason)


def import_ref(
    backend: RegistryBackend | InlineBackend, candidate: Candidate, unseen: str = ""
) -> CacheUse:
    """The import of a ref; `unseen` says why it is not known whether a cache is there."""
    attributes = (
        ("type", "registry"),
        ("ref", candidate.place),
        *((("registry.insecure", "true"),) if backend.insecure else ()),
    )
    kept = "the image" if backend.type == "inline" else "the registry"
    reason = f"{kept} has a cache there, {candidate.what}"
    if unseen:
        reason = f"whether {kept} has a cache there is not known: {unseen}"
    return CacheUse(IMPORT, backend.type, candidate.place, candidate.scope, attributes, reason)


def export_registry(backend: RegistryBackend, scope: Scope) -> CacheUse:
    ref = find_ref(backend, scope.name)
    attributes = (
        ("type", "registry"),
        ("ref", ref),
        ("mode", "max"),
        ("image-manifest", _boolean(backend.image_manifest)),
        ("oci-mediatypes", _boolean(backend.oci_mediatypes)),
        *((("registry.insecure", "true"),) if backend.insecure else ()),
        *_compression(backend),
        ("ignore-error", _boolean(backend.ignore_error)),
    )
    return CacheUse(
        EXPORT,
        "registry",
        ref,
        scope.name,
        attributes,
        "every stage is saved there, if anything is new",
    )


def export_local(backend: LocalBackend, local: LocalState, scope: Scope) -> CacheUse:
    attributes = (
        ("type", "local"),
        ("dest", str(local.staging)),
        ("tag", scope.name),
        ("mode", "max"),
        ("image-manifest", "true"),
        *_compression(backend),
        ("ignore-error", "true"),
    )
    reason = f"every stage is staged there, then linked into the store {local.store}"
    return CacheUse(EXPORT, "local", str(local.store), scope.name, attributes, reason)


def export_inline(backend: InlineBackend, scope: Scope) -> CacheUse:
    reason = "the final stage's chain is saved in the image"
    return CacheUse(
        EXPORT, "inline", find_ref(backend, scope.name), scope.name, (("type", "inline"),), reason
    )


def export_stages(backend: InlineBackend, scope: Scope) -> CacheUse:
    ref = find_ref(backend, scope.name)
    reason = "every stage is pushed as an image beside it, if anything is new"
    return CacheUse(EXPORT, "inline", ref, scope.name, (("type", "inline"),), reason)


def _compression(backend: LocalBackend | RegistryBackend) -> Iterator[tuple[str, str]]:
    if backend.compression is not None:
        yield "compression", backend.compression
    if backend.compression_level is not None:
        yield "compression-level", str(backend.compression_level)
    if backend.force_compression:
        yield "force-compression", "true"


def _boolean(value: bool) -> str:  # noqa: FBT001  # this is what it renders
    return "true" if value else "false"
