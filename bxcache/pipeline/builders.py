"""The builder of a repository's builds: bring it up, remove it."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from bxcache.buildx import builders
from bxcache.buildx.builder_plan import (
    BuilderPlan,
    NodePlan,
    find_loss,
    keep_endpoints,
    list_differences,
)
from bxcache.buildx.capabilities import Builder, Node, parse_builder
from bxcache.buildx.driver import Docker, find_missing_builder
from bxcache.buildx.endpoints import explain_unreachable
from bxcache.config.builders import check_builder_name
from bxcache.config.json_documents import make_document, pick
from bxcache.config.wording import choose_words
from bxcache.errors import ConfigError, EngineError, Problem
from bxcache.pipeline.builder_list import describe_node, note_setup, open_own
from bxcache.pipeline.builder_lock import hold_builder
from bxcache.pipeline.prepare import BUILDX_BUILDER
from bxcache.redaction import mask_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_KUBERNETES, _REMOTE, _DOCKER = "kubernetes", "remote", "docker"


class BuilderUp(Struct, frozen=True):
    """A builder that is up.

    Attributes:
        name: the name by which docker knows it.
        driver: how docker runs it, such as `docker-container`.
        change: what was done: `created`, `recreated`, `started`, or `none` if it was up already.
        differences: how it differed from the declared one, if it was recreated.
        lost: what was lost with the earlier one; empty if nothing was.
        nodes: its nodes, as docker now reports them.
        notes: what else there is to know.
    """

    name: str
    driver: str
    change: str
    differences: tuple[str, ...]
    lost: str
    nodes: tuple[Node, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `builder up --json` prints."""
        own = pick(self, "name", "driver", "change", "differences", "lost", "notes")
        return make_document({**own, "nodes": [*map(describe_node, self.nodes)]})


