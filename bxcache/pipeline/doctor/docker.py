"""What the doctor says about docker: its client, buildx, the engine, and the builder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from bxcache.backends.finding import SECONDS_TO_ANSWER, Finding, Status, explain_error, fine
from bxcache.buildx.capabilities import (
    advise_builder,
    check_buildx,
    check_reachable,
    find_limit,
    is_own,
    list_exports,
    name_up,
    parse_engine,
    parse_version,
)
from bxcache.buildx.driver import (
    Docker,
    explain_builder,
    explain_no_buildx,
    find_missing_builder,
)
from bxcache.config.builders import DEFAULT_BUILDER
from bxcache.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bxcache.buildx.capabilities import Builder, Capabilities
    from bxcache.buildx.driver import Examination

_NO_BUILDS = "every build fails"
_STORE_SETTING = (
    'or set `"features": {"containerd-snapshotter": true}` in `/etc/docker/daemon.json` and '
    "restart docker"
)


class Wanted(Struct, frozen=True):
    """What builds here want of docker.

    Attributes:
        builder: the builder that they name; empty for the current one.
        named_by: the setting or variable that names it; empty for the current one.
        declared: whether it is the one of `[builder]`, which can be brought up.
        own: the one that can be brought up: the declared one, or the default one.
        kinds: the declared kinds of caches that not every builder can save.
        cost: how bad a builder is that cannot save them.
    """

    builder: str = ""
    named_by: str = ""
    declared: bool = False
    own: str = DEFAULT_BUILDER
    kinds: tuple[str, ...] = ()
    cost: Status = Status.OK


def judge_docker(
    examined: Examination,
    wanted: Wanted,
    path: str = "docker",
    make: Callable[[], Iterable[str]] | None = None,
) -> Iterator[Finding]:
    """Judge docker's answers; `make` brings up the declared builder, or the default one."""
    if examined.version is None:
        text = f"docker did not answer within {SECONDS_TO_ANSWER:.0f} s"
        remedy = "`docker version` shows whether the engine is reachable; check DOCKER_HOST"
        yield Finding("engine", Status.ERROR, text, _NO_BUILDS, remedy)
        return
    client, engine, platform = parse_engine(examined.version.stdout)
    yield fine("docker", f"{client or 'unknown version'} at `{path}`")
    found = judge_buildx(examined, client)
    yield found
    if engine is not None:
        yield fine("engine", f"{engine} answers, for {platform or 'an unknown platform'}")
    if found.status is Status.ERROR:
        if engine is None:
            yield _explain_no_engine()
        return
    capabilities = examined.capabilities
    if capabilities is None:
        yield from _judge_silence(examined, wanted, engine, make)
        return
    reached = judge_reach(capabilities)
    yield reached
    if reached.status is Status.OK:
        yield judge_exports(capabilities, wanted, make)


def judge_buildx(examined: Examination, client: str) -> Finding:
    """Judge the version of buildx."""
    answer = examined.buildx
    if answer is None:
        text = f"it did not answer within {SECONDS_TO_ANSWER:.0f} s"
        return Finding("buildx", Status.ERROR, text, _NO_BUILDS, "`docker buildx version` asks it")
    if answer.status:
        return explain_error("buildx", explain_no_buildx(client), _NO_BUILDS)
    try:
        check_buildx(answer.stdout)
    except EngineError as error:
        return explain_error("buildx", error, _NO_BUILDS)
    version = parse_version(answer.stdout)
    return fine("buildx", ".".join(map(str, version)) if version else answer.stdout.strip())


