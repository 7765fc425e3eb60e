"""A key for CI systems that store files by key and restore them by key prefix.

The key ends in a hash of the store's content, so an unchanged cache is not saved again. Its parts
are those of a scope's name, so no key is a prefix of another project's key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bxcache.place.image_name import find_image
from bxcache.place.scope import Kind, Owner, Scope, guess_platform, write_owner

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bxcache.config.loading import Setup
    from bxcache.oci.documents import Descriptor

_VERSION = "bxcache-1"
_EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class CacheKey:
    """A key and its parts; `project` is the prefix of all keys of the image on this platform."""

    project: str
    branch: str | None
    content: str

    @property
    def key(self) -> str:
        return f"{self.prefixes[0]}{self.content}"

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The prefixes to try if the key itself is not found, best first."""
        branch = (f"{self.project}{self.branch}.",) if self.branch else ()
        return (*branch, self.project)


def make_cache_key(
    setup: Setup, directory: Path, scopes: Mapping[str, Descriptor], owner: Owner
) -> CacheKey:
    """The key of an image's store with some scopes; an owner counts if the CI system ignores it."""
    settings = setup.config.build
    image = find_image(setup, directory)
    scope = Scope(image, settings.target, settings.platforms or (guess_platform(),))
    lines = "".join(f"{name} {entry.digest}\n" for name, entry in sorted(scopes.items()))
    return CacheKey(
        project=f"{_VERSION}.{scope.stem}.",
        branch=None if owner.kind is Kind.NONE else write_owner(owner),
        content=hashlib.sha256(lines.encode()).hexdigest()[:16] if scopes else _EMPTY,
    )
