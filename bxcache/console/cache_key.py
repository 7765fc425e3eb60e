"""A cache key in the form that a CI system expects."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bxcache.backends.cache_key import CacheKey

_STYLES = {
    "plain": "{key}\n{prefixes}",
    # https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    "github-output": "key={key}\ncontent={content}\nrestore-keys<<bxcache\n{prefixes}\nbxcache",
    # https://github.com/actions/cache/blob/v4/restore/README.md
    "github": """\
# before `bxcache build`
- id: bxcache-before
  run: {command} >> "$GITHUB_OUTPUT"
- id: bxcache-restored
  uses: actions/cache/restore@v4
  with:
    path: {store}
    key: ${{{{ steps.bxcache-before.outputs.key }}}}
    restore-keys: ${{{{ steps.bxcache-before.outputs.restore-keys }}}}
# after it: a store that has not changed is not saved again
- id: bxcache-after
  run: {command} >> "$GITHUB_OUTPUT"
- if: >-
    steps.bxcache-after.outputs.content != 'empty' && !endsWith(
    steps.bxcache-restored.outputs.cache-matched-key, steps.bxcache-after.outputs.content)
  uses: actions/cache/save@v4
  with:
    path: {store}
    key: ${{{{ steps.bxcache-after.outputs.key }}}}""",
    # https://circleci.com/docs/configuration-reference/#restorecache
    "circleci": """\
# before `bxcache build`
- restore_cache:
    keys:
      - {project}{{{{ .Branch }}}}{end}
{circleci_default}      - {project}
# after it
- save_cache:
    key: {project}{{{{ .Branch }}}}{end}{{{{ checksum "{store}/index.json" }}}}
    paths:
      - {store}""",
    # https://docs.gitlab.com/ci/yaml/#cachefallback_keys
    "gitlab": """\
{gitlab_variables}\
# Protected branches and others restore from each other only if the project's settings allow it:
# Settings, CI/CD, General pipelines, "Use separate caches for protected branches".
cache:
  key: {project}$CI_COMMIT_REF_SLUG
{gitlab_default}  paths:
    - {gitlab_store}""",
}
STYLES = tuple(_STYLES)
_IN_PROJECT = ".bxcache"
_LONGEST_SLUG = 63
_MOVED = f"""\
# The default store's path differs between machines. These steps keep it in the checkout: give the
# job the variable BXCACHE_CACHE_BACKENDS with the value type=local,dir={_IN_PROJECT}
# and list `{_IN_PROJECT}` in .dockerignore.
"""
_GITLAB_VARIABLES = f"""\
# GitLab keeps only what is below the project's folder; list `{_IN_PROJECT}` in .dockerignore.
variables:
  BXCACHE_CACHE_BACKENDS: type=local,dir={_IN_PROJECT}
"""


_UNKNOWN_DEFAULT = {
    "circleci": "the newest store of any branch",
    "gitlab": "nothing",
}
"""Where a new branch starts if the default branch is unknown; other styles ask in the job."""


def note_unknown(key: CacheKey, style: str) -> str | None:
    """Say what is missing in the steps of a CI system, and how to add it."""
    if key.default is not None or style not in _UNKNOWN_DEFAULT:
        return None
    return (
        "neither git nor the configuration says which branch is the default one, so a new branch "
        f'starts from {_UNKNOWN_DEFAULT[style]}; `default = "main"` below `[place]` says it'
    )


def render_key(key: CacheKey, store: Path | None, style: str, options: Sequence[str] = ()) -> str:
    """Render a key in the style of a CI system.

    Args:
        store: the path to keep, relative if it is in the project; None for the default store.
        options: those of `bxcache key` that choose image and store, for commands in the text.
    """
    path, inside = store or Path(_IN_PROJECT), store is not None and not store.is_absolute()
    home, branch, slug = Path.home(), key.default, _make_slug(key.default or "")
    shown = f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
    text = _STYLES[style].format(
        key=key.key,
        content=key.content,
        prefixes="\n".join(key.prefixes),
        project=key.project,
        end=key.end,
        command=shlex.join(("bxcache", "key", "--style", "github-output", *options)),
        store=shown,
        circleci_default=f"      - {key.project}{branch}{key.end}\n" if branch else "",
        gitlab_default=f"  fallback_keys:\n    - {key.project}{slug}\n" if slug else "",
        gitlab_store=shown if inside else _IN_PROJECT,
        gitlab_variables="" if inside else _GITLAB_VARIABLES,
    )
    return f"{_MOVED}{text}" if store is None and style in ("github", "circleci") else text


def _make_slug(branch: str) -> str:
    """The branch as `$CI_COMMIT_REF_SLUG` has it.

    https://docs.gitlab.com/ci/variables/predefined_variables/

    >>> _make_slug("Feature/X_1.2-")
    'feature-x-1-2'
    """
    return re.sub("[^a-z0-9]", "-", branch.lower())[:_LONGEST_SLUG].strip("-")
