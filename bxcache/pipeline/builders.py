"""The builder of a repository's builds: bring it up, remove it."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from bxcache.buildx import builders
from bxcache.buildx.builder_plan import BuilderPlan, NodePlan, list_differences
from bxcache.buildx.capabilities import Builder, Node, parse_builder
from bxcache.buildx.driver import Docker, find_missing_builder
from bxcache.buildx.endpoints import explain_unreachable
from bxcache.config.json_documents import make_document, pick
from bxcache.config.wording import choose_words
from bxcache.errors import ConfigError, EngineError, Problem
from bxcache.pipeline.builder_list import describe_node, note_setup, open_own
from bxcache.pipeline.prepare import BUILDX_BUILDER
from bxcache.redaction import mask_url

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTAINER, _KUBERNETES, _REMOTE, _DOCKER = "docker-container", "kubernetes", "remote", "docker"


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
    """

    name: str
    existed: bool
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `builder rm --json` prints."""
        return make_document(pick(self, "name", "existed", "dry_run"))


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
    docker, declared = Docker.find(), setup.declares_builder
    plan = BuilderPlan.of(setup.config.builder)
    # Docker would wait 20 s for a node that does not answer, and not say why.
    _check_endpoints(plan)
    text = docker.inspect(plan.name)
    found = BuilderPlan.parse(text) if text is not None else None
    if found is not None and found.driver == _DOCKER:
        raise EngineError(
            f"`{plan.name}` is the builder of a docker context, which cannot be changed",
            hint="choose another name in `[builder]`",
        )
    differences = list_differences(found, plan) if found is not None and declared else ()
    lost = _find_loss(found, plan) if found is not None and differences else ""
    used = not declared or (bool(differences) and _name_current(docker) == plan.name)
    try:
        if found is None:
            builder, change = _create(docker, plan, use=used), "created"
        elif differences:
            builder, change = _recreate(docker, found, plan, use=used), "recreated"
        else:
            builder, started = _wake(docker, found)
            change = "started" if started else "none"
            if used and _name_current(docker) != plan.name:
                builders.use_builder(docker, plan.name)
    finally:
        for each in (plan.name, ""):
            docker.remember(each).forget()
    notes = (*note_setup(setup, trust), *_note_other(plan.name))
    return BuilderUp(plan.name, builder.driver, change, differences, lost, builder.nodes, notes)


def _note_other(name: str) -> Iterator[str]:
    other = os.environ.get(BUILDX_BUILDER)
    if other and other != name:
        yield f"builds use `{other}`, which {BUILDX_BUILDER} names, and not `{name}`"


def _name_current(docker: Docker) -> str:
    with suppress(EngineError):
        return parse_builder(docker.inspect("") or "").name
    return ""


def _keeps_state(found: BuilderPlan, wanted: BuilderPlan) -> bool:
    """Whether the changed builder finds what the earlier one has built."""
    pairs = zip(found.nodes, wanted.nodes, strict=False)
    same = all(wanted.endpoint in ("", found.endpoint) for found, wanted in pairs)
    return found.driver == wanted.driver == _CONTAINER and same


def _find_loss(found: BuilderPlan, wanted: BuilderPlan) -> str:
    if found.driver == _REMOTE or _keeps_state(found, wanted):
        return ""
    return "what the earlier builder had built"


def _create(docker: Docker, plan: BuilderPlan, *, use: bool) -> Builder:
    with _removing_on_failure(docker, plan.name):
        builders.create_builder(docker, plan, use=use)
        return _wake(docker, plan)[0]


def _recreate(docker: Docker, found: BuilderPlan, plan: BuilderPlan, *, use: bool) -> Builder:
    if _keeps_state(found, plan):
        docker.remove_builder(plan.name)
    else:
        builders.remove_builder(docker, plan.name)
    try:
        return _create(docker, plan, use=use)
    except BaseException as error:
        state = _restore(docker, found, use=use)
        if not isinstance(error, EngineError):
            raise
        raise EngineError(
            f"{error.message}; the earlier one is {state}", hint=error.hint
        ) from error


def _restore(docker: Docker, found: BuilderPlan, *, use: bool) -> str:
    """Create the earlier builder again, without starting it; whether it is `back` or `gone`."""
    # Kubernetes' endpoints are docker's own choice.
    own = found.driver == _KUBERNETES
    nodes = [replace(each, endpoint="") if own else each for each in found.nodes]
    try:
        builders.create_builder(docker, replace(found, nodes=tuple(nodes)), use=use)
    except EngineError:
        return "gone"
    return "back"


@contextmanager
def _removing_on_failure(docker: Docker, name: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(EngineError):
            docker.remove_builder(name)
        raise


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
    builder = parse_builder(docker.inspect(plan.name) or "")
    asleep = [each for each in builder.nodes if not each.runs]
    if not asleep:
        return builder, False
    why = ""
    if plan.driver != _REMOTE:
        try:
            builder = parse_builder(docker.boot(plan.name))
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
        ConfigError: the configuration is wrong, or no builder is declared or named.
        EngineError: docker is missing, or cannot remove the builder.
        PlaceError: git does not answer what bxcache has to know.
    """
    docker = Docker.find()
    if name is None:
        own, _ = open_own(config_file, directory)
        if not own.declares_builder:
            why = "no builder is declared in `[builder]`, so name the one to remove"
            raise ConfigError([Problem(choose_words("NAME", "name="), "", why)])
        name = own.config.builder.name
    if dry_run:
        return BuilderRemoved(name, docker.inspect(name) is not None, dry_run=True)
    try:
        builders.remove_builder(docker, name)
    except EngineError as error:
        if not find_missing_builder(error.message):
            raise
        return BuilderRemoved(name, existed=False)
    finally:
        for each in (name, ""):
            docker.remember(each).forget()
    return BuilderRemoved(name, existed=True)
