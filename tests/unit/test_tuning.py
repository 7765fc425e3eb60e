"""Tests of what caching each stage was worth, on records whose sums are added up by hand."""

from __future__ import annotations

from typing import Any

import pytest

from bxcache.buildx.stream.events import Outcome
from bxcache.console.tuning import render_tuning
from bxcache.insight.causes import Cause
from bxcache.insight.record import Record
from bxcache.insight.record_misses import RecordedChange, RecordedMiss
from bxcache.insight.record_parts import RecordedCache, RecordedScope, RecordedStep
from bxcache.insight.tuning import Blocker, StageTuning, Worth, tune_stages
from tests.support.histories import SCOPE, make_record, make_stages, make_step

STAGES = make_stages(("deps", 1, "base"), ("app", 3, "deps"))
STORE = {"backend": "local", "place": "/store", "scope": SCOPE}


def deps(outcome: Outcome, seconds: float, layers: str = "d:1000") -> RecordedStep:
    own = {"stage": "deps", "outcome": outcome, "seconds": seconds}
    return make_step("RUN install", 2, layers=layers, **own)


def app(outcome: Outcome, seconds: float, layers: str = "a:50") -> RecordedStep:
    own = {"stage": "app", "outcome": outcome, "seconds": seconds, "parent": 0}
    return make_step("COPY . /app", 4, layers=layers, **own)


def build(
    *steps: RecordedStep,
    imported: bool = True,
    exported: bool = True,
    **more: Any,  # noqa: ANN401  # a record's fields
) -> Record:
    cache = RecordedCache(**STORE, imported=imported, exported=exported)
    return make_record(*steps, stages=STAGES, caches=(cache,), **more)


def miss(cause: Cause, name: str, step: int, *later: int) -> RecordedMiss:
    return RecordedMiss(step=step, later=later, changes=(RecordedChange(cause=cause, name=name),))


def tune(*records: Record) -> dict[str, StageTuning]:
    return {each.stage: each for each in tune_stages(records).stages}


REUSED, EXECUTED = Outcome.REUSED, Outcome.EXECUTED
FIRST = build(deps(EXECUTED, 20.0), app(EXECUTED, 0.2), imported=False)
WARM = build(deps(REUSED, 1.0), app(REUSED, 2.5))


def test_reuse_saves_what_the_steps_took_less_their_fetching() -> None:
    """Two builds saved 20 - 3 and 20 - 1 s, and moved the 1000 bytes that each of them fetched."""
    changed = [miss(Cause.CONTENT, "src/a", 1)]
    found = tune(
        build(deps(REUSED, 1.0), app(EXECUTED, 0.3, "a2:60"), misses=changed),
        build(deps(REUSED, 3.0), app(EXECUTED, 0.2, "a1:55"), misses=changed),
        FIRST,
    )
    own = found["deps"]
    assert (own.builds, own.reused, own.executed) == (2, 2, 0)
    assert (own.ran, own.fetched, own.saved) == (40.0, 4.0, 36.0)
    assert (own.unknown, own.moved_bytes, own.worth) == (0, 2000, Worth.YES)
    # Saved but never fetched: 60 and 55 bytes.
    assert (found["app"].worth, found["app"].moved_bytes) == (Worth.NEVER, 115)
    assert found["app"].blocker == Blocker(changed[0].changes[0], "app")


def test_a_stage_that_is_cheaper_to_execute_has_a_setting() -> None:
    """Fetching took 2 x 2.5 s, executing would have taken 2 x 0.2 s: 4.6 s were lost."""
    found = tune_stages([WARM, WARM, FIRST])
    own = {each.stage: each for each in found.stages}["app"]
    assert (own.saved, own.worth) == (-4.6, Worth.NO)
    assert found.setting == 'no_cache_filter = ["app"]'


def test_stages_that_are_cheaper_to_execute_have_one_setting_together() -> None:
    """A key can be in a table once, so two stages are in one list, which adds to the user's; each
    has the size that a build would save again, 1000 bytes and an unknown one."""
    stages = make_stages(("deps", 1, "base"), ("app", 3, "base"))
    warm, first = (
        each.model_copy(update={"stages": stages})
        for each in (
            build(deps(REUSED, 25.0), app(REUSED, 2.5, "")),
            build(deps(EXECUTED, 20.0), app(EXECUTED, 0.2), imported=False),
        )
    )
    found = tune_stages([warm, warm, first])
    assert found.setting == found.to_dict()["setting"] == 'no_cache_filter = ["deps", "app"]'
    setting = '`no_cache_filter = ["deps", "app"]` in `[build]`'
    again = "a build that executes them and saves its cache saves these layers again"
    assert render_tuning(found).splitlines()[-3:] == [
        f"deps: fetching its layers took 10.0 s longer than executing its steps; {again} (1.0 kB)",
        f"app: fetching its layers took 4.6 s longer than executing its steps; {again}",
        f"{setting} executes such stages in each build; add to what is set there",
    ]


def test_a_setting_is_for_one_stage_alone() -> None:
    """A stage without a name, or with stages that are built on it, has no setting."""
    cheap = build(deps(REUSED, 25.0), app(REUSED, 2.5))
    found = tune_stages([cheap, cheap, FIRST])
    assert [(each.worth, each.separable) for each in found.stages] == [
        (Worth.NO, False),
        (Worth.NO, True),
    ]
    assert found.setting == 'no_cache_filter = ["app"]'
    assert "since it has no name or other stages are built on it" in render_tuning(found)
    head = make_stages(("stage-0", 1, "base"))
    step = make_step("RUN a", 2, layers="a", stage="stage-0", outcome=REUSED, seconds=3.0, ran=1.0)
    cache = (RecordedCache(**STORE, imported=True),)
    found = tune_stages([make_record(step, stages=head, caches=cache)] * 2)
    assert [(each.saved, each.worth) for each in found.stages] == [(-4.0, Worth.NO)]
    assert found.setting == ""


