"""A registry as a backend: a repository with one tag per scope."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from bxcache.backends.base import (
    DECLARED,
    EXPORT,
    IMPORT,
    NO_EXPORT,
    REFUSED,
    Backend,
    CacheUse,
    Candidate,
    KeptRecord,
    Save,
    SavedScope,
    SavePlan,
    Sight,
)
from bxcache.backends.finding import SECONDS_TO_ANSWER
from bxcache.backends.holders import RegistryHolder, is_trusted
from bxcache.backends.registry_tag import SavedTag, TagSave, expect_tag
from bxcache.buildx.faults import explain_transfer
from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bxcache.backends.base import Built, Wish
    from bxcache.backends.finding import Finding
    from bxcache.buildx.capabilities import Capabilities
    from bxcache.config.backends import InlineSettings, RegistrySettings
    from bxcache.config.loading import Setup
    from bxcache.oci.documents import CacheManifest
    from bxcache.place.scope import Owner, Scope
    from bxcache.registry.repository import RemoteManifest, Sighting

TOO_EARLY = (
    'before it is known what came from the builder\'s own cache (`cache.shared_builder = "refuse"`)'
)
_MOST_PAGES = 10
"""How many pages of a registry's tag list to read in search of caches for other platforms."""
_MOST_FURTHER = 4
"""How many of these caches to look up."""
_MOST_SCOPES = 32
"""How many scopes of a repository to read, besides the build's own."""


