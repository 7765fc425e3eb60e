"""Tests of the results that two runs of one build have together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bxcache.backends.base import EXPORT, CacheUse, Save
from bxcache.backends.transfers import match_exports
from bxcache.buildx.metadata import Metadata
from bxcache.buildx.run import RunResult
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import CacheVertex, StepName
from bxcache.buildx.stream.trace import CacheTransfer, Trace, TracedStep
from bxcache.pipeline.plan import BuildPlan
from bxcache.pipeline.save import judge_imports, list_absent, warn_of_given
from bxcache.place.scope import Owner, Scope
from tests.support.backends import make_local, make_registry

SCOPE = Scope("image", None, (), Owner.of_branch("main"))
EXECUTED, REUSED, FAILED = Outcome.EXECUTED, Outcome.REUSED, Outcome.FAILED


def hear(outcomes: dict[str, Outcome], seconds: float, run: str, status: int = 0) -> RunResult:
    """Make a run in which each step took as long as the run."""
    steps = tuple(
        TracedStep(StepName(None, text, 1, 2, text), (f"{run} {text}",), outcome, seconds, log=run)
        for text, outcome in outcomes.items()
    )
    return RunResult(status, Trace(steps), Metadata(), seconds)


def test_a_step_that_the_first_run_executed_counts_as_executed() -> None:
    """A step that the first run executed counts as executed, under the second run's vertex."""
    first = hear({"a": EXECUTED, "b": REUSED, "c": FAILED}, 7.0, "first")
    second = hear({"a": REUSED, "b": REUSED, "c": EXECUTED, "d": EXECUTED}, 2.0, "second")
    told = second.after(first)
    assert [
        (each.name.text, each.outcome, each.seconds, each.log) for each in told.trace.steps
    ] == [
        ("a", EXECUTED, 7.0, "first"),
        ("b", REUSED, 2.0, "second"),
        ("c", EXECUTED, 2.0, "second"),
        ("d", EXECUTED, 2.0, "second"),
    ]
    assert [each.digests[0].split()[0] for each in told.trace.steps] == ["second"] * 4
    assert told.seconds == 9.0


@pytest.mark.parametrize(
    ("first", "second", "counts"), [(0, 0, 2), (0, 1, 1), (1, 0, 2), (1, 1, 2)]
)
def test_a_successful_build_stays_successful(first: int, second: int, counts: int) -> None:
    """A build that succeeded stays successful if the run that saves it fails."""
    runs = [hear({}, 1.0, "run", status) for status in (first, second)]
    told = runs[1].after(runs[0])
    assert told.exit_status == (first, second)[counts - 1]


FROM = "importing cache manifest from"
OWN, STORE, REGISTRY = "r.example.com/own:x", "local:4887694664242991879", "r.example.com/app:main"


@pytest.mark.parametrize(
    ("broken", "warned"),
    [
        ((), []),
        ((OWN,), [f"the cache `{OWN}` that docker was given could not be read: broken"]),
        ((STORE,), ["the local cache `/store` could not be read: broken"]),
        (
            (OWN, REGISTRY),
            [
                "the registry `r.example.com`: reading `r.example.com/app:main` failed",
                f"the cache `{OWN}` that docker was given could not be read: broken",
            ],
        ),
    ],
)
def test_a_warning_names_the_failed_import(broken: tuple[str, ...], warned: list[str]) -> None:
    """The warning names the import that failed, though a store has no name in the stream."""
    names = [OWN, STORE, REGISTRY]
    transfers = tuple(
        CacheTransfer(f"{FROM} {name}", None, "broken" if name in broken else "") for name in names
    )
    uses = tuple(
        CacheUse("--cache-from", backend, place, "main", (), "")
        for backend, place in ((make_local(), "/store"), (make_registry(REGISTRY), REGISTRY))
    )
    plan = BuildPlan(SCOPE, uses)
    ran = RunResult(0, Trace(transfers=transfers), Metadata(), 0.0)
    warnings: list[str] = []
    found = [*judge_imports(plan, ran, warnings)]
    assert [each.imported for each in found] == [name not in broken for name in (STORE, REGISTRY)]
    warnings += warn_of_given(plan, ran, [])
    assert len(warnings) == len(warned)
    assert all(each.startswith(start) for each, start in zip(warnings, warned, strict=True))


