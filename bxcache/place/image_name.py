"""The name of an image that the configuration does not name, derived from where its files are.

The name is the same on every machine and in every run. It contains nothing that changes between
runs: no path outside the project (such as a generated Dockerfile in a temporary folder), and no
commit, login or signature of a URL.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from bxcache.config.paths import is_remote

if TYPE_CHECKING:
    from bxcache.config.loading import Setup

_UNNAMED = "image"
_USUAL = "Dockerfile"
_OUTSIDE = ".."
"""Stands for any path outside the project; no path inside it looks like this."""
_STDIN = "-"
_SCP = re.compile(r"(?P<host>[^/:]+):(?P<path>.*)")
"""Git's short form of an SSH URL: `git@github.com:docker/buildx.git`."""
_USUAL_PORT = re.compile(r":(?:22|80|443|9418)$")


def find_image(setup: Setup, directory: Path) -> str:
    """Return the image's configured name, or one derived from where its files are."""
    settings = setup.config.build
    return setup.image or name_image(setup.root, directory, settings.context, settings.file)


def name_image(root: Path, directory: Path, context: str, file: str | None) -> str:
    """Name an image by where its Dockerfile is; `root` is the project's top folder.

    >>> name_image(Path("/p"), Path("/p"), "services/api", None)
    'services/api'
    >>> name_image(Path("/p"), Path("/p"), ".", "docker/web.Dockerfile")
    'docker/web.Dockerfile'
    >>> name_image(Path("/p"), Path("/p"), ".", None)
    'image'
    >>> name_image(Path("/p"), Path("/p"), ".", "/tmp/tmp.CIGxYy3Tp4/Dockerfile")
    '../image'
    >>> name_image(Path("/p"), Path("/p"), "https://github.com/docker/buildx.git#v0.29.1", None)
    '//github.com/docker/buildx'
    """
    if is_remote(context):
        return _name_remote(root, context, file)
    folder = directory / context
    path = directory / file if file and file != _STDIN else folder / _USUAL
    is_url = file and file != _STDIN and is_remote(file)
    shown = _OUTSIDE if is_url else path_in(root, path)
    inside = path_in(root, folder)
    if folder not in (path.parent, root) and {shown, inside} != {_OUTSIDE}:
        # One Dockerfile may serve several contexts.
        shown = f"{shown}/{inside}"
    if shown == _OUTSIDE:
        return f"{_OUTSIDE}/{_UNNAMED}"
    return _drop_usual(shown)


def path_in(root: Path, path: Path) -> str:
    """Return a path relative to the project's top folder, or `..` if it is outside.

    >>> path_in(Path("/p"), Path("/p/a/../b")), path_in(Path("/p"), Path("/tmp/x"))
    ('b', '..')
    """
    for show in (os.path.abspath, os.path.realpath):
        found = PurePosixPath(os.path.relpath(show(path), show(root)))
        if found.parts[:1] != (_OUTSIDE,):
            return str(found)
    return _OUTSIDE


def _drop_usual(path: str) -> str:
    """Return a Dockerfile's path without its usual file name."""
    name = path.removesuffix(_USUAL).rstrip("/") if path.endswith(f"/{_USUAL}") else path
    if name in ("", _USUAL, "."):
        return _UNNAMED
    return f"./{name}" if name == _UNNAMED else name


def _name_remote(root: Path, context: str, file: str | None) -> str:
    """Name an image by a URL: the repository, however it is reached, and the folder in it."""
    # https://github.com/moby/buildkit/blob/v0.25.2/util/gitutil/git_url.go has the forms of URLs.
    url, _, fragment = context.partition("#")
    url, _, query = url.partition("?")
    folder = parse_qs(query).get("subdir", [fragment.partition(":")[2]])[-1]
    inside = posixpath.normpath(f"/{folder}")
    here = []
    # buildx reads a Dockerfile from this machine if its path is absolute, otherwise from the
    # context: https://github.com/docker/buildx/blob/v0.29.1/build/opt.go
    if file and file.startswith("/"):
        here = [f"/{path_in(root, Path(file))}"]
    elif file and file != _STDIN:
        inside = posixpath.normpath(f"{inside}/{file}")
    inside = inside.removesuffix(f"/{_USUAL}").strip("/")
    shown = "//".join(filter(None, (_find_repository(url), inside, *here)))
    return f"//{shown}"


def _find_repository(url: str) -> str:
    if url == _STDIN:
        return "stdin"
    _, scheme, rest = url.rpartition("://")
    found = None if scheme else _SCP.fullmatch(rest)
    host, _, path = rest.partition("/") if found is None else (found["host"], "", found["path"])
    host = _USUAL_PORT.sub("", host.rpartition("@")[2].lower())
    return posixpath.normpath(f"{host}/{path}").removesuffix(".git")
