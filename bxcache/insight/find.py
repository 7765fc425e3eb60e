"""Finds the history and the report of a scope in any backend."""

from __future__ import annotations

import os
import re
from functools import cached_property
from itertools import islice
from textwrap import shorten
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bxcache.backends.declared import list_holders
from bxcache.backends.holders import open_holder
from bxcache.buildx.stream.events import Outcome
from bxcache.config.paths import find_dockerfile
from bxcache.config.quantities import format_count
from bxcache.config.wording import name_call, name_option
from bxcache.errors import RecordError, RegistryError, StoreError
from bxcache.insight.chains import explain_layers, find_unsaved, read_chains
from bxcache.insight.earlier import query_before, read_earlier
from bxcache.insight.history import History, list_platforms, view_stages
from bxcache.insight.recent_builds import Checkout, RecentHolder
from bxcache.insight.record import parse_record
from bxcache.insight.reporting import make_report
from bxcache.place.image_name import find_image
from bxcache.place.place import read_place
from bxcache.place.scope import Owner, Scope, guess_platform, write_owner
from bxcache.place.trust import decide_trust, find_owner, load_guarded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bxcache.backends.holders import Content, Holder
    from bxcache.config.loading import Setup
    from bxcache.insight.chains import Chain
    from bxcache.insight.history import Stage
    from bxcache.insight.history_request import HistoryRequest
    from bxcache.insight.record import Record
    from bxcache.insight.report import Report
    from bxcache.place.place import Place

_BACK = re.compile(r"(?s)\A(.*?)(~\d{0,4})?\Z")
"""A name, and how many builds before the last one are meant."""
_MOST_NAMES = 20
_LONGEST = 60
"""How much is shown of an instruction."""
_USUAL_TAG = "latest"
"""The tag that plain buildx exports to by default."""


def find_history(request: HistoryRequest) -> History:
    """Return the history of a scope.

    Raises:
        ConfigError: the configuration is wrong.
        RecordError: there is no such scope or build, or its record is unusable.
        StoreError: the store cannot be read.
        RegistryError: the registry does not answer.
    """
    search, without = _Search(request), None
    for holder, content, note in search.list_contents():
        found = search.describe(holder, content, note)
        if found.record is not None:
            return found
        without = without or found
    if without is None:
        raise search.find_nothing("history")
    return without


def find_report(request: HistoryRequest) -> Report:
    """Return the report of a build, even of a failed one; raise the errors of `find_history`."""
    return make_report(find_builds(request, "report"), request.platform)


def find_builds(request: HistoryRequest, command: str) -> tuple[Record, ...]:
    """Return the record of a build, even of a failed one, and then those of earlier builds.

    `command` is the one to name in an error; raise the errors of `find_history`.
    """
    search, without = _Search(request), None
    for holder, content, _ in search.list_contents():
        where = f"`{content.scope}` in {holder.name}"
        found = [*islice(content.records(), search.back + 1)]
        if len(found) > search.back:
            record = parse_record(found[search.back], where)
            earlier = read_earlier([holder, *search.holders], query_before(record))
            return (record, *earlier)
        without = without or f"{_count_known(len(found))} {where} left a record"
    raise RecordError(without) if without else search.find_nothing(command)


