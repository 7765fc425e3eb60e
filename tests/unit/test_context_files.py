"""The states of a context's files, and which of them are read again."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from pathlib import Path

import pytest

from bxcache.buildx.context import files
from bxcache.buildx.context.files import UNKNOWN, ContextReader
from bxcache.buildx.context.ignore import IgnoreRules
from bxcache.buildx.context.known_hashes import KnownHashes
from bxcache.buildx.context.wanted import Wanted

ALL = Wanted([()])
OLD = time.time() - 60


def read(folder: Path, ignored: str = "", known: Path | None = None) -> dict[str, str]:
    """Read a context."""
    hashes = KnownHashes(known)
    found = ContextReader(str(folder), IgnoreRules(ignored), hashes).read(ALL)
    hashes.keep()
    assert found is not None
    return found


def hash_text(text: str) -> str:
    """Return what the state of a file contains of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Make a context with a file and a folder, whose times are past."""
    folder = tmp_path / "context"
    (folder / "src").mkdir(parents=True, mode=0o755)
    for name in ("one", "src/two"):
        (folder / name).write_text(name)
        (folder / name).chmod(0o640)
        os.utime(folder / name, (OLD, OLD))
    (folder / "src").chmod(0o755)
    return folder


def test_a_state_has_what_buildkit_sees(context: Path) -> None:
    (context / "link").symlink_to("src/two")
    (context / "empty").mkdir(mode=0o700)
    (context / "empty").chmod(0o700)
    os.mkfifo(context / "pipe", 0o600)
    assert read(context) == {
        "empty": "d700",
        "link": "l src/two",
        "one": f"f640 {hash_text('one')}",
        "pipe": "o600 0",
        "src": "d755",
        "src/two": f"f640 {hash_text('src/two')}",
    }


def test_times_and_owners_do_not_count(context: Path) -> None:
    before = read(context)
    for path in context.rglob("*"):
        os.utime(path, (1, 1))
        os.chown(path, 1000, 1000)
    assert read(context) == before


@pytest.mark.parametrize(("name", "counts"), [("user.note", True), ("security.selinux", False)])
def test_some_extended_attributes_count(context: Path, name: str, *, counts: bool) -> None:
    before = read(context)
    os.setxattr(context / "one", name, b"value")
    assert (read(context) != before) == counts


def test_a_socket_is_not_sent(context: Path) -> None:
    before = read(context)
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(str(context / "socket"))
        assert read(context) == before


def test_ignored_files_are_not_read(context: Path) -> None:
    assert [*read(context, "src")] == ["one"]
    assert [*read(context, "*\n!src/two")] == ["src", "src/two"]
    assert [*read(context, "src/*")] == ["one", "src"]
    assert read(context, "*") == {}


def test_a_name_that_is_not_text_is_no_error(context: Path, tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(context) + b"/\xff"))).write_text("x")
    assert len(read(context, known=tmp_path / "known")) == 4
    assert len(read(context, known=tmp_path / "known")) == 4


def test_an_unreadable_file_is_unknown(context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise PermissionError(13, "no")

    monkeypatch.setattr(files, "hash_file", refuse)
    assert read(context)["one"] == UNKNOWN


def test_a_file_that_changes_meanwhile_is_unknown(context: Path) -> None:
    before = (context / "one").stat()
    (context / "one").write_text("longer than before")
    assert files.hash_file(str(context / "one"), before) == UNKNOWN


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the names of the files that are read."""
    names: list[str] = []
    own = files.hash_file

    def note(path: str, before: os.stat_result) -> str:
        names.append(Path(path).name)
        return own(path, before)

    monkeypatch.setattr(files, "hash_file", note)
    return names


@pytest.fixture
def _long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files be older than they are: the kernel sets the times of their inodes."""
    later = time.time_ns() + 60_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)


@pytest.mark.usefixtures("_long_ago")
def test_an_unchanged_file_is_not_read_again(
    context: Path, tmp_path: Path, opened: list[str]
) -> None:
    known = tmp_path / "folder" / "known"
    first = read(context, known=known)
    assert sorted(opened) == ["one", "two"]
    opened.clear()
    assert read(context, known=known) == first
    assert opened == []
    (context / "one").chmod(0o600)
    assert read(context, known=known)["one"] == f"f600 {hash_text('one')}"
    (context / "one").write_text("two")
    assert read(context, known=known)["one"] == f"f600 {hash_text('two')}"
    known.write_text("damaged")
    opened.clear()
    read(context, known=known)
    assert sorted(opened) == ["one", "two"]


def test_a_file_that_was_just_written_is_read_again(
    context: Path, tmp_path: Path, opened: list[str]
) -> None:
    """It may be written once more within the same tick of the clock."""
    (context / "one").write_text("new")
    for _ in range(2):
        read(context, known=tmp_path / "known")
    assert opened.count("one") == 2


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "loop", "src"])
def test_a_link_that_is_named_is_followed_within_the_context(context: Path, target: str) -> None:
    (context / "loop").symlink_to("loop")
    (context / "link").symlink_to(target)
    reader = ContextReader(str(context), IgnoreRules(""), KnownHashes(None))
    found = reader.read(Wanted.of_paths(["link"]))
    assert found is not None
    assert found["link"] == f"l {target}"
    assert ("src/two" in found) == (target == "src")


def test_no_hashes_are_kept_in_the_context(context: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would change with each build, and so would what `COPY . .` copies."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(context))
    known = KnownHashes.of_context(context)
    ContextReader(str(context), IgnoreRules(""), known).read(ALL)
    known.keep()
    assert {path.name for path in context.iterdir()} == {"one", "src"}


def test_it_stops_when_told_to(context: Path) -> None:
    reader = ContextReader(str(context), IgnoreRules(""), KnownHashes(None), lambda: False)
    assert reader.read(ALL) is None
