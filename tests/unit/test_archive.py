"""Archives, checked against the standard library's tarfile and zstd in both directions."""

from __future__ import annotations

import hashlib
import io
import os
import random
import sys
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bxcache.errors import StoreError
from bxcache.store import archive
from bxcache.store.archive import Entry, Member, read_archive, write_archive

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

KIB, MIB = 1 << 10, 1 << 20
BLOCK = 512
END = bytes(2 * BLOCK)
NOISE = random.Random(1).randbytes(3 * MIB)  # zstd cannot compress it
TEXT = b"".join(b"%d bottles, " % (n * n) for n in range(200_000))

NAMES = st.from_regex(r"[a-z0-9 ._:@+-]{1,20}(/[a-z0-9_]{1,20}){0,3}", fullmatch=True).filter(
    lambda name: not {"", ".", ".."} & set(name.split("/"))
)
SIZES = st.sampled_from([0, 1, 511, 512, 513, 128 * KIB, MIB - 1, MIB, MIB + 1, 2 * MIB + 512])
SMALL_SIZES = st.sampled_from([0, 1, 511, 512, 513, 5000])


def member_lists(sizes: st.SearchStrategy[int]) -> st.SearchStrategy[list[Member]]:
    def make(name: str, size: int, start: int, mtime: int, *, compressed: bool) -> Member:
        pool = NOISE if compressed else TEXT
        return Member(name, size, pool[start : start + size], mtime, compressed)

    members = st.builds(
        make, NAMES, sizes, st.integers(0, 900), st.integers(0, 8**11 - 1), compressed=st.booleans()
    )
    return st.lists(members, max_size=6, unique_by=lambda member: member.name)


def pack(*members: Member) -> bytes:
    target = io.BytesIO()
    write_archive(target, members)
    return target.getvalue()


def member(name: str, data: bytes = b"data", mtime: int = 0, *, compressed: bool = False) -> Member:
    return Member(name, len(data), data, mtime, compressed)


def accept(_name: str, _size: int) -> None:
    """Accept every entry."""


def unpack(data: bytes) -> list[tuple[str, int, int, bytes]]:
    return [
        (entry.name, entry.size, entry.mtime, b"".join(entry.chunks()))
        for entry in read_archive(io.BytesIO(data), accept)
    ]


def expected(members: list[Member]) -> list[tuple[str, int, int, bytes]]:
    return [(m.name, m.size, m.mtime, m.source) for m in members if isinstance(m.source, bytes)]


def tar_block(name: str = "blob", **fields: object) -> bytes:
    """Return a header written by the standard library."""
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def sealed(block: bytes) -> bytes:
    """Return a header with a corrected checksum."""
    total = sum(block[:148]) + sum(block[156:]) + 8 * ord(" ")
    return block[:148] + b"%06o\0 " % total + block[156:]


def patched(at: int, data: bytes) -> bytes:
    """Return a header with changed bytes and a corrected checksum."""
    block = tar_block()
    return sealed(block[:at] + data + block[at + len(data) :])


class Trickle(io.RawIOBase):
    """A stream that returns a few bytes at a time."""

    def __init__(self, data: bytes, most: int = MIB) -> None:
        self.left = io.BytesIO(data)
        self.most = most

    def read(self, size: int = -1) -> bytes:
        return self.left.read(min(size, self.most))


# Round trips


@settings(max_examples=40)
@given(member_lists(SIZES))
def test_written_archives_can_be_read(members: list[Member]) -> None:
    """Names, sizes, times and bytes are read back in order, for any sizes."""
    assert unpack(pack(*members)) == expected(members)


@settings(max_examples=40)
@given(member_lists(SIZES))
def test_tar_and_zstd_read_written_archives(members: list[Member]) -> None:
    """An archive is a plain `tar.zst` of read-only files without an owner."""
    data = io.BytesIO(pack(*members))
    with zstd.open(data) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
        found = []
        for info in tar:
            assert (info.type, info.mode, info.uid, info.gid) == (tarfile.REGTYPE, 0o444, 0, 0)
            assert (info.uname, info.gname, info.pax_headers) == ("", "", {})
            content = tar.extractfile(info)
            assert content is not None
            found.append((info.name, info.size, info.mtime, content.read()))
    assert found == expected(members)


