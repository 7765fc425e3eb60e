"""Tests of the results of a bake's targets, and of the runs that save them."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from bxcache.backends.base import EXPORT, CacheUse
from bxcache.buildx.bake.definition import BakeTarget
from bxcache.buildx.bake.stream import BakeReader
from bxcache.buildx.capabilities import Node
from bxcache.buildx.metadata import Metadata, find_layers, parse_bake_metadata
from bxcache.buildx.run import RunResult
from bxcache.buildx.stream.events import Outcome
from bxcache.buildx.stream.names import StepName
from bxcache.buildx.stream.raw import join_documents
from bxcache.buildx.stream.trace import Trace, TracedStep
from bxcache.pipeline import bake as bake_module
from bxcache.pipeline import bake_definition
from bxcache.pipeline.bake import bake_targets, read_result, share_layers
from bxcache.pipeline.bake_targets import BakeRequest
from bxcache.pipeline.build import Job, run_again
from bxcache.pipeline.request import BuildRequest
from bxcache.pipeline.target import Target
from bxcache.place.scope import Owner, Scope
from bxcache.process import Stop, open_pool
from bxcache.store.store import Store
from tests.support.backends import make_local, plan_uses
from tests.support.synthetic_build import make_prepared, make_silent_runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from bxcache.pipeline.prepare import Prepared

STREAMS = Path(__file__).parents[1] / "streams" / "bake"
SCOPE = Scope("image", None, ("linux/amd64",), Owner.of_branch("main"))
LOCAL = CacheUse(EXPORT, make_local(), "/s", "scope", (("type", "local"),), "why")


def declare(
    monkeypatch: pytest.MonkeyPatch,
    base: Prepared,
    read_targets: Callable[[BakeRequest], dict[str, BakeTarget]],
) -> BakeRequest:
    """Return a bake with these targets, without running docker."""
    monkeypatch.setattr(bake_module, "ask_docker", lambda _, **__: nullcontext())
    monkeypatch.setattr(bake_module, "prepare", lambda *_, **__: base)
    monkeypatch.setattr(bake_definition, "read_targets", lambda request, _: read_targets(request))
    return BakeRequest(BuildRequest(directory=base.request.directory))


@pytest.fixture
def base(tmp_path: Path, store: Store) -> Prepared:
    """Prepare a project, without its targets."""
    (tmp_path / "shop" / ".git").mkdir(parents=True)
    return make_prepared(tmp_path / "shop", store, SCOPE)


def read(name: str) -> BakeReader:
    reader = BakeReader(("fast", "bad", "slow"))
    for line in join_documents((STREAMS / f"{name}.ndjson").read_text().splitlines()):
        list(reader.feed(line))
    return reader


def statuses(prepared: Prepared, name: str, *uses: CacheUse) -> dict[str, int]:
    reader = read(name)
    found = {}
    for target in ("fast", "bad", "slow"):
        plan, runner = plan_uses(prepared.scope, uses), make_silent_runner(prepared)
        each = Target(prepared, plan, runner, name=target)
        found[target] = read_result(each, reader, Metadata(), 1, 2.0).exit_status
    return found


@pytest.mark.parametrize(
    ("stream", "uses", "ended"),
    [
        ("failing", (LOCAL,), True),
        # Nothing is exported in the run, as for a registry.
        ("failing", (), True),
        # With an old buildx, only the export shows the end.
        ("failing-old", (LOCAL,), True),
        ("failing-old", (), False),
    ],
)
def test_a_finished_target_has_not_failed(
    base: Prepared,
    stream: str,
    uses: tuple[CacheUse, ...],
    ended: bool,  # noqa: FBT001
) -> None:
    """Targets that finished have status 0; failed and stopped ones have docker's status."""
    assert statuses(base, stream, *uses) == {"fast": 0 if ended else 1, "bad": 1, "slow": 1}


def test_one_node_does_not_decide_for_all(base: Prepared) -> None:
    """With several nodes, an end is not trusted: another may still build the other platform."""
    builder = base.capabilities.builder
    nodes = (*builder.nodes, Node("other", "running", "v0.25.2"))
    capabilities = replace(base.capabilities, builder=replace(builder, nodes=nodes))
    settings = base.setup.config.build.model_copy(
        update={"platforms": ("linux/amd64", "linux/arm64")}
    )
    config = base.setup.config.model_copy(update={"build": settings})
    setup = replace(base.setup, config=config)
    base = replace(base, capabilities=capabilities, setup=setup)
    assert statuses(base, "failing") == {"fast": 1, "bad": 1, "slow": 1}


