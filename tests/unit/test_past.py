"""Tests that the time of a step is known as long as builds reuse it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.stream.events import Outcome
from bxcache.insight.record_steps import recall_seconds
from tests.support.histories import make_record, make_step

REUSED, EXECUTED = Outcome.REUSED, Outcome.EXECUTED
NAMES = ("a", "b", "c")
Took = dict[str, float | None]
BUILDS = st.lists(
    st.fixed_dictionaries({name: st.none() | st.floats(0.1, 900.0) for name in NAMES}), min_size=1
)
"""For each build the times of its steps; None for a reused step."""


@given(BUILDS)
def test_the_last_record_knows_the_times_of_all_earlier_builds(
    builds: list[dict[str, float | None]],
) -> None:
    """The time survives although each build reads only the record of the previous one."""
    last: dict[str, float] = {}
    record = make_record()
    for took in builds:
        steps = [
            make_step(
                f"RUN {name}",
                2,
                layers=f"{name}:10",
                seconds=took[name] or 0.0,
                outcome=REUSED if took[name] is None else EXECUTED,
            )
            for name in NAMES
        ]
        record = make_record(*recall_seconds(steps, [record]))
        expected = {name: last.get(name) if took[name] is None else None for name in NAMES}
        assert dict(zip(NAMES, (step.ran for step in record.steps), strict=True)) == expected
        last |= {name: seconds for name, seconds in took.items() if seconds is not None}


def test_failed_steps_and_base_images_save_nothing() -> None:
    """Failed steps and base images do not save time."""
    before = make_record(
        make_step("RUN a", 2, layers="a:10", seconds=5.0), make_step("FROM x", 1, layers="x:10")
    )
    steps = [make_step("RUN a", 2, outcome=Outcome.FAILED), make_step("FROM x", 1, layers="x:10")]
    assert [step.ran for step in recall_seconds(steps, [before])] == [None, None]


def test_a_step_is_recognized_by_its_layer_and_kind() -> None:
    """A copy is still recognized after its source stage was renamed."""
    before = make_record(
        make_step("RUN make", 2, layers="a:10", seconds=5.0),
        make_step("COPY --from=deps /x /x", 4, layers="a:10", seconds=0.1),
    )
    steps = [
        make_step("COPY --from=tools /x /x", 4, layers="a:10", outcome=REUSED),
        make_step("RUN make all", 2, layers="a:10", outcome=REUSED),
    ]
    assert [step.ran for step in recall_seconds(steps, [before])] == [0.1, 5.0]
