"""A scope of a registry is a tag: how a build saves it, and its state afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bxcache.backends.base import Save, SavedScope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bxcache.place.scope import Scope
    from bxcache.registry.labels import Label
    from bxcache.registry.probing import Sighting


@dataclass(frozen=True, slots=True, kw_only=True)
class TagSave(Save):
    """A scope of a registry that a build saves.

    Attributes:
        owner: whose cache it is.
        insecure: the registry may speak HTTP, or have an unknown certificate.
        timeout: how long saving may take, in seconds.
        keeps_images: the tag is an image that has every stage's layers; else a BuildKit cache.
        source: what was found at the ref that the build starts from, if it lies in the same
            repository.
        source_ref: that ref.
    """

    owner: Scope
    insecure: bool = False
    timeout: float = 600
    keeps_images: bool = False
    source: Sighting | None = None
    source_ref: str = ""

    def from_nothing(self) -> TagSave:
        """The same for a build that starts from nothing."""
        return replace(self, source=None, source_ref="")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedTag(SavedScope):
    """A scope of a registry after it was saved.

    Attributes:
        save: how it was saved, with what was found there.
        digest: the manifest that the tag was given; None where it was left alone.
        label: what was written beside the tag before; None where nothing was, or is unknown.
        stages: the digests of the images of its stages, by their tags.
    """

    save: TagSave
    digest: str | None = None
    label: Label | None = None
    stages: Mapping[str, str] = field(default_factory=dict)


def expect_tag(save: Save) -> TagSave:
    """The same, as what a registry's backend has planned."""
    if not isinstance(save, TagSave):
        raise TypeError(save)
    return save
