"""A registry's scope is a tag: how a build saves it, and its state afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import field
from msgspec.structs import replace

from bxcache.backends.base import Save, SavedScope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bxcache.config.reference import Reference
    from bxcache.place.scope import Scope
    from bxcache.registry.labels import Label
    from bxcache.registry.repository import Sighting


class TagSave(Save, frozen=True, kw_only=True):
    """A scope of a registry that a build saves.

    Attributes:
        keeps_images: whether the tag is an image with every stage's layers, not a BuildKit cache.
        source: the lookup of the imported ref, if it is in the same repository.
        find_state: finds a guess of what is built, as `Wish.state`.
    """

    owner: Scope
    reference: Reference
    keeps_images: bool = False
    source: Sighting | None = None
    source_ref: str = ""
    find_state: Callable[[], str] = str

    @property
    def tag(self) -> str:
        return self.reference.tag or self.use.scope

    @property
    def source_tag(self) -> str | None:
        """The tag that the build imports from this repository, or None."""
        return self.source_ref.removeprefix(f"{self.reference.name}:") or None

    def from_nothing(self) -> TagSave:
        return replace(self, source=None, source_ref="")


class SavedTag(SavedScope, frozen=True, kw_only=True):
    """A scope of a registry after it was saved.

    Attributes:
        digest: the digest of the tag's new manifest; None if the tag was left alone.
        label: the tag's previous label; None if there was none, or if unknown.
        stages: the image digests of its stages, by tag.
    """

    save: TagSave
    digest: str | None = None
    label: Label | None = None
    stages: Mapping[str, str] = field(default_factory=dict)


def expect_tag(save: Save) -> TagSave:
    """Narrow a save to the type that a registry's backend plans."""
    if not isinstance(save, TagSave):
        raise TypeError(save)
    return save
