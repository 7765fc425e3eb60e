"""Builders through python-on-whales: the one module that imports it, when it is needed.

It runs docker itself, without a time limit and with this process's environment. What it lacks is
asked of docker directly, by `Docker`: its `inspect` lists all builders, which takes 20 s if one of
them does not answer, and knows no options of drivers; its `remove` cannot keep the state.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from bxcache.buildx.capabilities import Builder, Node
from bxcache.buildx.driver import find_error
from bxcache.buildx.option_text import join_fields
from bxcache.errors import EngineError
from bxcache.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bxcache.buildx.builder_plan import BuilderPlan
    from bxcache.buildx.driver import Docker

_SECONDS_TO_CREATE = 60
_SECONDS_TO_REMOVE = 60
_SECONDS = 30
_LIMIT = (
    '(n=$1; while [ "$n" -gt 0 ]; do sleep 1; kill -0 $$ || exit; n=$((n-1)); done; '
    'kill $$; sleep 2; kill -9 $$) </dev/null >/dev/null 2>&1 & shift; exec "$@"'
)
_LIMITED = ("/bin/sh", "-c", _LIMIT, "sh")
"""Becomes a program, which a process in the background ends after so many seconds."""


class LateError(Exception):
    """Docker did not answer in time."""


def create_builder(docker: Docker, plan: BuilderPlan) -> None:
    """Create a builder with all its nodes, or with none; nothing is started.

    Raises:
        EngineError: docker refuses a node.
    """
    for number in range(len(plan.nodes)):
        try:
            _create_node(docker, plan, number)
        except BaseException as error:
            # A builder that docker refuses to create can be somebody else's of that name.
            if number or not isinstance(error, EngineError):
                with suppress(EngineError):
                    docker.remove_builder(plan.name)
            raise


def _create_node(docker: Docker, plan: BuilderPlan, number: int) -> None:
    redact = Redactor(plan.list_secrets())
    hint = "change `endpoint` or `driver_options` in `[builder]`"
    if plan.driver == "kubernetes":
        hint = "change `driver_options` in `[builder]`, or the current context of KUBECONFIG"
    node = plan.nodes[number]
    where = f", node {number + 1}," if len(plan.nodes) > 1 else ""
    what = f"the builder `{plan.name}`{where} cannot be created"
    with _translating(docker, what, _SECONDS_TO_CREATE, redact, hint), _ignoring_list():
        _open(docker, _SECONDS_TO_CREATE).buildx.create(
            node.endpoint or None,
            name=plan.name,
            driver=plan.driver,
            driver_options=dict(map(_quote, node.options.items())),
            platforms=[*(node.platforms or ())] or None,
            append=number > 0,
        )


def list_builders(docker: Docker, seconds: int) -> tuple[Builder, ...]:
    """List all builders with their state, sorted by name.

    Raises:
        LateError: docker does not answer in time, because a builder does not.
        EngineError: docker cannot list them.
    """
    began = time.monotonic()
    try:
        with _translating(docker, "the builders cannot be listed", seconds):
            found = _open(docker, seconds).buildx.list()
    except EngineError as error:
        if time.monotonic() - began >= seconds:
            raise LateError from error
        raise
    # Ended too early, buildx reports what it knows.
    late = f"no answer within {seconds} s" if time.monotonic() - began >= seconds else ""
    listed = (_read_builder(each, late) for each in found)
    return tuple(sorted(listed, key=lambda each: each.name))


def _read_builder(found: Any, late: str) -> Builder:  # noqa: ANN401  # its type is loaded late
    nodes = map(_read_node, found.nodes or ())
    asked = (
        each if each.runs or not late else replace(each, status="", error=late) for each in nodes
    )
    # Of the others, docker itself knows whether they run.
    return Builder(
        found.name, found.driver or "", tuple(asked if found.driver == "remote" else nodes)
    )


def use_builder(docker: Docker, name: str) -> None:
    """Make a builder the current one; raise EngineError if docker does not."""
    with _translating(docker, f"the builder `{name}` cannot be made the current one", _SECONDS):
        _open(docker, _SECONDS).buildx.use(name)


def remove_builder(docker: Docker, name: str) -> None:
    """Remove a builder with its state; raise EngineError if docker does not."""
    with _translating(docker, f"the builder `{name}` cannot be removed", _SECONDS_TO_REMOVE):
        _open(docker, _SECONDS_TO_REMOVE).buildx.remove(name)


def remove_images(docker: Docker, context: str, refs: Sequence[str]) -> None:
    """Remove images, if they exist, from the engine of a docker context."""
    # A leftover image costs only disk space.
    with suppress(EngineError), _translating(docker, "", _SECONDS):
        _open(docker, context=context).image.remove([*refs])


def _open(docker: Docker, seconds: int | None = None, context: str | None = None) -> Any:  # noqa: ANN401  # its types are loaded late
    from python_on_whales import DockerClient  # noqa: PLC0415  # 60 ms

    limited = () if seconds is None else (*_LIMITED, str(seconds))
    return DockerClient(context=context, client_call=[*limited, *docker.command])


_HINT = "`docker buildx ls` shows the builders that exist"


@contextmanager
def _translating(
    docker: Docker, what: str, seconds: int, redact: Redactor | None = None, hint: str = _HINT
) -> Iterator[None]:
    """Turn the exceptions of python-on-whales into an EngineError with docker's reason."""
    from python_on_whales.exceptions import DockerException  # noqa: PLC0415  # 60 ms

    redact, began = redact or Redactor(), time.monotonic()
    try:
        yield
    except DockerException as error:
        is_late = time.monotonic() - began >= seconds
        why = f"docker took longer than {seconds} s" if is_late else find_error(error.stderr or "")
        if not is_late:
            # Without buildx, docker's own error does not say so.
            docker.ask_buildx_version()
        # Its own text repeats the command, with all options.
        raise EngineError(redact(f"{what}: {why}"), hint=hint) from None
    except (OSError, ValueError) as error:
        raise EngineError(redact(f"{what}: {error}"), hint=hint) from error


@contextmanager
def _ignoring_list() -> Iterator[None]:
    """Ignore that builders cannot be listed, which `create` does after it is done."""
    from python_on_whales.exceptions import DockerException  # noqa: PLC0415  # 60 ms

    try:
        yield
    except DockerException as error:
        if "ls" not in error.docker_command:
            raise
    except ValueError:
        pass


def _quote(pair: tuple[str, str]) -> tuple[str, str]:
    """Quote a pair as a whole, which python-on-whales does not."""
    name, _, value = join_fields(["=".join(pair)]).partition("=")
    return name, value


def _read_node(node: Any) -> Node:  # noqa: ANN401  # its type is loaded late
    return Node(
        name=node.name or "",
        status=node.status or "",
        version=node.version or "",
        platforms=tuple(node.platforms or ()),
        labels=tuple(node.labels or ()),
        endpoint=node.endpoint or "",
    )
