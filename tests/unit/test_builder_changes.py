"""Tests of builders that are created, changed and removed, on a docker that is kept in memory."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from typing import TYPE_CHECKING, Any

import pytest
from python_on_whales.exceptions import DockerException

from bxcache.buildx.driver import Docker
from bxcache.errors import ConfigError, EngineError
from bxcache.pipeline.builder_list import list_builders
from bxcache.pipeline.builders import bring_up_builder, remove_builder
from bxcache.process import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

HERE, FAR = "unix:///run/docker.sock", "ssh://me@far"
FLAG = "--allow-insecure-entitlement=network.host"


class MemoryDocker(Docker):
    """Builders in memory, as `docker buildx` and python-on-whales show and change them.

    Attributes:
        known: the driver and the endpoints of each builder.
        current: the current builder.
        running: the builders that run.
        volumes: what was built: the endpoint and the name of each volume.
        dead: the endpoints that do not answer, and the drivers that do not start.
        extras: lines that docker shows of each node.
    """

    def __init__(self) -> None:
        super().__init__(("docker",))
        self.buildx = self
        self.known: dict[str, tuple[str, list[str]]] = {}
        self.current = "default"
        self.running: set[str] = set()
        self.volumes: set[tuple[str, str]] = set()
        self.dead: set[str] = set()
        self.extras: list[str] = []
        self.on_inspect: Callable[[str], None] = lambda _name: None

    def _ask(
        self,
        *arguments: str,
        seconds: float | None = None,  # noqa: ARG002  # as of docker
        environment: Mapping[str, str] | None = None,
    ) -> Answer:
        _, verb, *words = arguments
        if verb == "version":
            return Answer(0, "github.com/docker/buildx v0.29.1 x", "")
        if verb == "rm":
            return self._remove(words[-1], keeps="--keep-state" in words)
        own = os.environ if environment is None else environment
        name = words[-1] if words else own.get("BUILDX_BUILDER", self.current)
        self.on_inspect(name)
        if name == "default":
            return Answer(0, "Name: default\nDriver: docker\n", "")
        if name not in self.known:
            return Answer(1, "", f'ERROR: no builder "{name}" found')
        if "--bootstrap" in words and not self._boot(name):
            return Answer(1, "", "ERROR: it cannot start")
        return Answer(0, self._describe(name), "")

    def _boot(self, name: str) -> bool:
        driver, endpoints = self.known[name]
        if self.dead & {driver, *endpoints}:
            return False
        self.running.add(name)
        if driver == "docker-container":
            self.volumes |= {(at, f"{name}{number}") for number, at in enumerate(endpoints)}
        return True

    def _describe(self, name: str) -> str:
        driver, endpoints = self.known[name]
        status = "running" if name in self.running else "stopped"
        nodes = [
            "\n".join((f"Name: {name}{number}", f"Endpoint: {at}", f"Status: {status}"))
            for number, at in enumerate(endpoints)
        ]
        shown = "\n\n".join("\n".join((each, *self.extras)) for each in nodes)
        return f"Name: {name}\nDriver: {driver}\n\nNodes:\n{shown}\n"

    def _remove(self, name: str, *, keeps: bool) -> Answer:
        driver, endpoints = self.known.pop(name, ("", []))
        if not driver:
            return Answer(1, "", f'failed to remove {name}: no builder "{name}" found')
        self.running.discard(name)
        self.current = "default" if self.current == name else self.current
        if self.dead & {*endpoints}:
            return Answer(1, "", f"failed to remove {name}: the engine is dead\nERROR: failed")
        if not keeps:
            self.volumes -= {(at, f"{name}{number}") for number, at in enumerate(endpoints)}
        return Answer(0, "", "")

    def create(self, endpoint: str | None, **options: Any) -> None:  # noqa: ANN401
        """Create a builder or a node as python-on-whales does."""
        name, is_new = options["name"], not options["append"]
        if is_new and name in self.known:
            raise DockerException(["docker"], 1, b"", b"ERROR: existing instance, no append mode")
        if endpoint == "unknown":
            raise DockerException(["docker"], 1, b"", b"ERROR: no such context")
        _, endpoints = self.known.setdefault(name, (options["driver"], []))
        endpoints.append(HERE if endpoint in (None, "default") else str(endpoint))
        if options.get("use"):
            self.current = name

    def use(self, name: str) -> None:
        """Make a builder the current one."""
        self.current = name

    def remove(self, name: str) -> None:
        """Remove a builder with its state."""
        answer = self._remove(name, keeps=False)
        if answer.status:
            raise DockerException(["docker"], 1, b"", answer.stderr.encode())


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MemoryDocker:
    """Return a docker without builders, which the working directory's repository uses."""
    made = MemoryDocker()
    monkeypatch.setattr(Docker, "find", lambda: made)
    monkeypatch.setattr("bxcache.buildx.builders._open", lambda *_, **__: made)
    monkeypatch.delenv("BUILDX_BUILDER", raising=False)
    monkeypatch.setenv("BUILDX_CONFIG", str(tmp_path / "buildx"))
    monkeypatch.chdir(tmp_path)
    return made


