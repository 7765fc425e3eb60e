"""What the backends in cache services share: GitHub's, S3 and Azure Blob Storage.

Never a worse build: BuildKit waits for ever for a service that accepts and never answers, and an
export that it cannot begin fails the build even with `ignore-error`. So each scope is looked up
before the build, which leaves out a service that does not answer, and each save is a run after it.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from bxcache.backends.base import (
    DECLARED,
    EXPORT,
    IMPORT,
    NO_EXPORT,
    REFUSED,
    Backend,
    CacheUse,
    Candidate,
    SavedScope,
    SavePlan,
    Sight,
)
from bxcache.backends.service_scope import ServiceSave
from bxcache.buildx.capabilities import advise_new
from bxcache.config.quantities import format_count
from bxcache.errors import Trouble
from bxcache.services.faults import ServiceError
from bxcache.services.service import Sighting, look_up_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bxcache.backends.base import Built, Save, Wish
    from bxcache.backends.finding import Finding
    from bxcache.buildx.capabilities import Capabilities
    from bxcache.config.loading import Setup
    from bxcache.config.models import BuildSettings
    from bxcache.config.services import ServiceSettings
    from bxcache.oci.documents import CacheManifest
    from bxcache.place.scope import Owner, Scope
    from bxcache.services.service import Service, Stored

_MOST_FURTHER = 4
"""How many caches for other platforms to look up."""
_LEFT_OUT = (Trouble.SICK, Trouble.REFUSED)
_DIGEST = re.compile(r"expected (sha256:[0-9a-f]{64})")
"""https://github.com/containerd/containerd/blob/v2.1.4/plugins/content/local/writer.go"""
_LONGEST_ERROR = 300
_DOCKER = "docker"
_OWN_DRIVERS = (_DOCKER, "docker-container")
"""The drivers whose builders belong to this machine's docker."""


