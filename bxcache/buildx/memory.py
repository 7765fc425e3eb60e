"""What docker answered an hour ago at most: asking again takes as long as a small build.

Only answers of a docker that can do everything are remembered, so that a mended one is noticed at
once. A build that fails before BuildKit began forgets them, and asks.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import DecodeError, Struct, json

from bxcache.buildx.capabilities import Capabilities, can_all
from bxcache.config.paths import find_cache_folder
from bxcache.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SECONDS = 3600
_UNIX = "unix://"
_HOST = f"{_UNIX}/var/run/docker.sock"
_PLUGINS = [
    Path("/usr") / each / "docker" for each in ("local/lib", "local/libexec", "lib", "libexec")
]


class OutdatedError(Exception):
    """Docker is no longer what was remembered of it, and nothing was built."""


class _Written(Struct, frozen=True):
    """What the file contains."""

    seal: str
    asked: float
    found: Capabilities


class Memory(Struct, frozen=True):
    """A file with the answers of one docker about one builder.

    Attributes:
        seal: stands for the state, before docker was asked, of the files that its answers depend
            on.
    """

    file: Path
    seal: str

    @classmethod
    def find(cls, command: tuple[str, ...], builder: str, environment: Mapping[str, str]) -> Memory:
        """Find the memory of a docker client about a builder, by default the current one."""
        own = {k: v for k, v in environment.items() if k.startswith(("DOCKER_", "BUILDX_"))}
        name = _hash(command, builder, sorted(own.items()), environment.get("HOME"))[:16]
        seal = _hash(__version__, *_list_states(command[0], environment))
        return cls(find_cache_folder() / "docker" / f"{name}.json", seal)

    def recall(self) -> Capabilities | None:
        """Return what was remembered; None if it is too old, or something changed since."""
        with suppress(OSError, DecodeError):
            written = json.decode(self.file.read_bytes(), type=_Written)
            if written.seal == self.seal and 0 <= time.time() - written.asked < _SECONDS:
                return written.found
        return None

    def keep(self, found: Capabilities) -> None:
        """Remember answers, if docker can do everything; failing to write them is no error."""
        if not can_all(found) or not found.buildx:
            return
        new = self.file.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_bytes(json.encode(_Written(self.seal, time.time(), found)))
            new.replace(self.file)

    def forget(self) -> None:
        """Remember nothing."""
        with suppress(OSError):
            self.file.unlink()


def find_docker_folder(environment: Mapping[str, str]) -> Path:
    """Find the folder of docker's settings."""
    return Path(environment.get("DOCKER_CONFIG") or Path(environment.get("HOME", "/"), ".docker"))


def find_buildx_folder(environment: Mapping[str, str]) -> Path:
    """Find the folder where buildx keeps its builders."""
    return Path(environment.get("BUILDX_CONFIG") or find_docker_folder(environment) / "buildx")


def _list_states(client: str, environment: Mapping[str, str]) -> Iterator[object]:
    """List the states of what changes with docker: its programs, its choice of engine and builder.

    A restarted engine makes its socket anew, if it listens on it itself. The folders:
    https://github.com/docker/cli/blob/v28.5.1/cli-plugins/manager/manager_unix.go and
    https://github.com/docker/buildx/blob/v0.29.1/store/store.go
    """
    docker, buildx = find_docker_folder(environment), find_buildx_folder(environment)
    plugins = (folder / "cli-plugins" / "docker-buildx" for folder in (docker, *_PLUGINS))
    host = environment.get("DOCKER_HOST") or _HOST
    socket = [Path(host.removeprefix(_UNIX))] if host.startswith(_UNIX) else []
    yield from map(_describe_file, (Path(client), *plugins, docker / "config.json", *socket))
    # The first run of buildx makes its folders, and each run writes anew which builder is chosen.
    for folder in (docker / "contexts" / "meta", buildx / "instances", buildx / "defaults"):
        yield [*_describe_folder(folder)]
    yield _read_choice(buildx / "current")


def _read_choice(file: Path) -> bytes:
    """Return what the file says if it names a builder; otherwise, the context decides."""
    with suppress(OSError, DecodeError):
        content = file.read_bytes()
        if json.decode(content, type=dict[str, Any]).get("Name"):
            return content
    return b""


def _describe_folder(folder: Path) -> Iterator[tuple[object, ...]]:
    with suppress(OSError):
        for each in sorted(folder.iterdir()):
            yield (each.name, *_describe_file(each))


def _describe_file(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _hash(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()
