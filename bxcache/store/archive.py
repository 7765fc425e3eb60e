"""A tar archive in zstd frames, written and read as a stream.

It is plain `tar.zst`: `zstd -dc FILE | tar t` reads it. Compressed files go into frames that only
store, all others into frames of zstd's default level; a sequence of frames is a valid zstd file.
Reading trusts nothing: for any input, memory stays bounded and the only error is a StoreError.
In both directions, an OSError of the archive's own stream passes through.

https://www.gnu.org/software/tar/manual/html_node/Standard.html
https://www.rfc-editor.org/rfc/rfc8878#section-3.1
"""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct

from bxcache.config.wording import name_call
from bxcache.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdCompressor
    else:
        from backports.zstd import ZstdCompressor

_CHUNK = 128 << 10  # larger buffers are slower: each needs fresh memory pages
_BLOCK = tarfile.BLOCKSIZE
_LONGEST_NAME = 99
_LATEST_TIME = 8**11 - 1  # the maximum of a header's octal field: the year 2242
_MOST_ENTRIES = 1_000_000
# The writer starts at most one frame per entry. Even an empty frame costs a reader 10 us.
_MOST_FRAMES = 2 * _MOST_ENTRIES
_MOST_PADDING = 1 << 20  # tar pads its last record (10 KiB by default) with zeros
_FIRST_FEED = 4 << 10
_LOG_WINDOW = 27  # 128 MiB, the most that the zstd tool accepts without `--long` or `--memory`
_MOST_WORKERS = 16  # each needs about 20 MB
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_HINT = "download or copy the file again, or pack the store again"
_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    **dict.fromkeys((tarfile.CHRTYPE, tarfile.BLKTYPE), "a device"),
    tarfile.DIRTYPE: "a directory",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    **dict.fromkeys((tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK), "a GNU long name"),
    **dict.fromkeys((tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE), "a pax header"),
}


class Member(Struct, frozen=True):
    """A regular file to write, from a file or from bytes; compressed bytes are only stored.

    Its name is its path in the archive: printable ASCII, separated by `/`, below 100 bytes.
    `opener` is as in the built-in `open`; `mtime` is in whole seconds since the epoch.
    """

    name: str
    size: int
    source: Path | bytes
    mtime: int = 0
    compressed: bool = False
    opener: Callable[[str, int], int] | None = None


class Entry:
    """A regular file while it is read: its path, its size in bytes, and its time in whole seconds.

    Its bytes come from the archive's stream: they can be read once, before the next entry;
    afterwards, reading raises RuntimeError.
    """

    def __init__(self, stream: _Stream, header: tarfile.TarInfo) -> None:
        self.name, self.size, self.mtime = header.name, header.size, int(header.mtime)
        self._stream = stream
        self._padding = -self.size % _BLOCK
        self._left = self.size + self._padding
        self._begun = False
        self._gone = False

    def chunks(self) -> Iterator[bytes]:
        """Its bytes in order, at most 128 KiB at a time."""
        if self._begun:
            raise RuntimeError(f"the bytes of `{self.name}` have already been read or skipped")
        self._begun = True
        return self._iterate()

    def _iterate(self) -> Iterator[bytes]:
        while self._left > self._padding:
            yield self._take(self._left - self._padding)
        if self._gone:
            raise RuntimeError(f"the rest of `{self.name}` has already been skipped")

    def _take(self, most: int) -> bytes:
        piece = self._stream.demand(most, f"in `{self.name}`")
        self._left -= len(piece)
        return piece

    def read(self, most: int) -> bytes:
        """Read all its bytes, or raise a StoreError if they are more than `most`."""
        if self.size > most:
            raise _damage(f"`{self.name}` has {self.size} bytes; at most {most} expected")
        return b"".join(self.chunks())

    def skip(self) -> None:
        """Move the stream to the next header."""
        self._begun = True
        self._gone = self._left > self._padding
        while self._left:
            self._take(self._left)


