"""Checks of the caches that the caller gives to docker, beside those that are declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bxcache.buildx.capabilities import parse_version
from bxcache.buildx.extra_flags import CACHE_FROM, CACHE_TO, find_values
from bxcache.buildx.option_text import split_fields
from bxcache.config.wording import choose_words, name_option
from bxcache.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_SECRETS = ("secret_access_key", "session_token", "token", "ghtoken")
_TITLE = "a secret would be shown in clear in the builder's history"
_HINT = (
    "`docker buildx history inspect` shows all attributes of an import; give the credentials to "
    "docker or to the builder as variables, such as AWS_SECRET_ACCESS_KEY, or declare the cache "
    "as a backend"
)
_RESETS_SINCE = (0, 31)
"""https://github.com/docker/buildx/releases/tag/v0.31.0"""


def refuse_shown_secrets(imports: Iterable[tuple[str, str]]) -> None:
    """Raise a ConfigError that lists the secrets in imports, each with what declares it.

    BuildKit keeps the attributes of imports in the history of builds:
    https://github.com/moby/buildkit/blob/v0.32.2/frontend/dockerui/attr.go
    """
    problems = [
        Problem(source, name, "its value is a secret")
        for source, text in imports
        for name, value in _list_attributes(text)
        if name in _SECRETS and value
    ]
    if problems:
        raise ConfigError(dict.fromkeys(problems), title=_TITLE, hint=_HINT)


def list_given_imports(extra: Sequence[str]) -> Iterator[tuple[str, str]]:
    """List the imports in arguments for docker."""
    source = choose_words(CACHE_FROM, name_option("extra"))
    yield from ((source, text) for text in find_values(extra, CACHE_FROM))


def list_ignored(extra: Sequence[str], ask_version: Callable[[], str]) -> Iterator[str]:
    """List the attributes of exports that the installed buildx ignores in silence."""
    resets = any(
        name == "reset"
        for text in find_values(extra, CACHE_TO)
        for name, _ in _list_attributes(text)
    )
    if resets:
        version = parse_version(ask_version())
        if version is not None and version < _RESETS_SINCE:
            found = ".".join(map(str, version))
            yield f"buildx {found} ignores `reset` of a cache in silence; 0.31 and later know it"


def _list_attributes(text: str) -> Iterator[tuple[str, str]]:
    for field in split_fields(text):
        name, _, value = field.partition("=")
        yield name.strip().lower(), value
