"""Tests that the records of earlier builds are found in every backend and used in a report."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from bxcache.backends.holders import DirectoryHolder
from bxcache.buildx.stream.events import Outcome
from bxcache.config.loading import load_setup
from bxcache.errors import RecordError
from bxcache.insight.earlier import EarlierBuilds, EarlierQuery, query_before, read_earlier
from bxcache.insight.find import find_report
from bxcache.insight.history_request import HistoryRequest
from bxcache.insight.record import Record
from bxcache.insight.record_parts import RecordedCache, RecordedScope
from bxcache.place.scope import Scope, guess_platform
from bxcache.store.store import Store
from tests.support.histories import make_record, make_step

if TYPE_CHECKING:
    from pathlib import Path

OWN = Scope("image", None, (guess_platform(),)).name
OTHER = "image.elsewhere.main"


def record(scope: str, started: float, *, imported: str = "", **more: Any) -> Record:  # noqa: ANN401  # a record's fields
    """Return a build of one step that took as many seconds as it began after 1970."""
    outcome = Outcome.REUSED if imported else Outcome.EXECUTED
    step = make_step("RUN a", 2, layers="a:10", seconds=started, outcome=outcome)
    caches = RecordedCache(backend="local", place="/s", scope=imported, imported=True)
    return make_record(
        step,
        scope=RecordedScope(name=scope, image="image"),
        started=started,
        caches=(caches,) if imported else (),
        **more,
    )


def keep(store: Store, *records: Record) -> None:
    """Store the records of builds, one after the other."""
    for each in records:
        store.add_record(each.scope.name, each.to_json())


@pytest.fixture
def project(store: Store, tmp_path: Path) -> Path:
    """Make a project with a config file that contains the store."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    backend = f'[[cache.backends]]\ntype = "local"\ndir = "{store.path}"\n'
    (folder / "bxcache.toml").write_text(backend)
    return folder


def test_earlier_builds_include_those_of_the_imported_scope(store: Store) -> None:
    """Earlier builds are listed last one first, without later builds and unrelated scopes."""
    keep(store, *(record(OWN, started) for started in (1.0, 4.0, 9.0)))
    keep(store, record(OTHER, 2.0), record("third", 3.0))
    this = record(OWN, 5.0, imported=OTHER)
    found = read_earlier([DirectoryHolder(store.path)], query_before(this))
    assert [each.started for each in found] == [4.0, 2.0, 1.0]


def test_records_in_several_places_are_listed_once(store: Store, tmp_path: Path) -> None:
    """A store and its copy yield a common record once, and the records of each."""
    copy = Store(tmp_path / "copy")
    keep(store, record(OWN, 1.0), record(OWN, 2.0))
    keep(copy, record(OWN, 1.0), record(OWN, 3.0))
    holders = [DirectoryHolder(each.path) for each in (store, copy)]
    found = read_earlier(holders, query_before(record(OWN, 5.0)))
    assert [each.started for each in found] == [3.0, 2.0, 1.0]


def test_unreadable_records_are_left_out(store: Store) -> None:
    """A damaged record and a missing store are left out."""
    store.add_record(OWN, b"{}\n")
    keep(store, record(OWN, 1.0))
    gone = DirectoryHolder(store.path / "gone")
    found = read_earlier([gone, DirectoryHolder(store.path)], EarlierQuery((OWN,), 5.0))
    assert [each.started for each in found] == [1.0]


def test_the_number_of_builds_is_limited_for_each_scope(store: Store) -> None:
    """A limit keeps the last builds of each scope."""
    keep(store, *(record(scope, started) for started in (1.0, 2.0) for scope in (OWN, OTHER)))
    found = read_earlier([DirectoryHolder(store.path)], EarlierQuery((OWN, OTHER), 9.0, most=1))
    assert [(each.scope.name, each.started) for each in found] == [(OWN, 2.0), (OTHER, 2.0)]


