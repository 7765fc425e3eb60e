"""The folder that keeps unpacked packages and images from one run to the next."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def storage_root() -> Path:
    """Return the folder, made if missing: $BXCACHE_TEST_CACHE or the user's cache folder."""
    named = os.environ.get("BXCACHE_TEST_CACHE")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = Path(named) if named else caches / "bxcache-tests"
    root.mkdir(parents=True, exist_ok=True)
    return root.resolve()


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold an exclusive lock on a file that stays where it is; yield its descriptor."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def keep(name: str, fill: Callable[[Path], None]) -> Path:
    """Return the kept folder of that name, filled now if this is its first use.

    It appears whole or not at all, and several processes may ask for it at once: one fills it
    while the others wait.
    """
    root = storage_root()
    kept = root / name
    if kept.is_dir():
        return kept
    with locked(root / f"{name}.lock"):
        if not kept.is_dir():
            _fill_aside(kept, fill)
    return kept


def _fill_aside(kept: Path, fill: Callable[[Path], None]) -> None:
    for stale in kept.parent.glob(f".{kept.name}.*"):
        shutil.rmtree(stale)
    aside = Path(tempfile.mkdtemp(prefix=f".{kept.name}.", dir=kept.parent))
    try:
        aside.chmod(0o755)
        fill(aside)
        aside.rename(kept)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
