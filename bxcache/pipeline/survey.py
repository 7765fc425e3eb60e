"""What a repository builds, and on which CI system, as its files say; for `bxcache init`.

Nothing is run but git, and nothing is asked of docker.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.buildx.dockerfile import list_stages
from bxcache.config.discovery import find_root
from bxcache.config.paths import is_remote
from bxcache.errors import ConfigError, Problem
from bxcache.place.repository import Repository
from bxcache.place.statement import name_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

CI_FILES = {
    "github": ".github/workflows",
    "gitlab": ".gitlab-ci.yml",
    "circleci": ".circleci/config.yml",
    "buildkite": ".buildkite/pipeline.yml",
    "jenkins": "Jenkinsfile",
    "azure": "azure-pipelines.yml",
}
"""The file of each CI system, or the folder of its files."""
_NO_JOBS = "after_script|before_script|cache|default|image|include|services|spec|stages|variables"
_JOBS = {
    "gitlab": rf"^(?!(?:{_NO_JOBS}|workflow)\b)(?P<name>\w[\w ./-]*):",
    "github": r"^  (?P<name>[\w-]+):",
    "circleci": r"^  (?P<name>[\w-]+):",
    "buildkite": r"^ *(?:- )?label: *[\"']?(?P<name>[^\"'\n]+)",
    "jenkins": r"\bstage *\( *[\"'](?P<name>[^\"']+)",
    "azure": r"^ *- (?:job|deployment|script|task): *(?P<name>.+)",
}
_TABLE_OF_JOBS = re.compile(r"^jobs:.*?(?=^\w|\Z)", re.MULTILINE | re.DOTALL)
_HOSTS = {"github.com": "github", "gitlab.com": "gitlab", "dev.azure.com": "azure"}
_BAKE = ("docker-bake.hcl", "docker-bake.json")
# https://docs.docker.com/compose/intro/compose-application-model/#the-compose-file
_COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_USUAL = "Dockerfile"
_DOCKERFILE = re.compile(r"Dockerfile(\.(?!dockerignore$)[\w-]+)?|[\w-]+\.[Dd]ockerfile")
_IGNORED = {"node_modules", "vendor", "third_party", "testdata", "venv", "build", "dist"}
_DEEPEST = 4
_MOST_BYTES = 1 << 20
_DEFAULT = "main"
_PLAIN = re.compile(r"[\w./-]+")
"""Names that need no quotes in any file."""
BUILDS = ("docker build", "docker/build-push-action", "docker/bake-action")
"""The uses that are whole builds, not only caches of one."""
_PLAIN_BUILD, _PUSH_ACTION, _BAKE_ACTION = BUILDS
_USES = {
    _PUSH_ACTION: re.compile(r"uses:\s*[\"']?docker/build-push-action"),
    _BAKE_ACTION: re.compile(r"uses:\s*[\"']?docker/bake-action"),
    "cache-from": re.compile(r"cache[-_]from\b"),
    "cache-to": re.compile(r"cache[-_]to\b"),
    _PLAIN_BUILD: re.compile(r"^[^#]*\bdocker\s+(?:buildx\s+|image\s+)?build\b"),
}
_HINT = "`bxcache init` writes a config file for what the repository builds; run it there"
_COPY = re.compile(r"^\s*(?:COPY|ADD)\s+(?P<words>\S.*)$", re.IGNORECASE | re.MULTILINE)
_TAKEN = ("context", "dockerfile")
_COMPOSE_LINE = re.compile(r"(?P<indent> *)(?P<key>\w+): *(?P<value>[^ #]?)")
_COMPOSE_KEY = re.compile(r"\s*(?P<key>build|context|dockerfile):\s+[\"']?(?P<value>[\w./-]+)")


class Image(Struct, frozen=True):
    """An image that a repository builds.

    Attributes:
        name: taken from its Dockerfile's folder or name.
        file, context: paths from the repository's top, as `[build]` has them.
    """

    name: str
    file: str
    context: str


class Use(Struct, frozen=True):
    """The lines of a file that build already, perhaps with a cache."""

    file: str
    lines: tuple[int, ...]
    what: str


class Survey(Struct, frozen=True):
    """What was found in a repository.

    Attributes:
        name: the repository's, in lower case.
        remote: its path on its host, such as `acme/shop`, if git has a remote.
        host: the remote's host.
        default: the default branch.
        bake: the bake file at the top, which says alone what is built.
        compose: the Compose file at the top.
        left_out: the keys of its builds that are not taken over.
        systems: the CI systems that have files here, then that of the remote's host.
        uses: where something builds already, most with a cache.
    """

    name: str
    images: tuple[Image, ...] = ()
    remote: str | None = None
    host: str | None = None
    default: str = _DEFAULT
    bake: str | None = None
    compose: str | None = None
    left_out: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    uses: tuple[Use, ...] = ()


def survey(directory: Path) -> tuple[Path, Survey]:
    """Look at the repository around a directory, or at the directory alone without one.

    Returns:
        The top folder and what was found.

    Raises:
        ConfigError: there is nothing to build.
    """
    root = find_root(directory) or directory
    repository = Repository(root)
    host, remote = _split_remote(repository.find_remote() or "")
    default = repository.find_default() or repository.find_branch()
    name = _spell(PurePosixPath(remote or root.resolve().name).name)
    compose, bake = _find_first(root, _COMPOSE), _find_first(root, _BAKE)
    composed = _read(root / compose) if compose else ""
    images = list_images(root, name, read_contexts(composed))
    if not images and not bake:
        why = "there is no Dockerfile with a `FROM`, and no docker-bake file at the top"
        raise ConfigError(
            [Problem(str(root), "", why)], hint=_HINT, title="there is nothing to build"
        )
    return root, Survey(
        name=name,
        images=images,
        remote=remote,
        host=host,
        default=default.value if default and _PLAIN.fullmatch(default.value) else _DEFAULT,
        bake=bake,
        compose=compose,
        left_out=list_left_out(composed),
        systems=tuple(dict.fromkeys(_list_systems(root, host))),
        uses=tuple(_list_uses(root)),
    )


def _split_remote(url: str) -> tuple[str | None, str | None]:
    """The host and the path of a remote's URL; none of a folder.

    >>> _split_remote("git@github.com:Acme/shop.git")
    ('github.com', 'acme/shop')
    >>> _split_remote("/srv/git/shop.git")
    (None, None)
    """
    match = re.match(r"(?:[a-z+]+://)?(?:[^/@]*@)?(?P<host>[\w.-]+\.\w+)(?::\d+)?[:/]", url)
    if match is None or url.startswith(("/", ".", "file:")):
        return None, None
    path = name_repository(url).lower()
    return match["host"].lower(), path if re.fullmatch(r"[a-z0-9._/-]+", path) else None


def _spell(name: str) -> str:
    """Spell a name as docker's names of images are."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "image"