class RemoteBackend(Backend):
    """A backend that reads its caches from registries."""

    settings: RegistrySettings | InlineSettings
    _keeper = "the registry"

    def __init__(self, settings: RegistrySettings | InlineSettings, setup: Setup) -> None:
        super().__init__(settings, setup)
        self.reference = Reference.parse(settings.ref)
        self.sightings: dict[str, Sighting] = {}
        self._candidates: tuple[Candidate, ...] = ()
        if setup.is_guarded:
            self.read_only = self._explain_read_only()

    def _explain_read_only(self) -> str | None:
        """Why an untrusted build only reads it: never save to a tag that other builds import."""
        if not self.setup.is_callers(DECLARED):
            return self.explain_read_only(self.settings.ref)
        if not self.keeps_all or self.reference.tag:
            ref = self.settings.ref
            return f"`{ref}` is read-only: trusted builds may import the tag that it names"
        return None

    def find_place(self, scope: str) -> str:
        return str(self.find_reference(scope))

    def find_reference(self, scope: str) -> Reference:
        """The declared tag, or else the scope as the tag."""
        tag = self.reference.tag or (scope if self.keeps_all else "latest")
        return Reference(self.reference.name, tag)

    def prepare(self, candidates: Sequence[Candidate], name: str, *, reads_all: bool) -> None:
        self._candidates = tuple(candidates)

    def look(self, candidates: Sequence[Candidate]) -> None:
        self._look_up(each.name for each in candidates)

    def look_further(
        self, scope: Scope, owners: Sequence[tuple[Owner, str]]
    ) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
        """Find caches for other platforms, which may be any: list the tags, 1000 per request."""
        seen = [*self.sightings.values()]
        fixed = self.reference.tag or not self.keeps_all
        if fixed or not seen or any(each.error for each in seen):
            return (), ()
        try:
            tags = seen[0].repository.list_tags(_MOST_PAGES)
        except RegistryError as error:
            return (), (f"caches for other platforms were not looked for: {error}",)
        related = islice(scope.list_related(owners, tags), _MOST_FURTHER)
        found = tuple(Candidate(self, name, what) for name, what in related)
        self.look(found)
        return found, ()

    def judge(self, candidate: Candidate) -> Sight:
        sighting = self.sightings.get(candidate.name)
        if sighting is None:
            return Sight(there=False, verdict="not asked: there is a better one")
        if sighting.error is not None:
            unreached = sighting.error.trouble is Trouble.UNREACHABLE
            return Sight(None if unreached else False, sighting.error.cause)
        if sighting.manifest is None:
            return Sight(there=False, verdict="there is none")
        # A declared tag may belong to an image.
        holds_cache = self.reference.tag is None and not self.keeps_images
        if holds_cache and sighting.manifest.parse() is None:
            return Sight(there=False, verdict="the tag is not a build cache")
        return Sight(there=True, verdict="it is there")

    @property
    def _errors(self) -> list[RegistryError]:
        return [each.error for each in self.sightings.values() if each.error is not None]

    def find_error(self) -> str | None:
        return next(map(str, self._errors), None)

    def list_troubles(self, *, saves: bool) -> Iterator[str]:
        """Explain why the registry is not used.

        The engine may reach a registry that is unreachable from here. A registry that denies reads
        may not have the repository yet; a build can still save to it.
        """
        kinds = [Trouble.SICK, Trouble.REFUSED]
        kinds += [] if saves and self.keeps_all else [Trouble.DENIED]
        found = (error for kind in kinds for error in self._errors if error.trouble is kind)
        worst = next(found, None)
        if worst is not None:
            yield f"a cache was not used; {worst}"

    def import_flag(self, candidate: Candidate) -> CacheUse:
        ref, sight = self.find_place(candidate.scope), self.judge(candidate)
        attributes = (("type", "registry"), ("ref", ref), *self._list_insecure())
        reason = f"{self._keeper} has a cache there, {candidate.what}"
        if not sight.there:
            reason = f"whether {self._keeper} has a cache there is not known: {sight.verdict}"
        return CacheUse(IMPORT, self, ref, candidate.scope, attributes, reason)

    def _list_insecure(self) -> tuple[tuple[str, str], ...]:
        return (("registry.insecure", "true"),) if self.settings.insecure else ()

    def plan_tag(
        self, wish: Wish, imports: Sequence[CacheUse], use: CacheUse, *, apart: bool = True
    ) -> SavePlan:
        """Plan to save a scope as a tag, `apart` from the build if that can run again."""
        if any(each.trouble in (Trouble.SICK, Trouble.REFUSED) for each in self._errors):
            return SavePlan(why="the registry failed")
        if wish.once and wish.refuses_borrowed:
            why = f"{self.settings.ref} is not saved: {wish.once}, so it is written {TOO_EARLY}"
            return SavePlan(notes=(why,), why=REFUSED)
        ref = next((each.place for each in imports if each.backend is self), "")
        save = TagSave(
            use=use,
            apart=apart and not wish.once,
            limit=None if wish.once else self.settings.timeout,
            owner=wish.scope,
            reference=self.find_reference(wish.scope.name),
            keeps_images=self.keeps_images,
            source=self.sightings.get(ref),
            source_ref=ref,
            find_state=wish.state,
        )
        return SavePlan(saves=(save,))

    def explain_failure(self, place: str, operation: str, error: str) -> str:
        return str(explain_transfer(place, operation, error))

    def read_imports(self, imports: Sequence[CacheUse]) -> Iterator[CacheManifest | None]:
        self._look_up(use.place for use in imports)
        return (_parse(self.sightings[use.place].manifest) for use in imports)

    def read_trusted(self, imports: Sequence[CacheUse]) -> Iterator[CacheManifest]:
        """Read the candidates, and the other scopes that trusted builds saved."""
        places = [self.find_place(each.scope) for each in self._candidates]
        self._look_up(places)
        yield from filter(None, (_parse(self.sightings[place].manifest) for place in places))
        if self.keeps_all and self.read_only is None:
            yield from self._read_scopes()

    def _look_up(self, places: Iterable[str]) -> None:
        unseen = [place for place in places if place not in self.sightings]
        if unseen:
            from bxcache.registry.repository import probe_refs  # noqa: PLC0415  # loads HTTP

            refs = dict.fromkeys(unseen, self.settings.insecure)
            self.sightings |= probe_refs(refs, os.environ)

    def _read_scopes(self) -> Iterator[CacheManifest]:
        from bxcache.registry.repository import open_repository  # noqa: PLC0415  # loads HTTP
        from bxcache.registry.scopes import list_scopes  # noqa: PLC0415  # loads HTTP

        insecure = self.settings.insecure
        repository = open_repository(self.reference, os.environ, insecure=insecure)
        try:
            found = sorted(list_scopes(repository), key=lambda each: -each.label.used)
            for each in found[:_MOST_SCOPES]:
                last = next(iter(each.label.records), None)
                if last is None or each.changed:
                    continue
                if is_trusted(repository.read_blob(last.digest)):
                    content = _parse(repository.read_manifest(each.tag))
                    if content is not None:
                        yield content
        except RegistryError:
            return

    def save(self, save: Save, built: Built) -> SavedScope:
        """Leave the tag, copy a manifest to it, or export to it."""
        from bxcache.backends.registry_save import save_tag  # noqa: PLC0415  # loads HTTP

        return save_tag(expect_tag(save), built)

    def keep_record(
        self, scope: Scope, record: bytes, key: str, saved: SavedScope | None
    ) -> KeptRecord:
        """Write the tag's label, with the record."""
        from bxcache.backends.registry_save import label_scope  # noqa: PLC0415  # loads HTTP

        if not isinstance(saved, SavedTag) or saved.digest is None:
            return KeptRecord(saved=saved)
        note = label_scope(saved, record, key)
        return KeptRecord(is_kept=True, saved=saved, notes=(note,) if note else ())

    def diagnose(self, ask: Callable[[], Capabilities | None], *, saves: bool) -> Iterator[Finding]:
        """Ask the registry what it allows; where nothing is saved, only reading is tried."""
        from bxcache.backends.registry_findings import judge_registry  # noqa: PLC0415  # the doctor's
        from bxcache.registry.soundings import sound_repository  # noqa: PLC0415  # loads HTTP

        sounding = sound_repository(
            self.reference,
            os.environ,
            insecure=self.settings.insecure,
            writes=saves and self.keeps_all and self.read_only is None,
            seconds=SECONDS_TO_ANSWER,
        )
        yield from judge_registry(sounding, self.reference.name)

    def open_holder(self) -> RegistryHolder | None:
        if not self.keeps_all:
            return None
        return RegistryHolder(self.reference, insecure=self.settings.insecure)


