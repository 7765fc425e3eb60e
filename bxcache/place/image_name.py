"""What an image is called that the configuration does not name: by where its files lie.

The name is the same on every machine and in every run. So it has no part that another run may have
otherwise: neither a path outside of the project, such as that of a generated Dockerfile in a
temporary folder, nor what a URL says of a commit, a login or a signature.
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
"""What stands for a path outside of the project; no path in it is written so."""
_STDIN = "-"
_SCP = re.compile(r"(?P<host>[^/:]+):(?P<path>.*)")
"""How git writes a place that is reached over SSH: `git@github.com:docker/buildx.git`."""
_USUAL_PORT = re.compile(r":(?:22|80|443|9418)$")


def find_image(setup: Setup, directory: Path) -> str:
    """The name of the image that a configuration is about, given or by where its files lie."""
    settings = setup.config.build
    return setup.image or name_image(setup.root, directory, settings.context, settings.file)


def name_image(root: Path, directory: Path, context: str, file: str | None) -> str:
    """A name for an image that the config file does not name: where its Dockerfile lies.

    Args:
        root: the project's top folder.
        directory: the working directory.
        context: the build context.
        file: what `--file` says, if it does.

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
    path = folder / _USUAL if file in (None, "", _STDIN) else directory / file
    is_url = file not in (None, "", _STDIN) and is_remote(file)
    shown = _OUTSIDE if is_url else place_in(root, path)
    place = place_in(root, folder)
    if folder not in (path.parent, root) and {shown, place} != {_OUTSIDE}:
        # One Dockerfile serves several contexts.
        shown = f"{shown}/{place}"
    if shown == _OUTSIDE:
        return f"{_OUTSIDE}/{_UNNAMED}"
    return _drop_usual(shown)


def place_in(root: Path, path: Path) -> str:
    """A path from the project's top folder; `..` for all that is outside of it.

    >>> place_in(Path("/p"), Path("/p/a/../b")), place_in(Path("/p"), Path("/tmp/x"))
    ('b', '..')
    """
    for show in (os.path.abspath, os.path.realpath):
        found = PurePosixPath(os.path.relpath(show(path), show(root)))
        if found.parts[:1] != (_OUTSIDE,):
            return str(found)
    return _OUTSIDE


def _drop_usual(path: str) -> str:
    """The path of a Dockerfile without the name that it usually has."""
    name = path.removesuffix(_USUAL).rstrip("/") if path.endswith(f"/{_USUAL}") else path
    if name in ("", _USUAL, "."):
        return _UNNAMED
    return f"./{name}" if name == _UNNAMED else name


def _name_remote(root: Path, context: str, file: str | None) -> str:
    """A name by a URL: where the repository is, however it is reached, and the folder in it.

    https://github.com/moby/buildkit/blob/v0.25.2/util/gitutil/git_url.go has the forms of git's,
    and https://github.com/docker/buildx/blob/v0.29.1/build/opt.go reads a Dockerfile whose path is
    absolute from this machine, any other from where the context is.
    """
    place, _, fragment = context.partition("#")
    place, _, query = place.partition("?")
    folder = parse_qs(query).get("subdir", [fragment.partition(":")[2]])[-1]
    inside = posixpath.normpath(f"/{folder}")
    here = []
    if file and file.startswith("/"):
        here = [f"/{place_in(root, Path(file))}"]
    elif file and file != _STDIN:
        inside = posixpath.normpath(f"{inside}/{file}")
    inside = inside.removesuffix(f"/{_USUAL}").strip("/")
    shown = "//".join(filter(None, (_find_repository(place), inside, *here)))
    return f"//{shown}"


def _find_repository(place: str) -> str:
    if place == _STDIN:
        return "stdin"
    _, scheme, rest = place.rpartition("://")
    found = None if scheme else _SCP.fullmatch(rest)
    host, _, path = rest.partition("/") if found is None else (found["host"], "", found["path"])
    host = _USUAL_PORT.sub("", host.rpartition("@")[2].lower())
    return posixpath.normpath(f"{host}/{path}").removesuffix(".git")