def _find_first(root: Path, names: Iterable[str]) -> str | None:
    return next((name for name in names if (root / name).is_file()), None)


def _read(path: Path) -> str:
    """Read a text file; empty if it is unreadable or too large to be written by hand."""
    try:
        return "" if path.stat().st_size > _MOST_BYTES else path.read_text("utf-8", "replace")
    except OSError:
        return ""


def list_images(root: Path, name: str, contexts: Mapping[str, str]) -> tuple[Image, ...]:
    """List the images of a repository's Dockerfiles; the one at the top has the repository's name.

    Args:
        contexts: the contexts that a Compose file gives to Dockerfiles, by path.
    """
    found: dict[str, Image] = {}
    for path in sorted(_list_dockerfiles(root), key=lambda each: (len(each.parts), str(each))):
        file = str(path)
        context = contexts.get(file) or choose_context(
            path, _read(root / path), lambda each: (root / each).exists()
        )
        short = _name_image(path) or name
        unique = (
            short
            if short not in found
            else _spell("-".join(dict.fromkeys((*path.parent.parts, short))))
        )
        if unique not in found:
            found[unique] = Image(unique, file, context)
    return tuple(found.values())


def _list_dockerfiles(root: Path) -> Iterator[PurePosixPath]:
    for folder, folders, files in os.walk(root):
        inside = Path(folder).relative_to(root)
        deep = len(inside.parts) >= _DEEPEST
        kept = [] if deep else (f for f in folders if not f.startswith(".") and f not in _IGNORED)
        folders[:] = sorted(kept)
        for name in filter(_DOCKERFILE.fullmatch, files):
            if list_stages(_read(root / inside / name)):
                yield PurePosixPath(inside.as_posix()) / name


def _name_image(path: PurePosixPath) -> str:
    """Name an image by its Dockerfile; empty for the usual one at the top.

    >>> _name_image(PurePosixPath("services/api/Dockerfile"))
    'api'
    >>> _name_image(PurePosixPath("docker/web.Dockerfile"))
    'web'
    >>> _name_image(PurePosixPath("Dockerfile.worker"))
    'worker'
    """
    own = path.name.removeprefix(_USUAL).removesuffix(".Dockerfile").removesuffix(".dockerfile")
    folder = path.parent.name
    generic = folder in ("", "docker", ".docker", "deploy")
    return _spell(own.strip(".")) if own else "" if generic else _spell(folder)