class BuilderRemoved(Struct, frozen=True):
    """The result of a removal.

    Attributes:
        name: the builder's name.
        existed: whether there was such a builder.
        dry_run: whether nothing was removed, but would be.
        notes: what may be left of it.
    """

    name: str
    existed: bool
    dry_run: bool = False
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `builder rm --json` prints."""
        return make_document(pick(self, "name", "existed", "dry_run", "notes"))


def bring_up_builder(
    *,
    config_file: str | os.PathLike[str] | None = None,
    directory: str | os.PathLike[str] = "",
) -> BuilderUp:
    """Create the builder that `[builder]` declares, or change and start the one of that name.

    Without `[builder]`, it is a builder of the driver `docker-container` named `bxcache`, which
    becomes docker's current builder. One that is up and as declared stays as it is; one that
    differs is created anew.

    Args:
        config_file: the config file, instead of the one that is found.
        directory: the directory of the repository. Default: the working directory.

    Raises:
        ConfigError: the configuration is wrong.
        EngineError: docker is missing, or a node cannot be reached or started; a builder that was
            not there before is not there now.
        PlaceError: git does not answer what bxcache has to know.
    """
    setup, trust = open_own(config_file, directory)
    docker, plan = Docker.find(), BuilderPlan.of(setup.config.builder)
    # Docker would wait 20 s for a node that does not answer, and not say why.
    _check_endpoints(plan)
    with hold_builder(plan.name), _forgetting(docker, plan.name):
        up = _bring_up(docker, plan, declared=setup.declares_builder)
    return replace(up, notes=(*note_setup(setup, trust), *up.notes, *_note_other(plan.name)))


def _bring_up(docker: Docker, plan: BuilderPlan, *, declared: bool) -> BuilderUp:
    text = docker.inspect(plan.name)
    found = BuilderPlan.parse(text) if text is not None else None
    if found is not None and found.driver == _DOCKER:
        raise EngineError(
            f"`{plan.name}` is the builder of a docker context, which cannot be changed",
            hint="choose another name in `[builder]`",
        )
    differences = list_differences(found, plan) if found is not None and declared else ()
    current = _name_current(docker) if differences or not declared else ""
    lost, notes = "", []
    if found is None:
        builder, change = _create(docker, plan), "created"
    elif differences:
        plan = keep_endpoints(found, plan)
        lost, change = find_loss(found, plan), "recreated"
        builder, left = _recreate(docker, found, plan, use=current == plan.name)
        notes += [left] if left else []
    else:
        builder, started = _wake(docker, found)
        change = "started" if started else "none"
    if not declared and current != plan.name:
        builders.use_builder(docker, plan.name)
        notes.append(_note_switch(plan.name, current))
    return BuilderUp(
        plan.name, builder.driver, change, differences, lost, builder.nodes, tuple(notes)
    )


def _note_switch(name: str, earlier: str) -> str:
    back = f"; `docker buildx use {earlier}` goes back" if earlier else ""
    return f"`{name}` is docker's current builder now{back}"


def _note_other(name: str) -> Iterator[str]:
    other = os.environ.get(BUILDX_BUILDER)
    if other and other != name:
        yield f"builds use `{other}`, which {BUILDX_BUILDER} names, and not `{name}`"


def _name_current(docker: Docker) -> str:
    with suppress(EngineError):
        return parse_builder(docker.inspect("") or "").name
    return ""


@contextmanager
def _forgetting(docker: Docker, name: str) -> Iterator[None]:
    """Forget afterwards what docker answered about a builder, and about the current one."""
    try:
        yield
    finally:
        for each in (name, ""):
            docker.remember(each).forget()


def _create(docker: Docker, plan: BuilderPlan) -> Builder:
    builders.create_builder(docker, plan)
    try:
        return _wake(docker, plan)[0]
    except BaseException:
        with suppress(EngineError):
            docker.remove_builder(plan.name)
        raise


def _recreate(
    docker: Docker, found: BuilderPlan, plan: BuilderPlan, *, use: bool
) -> tuple[Builder, str | None]:
    """Create a builder in place of another; return it, and a note as `_remove` does."""
    # Its state is kept at least until the new one runs.
    left = _remove(docker, plan.name, docker.remove_builder)
    try:
        builder = _create(docker, plan)
    except BaseException as error:
        state = _restore(docker, found, use=use)
        if not isinstance(error, EngineError):
            raise
        raise EngineError(
            f"{error.message}; the earlier one is {state}", hint=error.hint
        ) from error
    if use:
        builders.use_builder(docker, plan.name)
    return builder, left


def _restore(docker: Docker, found: BuilderPlan, *, use: bool) -> str:
    """Create the earlier builder again, without starting it; whether it is `back` or `gone`."""
    # Kubernetes' endpoints are docker's own choice.
    own = found.driver == _KUBERNETES
    nodes = [replace(each, endpoint="") if own else each for each in found.nodes]
    try:
        builders.create_builder(docker, replace(found, nodes=tuple(nodes)))
    except EngineError:
        return "gone"
    if use:
        with suppress(EngineError):
            builders.use_builder(docker, found.name)
    lost = find_loss(found)
    return f"back, without {lost}" if lost else "back"


def _remove(docker: Docker, name: str, remove: Callable[[str], None]) -> str | None:
    """Remove a builder; return a note on what may be left of it, or None if it did not exist.

    Docker forgets a builder whose nodes it cannot reach, and only then fails:
    https://github.com/docker/buildx/blob/v0.29.1/commands/rm.go
    """
    try:
        remove(name)
    except EngineError as error:
        if find_missing_builder(error.message):
            return None
        if not _is_gone(docker, name):
            raise
        why = error.message.partition(": ")[2]
        return f"what `{name}` ran and had built may be left where it was: {why}"
    return ""


def _is_gone(docker: Docker, name: str) -> bool:
    with suppress(EngineError):
        return docker.inspect(name) is None
    return False


def _check_endpoints(plan: BuilderPlan) -> None:
    """Raise EngineError if a remote node cannot be reached, before anything is changed."""
    if plan.driver != _REMOTE:
        return
    endpoints = [(each.endpoint, "cacert" in each.options) for each in plan.nodes]
    wrong = [
        f"{_name_node(plan, number, each)}: {why}"
        for number, (each, why) in enumerate(
            zip(plan.nodes, explain_unreachable(endpoints), strict=True)
        )
        if why
    ]
    if wrong:
        raise EngineError(
            f"nothing was changed, since the builder `{plan.name}` cannot be reached: "
            f"{'; '.join(wrong)}",
            hint="start `buildkitd` there, or change `endpoint` in `[builder]`",
        )


def _name_node(plan: BuilderPlan, number: int, node: NodePlan) -> str:
    head = f"node {number + 1} at " if len(plan.nodes) > 1 else ""
    return f"{head}`{mask_url(node.endpoint)}`"


def _wake(docker: Docker, plan: BuilderPlan) -> tuple[Builder, bool]:
    """Start the nodes that do not run; return the builder, and whether there were such nodes."""
    builder = _read(docker.inspect(plan.name), plan.name)
    asleep = [each for each in builder.nodes if not each.runs]
    if not asleep:
        return builder, False
    why = ""
    if plan.driver != _REMOTE:
        try:
            builder = _read(docker.boot(plan.name), plan.name)
        except EngineError as error:
            why = f": {error.message.partition(': ')[2] or error.message}"
            builder = parse_builder(docker.inspect(plan.name) or "")
    still = [each for each in builder.nodes if not each.runs]
    if still or why:
        wrong = ", ".join(_name_broken(each) for each in still or asleep)
        does = "does not answer" if plan.driver == _REMOTE else "does not start"
        raise EngineError(
            f"the builder `{plan.name}` {does}: {wrong}{why}",
            hint=f"`docker buildx inspect --bootstrap {plan.name}` shows the full error of one "
            "that exists; `driver_options` in `[builder]` has its image and its limits",
        )
    return builder, True


def _read(text: str | None, name: str) -> Builder:
    """Read docker's description of a builder; raise EngineError if it has no nodes."""
    builder = parse_builder(text or "")
    if builder.error or not builder.nodes:
        why = builder.error or "docker knows no nodes of it"
        raise EngineError(
            f"the builder `{name}` does not answer: {why}",
            hint=f"`docker buildx inspect {name}` shows what docker knows of it",
        )
    return builder


