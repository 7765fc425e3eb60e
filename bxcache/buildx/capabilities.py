"""What the installed docker can do, read from its own output, and whether that is enough.

`docker buildx inspect` has no JSON output. `docker buildx ls` has, but asks every builder, which
takes 20 s if one of them is unreachable.
"""

from __future__ import annotations

import re
from itertools import starmap

from msgspec import Struct

from bxcache.buildx.values import as_table, parse_table
from bxcache.config.wording import choose_words, name_call, name_option
from bxcache.errors import EngineError

OLDEST_BUILDX = (0, 13)
OLDEST_ENGINE = (26, 0)
OLDEST_BUILDKIT = (0, 13)

# The label by which buildx itself recognizes the containerd image store:
# https://github.com/docker/buildx/blob/v0.29.1/driver/docker/driver.go
_SNAPSHOTTER_LABEL = "org.mobyproject.buildkit.worker.snapshotter"
_LOCAL_DRIVERS = ("", "docker", "docker-container")
_RUNNING = "running"
_EXPORTS = ("local", "registry", "inline", "gha")
_ALL_INLINE = "type=inline,ref=REPOSITORY,stages=all"
_INSTALL_BUILDX = "https://docs.docker.com/build/install-buildx/"

Version = tuple[int, ...]


class Node(Struct, frozen=True):
    """One node of a builder."""

    name: str
    status: str = ""
    version: str = ""
    error: str = ""
    platforms: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    endpoint: str = ""

    @property
    def runs(self) -> bool:
        """Whether it answered."""
        return self.status == _RUNNING and not self.error


class Builder(Struct, frozen=True):
    """A builder as `docker buildx inspect` describes it, and why it is unreachable, if it is.

    The drivers are `docker`, `docker-container`, `kubernetes`, `remote` and `cloud`.
    """

    name: str
    driver: str
    nodes: tuple[Node, ...] = ()
    error: str = ""

    @property
    def sleeps(self) -> bool:
        """Whether it is not running, and a build would start it."""
        startable = self.driver in ("docker-container", "kubernetes") and not self.error
        return startable and not any(node.status == _RUNNING for node in self.nodes)

    @property
    def is_classic(self) -> bool:
        """Whether it is an engine's own builder without the containerd image store."""
        is_labelled = any(_SNAPSHOTTER_LABEL in node.labels for node in self.nodes)
        return self.driver == "docker" and not is_labelled

    @property
    def platform(self) -> str | None:
        """The default platform."""
        return next((node.platforms[0] for node in self.nodes if node.platforms), None)


class Capabilities(Struct, frozen=True):
    """The versions of docker's client and engine, the engine's platform, and a build's builder.

    The engine's are None if no engine answers. The version of buildx is empty unless all of this is
    remembered: it takes long to ask for, and only few need it.
    """

    client: str
    engine: str | None
    platform: str | None
    builder: Builder
    buildx: str = ""

    @property
    def lacks_engine(self) -> bool:
        """Whether no engine answers, and the builder needs one."""
        return self.engine is None and self.builder.driver in _LOCAL_DRIVERS

    @property
    def default_platform(self) -> str:
        """The platform of a build that names none."""
        return self.builder.platform or self.platform or "native"


def parse_version(text: str) -> Version | None:
    """Return a version's numbers, or None without any.

    >>> parse_version("github.com/docker/buildx v0.13.1+ds1 0.13.1"), parse_version("v0.0.0+x")
    ((0, 13, 1), None)
    """
    match = re.search(r"\bv?(\d+)\.(\d+)(?:\.(\d+))?", text)
    numbers = tuple(map(int, match.groups("0"))) if match else ()
    return numbers if any(numbers) else None


def parse_engine(text: str) -> tuple[str, str | None, str | None]:
    """Return the client's version, the engine's and its platform from `docker version`."""
    document = parse_table(text)
    server = as_table(document.get("Server"))
    platform = f"{server['Os']}/{server['Arch']}" if {"Os", "Arch"} <= server.keys() else None
    return as_table(document.get("Client")).get("Version", ""), server.get("Version"), platform


def parse_builder(text: str) -> Builder:
    """Parse the output of `docker buildx inspect`."""
    (head, _), *nodes = split_sections(text)
    read = tuple(starmap(_read_node, nodes))
    return Builder(head.get("Name", ""), head.get("Driver", ""), read, head.get("Error", ""))


def split_sections(text: str) -> list[tuple[dict[str, str], list[str]]]:
    """Split the output of `docker buildx inspect`: the fields of the builder, and of each node.

    Beside the fields are the names of the labels.
    https://github.com/docker/buildx/blob/v0.29.1/commands/inspect.go
    """
    sections: list[tuple[dict[str, str], list[str]]] = [({}, [])]
    in_labels = False
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if line.startswith((" ", "\t")):
            sections[-1][1].extend([name.strip()] if in_labels else [])
            continue
        in_labels = name == "Labels"
        if name == "Name" and sections[-1][0]:
            sections.append(({}, []))
        if colon and name != "Nodes":
            sections[-1][0].setdefault(name, value.strip())
    return sections


def _read_node(fields: dict[str, str], labels: list[str]) -> Node:
    platforms = fields.get("Platforms", "").replace("*", "").split(",")
    return Node(
        name=fields.get("Name", ""),
        status=fields.get("Status", ""),
        version=fields.get("BuildKit version") or fields.get("Buildkit", ""),
        error=fields.get("Error", ""),
        platforms=tuple(filter(None, map(str.strip, platforms))),
        labels=tuple(labels),
        endpoint=fields.get("Endpoint", ""),
    )


