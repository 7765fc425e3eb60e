"""Tests that the last build of a directory is remembered, whether or not its cache was saved."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bxcache.errors import RecordError
from bxcache.insight import recent_builds
from bxcache.insight.find import find_history, find_report
from bxcache.insight.history_request import HistoryRequest
from bxcache.insight.recent_builds import Checkout, add_build, read_builds, read_trusted
from bxcache.insight.record import Record, parse_record
from bxcache.insight.record_parts import (
    RecordedCache,
    RecordedPlace,
    RecordedScope,
    RecordedStage,
    RecordedStep,
)
from bxcache.oci.documents import MOST_RECORDS
from bxcache.pipeline.extract import extract_stage
from bxcache.pipeline.record import remember_build
from bxcache.place.scope import Owner, Scope, guess_platform
from tests.support.layouts import build
from tests.support.synthetic_build import make_prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bxcache.store.store import Store

pytestmark = pytest.mark.usefixtures("nobody")
HERE = (guess_platform(),)
OTHER = ("linux/riscv64",)
MAIN, TOPIC = Owner.of_branch("main"), Owner.of_branch("topic")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the remembered builds."""
    return tmp_path / "xdg-cache" / "bxcache" / "builds"


@pytest.fixture
def project(store: Store, tmp_path: Path) -> Path:
    """A project with a config file that names the store."""
    place = tmp_path / "project"
    (place / ".git").mkdir(parents=True)
    (place / "Dockerfile").write_text("FROM scratch\n")
    file = f'[[cache.backends]]\ntype = "local"\ndir = "{store.path}"\n[images.api]\n'
    (place / "bxcache.toml").write_text(file)
    return place


def record(whose: Scope, started: float, **more: Any) -> bytes:  # noqa: ANN401
    """Make the record of a build of one step."""
    scope = RecordedScope(
        name=whose.name,
        image=whose.image,
        target=whose.target,
        platforms=whose.platforms,
        branch=str(whose.owner) or None,
    )
    return Record(
        version=1,
        scope=scope,
        started=started,
        seconds=1.0,
        steps=(RecordedStep(text="RUN a", lines=(2,)),),
        stages=(RecordedStage(name="build", line=1, base="scratch"),),
        **more,
    ).to_json()


def remember(project: Path, whose: Scope, started: float, **more: Any) -> None:  # noqa: ANN401
    """Remember a build that saved no cache, in a folder without git."""
    checkout = Checkout(project, more.pop("checkout", Owner()))
    add_build(checkout, record(whose, started, **more))


def find(project: Path, name: str | None = None, **more: Any) -> tuple[str, float]:  # noqa: ANN401
    """Return the scope and the start of the build that both history and report find."""
    request = HistoryRequest(name=name, directory=project, **more)
    history, report = find_history(request), find_report(request)
    assert history.record is not None
    found = history.record.scope.name, history.record.started
    assert (report.scope.name, report.started) == found
    assert history.scope == found[0]
    return found


DEFAULT = Scope("image", None, HERE)
KINDS = {
    "-f": Scope("docker/web.Dockerfile", None, HERE),
    "--target": Scope("image", "test", HERE),
    "--platform": Scope("image", None, (*OTHER, "linux/s390x")),
    "a context": Scope("services/api", None, HERE),
    "another branch": Scope("image", None, HERE, MAIN),
    "outside": Scope("../image", None, HERE),
}


