"""A key for CI systems that store files by key and restore them by key prefix.

The key ends in a hash of the store's content, so an unchanged cache is not saved again. Its parts
are those of a scope's name, so no key is a prefix of another project's key.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from bxcache.place.image_name import find_image
from bxcache.place.scope import Kind, Owner, Scope, guess_platform, write_owner
from bxcache.place.trust import find_owner

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from bxcache.config.loading import Setup
    from bxcache.oci.documents import Descriptor
    from bxcache.place.place import Place

END = "~"
"""The end of a branch in a key. No branch contains it, so none is the beginning of another:
https://git-scm.com/docs/git-check-ref-format"""
ALL = "images"
"""Stands for all images of a repository in the key of the store that they share."""
_VERSION = "bxcache-1"
_EMPTY = "empty"


class CacheKey(Struct, frozen=True):
    """A key and its parts.

    Attributes:
        project: the prefix of all keys of the image on this platform.
        owners: the parts of the key for the build's own branch, the base branch of a pull request
            and the default branch, each if it is known, best first.
        content: the hash of the store's content.
        default: the default branch as git spells it, if it is known.
        end: ends a branch in a key.
    """

    end: ClassVar[str] = END

    project: str
    owners: tuple[str, ...]
    content: str
    default: str | None

    @property
    def key(self) -> str:
        return f"{self.prefixes[0]}{self.content}"

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The prefixes to try if the key itself is not found, best first."""
        return (*(f"{self.project}{each}{END}" for each in self.owners), self.project)


def name_project(image: str, target: str | None, platforms: Collection[str]) -> str:
    """The prefix of all keys of an image, or of `ALL`.

    >>> name_project("image", None, ["linux/amd64"])
    'bxcache-1.image.linux-amd64.'
    """
    return f"{_VERSION}.{Scope(image, target, tuple(platforms)).stem}."


def make_cache_key(
    setup: Setup, directory: Path, scopes: Mapping[str, Descriptor], place: Place
) -> CacheKey:
    """The key of a store with some scopes, for a build of one image or of all, in a place."""
    branches = (Owner.of_branch(each) for each in (place.base, place.default))
    owners = [each for each in (find_owner(place), *branches) if each.kind is not Kind.NONE]
    settings = setup.config.build
    is_all = setup.image is None and bool(setup.config.images)
    image = ALL if is_all else find_image(setup, directory)
    lines = "".join(f"{name} {entry.digest}\n" for name, entry in sorted(scopes.items()))
    return CacheKey(
        project=name_project(image, settings.target, settings.platforms or (guess_platform(),)),
        owners=tuple(dict.fromkeys(map(write_owner, owners))),
        content=hashlib.sha256(lines.encode()).hexdigest()[:16] if scopes else _EMPTY,
        default=place.default,
    )