def check_reachable(found: Capabilities) -> None:
    """Raise EngineError, with a hint how to fix it, if the builder cannot build."""
    builder = found.builder
    if found.lacks_engine:
        raise EngineError(
            f"docker's engine does not answer{_reason(builder.error)}",
            hint="start it (`systemctl start docker`, or open Docker Desktop), or point "
            f"DOCKER_HOST to a running one; `{name_call('doctor')}` examines more",
        )
    failed = [node.error or node.status == "inactive" for node in builder.nodes]
    if builder.error or (failed and all(failed) and not builder.sleeps):
        why = builder.error or next(filter(None, (node.error for node in builder.nodes)), "")
        raise EngineError(
            f"the builder `{builder.name}` does not answer{_reason(why)}",
            hint=f"`docker buildx inspect --bootstrap {builder.name}` starts it; "
            f"`docker buildx rm {builder.name}` removes it",
        )


def explain_inline_only(found: Capabilities, own: str) -> str | None:
    """Explain why the builder can save only inline caches, if so, and how to fix that.

    Args:
        found: what docker can do.
        own: the builder that can be brought up: the declared one, or the default one.
    """
    why = find_limit(found)
    return f"{why}; {advise_builder(found, own)}" if why else None


def find_limit(found: Capabilities) -> str | None:
    """Find why the builder can save only inline caches; None if it can save all kinds."""
    builder = found.builder
    engine = parse_version(found.engine or "")
    if builder.driver == "docker" and engine is not None and engine < OLDEST_ENGINE:
        return (
            f"the docker engine {_dotted(engine)} is too old: this needs {_dotted(OLDEST_ENGINE)} "
            "or later"
        )
    for node in builder.nodes:
        buildkit = parse_version(node.version)
        if buildkit is not None and buildkit < OLDEST_BUILDKIT:
            return (
                f"BuildKit {_dotted(buildkit)} of the builder `{builder.name}` is too old: this "
                f"needs {_dotted(OLDEST_BUILDKIT)} or later"
            )
    if builder.is_classic:
        return (
            f"the builder `{builder.name}` uses docker's classic image store, which can save "
            "only `inline` caches"
        )
    return None


def advise_builder(found: Capabilities, own: str) -> str:
    """Advise what to do where the builder can save only inline caches."""
    if is_own(found.builder, own):
        return _advise_newer(found.builder)
    if (find_limit(found) or "").endswith("`inline` caches"):
        every = f"`{name_option('backends', _ALL_INLINE)}`"
        return f"{advise_new()}; or keep every stage in a registry: {every}"
    return advise_new()


def is_own(builder: Builder, own: str) -> bool:
    """Whether a builder is the one that can be brought up; those of docker's contexts cannot."""
    return builder.name == own and builder.driver != "docker"


def _advise_newer(builder: Builder) -> str:
    """Advise how to update BuildKit; a builder that is up keeps the one that it has."""
    if builder.driver == "remote":
        return "update `buildkitd` on its nodes"
    name = builder.name
    remove = choose_words(f"bxcache builder rm {name}", f'bxcache.remove_builder("{name}")')
    image = "with a newer `image` if `[builder]` has one"
    return f"create it anew, {image}: `{remove}`, then `{name_up()}`"


def advise_new() -> str:
    """Advise to create another builder."""
    return f"create one that can: `{name_up()}`"


def name_up() -> str:
    """Name the call that creates the declared builder, or one named `bxcache`."""
    return choose_words("bxcache builder up", "bxcache.bring_up_builder()")


def list_exports(builder: Builder, engine: str | None) -> tuple[str, ...] | None:
    """List the kinds of caches that a builder can export; None if that is unknown.

    Docker's own BuildKit leaves out the object stores:
    https://github.com/moby/moby/blob/v28.5.1/builder/builder-next/controller.go and
    https://github.com/moby/buildkit/blob/v0.25.2/cmd/buildkitd/main.go

    Args:
        builder: the builder, as docker describes it.
        engine: the version of docker's engine.
    """
    if not any(node.runs for node in builder.nodes):
        return None
    if find_limit(Capabilities("", engine, None, builder)) is not None:
        return ("inline",)
    return _EXPORTS if builder.driver == "docker" else (*_EXPORTS, "s3", "azblob")


def can_all(found: Capabilities) -> bool:
    """Whether the builder runs, answers, and can save every kind of cache."""
    builder = found.builder
    return (
        bool(builder.nodes)
        and not builder.error
        and all(node.runs for node in builder.nodes)
        and not found.lacks_engine
        and find_limit(found) is None
    )


def check_buildx(text: str) -> None:
    """Raise EngineError if the output of `docker buildx version` names one that is too old."""
    version = parse_version(text)
    if version is not None and version < OLDEST_BUILDX:
        raise EngineError(
            f"buildx {_dotted(version)} is too old; bxcache needs {_dotted(OLDEST_BUILDX)} or "
            "later, the first that reports each step",
            hint=f"`apt-get install docker-buildx-plugin` updates it; or see {_INSTALL_BUILDX}",
        )


def _reason(text: str) -> str:
    return f": {text}" if text else ""


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