def declare(folder: Path, text: str) -> None:
    (folder / "bxcache.toml").write_text(f'[builder]\nname = "mine"\n{text}\n')


def start(docker: MemoryDocker, *endpoints: str, driver: str = "docker-container") -> None:
    """Start the builder `mine`, which has built something."""
    docker.known["mine"] = (driver, [*endpoints])
    assert docker._boot("mine")


def test_two_that_begin_at_once_make_one_builder(docker: MemoryDocker) -> None:
    """Of two processes, one creates the builder, and the other finds it running."""
    both = Barrier(2)

    def meet(_name: str) -> None:
        # Without a lock, both ask before one creates.
        with suppress(BrokenBarrierError):
            both.wait(0.2)

    docker.on_inspect = meet
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(bring_up_builder) for _ in range(2)]
        changes = sorted(each.result().change for each in calls)
    assert changes == ["created", "none"]
    assert docker.running == {"bxcache"}


def test_a_refused_creation_leaves_the_builder_of_somebody_else(docker: MemoryDocker) -> None:
    """A builder that another program creates meanwhile is not removed."""

    def intrude(name: str) -> None:
        if name == "default":
            docker.known["bxcache"] = ("docker-container", [HERE])

    docker.on_inspect = intrude
    with pytest.raises(EngineError, match="existing instance"):
        bring_up_builder()
    assert "bxcache" in docker.known


def test_a_refused_node_leaves_no_builder(docker: MemoryDocker, tmp_path: Path) -> None:
    """Where docker refuses the second node, the first one is gone too."""
    declare(tmp_path, 'nodes = [{}, { endpoint = "unknown" }]')
    with pytest.raises(EngineError, match="node 2, cannot be created: no such context"):
        bring_up_builder()
    assert docker.known == {}


@pytest.mark.parametrize("name", ["", "-f", "--all-inactive", "a b"])
def test_no_name_reaches_docker_as_something_else(docker: MemoryDocker, name: str) -> None:
    """An empty name, and one that docker would take for a flag, is refused."""
    docker.known[name] = ("docker-container", [HERE])
    with pytest.raises(ConfigError, match="a builder's name begins with a letter"):
        remove_builder(name)
    assert name in docker.known


@pytest.mark.parametrize(
    "text", ['driver = "kubernetes"', 'endpoint = "unknown"', f'endpoint = "{FAR}"']
)
def test_a_failed_change_keeps_what_was_built(
    docker: MemoryDocker, tmp_path: Path, text: str
) -> None:
    """The earlier builder is back with its state, and is the current one if it was."""
    start(docker, HERE)
    docker.current = "mine"
    docker.dead = {"kubernetes", FAR}
    declare(tmp_path, text)
    with pytest.raises(EngineError, match="; the earlier one is back\n"):
        bring_up_builder()
    assert docker.known == {"mine": ("docker-container", [HERE])}
    assert docker.volumes == {(HERE, "mine0")}
    assert docker.current == "mine"


def test_what_a_failed_change_lost_is_named(docker: MemoryDocker, tmp_path: Path) -> None:
    """Pods of Kubernetes come back without what they had built."""
    start(docker, "kubernetes:///mine", driver="kubernetes")
    declare(tmp_path, 'endpoint = "unknown"')
    with pytest.raises(EngineError, match="one is back, without what the earlier builder had bu"):
        bring_up_builder()


@pytest.mark.parametrize("text", ["", 'endpoint = "default"'])
def test_a_changed_builder_stays_where_it_is(
    docker: MemoryDocker, tmp_path: Path, text: str
) -> None:
    """Without an endpoint, or with `default`, the builder keeps its engine and its state."""
    start(docker, FAR)
    docker.extras = [f"BuildKit daemon flags: {FLAG}"]
    declare(tmp_path, f'driver_options = {{ image = "new" }}\n{text}')
    up = bring_up_builder()
    assert (up.change, up.lost) == ("recreated", "")
    assert docker.known["mine"] == ("docker-container", [FAR])
    assert docker.volumes == {(FAR, "mine0")}


