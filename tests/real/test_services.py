"""Caches in GitHub's cache service, S3 and Azure Blob Storage.

Docker's own builder has `gha`. S3 and Azure need a BuildKit without Docker, as `buildkit` has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import ObjectStore

from tests.engines import FaultyProxy
from tests.engines.builders import address_builder
from tests.engines.cache_service import READ, WRITE, CacheService, make_token
from tests.engines.faults import BROKEN, FORBIDDEN, Cut, Fault, Rule, Stall
from tests.engines.object_stores import ACCOUNT_KEY, BUCKET, S3, SECRET_KEY
from tests.real.conftest import STEPS, STEPS_OF_CHECK, MakeMachine, list_buildkits
from tests.real.fleet import FORK, pull
from tests.real.machines import Machine, Ran, count

CHECK = ("--target", "check")
PLATFORMS = """\
FROM scratch AS files
ARG TARGETARCH
COPY file /file-$TARGETARCH
FROM scratch
COPY --from=files / /
"""
STRICT = 75
TOPIC: dict[str, Any] = {"BXCACHE_PLACE_BRANCH": "topic", "BXCACHE_PLACE_DEFAULT": "main"}
MAIN: dict[str, Any] = {"BXCACHE_PLACE_BRANCH": "main", "BXCACHE_PLACE_DEFAULT": "main"}


@dataclass(frozen=True)
class Cache:
    """A machine that keeps its cache in a service.

    Attributes:
        backend: the declaration of the backend.
        job: the variables with the credentials.
        secret: the credentials that no output may show.
        address: the service's host and port.
        store: its objects; None for GitHub's service.
    """

    machine: Machine
    backend: str
    job: dict[str, str]
    secret: str
    address: str
    store: ObjectStore | None = None

    def at(self, address: str) -> Cache:
        """Return the same cache at another address of the service."""
        job = {name: value.replace(self.address, address) for name, value in self.job.items()}
        return replace(self, backend=self.backend.replace(self.address, address), job=job)

    def build(self, project: Path, *words: str, status: int = 0, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        """Build as if on a new machine, with a tag of the project's own."""
        self.machine.docker("buildx", "prune", "--all", "--force", folder=project)
        given = ("--backend", self.backend, "--output", "type=cacheonly", *words)
        return self.machine.build(*given, folder=project, status=status, **{**self.job, **more})

    def run(self, project: Path, *words: str, **more: Any) -> Ran:  # noqa: ANN401
        """Run bxcache with this backend."""
        return self.machine.run(
            *words, "--backend", self.backend, folder=project, **{**self.job, **more}
        )


def make_cache(request: pytest.FixtureRequest, kind: str) -> Cache:
    """Make the cache of a kind, on a machine that can use it."""
    if kind == "gha":
        service: CacheService = request.getfixturevalue("actions")
        machine: Machine = request.getfixturevalue("machine")
        address = service.url.removeprefix("http://").rstrip("/")
        return Cache(machine, "type=gha", service.job, service.token, address)
    machine = request.getfixturevalue("buildkit")
    own = re.sub(r"\W", "-", request.node.name)[:60]
    server = request.getfixturevalue("s3" if kind == "s3" else "azure")
    address = server.url.removeprefix("http://").partition("/")[0]
    given = {
        "s3": f"bucket={BUCKET},region=us-east-1,endpoint_url={server.url},use_path_style=true",
        "azblob": f"account_url={server.url},account_name=tests",
    }[kind]
    backend = f"type={kind},credentials=job,prefix={own}/,{given}"
    secret = SECRET_KEY if kind == "s3" else ACCOUNT_KEY
    return Cache(machine, backend, server.job, secret, address, server.store)


@pytest.fixture(params=["gha", "s3", "azblob"])
def cache(request: pytest.FixtureRequest) -> Cache:
    """A cache in each service."""
    return make_cache(request, request.param)


@pytest.fixture(params=["s3", "azblob"])
def objects(request: pytest.FixtureRequest) -> Cache:
    """A cache in each object store."""
    return make_cache(request, request.param)


@contextmanager
def between(cache: Cache) -> Iterator[tuple[Cache, FaultyProxy]]:
    """Put a proxy in front of the service; yield the cache behind it, and the proxy."""
    with FaultyProxy(cache.address) as proxy:
        yield cache.at(proxy.address), proxy


def the_only(document: dict[str, Any]) -> dict[str, Any]:
    """Return the only cache of a build."""
    (found,) = document["caches"]
    assert isinstance(found, dict)
    return found


