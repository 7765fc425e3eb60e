"""Tries a sample that covers each kind of case, or every case with `--thorough`.

A plugin of pytest, named in `pyproject.toml`. A parameter marked `thorough` belongs to a kind that
another parameter already covers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Literal, TypeVar

import pytest
from _pytest.mark import ParameterSet
from hypothesis import settings

Case = TypeVar("Case")

Effort = Literal["sample", "thorough"]
EXAMPLES: dict[Effort, int] = {"sample": 30, "thorough": 200}
"""How many examples a property gets that does not say otherwise."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    words = "every instant, kind and round instead of a sample; takes an hour"
    parser.addoption("--thorough", action="store_true", help=words)


def pytest_configure(config: pytest.Config) -> None:
    """Set the budget of hypothesis.

    The duration of an example means nothing on a shared machine. On CI, the examples depend only on
    the commit; new examples are found on developers' machines.
    """
    config.addinivalue_line("markers", "thorough: one more of a kind; needs --thorough")
    settings.register_profile(
        "sampled",
        deadline=None,
        derandomize=bool(os.environ.get("CI")),
        max_examples=EXAMPLES[_find_effort(config)],
    )
    settings.load_profile("sampled")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that only a thorough run tries."""
    if config.getoption("thorough"):
        return
    more = [item for item in items if item.get_closest_marker("thorough")]
    if more:
        config.hook.pytest_deselected(items=more)
        items[:] = [item for item in items if item not in more]


def more(*cases: object) -> list[ParameterSet]:
    """Return parameter values that only a thorough run tries; a tuple has one value per name."""
    listed = (case if isinstance(case, tuple) else (case,) for case in cases)
    return [pytest.param(*values, marks=pytest.mark.thorough) for values in listed]


@pytest.fixture(scope="session")
def effort(pytestconfig: pytest.Config) -> Effort:
    """Return how much a test tries."""
    return _find_effort(pytestconfig)


def _find_effort(config: pytest.Config) -> Effort:
    return "thorough" if config.getoption("thorough") else "sample"


def choose(
    cases: Sequence[Case], kind: Callable[[Case], Hashable], every: int, *, effort: Effort
) -> Iterator[tuple[int, Case]]:
    """Choose the cases to try, numbered from 1: the first of each kind, the last and some between.

    Args:
        cases: all cases in order.
        kind: a function that returns what similar cases share.
        every: one in this many is chosen in addition.
        effort: `thorough` chooses every case.

    >>> [number for number, _ in choose("aabbbab", str, 5, effort="sample")]
    [1, 3, 5, 7]
    """
    seen = set()
    for number, case in enumerate(cases, start=1):
        is_chosen = kind(case) not in seen or number in (len(cases), number // every * every)
        seen.add(kind(case))
        if effort == "thorough" or is_chosen:
            yield number, case
