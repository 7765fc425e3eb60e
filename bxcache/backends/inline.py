"""The cache inside images as a backend: in the image itself, or in one image per stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from bxcache.backends.base import EXPORT, REFUSED, CacheUse, Save, SavedScope, SavePlan
from bxcache.backends.registry import TOO_EARLY, RemoteBackend
from bxcache.buildx.command import list_pushed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.backends.base import Built, Wish
    from bxcache.config.backends import InlineSettings


class InlineBackend(RemoteBackend):
    """Keeps the final stage's chain in the image itself, or every stage as a separate image."""

    kind = "inline"
    keeps_images = True
    _keeper = "the image"

    settings: InlineSettings

    @property
    def keeps_all(self) -> bool:
        return self.settings.keeps_all

    def plan_save(self, wish: Wish, imports: Sequence[CacheUse]) -> SavePlan:
        """Plan an export with the image; the other stages are pushed after the build."""
        place = self.find_place(wish.scope.name)
        reason = "the final stage's chain is saved in the image"
        if self.keeps_all:
            reason = "every stage is pushed as an image beside it, if anything is new"
        use = CacheUse(EXPORT, self, place, wish.scope.name, (("type", "inline"),), reason)
        plan, why, brief = SavePlan(saves=(Save(use),)), None, ""
        if self.keeps_all:
            plan, cause = self.plan_tag(wish, imports, use), wish.once or wish.unbaked
            if plan.saves and cause:
                no_rerun = f"this build cannot be run again for them, as {cause}"
                why = f"the stages are not saved: {no_rerun}"
                brief = f"the stages cannot be built again, as {cause}"
        elif wish.refuses_borrowed:
            why = f"no inline cache is saved: it is written with the image, {TOO_EARLY}"
            brief = REFUSED
        elif not wish.makes_image:
            brief = "this build makes no image to hold it"
            why = f"no inline cache is saved: {brief}"
        return SavePlan(notes=(why,), why=brief) if why else plan

    def save(self, save: Save, built: Built) -> SavedScope:
        """Push the stages; the build itself has exported the image."""
        if self.keeps_all:
            return super().save(save, built)
        exported = built.ran.metadata.image_digest is not None
        build = self.setup.config.build
        where = f"the image `{save.use.place}` (the final stage)"
        if not list_pushed(build, ()):
            where = f"the image (the final stage), to be read once it is `{save.use.place}`"
        result = replace(save.use.result, exported=exported, where=where)
        return SavedScope(result, why="" if exported else "docker reported no image")

    def find_shared_ref(self) -> tuple[str, str, str] | None:
        """The image, unless every stage has its own."""
        if self.keeps_all:
            return None
        hint = 'with `stages = "all"` an inline cache has a tag for each image'
        return str(self.reference), "imported", hint
