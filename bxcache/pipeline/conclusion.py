"""After docker: the caches are settled and saved, the build is remembered, and all is reported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bxcache.backends.local_nodes import export_again
from bxcache.buildx.bake.definition import LINK
from bxcache.buildx.extra_flags import find_exports, list_flags
from bxcache.buildx.positions import locate_steps
from bxcache.buildx.stream.events import Noted, Warned
from bxcache.config.paths import read_dockerfile
from bxcache.config.quantities import format_count, format_least
from bxcache.errors import BuildFailedError, CacheError, GateError, StoreError
from bxcache.insight.gates import judge_gates
from bxcache.pipeline.borrowing import find_borrowing
from bxcache.pipeline.known_layers import find_known
from bxcache.pipeline.record import Story, keep_record, make_record, remember_build
from bxcache.pipeline.result import BuildResult
from bxcache.pipeline.settlement import Settled, list_absent, list_steps, settle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.backends.base import CacheResult
    from bxcache.backends.local import LocalState
    from bxcache.backends.registry_save import Kept
    from bxcache.buildx.metadata import Metadata
    from bxcache.buildx.run import Runner, RunResult
    from bxcache.insight.earlier import EarlierBuilds
    from bxcache.insight.record import Record
    from bxcache.pipeline.borrowing import Borrowing, Known
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared
    from bxcache.pipeline.settlement import Commit
    from bxcache.store.committing import Saved
    from bxcache.store.journal import Work
    from bxcache.store.staging import Staging
    from bxcache.store.store import Store


_PATIENCE = 2.0
"""How long a build waits in the end for what is nice to know, in seconds."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A build whose docker has ended.

    Attributes:
        plan: what it was to do about caches.
        arguments: what followed `docker`.
        ran: what became of it.
        state: the store as the build found it, where there is one.
        staging: where the build has exported to, for the store.
        reason: what is told of it where its cache made it fail, or an empty string.
        started: when it began, in seconds since 1970.
        buildx: buildx's version; empty if unknown.
        earlier: what reads of earlier builds; None where nothing is read.
    """

    plan: BuildPlan
    arguments: tuple[str, ...]
    ran: RunResult
    state: LocalState | None
    staging: Staging | None
    reason: str
    started: float
    buildx: str
    earlier: EarlierBuilds | None = None


def conclude(prepared: Prepared, runner: Runner, ended: Ended) -> BuildResult:
    """Save what was built and tell what became of it.

    Raises:
        BuildFailedError: docker's build failed.
        CacheError: a cache failed and `strict` is on; the image was built.
        GateError: it is not as `[gate]` wants it; the image was built and the caches are saved.
    """
    plan, reason = ended.plan, ended.reason
    ran = _locate(prepared, runner, export_again(runner, plan.uses, ended.ran, ended.staging))
    known = find_known(prepared, plan, ran, ended.staging)
    refused = _find_refused(prepared, ran, known)
    commit = _make_commit(prepared.store, ended.staging, ran, refused)
    settled = settle(plan, ran, commit, find_exports(prepared.request.extra))
    for note in list_absent(plan, ran):
        runner.tell(Noted(note))
    kept = _save_registries(runner, plan, ran, settled, refused)
    settled = _merge(settled, kept)
    troubles = (*plan.troubles, *_list_troubles(ended.state), *([reason] if reason else []))
    advice = refused.refuse() if refused else _advise(ran, known, settled, kept)
    advised = tuple(filter(None, [advice]))
    settled = replace(settled, warnings=(*troubles, *settled.warnings), advice=advised)
    caches, told = settled.caches, (*settled.warnings, *settled.advice)
    story = Story(
        plan=plan,
        arguments=ended.arguments,
        ran=ran,
        kept=kept,
        caches=caches,
        started=ended.started,
        buildx=ended.buildx,
        warnings=told,
        earlier=_find_earlier(prepared, ended),
    )
    record = _judge(prepared, runner, make_record(prepared, runner, story), story.earlier)
    _remember(prepared, runner, story, record, stored=ended.staging is not None)
    settled = _collect(prepared, runner, settled)
    settled = replace(
        settled,
        warnings=tuple(map(runner.redact, settled.warnings)),
        advice=tuple(map(runner.redact, settled.advice)),
    )
    for warning in (*settled.warnings, *settled.advice):
        if warning != runner.redact(reason):
            runner.tell(Warned(warning))
    return _report(prepared, runner, story, record, settled)


def _locate(prepared: Prepared, runner: Runner, ran: RunResult) -> RunResult:
    """The same with the lines of a failed build's steps, which has no metadata to tell them."""
    if not ran.exit_status:
        return ran
    settings, extra = prepared.setup.config.build, prepared.request.extra
    # With either of them steps may stand in another Dockerfile.
    linked = any(each.startswith(LINK) for each in settings.build_contexts.values())
    elsewhere = linked or not {"--file", "-f"}.isdisjoint(list_flags(extra))
    directory = prepared.request.directory
    if runner.stdin is not None and not linked:
        text = runner.stdin.decode(errors="replace")
    else:
        text = "" if elsewhere else read_dockerfile(directory, settings.context, settings.file)
    return replace(ran, trace=locate_steps(ran.trace, text))


