"""Make and store the record of a build."""

from __future__ import annotations

import os
import secrets
import time
from itertools import chain
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict, replace

from bxcache.buildx.build_history import explain_unknown
from bxcache.buildx.command import list_pushed
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import Transfer
from bxcache.config.paths import is_remote
from bxcache.config.wording import name_call
from bxcache.insight.inputs import BuildFiles, InputWriter
from bxcache.insight.recent_builds import Checkout, add_build, find_folder, read_trusted
from bxcache.insight.record import Record
from bxcache.insight.record_parts import (
    RecordedCache,
    RecordedPlace,
    RecordedScope,
    RecordedStep,
    RecordedTools,
)
from bxcache.insight.record_steps import (
    Account,
    hash_arguments,
    list_recorded_images,
    list_recorded_stages,
    list_recorded_steps,
    recall_seconds,
)
from bxcache.insight.salvaged_layers import add_layers
from bxcache.place.trust import find_owner
from bxcache.store.journal import LARGEST_RECORD
from bxcache.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bxcache.backends.cache_result import CacheResult
    from bxcache.buildx.run import RunResult
    from bxcache.config.models import BuildSettings
    from bxcache.pipeline.prepare import Prepared
    from bxcache.pipeline.save import Caches
    from bxcache.pipeline.target import Target
    from bxcache.redaction import Redactor


def make_record(
    target: Target, ran: RunResult, caches: Caches, buildx: str, earlier: Sequence[Record] = ()
) -> Record:
    """Make the record of a build, with secrets masked.

    `buildx` is buildx's version or empty, and `earlier` has the newest record first.
    """
    prepared, redact = target.prepared, target.runner.redact
    settings, scope = prepared.setup.config.build, prepared.scope
    key = _choose_key(target, caches)
    inputs = InputWriter(key, target.files.wait() if target.files else BuildFiles(), redact)
    account = _choose_account(ran, caches, target, inputs)
    steps = list_recorded_steps(account, redact)
    if ran.exit_status:
        runs = (each.run.metadata for each in caches.saved.values() if each.run is not None)
        steps = add_layers(steps, runs)
    steps = recall_seconds(steps, earlier)
    if any(each.outcome is Outcome.REUSED and each.ran is None for each in steps):
        # The declared backends may be new, or keep no records. Times decide what a store evicts.
        steps = recall_seconds(steps, read_trusted(find_checkout(prepared), scope.name))
    record = Record(
        version=1,
        scope=RecordedScope(
            name=scope.name,
            image=scope.image,
            target=scope.target,
            platforms=scope.platforms,
            branch=str(scope.owner) or None,
        ),
        started=round(target.timeline.began, 3),
        **measure_time(target, ran),
        exit_status=ran.exit_status,
        image_digest=ran.metadata.image_digest,
        pushed=tuple(map(redact, _find_pushed(prepared, ran))),
        steps=steps,
        stages=list_recorded_stages(account, redact),
        images=list_recorded_images(account.metadata, redact),
        arguments=hash_arguments(target.arguments, os.environ, key),
        files=inputs.write_files(),
        instructions=inputs.write_instructions(),
        frontend=next((each.frontend for each in account.metadata.definitions), None),
        uncached=list_uncached(settings),
        context=redact(_find_path(prepared, settings.context)),
        file=redact(_find_path(prepared, settings.file)) if settings.file else "",
        network=redact(settings.network or ""),
        place=_describe_place(prepared, redact),
        tools=_describe_tools(prepared, buildx),
        caches=tuple(_describe_cache(each, steps, redact) for each in caches.results),
        pulled_bytes=ran.trace.moved.get(Transfer.PULL, 0),
        sent_bytes=ran.trace.moved.get(Transfer.SEND, 0),
        warnings=tuple(map(redact, (*caches.warnings, *caches.advice))),
        build_warnings=tuple(map(redact, ran.trace.warnings)),
        why_unknown=redact(_explain_unknown(buildx, ran, account) or ""),
    )
    return record.fit(LARGEST_RECORD)