def write_archive(target: BinaryIO, members: Iterable[Member]) -> None:
    """Write members in order; the same members give the same bytes on any machine.

    That holds for one release of zstd; the number of cores does not matter. It raises a StoreError
    for a source that is missing, unreadable or not of its member's size, and for a name, a size or
    a time that an archive cannot hold.
    """
    frames = _Frames(target)
    names: set[str] = set()
    for member in members:
        _add_name(names, member.name)
        frames.write(_build_header(member), stored=member.compressed)
        _write_data(frames, member)
    frames.write(bytes(2 * _BLOCK), stored=True)
    frames.finish()


def read_archive(source: BinaryIO, check: Callable[[str, int], None]) -> Iterator[Entry]:
    """Iterate over the entries; bytes that the caller does not read are skipped.

    `check` gets each entry's name and size before its bytes, and raises to refuse it.

    Raises:
        StoreError: it is not such an archive, is damaged or truncated, continues after its end, or
            has links, directories, extensions, duplicate names or names that lead elsewhere, more
            than 1,000,000 entries, or windows above 128 MiB.
    """
    stream = _Stream(_decompress(source))
    names: set[str] = set()
    while (header := _read_header(stream)) is not None:
        _add_name(names, header.name, _HINT)
        check(header.name, header.size)
        entry = Entry(stream, header)
        yield entry
        entry.skip()
    _read_end(stream)


def _damage(message: str) -> StoreError:
    return StoreError(message, hint=_HINT)


def _load_zstd() -> ModuleType:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415  # only for packs
    else:
        from backports import zstd  # noqa: PLC0415  # only for packs
    return zstd


def _add_name(seen: set[str], name: str, hint: str = "") -> None:
    """Add a name of an archive, or raise a StoreError if it does not belong there."""
    if problem := _find_problem(seen, name):
        raise StoreError(problem, hint=hint)
    seen.add(name)


def _find_problem(seen: set[str], name: str) -> str | None:
    if not (name.isascii() and name.isprintable()) or "\\" in name:
        return f"the name {name!a} has characters that are not allowed in an archive"
    if len(name) > _LONGEST_NAME:
        return f"the name `{name}` is longer than {_LONGEST_NAME} bytes"
    if {"", ".", ".."} & set(name.split("/")):
        return f"the name `{name}` is not a plain path inside the archive"
    if name in seen:
        return f"`{name}` is in the archive twice"
    if len(seen) == _MOST_ENTRIES:
        return f"the archive has more than {_MOST_ENTRIES:,} entries"
    return None