def _find_refused(prepared: Prepared, ran: RunResult, known: Known | None) -> Borrowing | None:
    """What a build took from the builder's own cache, if that is not to be saved; else None."""
    if known is None or prepared.setup.config.cache.shared_builder != "refuse":
        return None
    found = find_borrowing(ran, ran.metadata, known)
    return found if found.is_unsound else None


def _advise(ran: RunResult, known: Known | None, settled: Settled, kept: tuple[Kept, ...]) -> str:
    """The warning about what a build took from the builder's own cache and saved, or nothing."""
    saved = [each.contents for each in settled.caches if each.exported or each.aliased]
    if known is None or not saved:
        return ""
    metadata = _complete(ran, kept)
    # What an inline cache has is not read back.
    layers = {layer for own in saved for layer in (metadata.layers if own is None else own)}
    return find_borrowing(ran, metadata, known).warn(layers)


def _make_commit(
    store: Store | None, staging: Staging | None, ran: RunResult, refused: Borrowing | None
) -> Commit | None:
    if store is None or staging is None:
        return None
    suspect = bool(ran.trace.unloaded)
    sound = refused.sound if refused else None

    def commit(scope: str, digests: tuple[str, ...], work: Work) -> Saved:
        first, *others = digests
        return store.commit(
            staging, scope, first, work, others=others, suspect=suspect, sound=sound
        )

    return commit


def _save_registries(
    runner: Runner, plan: BuildPlan, ran: RunResult, settled: Settled, refused: Borrowing | None
) -> tuple[Kept, ...]:
    if not plan.saves or ran.exit_status:
        return ()
    from bxcache.backends.registry_save import leave_registries, save_registries  # noqa: PLC0415  # only a registry

    if refused:
        return leave_registries(plan.saves)
    return tuple(save_registries(runner, plan.saves, plan.imports, ran, settled.caches))


def _complete(ran: RunResult, kept: tuple[Kept, ...]) -> Metadata:
    """The metadata of the build with what is known since it was saved to registries.

    What is saved to them alone has no layers before.
    """
    return ran.metadata.completed(each.told.metadata for each in kept if each.told)


def _merge(settled: Settled, kept: tuple[Kept, ...]) -> Settled:
    """What became of all caches, those included that were saved after the build."""
    caches, warnings = list(settled.caches), list(settled.warnings)
    for each in kept:
        same = [cache for cache in caches if cache.place == each.result.place]
        caches = [cache for cache in caches if cache not in same]
        caches.append(replace(each.result, imported=any(cache.imported for cache in same)))
        warnings += [each.warning] if each.warning else []
    return Settled(tuple(caches), tuple(warnings))


def _remember(
    prepared: Prepared, runner: Runner, story: Story, record: Record, *, stored: bool
) -> None:
    """Leave the build's record beside each of its caches."""
    if story.kept:
        from bxcache.backends.registry_save import label_scope  # noqa: PLC0415  # only a registry needs it

        data = record.to_json()
        for each in story.kept:
            label_scope(runner, each, data, record.arguments.key)
    trouble = remember_build(prepared, record)
    if stored and prepared.placement.writes:
        trouble = keep_record(prepared, record)
    elif any(each.digest for each in story.kept):
        trouble = ""
    if trouble:
        runner.tell(Noted(trouble))