def _describe_place(prepared: Prepared, redact: Redactor) -> RecordedPlace:
    found = RecordedPlace.model_validate(prepared.trust.place, from_attributes=True)
    origin = {name: redact(text) for name, text in asdict(prepared.origin).items()}
    return RecordedPlace.model_validate(dict(found) | origin)


def measure_time(target: Target, ran: RunResult) -> dict[str, Any]:
    """The parts of the record about the build's time until now."""
    phases = target.timeline.list_phases(ran, time.time())
    return {"seconds": round(sum(each.seconds for each in phases), 3), "phases": phases}


def _find_pushed(prepared: Prepared, ran: RunResult) -> tuple[str, ...]:
    if ran.exit_status or ran.metadata.image_digest is None:
        return ()
    return list_pushed(prepared.setup.config.build, prepared.request.extra)


def _describe_cache(
    cache: CacheResult, steps: Iterable[RecordedStep], redact: Redactor
) -> RecordedCache:
    masked = replace(cache, place=redact(cache.place))
    found = RecordedCache.model_validate(masked, from_attributes=True)
    if cache.contents is None:
        return found
    digests = {layer.digest for step in steps for form in step.forms for layer in form}
    return found.model_copy(update={"unsaved": tuple(sorted(digests - cache.contents))})


def _explain_unknown(buildx: str, ran: RunResult, account: Account) -> str | None:
    if ran.exit_status:
        return None
    platforms = {each.name.platform for each in account.built.steps if each.name.platform}
    return explain_unknown(buildx, account.metadata, len(platforms))


def remember_build(prepared: Prepared, record: Record) -> str | None:
    """Store a record as the last build of its directory, cached or not; return why that failed."""
    if prepared.request.donor:
        # This build only inspects a cache.
        return None
    checkout = find_checkout(prepared)
    why, folder = None, find_folder()
    context = prepared.setup.config.build.context
    sent = checkout.directory / context
    if not is_remote(context) and folder.resolve().is_relative_to(sent.resolve()):
        # The folder changes with each build, and so would the files that `COPY . .` copies.
        why = f"`{folder}` lies in the build context"
    else:
        try:
            add_build(checkout, record.to_json())
        except OSError as error:
            why = error.strerror or str(error)
    return f"`{name_call('history')}` will not know this build: {why}" if why else None


def list_uncached(settings: BuildSettings) -> tuple[str, ...]:
    """List the stages that the caller wants built without a cache; `*` is all."""
    return ("*",) if settings.no_cache else tuple(settings.no_cache_filter)


def find_checkout(prepared: Prepared) -> Checkout:
    """Find under which directory and branch a build is remembered."""
    trust = prepared.trust
    return Checkout(prepared.request.directory, find_owner(trust.found or trust.place))


def _choose_account(ran: RunResult, caches: Caches, target: Target, inputs: InputWriter) -> Account:
    """Choose the run that reports the most layers: only an export reports the layers of a step.

    A run that saves what finished of a failed build has another Dockerfile.
    """

    def count_known(run: RunResult) -> int:
        return sum(bool(each.chains) for each in run.metadata.operations.values())

    saving = (each.run for each in caches.saved.values() if each.run is not None)
    best = ran if ran.exit_status else max((ran, *saving), key=count_known)
    offset = None if ran.offset is None else ran.offset - target.timeline.began
    stage = target.prepared.setup.config.build.target
    return Account(ran.trace, best.trace, best.metadata, stage, offset, inputs)


def _find_path(prepared: Prepared, path: str) -> str:
    """A path from the project's root, the same on every machine; unchanged if not a local path."""
    if path == "-" or is_remote(path):
        return path
    return os.path.relpath(prepared.request.directory / path, prepared.setup.root)


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


def _choose_key(target: Target, caches: Caches) -> str:
    """Choose the key of the record's hashes."""
    plan = target.plan
    scopes = (plan.scope.name, *(use.scope for use in plan.imports))
    # Hashes with the key of earlier records can be compared with theirs.
    stored = (key for each in target.prepared.backends for key in each.read_keys(scopes))
    labels = (each.key for each in caches.saved.values() if each.key)
    return next(chain(stored, labels), secrets.token_hex(16))
