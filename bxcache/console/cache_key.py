"""A cache key in the form that a CI system expects."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bxcache.backends.cache_key import CacheKey


def _render_plain(key: CacheKey, _store: Path) -> str:
    return "\n".join((key.key, *key.prefixes))


def _render_github(key: CacheKey, _store: Path) -> str:
    """Render for `$GITHUB_OUTPUT`.

    https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    return "\n".join((f"key={key.key}", "restore-keys<<bxcache", *key.prefixes, "bxcache"))


def _render_circleci(key: CacheKey, store: Path) -> str:
    """https://circleci.com/docs/configuration-reference/#restorecache"""
    branch = f"{key.project}{{{{ .Branch }}}}."
    return f"""\
# before `bxcache build`
- restore_cache:
    keys:
      - {branch}
      - {key.project}
# after it
- save_cache:
    key: {branch}{{{{ checksum "{store}/index.json" }}}}
    paths:
      - {store}"""


def _render_gitlab(key: CacheKey, store: Path) -> str:
    """https://docs.gitlab.com/ci/yaml/#cachefallback_keys"""
    return f"""\
cache:
  key: {key.project}$CI_COMMIT_REF_SLUG
  fallback_keys:
    - {key.project}$CI_DEFAULT_BRANCH
  paths:
    - {store}"""


STYLES: dict[str, Callable[[CacheKey, Path], str]] = {
    "plain": _render_plain,
    "github": _render_github,
    "circleci": _render_circleci,
    "gitlab": _render_gitlab,
}
"""The renderer for each CI system."""
