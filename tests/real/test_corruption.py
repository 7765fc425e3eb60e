"""With any damage to a saved cache, the build succeeds, warns and repairs the cache."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bxcache.store.store import Store
from tests.engines import Registry, busybox_context
from tests.real.conftest import MakeMachine, _required, _start
from tests.real.machines import Machine, count
from tests.real.test_local import local, output
from tests.support.layouts import REF_NAME, damage
from tests.support.sampling import more

STAGES = """\
FROM base AS deps
COPY deps.txt /deps.txt
RUN cp /deps.txt /lib
FROM base
COPY --from=deps /lib /part
RUN echo done > /done
COPY src /top
"""
STEPS = 8
BELOW = STEPS - 3
"""The steps that the last stage's three build on."""
BOTTOM, ASIDE, PARENT, TOP = "bottom", "deps.txt", "part", "top/main.c"
"""Layers by the only file that each holds; that of `ASIDE` is not part of the image."""
SCOPE_ABSENT = json.dumps({"schemaVersion": 2, "manifests": []})
NONESUCH = "sha256:" + "0" * 64

Damage = Callable[["Cache"], None]


@dataclass(frozen=True)
class Cache:
    """A project and a store with its cache, to damage."""

    project: Path
    store: Path
    scope: str

    @property
    def backend(self) -> tuple[str, str]:
        """The flag that names the store."""
        return "--backend", local(self.store)

    @property
    def index(self) -> Path:
        """The store's index."""
        return self.store / "index.json"

    @property
    def entry(self) -> dict[str, Any]:
        """The scope's entry in the index."""
        manifests: list[dict[str, Any]] = json.loads(self.index.read_text())["manifests"]
        return next(each for each in manifests if each["annotations"][REF_NAME] == self.scope)

    def blob(self, digest: str) -> Path:
        """The file of a blob."""
        return self.store / "blobs" / digest.replace(":", "/")

    @property
    def manifest(self) -> dict[str, Any]:
        """The scope's manifest."""
        document: dict[str, Any] = json.loads(self.blob(self.entry["digest"]).read_text())
        return document

    def layer(self, name: str) -> Path:
        """The file of the layer that has this one file."""
        digests = [each["digest"] for each in self.manifest["layers"]]
        return next(blob for blob in map(self.blob, digests) if files_of(blob) == [name])

    def copy(self, store: Path) -> Cache:
        """Another store with the same content."""
        shutil.copytree(self.store, store, symlinks=True)
        return Cache(self.project, store, self.scope)

    def build(self, machine: Machine, *words: str) -> dict[str, Any]:
        """Build with the cache, and check the image."""
        image = Path(tempfile.mkdtemp(dir=self.project.parent))
        given = (*self.backend, "-o", output(image), *words)
        built = machine.build(*given, folder=self.project)
        check_image(image)
        return built

    def fails_plainly(self, machine: Machine) -> bool:
        """Whether a plain buildx build that imports it fails."""
        source = f"type=local,src={self.store},tag={self.scope}"
        image = Path(tempfile.mkdtemp(dir=self.project.parent))
        words = ("--cache-from", source, "-o", output(image), ".")
        return machine.raw(*words, folder=self.project, check=False).returncode == 1

    def check_whole(self) -> None:
        """Check the digest of every blob."""
        assert Store(self.store).verify(full=True).damages == ()


def files_of(layer: Path) -> list[str]:
    """The names of the files in a layer."""
    with tarfile.open(layer) as tar:
        return [member.name for member in tar if member.isfile()]


def check_image(folder: Path) -> None:
    """Check that an image contains what the Dockerfile specifies."""
    found = [(folder / name).read_text() for name in ("bottom", "part", "done", "top/main.c")]
    assert found == ["bottom\n", "deps\n", "done\n", "main\n"]


@pytest.fixture(scope="module")
def end_later() -> Iterator[Callable[[ExitStack], None]]:
    """Stops engines while the next ones work."""
    ended: list[Future[None]] = []
    with ThreadPoolExecutor(4) as pool:
        yield lambda stack: ended.append(pool.submit(stack.close))
    for each in ended:
        each.result()


