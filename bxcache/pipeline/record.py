"""What a build leaves behind for those who want to know of it: its record."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel

from bxcache.buildx.build_history import explain_unknown
from bxcache.buildx.stream.names import Transfer
from bxcache.config.paths import is_remote
from bxcache.errors import StoreError
from bxcache.insight.arguments import hash_arguments, list_build_arguments
from bxcache.insight.fitting import fit_record
from bxcache.insight.past import recall_seconds
from bxcache.insight.recent_builds import Checkout, add_build, find_folder
from bxcache.insight.record import (
    Record,
    RecordedArguments,
    RecordedCache,
    RecordedPlace,
    RecordedScope,
    RecordedStep,
    RecordedTools,
)
from bxcache.insight.record_steps import (
    Account,
    list_recorded_images,
    list_recorded_stages,
    list_recorded_steps,
)
from bxcache.place.trust import find_owner
from bxcache.store.records import LARGEST_RECORD
from bxcache.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bxcache.backends.base import CacheResult
    from bxcache.backends.registry_save import Kept
    from bxcache.buildx.run import Runner, RunResult
    from bxcache.pipeline.plan import BuildPlan
    from bxcache.pipeline.prepare import Prepared


@dataclass(frozen=True, slots=True)
class Story:
    """A build that is over, as far as its record tells of it.

    Attributes:
        plan: what it was to do about caches.
        arguments: what followed `docker`.
        ran: what became of it.
        kept: what became of its scopes in registries.
        caches: what became of the caches.
        started: when it began, in seconds since 1970.
        buildx: buildx's version; empty if unknown.
        warnings: what a person should look at, as far as that is known.
        earlier: what earlier builds left, the last one's first.
    """

    plan: BuildPlan
    arguments: tuple[str, ...]
    ran: RunResult
    kept: tuple[Kept, ...]
    caches: tuple[CacheResult, ...]
    started: float
    buildx: str
    warnings: tuple[str, ...] = ()
    earlier: tuple[Record, ...] = ()


def make_record(prepared: Prepared, runner: Runner, story: Story) -> Record:
    """The record of a build; secrets are masked in it."""
    ran, redact = story.ran, runner.redact
    settings = prepared.setup.config.build
    account = _choose_account(story, settings.target)
    steps = recall_seconds(list_recorded_steps(account, redact), story.earlier)
    record = Record(
        version=1,
        scope=_describe_scope(prepared),
        started=round(story.started, 3),
        seconds=round(ran.seconds, 3),
        exit_status=ran.exit_status,
        steps=steps,
        stages=list_recorded_stages(account, redact),
        images=list_recorded_images(account.metadata, redact),
        arguments=_describe_arguments(prepared, story),
        context=redact(_find_path(prepared, settings.context)),
        file=redact(_find_path(prepared, settings.file)) if settings.file else "",
        network=redact(settings.network or ""),
        place=_describe_place(prepared),
        tools=_describe_tools(prepared, story.buildx),
        caches=tuple(
            RecordedCache(
                backend=each.backend,
                place=redact(each.place),
                scope=each.scope,
                digest=each.digest,
                bytes=each.bytes,
                new_bytes=each.new_bytes,
                imported=each.imported,
                exported=each.exported,
                unsaved=_list_unsaved(steps, each),
            )
            for each in story.caches
        ),
        pulled_bytes=ran.trace.moved.get(Transfer.PULL, 0),
        sent_bytes=ran.trace.moved.get(Transfer.SEND, 0),
        warnings=tuple(map(redact, story.warnings)),
        build_warnings=tuple(map(redact, ran.trace.warnings)),
        why_unknown=redact(_explain_unknown(story, account)),
    )
    return fit_record(record, LARGEST_RECORD)


def _list_unsaved(steps: Iterable[RecordedStep], cache: CacheResult) -> tuple[str, ...] | None:
    if cache.contents is None:
        return None
    forms = (form for step in steps for form in (step.layers, *step.alternatives))
    digests = {layer.digest for form in forms for layer in form}
    return tuple(sorted(digests - cache.contents))


def _explain_unknown(story: Story, account: Account) -> str:
    if story.ran.exit_status:
        return ""
    platforms = {each.name.platform for each in account.built.steps if each.name.platform}
    return explain_unknown(story.buildx, account.metadata, len(platforms))


def keep_record(prepared: Prepared, record: Record) -> str:
    """Keep a record in the local store, where there is one that is written to.

    Returns:
        Why it could not be kept, or an empty string.
    """
    store = prepared.store
    if store is None:
        return ""
    try:
        store.add_record(record.scope.name, record.to_json())
    except StoreError as error:
        return f"`bxcache history` will not know this build: {error.message}"
    return ""


def remember_build(prepared: Prepared, record: Record) -> str:
    """Keep a record as that of the last build of its directory, whether or not it saved a cache.

    Returns:
        Why it could not be kept, or an empty string.
    """
    if prepared.request.donor:
        # Only somebody's look into a cache.
        return ""
    trust = prepared.trust
    checkout = Checkout(prepared.request.directory, find_owner(trust.found or trust.place))
    why, folder = "", find_folder()
    context = prepared.setup.config.build.context
    sent = checkout.directory / context
    if not is_remote(context) and folder.resolve().is_relative_to(sent.resolve()):
        # It would change with each build, and with it what `COPY . .` copies.
        why = f"`{folder}` lies in the build context"
    else:
        try:
            add_build(checkout, record.to_json())
        except OSError as error:
            why = error.strerror or str(error)
    return f"`bxcache history` will not know this build: {why}" if why else ""


def _choose_account(story: Story, target: str | None) -> Account:
    """The run that tells the most of the layers: what only later runs exported has none before."""
    runs = (story.ran, *(each.told for each in story.kept if each.told is not None))
    best = max(
        runs, key=lambda each: sum(bool(op.chains) for op in each.metadata.operations.values())
    )
    return Account(story.ran.trace, best.trace, best.metadata, target)


def _find_path(prepared: Prepared, path: str) -> str:
    """A path from the project's top folder, the same on every machine; what is none as it is."""
    if path == "-" or is_remote(path):
        return path
    return os.path.relpath(prepared.request.directory / path, prepared.setup.root)


