"""Tests of errors and their exit statuses."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from bxcache import errors
from bxcache.cli.main import _EPILOG
from bxcache.errors import BuildFailedError, BxcacheError, ConfigError, Problem, ResultError

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, BxcacheError)
    and value not in (BxcacheError, ResultError, BuildFailedError)
]
DOCKERS_OWN = {0, 1, 125, 126, 127, 130, 137}


def test_every_exit_status_is_unique() -> None:
    """Every exit status is unique, and none is docker's."""
    codes = [each.exit_status for each in CLASSES] + [errors.EXIT_BUG, errors.EXIT_UNHEALTHY, 2]
    assert len(codes) == len(set(codes))
    assert not DOCKERS_OWN & set(codes)


@pytest.mark.parametrize("each", CLASSES, ids=lambda each: each.__name__)
def test_every_exit_status_is_documented(each: type[BxcacheError]) -> None:
    """Every exit status is in the module's docstring, the help and the documentation."""
    page = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
    assert re.search(rf"{each.__name__} .*\({each.exit_status}\)", errors.__doc__ or "")
    assert re.search(rf"\b{each.exit_status}\b", _EPILOG)
    assert re.search(rf"^\| {each.exit_status} \|", page, re.MULTILINE)


def test_a_config_error_lists_every_problem() -> None:
    """A ConfigError has a line for each problem: file, line, key, message."""
    error = ConfigError(
        [Problem("f.toml", "a.b", "is wrong", 3), Problem("BXCACHE_X", "", "is bad")]
    )
    assert str(error) == (
        "the configuration has 2 problems:\n  f.toml:3: a.b: is wrong\n  BXCACHE_X: is bad"
    )


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["--tag"], "the command line has a problem"),
        (["--tag", "PATH", "--"], "the command line has 3 problems"),
        (["tags=", "path="], "the call has 2 problems"),
        (["--tag", "bxcache.toml"], "the configuration has 2 problems"),
        (["BXCACHE_X"], "the configuration has a problem"),
    ],
)
def test_a_config_error_says_whose_the_problems_are(sources: list[str], expected: str) -> None:
    """The first line names the configuration only where a file or a variable is wrong."""
    assert str(ConfigError(Problem(each, "", "x") for each in sources)).startswith(f"{expected}:")


def test_a_hint_has_its_own_paragraph() -> None:
    """A hint follows the message after an empty line."""
    assert str(BxcacheError("it broke", hint="mend it")) == "it broke\n\nhint: mend it"