class _Search:
    """A request with what it takes to find the scopes that it may mean."""

    def __init__(self, request: HistoryRequest) -> None:
        [(name, back)] = _BACK.findall(request.name or "")
        self._request = request
        self._name: str | None = name or None
        self.back = int(back[1:] or "1") if back else 0

    def _load(self, image: str | None = None) -> Setup:
        request = self._request
        return load_guarded(request.directory, os.environ, file=request.config_file, image=image)

    @cached_property
    def _plain_setup(self) -> Setup:
        return self._load()

    @cached_property
    def _setup(self) -> Setup:
        return self._load(self._name) if self._is_image else self._plain_setup

    @property
    def _is_image(self) -> bool:
        return self._name in self._plain_setup.config.images

    @cached_property
    def holders(self) -> list[Holder]:
        """What to search: the named source, or every configured backend."""
        if self._request.source is not None:
            return [open_holder(self._request.source, self._request.directory)]
        return list_holders(self._plain_setup)

    @cached_property
    def _found_place(self) -> Place:
        return read_place(os.environ, self._request.directory)

    def _open_recent(self, *, any_checkout: bool) -> RecentHolder:
        checkout = Checkout(self._request.directory, find_owner(self._found_place))
        return RecentHolder(checkout, any_checkout=any_checkout)

    def _find_last(self, recent: RecentHolder) -> str | None:
        """The scope of the last build in this directory that matches the request."""
        if self._request.source is not None:
            return None
        fitting = (record for record, _ in recent.builds if self._fits(record))
        return next((record.scope.name for record in fitting), None)

    def _fits(self, record: Record) -> bool:
        request, scope = self._request, record.scope
        return (
            self._name in (None, scope.name, scope.image, record.file, record.context)
            and request.target in (None, scope.target)
            and request.branch in (None, scope.branch)
            and (request.platform is None or request.platform in list_platforms(record))
        )

    def list_contents(self) -> Iterator[tuple[Holder, Content, str | None]]:
        """The matching contents of each backend, with a note for the user.

        If the last build in this directory matches, its scope is meant. A last build of another
        checkout comes after the scopes that a build would import now. A named source contributes
        only its own records.
        """
        recent = self._open_recent(any_checkout=False)
        last = self._find_last(recent)
        if last is None:
            known, named = False, self._request.source is not None
            for holder in self.holders:
                for scope, note in self.list_wanted(holder):
                    content = holder.read(scope)
                    if content is not None:
                        known = True
                        yield holder, (content if named else recent.complete(content)), note
                        break
            recent = self._open_recent(any_checkout=True)
            last = None if known else self._find_last(recent)
        if last is not None:
            yield from self._list_scope(last, recent)

    def _list_scope(
        self, scope: str, recent: RecentHolder
    ) -> Iterator[tuple[Holder, Content, str | None]]:
        """The contents of a scope in each backend, and finally the records of its builds here."""
        unread: list[str] = []
        for holder in self.holders:
            try:
                content = holder.read(scope)
            except (RegistryError, StoreError) as error:
                unread.append(f"{holder.name} was not read: {error.message}")
                continue
            if content is not None and recent.is_in(content, holder.declare(scope)):
                yield holder, recent.complete(content), None
        own = recent.read(scope)
        if own is not None:
            yield recent, own, "; ".join(unread) or _explain_unkept(recent, scope)

    def list_wanted(self, holder: Holder) -> Iterator[tuple[str, str | None]]:
        """The scopes that may be meant, best first, each with a note for the user."""
        if holder.only is not None and self._name in (None, holder.only):
            yield holder.only, None
            return
        if self._name is not None:
            yield self._name, None
        # The targets of a bake are not in the config file.
        is_target = self._name is not None and not self._is_image
        if is_target or self._request.source is None or self._is_project:
            yield from self._list_own(holder)
        if self._request.source is not None and not is_target:
            names = holder.list_scopes()
            yield (names[0] if len(names) == 1 else _USUAL_TAG), None

    @property
    def _is_project(self) -> bool:
        """Whether the working directory determines the image."""
        if self._is_image or self._plain_setup.file is not None:
            return True
        settings, directory = self._plain_setup.config.build, self._request.directory
        return find_dockerfile(directory, settings.context, settings.file).exists()

    def _list_own(self, holder: Holder) -> Iterator[tuple[str, str | None]]:
        """The scopes that a build here would save to, and then those that it would import."""
        wanted = self._find_scope()
        asked = (self._request.platform,) if self._request.platform else ()
        known = (self._setup.config.build.platforms, asked, (guess_platform(),))
        for owner, what in self._list_owners():
            note = what and f"no build of this branch is known; this is the cache of {what}"
            for platforms in filter(None, known):
                yield replace(wanted, platforms=platforms, owner=owner).name, note
            yield from ((name, note) for name in _list_like(holder, wanted.of_owner(owner)))

    def _find_scope(self) -> Scope:
        setup, request = self._setup, self._request
        if self._name is not None and not self._is_image:
            return Scope(self._name, request.target, ())
        target = request.target or setup.config.build.target
        return Scope(find_image(setup, request.directory), target, ())

    def _list_owners(self) -> Iterator[tuple[Owner, str | None]]:
        if self._request.branch is not None:
            yield Owner.of_branch(self._request.branch), None
            return
        _, trust = decide_trust(self._found_place, self._setup, self._request.directory)
        yield trust.owner, None
        read = self._setup.config.cache.read
        yield from (each for each in trust.list_owners(read) if each[0] != trust.owner)

    def find_nothing(self, command: str) -> RecordError:
        """The error if no scope matches, with what there is instead."""
        if not self.holders:
            return RecordError(
                "the configuration declares no backend that keeps records",
                hint="`local`, `registry` and `inline` with all stages do, also beside others; "
                f"`{name_option('source')}` names a directory or a ref",
            )
        known = [name for holder in self.holders for name in holder.list_scopes()]
        shown = ", ".join(f"`{name}`" for name in known[:_MOST_NAMES]) or "none"
        more = len(known) - _MOST_NAMES
        wanted = self._name or (self._find_scope().image if self._is_project else "")
        what = f"`{wanted}`" if wanted else "that"
        hint = f"the scopes are {shown}" + (f" and {more} more" if more > 0 else "")
        own = {wanted, *Scope(wanted, None, ()).head}
        others = [name for name in known if name.partition(".")[0] not in own]
        if others:
            hint = f"{self._suggest(others[0], command)} shows another image; {hint}"
        if not known:
            hint = f"there are none yet; `{name_call('build')}` leaves one"
        where = ", ".join(f"`{holder.name}`" for holder in self.holders)
        return RecordError(f"no build of {what} is known in {where}", hint=hint)

    def _suggest(self, scope: str, command: str) -> str:
        """The command that shows a scope; it names the image if that is enough."""
        image, source = scope.partition(".")[0].replace("_", "/"), self._request.source
        plain = replace(self._request, name=image, target=None, branch=None, platform=None)
        search = _Search(plain)
        wanted = (name for holder in search.holders for name, _ in search.list_wanted(holder))
        name = image if scope in wanted else scope
        return f"`{name_call(command, name, **({'source': source} if source else {}))}`"

    def describe(self, holder: Holder, content: Content, note: str | None) -> History:
        """The history of a scope; without a record, the chains of its layers."""
        record, notes = self._choose_record(holder, content)
        platform, backend = self._request.platform, holder.declare(content.scope)
        unsaved: frozenset[str] | None = None
        stages: tuple[Stage, ...] = ()
        chains: tuple[Chain, ...] = ()
        if record is not None:
            unsaved = find_unsaved(record, backend)
            stages = view_stages(record, platform, content.sizes, unsaved or ())
            if not record.exit_status:
                notes += [*explain_layers(record, content.sizes, unsaved)]
        elif platform is not None:
            where = f"`{content.scope}` in {holder.name}"
            raise RecordError(f"{where} has no record that lists its platforms")
        else:
            chains = read_chains(content.config(), content.sizes or {})
        return History(
            scope=content.scope,
            source=holder.name,
            backend=backend,
            record=record,
            present=content.sizes,
            unsaved=unsaved,
            stages=stages,
            chains=chains,
            places={d: holder.locate(d) for d in content.sizes or () if self._request.with_places},
            notes=tuple(filter(None, (note, *notes))),
        )

    def _choose_record(self, holder: Holder, content: Content) -> tuple[Record | None, list[str]]:
        """The record of the requested build, with notes; failed builds are skipped."""
        where = f"`{content.scope}` in {holder.name}"
        failed: list[Record] = []
        count = 0
        for data in content.records():
            try:
                record = parse_record(data, where)
            except RecordError:
                # A record that is only counted may be unreadable.
                if count == self.back:
                    raise
                count += 1
                continue
            if record.exit_status:
                failed.append(record)
            elif count == self.back:
                return record, [_describe_failed(failed)] if failed else []
            else:
                count += 1
        if count == 0 and self.back < len(failed):
            record = failed[self.back]
            known = "the cache has what it had finished"
            unknown = "so the layers of its steps are unknown"
            return record, [f"the build failed, {known if record.is_salvaged else unknown}"]
        if self.back:
            raise RecordError(f"{_count_known(count or len(failed))} {where} left a record")
        return None, []