def _describe_scope(prepared: Prepared) -> RecordedScope:
    scope = prepared.scope
    return RecordedScope(
        name=scope.name,
        image=scope.image,
        target=scope.target,
        platforms=scope.platforms,
        branch=str(scope.owner) or None,
    )


def _describe_place(prepared: Prepared) -> RecordedPlace:
    place = prepared.trust.place
    return RecordedPlace(
        provider=place.provider,
        branch=place.branch,
        tag=place.tag,
        base=place.base,
        pull_request=place.pull_request,
        trusted=place.trusted,
    )


def _describe_tools(prepared: Prepared, buildx: str) -> RecordedTools:
    found = prepared.capabilities
    return RecordedTools(
        bxcache=__version__,
        docker=found.client,
        engine=found.engine or "",
        buildx=buildx,
        buildkit=next((node.version for node in found.builder.nodes if node.version), ""),
        driver=found.builder.driver,
    )


def _describe_arguments(prepared: Prepared, story: Story) -> RecordedArguments:
    if not list_build_arguments(story.arguments):
        return RecordedArguments()
    return hash_arguments(story.arguments, os.environ, _find_key(prepared, story))


class _Keyed(BaseModel):
    arguments: RecordedArguments = RecordedArguments()


def _find_key(prepared: Prepared, story: Story) -> str:
    """The key of earlier records, so that their values can be compared; else a new one."""
    labels = (each.label for each in story.kept)
    keys = (*_list_stored_keys(prepared, story.plan), *(each.key for each in labels if each))
    return next(filter(_is_key, keys), secrets.token_hex(16))


def _list_stored_keys(prepared: Prepared, plan: BuildPlan) -> Iterator[str]:
    if prepared.store is None or prepared.store_trouble:
        return
    for scope in (plan.scope.name, *(use.scope for use in plan.imports)):
        yield from _read_keys(reversed(prepared.store.read_records(scope)))


def _read_keys(records: Iterable[bytes]) -> Iterator[str]:
    for record in records:
        try:
            yield _Keyed.model_validate_json(record).arguments.key
        except ValueError:
            continue


def _is_key(text: str) -> bool:
    try:
        return bool(bytes.fromhex(text))
    except ValueError:
        return False