class ServiceBackend(Backend):
    """A cache service, with one entry or object for each scope.

    Attributes:
        name_key: the attribute with a scope's name.
        touch_refresh: how old a scope may become before it is saved again although nothing is new,
            in seconds; None for any age.
    """

    name_key: ClassVar[str]
    settings: ServiceSettings
    touch_refresh: float | None = None

    def __init__(self, settings: ServiceSettings, setup: Setup) -> None:
        super().__init__(settings, setup)
        self.environment: Mapping[str, str] = os.environ
        self._capabilities: Capabilities | None = None
        self._sightings: dict[str, Sighting] = {}
        self._saves = False
        if setup.is_guarded and not setup.is_callers(DECLARED):
            self.read_only = self.explain_read_only(self.place)

    @property
    def place(self) -> str:
        """Its address, for people."""
        raise NotImplementedError

    def open_service(self) -> Service:
        """Open the service, without a request; ServiceError says why it cannot be used."""
        raise NotImplementedError

    @property
    def forwarded(self) -> str:
        """Where the credentials come from that docker can pass on, for people; empty without."""
        raise NotImplementedError

    @property
    def forwards(self) -> bool:
        """Whether docker passes credentials of this job to the builder."""
        chosen = getattr(self.settings, "credentials", None)
        wanted = chosen == "job" or (chosen is None and self.is_own_builder)
        return wanted and bool(self.forwarded)

    @property
    def is_own_builder(self) -> bool:
        """Whether the builder belongs to this machine's docker."""
        return self._capabilities is None or self._capabilities.builder.driver in _OWN_DRIVERS

    def list_attributes(self) -> Iterator[tuple[str, str]]:
        """List the attributes that an import and an export have in common, besides the scope."""
        raise NotImplementedError

    def list_export_attributes(self) -> Iterator[tuple[str, str]]:
        """List the attributes of an export only."""
        return iter(())

    def explain_builder(self, found: Capabilities) -> str | None:
        """Explain why a builder can neither import nor export it; None if it can."""
        raise NotImplementedError

    @cached_property
    def _opened(self) -> Service | ServiceError:
        try:
            return self.open_service()
        except ServiceError as error:
            return error

    @property
    def service(self) -> Service:
        """The service; ServiceError if it cannot be used."""
        if isinstance(self._opened, ServiceError):
            raise self._opened
        return self._opened

    def use_builder(self, found: Capabilities) -> None:
        self._capabilities = found

    @cached_property
    def refusal(self) -> str:
        """Why the builder cannot use it; empty if it can, or if the builder is unknown."""
        found = self._capabilities
        return (self.explain_builder(found) or "") if found is not None else ""

    @property
    def is_usable(self) -> bool:
        """Whether this build can use it."""
        return not self.refusal and not isinstance(self._opened, ServiceError)

    def find_place(self, scope: str) -> str:
        return self.place

    def name_cache(self, scope: str) -> str:
        return f"`{scope}` in {self.place}"

    def look(self, candidates: Sequence[Candidate]) -> None:
        self._look_up([each.scope for each in candidates])

    def _look_up(self, scopes: Sequence[str]) -> None:
        unseen = [each for each in dict.fromkeys(scopes) if each not in self._sightings]
        if not unseen or not self.is_usable:
            return
        self._sightings |= look_up_all(self.service, unseen)

    def look_further(
        self, scope: Scope, owners: Sequence[tuple[Owner, str]]
    ) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
        """Find caches for other platforms, which may be any."""
        if not self.is_usable or not self._sightings or self.find_error():
            return (), ()
        try:
            related = [*scope.list_related(owners, self.service.list_scopes())][:_MOST_FURTHER]
        except ServiceError as error:
            return (), (f"caches for other platforms were not looked for: {error}",)
        found = tuple(Candidate(self, name, what) for name, what in related)
        self.look(found)
        return found, ()

    def judge(self, candidate: Candidate) -> Sight:
        if self.refusal:
            return Sight(there=False, verdict=self.refusal)
        if isinstance(self._opened, ServiceError):
            return Sight(there=False, verdict=self._opened.cause)
        sighting = self._sightings.get(candidate.scope)
        if sighting is None:
            return Sight(there=False, verdict="not asked: there is a better one")
        if sighting.error is not None:
            left_out = sighting.error.trouble in _LEFT_OUT
            return Sight(False if left_out else None, sighting.error.cause)
        if sighting.stored is None:
            return Sight(there=False, verdict="there is none")
        if sighting.stored.cache is None:
            return Sight(there=False, verdict="what is there is not a build cache")
        return Sight(there=True, verdict="it is there")

    @property
    def _errors(self) -> list[ServiceError]:
        return [each.error for each in self._sightings.values() if each.error is not None]

    def find_error(self) -> str | None:
        return next((each.message for each in self._errors), None)

    def list_troubles(self, *, saves: bool) -> Iterator[str]:
        if self.refusal:
            yield f"the {self.kind} cache is not used: {self.refusal}"
        elif isinstance(self._opened, ServiceError):
            yield f"the {self.kind} cache is not used: {self._opened.cause}"
        for error in [each for each in self._errors if each.trouble in _LEFT_OUT][:1]:
            yield f"a cache was not used; {error.message}"

    def list_notes(self, settings: BuildSettings, directory: Path) -> Iterator[str]:
        """Note whose credentials are used; the credentials themselves are never shown."""
        if not self.is_usable:
            return
        if self.forwards:
            source = self.forwarded
            yield f"docker passes the credentials of {source} to the builder, for {self.place}"
        else:
            yield f"the builder uses its own credentials for {self.place}"

    def import_flag(self, candidate: Candidate) -> CacheUse:
        reason = f"{self.place} has a cache there, {candidate.what}"
        sight = self.judge(candidate)
        if not sight.there:
            reason = f"whether {self.place} has a cache is not known: {sight.verdict}"
        return self._make_use(IMPORT, candidate.scope, reason)

    def _make_use(self, flag: str, scope: str, reason: str) -> CacheUse:
        saves = flag == EXPORT
        attributes = (
            ("type", self.kind),
            (self.name_key, scope),
            *((("mode", "max"),) if saves else ()),
            *self.list_attributes(),
            *(self.list_export_attributes() if saves else ()),
        )
        return CacheUse(flag, self, self.place, scope, attributes, reason)

    def plan_save(self, wish: Wish, imports: Sequence[CacheUse]) -> SavePlan:
        """Plan a separate run: an export by the build itself could fail it."""
        if not self.is_usable:
            return SavePlan(
                why=NO_EXPORT if self.refusal else f"the {self.kind} cache cannot be used"
            )
        if any(each.trouble in _LEFT_OUT for each in self._errors):
            return SavePlan(why=f"{self.place} failed")
        if wish.once:
            why = f"{wish.once}, so no separate run can save it"
            return SavePlan(notes=(f"the {self.kind} cache is not saved: {why}",), why=why)
        nodes = self._capabilities.builder.nodes if self._capabilities is not None else ()
        splits = len(nodes) > 1 and len(wish.scope.platforms) > 1
        use = self._make_use(
            EXPORT, wish.scope.name, "every stage is saved there, if anything is new"
        )
        own = next((each.scope for each in imports if each.backend is self), "")
        self._saves = True
        save = ServiceSave(
            use=use,
            apart=True,
            service=self.service,
            name_key=self.name_key,
            seconds=self.settings.timeout,
            touch_refresh=self.touch_refresh,
            before=self._sightings.get(own),
            before_scope=own,
            splits=splits,
        )
        return SavePlan(saves=(save,))

    def explain_failure(self, place: str, operation: str, error: str) -> str:
        return super().explain_failure(place, operation, condense(error))

    def blames(self, error: str) -> bool:
        return any(mark in error for mark in self.list_marks())

    def list_marks(self) -> Iterator[str]:
        """List what BuildKit's errors about the service contain."""
        raise NotImplementedError

    def mend(self, fault: str, imports: Sequence[CacheUse]) -> tuple[str, ...]:
        """Remove damaged layers: BuildKit does not upload again what is there."""
        suspects, removed = frozenset(_DIGEST.findall(fault)), 0
        with suppress(ServiceError):
            for use in imports if self._saves else ():
                manifest = _parse(self._sightings.get(use.scope))
                if manifest is not None:
                    removed += self.service.remove_damaged(manifest.layer_sizes, suspects)
        if not removed:
            return ()
        return (f"{format_count(removed, 'damaged layer')} removed from {self.place}",)

    def read_imports(self, imports: Sequence[CacheUse]) -> Iterator[CacheManifest | None]:
        self._look_up([each.scope for each in imports])
        return (_parse(self._sightings.get(each.scope)) for each in imports)

    def read_trusted(self, imports: Sequence[CacheUse]) -> Iterator[CacheManifest]:
        """Read the scopes that the build looked up: trusted builds save under these names."""
        return filter(None, map(_parse, self._sightings.values()))

    def save(self, save: Save, built: Built) -> SavedScope:
        """Leave the scope, copy another one to it, or run docker once more to save it."""
        from bxcache.backends.service_save import save_scope  # noqa: PLC0415  # runs docker

        if not isinstance(save, ServiceSave):
            raise TypeError(save)
        if built.sound is not None:
            # An export cannot leave out layers.
            return SavedScope(save.use.result, why=REFUSED)
        return save_scope(save, built)

    @property
    def salvages(self) -> bool:
        return self.is_usable

    def diagnose(self, ask: Callable[[], Capabilities | None], *, saves: bool) -> Iterator[Finding]:
        """Examine whether the builder can use the service, and whether it answers."""
        from bxcache.backends.service_findings import judge_service  # noqa: PLC0415  # the doctor's

        found = ask()
        if found is not None:
            self.use_builder(found)
        yield from judge_service(self.place, self.refusal, self._opened)

    def open_holder(self) -> None:
        """Open nothing: the records of its scopes are where the project's store or registry is."""


def condense(error: str) -> str:
    """Return an error of a service's client in one line; Azure's has one for each fact.

    >>> condense("GET http://x/y\\n-----\\nRESPONSE 403: 403 Forbidden\\n-----\\nno body\\n")
    'GET http://x/y; RESPONSE 403: 403 Forbidden; no body'
    """
    lines = (" ".join(line.split()) for line in error.splitlines())
    line = "; ".join(line for line in lines if line.strip("-"))
    return line if len(line) <= _LONGEST_ERROR else f"{line[:_LONGEST_ERROR]}…"


def explain_docker(found: Capabilities, kind: str) -> str | None:
    """Explain why docker's own builder cannot use a kind of cache; None for any other builder.

    https://github.com/moby/moby/blob/v28.5.2/builder/builder-next/controller.go
    """
    if found.builder.driver != _DOCKER:
        return None
    return f"docker's own builder has no `{kind}` caches; {advise_new()}"


def _parse(sighting: Sighting | None) -> CacheManifest | None:
    stored: Stored | None = sighting.stored if sighting is not None else None
    return stored.cache[0] if stored is not None and stored.cache is not None else None
