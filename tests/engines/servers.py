"""Server processes that never outlive the tests, each with a folder of its own."""

import fcntl
import os
import stat
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from tests.engines import keeper
from tests.engines.confinement import bound
from tests.engines.errors import EngineError

Details = TypeVar("Details")

PREFIX = "bxe-"
# A unix socket's path has at most 107 bytes, and containerd's sockets lie deep in the folder.
LONGEST_BASE = 40
READY_WITHIN = 120.0
STOPPED_WITHIN = 45.0
ABANDONED_AFTER = 60.0


@dataclass(frozen=True)
class Launch:
    """The way to start a server, and to know that it is ready."""

    command: list[str]
    environment: Mapping[str, str]
    is_ready: Callable[[], bool]


@dataclass(frozen=True)
class Server:
    """A running server; `folder` is its own and goes with it."""

    folder: Path
    _keeper: "subprocess.Popen[bytes]"

    @classmethod
    def start(cls, name: str, prepare: Callable[[Path], Launch]) -> "Server":
        """Start a server in a new folder, filled by `prepare`, and wait until it is ready.

        It ends with this process at the latest, however that one ends.
        """
        folder = new_folder()
        # Preparing fetches the engines where they are missing, which takes minutes.
        lock = _claim(folder)
        try:
            launch = prepare(folder)
            server = cls(folder, _start_keeper(folder, launch, lock))
        except BaseException:
            keeper.clear(folder)
            raise
        finally:
            os.close(lock)
        try:
            server.wait_for_start(name, launch.is_ready)
        except BaseException:
            server.stop()
            raise
        return server

    def wait_for_start(self, name: str, is_ready: Callable[[], bool]) -> None:
        """Wait until the server is ready; if it does not start, raise an error with its log."""
        limit = time.monotonic() + READY_WITHIN
        ended = self.folder / keeper.ENDED
        while not is_ready():
            if ended.exists() or time.monotonic() > limit:
                raise EngineError(f"{name} did not start", "Its log tells why", self.log())
            time.sleep(0.02)

    @property
    def process(self) -> int:
        """The process below which all of the server's are."""
        return self._keeper.pid

    def log(self) -> str:
        """Return the end of what the server has printed."""
        log = self.folder / "log"
        return log.read_text(errors="replace")[-4000:] if log.exists() else ""

    def stop(self) -> None:
        """End the server and remove its folder."""
        if self._keeper.stdin:
            self._keeper.stdin.close()
        try:
            self._wait()
        except BaseException:
            # After an interrupt, the server still ends, within a second or two.
            self._wait()
            raise

    def _wait(self) -> None:
        try:
            self._keeper.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
            keeper.clear(self.folder)


class Service(ABC, Generic[Details]):
    """A service by a server of its own, from `start` to `stop` or for the duration of a block.

    `Details` is the information that users of the service need.
    """

    _running: tuple[Server, Details] | None = None

    @abstractmethod
    def start(self) -> Self:
        """Start the server and wait until it answers."""

    @property
    def running(self) -> tuple[Server, Details]:
        """The server and how to use it."""
        if not self._running:
            raise RuntimeError(f"the {type(self).__name__.lower()} is not running")
        return self._running

    def stop(self) -> None:
        """Stop the server and remove everything it made."""
        if self._running:
            server, _ = self._running
            self._running = None
            server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def new_folder() -> Path:
    """Make a folder for a server, after removing those whose servers were killed."""
    base = Path(tempfile.gettempdir()).resolve()
    if len(str(base)) > LONGEST_BASE:
        base = Path("/tmp")
    sweep(base)
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))


def sweep(base: Path) -> None:
    """Remove the folders in `base` that no keeper holds any more."""
    for folder in base.glob(f"{PREFIX}*"):
        try:
            abandoned = _is_own(folder) and _is_abandoned(folder)
        except FileNotFoundError:
            continue
        if abandoned:
            keeper.clear(folder)


def _start_keeper(folder: Path, launch: Launch, lock: int) -> "subprocess.Popen[bytes]":
    script = str(Path(keeper.__file__).resolve())
    return subprocess.Popen(
        [sys.executable, "-I", script, str(folder), *bound(launch.command)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=dict(launch.environment),
        cwd=folder,
        pass_fds=[lock],
        start_new_session=True,
    )


def _claim(folder: Path) -> int:
    """Lock a folder for as long as the returned descriptor or a copy of it is open."""
    aside = folder / "lock.new"
    lock = os.open(aside, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Only a lock that is held already can be seen under the name that `sweep` looks for.
    aside.rename(folder / "lock")
    return lock


def _is_own(folder: Path) -> bool:
    """Whether it is a folder of this user: others can put links and folders there."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _is_abandoned(folder: Path) -> bool:
    lock = folder / "lock"
    if not lock.exists():
        return time.time() - folder.stat().st_mtime > ABANDONED_AFTER
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
