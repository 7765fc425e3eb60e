"""Which caches are imported and saved, and why.

- One donor. Several imports at once make BuildKit miss at random (moby/buildkit#4674), so only the
  first cache that exists is imported, unless all are asked for.
- The local export comes last. BuildKit writes the digest of the last export into a local layout's
  index, whichever export that was.
- A registry is saved to after the build, in a run of its own that finds everything built. Only
  then is it known whether there is anything to save, and no registry can hold up the build.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bxcache.backends.registry import RegistrySave
from bxcache.config.backends import InlineBackend, LocalBackend, RegistryBackend
from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, Trouble
from bxcache.pipeline.flags import (
    export_inline,
    export_local,
    export_registry,
    export_stages,
    import_local,
    import_ref,
)
from bxcache.pipeline.plan import BuildPlan, Choice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bxcache.backends.base import CacheUse, Candidate
    from bxcache.backends.local import LocalState
    from bxcache.config.backends import Backend
    from bxcache.config.models import Config
    from bxcache.place.scope import Scope
    from bxcache.place.trust import Trust
    from bxcache.registry.probing import Sighting


_TOO_EARLY = (
    'before it is known what came from the builder\'s own cache (`cache.shared_builder = "refuse"`)'
)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a build is planned on.

    Attributes:
        config: the configuration.
        scope: whose cache the build saves.
        trust: where it runs, and whether it saves its cache.
        candidates: what it may start from, best first.
        local: the store, where one is declared.
        sightings: what was found at each ref that was looked up.
        makes_image: whether the build makes an image, which an inline cache needs.
        once: why the build cannot be run again to save what it built, or an empty string.
        unbaked: why its stages cannot be built by bake too, or an empty string.
        inline_only: why no other cache than an inline one can be saved, or an empty string.
        read_only: the backends that are only read, each with the reason.
    """

    config: Config
    scope: Scope
    trust: Trust
    candidates: tuple[Candidate, ...]
    local: LocalState | None
    sightings: Mapping[str, Sighting]
    makes_image: bool
    once: str = ""
    unbaked: str = ""
    inline_only: str = ""
    read_only: Mapping[Backend, str] = field(default_factory=dict)

    @property
    def refuses_borrowed(self) -> bool:
        """Whether nothing is saved that came from the builder's own cache."""
        return self.trust.is_guarded and self.config.cache.shared_builder == "refuse"


def make_plan(outlook: Outlook) -> BuildPlan:
    """Choose what the build starts from, and what is saved."""
    notes: list[str] = []
    unread, unsaved = tuple(_list_troubles(outlook)), tuple(_list_unsaved(outlook))
    imports, choices = _choose_imports(outlook)
    if outlook.config.build.no_cache:
        notes.append("no cache is imported: `--no-cache`")
    elif not imports and not unread:
        notes.append(f"no cache is imported: {_explain_nothing(outlook)}")
    exports, saves = _choose_exports(outlook, imports, notes)
    return BuildPlan(
        scope=outlook.scope,
        uses=(*imports, *exports),
        notes=tuple(notes),
        choices=choices,
        saves=saves,
        troubles=(*unread, *_explain_unsaved(outlook, unsaved)),
        unsaved=unsaved,
    )


def _explain_nothing(outlook: Outlook) -> str:
    """Why there is nothing to start from; what was not seen is not said to be absent."""
    errors = [each.error for each in outlook.sightings.values() if each.error is not None]
    if errors:
        return f"none was seen for the scope `{outlook.scope.name}`; {errors[0]}"
    return f"the scope `{outlook.scope.name}` has none yet"


def _choose_imports(outlook: Outlook) -> tuple[tuple[CacheUse, ...], tuple[Choice, ...]]:
    config, candidates = outlook.config, outlook.candidates
    if config.build.no_cache:
        return (), ()
    verdicts = [_judge(outlook, each) for each in candidates]
    taken = [n for n, (known, _) in enumerate(verdicts) if known]
    if not taken:
        # What is not reached from here may be reached by the engine, which then says so.
        taken = [n for n, (known, _) in enumerate(verdicts) if known is None]
    if not config.cache.read_all:
        taken = taken[:1]
    choices = []
    for number, (each, (known, verdict)) in enumerate(zip(candidates, verdicts, strict=True)):
        told = "imported" if known and number in taken else verdict
        if known and number not in taken:
            told = "not needed: there is a better one"
        elif known is None:
            told = f"not seen: {verdict}"
            told += "; left to docker, which may reach it" if number in taken else ""
        choices.append(Choice(each, told))
    imports = (_import(outlook, candidates[n], verdicts[n]) for n in taken)
    return tuple(imports), tuple(choices)


def _judge(outlook: Outlook, candidate: Candidate) -> tuple[bool | None, str]:
    """Whether a cache is there, None where that is not known; and in words."""
    if isinstance(candidate.backend, LocalBackend):
        there = outlook.local is not None and outlook.local.offers(candidate.scope)
        return there, "it is there" if there else "there is none"
    sighting = outlook.sightings.get(candidate.place)
    if sighting is None:
        return False, "not asked: there is a better one"
    if sighting.error is not None:
        unreached = sighting.error.trouble is Trouble.UNREACHABLE
        return None if unreached else False, sighting.error.cause
    if sighting.manifest is None:
        return False, "there is none"
    if _names_scopes(candidate.backend) and sighting.manifest.parse() is None:
        return False, "what is there is no build cache"
    return True, "it is there"


def _names_scopes(backend: Backend) -> bool:
    """Whether the tags are bxcache's own choice. A declared one may be an image's."""
    return isinstance(backend, RegistryBackend) and Reference.parse(backend.ref).tag is None