def test_an_absent_cache_of_the_caller_is_not_a_failure() -> None:
    """An absent cache that docker was given, as in a first build, causes a note and no warning."""
    why = f"failed to configure registry cache importer: {OWN}: not found"
    ran = RunResult(
        0, Trace(transfers=(CacheTransfer(f"{FROM} {OWN}", None, why),)), Metadata(), 0.0
    )
    plan = BuildPlan(SCOPE)
    assert [*warn_of_given(plan, ran, [])] == []
    told = f"the cache `{OWN}` that docker was given is not imported: {why}"
    assert [*list_absent(plan, ran)] == [told]


def export(place: str) -> CacheUse:
    """Return the flag of an export to a registry."""
    return CacheUse(EXPORT, make_registry(place), place, "main", (("type", "registry"),), "")


def list_failed(ran: RunResult, places: Sequence[str], given: Sequence[str] = ()) -> list[str]:
    """List the registries whose exports failed."""
    found = match_exports([export(place) for place in places], ran, given)
    return [place for place in places if any(each.error for each in found[place])]


A, B, C = "r.example.com/team/a:main", "r.example.com/team/b:main", "other.example.com/a:main"


@pytest.mark.parametrize(
    ("errors", "failed"),
    [
        (("", "", ""), []),
        # The exports may be in any order; errors name the repository as a ref or as a URL.
        (("failed to push r.example.com/team/b:main: denied", "", ""), [B]),
        (("", 'PUT "https://r.example.com/v2/team/b/blobs/": 500', ""), [B]),
        (("", "", "dial other.example.com: refused"), [C]),
        (("dial other.example.com: refused", "", "push to r.example.com/team/a: no"), [A, C]),
        (("odd", "odd", "odd"), [A, B, C]),
    ],
)
def test_a_failed_export_is_matched_to_its_registry(
    errors: tuple[str, ...], failed: list[str]
) -> None:
    """The failed export is found by its error, since BuildKit names all exports alike."""
    name = CacheVertex.EXPORT_REGISTRY
    transfers = tuple(CacheTransfer(name, None if each else "sha256:d", each) for each in errors)
    ran = RunResult(0, Trace(transfers=transfers), Metadata(), 0.0)
    assert list_failed(ran, (A, B, C)) == failed


GIVEN = "r.example.com/team:main"
"""A ref whose repository is a part of the path of another one."""


@pytest.mark.parametrize(
    ("errors", "failed", "warned"),
    [
        (("", ""), [], []),
        (("push to r.example.com/team:main: denied", ""), [], [GIVEN]),
        (("", "push to r.example.com/team/a: denied"), [A], []),
        (("r.example.com refused", "r.example.com refused"), [A], [GIVEN]),
    ],
)
def test_an_export_of_the_caller_is_distinguished(
    errors: tuple[str, ...], failed: list[str], warned: list[str]
) -> None:
    """A failed export that the caller requested is a warning of its own, even on the same host."""
    kind = CacheVertex.EXPORT_REGISTRY
    transfers = tuple(CacheTransfer(kind, None if each else "sha256:d", each) for each in errors)
    lost = CacheTransfer(CacheVertex.EXPORT_S3, None, "no such bucket")
    ran = RunResult(0, Trace(transfers=(*transfers, lost)), Metadata(), 0.0)
    assert list_failed(ran, (A,), [GIVEN]) == failed
    warnings = [*warn_of_given(BuildPlan(SCOPE, saves=(Save(export(A)),)), ran, [GIVEN])]
    said = [each for each in warnings if "docker was given" in each]
    assert [each.partition("`")[2].partition("`")[0] for each in said] == warned
    assert warnings[-1].endswith("which arguments for docker ask for, failed: no such bucket")