@pytest.mark.parametrize("blocking", [1, 20, 2048])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_archives_of_tar_and_zstd_can_be_read(form: int, blocking: int) -> None:
    """An archive packed by hand, with tar's padding, is readable."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=form) as tar:
        info = tarfile.TarInfo("blobs/one")
        info.size, info.mtime, info.uname = 4, 7, "jürgen"
        tar.addfile(info, io.BytesIO(b"data"))
    tarred = plain.getvalue().rstrip(b"\0")
    whole = tarred + bytes(-len(tarred) % (blocking * BLOCK)) + END
    assert unpack(zstd.compress(whole)) == [("blobs/one", 4, 7, b"data")]


@settings(max_examples=20)
@given(member_lists(SMALL_SIZES), st.integers(1, 700), st.integers(1, 3000))
def test_the_size_of_reads_and_frames_does_not_matter(
    members: list[Member], step: int, cut: int
) -> None:
    """A source may return few bytes at a time, in any frames, including skippable ones."""
    plain = zstd.decompress(pack(*members))
    note = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
    pieces = [plain[at : at + cut] for at in range(0, len(plain), cut)]
    data = note.join(zstd.compress(piece) for piece in [b"", *pieces])
    assert unpack(data) == expected(members)
    source = Trickle(data, step)
    assert [entry.name for entry in read_archive(source, accept)] == [m.name for m in members]  # type: ignore[arg-type]


def test_sources_are_files_or_bytes(tmp_path: Path) -> None:
    """A file and its bytes give the same archive."""
    path = tmp_path / "blob"
    path.write_bytes(TEXT)
    from_bytes = pack(member("blob", TEXT, mtime=3))
    assert pack(Member("blob", len(TEXT), path, 3)) == from_bytes
    assert unpack(from_bytes) == [("blob", len(TEXT), 3, TEXT)]


def test_sizes_above_8_gib_are_read_and_written() -> None:
    """Sizes above 8 GiB, which do not fit into octal digits, are read and written."""
    size = 10 << 30
    header = archive._build_header(Member("big", size, b""))
    assert tarfile.TarInfo.frombuf(header, "ascii", "strict").size == size
    with pytest.raises(StoreError, match=r"truncated in `big`"):
        unpack(zstd.compress(header + b"data"))
    assert first(zstd.compress(header)).size == size


def first(data: bytes) -> Entry:
    return next(read_archive(io.BytesIO(data), accept))


# What is written


@pytest.mark.parametrize("cores", [None, 1, 2, 4, 300])
def test_the_number_of_cores_does_not_change_the_bytes(
    cores: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines with different numbers of cores write the same bytes, also in a second run."""
    text = TEXT * 12  # several zstd jobs
    members = [
        member("a", text[: 9 * MIB]),
        member("b", NOISE[:KIB], compressed=True),
        member("c", text[MIB:]),
    ]
    before = hashlib.sha256(pack(*members)).digest()
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert hashlib.sha256(pack(*members)).digest() == before


def test_compressed_members_are_stored_as_they_are() -> None:
    """Compressed members are stored, even if zstd could shrink them, with 0.1 % overhead."""
    size = len(NOISE)
    data = pack(member("blob", NOISE, compressed=True))
    assert size < len(data) < size * 1.001 + KIB
    block = 128 * KIB  # zstd's block size
    for at in range(0, size, block):
        assert NOISE[at + KIB : at + block - KIB] in data
    assert len(pack(member("text", TEXT, compressed=True))) > len(TEXT)


def test_other_members_are_compressed() -> None:
    """Other members shrink about as much as with zstd's default."""
    assert len(pack(member("text", TEXT))) < len(zstd.compress(TEXT)) * 1.05


def test_frames_change_with_the_kind_only() -> None:
    """Consecutive members of one kind share a frame, and each frame has a checksum."""
    kinds = [True, True, False, False, False, True]
    data = pack(*(member(f"{n}", NOISE[:900], compressed=k) for n, k in enumerate(kinds)))
    frames = []
    while data:
        decoder = zstd.ZstdDecompressor()
        frames.append(decoder.decompress(data))
        assert data[4] & 4, "the flag of the checksum"
        data = decoder.unused_data
    assert [len(frame) for frame in frames] == [2 * 1536, 3 * 1536, 1536 + len(END)]


def test_an_empty_archive_is_valid() -> None:
    """An empty archive has an end marker and no entry."""
    assert zstd.decompress(pack()) == END
    assert unpack(pack()) == []