def _import(outlook: Outlook, candidate: Candidate, verdict: tuple[bool | None, str]) -> CacheUse:
    if isinstance(candidate.backend, LocalBackend):
        if outlook.local is None:
            raise ValueError(candidate)
        return import_local(outlook.local, candidate)
    known, why = verdict
    return import_ref(candidate.backend, candidate, unseen="" if known else why)


def _choose_exports(
    outlook: Outlook, imports: tuple[CacheUse, ...], notes: list[str]
) -> tuple[tuple[CacheUse, ...], tuple[RegistrySave, ...]]:
    scope, local = outlook.scope, outlook.local
    if not outlook.trust.writes:
        notes += filter(None, [outlook.trust.reason])
        return (), ()
    uses: list[CacheUse] = []
    saves: list[RegistrySave] = []
    backends = outlook.config.cache.backends
    for backend in sorted(backends, key=lambda each: isinstance(each, LocalBackend)):
        if backend in outlook.read_only:
            notes.append(outlook.read_only[backend])
        elif isinstance(backend, LocalBackend):
            if local is not None and _can_save(outlook, backend):
                uses.append(export_local(backend, local, scope))
        elif backend.keeps_all:
            if _can_save(outlook, backend) and not _is_sick(outlook, backend):
                saves += _choose_save(outlook, backend, imports, notes)
        elif outlook.refuses_borrowed:
            notes.append(f"no inline cache is saved: it is written with the image, {_TOO_EARLY}")
        elif isinstance(backend, InlineBackend) and outlook.makes_image:
            uses.append(export_inline(backend, scope))
        else:
            notes.append("no inline cache is saved: this build makes no image to hold it")
    uses[:0] = [save.use for save in saves if not save.apart]
    return tuple(uses), tuple(saves)


def _can_save(outlook: Outlook, backend: Backend) -> bool:
    if isinstance(backend, LocalBackend):
        local = outlook.local
        if local is not None and (local.trouble or local.read_only):
            return False
    return not outlook.inline_only or isinstance(backend, InlineBackend)


def _list_unsaved(outlook: Outlook) -> Iterator[CacheUse]:
    """What would save the caches that neither the store nor the builder lets be saved."""
    if not outlook.trust.writes:
        return
    for backend in outlook.config.cache.backends:
        if backend in outlook.read_only or _can_save(outlook, backend):
            continue
        if isinstance(backend, RegistryBackend):
            yield export_registry(backend, outlook.scope)
        elif isinstance(backend, LocalBackend) and outlook.local is not None:
            yield export_local(backend, outlook.local, outlook.scope)


def _explain_unsaved(outlook: Outlook, unsaved: tuple[CacheUse, ...]) -> Iterator[str]:
    """One for the builder, where it is what keeps caches from being saved."""
    if unsaved and outlook.inline_only:
        kinds = " or ".join(sorted({f"`{use.backend}`" for use in unsaved}))
        yield f"no {kinds} cache is saved: {outlook.inline_only}"


def _choose_save(
    outlook: Outlook,
    backend: RegistryBackend | InlineBackend,
    imports: tuple[CacheUse, ...],
    notes: list[str],
) -> Iterator[RegistrySave]:
    if outlook.once and outlook.refuses_borrowed:
        notes.append(f"{backend.ref} is not saved: {outlook.once}, so it is written {_TOO_EARLY}")
    elif isinstance(backend, RegistryBackend):
        yield _plan_save(outlook, backend, export_registry(backend, outlook.scope), imports)
    elif not (outlook.once or outlook.unbaked):
        yield _plan_save(outlook, backend, export_stages(backend, outlook.scope), imports)
    else:
        why = outlook.once or outlook.unbaked
        notes.append(f"the stages are not saved: this build cannot be run again for them, as {why}")


def _plan_save(
    outlook: Outlook,
    backend: RegistryBackend | InlineBackend,
    use: CacheUse,
    imports: tuple[CacheUse, ...],
) -> RegistrySave:
    repository = Reference.parse(backend.ref).name
    started = [
        each.place
        for each in imports
        if each.backend == use.backend and Reference.parse(each.place).name == repository
    ]
    return RegistrySave(
        use=use,
        apart=not outlook.once,
        backend=backend,
        owner=outlook.scope,
        source=outlook.sightings.get(started[0]) if started else None,
        source_ref=started[0] if started else "",
    )


def _find_errors(outlook: Outlook, backend: Backend) -> list[RegistryError]:
    if isinstance(backend, LocalBackend):
        return []
    name = Reference.parse(backend.ref).name
    return [
        sighting.error
        for ref, sighting in outlook.sightings.items()
        if sighting.error is not None and Reference.parse(ref).name == name
    ]


def _is_sick(outlook: Outlook, backend: Backend) -> bool:
    troubles = {error.trouble for error in _find_errors(outlook, backend)}
    return bool(troubles & {Trouble.SICK, Trouble.REFUSED})


def _list_troubles(outlook: Outlook) -> Iterator[str]:
    """One for each store and each registry that is left out.

    What is not reached from here is left to the engine. One that denies to be read may be without
    the repository still, as long as it can be written.
    """
    local, written = outlook.local, outlook.trust.writes
    if local is not None and local.trouble:
        yield f"the local cache `{local.store}` was not used: {local.trouble}"
    for backend in outlook.config.cache.backends:
        errors = _find_errors(outlook, backend)
        told = next((e for e in errors if e.trouble is Trouble.SICK), None) or next(
            (e for e in errors if e.trouble is Trouble.REFUSED), None
        )
        saved = written and backend.keeps_all and backend not in outlook.read_only
        if told is None and not saved:
            told = next((e for e in errors if e.trouble is Trouble.DENIED), None)
        if told is not None:
            yield f"a cache was not used; {told}"
