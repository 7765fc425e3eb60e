"""Choose the caches to import and to save, with reasons.

- One donor. Several imports at once make BuildKit miss at random (moby/buildkit#4674), so a build
  imports only the first existing cache, unless `read_all` is set.
- A registry is saved after the build, in a separate run that finds every step built. Only then is
  it clear whether there is anything to save, and a registry cannot delay the build.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bxcache.backends.base import Candidate, SavePlan
from bxcache.pipeline.plan import BuildPlan, Choice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bxcache.backends.base import Backend, CacheUse, Sight, Wish
    from bxcache.config.models import Config
    from bxcache.place.scope import Scope
    from bxcache.place.trust import Trust


def list_candidates(
    config: Config,
    scope: Scope,
    trust: Trust,
    backends: Sequence[Backend],
    donor: str = "",
) -> tuple[Candidate, ...]:
    """List the caches that a build may import, best first.

    A target without its own cache imports that of the whole image, which has all stages.

    Args:
        config: the configuration.
        scope: the scope that the build saves.
        trust: decides whose caches it may read.
        backends: the declared backends.
        donor: the one scope to import instead of all others.
    """
    if donor:
        return tuple(Candidate(each, donor, "the scope that is named") for each in backends)
    owners = tuple(trust.list_owners(config.cache.read))
    named = (
        Candidate(backend, each.name, what)
        for owner, what in owners
        for backend in backends
        for each in dict.fromkeys((scope.of_owner(owner), scope.of_owner(owner).whole))
    )
    reads_all = config.cache.read_all
    others = (
        each
        for backend in backends
        for each in backend.list_others(scope, owners, reads_all=reads_all)
    )
    found: dict[str, Candidate] = {}
    for each in (*named, *others):
        found.setdefault(each.name, each)
    return tuple(found.values())


def look(candidates: Sequence[Candidate], *, reads_all: bool) -> None:
    """Look candidates up over the network if the donor depends on them, all backends at once."""
    asked: dict[Backend, list[Candidate]] = {}
    for each in candidates:
        if each.backend.is_remote:
            asked.setdefault(each.backend, []).append(each)
        elif each.backend.judge(each).there and not reads_all:
            break
    if len(asked) <= 1:
        for backend, own in asked.items():
            backend.look(own)
        return
    with ThreadPoolExecutor(len(asked)) as pool:
        jobs = [pool.submit(backend.look, own) for backend, own in asked.items()]
        for job in jobs:
            job.result()


@dataclass(frozen=True, slots=True)
class Outlook:
    """The inputs of a build's plan.

    Attributes:
        config: the configuration.
        trust: where the build runs, and which caches it may read and save.
        backends: the declared backends.
        candidates: the caches that it may import, best first.
        wish: the properties of the build that matter for saving.
    """

    config: Config
    trust: Trust
    backends: tuple[Backend, ...]
    candidates: tuple[Candidate, ...]
    wish: Wish

    def saves_to(self, backend: Backend) -> bool:
        """Whether the build saves to a backend."""
        return self.trust.writes and backend.read_only is None


def make_plan(outlook: Outlook) -> BuildPlan:
    """Choose the caches to import and the scopes to save."""
    notes: list[str] = []
    unread = tuple(
        trouble
        for each in sorted(outlook.backends, key=lambda each: each.is_remote)
        for trouble in each.list_troubles(saves=outlook.saves_to(each))
    )
    imports, choices = _choose_imports(outlook)
    if outlook.config.build.no_cache:
        notes.append("no cache is imported: `--no-cache`")
    elif not imports and not unread:
        notes.append(f"no cache is imported: {_explain_nothing(outlook)}")
    saving = _plan_saves(outlook, imports)
    return BuildPlan(
        scope=outlook.wish.scope,
        imports=imports,
        saves=saving.saves,
        notes=(*notes, *saving.notes),
        choices=choices,
        troubles=(*unread, *_explain_unsaved(outlook, saving.unsaved)),
        unsaved=saving.unsaved,
    )


def look_further(outlook: Outlook, plan: BuildPlan) -> BuildPlan:
    """Extend a plan without imports with caches for other platforms."""
    owners = tuple(outlook.trust.list_owners(outlook.config.cache.read))
    found = [each.look_further(outlook.wish.scope, owners) for each in outlook.backends]
    further = tuple(each for candidates, _ in found for each in candidates)
    if further:
        plan = make_plan(replace(outlook, candidates=(*outlook.candidates, *further)))
    return replace(plan, notes=(*plan.notes, *(note for _, notes in found for note in notes)))


def _explain_nothing(outlook: Outlook) -> str:
    """Why there is nothing to import. A cache that could not be looked up is not called absent."""
    name = outlook.wish.scope.name
    error = next(filter(None, (each.find_error() for each in outlook.backends)), None)
    if error is not None:
        return f"none was seen for the scope `{name}`; {error}"
    return f"the scope `{name}` has none yet"


def _choose_imports(outlook: Outlook) -> tuple[tuple[CacheUse, ...], tuple[Choice, ...]]:
    config, candidates = outlook.config, outlook.candidates
    if config.build.no_cache:
        return (), ()
    sights = [each.backend.judge(each) for each in candidates]
    taken = [n for n, sight in enumerate(sights) if sight.there]
    if not taken:
        # The engine may reach a registry that is unreachable from here; it reports the result.
        taken = [n for n, sight in enumerate(sights) if sight.there is None]
    if not config.cache.read_all:
        taken = taken[:1]
    choices = tuple(
        Choice(each, _explain_choice(sight, taken=number in taken))
        for number, (each, sight) in enumerate(zip(candidates, sights, strict=True))
    )
    imports = (candidates[number].backend.import_flag(candidates[number]) for number in taken)
    return tuple(imports), choices


def _explain_choice(sight: Sight, *, taken: bool) -> str:
    if sight.there:
        return "imported" if taken else "not needed: there is a better one"
    if sight.there is None:
        left = "; left to docker, which may reach it" if taken else ""
        return f"not seen: {sight.verdict}{left}"
    return sight.verdict


def _plan_saves(outlook: Outlook, imports: tuple[CacheUse, ...]) -> SavePlan:
    if not outlook.trust.writes:
        return SavePlan(notes=tuple(filter(None, [outlook.trust.reason])))
    plans = []
    for backend in sorted(outlook.backends, key=lambda each: not each.is_remote):
        if backend.read_only is not None:
            plans.append(SavePlan(notes=(backend.read_only,)))
        else:
            plans.append(backend.plan_save(outlook.wish, imports))
    return SavePlan(
        saves=tuple(each for plan in plans for each in plan.saves),
        unsaved=tuple(each for plan in plans for each in plan.unsaved),
        notes=tuple(each for plan in plans for each in plan.notes),
    )


def _explain_unsaved(outlook: Outlook, unsaved: tuple[CacheUse, ...]) -> Iterator[str]:
    """Yield a warning if the builder prevents saving."""
    if unsaved and outlook.wish.inline_only:
        kinds = " or ".join(sorted({f"`{use.backend.kind}`" for use in unsaved}))
        yield f"no {kinds} cache is saved: {outlook.wish.inline_only}"