@pytest.mark.parametrize("size", [0, 3, 5, 2 * MIB])
@pytest.mark.parametrize("kind", ["file", "bytes"])
def test_a_source_of_another_size_is_refused(tmp_path: Path, kind: str, size: int) -> None:
    """A source that differs from its member's size raises an error that names the source."""
    path = tmp_path / "blob"
    path.write_bytes(b"data")
    source = path if kind == "file" else b"data"
    with pytest.raises(StoreError, match=rf"{'/' if kind == 'file' else '`'}blob` should have"):
        pack(Member("blob", size, source))


def test_a_source_without_an_end_is_refused() -> None:
    """A source is not read beyond its size and one chunk."""
    with pytest.raises(StoreError, match="`/dev/zero` should have 4 bytes but has more"):
        pack(Member("blob", 4, Path("/dev/zero")))


def test_a_source_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """The error for an unreadable source includes the system's message."""
    with pytest.raises(StoreError, match=r"blob` cannot be added .*: No such file") as caught:
        pack(Member("blob", 4, tmp_path / "blob"))
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    with pytest.raises(StoreError, match="Is a directory"):
        pack(Member("blob", 4, tmp_path))


@pytest.mark.parametrize("fields", [{"mtime": -1}, {"mtime": 8**11}, {"size": -1}])
def test_a_value_that_does_not_fit_a_header_is_refused(fields: dict[str, int]) -> None:
    """A size or time that a header cannot hold is refused, since readers would disagree."""
    values: dict[str, Any] = {"name": "blob", "size": 4, "source": b"data", **fields}
    with pytest.raises(StoreError, match="`blob` has a size or time"):
        pack(Member(**values))