def choose_context(path: PurePosixPath, text: str, exists: Callable[[str], bool]) -> str:
    """Choose the context of a Dockerfile: its folder, or the top if only that has what it copies.

    >>> text = "FROM busybox\\nCOPY api/main.py /"
    >>> choose_context(PurePosixPath("api/Dockerfile"), text, {"api/main.py"}.__contains__)
    '.'
    """
    sources = [each for each in _list_sources(text) if not re.search(r"[*?\[$<]", each)]
    for folder in (path.parent, PurePosixPath()):
        if all(exists(str(folder / each.lstrip("/"))) for each in sources):
            return str(folder)
    return str(path.parent)


def _list_sources(text: str) -> Iterator[str]:
    """The local sources of a Dockerfile's `COPY` and `ADD`."""
    for match in _COPY.finditer(re.sub(r"\\\r?\n", " ", text)):
        try:
            words = shlex.split(match["words"])
        except ValueError:
            continue
        plain = [word for word in words if not word.startswith("--")]
        if not any(word.startswith("--from") for word in words) and not plain[0].startswith("["):
            yield from (each for each in plain[:-1] if not is_remote(each))


def read_contexts(text: str) -> dict[str, str]:
    """The context of each Dockerfile that a Compose file names, as far as a line says it.

    >>> read_contexts("api:\\n  build: ./api\\nweb:\\n  build:\\n    context: .\\n"
    ...     "    dockerfile: web/Dockerfile")
    {'api/Dockerfile': 'api', 'web/Dockerfile': '.'}
    """
    found: dict[str, str] = {}
    context = PurePosixPath()
    for match in filter(None, map(_COMPOSE_KEY.match, text.splitlines())):
        value = PurePosixPath(match["value"])
        if match["key"] == "dockerfile":
            found.pop(str(context / _USUAL), None)
        else:
            context, value = value, PurePosixPath(_USUAL)
        found[str(context / value)] = str(context)
    return found


def list_left_out(text: str) -> tuple[str, ...]:
    r"""The keys of a Compose file's builds that `read_contexts` does not read, as far as lines say.

    >>> list_left_out("api:\n  build:\n    context: .\n    args:\n      A: 1\n  ports: []\n")
    ('args',)
    """
    found: dict[str, None] = {}
    outer, inner = -1, 0
    for match in filter(None, map(_COMPOSE_LINE.match, text.splitlines())):
        indent, key = len(match["indent"]), match["key"]
        if outer < 0 or indent <= outer:
            outer, inner = (indent if key == "build" and not match["value"] else -1), 0
            continue
        inner = inner or indent
        if indent == inner and key not in _TAKEN:
            found[key] = None
    return tuple(found)


def list_jobs(text: str, system: str) -> tuple[str, ...]:
    r"""The jobs of a CI system's file, or its stages or steps, as far as lines say it.

    >>> list_jobs("stages: [b]\nbuild api:\n  script: make\n.hidden:\n  x: y\n", "gitlab")
    ('build api',)
    >>> list_jobs("on:\n  push:\njobs:\n  test:\n    steps: []\n", "github")
    ('test',)
    """
    if system in ("github", "circleci"):
        text = "".join(_TABLE_OF_JOBS.findall(text))
    return tuple(each["name"].strip() for each in re.finditer(_JOBS[system], text, re.MULTILINE))


def _list_systems(root: Path, host: str | None) -> Iterator[str]:
    for system, name in CI_FILES.items():
        path = root / name
        if path.is_file() or (path.is_dir() and any(path.glob("*.y*ml"))):
            yield system
    if host in _HOSTS:
        yield _HOSTS[host]


def _list_uses(root: Path) -> Iterator[Use]:
    """List where CI and bake files build, once for each kind and file."""
    workflows = sorted((root / CI_FILES["github"]).glob("*.y*ml"))
    named = [root / name for name in (*CI_FILES.values(), *_BAKE, *_COMPOSE)]
    for path in [*workflows, *filter(Path.is_file, named)]:
        written = [*enumerate(_read(path).splitlines(), 1)]
        for what, pattern in _USES.items():
            if lines := tuple(number for number, line in written if pattern.search(line)):
                yield Use(path.relative_to(root).as_posix(), lines, what)