def test_failed_builds_do_not_hide_successful_ones(store: Store) -> None:
    """A failed build, which has no steps after the failed one, does not count against the limit."""
    keep(store, record(OWN, 1.0), record(OWN, 2.0))
    keep(store, *(record(OWN, started, exit_status=1) for started in (3.0, 4.0)))
    found = read_earlier([DirectoryHolder(store.path)], EarlierQuery((OWN,), 9.0, most=1))
    assert [each.started for each in found] == [4.0, 3.0, 2.0]


def test_the_first_place_with_a_scope_may_be_enough(store: Store, tmp_path: Path) -> None:
    """Unless everywhere is searched, a place is read only for scopes not found before."""
    copy = Store(tmp_path / "copy")
    keep(store, record(OWN, 1.0))
    keep(copy, record(OWN, 2.0), record(OTHER, 3.0))
    holders = [DirectoryHolder(each.path) for each in (store, copy)]
    found = read_earlier(holders, EarlierQuery((OWN, OTHER), 9.0, everywhere=False))
    assert [(each.scope.name, each.started) for each in found] == [(OTHER, 3.0), (OWN, 1.0)]


def test_earlier_builds_are_read_in_the_background(store: Store, project: Path) -> None:
    """The configured backends are read in the background, and `wait` returns the records."""
    keep(store, record(OWN, 1.0))
    setup = load_setup(project, {})
    asking = EarlierBuilds(setup, EarlierQuery((OWN,), 9.0))
    assert asking.wait() == ()
    asking.start()
    assert [each.started for each in asking.wait()] == [1.0]


def test_a_slow_read_is_not_awaited(
    store: Store, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait that times out returns no records."""
    keep(store, record(OWN, 1.0))
    going_on = Event()
    monkeypatch.setattr(DirectoryHolder, "read", lambda *_: going_on.wait(30) and None)
    asking = EarlierBuilds(load_setup(project, {}), EarlierQuery((OWN,), 9.0))
    asking.start()
    assert asking.wait(0.01) == ()
    going_on.set()
    assert asking.wait() == ()


def test_a_report_shows_the_last_build(store: Store, project: Path) -> None:
    """A report includes a failed build, and times from a build of another scope."""
    keep(store, record(OTHER, 3.0), record(OWN, 4.0, imported=OTHER, exit_status=1))
    report = find_report(HistoryRequest(directory=project))
    assert (report.started, report.exit_status, report.counts.saved) == (4.0, 1, 3.0 - 4.0)
    assert [each.started for each in report.trend] == [4.0]


def test_earlier_builds_are_counted_back(store: Store, project: Path) -> None:
    """`~1` is the build before the last one, and ignores later builds."""
    keep(store, *(record(OWN, started) for started in (1.0, 2.0, 3.0)))
    found = [find_report(HistoryRequest(name, directory=project)) for name in ("~0", "~1", "~2")]
    assert [each.started for each in found] == [3.0, 2.0, 1.0]
    assert [len(each.trend) for each in found] == [3, 2, 1]
    with pytest.raises(RecordError, match="no more than 3 builds"):
        find_report(HistoryRequest("~3", directory=project))


def test_a_store_is_named_by_its_directory(store: Store, tmp_path: Path) -> None:
    """A store can be named by its directory from anywhere."""
    keep(store, record(OWN, 1.0))
    request = HistoryRequest(OWN, source=str(store.path), directory=tmp_path)
    assert find_report(request).started == 1.0


def test_a_damaged_record_is_reported(store: Store, project: Path) -> None:
    """A damaged record is an error only when it is the requested one."""
    keep(store, record(OWN, 1.0))
    store.add_record(OWN, b"{}\n")
    with pytest.raises(RecordError, match="is damaged"):
        find_report(HistoryRequest(directory=project))
    assert find_report(HistoryRequest("~1", directory=project)).started == 1.0


def test_an_image_that_was_never_built_is_an_error(project: Path) -> None:
    """The error names the image of which no build is known."""
    with pytest.raises(RecordError, match="no build of `image` is known"):
        find_report(HistoryRequest(directory=project))
