"""Tests of the builds of one run, which wait for what others of them have made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late

import pytest

from bxcache.buildx.metadata import Metadata
from bxcache.buildx.run import RunResult
from bxcache.buildx.stream.trace import Trace
from bxcache.pipeline.ledger import Ledger, Progress, enter_alone

RAN = RunResult(0, Trace(), Metadata(), 1.0)


def test_a_build_alone_waits_for_nobody() -> None:
    """The only build of a run gets nothing, at once."""
    assert enter_alone().wait_for_others(Progress.SAVED) == []


@pytest.mark.parametrize("ends", ["saved", "failed"])
def test_a_build_waits_until_the_others_are_as_far(ends: str) -> None:
    """A build waits for the others that have begun, also for one that ends with an error."""
    ledger = Ledger()
    with ThreadPoolExecutor() as pool, ledger.open(1) as [own]:
        with ledger.open(1) as [other]:
            other.report(Progress.BUILT, RAN)
            assert own.wait_for_others(Progress.BUILT) == [RAN]
            found = pool.submit(own.wait_for_others, Progress.SAVED)
            with pytest.raises(Late):
                found.result(0.1)
            if ends == "saved":
                other.report(Progress.SAVED, RAN)
                assert found.result(5) == [RAN]
        assert found.result(5) == [RAN]


def test_a_build_does_not_wait_for_one_that_begins_later() -> None:
    """A build that begins after another has ended can have made nothing that it reused."""
    ledger = Ledger()
    with ThreadPoolExecutor() as pool, ledger.open(2) as [own, other]:
        found = pool.submit(own.wait_for_others, Progress.SAVED)
        with pytest.raises(Late):
            found.result(0.1)
        with ledger.open(1):
            other.report(Progress.SAVED, None)
            assert found.result(5) == []