def test_an_os_error_passes_through() -> None:
    """An OSError of the target or source reaches the caller unchanged."""

    class Broken(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

        def read(self, _: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="No space left"):
        write_archive(Broken(), [member("blob")])
    with pytest.raises(OSError, match="Input/output"):
        next(read_archive(Broken(), accept))


# Names

BAD_NAMES = [
    "", "/", "/etc/passwd", "..", "../up", "a/../b", "a/..", ".", "./a", "a/./b", "a//b", "a/",
    "a\\b", "a\nb", "a\x1b[31mb", "a\x7f", "ä", "名", "x" * 100,
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_an_invalid_name_is_refused(name: str) -> None:
    """Writer and reader refuse a name that is not a plain path, before any check sees it."""
    asked: list[str] = []
    with pytest.raises(StoreError):
        pack(member(name))
    block = tar_block()
    header = sealed(name.encode().ljust(100, b"\0")[:100] + block[100:])
    with pytest.raises(StoreError):
        list(read_archive(io.BytesIO(zstd.compress(header + END)), lambda n, _: asked.append(n)))
    assert asked == []


def test_a_long_name_in_two_parts_is_refused() -> None:
    """A long name split over ustar's two fields is refused."""
    info = tarfile.TarInfo("d" * 90 + "/" + "f" * 90)
    with pytest.raises(StoreError, match="longer than 99 bytes"):
        unpack(zstd.compress(info.tobuf(tarfile.USTAR_FORMAT) + END))


def test_a_duplicate_name_is_refused() -> None:
    """A duplicate name is refused, since readers would disagree about it."""
    with pytest.raises(StoreError, match="`blob` is in the archive twice"):
        pack(member("blob"), member("blob"))
    with pytest.raises(StoreError, match="`blob` is in the archive twice") as caught:
        unpack(zstd.compress(2 * tar_block() + END))
    assert caught.value.hint


def test_entries_and_frames_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of entries and frames is limited, since a small file can contain too many."""
    data = pack(*(member(f"{n}") for n in range(5)))
    monkeypatch.setattr(archive, "_MOST_ENTRIES", 5)
    assert len(unpack(data)) == 5
    monkeypatch.setattr(archive, "_MOST_ENTRIES", 4)
    with pytest.raises(StoreError, match="more than 4 entries"):
        unpack(data)
    monkeypatch.setattr(archive, "_MOST_FRAMES", 30)
    empty = zstd.compress(b"")
    assert unpack(28 * empty + pack(member("blob")))
    with pytest.raises(StoreError, match="more than 30 zstd frames"):
        unpack(29 * empty + pack(member("blob")))


# What a reader refuses


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.DIRTYPE, "a directory"),
        (tarfile.FIFOTYPE, "a named pipe"),
        (tarfile.CONTTYPE, "of the unknown kind b'7'"),
        (tarfile.GNUTYPE_LONGNAME, "a GNU long name"),
        (tarfile.GNUTYPE_LONGLINK, "a GNU long name"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file"),
        (tarfile.XHDTYPE, "a pax header"),
        (tarfile.XGLTYPE, "a pax header"),
        (tarfile.SOLARIS_XHDTYPE, "a pax header"),
        (b"Z", "of the unknown kind b'Z'"),
    ],
)
def test_only_regular_files_are_read(kind: bytes, word: str) -> None:
    """Anything but a regular file is refused, with its kind, before any check sees its name."""
    data = zstd.compress(tar_block("odd", type=kind, linkname="/etc/passwd") + END)
    with pytest.raises(StoreError) as caught:
        list(read_archive(io.BytesIO(data), lambda *_: pytest.fail("it was asked about")))
    assert caught.value.message.startswith(f"'odd' is {word}, but only")


def test_a_regular_file_of_the_oldest_tar_is_read() -> None:
    """The type NUL of old tars is a regular file, or a directory if its name ends in a slash."""
    block = sealed(tar_block()[:156] + b"\0" + tar_block()[157:])
    assert unpack(zstd.compress(block + END)) == [("blob", 0, 0, b"")]
    slash = sealed(b"blob/" + block[5:])
    with pytest.raises(StoreError, match="'blob' is a directory"):
        unpack(zstd.compress(slash + END))


@pytest.mark.parametrize(
    ("block", "word"),
    [
        (tar_block()[:-1] + b"x", "bad checksum"),
        (NOISE[:BLOCK], "header is invalid"),
        (patched(124, b"-0000000001\0"), "impossible size"),
        (patched(124, b"\xff" * 12), "impossible size"),
        (patched(124, b"9" * 12), "header is invalid"),
        (patched(124, b"\xc3" * 12), "header is invalid"),
        (patched(136, b"-0000000001\0"), "impossible size or time"),
        (patched(136, b"\x80" + b"\xff" * 11), "impossible size or time"),
        (patched(0, b"\xff\xfe"), "header is invalid"),
        (patched(265, b"\xff"), "header is invalid"),
    ],
)
def test_a_damaged_header_is_refused(block: bytes, word: str) -> None:
    """A damaged header is refused with the reason and, if there is one, the cause."""
    with pytest.raises(StoreError, match=word) as caught:
        unpack(zstd.compress(block + END))
    assert (caught.value.__cause__ is None) == ("impossible" in word)


WHOLE = tar_block(size=4) + b"data" + bytes(508)


@pytest.mark.parametrize(
    ("plain", "word"),
    [
        (b"", "truncated before its end marker"),
        (WHOLE[:100], "truncated before its end marker"),
        (WHOLE[:512], "truncated in `blob`"),
        (WHOLE[:514], "truncated in `blob`"),
        (WHOLE[:-1], "truncated in `blob`"),
        (WHOLE, "truncated before its end marker"),
        (WHOLE + bytes(511), "truncated before its end marker"),
        (WHOLE + bytes(512), "truncated in its end marker"),
        (WHOLE + bytes(512) + WHOLE, "its end marker is incomplete"),
        (WHOLE + END + b"x", "continues after its end"),
        (WHOLE + END + bytes(9 * KIB) + WHOLE, "continues after its end"),
        (WHOLE + END + bytes(MIB + 1), "continues after its end"),
    ],
)
def test_an_archive_with_a_wrong_end_is_refused(plain: bytes, word: str) -> None:
    """An archive that ends early, or continues after its end, is refused."""
    with pytest.raises(StoreError, match=word) as caught:
        unpack(zstd.compress(plain))
    assert caught.value.hint


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 10, 300, -1, -4, -5, -20])
def test_a_file_that_is_cut_short_is_refused(cut: int) -> None:
    """A truncated archive is refused wherever it ends, even within the last checksum."""
    data = pack(member("noise", NOISE[:KIB], compressed=True), member("text", TEXT[:KIB]))
    with pytest.raises(StoreError, match="truncated"):
        unpack(data[:cut])


def test_anything_but_zstd_is_refused() -> None:
    """A plain tar is refused, and so is anything but a frame after a valid frame."""
    for data in (zstd.decompress(pack(member("blob"))), b"no", b"\x1f\x8b" + NOISE[:KIB]):
        with pytest.raises(StoreError, match="it does not start with a zstd frame") as caught:
            unpack(data)
        assert isinstance(caught.value.__cause__, zstd.ZstdError)
    with pytest.raises(StoreError, match="the archive is damaged") as caught:
        unpack(pack(member("blob")) + bytes(100))
    assert isinstance(caught.value.__cause__, zstd.ZstdError)


def test_a_flipped_bit_in_stored_bytes_is_noticed() -> None:
    """A frame's checksum detects a flipped bit in stored bytes."""
    data = bytearray(pack(member("blob", NOISE, compressed=True)))
    data[2 * MIB] ^= 1
    with pytest.raises(StoreError, match="checksum"):
        unpack(bytes(data))


@pytest.mark.parametrize(("log", "fits"), [(27, True), (28, False), (31, False)])
def test_the_window_of_a_frame_is_limited(log: int, *, fits: bool) -> None:
    """Windows up to 128 MiB are accepted, as by the zstd tool; the frame follows RFC 8878."""
    raw_block = (len(END) << 3 | 1).to_bytes(3, "little")
    frame = zstd.compress(b"")[:4] + bytes([0, (log - 10) << 3]) + raw_block + END
    if fits:
        assert unpack(frame) == []
        return
    with pytest.raises(StoreError, match="too much memory"):
        unpack(frame)


# What a reader holds


def zeros(size: int) -> bytes:
    """Return an archive with one member of zeros, a few kB long."""
    encoder = zstd.ZstdCompressor()
    pieces = [encoder.compress(tar_block("zeros", size=size))]
    pieces += [encoder.compress(bytes(MIB)) for _ in range(size // MIB)]
    pieces += [encoder.compress(tar_block("last", size=4) + b"last" + bytes(508) + END)]
    return b"".join([*pieces, encoder.flush()])


def peak_of(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_is_skipped_in_little_memory() -> None:
    """Skipping or reading a bomb needs little memory, in chunks of at most 128 KiB."""
    data = zeros(200 * MIB)
    assert len(data) < 100 * KIB

    def skip() -> None:
        names = [entry.name for entry in read_archive(io.BytesIO(data), accept)]
        assert names == ["zeros", "last"]

    assert peak_of(skip) < 8 * MIB
    assert peak_of(lambda: [max(map(len, read_chunks(data)))]) < 8 * MIB
    assert max(map(len, read_chunks(data))) <= 128 * KIB


def read_chunks(data: bytes) -> Iterator[bytes]:
    for entry in read_archive(io.BytesIO(data), accept):
        yield from entry.chunks()


def test_a_size_is_refused_before_the_bytes_are_read() -> None:
    """A check refuses a size before any bytes are read, so even missing terabytes cost nothing."""

    def check(name: str, size: int) -> None:
        if size > 100:
            raise StoreError(f"`{name}` is too large")

    size = 8 << 40
    data = zstd.compress(tar_block("small") + tar_block("zeros", size=size)) + NOISE
    source = io.BytesIO(data)
    entries = read_archive(source, check)
    assert next(entries).name == "small"
    with pytest.raises(StoreError, match="`zeros` is too large"):
        next(entries)
    assert source.tell() <= MIB


def test_files_are_written_in_little_memory(tmp_path: Path) -> None:
    """Writing needs little memory for any size; this file has 300 MiB but uses no disk."""
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(300 * MIB)
    for compressed in (True, False):
        one = Member("sparse", 300 * MIB, path, compressed=compressed)
        assert peak_of(lambda one=one: pack(one)) < 8 * MIB  # type: ignore[misc]


def test_an_entry_is_read_whole_up_to_a_limit() -> None:
    """`read` enforces its own limit, regardless of the caller's check."""
    data = pack(member("blob", b"12345"), member("next"))
    assert first(data).read(5) == b"12345"
    assert first(data).read(6) == b"12345"
    entries = read_archive(io.BytesIO(data), accept)
    with pytest.raises(StoreError, match="`blob` has 5 bytes; at most 4"):
        next(entries).read(4)
    assert next(entries).read(4) == b"data"


def test_the_unread_rest_of_an_entry_is_skipped() -> None:
    """The unread rest of an entry is skipped, whether it is all, a part or only the padding."""
    data = pack(*(member(f"{n}", TEXT[: n * MIB // 2]) for n in range(5)), member("last"))
    for taken in range(4):
        entries = read_archive(io.BytesIO(data), accept)
        for entry in entries:
            for _, chunk in zip(range(taken), entry.chunks(), strict=False):
                assert chunk
            if entry.name == "last":
                break
        assert next(entries, None) is None


def test_reading_an_entry_twice_or_too_late_is_an_error() -> None:
    """Reading an entry twice or too late raises RuntimeError instead of returning no bytes."""
    data = pack(member("blob", TEXT), member("empty", b""))
    for entry in list(read_archive(io.BytesIO(data), accept)):
        with pytest.raises(RuntimeError, match="already been read or skipped"):
            entry.read(1 << 30)
    entry = first(data)
    entry.read(len(TEXT))
    with pytest.raises(RuntimeError, match="`blob` have already been read"):
        entry.chunks()
    for begun in (False, True):
        entries = read_archive(io.BytesIO(data), accept)
        chunks = next(entries).chunks()
        if begun:
            next(chunks)
        next(entries)
        with pytest.raises(RuntimeError, match="rest of `blob`"):
            list(chunks)


def test_reading_stops_after_an_error() -> None:
    """After an error, a caller that continues gets no more bytes."""
    data = pack(member("blob", NOISE, compressed=True))
    entry = first(data[: 2 * MIB] + data)
    chunks = entry.chunks()
    with pytest.raises(StoreError):
        list(chunks)
    with pytest.raises(StoreError, match="truncated in `blob`"):
        list(entry._iterate())


# Any bytes at all


def survive(data: bytes) -> None:
    """Read everything; only a StoreError may be raised."""
    try:
        entries = unpack(data)
    except StoreError:
        return
    for name, size, mtime, content in entries:
        assert not {"", ".", ".."} & set(name.split("/"))
        assert len(content) == size
        assert 0 <= mtime < 8**11


SEED = [
    member("index.json", b'{"manifests":[]}', mtime=1_700_000_000),
    member("blobs/sha256/" + 64 * "a", NOISE[:700], compressed=True),
    member("empty", b""),
    member("blobs/sha256/" + 64 * "b", TEXT[:3000]),
]
PACKED = pack(*SEED)
PLAIN = zstd.decompress(PACKED)
OTHER = zstd.decompress(pack(member("other", b"x" * 600), member("empty", b"")))


def mutations(*originals: bytes) -> st.SearchStrategy[bytes]:
    """Draw one of the texts with a few random edits."""

    def edit(data: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
        for kind, where, what in edits:
            at = where % (len(data) + 1)
            head, tail = data[:at], data[at:]
            if kind == "cut":
                data = head
            elif kind == "insert":
                data = head + what + tail
            elif kind == "write":
                data = head + what + tail[len(what) :]
            elif kind == "drop":
                data = head + tail[len(what) :]
            else:
                data = head + data[-at:]
        return data

    kinds = st.sampled_from(["write", "write", "insert", "drop", "cut", "splice"])
    edits = st.tuples(kinds, st.integers(0, 1 << 14), st.binary(min_size=1, max_size=24))
    return st.builds(edit, st.sampled_from(originals), st.lists(edits, min_size=1, max_size=4))


def resealed(plain: bytes) -> bytes:
    """Return the text with a corrected checksum in each block that looks like a header."""
    blocks = [plain[at : at + BLOCK] for at in range(0, len(plain), BLOCK)]
    return b"".join(
        sealed(block) if len(block) == BLOCK and b"ustar" in block else block for block in blocks
    )


@settings(max_examples=300)
@given(st.binary(max_size=400))
@example(b"")
@example(b"\x28\xb5\x2f\xfd")
@example(b"\x50\x2a\x4d\x18\xff\xff\xff\xff")
def test_any_bytes_are_survived(data: bytes) -> None:
    """Any bytes, even behind a frame's magic number, are read or raise a StoreError."""
    survive(data)
    survive(b"\x28\xb5\x2f\xfd" + data)


@settings(max_examples=500)
@given(mutations(PACKED, PACKED + zstd.compress(OTHER)))
def test_a_damaged_file_is_survived(data: bytes) -> None:
    """A damaged file is read or raises a StoreError, with and without zstd's checksums."""
    survive(data)


@settings(max_examples=500)
@given(mutations(PLAIN, OTHER + PLAIN), st.booleans())
def test_a_damaged_tar_is_survived(plain: bytes, seal: bool) -> None:  # noqa: FBT001
    """A damaged tar that no checksum catches is read or raises a StoreError."""
    survive(zstd.compress(resealed(plain) if seal else plain))


@settings(max_examples=500)
@given(st.integers(0, BLOCK - 1), st.binary(min_size=1, max_size=BLOCK))
@example(156, b"5")
@example(124, b"\x80" + b"\xff" * 11)
@example(124, b"1_0\0")
@example(345, b"../../etc")
def test_any_header_is_survived(at: int, data: bytes) -> None:
    """Any header with a valid checksum is read or refused."""
    survive(zstd.compress(patched(at, data)[:BLOCK] + END))