@pytest.fixture
def machines(
    end_later: Callable[[ExitStack], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeMachine]:
    """Creates new machines as elsewhere; they end in the background."""
    with ExitStack() as stack:

        def make(kind: str = "docker") -> Machine:
            with _required():
                own = ExitStack()
                engine, builder = own.enter_context(_start(kind))
            stack.callback(end_later, own)
            return Machine(engine, tmp_path_factory.mktemp("home"), builder)

        yield make


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of two stages on a base; only the first stage has `ASIDE`."""
    folder = tmp_path_factory.mktemp("app")
    base = busybox_context(folder).replace("AS base\n", "AS base\nCOPY bottom /bottom\n")
    (folder / "Dockerfile").write_text(base + STAGES)
    (folder / "src").mkdir()
    (folder / ".git").mkdir()
    for name in ("bottom", "deps.txt", "src/main.c"):
        (folder / name).write_text(f"{Path(name).stem}\n")
    return folder


@pytest.fixture(scope="module")
def _donors() -> dict[str, Cache]:
    return {}


@pytest.fixture
def make_cache(
    _donors: dict[str, Cache],
    machines: MakeMachine,
    project: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Cache]:
    """Returns a copy of the store that a build of the project saved on a kind of machine."""

    def make(kind: str = "docker") -> Cache:
        if kind not in _donors:
            store = tmp_path_factory.mktemp("donor") / "store"
            built = machines(kind).build("--backend", local(store), folder=project)
            assert count(built) == (0, STEPS)
            _donors[kind] = Cache(project, store, built["caches"][0]["scope"])
        return _donors[kind].copy(tmp_path / "store")

    return make


@pytest.fixture
def cache(make_cache: Callable[..., Cache]) -> Cache:
    """The cache that a build on docker's own engine saved."""
    return make_cache()


def index_is(text: str) -> Damage:
    """Replace the index."""

    def write(cache: Cache) -> None:
        cache.index.write_text(text)

    return write


def name_nothing(cache: Cache) -> None:
    """Let the index name a manifest that the store does not have."""
    entry = cache.entry | {"digest": NONESUCH}
    cache.index.write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


INDEX_DAMAGES: dict[str, tuple[Damage, int, str]] = {
    "missing": (lambda cache: cache.index.unlink(), STEPS, "had no index.json"),
    "empty": (index_is(""), STEPS, "is not a valid index"),
    "garbage": (index_is("{ torn"), STEPS, "is not a valid index"),
    "no manifests": (index_is("{}"), STEPS, "has no `manifests`"),
    "no scope": (index_is(SCOPE_ABSENT), 0, ""),
    "naming nothing": (name_nothing, 0, "was dropped"),
}


@pytest.mark.parametrize(
    "name",
    ["missing", "garbage", "naming nothing", *more("empty", "no manifests", "no scope")],
)
def test_a_damaged_index(name: str, cache: Cache, machines: MakeMachine) -> None:
    """A damaged index is rebuilt from the journal; a scope without a manifest is built again."""
    break_it, reused, warning = INDEX_DAMAGES[name]
    break_it(cache)
    built = cache.build(machines())
    assert count(built) == (reused, STEPS - reused)
    assert [text for text in built["warnings"] if warning not in text] == []
    assert bool(built["warnings"]) == bool(warning)
    cache.check_whole()


@pytest.mark.parametrize(
    ("what", "how"),
    [
        *(("manifest", "short"), ("config", "missing"), ("config", "changed")),
        *more(("manifest", "missing"), ("manifest", "changed"), ("config", "short")),
    ],
)
def test_a_damaged_document(what: str, how: str, cache: Cache, machines: MakeMachine) -> None:
    """A scope without its manifest or config is dropped and saved again."""
    named = cache.entry if what == "manifest" else cache.manifest["config"]
    damage(cache.blob(named["digest"]), how)
    built = cache.build(machines())
    assert count(built) == (0, STEPS)
    (warning,) = built["warnings"]
    assert f"the scope `{cache.scope}` was dropped" in warning
    assert str(cache.blob(named["digest"])) in warning
    cache.check_whole()


@pytest.mark.parametrize(
    ("name", "how", "reused"),
    [
        (ASIDE, "missing", STEPS),
        (TOP, "short", STEPS - 1),
        (PARENT, "missing", BELOW),
        (BOTTOM, "missing", 0),
        *more((TOP, "missing", STEPS - 1), (PARENT, "short", BELOW)),
    ],
)
def test_a_broken_layer(
    name: str, how: str, reused: int, cache: Cache, machines: MakeMachine
) -> None:
    """A broken layer is found before the build, and only the steps above it are executed."""
    blob = cache.layer(name)
    damage(blob, how)
    if name in (PARENT, BOTTOM):
        assert cache.copy(cache.store.with_name("plain")).fails_plainly(machines())
    built = cache.build(machines())
    assert count(built) == (reused, STEPS - reused)
    (warning,) = built["warnings"]
    assert "1 layer of the scope" in warning
    assert str(blob) in warning
    cache.check_whole()
    if reused:
        assert count(cache.build(machines())) == (STEPS, 0)


@pytest.mark.parametrize("kind", ["docker", "oldest", *more("docker-container", "remote")])
def test_a_changed_layer_that_others_stand_on(
    kind: str, make_cache: Callable[..., Cache], machines: MakeMachine
) -> None:
    """A changed layer of the right size makes BuildKit fail; the build runs again without it."""
    cache = make_cache(kind)
    blob = cache.layer(PARENT)
    damage(blob, "changed")
    assert cache.copy(cache.store.with_name("plain")).fails_plainly(machines(kind))
    built = cache.build(machines(kind))
    assert built["counts"]["executed"] > 0
    (warning,) = built["warnings"]
    assert "failed because of its cache and is run again without it" in warning
    assert f"`{blob}` does not match its digest" in warning
    cache.check_whole()
    assert count(cache.build(machines(kind))) == (STEPS, 0)


def test_a_dockerfile_from_stdin_is_kept(cache: Cache, machines: MakeMachine) -> None:
    """A build from a Dockerfile on stdin is run again without the cache like any other."""
    damage(cache.layer(PARENT), "changed")
    machine = machines()
    words = ("build", "--network", "none", *cache.backend, "-f", "-", ".")
    ran = subprocess.run(
        machine.command(sys.executable, "-m", "bxcache", *words),
        cwd=cache.project,
        env=machine.environment(),
        input=(cache.project / "Dockerfile").read_text(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("failed because of its cache and is run again without it") == 1
    cache.check_whole()


@pytest.mark.parametrize("name", [TOP, ASIDE])
def test_a_changed_layer_that_no_other_needs(
    name: str, cache: Cache, machines: MakeMachine
) -> None:
    """If BuildKit silently continues without a changed layer, its export is not saved."""
    blob = cache.layer(name)
    damage(blob, "changed")
    # With an argument of docker, it is not certain before that there will be nothing to export.
    (warning,) = cache.build(machines(), "--", "--debug")["warnings"]
    assert f"`{blob}` does not match its digest" in warning
    cache.check_whole()
    cache.build(machines())
    assert count(cache.build(machines())) == (STEPS, 0)


def test_several_broken_layers(cache: Cache, machines: MakeMachine) -> None:
    """A missing layer is cut out before the build; two changed ones are found when it fails."""
    missing, *changed = map(cache.layer, ("done", ASIDE, BOTTOM))
    missing.unlink()
    for blob in changed:
        damage(blob, "changed")
    assert cache.copy(cache.store.with_name("plain")).fails_plainly(machines())
    built = cache.build(machines())
    before, failed = built["warnings"]
    assert str(missing) in before
    assert "2 layers of the scope" in failed
    cache.check_whole()
    assert count(cache.build(machines())) == (STEPS, 0)


def test_leftovers_of_plain_buildx_are_harmless(cache: Cache, machines: MakeMachine) -> None:
    """A held lock or a broken ingest makes plain buildx fail, but not bxcache."""
    ingest = cache.store / "ingest" / "0" / "data"
    ingest.parent.mkdir(parents=True)
    ingest.write_bytes(b"bad")
    machine = machines()
    with (cache.store / "index.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = cache.build(machine)
    assert count(built) == (STEPS, 0)
    assert built["warnings"] == []
    assert built["caches"][0]["unchanged"]
    cache.check_whole()


def test_another_file_system(cache: Cache, machines: MakeMachine) -> None:
    """A store in memory, on another file system than the temporary files."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        moved = cache.copy(Path(folder) / "store")
        damage(moved.layer(TOP), "missing")
        assert count(moved.build(machines())) == (STEPS - 1, 1)
        moved.check_whole()


def test_a_read_only_store(cache: Cache, machines: MakeMachine, tmp_path: Path) -> None:
    """A read-only store is reused completely, and a warning says that nothing is saved."""
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    image = ("-o", output(tmp_path / "image"))
    build = ("build", "--json", "--network", "none", *cache.backend, *image)
    command = (sys.executable, "-m", "bxcache", *build)
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", mount, str(cache.store), *command],
        cwd=cache.project,
        env=machines().environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    check_image(tmp_path / "image")
    built = json.loads(ran.stdout)
    assert count(built) == (STEPS, 0)
    (warning,) = built["warnings"]
    assert str(cache.store) in warning
    assert "nothing is saved" in warning
    cache.check_whole()


@pytest.mark.parametrize("how", ["missing", "changed", *more("short")])
def test_a_broken_layer_in_a_registry(
    how: str, registry: Registry, machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """With a broken layer in a registry, the build is run again without the cache."""
    name = tmp_path.name.lower()
    backend = ("--backend", f"type=registry,ref={registry.address}/{name}")
    saved = machines().build(*backend, folder=project)["caches"][0]
    manifest = json.loads(blob_in(registry, saved["digest"]).read_text())
    blobs = [blob_in(registry, layer["digest"]) for layer in manifest["layers"]]
    damage(next(blob for blob in blobs if files_of(blob) == [PARENT]), how)
    plain = ("--cache-from", f"type=registry,ref={saved['place']}", "-o", output(tmp_path), ".")
    assert machines().raw(*plain, folder=project, check=False).returncode == 1
    words = (*backend, "-o", output(tmp_path / "image"))
    built = machines().build(*words, folder=project)
    check_image(tmp_path / "image")
    (warning,) = built["warnings"]
    assert "failed because of its cache and is run again without it" in warning
    assert built["caches"][0]["exported"]
    assert count(machines().build(*words, folder=project)) == (STEPS, 0)


def blob_in(registry: Registry, digest: str) -> Path:
    """The file of a blob in a registry, which does not cache blobs in memory."""
    folder = registry.storage / "docker" / "registry" / "v2" / "blobs" / "sha256"
    return folder / digest[7:9] / digest[7:] / "data"