def _describe_failed(failed: Sequence[Record]) -> str:
    """Describe the builds that failed since, and what the cache has of the last of them."""
    later = format_count(len(failed), "later build")
    last = next((each for each in failed if each.is_salvaged), None)
    if last is None:
        return f"{later} failed and saved nothing"
    done = [each for each in last.steps if each.outcome is Outcome.EXECUTED]
    names = [f"`{shorten(each.text, _LONGEST, placeholder=' …')}`" for each in done[:_MOST_NAMES]]
    more = len(done) - len(names)
    names += [f"{more} more"] if more else []
    steps = format_count(len(done), "step")
    return f"{later} failed; the cache has the {steps} that it finished: {', '.join(names)}"


def _count_known(count: int) -> str:
    return f"no more than {format_count(count, 'build')} of" if count else "no build of"


def _explain_unkept(recent: RecentHolder, scope: str) -> str:
    """Why only the record of a build exists: its backend is not configured."""
    caches = (c for record, _ in recent.builds if record.scope.name == scope for c in record.caches)
    places = (c.place for c in caches if c.exported and c.digest)
    why = "no configured backend has its cache; this is the record of the build"
    place = next(places, None)
    return why if place is None else f"{why}, and `{name_option('source', place)}` has its cache"


def _list_like(holder: Holder, wanted: Scope) -> Iterator[str]:
    """The scopes of the same image and branch on other platforms, and of its other targets."""
    # A list of scopes shows an image in another spelling.
    heads = {wanted.head, (wanted.image, *wanted.head[1:])}
    owner, size = write_owner(wanted.owner), len(wanted.head)
    for name in holder.list_scopes():
        parts = tuple(name.split("."))
        if parts[:size] in heads and parts[-1] == owner and len(parts) > size + 1:
            yield name
