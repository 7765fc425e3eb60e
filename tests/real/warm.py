"""Runs of bxcache in forks of a process with its modules loaded, whose loading takes a while.

One process for each worker of the tests loads the modules and does nothing with them. Each run is
a fork of it, with its own environment, folder and files, like `python -m bxcache`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Self

import bxcache
from tests.bootstrap import ROOT

FILES = 3
LATE = ("python_on_whales",)
"""The modules that bxcache imports only when it needs them, and that take longest."""

_started: list[WarmPython] = []


def find_warm() -> WarmPython | None:
    """Return the running process, if any."""
    return _started[-1] if _started else None


class WarmPython:
    """The process that others are forked from, for the duration of a block."""

    def __enter__(self) -> Self:
        """Start the process."""
        listener = socket.socket(socket.AF_UNIX)
        with listener:
            # The kernel draws a name, which is in no folder.
            listener.bind("")
            self._address = listener.getsockname()
            listener.listen(16)
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(listener.fileno())],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
            )
        _started.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        """End the process by closing its standard input."""
        _started.remove(self)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run bxcache to its end, with nothing on its standard input."""
        request = {"arguments": list(arguments), "folder": str(folder), "environment": environment}
        with (
            socket.socket(socket.AF_UNIX) as connection,
            Path(os.devnull).open("rb") as nothing,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            connection.connect(self._address)
            files = [each.fileno() for each in (nothing, out, err)]
            data = json.dumps(request).encode()
            socket.send_fds(connection, [len(data).to_bytes(4)], files)
            connection.sendall(data)
            connection.settimeout(timeout)
            process = int.from_bytes(connection.recv(4))
            try:
                answer = connection.recv(1)
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                raise
            texts = [Path(f"/proc/self/fd/{each.fileno()}").read_text() for each in (out, err)]
        status = answer[0] if answer else -signal.SIGKILL
        return subprocess.CompletedProcess(arguments, status, *texts)


def serve(listener: socket.socket) -> None:
    """Fork for each request until standard input ends."""
    modules = [each.name for each in pkgutil.walk_packages(bxcache.__path__, "bxcache.")]
    for name in (*modules, *LATE):
        if not name.endswith("__main__"):
            importlib.import_module(name)
    # A fork copies each page whose objects the collector visits.
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # This process ends with the tests, however they are stopped.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if listener not in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            _answer(connection)
        connection.close()


def _answer(connection: socket.socket) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    head, files, _, _ = socket.recv_fds(connection, 4, FILES)
    with connection.makefile("rb") as stream:
        request = json.loads(stream.read(int.from_bytes(head)))
    connection.sendall(os.getpid().to_bytes(4))
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    status = _run(request["arguments"])
    # As Python itself ends.
    threading._shutdown()  # type: ignore[attr-defined]  # the stubs leave it out
    atexit._run_exitfuncs()
    for each in (sys.stdout, sys.stderr):
        with suppress(OSError):
            each.flush()
    connection.sendall(bytes([status]))
    os._exit(status)


def _run(arguments: list[str]) -> int:
    sys.argv = ["bxcache", *arguments]
    try:
        runpy.run_module("bxcache", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  # as Python itself ends
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as own:
        serve(own)
