"""A scope of a cache service, as a build saves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from bxcache.backends.base import Save

if TYPE_CHECKING:
    from bxcache.services.service import Service, Sighting


class ServiceSave(Save, frozen=True, kw_only=True):
    """A scope of a cache service that a run after the build saves.

    Attributes:
        seconds: how long the run may take.
        touch_refresh: how old a scope may become before it is saved again although nothing is new,
            in seconds; None for any age.
        before: the lookup of the imported scope, if it is in the same service.
        before_scope: its name; empty if none was imported.
        splits: save one platform after the other, and join what each node of the builder has.
    """

    service: Service
    seconds: float
    touch_refresh: float | None = None
    before: Sighting | None = None
    before_scope: str = ""
    splits: bool = False

    def from_nothing(self) -> ServiceSave:
        return replace(self, before=None, before_scope="")