def test_a_step_of_two_targets_has_its_layers_in_both() -> None:
    """A step whose layers BuildKit reports for one target only has them in the other too."""
    reader, targets = BakeReader(("app", "tools")), ("app", "tools")
    for line in (STREAMS / "unchanged.ndjson").read_text().splitlines():
        list(reader.feed(line))
    reported = parse_bake_metadata((STREAMS / "unchanged.meta.json").read_text(), targets)
    shared = share_layers(reader, reported)
    layers = {
        (target, step.name.label): {each.digest for each in find_layers(step, shared[target])}
        for target in targets
        for step in reader.finish(target, shared[target].operations).steps
    }
    steps = [label for target, label in layers if target == "tools"]
    assert len(steps) == 7
    assert all(layers["tools", step] == layers["app", step] != set() for step in steps)
    unknown = {
        each.vertex
        for each in reported["tools"].operations.values()
        if not each.chains and shared["tools"].operations[each.vertex].chains
    }
    assert len(unknown) == 1


class Insisted(Stop):
    """A stop during which Ctrl-C is pressed again a few times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left, self.told, self.over = times, 0, Event()

    def set(self) -> None:
        super().set()
        self.told += 1
        if self.left:
            self.left -= 1
            raise KeyboardInterrupt
        self.over.set()


@pytest.mark.parametrize("more", [0, 1, 5])
def test_ctrl_c_ends_all_saves(more: int) -> None:
    """Each Ctrl-C stops the running saves again, and the waiting saves never begin."""
    stop = Insisted(more)
    begun: list[int] = []

    def save(number: int) -> None:
        begun.append(number)
        assert stop.over.wait(30)

    jobs: list[Future[None]] = []

    def wait() -> None:
        with open_pool(stop, 4) as pool:
            jobs.extend(pool.submit(save, number) for number in range(20))
            while len(begun) < 4:
                time.sleep(0.001)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait()
    assert stop.is_set
    assert stop.told == more + 1
    assert begun == [0, 1, 2, 3]
    assert [each.cancelled() for each in jobs] == [False] * 4 + [True] * 16


def test_a_bake_can_be_stopped_completely(base: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bake's request has a stop for its runs of docker, which is the caller's own if given."""
    seen: list[Stop | None] = []

    def look(request: BakeRequest) -> dict[str, BakeTarget]:
        seen.append(request.build.stop)
        return {}

    request, own = declare(monkeypatch, base, look), Stop()
    bake_targets(request)
    bake_targets(replace(request, build=replace(request.build, stop=own)))
    assert isinstance(seen[0], Stop)
    assert seen[1] is own


def test_a_bake_without_targets_does_nothing(
    base: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without targets, the caller is not asked to accept them, and docker is not run."""
    request = declare(monkeypatch, base, lambda _: {})
    assert bake_targets(request, accept=lambda _: pytest.fail("asked")) == {}


def test_a_step_executed_in_the_first_of_two_runs_counts_as_executed(base: Prepared) -> None:
    """Steps executed in the first run stay executed, and a finished target stays successful."""

    def hear(outcome: Outcome, status: int) -> RunResult:
        name = StepName(None, "app", 1, 1, "RUN make")
        step = TracedStep(name, ("v",), outcome, 1.0)
        return RunResult(status, Trace(steps=(step,)), Metadata(), 2.0)

    second = {"api": hear(Outcome.REUSED, 0), "web": hear(Outcome.REUSED, 1)}
    bake = Job("bake", base, Stop(), lambda *_: second)
    first = {"api": hear(Outcome.EXECUTED, 1), "web": hear(Outcome.EXECUTED, 0)}
    ran = run_again(bake, {}, first)
    assert [each.outcome for each in ran["api"].trace.steps] == [Outcome.EXECUTED]
    assert (ran["api"].exit_status, ran["api"].seconds) == (0, 4.0)
    assert ran["web"] == first["web"]
