"""The most memory that programs and all that they start use at one moment."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INTERVAL = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Peak:
    """A watch over trees of processes, in a thread of its own.

    Attributes:
        most: the most bytes so far of each tree.
    """

    def __init__(self) -> None:
        """Watch nothing yet."""
        self.most: dict[str, int] = {}
        self._roots: dict[str, int] = {}
        self._stopping = threading.Event()

    def follow(self, name: str, process: int) -> None:
        """Watch a process and its children from now on, under a name."""
        self._roots[name] = process

    def leave(self, name: str) -> None:
        """Watch a tree no more."""
        self._roots.pop(name, None)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch for as long as the context lasts."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(INTERVAL):
            for name, process in list(self._roots.items()):
                self.most[name] = max(self.most.get(name, 0), measure_tree(process))


def measure_tree(process: int) -> int:
    """Return the bytes in memory of a process and all below it, shared pages counted in each."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        children = [
            int(child)
            for task in Path(f"/proc/{process}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (OSError, IndexError):
        return 0
    return pages * _PAGE + sum(map(measure_tree, children))