def _judge_silence(
    examined: Examination,
    wanted: Wanted,
    engine: str | None,
    make: Callable[[], Iterable[str]] | None,
) -> Iterator[Finding]:
    """Judge a builder that buildx does not describe."""
    inspect = examined.inspect
    if inspect is None:
        name = f"the builder `{wanted.builder}`" if wanted.builder else "the current builder"
        text = f"{name} did not answer within {SECONDS_TO_ANSWER:.0f} s"
        remedy = "`docker buildx ls` shows the builders, `docker buildx use default` leaves it"
        yield Finding("builder", Status.ERROR, text, _NO_BUILDS, remedy)
        return
    if engine is None and not wanted.builder:
        yield _explain_no_engine()
        return
    error = explain_builder(wanted.builder, inspect.stderr)
    by = f", which {wanted.named_by} names" if wanted.named_by else ""
    if wanted.declared:
        missing = find_missing_builder(inspect.stderr) is not None
        remedy, mend = f"`{name_up()}` creates it", make if missing else None
    else:
        other = f"; or change {wanted.named_by}" if wanted.named_by else ""
        remedy, mend = f"{error.hint}{other}", None
    yield Finding("builder", Status.ERROR, f"{error.message}{by}", _NO_BUILDS, remedy, mend)


def _explain_no_engine(why: str = "") -> Finding:
    remedy = "start it (`systemctl start docker`), or point DOCKER_HOST to a running one"
    text = f"docker's engine does not answer{f': {why}' if why else ''}"
    return Finding("engine", Status.ERROR, text, _NO_BUILDS, remedy)


def judge_reach(found: Capabilities) -> Finding:
    """Judge whether the builder can be reached."""
    if found.lacks_engine:
        return _explain_no_engine(found.builder.error)
    try:
        check_reachable(found)
    except EngineError as error:
        return explain_error("builder", error, _NO_BUILDS)
    return fine("builder", _describe(found.builder))


def _describe(builder: Builder) -> str:
    versions = dict.fromkeys(filter(None, (node.version for node in builder.nodes)))
    platforms = dict.fromkeys(each for node in builder.nodes for each in node.platforms)
    parts = [f"`{builder.name}`, driver {builder.driver}"]
    if builder.sleeps:
        parts.append("starts with the first build")
    if versions:
        parts.append(f"BuildKit {' and '.join(versions)}")
    if platforms:
        more = f" and {len(platforms) - 2} more" if len(platforms) > 2 else ""  # noqa: PLR2004
        parts.append(f"for {', '.join([*platforms][:2])}{more}")
    return ", ".join(parts)


def judge_exports(
    found: Capabilities, wanted: Wanted, make: Callable[[], Iterable[str]] | None
) -> Finding:
    """Judge which caches the builder can save."""
    why, builder = find_limit(found), found.builder
    exports = list_exports(builder, found.engine)
    if why is None and exports is None:
        driver = f"the driver {builder.driver} can save every kind of cache"
        return fine("export", f"{driver}; BuildKit's version is unknown until it starts")
    if why is None:
        store = ", in the containerd image store" if builder.driver == "docker" else ""
        return fine("export", f"the builder can save {_name_kinds(exports or ())} caches{store}")
    if wanted.cost is Status.OK:
        return fine("export", f"{why}; no other kind is declared")
    remedy = advise_builder(found, wanted.own)
    if builder.is_classic:
        remedy = f"{remedy}; {_STORE_SETTING}"
    if is_own(builder, wanted.own):
        # Bringing it up changes nothing: it is up.
        make = None
    elif wanted.named_by:
        remedy, make = f"{remedy}; {wanted.named_by} names the builder, so change that", None
    text = f"{_name_kinds(wanted.kinds)} caches are not saved"
    return Finding("export", wanted.cost, why, text, remedy, make)


def _name_kinds(kinds: Sequence[str]) -> str:
    """Name kinds of caches, as `a`, `b` and `c`."""
    *rest, last = (f"`{each}`" for each in kinds)
    return f"{', '.join(rest)} and {last}" if rest else last


def find_docker() -> Docker | Finding:
    """Find docker's client, or the finding that there is none."""
    try:
        return Docker.find()
    except EngineError as error:
        return explain_error("docker", error, _NO_BUILDS)
