"""From configuration and what exists to a plan: which caches are imported and exported, and why.

Pure: what exists is told by the caller.

- One donor. Several imports at once make BuildKit miss at random (moby/buildkit#4674), so only the
  first backend that has a cache is imported.
- The local export comes last. BuildKit writes the digest of the last export into a local layout's
  index, whichever export that was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bxcache.buildx.option_text import Attributes, render_options
from bxcache.config.backends import InlineBackend, LocalBackend, RegistryBackend
from bxcache.config.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bxcache.config.backends import Backend
    from bxcache.config.models import Config
    from bxcache.scope import Scope

IMPORT = "--cache-from"
EXPORT = "--cache-to"
PLAIN_TAG = "latest"
"""The tag of a local cache that is exported without one."""


@dataclass(frozen=True, slots=True)
class LocalState:
    """What a store offers to a build.

    Attributes:
        store: its directory.
        staging: the layout that buildx reads and writes in its place.
        donor: the scope to import, or None when the store has none.
        digest: the manifest of `donor`.
        trouble: why the store cannot be used, or an empty string.
        notes: what was mended in it, or why it is only read.
        read_only: it is read from where it lies, and nothing is saved to it.
    """

    store: Path
    staging: Path
    donor: str | None = None
    digest: str | None = None
    trouble: str = ""
    notes: tuple[str, ...] = ()
    read_only: bool = False

    def offers(self, name: str) -> bool:
        """Whether a build can start from this scope of the store."""
        return self.donor == name and self.digest is not None


@dataclass(frozen=True, slots=True)
class CacheUse:
    """One cache flag of the build.

    Attributes:
        flag: `--cache-from` or `--cache-to`.
        backend: the type that was declared. An inline cache is imported as `registry`.
        place: the store's directory or the ref, for people.
        scope: the scope's name.
        attributes: what docker is told.
        reason: why this cache is used.
    """

    flag: str
    backend: str
    place: str
    scope: str
    attributes: Attributes
    reason: str

    @property
    def option(self) -> tuple[str, str]:
        """The flag with its value."""
        return self.flag, render_options(self.attributes)


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What a build will do about caches.

    Attributes:
        scope: whose cache it is.
        uses: the cache flags, in order.
        notes: why a declared cache is not used.
    """

    scope: Scope
    uses: tuple[CacheUse, ...]
    notes: tuple[str, ...]

    def without_imports(self) -> BuildPlan:
        """The same, started from nothing."""
        return replace(self, uses=self.exports)

    @property
    def imports(self) -> tuple[CacheUse, ...]:
        """What the build starts from."""
        return tuple(use for use in self.uses if use.flag == IMPORT)

    @property
    def exports(self) -> tuple[CacheUse, ...]:
        """What the build saves."""
        return tuple(use for use in self.uses if use.flag == EXPORT)


def list_candidates(config: Config, scope: Scope) -> list[tuple[Backend, str]]:
    """The caches that a build may start from, best first, each with its scope's name.

    A target without a cache of its own starts from the whole image's, which has all its stages. A
    store that plain buildx exported to has another one to start from.
    """
    names = [scope.name] if scope.target is None else [scope.name, scope.whole.name]
    found: list[tuple[Backend, str]] = []
    for backend in config.cache.backends:
        owners = names if _keeps_scopes(backend) else names[:1]
        found += [(backend, each) for each in owners]
        if isinstance(backend, LocalBackend):
            found.append((backend, PLAIN_TAG))
    return found


def _keeps_scopes(backend: Backend) -> bool:
    if isinstance(backend, RegistryBackend):
        return Reference.parse(backend.ref).tag is None
    return isinstance(backend, LocalBackend)


def find_ref(backend: RegistryBackend | InlineBackend, scope: str) -> str:
    """The ref of a scope's cache in a registry: the scope is the tag, unless one is declared."""
    reference = Reference.parse(backend.ref)
    if isinstance(backend, InlineBackend):
        return str(reference if reference.tag else Reference(reference.name, "latest"))
    return str(reference if reference.tag else Reference(reference.name, scope))


