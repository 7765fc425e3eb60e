"""Runs a process that is killed, or finds the disk full, at its n-th call that changes files."""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from tests.support.layouts import REF_NAME, digest_of

How = Literal["killed", "full", "traced"]

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
GROWING = frozenset({"open", "write", "os.fsync", "os.link", "os.mkdir", "os.rename"})
"""What a full disk can refuse."""
_CHANGING = frozenset({*GROWING, "os.remove", "os.rmdir", "os.chmod", "os.utime", "os.truncate"})
_KILLED = 77


@dataclass(frozen=True)
class Ran:
    """The outcome of a process.

    Attributes:
        killed: whether it was killed.
        calls: the calls that it made, each with its path, without the call at which it was killed.
        error: the name of the exception that ended it, or an empty string.
        message: the exception's message.
    """

    killed: bool
    calls: tuple[tuple[str, str], ...] = ()
    error: str = ""
    message: str = ""


def run_cut(operation: Callable[[], object], at: int, how: How) -> Ran:
    """Run an operation in its own process, up to its call number `at`, counted from 1.

    `killed`: that call does not happen, or only half of a write does. `full`: the disk is full
    from that call on. `traced`: every call happens.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _be_child(operation, _Calls(at, how), write)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == _KILLED:
        return Ran(killed=True)
    assert code == 0, f"the child ended with {code}"
    found = json.loads(data)
    calls = tuple((call, path) for call, path in found["calls"])
    return Ran(killed=False, calls=calls, error=found["error"], message=found["message"])


def _be_child(operation: Callable[[], object], calls: _Calls, report: int) -> NoReturn:
    error: BaseException | None = None
    try:
        sys.dont_write_bytecode = True
        calls.watch()
        operation()
    except BaseException as caught:  # noqa: BLE001  # every exception is reported
        error = caught
    finally:
        calls.over = True
        name = "" if error is None else type(error).__name__
        told = {"calls": calls.seen, "error": name, "message": str(error or "")}
        data = memoryview(json.dumps(told).encode())
        while data:
            data = data[os.write(report, data) :]
        os._exit(0)


class _Calls:
    """The calls of this process that change files."""

    def __init__(self, at: int, how: How) -> None:
        self.seen: list[tuple[str, str]] = []
        self.over = False
        self._at = at
        self._how = how
        self._opened_in: int | None = None

    def watch(self) -> None:
        """Watch all calls until the process ends: https://peps.python.org/pep-0578/."""
        sys.addaudithook(self._hear)
        real_open, real_sync, real_handle = io.open, os.fsync, os.open

        def open_handle(path: Any, flags: int, *rest: Any, dir_fd: int | None = None) -> int:  # noqa: ANN401
            # The audit event does not contain the folder.
            self._opened_in = dir_fd
            return real_handle(path, flags, *rest, dir_fd=dir_fd)

        def open_counted(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:  # noqa: ANN401
            if not set(mode) & set("wxa"):
                return real_open(file, mode, *rest, **more)
            stream = io.BufferedWriter(_Raw(self, file, mode.replace("b", "")))
            return stream if "b" in mode else io.TextIOWrapper(stream, encoding="utf-8")

        def sync_counted(handle: int) -> None:
            self.count("os.fsync", _locate(handle))
            real_sync(handle)

        builtins.open = io.open = open_counted
        setattr(os, "fsync", sync_counted)  # noqa: B010  # the stubs say more than is needed
        setattr(os, "open", open_handle)  # noqa: B010

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            folder, self._opened_in = self._opened_in, None
            if not self.over and arguments[2] & _WRITING:
                self.count(event, _locate(arguments[0], folder))
        elif event in _CHANGING and not self.over:
            # A renamed file is recorded under its new name.
            renamed = event in ("os.rename", "os.link")
            folder = arguments[-1] if event != "os.truncate" else None
            self.count(event, _locate(arguments[1 if renamed else 0], folder))

    def count(self, name: str, path: str, half: Callable[[], object] = lambda: None) -> None:
        """Count a call that is about to be made; `half` does a part of it."""
        if self.over:
            return
        number = len(self.seen) + 1
        if self._how == "killed" and number == self._at:
            half()
            os._exit(_KILLED)
        if self._how == "full" and number >= self._at and name in GROWING:
            half()
            self.seen.append((name, path))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        self.seen.append((name, path))


def kind_of(call: tuple[str, str]) -> tuple[str, str]:
    """Return what similar calls share: the function, and the folder of the store."""
    name, path = call
    return name, re.sub(r"[0-9a-f]{8,}", "", Path(path).parent.name)


def _locate(path: Any, folder: int | None = None) -> str:  # noqa: ANN401
    """Return the full path of a file, given its handle or its name in an open folder."""
    if isinstance(path, int):
        return str(Path(f"/proc/self/fd/{path}").readlink())
    inside = folder is not None and folder >= 0
    return f"{_locate(folder)}/{path}" if inside else str(path)


class _Raw(io.FileIO):
    def __init__(self, calls: _Calls, file: Any, mode: str) -> None:  # noqa: ANN401
        super().__init__(file, mode)
        self._calls = calls

    def write(self, data: Any) -> int:  # noqa: ANN401
        real = super().write
        self._calls.count("write", _locate(self.name), lambda: real(bytes(data)[: len(data) // 2]))
        return real(data)


def read_entries(store: Path) -> dict[str, str]:
    """Return the digest of each scope's manifest, read by the OCI format."""
    path = store / "index.json"
    manifests = json.loads(path.read_bytes())["manifests"] if path.exists() else []
    return {each["annotations"][REF_NAME]: each["digest"] for each in manifests}


def read_needed(store: Path) -> dict[str, set[str]]:
    """Return the blobs that each scope needs, after checking each one's size and digest."""
    needed: dict[str, set[str]] = {}
    for scope, digest in read_entries(store).items():
        manifest = json.loads(_read_blob(store, digest))
        blobs = [*manifest.get("layers", ()), *manifest.get("manifests", ())]
        blobs += [manifest["config"]] if "config" in manifest else []
        for each in blobs:
            assert len(_read_blob(store, each["digest"])) == each["size"], scope
        needed[scope] = {digest[7:], *(each["digest"][7:] for each in blobs)}
    return needed


def _read_blob(store: Path, digest: str) -> bytes:
    data = (store / "blobs" / "sha256" / digest[7:]).read_bytes()
    assert digest_of(data) == digest
    return data
