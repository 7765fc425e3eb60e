"""Refuses build arguments that look like secrets where others can read the cache."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bxcache.buildx.extra_flags import list_build_arguments
from bxcache.config.wording import name_option
from bxcache.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from bxcache.pipeline.plan import BuildPlan

_PROXIES = {f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "FTP", "NO", "ALL")}
"""BuildKit keeps these out of the history and the keys, and a step needs them as variables.
https://docs.docker.com/build/building/variables/#proxy-arguments"""
_MOUNT = "--mount=type=secret"
_TITLE = "a secret would be readable in {}"
_WHY = (
    "a build argument is part of the image's history, and what a step makes of it is part of the "
    "cache"
)


def refuse_secrets(
    builds: Iterable[tuple[BuildPlan, Sequence[str]]], allowed: Container[str]
) -> None:
    """Raise a ConfigError that lists the build arguments that look like secrets.

    Only those of builds whose cache would be saved where others can read it are refused.

    Args:
        builds: the plan of each, and its arguments for docker.
        allowed: the names of those that are no secrets.
    """
    problems: dict[Problem, None] = {}
    places: dict[str, None] = {}
    names: dict[str, None] = {}
    for plan, arguments in builds:
        shared = [each.use.place for each in plan.saves if each.use.backend.is_remote]
        for name, why in _list_suspects(arguments, os.environ) if shared else ():
            if name not in allowed:
                problems[Problem(name_option("build_args"), name, why)] = None
                places |= dict.fromkeys(shared)
                names[name] = None
    if problems:
        where = ", ".join(f"`{each}`" for each in places)
        raise ConfigError(problems, title=_TITLE.format(where), hint=_write_hint([*names]))


def _list_suspects(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield the names of build arguments that look like secrets, and why."""
    for name, value in list_build_arguments(arguments, environment):
        from bxcache.buildx.secret_values import describe_secret  # noqa: PLC0415  # 3 ms

        why = describe_secret(name, value or "")
        if why is not None and name.upper() not in _PROXIES:
            yield name, why


def _write_hint(names: Sequence[str]) -> str:
    first = names[0]
    secret = name_option("secrets", f"id={first},env={first}")
    allowed = " ".join(name_option("allow_args", each) for each in names)
    return (
        f"{_WHY}; give it as a secret, which is neither in the history nor in the cache: "
        f"`{secret}`, and `RUN {_MOUNT},id={first},env={first} …` in the Dockerfile; "
        f"if it is not a secret, allow it by name: `{allowed}`"
    )