@pytest.mark.parametrize("whose", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("status", [0, 1])
def test_the_last_build_here_needs_no_name(
    store: Store,
    project: Path,
    whose: Scope,
    saved: bool,  # noqa: FBT001
    status: int,
) -> None:
    """The last build is found without a name, whether or not it was saved or failed."""
    build(store, DEFAULT.name, b"1")
    store.add_record(DEFAULT.name, record(DEFAULT, 1))
    if saved:
        store.add_record(whose.name, record(whose, 2, exit_status=status))
    remember(project, whose, 2, exit_status=status)
    assert find(project) == (whose.name, 2)


def test_a_build_that_saved_nothing_has_a_note(store: Store, project: Path) -> None:
    """A build that saved nothing has a note and no files; an undeclared backend is named."""
    remember(project, DEFAULT, 2)
    request = HistoryRequest(directory=project)
    history = find_history(request)
    assert history.present is None
    assert "no configured backend has its cache; this is the record of the build" in history.notes
    assert not store.path.exists()
    with pytest.raises(RecordError, match="no declared backend has a cache"):
        extract_stage(request, history, "build", project / "out")
    cache = RecordedCache(
        backend="local", place="/other", scope=DEFAULT.name, digest="sha256:d", exported=True
    )
    remember(project, DEFAULT, 3, caches=(cache,))
    assert '`source="/other"` has its cache' in find_history(request).notes[0]


def test_a_registry_that_is_down_does_not_hide_a_build(project: Path) -> None:
    """If a registry is down, the build is found, and no note denies that it has a cache."""
    file = '[[cache.backends]]\ntype = "registry"\nref = "127.0.0.1:9/app"\n'
    (project / "bxcache.toml").write_text(file)
    remember(project, DEFAULT, 2)
    (note,) = find_history(HistoryRequest(directory=project)).notes[:1]
    assert "127.0.0.1:9/app was not read" in note
    assert "no configured backend" not in note
    assert find(project)[1] == 2


def test_saved_and_unsaved_builds_are_counted(store: Store, project: Path) -> None:
    """Saved and unsaved builds count once each, the last one first."""
    for started in (1, 3):
        store.add_record(DEFAULT.name, record(DEFAULT, started))
        remember(project, DEFAULT, started)
    remember(project, DEFAULT, 4)
    assert [find(project, f"~{back}")[1] for back in range(3)] == [4, 3, 1]
    store.add_record(DEFAULT.name, record(DEFAULT, 2))
    with pytest.raises(RecordError):
        find(project, "~4")


@pytest.mark.parametrize(
    ("wanted", "started"),
    [
        ({}, 6),
        ({"name": "image"}, 5),
        ({"name": "docker/web.Dockerfile"}, 6),
        ({"name": "web"}, 6),
        ({"name": KINDS["--target"].name}, 3),
        ({"target": "test"}, 3),
        ({"target": "test", "platform": HERE[0]}, 3),
        ({"platform": "linux/s390x"}, 4),
        ({"branch": "main"}, 5),
        ({"branch": "main", "name": "image"}, 5),
    ],
    ids=str,
)
def test_a_build_is_found_by_any_of_its_names(
    project: Path, wanted: dict[str, Any], started: float
) -> None:
    """The last build that matches image, scope, files, target, platform and branch is found."""
    for at, kind in enumerate(("a context", "--target", "--platform", "another branch"), 2):
        remember(project, KINDS[kind], at)
    remember(project, KINDS["-f"], 6, file="docker/web.Dockerfile", context="web")
    assert find(project, **wanted)[1] == started


def test_another_projects_build_is_not_shown(project: Path, tmp_path: Path) -> None:
    """A build of another folder is not found, and `--from` finds only builds of its source."""
    for directory in (project / "api", tmp_path, tmp_path / "project2"):
        add_build(Checkout(directory, Owner()), record(DEFAULT, 2))
    with pytest.raises(RecordError, match="no build of `image`"):
        find(project)
    remember(project, DEFAULT, 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError):
        find(project, source=str(tmp_path / "empty"))


def test_a_build_of_another_checkout_comes_last(store: Store, project: Path) -> None:
    """A build of another checkout is found only if the current donors have none."""
    remember(project, KINDS["another branch"], 2, checkout=MAIN)
    assert find(project)[1] == 2
    store.add_record(DEFAULT.name, record(DEFAULT, 1))
    assert find(project)[1] == 1


def test_a_build_is_found_without_a_backend_that_keeps_records(project: Path) -> None:
    """A build is found in a project with only an inline cache, which keeps no records."""
    file = '[[cache.backends]]\ntype = "inline"\nref = "r.example.com/app:main"\n'
    (project / "bxcache.toml").write_text(file)
    remember(project, DEFAULT, 2)
    assert find(project)[1] == 2


def test_only_trusted_builds_of_the_scope_give_times(project: Path) -> None:
    """Times come from the last trusted builds of a scope in its directory, the last one first."""
    trusted, stranger = (RecordedPlace(trusted=each) for each in (True, False))
    for whose, started, where in (
        *((DEFAULT, 1, trusted), (DEFAULT, 2, trusted), (DEFAULT, 3, stranger)),
        (KINDS["-f"], 4, trusted),
    ):
        remember(project, whose, started, place=where)
    found = read_trusted(Checkout(project, Owner()), DEFAULT.name)
    assert [each.started for each in found] == [2, 1]


def test_a_record_is_not_written_to_the_build_context(
    store: Store, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that would lie in the build context is not written, and a reason is returned."""
    prepared = make_prepared(project, store, DEFAULT)
    told = parse_record(record(DEFAULT, 2), "")
    assert remember_build(prepared, told) is None
    assert find(project)[1] == 2
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / ".cache"))
    assert "lies in the build context" in str(remember_build(prepared, told))
    assert not (project / ".cache").exists()
    monkeypatch.setattr(recent_builds, "find_cache_folder", lambda: Path("~/.cache"))
    assert "no home folder" in str(remember_build(prepared, told))


def checkout(name: str = "a") -> Checkout:
    return Checkout(Path("/p") / name, MAIN)


def test_only_the_owner_can_read_remembered_builds(folder: Path) -> None:
    """Remembered builds are readable only by their owner, whatever the umask."""
    before = os.umask(0)
    try:
        folder.mkdir(parents=True)
        add_build(checkout(), b"{}\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()] == [0o600]


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file, which must not change."""
    place = tmp_path / "outside"
    place.mkdir(mode=0o755)
    (place / "file").write_text("{}")
    before = place.stat(), [*place.iterdir()]
    yield place
    assert (place.stat(), [*place.iterdir()]) == before


def test_a_link_in_the_place_of_the_folder_is_not_followed(folder: Path, outside: Path) -> None:
    """A symbolic link in place of the folder is followed neither for writing nor for reading."""
    folder.parent.mkdir(parents=True)
    folder.symlink_to(outside)
    with pytest.raises(OSError, match=r"symbolic|directory"):
        add_build(checkout(), b"{}\n")
    assert [*read_builds(checkout())] == []


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "folder", "no record"])
def test_only_a_regular_file_is_a_record(folder: Path, outside: Path, kind: str) -> None:
    """Links, pipes and folders in place of a record are skipped without waiting."""
    add_build(checkout(), b"{}\n")
    (file,) = folder.iterdir()
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "no record":
        file.write_bytes(b"{}\n")
    else:
        file.symlink_to(outside / ("file" if kind == "link" else "none"))
    assert [*read_builds(checkout())] == ([b"{}\n"] if kind == "no record" else [])
    add_build(checkout(), b"[]\n")
    assert next(read_builds(checkout())) == b"[]\n"


def test_the_oldest_builds_are_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest builds of a directory, of all, and over the size limit are removed."""
    for number in range(MOST_RECORDS + 3):
        add_build(checkout(), b"%d" % number)
    (folder / "notes.json").write_text("mine")
    found = [int(each) for each in read_builds(checkout())]
    assert found == [*range(MOST_RECORDS + 2, 2, -1)]
    monkeypatch.setattr(recent_builds, "MOST_BUILDS", 4)
    add_build(checkout("b"), b"x" * 10)
    assert len([*read_builds(checkout())]) == 3
    monkeypatch.setattr(recent_builds, "MOST_BYTES", 12)
    add_build(checkout("c"), b"y")
    assert len([*folder.iterdir()]) == 3
    assert [*read_builds(checkout())] == []
    assert (folder / "notes.json").read_text() == "mine"


def test_a_clock_that_was_set_back_keeps_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last build stays the last, even if the clock was set back."""
    now = time.time_ns()
    for number, moment in enumerate((now + 10**15, now, now)):
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment)
        add_build(checkout(), b"%d" % number)
    assert [*read_builds(checkout())] == [b"2", b"1", b"0"]
