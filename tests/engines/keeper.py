"""Keeps one server for as long as the process that asked for it lives.

Run as a script. Standard input is a pipe whose other end belongs to the owner: when it closes,
because the owner asked or because it died in whatever way, the server is stopped and its folder
removed.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

# Written into the folder when the server ends before its owner lets go of it.
ENDED = "ended"
PATIENCE = 20.0
CGROUPS = Path("/sys/fs/cgroup")


def keep_server(folder: Path, command: list[str]) -> None:
    """Run a server until it ends or its owner is gone; then clear the folder."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _leave)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for_owner_or(server)
        (folder / ENDED).write_text(str(server.poll()))
        stop_group(server)
        _wait_for_owner()
    finally:
        stop_group(server)
        clear(folder)


def stop_group(server: "subprocess.Popen[bytes]") -> None:
    """End a server and its helpers at once: nothing of what they have is kept.

    A server with process numbers of its own is the child of the program that gave it those, and
    that program ends when all of the server's processes are gone.
    """
    if server.poll() is not None:
        return
    for child in _list_children(server.pid):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                server.wait(PATIENCE)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _list_children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children")
    try:
        return [int(each) for each in listed.read_text().split()]
    except OSError:
        return []


def clear(folder: Path) -> None:
    """Remove what a server that has ended left: its folder and its control groups."""
    for depth in ("", "*/"):
        for group in CGROUPS.glob(depth + folder.name):
            _remove_group(group)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_group(top: Path) -> None:
    for folder, _, _ in os.walk(top, topdown=False):
        # The kernel needs a moment after the last process of a group is gone.
        for _ in range(40):
            try:
                Path(folder).rmdir()
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.05)
            else:
                break


def _wait_for_owner_or(server: "subprocess.Popen[bytes]") -> None:
    running = os.pidfd_open(server.pid)
    select.select([sys.stdin, running], [], [])
    os.close(running)


def _wait_for_owner() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass


def _leave(number: int, frame: FrameType | None) -> None:
    del frame
    # Once is enough: what follows must not be interrupted.
    for other in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(other, lambda *_: None)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    keep_server(Path(sys.argv[1]), sys.argv[2:])