def make_plan(
    config: Config,
    scope: Scope,
    local: LocalState | None,
    refs: Mapping[str, bool | None],
    *,
    makes_image: bool,
) -> BuildPlan:
    """Choose the donor and what is saved.

    Args:
        config: the configuration.
        scope: whose cache it is.
        local: the store, where one is declared.
        refs: for each ref that was looked up whether it exists; None when it is not known.
        makes_image: whether the build makes an image, which an inline cache needs.
    """
    notes: list[str] = []
    imports = _choose_import(config, scope, local, refs, notes)
    exports = _choose_exports(config, scope, local, notes, makes_image=makes_image)
    return BuildPlan(scope, (*imports, *exports), tuple(notes))


def _choose_import(
    config: Config,
    scope: Scope,
    local: LocalState | None,
    refs: Mapping[str, bool | None],
    notes: list[str],
) -> tuple[CacheUse, ...]:
    if config.build.no_cache:
        notes.append("no cache is imported: `--no-cache`")
        return ()
    uncertain: list[CacheUse] = []
    for backend, owner in list_candidates(config, scope):
        if isinstance(backend, LocalBackend):
            if local is not None and local.offers(owner):
                return (_import_local(local, owner),)
            continue
        ref = find_ref(backend, owner)
        use = _import_ref(backend, ref, owner)
        if refs.get(ref):
            return (use,)
        if refs.get(ref) is None:
            uncertain.append(use)
    if not uncertain:
        notes.append(f"no cache is imported: the scope `{scope.name}` has none yet")
    return tuple(uncertain[:1])


def _import_local(local: LocalState, owner: str) -> CacheUse:
    attributes = (("type", "local"), ("src", str(local.staging)), ("digest", local.digest or ""))
    reason = f"the store {local.store} has the scope `{owner}`"
    return CacheUse(IMPORT, "local", str(local.store), owner, attributes, reason)


def _import_ref(backend: RegistryBackend | InlineBackend, ref: str, owner: str) -> CacheUse:
    insecure = isinstance(backend, RegistryBackend) and backend.insecure
    attributes = (
        ("type", "registry"),
        ("ref", ref),
        *((("registry.insecure", "true"),) if insecure else ()),
    )
    kept = "the image" if backend.type == "inline" else "the registry"
    return CacheUse(IMPORT, backend.type, ref, owner, attributes, f"{kept} may have a cache there")


def _choose_exports(
    config: Config,
    scope: Scope,
    local: LocalState | None,
    notes: list[str],
    *,
    makes_image: bool,
) -> tuple[CacheUse, ...]:
    if config.cache.write == "never":
        notes.append('no cache is saved: `cache.write = "never"`')
        return ()
    uses: list[CacheUse] = []
    for backend in sorted(config.cache.backends, key=lambda each: isinstance(each, LocalBackend)):
        if isinstance(backend, RegistryBackend):
            uses.append(_export_registry(backend, scope))
        elif isinstance(backend, LocalBackend):
            if local is not None and not local.trouble and not local.read_only:
                uses.append(_export_local(backend, local, scope))
        elif makes_image:
            uses.append(_export_inline(backend, scope))
        else:
            notes.append("no inline cache is saved: this build makes no image to hold it")
    return tuple(uses)


def _export_registry(backend: RegistryBackend, scope: Scope) -> CacheUse:
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
    return CacheUse(EXPORT, "registry", ref, scope.name, attributes, "every stage is saved there")


def _export_local(backend: LocalBackend, local: LocalState, scope: Scope) -> CacheUse:
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


def _export_inline(backend: InlineBackend, scope: Scope) -> CacheUse:
    reason = "the final stage's chain is saved in the image"
    return CacheUse(
        EXPORT, "inline", find_ref(backend, scope.name), scope.name, (("type", "inline"),), reason
    )


def _compression(backend: LocalBackend | RegistryBackend) -> Iterator[tuple[str, str]]:
    if backend.compression is not None:
        yield "compression", backend.compression
    if backend.compression_level is not None:
        yield "compression-level", str(backend.compression_level)
    if backend.force_compression:
        yield "force-compression", "true"


def _boolean(value: bool) -> str:  # noqa: FBT001  # this is what it renders
    return "true" if value else "false"