def test_every_stage_comes_back(cache: Cache, project: Path) -> None:
    """A new machine reuses every stage, and saves nothing again."""
    first = cache.build(project, *CHECK)
    assert count(first) == (0, STEPS_OF_CHECK)
    saved = the_only(first)
    assert (saved["exported"], saved["layers"] > 0, first["warnings"]) == (True, True, [])
    again = cache.build(project, *CHECK)
    assert count(again) == (STEPS_OF_CHECK, 0)
    assert (the_only(again)["imported"], the_only(again)["exported"]) == (True, False)
    assert the_only(again)["unchanged"]
    assert the_only(again)["digest"] == saved["digest"]


def test_an_edit_keeps_the_other_stages(cache: Cache, project: Path) -> None:
    """After an edit, the cache still has every step that the edit did not touch, and the new ones.

    BuildKit loads only what it needs of an imported cache, and exports the rest without layers.
    """
    cache.build(project)
    (project / "src" / "main.c").write_text("// new\n")
    edited = cache.build(project)
    # COPY src and the 2 steps after it, and the 2 of the last stage.
    assert edited["counts"]["executed"] == 5
    assert the_only(edited)["exported"]
    assert count(cache.build(project)) == (STEPS, 0)
    # And what the first of them did not need.
    assert cache.build(project, "--target", "deps")["counts"]["executed"] == 0


def test_a_branch_starts_from_the_default_one(cache: Cache, project: Path) -> None:
    """A new branch's first build reuses main's cache, and its own scope has all of it."""
    cache.build(project, **MAIN)
    topic = cache.build(project, **TOPIC)
    assert count(topic) == (STEPS, 0)
    imported, saved = topic["caches"]
    assert (imported["scope"].endswith("main"), imported["imported"]) == (True, True)
    assert (saved["scope"].endswith("topic"), saved["aliased"]) == (True, True)
    again = cache.build(project, **TOPIC)
    assert the_only(again)["scope"] == saved["scope"]
    assert count(again) == (STEPS, 0)


def test_a_failed_build_adds_what_it_finished(cache: Cache, project: Path) -> None:
    """What finished of a failed build is added to what the scope has."""
    text = (project / "Dockerfile").read_text()
    cache.build(project, "--target", "deps")
    (project / "Dockerfile").write_text(text.replace("RUN mkdir /out", "RUN exit 7 && mkdir /out"))
    failed = cache.build(project, status=1)
    assert the_only(failed)["salvaged"] > 0
    (project / "Dockerfile").write_text(text)
    done = cache.build(project)
    finished = {step["text"] for step in failed["steps"] if step["outcome"] != "failed"}
    executed = {step["text"] for step in done["steps"] if step["outcome"] == "executed"}
    assert finished.isdisjoint(executed)


FAULTS = [
    ("no answer", Stall(), "it did not answer in time"),
    ("broken", BROKEN, "500"),
    ("cut", Cut(), ""),
]


@pytest.mark.parametrize(
    ("fault", "words"), [row[1:] for row in FAULTS], ids=[r[0] for r in FAULTS]
)
def test_a_service_that_fails_costs_a_warning(
    cache: Cache, project: Path, fault: Fault, words: str
) -> None:
    """The image is built without the cache, and one warning names the service and the cause."""
    with between(cache) as (failing, proxy):
        proxy.fail(fault=fault)
        done = failing.build(project)
        assert count(done) == (0, STEPS)
        (warning,) = done["warnings"]
        assert words in warning
        assert "failed" in warning
        assert cache.secret not in warning
        failing.build(project, "--strict", status=STRICT)


def test_an_unknown_cache_is_left_to_docker(cache: Cache, project: Path) -> None:
    """Where bxcache may not look, the build still goes on, with a warning at most."""
    with between(cache) as (failing, proxy):
        proxy.fail(fault=FORBIDDEN, matching=Rule("GET|POST"))
        done = failing.build(project)
        assert done["exit_status"] == 0
        assert done["counts"]["executed"] == STEPS


def test_a_service_that_fails_later_is_built_without(objects: Cache, project: Path) -> None:
    """If layers cannot be fetched any more, the build runs again without its cache."""
    objects.build(project)
    (project / "src" / "main.c").write_text("// new\n")
    with between(objects) as (failing, proxy):
        proxy.fail(fault=BROKEN, matching=Rule("GET", re.compile(r"/?blobs(/|%2F)sha256")))
        done = failing.build(project)
    assert done["exit_status"] == 0
    assert any("is run again without it" in each for each in done["warnings"])


