"""The lock of a builder: processes that change it at once do so one after the other."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from bxcache.buildx.memory import find_buildx_folder
from bxcache.config.paths import find_cache_folder
from bxcache.store.locks import hold_file

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def hold_builder(name: str) -> Iterator[None]:
    """Hold the lock of a builder of docker's client; the lock ends with this process.

    Where no file can be written, there is no lock, and docker itself refuses a second creation.
    """
    whose = f"{find_buildx_folder(os.environ).resolve()}\0{name}"
    key = hashlib.sha256(whose.encode(errors="surrogateescape")).hexdigest()[:16]
    path = find_cache_folder() / "builders" / f"{key}.lock"
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(hold_file(path, f"changing the builder `{name}`"))
        yield
