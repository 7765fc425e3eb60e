"""A cache key in the form that a CI system expects."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from bxcache.backends.cache_key import CacheKey

_STYLES = {
    "plain": "{key}\n{prefixes}",
    # https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    "github": "key={key}\nrestore-keys<<bxcache\n{prefixes}\nbxcache",
    # https://circleci.com/docs/configuration-reference/#restorecache
    "circleci": """\
# before `bxcache build`
- restore_cache:
    keys:
      - {project}{{{{ .Branch }}}}.
      - {project}
# after it
- save_cache:
    key: {project}{{{{ .Branch }}}}.{{{{ checksum "{store}/index.json" }}}}
    paths:
      - {store}""",
    # https://docs.gitlab.com/ci/yaml/#cachefallback_keys
    "gitlab": """\
cache:
  key: {project}$CI_COMMIT_REF_SLUG
  fallback_keys:
    - {project}$CI_DEFAULT_BRANCH
  paths:
    - {store}""",
}


def render_key(key: CacheKey, store: Path, style: str) -> str:
    """Render a key in the style of a CI system; `store` is the path to keep."""
    prefixes = "\n".join(key.prefixes)
    return _STYLES[style].format(key=key.key, prefixes=prefixes, project=key.project, store=store)
