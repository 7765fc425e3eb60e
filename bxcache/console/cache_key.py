"""A cache key in the form that a CI system expects."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bxcache.backends.cache_key import CacheKey

_GITHUB_BEFORE = """\
- id: bxcache-before
  run: {command} >> "$GITHUB_OUTPUT"
- id: bxcache-restored
  uses: actions/cache/restore@v4
  with:
    path: {store}
    key: ${{{{ steps.bxcache-before.outputs.key }}}}
    restore-keys: ${{{{ steps.bxcache-before.outputs.restore-keys }}}}"""
_GITHUB_AFTER = """\
- id: bxcache-after
  run: {command} >> "$GITHUB_OUTPUT"
- if: >-
    steps.bxcache-after.outputs.content != 'empty' && !endsWith(
    steps.bxcache-restored.outputs.cache-matched-key, steps.bxcache-after.outputs.content)
  uses: actions/cache/save@v4
  with:
    path: {store}
    key: ${{{{ steps.bxcache-after.outputs.key }}}}"""
_STYLES = {
    "plain": "{key}\n{prefixes}",
    # https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    "github-output": "key={key}\ncontent={content}\nrestore-keys<<bxcache\n{prefixes}\nbxcache",
    # https://github.com/actions/cache/blob/v4/restore/README.md
    "github": f"""\
# before `bxcache build`
{_GITHUB_BEFORE}
# after it: a store that has not changed is not saved again
{_GITHUB_AFTER}""",
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
# Protected branches and others restore from each other only if the project's settings allow it:
# Settings, CI/CD, General pipelines, "Use separate caches for protected branches".
cache:
  key: {project}$CI_COMMIT_REF_SLUG
{gitlab_default}  paths:
    - {store}""",
}
STYLES = tuple(_STYLES)
IN_PROJECT = ".bxcache"
"""Where a job keeps the store, from the top of its checkout."""
_STEPS = ("github", "circleci")
_LONGEST_SLUG = 63
_UNDECLARED = """\
# The build must keep its cache in this store: give the job the variable BXCACHE_CACHE_BACKENDS with
# the value type=local,dir={store}
"""
_IGNORE = "# List `{store}` in .dockerignore.\n"
_ELSEWHERE = "# `{store}` is a path of this machine; the job's must be the same.\n"
_GITLAB_VARIABLES = """\
# GitLab keeps only what is below the project's folder; list `{store}` in .dockerignore.
variables:
  BXCACHE_CACHE_BACKENDS: type=local,dir={store}
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


def render_github_steps(store: str) -> list[str]:
    """Render the steps of a GitHub job before the build, and those after it."""
    known = {"command": _write_command(), "store": store}
    return [text.format_map(known) for text in (_GITHUB_BEFORE, _GITHUB_AFTER)]


def _write_command(options: Sequence[str] = ()) -> str:
    return shlex.join(("bxcache", "key", "--style", "github-output", *options))


def render_key(
    key: CacheKey, store: Path | None, style: str, options: Sequence[str] = (), *, declared: bool
) -> str:
    """Render a key in the style of a CI system.

    Args:
        store: the path to keep, relative if it is in the project; None for the default store.
        options: those of `bxcache key` that choose image and store, for commands in the text.
        declared: whether a build finds the store by the configuration alone.
    """
    path, branch, slug = store or Path(IN_PROJECT), key.default, _make_slug(key.default or "")
    if style == "gitlab" and path.is_absolute():
        path, declared = Path(IN_PROJECT), False
    shown = _shorten(path)
    text = _STYLES[style].format(
        key=key.key,
        content=key.content,
        prefixes="\n".join(key.prefixes),
        project=key.project,
        end=key.end,
        command=_write_command(options),
        store=shown,
        circleci_default=f"      - {key.project}{branch}{key.end}\n" if branch else "",
        gitlab_default=f"  fallback_keys:\n    - {key.project}{slug}\n" if slug else "",
    )
    return "".join(_list_remarks(shown, style, declared=declared)).format(store=shown) + text


def _shorten(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def _list_remarks(shown: str, style: str, *, declared: bool) -> Iterator[str]:
    """What a job must have beside the steps."""
    if style == "gitlab" and not declared:
        yield _GITLAB_VARIABLES
    if style not in _STEPS:
        return
    if not declared:
        yield _UNDECLARED
    if Path(shown).is_absolute():
        yield _ELSEWHERE
    elif not declared and not shown.startswith("~"):
        yield _IGNORE


def _make_slug(branch: str) -> str:
    """The branch as `$CI_COMMIT_REF_SLUG` has it.

    https://docs.gitlab.com/ci/variables/predefined_variables/

    >>> _make_slug("Feature/X_1.2-")
    'feature-x-1-2'
    """
    return re.sub("[^a-z0-9]", "-", branch.lower())[:_LONGEST_SLUG].strip("-")