def _name_broken(node: Node) -> str:
    why = f" ({node.error})" if node.error else ""
    at = f" at `{mask_url(node.endpoint)}`" if node.endpoint else ""
    return f"node `{node.name}`{at}{why}"


def remove_builder(
    name: str | None = None,
    *,
    dry_run: bool = False,
    config_file: str | os.PathLike[str] | None = None,
    directory: str | os.PathLike[str] = "",
) -> BuilderRemoved:
    """Remove a builder, with what it has built; that one does not exist is no error.

    Args:
        name: the builder. Default: the one that `[builder]` declares.
        dry_run: remove nothing.
        config_file: as for `bring_up_builder`.
        directory: as for `bring_up_builder`.

    Raises:
        ConfigError: the configuration or the name is wrong, or no builder is declared or named.
        EngineError: docker is missing, or cannot remove the builder.
        PlaceError: git does not answer what bxcache has to know.
    """
    docker = Docker.find()
    if name is not None:
        try:
            # Docker takes an empty name for the current builder, and others for flags.
            check_builder_name(name)
        except ValueError as error:
            problem = Problem(choose_words("NAME", "name="), "", f"`{name}`: {error}")
            raise ConfigError([problem]) from error
    else:
        own, _ = open_own(config_file, directory)
        if not own.declares_builder:
            why = "no builder is declared in `[builder]`, so name the one to remove"
            raise ConfigError([Problem(choose_words("NAME", "name="), "", why)])
        name = own.config.builder.name
    if dry_run:
        return BuilderRemoved(name, docker.inspect(name) is not None, dry_run=True)
    with hold_builder(name), _forgetting(docker, name):
        left = _remove(docker, name, partial(builders.remove_builder, docker))
    return BuilderRemoved(name, existed=left is not None, notes=(left,) if left else ())
