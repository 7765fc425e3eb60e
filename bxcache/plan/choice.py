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

from bxcache.config.backends import InlineBackend, LocalBackend, RegistryBackend
from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, Trouble
from bxcache.plan.flags import (
    export_inline,
    export_local,
    export_registry,
    export_stages,
    import_local,
    import_ref,
)
from bxcache.plan.plan import BuildPlan, CacheUse, Candidate, Choice, LocalState, RegistrySave

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bxcache.config.backends import Backend
    from bxcache.config.models import Config
    from bxcache.placement import Placement
    from bxcache.registry.probing import Sighting
    from bxcache.scope import Scope


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a build is planned on.

    Attributes:
        config: the configuration.
        scope: whose cache the build saves.
        placement: where it runs, and whether it saves its cache.
        candidates: what it may start from, best first.
        local: the store, where one is declared.
        sightings: what was found at each ref that was looked up.
        makes_image: whether the build makes an image, which an inline cache needs.
        once: why the build cannot be run again to save what it built, or an empty string.
        unbaked: why its stages cannot be built by bake too, or an empty string.
        unsaved: the backends that are only read, each with the reason.
    """

    config: Config
    scope: Scope
    placement: Placement
    candidates: tuple[Candidate, ...]
    local: LocalState | None
    sightings: Mapping[str, Sighting]
    makes_image: bool
    once: str = ""
    unbaked: str = ""
    unsaved: Mapping[Backend, str] = field(default_factory=dict)


def make_plan(outlook: Outlook) -> BuildPlan:
    """Choose what the build starts from, and what is saved."""
    notes: list[str] = []
    troubles = tuple(_list_troubles(outlook))
    imports, choices = _choose_imports(outlook)
    if outlook.config.build.no_cache:
        notes.append("no cache is imported: `--no-cache`")
    elif not imports and not troubles:
        notes.append(f"no cache is imported: the scope `{outlook.scope.name}` has none yet")
    exports, saves = _choose_exports(outlook, imports, notes)
    return BuildPlan(
        scope=outlook.scope,
        uses=(*imports, *exports),
        notes=tuple(notes),
        choices=choices,
        saves=saves,
        troubles=troubles,
    )


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
        told = "imported" if number in taken else verdict
        if known and number not in taken:
            told = "not needed: there is a better one"
        choices.append(Choice(each, told))
    return tuple(_import(outlook, candidates[number]) for number in taken), tuple(choices)


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


def _import(outlook: Outlook, candidate: Candidate) -> CacheUse:
    if isinstance(candidate.backend, LocalBackend):
        if outlook.local is None:
            raise ValueError(candidate)
        return import_local(outlook.local, candidate)
    return import_ref(candidate.backend, candidate)


def _choose_exports(
    outlook: Outlook, imports: tuple[CacheUse, ...], notes: list[str]
) -> tuple[tuple[CacheUse, ...], tuple[RegistrySave, ...]]:
    scope, local = outlook.scope, outlook.local
    if not outlook.placement.writes:
        notes += filter(None, [outlook.placement.reason])
        return (), ()
    uses: list[CacheUse] = []
    saves: list[RegistrySave] = []
    backends = outlook.config.cache.backends
    for backend in sorted(backends, key=lambda each: isinstance(each, LocalBackend)):
        if backend in outlook.unsaved:
            notes.append(outlook.unsaved[backend])
        elif isinstance(backend, LocalBackend):
            if local is not None and not local.trouble and not local.read_only:
                uses.append(export_local(backend, local, scope))
        elif backend.keeps_all:
            if not _is_sick(outlook, backend):
                saves += _choose_save(outlook, backend, imports, notes)
        elif isinstance(backend, InlineBackend) and outlook.makes_image:
            uses.append(export_inline(backend, scope))
        else:
            notes.append("no inline cache is saved: this build makes no image to hold it")
    uses[:0] = [save.use for save in saves if not save.apart]
    return tuple(uses), tuple(saves)


def _choose_save(
    outlook: Outlook,
    backend: RegistryBackend | InlineBackend,
    imports: tuple[CacheUse, ...],
    notes: list[str],
) -> Iterator[RegistrySave]:
    if isinstance(backend, RegistryBackend):
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
    """One for each registry that is left out.

    What is not reached from here is left to the engine. One that denies to be read may be without
    the repository still, as long as it can be written.
    """
    written = outlook.placement.writes
    for backend in outlook.config.cache.backends:
        errors = _find_errors(outlook, backend)
        told = next((e for e in errors if e.trouble is Trouble.SICK), None) or next(
            (e for e in errors if e.trouble is Trouble.REFUSED), None
        )
        saved = written and backend.keeps_all and backend not in outlook.unsaved
        if told is None and not saved:
            told = next((e for e in errors if e.trouble is Trouble.DENIED), None)
        if told is not None:
            yield f"a cache was not used; {told}"