@pytest.mark.parametrize(
    ("fetched", "worth"), [(0.26, Worth.NO), (0.24, Worth.EVEN), (0.16, Worth.EVEN)]
)
def test_a_small_difference_is_noise(fetched: float, worth: Worth) -> None:
    """What differs by less than 0.05 s a build from the 0.2 s of executing decides nothing."""
    warm = build(deps(REUSED, 0.0), app(REUSED, fetched))
    assert tune(warm, warm, FIRST)["app"].worth is worth


def test_an_unknown_time_is_no_evidence() -> None:
    """Without the time of a step, fetching may have been worth it: the verdict is unknown."""
    found = tune_stages([WARM, WARM])
    own = {each.stage: each for each in found.stages}["app"]
    assert (own.unknown, own.worth, found.setting) == (2, Worth.UNKNOWN, "")
    assert "app: unknown: no record has the time of 2 reused steps" in render_tuning(found)
    # The time of one step suffices where it alone is more than all fetching.
    other = make_step("RUN rest", 2, stage="deps", outcome=REUSED, seconds=1.0, parent=0)
    partly = make_record(
        *(deps(REUSED, 1.0), other), stages=STAGES, caches=(RecordedCache(**STORE, imported=True),)
    )
    own = tune(partly, partly, FIRST)["deps"]
    assert (own.ran, own.fetched, own.unknown) == (40.0, 4.0, 2)
    assert own.worth is Worth.YES


def test_one_build_is_no_evidence() -> None:
    """A build without a cache could reuse nothing, and a single other one decides nothing."""
    assert [each.worth for each in tune(FIRST, FIRST).values()] == [Worth.UNKNOWN] * 2
    assert [each.builds for each in tune(FIRST, FIRST).values()] == [0, 0]
    warm = build(deps(REUSED, 1.0), app(REUSED, 0.0))
    assert tune(warm, FIRST)["deps"].worth is Worth.UNKNOWN
    # That no record has the times either is not the reason.
    few = "app: unknown: fewer than 2 builds had a cache to reuse it from"
    assert few in render_tuning(tune_stages([WARM]))


def test_bytes_are_unknown_where_docker_reports_no_layers() -> None:
    """A fetched step without layers, or with one of unknown size, leaves the bytes unknown."""
    for layers in ("", "d:0"):
        warm = build(deps(REUSED, 1.0, layers), app(REUSED, 0.0))
        assert tune(warm, warm, FIRST)["deps"].moved_bytes is None
    # What was neither fetched nor saved moved nothing.
    still = build(deps(REUSED, 0.0, ""), app(EXECUTED, 0.2), exported=False)
    assert [each.moved_bytes for each in tune(still, still, FIRST).values()] == [0, 0]


def test_a_blocker_is_the_same_in_every_build() -> None:
    """What blocks a stage each time is named with its stage; different reasons are not."""
    both = (deps(EXECUTED, 20.0), app(EXECUTED, 0.2))
    lock = build(*both, misses=[miss(Cause.ARGUMENT, "BUILD_ID", 0, 1)])
    found = tune(lock, lock, FIRST)
    for stage in ("deps", "app"):
        blocker = found[stage].blocker
        assert blocker is not None
        assert (blocker.change.name, blocker.stage) == ("BUILD_ID", "deps")
    other = build(*both, misses=[miss(Cause.CONTENT, "package.json", 0, 1)])
    assert tune(lock, other, FIRST)["deps"].blocker is None
    assert tune(lock, build(*both), FIRST)["deps"].blocker is None


def test_only_successful_builds_of_the_scope_count() -> None:
    """Failed builds, and those of other scopes, are left out."""
    warm = build(deps(REUSED, 1.0), app(REUSED, 0.0))
    failed = warm.model_copy(update={"exit_status": 1})
    elsewhere = warm.model_copy(update={"scope": RecordedScope(name="other", image="other")})
    found = tune_stages([warm, failed, elsewhere, warm, FIRST])
    assert (found.scope, found.builds) == (SCOPE, 3)
    assert [each.builds for each in found.stages] == [2, 2]
    assert tune_stages([]).stages == ()


def test_the_text_says_what_to_do() -> None:
    """Each verdict has its reason, and what to set; the document has the same figures."""
    changed = [miss(Cause.CONTENT, "src/a", 1)]
    tuning = tune_stages(
        [
            build(deps(REUSED, 25.0), app(EXECUTED, 0.3, "a2:60"), misses=changed),
            build(deps(REUSED, 25.0), app(EXECUTED, 0.2, "a1:55"), misses=changed),
            FIRST,
        ]
    )
    assert (
        render_tuning(tuning)
        == f"""\
{SCOPE}: 3 builds recorded
STAGE  WORTH IT  BUILDS  REUSED  EXECUTED    SAVED   MOVED
deps   no             2       2         0  -10.0 s  2.0 kB
app    never          2       0         2    0.0 s   115 B
deps: fetching its layers took 10.0 s longer than executing its steps; \
no setting executes this stage alone, since it has no name or other stages are built on it
app: not reused in 2 builds: each time, content of `src/a` changed; \
if no step needs it, list it in `.dockerignore`; if some do, copy it later"""
    )
    document = tuning.to_dict()
    assert [each["worth"] for each in document["stages"]] == ["no", "never"]
    assert document["stages"][0]["saved"] == -10.0
    assert document["stages"][1]["blocker"] == {
        "cause": "content",
        "name": "src/a",
        "stage": "app",
    }