class _Frames:
    """A sequence of zstd frames of two kinds: stored and compressed."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._kinds: dict[bool, ZstdCompressor] = {}
        self._current: ZstdCompressor | None = None

    def write(self, data: bytes | memoryview, *, stored: bool) -> None:
        if stored not in self._kinds:
            self._kinds[stored] = _make_compressor(stored=stored)
        compressor = self._kinds[stored]
        if compressor is not self._current:
            self.finish()
            self._current = compressor
        self._target.write(compressor.compress(data))

    def finish(self) -> None:
        if self._current is not None:
            self._target.write(self._current.flush())


def _make_compressor(*, stored: bool) -> ZstdCompressor:
    zstd = _load_zstd()
    key = zstd.CompressionParameter
    options = {key.checksum_flag: 1}
    if stored:
        # The lowest level hardly searches a block before it writes it raw.
        options[key.compression_level] = key.compression_level.bounds()[0]
    else:
        # The output is the same for any number of workers, but differs for none, the only choice
        # of a zstd built without threads.
        most = key.nb_workers.bounds()[1]
        options[key.nb_workers] = min(os.cpu_count() or 1, _MOST_WORKERS, most)
    compressor: ZstdCompressor = zstd.ZstdCompressor(options=options)
    return compressor


def _build_header(member: Member) -> bytes:
    if member.size < 0 or not 0 <= member.mtime <= _LATEST_TIME:
        raise StoreError(f"`{member.name}` has a size or time that an archive cannot hold")
    info = tarfile.TarInfo(member.name)
    info.size, info.mtime, info.mode = member.size, member.mtime, 0o444
    return info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def _write_data(frames: _Frames, member: Member) -> None:
    written = 0
    for data in _read_source(member):
        written += len(data)
        if written > member.size:
            break
        frames.write(data, stored=member.compressed)
    if written != member.size:
        which = member.source if isinstance(member.source, Path) else member.name
        count = "more" if written > member.size else f"only {written}"
        raise StoreError(
            f"`{which}` should have {member.size} bytes but has {count}",
            hint=f"it changed or is damaged; try again, or run `{name_call('store repair')}`",
        )
    frames.write(bytes(-member.size % _BLOCK), stored=member.compressed)


def _read_source(member: Member) -> Iterator[bytes | memoryview]:
    if isinstance(member.source, bytes):
        yield member.source
        return
    buffer = memoryview(bytearray(_CHUNK))
    try:
        with open(member.source, "rb", buffering=0, opener=member.opener) as stream:
            while count := stream.readinto(buffer):
                yield buffer[:count]
    except OSError as error:
        raise StoreError(
            f"`{member.source}` cannot be added to the archive: {error.strerror or error}",
            hint="it was removed meanwhile, or you lack permission to read it",
        ) from error


class _Stream:
    """A stream of byte pieces, read in other sizes; after an error it is empty."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._data = b""
        self._at = 0

    def take(self, most: int) -> bytes:
        """Up to `most` bytes; empty at the end."""
        if self._at == len(self._data):
            self._data, self._at = next(self._pieces, b""), 0
        piece = self._data[self._at : self._at + most]
        self._at += len(piece)
        return piece

    def put_back(self, count: int) -> None:
        self._at -= count  # of the last piece

    def demand(self, most: int, where: str) -> bytes:
        """Up to `most` bytes, at least one."""
        if piece := self.take(most):
            return piece
        raise _damage(f"the archive is truncated {where}")

    def demand_block(self, where: str) -> bytes:
        block = b""
        while len(block) < _BLOCK:
            block += self.demand(_BLOCK - len(block), where)
        return block


def _decompress(source: BinaryIO) -> Iterator[bytes]:
    feed = _Stream(iter(lambda: source.read(_CHUNK), b""))
    for number, first in enumerate(iter(lambda: feed.take(_FIRST_FEED), b"")):
        if number == _MOST_FRAMES:
            raise _damage(f"the archive has more than {_MOST_FRAMES:,} zstd frames")
        try:
            yield from _decompress_frame(feed, first)
        except _load_zstd().ZstdError as error:
            if number == 0 and not first.startswith(_ZSTD_MAGIC):
                raise _damage("not an archive: it does not start with a zstd frame") from error
            raise _damage(f"the archive is damaged: {error}") from error


def _decompress_frame(feed: _Stream, piece: bytes) -> Iterator[bytes]:
    zstd = _load_zstd()
    decoder = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: _LOG_WINDOW}
    )
    # Data after a frame is copied again, so start with small pieces.
    step = _FIRST_FEED
    while True:
        if data := decoder.decompress(piece, _CHUNK):
            yield data
        if decoder.eof:
            feed.put_back(len(decoder.unused_data))
            return
        step = min(2 * step, _CHUNK)
        piece = feed.demand(step, "inside its frames") if decoder.needs_input else b""


def _read_header(stream: _Stream) -> tarfile.TarInfo | None:
    block = stream.demand_block("before its end marker")
    if not any(block):
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise _damage(f"the archive is damaged: an entry's header is invalid: {error}") from error
    if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        kind = _KINDS.get(header.type, f"of the unknown kind {header.type!r}")
        raise _damage(f"{header.name!a} is {kind}, but only regular files are allowed")
    if header.size < 0 or not 0 <= header.mtime <= _LATEST_TIME:
        raise _damage(f"{header.name!a} has an impossible size or time")
    return header


def _read_end(stream: _Stream) -> None:
    if any(stream.demand_block("in its end marker")):
        raise _damage("the archive is damaged: its end marker is incomplete")
    padding = 0
    while piece := stream.take(_CHUNK):
        padding += len(piece)
        if piece.count(0) != len(piece) or padding > _MOST_PADDING:
            raise _damage("the archive continues after its end marker")