def test_a_save_that_fails_leaves_the_scope(cache: Cache, project: Path) -> None:
    """If the new layers cannot be saved, the scope keeps what it has, and nothing is left over."""
    saved = the_only(cache.build(project))
    text = (project / "src" / "main.c").read_text()
    (project / "src" / "main.c").write_text("// new\n")
    with between(cache) as (failing, proxy):
        proxy.fail(fault=FORBIDDEN, matching=Rule("PUT"))
        proxy.fail(fault=FORBIDDEN, matching=Rule("POST", re.compile("CreateCacheEntry")))
        done = failing.build(project)
        assert (done["exit_status"], len(done["warnings"])) == (0, 1)
        assert not the_only(done)["exported"]
    (project / "src" / "main.c").write_text(text)
    again = cache.build(project)
    assert count(again) == (STEPS, 0)
    assert the_only(again)["digest"] == saved["digest"]


def test_each_node_keeps_its_own_platform(s3: S3, buildkit: Machine, tmp_path: Path) -> None:
    """Nodes that would replace what the others saved are saved one after the other, and joined."""
    addresses, app = list_buildkits(2)[:2], tmp_path / "app"
    app.mkdir()
    (app / "Dockerfile").write_text(PLATFORMS)
    (app / "file").write_text(tmp_path.name)
    platforms = ("linux/amd64", "linux/arm64")
    with address_builder(buildkit.engine, *addresses, platforms=platforms) as builder:
        machine = replace(buildkit, builder=builder)
        backend = f"type=s3,credentials=job,bucket={BUCKET},prefix={tmp_path.name}/"
        backend += f",endpoint_url={s3.url},use_path_style=true"
        cache = Cache(machine, backend, s3.job, SECRET_KEY, "", s3.store)
        words = ("--platform", ",".join(platforms))
        assert count(cache.build(app, *words)) == (0, 4)
        for _ in range(2):
            again = cache.build(app, *words)
            assert (count(again), again["warnings"]) == ((4, 0), [])
        listed = obstore.list(s3.store, f"{tmp_path.name}/manifests").collect()
        assert len(listed) == 1