def test_two_nodes_never_share_an_engine(docker: MemoryDocker, tmp_path: Path) -> None:
    """A node without an endpoint leaves its engine to the node that declares it."""
    start(docker, FAR)
    declare(tmp_path, f'nodes = [{{}}, {{ endpoint = "{FAR}" }}]')
    assert "what the earlier node `mine0` had built" in bring_up_builder().lost
    assert docker.known["mine"][1] == [HERE, FAR]


def test_what_a_change_loses_is_named(docker: MemoryDocker, tmp_path: Path) -> None:
    """Nodes that are dropped, and settings that cannot be declared, are named."""
    start(docker, HERE, FAR)
    docker.extras = [
        f"BuildKit daemon flags: {FLAG} --debug",
        "File#buildkitd.toml:",
        " > debug = true",
    ]
    declare(tmp_path, "")
    assert bring_up_builder().lost == (
        "what the earlier node `mine1` had built, which stays in the volume "
        "`buildx_buildkit_mine1_state` at `ssh://***@far`; "
        "settings of BuildKit that `[builder]` does not have: `--debug`, `buildkitd.toml`"
    )
    assert docker.volumes == {(HERE, "mine0"), (FAR, "mine1")}


def test_a_builder_of_a_dead_engine_can_be_moved_and_removed(
    docker: MemoryDocker, tmp_path: Path
) -> None:
    """Where docker forgets a builder that it cannot stop, a note names what may be left."""
    note = "what `mine` ran and had built may be left where it was: the engine is dead"
    docker.known["mine"] = ("docker-container", [FAR])
    docker.dead = {FAR}
    assert remove_builder("mine").to_dict()["notes"] == [note]
    docker.known["mine"] = ("docker-container", [FAR])
    declare(tmp_path, 'endpoint = "tcp://new:2375"')
    up = bring_up_builder()
    assert (up.change, up.notes) == ("recreated", (note,))
    assert docker.running == {"mine"}
    assert remove_builder("mine").notes == ()
    assert not remove_builder("mine").existed


def test_the_earlier_current_builder_is_named(
    docker: MemoryDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note says how to go back to docker's own choice, whatever a variable names."""
    monkeypatch.setenv("BUILDX_BUILDER", "bxcache")
    docker.known["other"] = ("docker-container", [FAR])
    docker.current = "other"
    docker.dead = {HERE}
    with pytest.raises(EngineError, match="does not start"):
        bring_up_builder()
    assert docker.current == "other"
    docker.dead = set()
    note = "`bxcache` is docker's current builder now; `docker buildx use other` goes back"
    assert bring_up_builder().to_dict()["notes"] == [note]
    assert docker.current == "bxcache"
    assert bring_up_builder().notes == ()
    docker.current = "other"
    assert bring_up_builder().notes == (note,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "docker knows no nodes of it"),
        ("Name: mine\nDriver: docker-container\nError: no such context\n", "no such context"),
    ],
)
def test_a_builder_without_nodes_is_not_up(
    docker: MemoryDocker, monkeypatch: pytest.MonkeyPatch, text: str | None, why: str
) -> None:
    """A builder that was removed meanwhile, or that docker cannot open, is an error."""
    docker.known["bxcache"] = ("docker-container", [HERE])
    answers = iter((docker._describe("bxcache"), "Name: bxcache\n", text))
    monkeypatch.setattr(docker, "inspect", lambda _name: next(answers))
    with pytest.raises(EngineError, match=f"the builder `bxcache` does not answer: {why}"):
        bring_up_builder()


def test_a_docker_that_was_killed_is_listed(
    docker: MemoryDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A builder is listed even if docker ended without a word about it."""

    def answer(questions: Sequence[Sequence[str]], _seconds: float | None = None) -> list[Answer]:
        return [Answer(-9, "", "") for _ in questions]

    docker.known["mine"] = ("docker-container", [HERE])
    monkeypatch.setattr(docker, "ask_together", answer)
    monkeypatch.setattr("bxcache.pipeline.builder_list.builders.list_builders", _be_late)
    (found,) = list_builders().builders
    assert found.builder.error == "docker did not say why"


def _be_late(*_: object) -> None:
    from bxcache.buildx.builders import LateError  # noqa: PLC0415

    raise LateError