class RegistryBackend(RemoteBackend):
    """A repository of a container registry, one tag per scope."""

    kind = "registry"

    settings: RegistrySettings

    @property
    def salvages(self) -> bool:
        return True

    def plan_save(self, wish: Wish, imports: Sequence[CacheUse]) -> SavePlan:
        """Plan an export by the build itself, or a separate run if the registry may have all."""
        settings, ref = self.settings, self.find_place(wish.scope.name)
        attributes = (
            ("type", "registry"),
            ("ref", ref),
            ("mode", "max"),
            ("image-manifest", str(settings.image_manifest).lower()),
            ("oci-mediatypes", str(settings.oci_mediatypes).lower()),
            *self._list_insecure(),
            *settings.list_compression(),
            ("ignore-error", str(settings.ignore_error).lower()),
        )
        apart = wish.refuses_borrowed or self._may_have_all(wish, imports)
        reason = f"every stage is saved there{', if anything is new' if apart else ''}"
        use = CacheUse(EXPORT, self, ref, wish.scope.name, attributes, reason)
        if wish.inline_only:
            return SavePlan(unsaved=(use,), why=NO_EXPORT)
        return self.plan_tag(wish, imports, use, apart=apart)

    def _may_have_all(self, wish: Wish, imports: Sequence[CacheUse]) -> bool:
        """Whether the registry may have all that the build makes.

        It has not if it was asked and has no cache, or only one that was built from other files.
        With several backends the question is left open: BuildKit would mix their compressions.
        """
        if len(self.setup.config.cache.backends) > 1:
            return True
        own = next((use for use in imports if use.backend is self), None)
        if own is None:
            return bool(imports) or bool(self._errors)
        sighting = self.sightings.get(own.place)
        state = wish.state()
        if not state or sighting is None or sighting.manifest is None:
            return True
        from bxcache.registry.scopes import read_label  # noqa: PLC0415  # loads HTTP

        with suppress(RegistryError):
            label = read_label(sighting.repository, Reference.parse(own.place).tag or "latest")
            return label is None or label.state in ("", state) or wish.reuses_all(own)
        return True

    def find_shared_ref(self) -> tuple[str, str, str] | None:
        if self.reference.tag is None:
            return None
        hint = "leave the tag out of the `ref` of a cache: bxcache makes one for each image"
        return str(self.reference), "written", hint


def _parse(manifest: RemoteManifest | None) -> CacheManifest | None:
    return (manifest.parse() or manifest.parse_image()) if manifest is not None else None
