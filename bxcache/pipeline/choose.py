"""Choose the caches to import and to save, with reasons.

- One donor. Several imports at once make BuildKit miss at random (moby/buildkit#4674), so a build
  imports only the first existing cache, unless `read_all` is set.
- A cache that may already have everything is saved after the build, in a separate run that finds
  every step built: only then is it clear whether there is anything to save.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bxcache.backends.base import Candidate, SavePlan, Wish
from bxcache.buildx.bake.stages import explain_unbaked
from bxcache.buildx.capabilities import explain_inline_only
from bxcache.buildx.command import explain_once, exports_image
from bxcache.config.wording import name_option
from bxcache.pipeline.plan import IMPORTED, BuildPlan, Choice, join_reasons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.backends.base import Backend, CacheUse, Sight
    from bxcache.pipeline.context_files import ContextFiles
    from bxcache.pipeline.prepare import Prepared


_PATIENCE = 0.5
"""How long a prediction waits for the files of the build, in seconds."""


def plan_build(prepared: Prepared, files: ContextFiles | None = None) -> BuildPlan:
    """Choose the caches; look up over the network the candidates that decide the choice.

    With files, it is predicted whether there will be anything to save.
    """
    config, extra = prepared.setup.config, prepared.request.extra
    wish = Wish(
        scope=prepared.scope,
        makes_image=exports_image(config.build, prepared.capabilities.builder.driver),
        once=explain_once(config.build, extra),
        unbaked=explain_unbaked(config.build, extra),
        inline_only=explain_inline_only(prepared.capabilities, config.builder.name),
        refuses_borrowed=prepared.refuses_borrowed,
        state=prepared.state.wait if prepared.state is not None else str,
        reuses_all=lambda use: files is not None and _reuses_all(prepared, use, files),
    )
    if not config.build.no_cache:
        _look(prepared.candidates, reads_all=config.cache.read_all)
    plan = make_plan(prepared, wish)
    if plan.imports or config.build.no_cache or prepared.request.donor:
        return plan
    return _look_further(prepared, wish, plan)


def _reuses_all(prepared: Prepared, use: CacheUse, files: ContextFiles) -> bool:
    """Whether a build is certain to reuse all its steps from an import, if that is known soon."""
    if files.may_change():
        return False
    found = files.peek(_PATIENCE)
    if found is None:
        return False
    from bxcache.pipeline.predict import is_certain  # noqa: PLC0415  # loads records

    return is_certain(prepared, [use], found)


def _look(candidates: Sequence[Candidate], *, reads_all: bool) -> None:
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
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  # few builds need it

    with ThreadPoolExecutor(len(asked)) as pool:
        list(pool.map(lambda backend: backend.look(asked[backend]), asked))


def make_plan(prepared: Prepared, wish: Wish) -> BuildPlan:
    """Choose the caches to import, from what was looked up, and the scopes to save."""
    backends, trust = prepared.backends, prepared.trust
    troubles = [
        trouble
        for each in sorted(backends, key=lambda each: each.is_remote)
        for trouble in each.list_troubles(saves=trust.writes and each.read_only is None)
    ]
    imports, choices = _choose_imports(prepared)
    build = prepared.setup.config.build
    source = _describe_imports(imports)
    if build.no_cache:
        source = f"from no cache: `{name_option('no_cache', value=True)}`"
    elif not imports:
        source = f"from no cache: {_explain_nothing(backends, has_trouble=bool(troubles))}"
    what = next(iter(build.tags), wish.scope.image)
    saving = _plan_saves(prepared, wish, imports)
    if saving.unsaved and wish.inline_only:
        kinds = " or ".join(sorted({f"`{use.backend.kind}`" for use in saving.unsaved}))
        troubles.append(f"no {kinds} cache is saved: {wish.inline_only}")
    return BuildPlan(
        scope=wish.scope,
        imports=imports,
        saves=saving.saves,
        notes=saving.notes,
        choices=choices,
        troubles=tuple(troubles),
        unsaved=saving.unsaved,
        why_unsaved=saving.why,
        start=f"building {what}, scope `{wish.scope.name}`, {source}",
    )


def _look_further(prepared: Prepared, wish: Wish, plan: BuildPlan) -> BuildPlan:
    """Extend a plan without imports with caches for other platforms."""
    owners = tuple(prepared.trust.list_owners(prepared.setup.config.cache.read))
    found = [each.look_further(wish.scope, owners) for each in prepared.backends]
    further = tuple(each for candidates, _ in found for each in candidates)
    if further:
        candidates = (*prepared.candidates, *further)
        plan = make_plan(replace(prepared, candidates=candidates), wish)
    return replace(plan, notes=(*plan.notes, *(note for _, notes in found for note in notes)))


def _describe_imports(imports: Sequence[CacheUse]) -> str:
    """Describe what the build starts from; a cache that docker may not find is not called there."""
    names = (f"the {use.backend.kind} cache {use.backend.name_cache(use.scope)}" for use in imports)
    unsure = "" if all(_is_seen(use) for use in imports) else ", if docker finds it"
    return f"from {' and '.join(names)}{unsure}"


def _is_seen(use: CacheUse) -> bool:
    return use.backend.judge(Candidate(use.backend, use.scope, "")).there is True


def _explain_nothing(backends: Sequence[Backend], *, has_trouble: bool) -> str:
    """Why there is nothing to import. A cache that could not be looked up is not called absent."""
    if not backends:
        return "none is declared"
    if has_trouble:
        return "none could be used"
    error = next(filter(None, (each.find_error() for each in backends)), None)
    return "the scope has none yet" if error is None else f"none was seen; {error}"


def _choose_imports(prepared: Prepared) -> tuple[tuple[CacheUse, ...], tuple[Choice, ...]]:
    config, candidates = prepared.setup.config, prepared.candidates
    if config.build.no_cache:
        return (), ()
    sights = [each.backend.judge(each) for each in candidates]
    # The engine may reach a registry that is unreachable from here; it reports the result.
    wanted = True if any(sight.there for sight in sights) else None
    taken = [n for n, sight in enumerate(sights) if sight.there is wanted]
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
        return IMPORTED if taken else "not needed: there is a better one"
    if sight.there is None:
        left = "; left to docker, which may reach it" if taken else ""
        return f"not seen: {sight.verdict}{left}"
    return sight.verdict


def _plan_saves(prepared: Prepared, wish: Wish, imports: tuple[CacheUse, ...]) -> SavePlan:
    if not prepared.trust.writes:
        notes = tuple(filter(None, [prepared.trust.reason]))
        return SavePlan(notes=notes, why=prepared.trust.denied)
    plans = [
        SavePlan(notes=(each.read_only,), why=f"this build only reads the {each.kind} cache")
        if each.read_only is not None
        else each.plan_save(wish, imports)
        for each in sorted(prepared.backends, key=lambda each: not each.is_remote)
    ]
    return SavePlan(
        saves=tuple(chain.from_iterable(plan.saves for plan in plans)),
        unsaved=tuple(chain.from_iterable(plan.unsaved for plan in plans)),
        notes=tuple(chain.from_iterable(plan.notes for plan in plans)),
        why=join_reasons(plan.why for plan in plans) if plans else "no cache is declared",
    )