@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage"])
def test_damaged_layers_are_replaced(objects: Cache, project: Path, damage: str) -> None:
    """A damaged layer never fails the build, and the save after it repairs the cache."""
    objects.build(project)
    store = objects.store
    assert store is not None
    mine = objects.backend.partition("prefix=")[2].partition("/")[0]
    layers = [each["path"] for each in obstore.list(store, f"{mine}/blobs").collect()]
    assert layers
    for path in layers:
        data = bytes(obstore.get(store, path).bytes())
        if damage == "missing":
            obstore.delete(store, path)
        else:
            bad = data[: len(data) // 2] if damage == "truncated" else bytes(len(data))
            obstore.put(store, path, bad)
    (project / "src" / "main.c").write_text("// new\n")
    assert objects.build(project)["exit_status"] == 0
    done = objects.build(project)
    assert (count(done), done["warnings"]) == ((STEPS, 0), [])


def test_no_output_shows_a_secret(cache: Cache, project: Path, tmp_path: Path) -> None:
    """No output, log or record has the credentials; a note names the variable they come from."""
    log = tmp_path / "log"
    for words in (("build", "--dry-run"), ("build", "--log", str(log), "--network", "none")):
        ran = cache.run(project, *words)
        assert cache.secret not in f"{ran.out}{ran.err}"
        (name,) = (each for each in cache.job if re.search("KEY_ID|STORAGE_KEY|TOKEN", each))
        assert f"the credentials of {name}" in f"{ran.out}{ran.err}"
    assert cache.secret not in log.read_text()


def test_the_first_version_of_githubs_service_works(
    machine: Machine, actions: CacheService, project: Path
) -> None:
    """Version 1 of the API, as older servers of GitHub have it, keeps every stage, too."""
    cache = make_first(machine, actions)
    cache.build(project)
    assert count(cache.build(project)) == (STEPS, 0)
    (project / "src" / "main.c").write_text("// new\n")
    cache.build(project)
    assert count(cache.build(project)) == (STEPS, 0)


def make_first(machine: Machine, actions: CacheService) -> Cache:
    """Make a cache in version 1 of GitHub's service."""
    address = actions.url.removeprefix("http://").rstrip("/")
    return Cache(machine, "type=gha", actions.first_job, actions.token, address)


def test_a_pull_request_reads_its_base_but_writes_apart(machine: Machine, project: Path) -> None:
    """A job that may only read main's entries starts from them, and writes entries of its own."""
    main, topic = "refs/heads/main", "refs/pull/1/merge"
    with CacheService() as service:
        address = service.url.removeprefix("http://").rstrip("/")
        Cache(machine, "type=gha", service.job, service.token, address).build(project, **MAIN)
        before = dict(service.entries)
        service.token = make_token({topic: WRITE, main: READ})
        pull_request = Cache(machine, "type=gha", service.job, service.token, address)
        assert count(pull_request.build(project, **TOPIC)) == (STEPS, 0)
        assert before.items() <= service.entries.items()
        assert service.entries.keys() - before.keys()


def test_a_strangers_file_never_writes(
    machine: Machine, actions: CacheService, project: Path, tmp_path: Path
) -> None:
    """An untrusted build reads the `gha` of its file and saves nothing there."""
    address = actions.url.removeprefix("http://").rstrip("/")
    Cache(machine, "type=gha", actions.job, actions.token, address).build(project, **MAIN)
    before = dict(actions.entries)
    (project / "bxcache.toml").write_text('[[cache.backends]]\ntype = "gha"\n')
    event = pull("topic", tmp_path / "ci", head=FORK)
    words = ("--output", "type=cacheonly")
    machine.docker("buildx", "prune", "--all", "--force", folder=project)
    job: dict[str, Any] = {**actions.job, **event}
    done = machine.build(*words, folder=project, **job)
    assert count(done) == (STEPS, 0)
    assert actions.entries == before


def test_a_strangers_file_reaches_no_credentials(
    machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """An untrusted build ignores an `s3` of its file, and asks its address for nothing."""
    machine = machines("remote")
    event: dict[str, Any] = {**pull("topic", tmp_path / "ci", head=FORK)}
    keys: dict[str, Any] = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "canary-4711"}
    with FaultyProxy("127.0.0.1:1") as proxy:
        proxy.fail(fault=FORBIDDEN)
        url = f"http://{proxy.address}"
        table = f'type = "s3"\nbucket = "cache"\nregion = "x"\nendpoint_url = "{url}"\n'
        (project / "bxcache.toml").write_text(f"[[cache.backends]]\n{table}")
        words = ("--output", "type=cacheonly")
        done = machine.build(*words, folder=project, **{**event, **keys})
        assert (done["caches"], proxy.requests) == ([], [])
        machine.build(*words, folder=project, **keys)
        assert proxy.requests


def test_a_job_without_a_token_is_warned(machine: Machine, project: Path) -> None:
    """Docker leaves `gha` out in silence where it has no token; bxcache says so and why."""
    words = ("build", "--network", "none", "--backend", "type=gha", "--output", "type=cacheonly")
    ran = machine.run(*words, folder=project, GITHUB_ACTIONS="true")
    assert "warning: the gha cache is not used: this step has no ACTIONS_RUNTIME_TOKEN" in ran.err
    ran = machine.run(*words, folder=project)
    assert "note: the gha cache is not used: this is not a job of GitHub Actions" in ran.err
    assert "warning" not in ran.err


@pytest.mark.parametrize(
    "backend",
    [
        "type=s3,bucket=cache,region=us-east-1",
        "type=azblob,account_url=https://acme.blob.core.windows.net",
    ],
)
def test_dockers_own_builder_is_refused(machine: Machine, project: Path, backend: str) -> None:
    """Docker's own builder would fail the build; a warning says what has such caches instead."""
    raw = machine.raw("--cache-to", f"{backend},name=x", ".", folder=project, check=False)
    assert "unknown cache exporter" in raw.stderr
    done = machine.build("--backend", backend, "--output", "type=cacheonly", folder=project)
    assert count(done) == (0, STEPS)
    (warning,) = done["warnings"]
    assert "docker's own builder has no `" in warning
    assert "buildx create" in warning or "builder up" in warning


def test_the_builders_own_credentials_are_never_replaced(
    machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """A remote builder gets no credentials of this job, although docker would pass them on."""
    machine = machines("remote")
    keys: dict[str, Any] = {
        "AWS_ACCESS_KEY_ID": "AKIDTESTS",
        "AWS_SECRET_ACCESS_KEY": "canary-4711",
    }
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultyProxy("127.0.0.1:1"))
        proxy.fail(fault=FORBIDDEN)
        table = f"type=s3,bucket=cache,region=x,endpoint_url=http://{proxy.address}"
        words = ("--backend", f"{table},use_path_style=true", "--log", str(tmp_path / "log"))
        # The engine behind the builder has no such caches, which fails the save only.
        done = machine.build(*words, "--output", "type=cacheonly", folder=project, **keys)
    assert done["exit_status"] == 0
    listed = machine.docker("buildx", "history", "ls", "--format", "json", folder=project)
    refs = [json.loads(line)["ref"].rpartition("/")[2] for line in listed.stdout.splitlines()]
    assert refs
    for ref in refs:
        told = machine.docker("buildx", "history", "inspect", ref, folder=project, check=False)
        assert "canary-4711" not in f"{told.stdout}{told.stderr}"
