"""A scope of a cache service, as a build saves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from bxcache.backends.base import Save

if TYPE_CHECKING:
    from bxcache.backends.base import CacheUse
    from bxcache.services.service import Service, Sighting


class ServiceSave(Save, frozen=True, kw_only=True):
    """A scope of a cache service that a run after the build saves.

    Attributes:
        seconds: how long the run may take.
        touch_refresh: how old a scope may become before it is saved again although nothing is new,
            in seconds; None for any age.
        name_key: the attribute with the scope's name.
        before: the lookup of the imported scope, if it is in the same service.
        before_scope: its name; empty if none was imported.
        splits: save one platform after the other, and join what each node of the builder has.
    """

    service: Service
    name_key: str
    seconds: float
    touch_refresh: float | None = None
    before: Sighting | None = None
    before_scope: str = ""
    splits: bool = False

    def name_aside(self, name: str) -> CacheUse:
        """The flag that exports to another name."""
        attributes = ((k, name if k == self.name_key else v) for k, v in self.use.attributes)
        return replace(self.use, attributes=tuple(attributes))

    def from_nothing(self) -> ServiceSave:
        return replace(self, before=None, before_scope="")