def _collect(prepared: Prepared, runner: Runner, settled: Settled) -> Settled:
    """Keep the store within its bounds, where something was saved to it."""
    store, limits = prepared.store, prepared.limits
    at = next(
        (n for n, each in enumerate(settled.caches) if each.backend == "local" and each.exported),
        None,
    )
    if store is None or at is None:
        return settled
    caches, trouble = list(settled.caches), ""
    try:
        collected = store.collect(max_size=limits.max_size, max_age=limits.max_age)
        if caches[at].scope in (*collected.evicted, *collected.dropped):
            caches[at], trouble = _read_left(store, caches[at], collected.bytes, limits.max_size)
    except StoreError as error:
        warning = f"the store `{store.path}` could not be kept small: {error.message}"
        return replace(settled, warnings=(*settled.warnings, warning))
    if collected.summary and not trouble:
        runner.tell(Noted(f"the store {collected.summary}"))
    warnings = (*settled.warnings, *([trouble] if trouble else []), *collected.notes)
    caches[at] = replace(
        caches[at],
        store_bytes=collected.bytes,
        store_budget=limits.max_size,
        freed_bytes=collected.freed_bytes,
    )
    return replace(settled, caches=tuple(caches), warnings=warnings)


def _read_left(
    store: Store, saved: CacheResult, store_bytes: int, most: int | None
) -> tuple[CacheResult, str]:
    """What the store kept of what was saved, and why that can never be all; empty where it can."""
    usage = store.usage()
    left = next((each for each in usage.scopes if each.name == saved.scope), None)
    needed = (saved.bytes or 0) + store_bytes - usage.bytes
    trouble = ""
    if most is not None and needed > most:
        trouble = (
            f"the cache `{saved.scope}` is larger than the store may be: "
            f"{left.layers if left else 0} of its {format_count(saved.layers or 0, 'layer')} were "
            f"kept in {store.path}; all of them need a `max_size` of {format_least(needed)}"
        )
    if left is None:
        nothing = replace(saved, exported=False, unchanged=False, new_bytes=None)
        return replace(nothing, digest=None, bytes=None, layers=None), trouble
    kept = replace(saved, digest=left.digest, bytes=left.bytes, layers=left.layers)
    return replace(kept, unchanged=False, new_bytes=None), trouble


def _list_troubles(state: LocalState | None) -> Iterator[str]:
    if state is not None:
        yield from (f"in the store `{state.store}`: {note}" for note in state.notes)


def begin_asking(prepared: Prepared, plan: BuildPlan, started: float) -> EarlierBuilds | None:
    """Begin to read what earlier builds left; a build without caches reads nothing.

    All of it where a report or a gate asks for it; else the last of each scope, which has what its
    steps once took.
    """
    if not (prepared.placement.writes or plan.imports):
        return None
    from bxcache.insight.earlier import EarlierBuilds, EarlierQuery  # noqa: PLC0415  # with all holders

    scopes = (plan.scope.name, *(use.scope for use in plan.imports))
    last = EarlierQuery(scopes, started, most=1, everywhere=False)
    return EarlierBuilds(
        prepared.setup, EarlierQuery(scopes, started) if _is_wanted(prepared) else last
    )


def _is_wanted(prepared: Prepared) -> bool:
    return prepared.request.with_earlier or prepared.setup.config.gate.is_set


def _find_earlier(prepared: Prepared, ended: Ended) -> tuple[Record, ...]:
    if ended.earlier is None:
        return ()
    # What nobody asked for is not worth to wait for.
    return ended.earlier.wait(None if _is_wanted(prepared) else _PATIENCE)


def _report(
    prepared: Prepared, runner: Runner, story: Story, record: Record, settled: Settled
) -> BuildResult:
    config, ran, redact = prepared.setup.config, story.ran, runner.redact
    result = BuildResult(
        exit_status=ran.exit_status,
        digest=ran.metadata.image_digest,
        tags=config.build.tags,
        steps=list_steps(ran.trace, _complete(ran, story.kept), redact),
        caches=tuple(replace(each, place=redact(each.place)) for each in settled.caches),
        warnings=(*settled.warnings, *settled.advice),
        seconds=round(ran.seconds, 3),
        record=record,
        earlier=story.earlier,
        gates=record.gates,
    )
    if ran.exit_status:
        why = redact(ran.error)
        raise BuildFailedError(why, exit_status=ran.exit_status, result=result)
    if config.cache.strict and settled.warnings:
        raise CacheError("; ".join(settled.warnings), result=result)
    failed = [each for each in result.gates if each.fails]
    if failed:
        raise GateError(failed, result=result)
    return result


def _judge(
    prepared: Prepared, runner: Runner, record: Record, earlier: tuple[Record, ...]
) -> Record:
    """Hold the build against the gates, and tell those that only warn."""
    gate = prepared.setup.config.gate
    if not gate.is_set:
        return record
    verdicts = judge_gates(gate, record, earlier)
    for each in verdicts:
        if not each.fails:
            runner.tell(Warned(str(each)))
    return record.model_copy(update={"gates": verdicts})
