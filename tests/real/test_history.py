"""The layers of every stage, by name, on real engines; expected values come from docker itself."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import textwrap
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import bxcache
from bxcache.store.store import Store
from tests.engines import busybox_image
from tests.real.conftest import MakeMachine, _required, _start
from tests.real.machines import Machine, count
from tests.real.manifests import pushed_layers, stored_layers
from tests.support.sampling import more

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.engines import Registry

KINDS = ["docker", "docker-container", *more("remote")]
NAMES = ["tools", "base", "deps", "build", "stage-4", "unused", "alias", "stage-7"]
DOCKERFILE = """\
ARG TOOLS=busybox
FROM ${TOOLS} AS Tools
FROM busybox AS base
COPY project /project
WORKDIR /work
ENV MODE=test
RUN echo base > /base
ONBUILD RUN echo trigger > /trigger
FROM base AS deps
COPY --link notes /deps/notes
RUN cat <<ONE > /one && cat <<"TWO" > /two
one
FROM nothing AS fake
ONE
FROM nothing AS fake
TWO
COPY <<-FILE /here
	FROM nothing AS fake
	FILE
FROM base AS build
COPY notes /x
COPY --from=deps /one /deps/notes /y/
RUN --mount=type=bind,from=tools,target=/tools ls /tools/bin > /dev/null; cp /x /z
ADD archive.tar /unpacked
FROM scratch
COPY --from=build /z /z
FROM base AS unused
RUN exit 1
FROM busybox AS alias
FROM alias
COPY --from=build /z /z
COPY --from=4 /z /zz
COPY --from=base /base /base2
RUN echo done
CMD ["x"]
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An application with every construct: six stages are needed, and the rest are not."""
    return make_app(tmp_path)


def make_app(parent: Path) -> Path:
    folder = parent / "app"
    (folder / ".git").mkdir(parents=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "project").write_text(f"{parent}\n")
    (folder / "notes").write_text("notes\n")
    with tarfile.open(folder / "archive.tar", "w") as archive:
        archive.add(folder / "notes", "notes")
    return folder


@dataclass(frozen=True)
class Built:
    """The application after a build on a new machine, which tests only read."""

    machine: Machine
    app: Path
    store: Path
    document: dict[str, Any]

    def ask(self, *words: str) -> str:
        """Return what a command prints about the store."""
        here = (*words, "--from", str(self.store))
        return self.machine.run(*here, folder=self.app).out

    def history(self, *words: str) -> dict[str, Any]:
        """Return the document of `bxcache history`."""
        document: dict[str, Any] = json.loads(self.ask("history", "--json", *words))
        return document


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Built]]:
    """Build the application on a new machine of a kind, once for all tests that only read."""
    done: dict[str, Built] = {}
    with ExitStack() as stack:

        def build(kind: str) -> Built:
            if kind not in done:
                folder = tmp_path_factory.mktemp("built")
                app, store = make_app(folder), folder / "store"
                with _required():
                    engine, builder = stack.enter_context(_start(kind))
                machine = Machine(engine, folder / "home", builder)
                words = ("--backend", f"type=local,dir={store}", *base())
                done[kind] = Built(machine, app, store, machine.build(*words, folder=app))
            return done[kind]

        yield build


def base() -> tuple[str, str]:
    """Return busybox as a named context, so that no builder needs to have it."""
    return "--build-context", f"busybox=oci-layout://{busybox_image().layout}"


def layers_of(store: Path, document: dict[str, Any]) -> dict[str, int]:
    """Return the layers of a saved cache with their sizes, by its manifest."""
    found = stored_layers(store, document["caches"][0]["digest"])
    return {each["digest"]: each["size"] for each in found}


def quietly(machine: Machine, folder: Path, *words: str) -> list[str]:
    return machine.run("history", "-q", *words, folder=folder).out.splitlines()


def pulled_by_docker(
    machine: Machine, app: Path, store: str, target: str, folder: Path, *words: str
) -> list[str]:
    """Return the layers of a stage with all that it builds on.

    Plain docker builds the stage as an image from the cache, and the image's manifest lists them.
    """
    file = folder / f"{target}.tar"
    output = ("-o", f"type=oci,dest={file}", "--provenance=false", "--target", target)
    machine.raw("--cache-from", store, *output, *words, ".", folder=app)
    with tarfile.open(file) as archive:

        def read(name: str) -> Any:  # noqa: ANN401
            stream = archive.extractfile(name)
            assert stream is not None
            return json.load(stream)

        [entry] = read("index.json")["manifests"]
        manifest = read(f"blobs/{entry['digest'].replace(':', '/')}")
    return list(dict.fromkeys(layer["digest"] for layer in manifest["layers"]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_belongs_to_a_stage(kind: str, built: Callable[[str], Built]) -> None:
    """The stages list exactly the layers of the cache's manifest, with the right sizes."""
    done = built(kind)
    expected = layers_of(done.store, done.document)
    told = done.history("--blobs")["stages"]
    assert [stage["name"] for stage in told] == NAMES
    layers = [each for stage in told for each in stage["layers"]]
    assert {each["digest"]: each["bytes"] for each in layers} == expected
    in_steps = {each for stage in told for step in stage["steps"] for each in step["layers"]}
    assert in_steps == set(expected)
    assert set(done.ask("history", "-q").splitlines()) == set(expected)
    for each in layers:
        digest = hashlib.sha256(Path(each["place"]).read_bytes()).hexdigest()
        assert f"sha256:{digest}" == each["digest"]
    assert [stage["needed"] for stage in told] == [name != "unused" for name in NAMES]
    # The document of the build lists the same layers.
    document = done.document["stages"]
    assert {each["digest"] for stage in document for each in stage["layers"]} == set(expected)


@pytest.mark.parametrize("kind", ["docker", "docker-container"])
def test_the_layers_of_a_stage_are_those_of_its_image(
    kind: str, built: Callable[[str], Built], tmp_path: Path
) -> None:
    """A stage has the layers of docker's image of it; its own are those its base stage lacks."""
    done = built(kind)
    source = f"type=local,src={done.store},tag={done.document['caches'][0]['scope']}"
    images = {
        name: pulled_by_docker(done.machine, done.app, source, name, tmp_path, *base())
        for name in ("tools", "base", "deps", "build", "alias")
    }
    under = {"tools": [], "base": [], "alias": [], "deps": images["base"], "build": images["base"]}
    for name, layers in images.items():
        here = ("history", "-q", "--stage", name)
        assert done.ask(*here, "--chain").splitlines() == layers, name
        own = [digest for digest in layers if digest not in under[name]]
        assert done.ask(*here).splitlines() == own, name


def test_one_blob_of_two_instructions_is_marked(built: Callable[[str], Built]) -> None:
    """A layer that a RUN and a COPY share is listed for both, and the table marks it."""
    done = built("docker")
    [copied] = done.ask("history", "-q", "--stage", "stage-4").splitlines()
    texts = {
        step["text"].split()[0]: stage["name"]
        for stage in done.history()["stages"]
        for step in stage["steps"]
        if step["layers"] == [copied]
    }
    assert texts == {"RUN": "build", "COPY": "stage-7"}
    shown = done.ask("history")
    assert all("*" in line for line in shown.splitlines() if copied[7:19] in line)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_machine_reads_the_same_history_from_the_registry(
    kind: str, machines: MakeMachine, registry: Registry, app: Path, tmp_path: Path
) -> None:
    """A fresh machine reads the complete record, which the registry keeps beside the scope."""
    ref = f"{registry.address}/{tmp_path.name.lower()}"
    first = machines(kind)
    built = first.build("--backend", f"type=registry,ref={ref}", *base(), folder=app)
    assert count(built) == (0, 15 + 1)
    here = first.run("history", "--json", "--from", ref, folder=app).out
    checkout = tmp_path / "elsewhere" / "app"
    shutil.copytree(app, checkout)
    second = machines(kind)
    there = second.run("history", "--json", "--from", ref, folder=checkout).out
    assert json.loads(there) == json.loads(here)
    told = json.loads(there)
    pushed = pushed_layers(registry, ref, built["caches"][0]["digest"])
    layers = {each["digest"] for each in pushed}
    assert {e["digest"] for s in told["stages"] for e in s["layers"]} == layers
    assert set(quietly(second, checkout, "--from", ref)) == layers
    executed = [s for stage in told["stages"] for s in stage["steps"] if s["outcome"]]
    # The build's document lists the same, although the layers were made after it.
    found = {tuple(each["digest"] for each in step["layers"]) for step in built["steps"]}
    assert found == {tuple(step["layers"]) for step in executed}
    assert {step["outcome"] for step in executed} == {"executed"}
    assert any(step["seconds"] for step in executed)


def test_the_builds_of_several_machines_can_be_compared(
    machines: MakeMachine, registry: Registry, app: Path, tmp_path: Path
) -> None:
    """Records of several machines share a scope, and equal build arguments have equal hashes."""
    ref = f"{registry.address}/{tmp_path.name.lower()}"
    for argument, notes in (("MODE=a", "one"), ("MODE=a", "two"), ("MODE=b", "three")):
        (app / "notes").write_text(f"{notes}\n")
        words = ("--backend", f"type=registry,ref={ref}", "--build-arg", argument, *base())
        machines().build(*words, folder=app)
    here = machines()
    last, second, first = (
        json.loads(here.run("history", name, "--json", "--from", ref, folder=app).out)["arguments"]
        for name in ("~0", "~1", "~2")
    )
    assert first == second != last
    told = json.loads(here.run("diff", "~2", "~1", "--json", "--from", ref, folder=app).out)
    changed = {stage["name"] for stage in told["stages"] if stage["new"]}
    assert "deps" in changed
    assert "base" not in changed


def test_each_backend_lists_its_own_layers(
    machine: Machine, registry: Registry, app: Path, tmp_path: Path
) -> None:
    """A store with gzip layers and a registry with zstd layers list their own."""
    ref, store = f"{registry.address}/{tmp_path.name.lower()}", tmp_path / "store"
    backends = (f"type=local,dir={store}", f"type=registry,ref={ref},compression=zstd")
    words = [word for each in backends for word in ("--backend", each)]
    built = machine.build(*words, "-o", "type=cacheonly", *base(), folder=app)
    expected = set(layers_of(store, built))
    assert set(quietly(machine, app, "--from", str(store))) == expected
    [kept] = [each for each in built["caches"] if each["backend"] == "registry"]
    there = {each["digest"] for each in pushed_layers(registry, ref, kept["digest"])}
    assert set(quietly(machine, app, "--from", ref)) == there


TWO = """\
FROM scratch AS files
COPY notes /notes
FROM files AS named
ARG TARGETARCH
COPY ${TARGETARCH} /arch
FROM named
COPY project /project
"""


def describe(step: dict[str, Any]) -> dict[str, Any]:
    """Return a step of a build's document without what another run changes."""
    return {key: value for key, value in step.items() if key not in ("outcome", "seconds")}


@pytest.mark.parametrize("kind", KINDS)
def test_two_platforms(kind: str, machines: MakeMachine, app: Path, tmp_path: Path) -> None:
    """All layers of the cache are listed, and those of a platform are the layers of its image.

    The kind of output, an image or nothing, does not affect what is known of the steps.
    """
    (app / "Dockerfile").write_text(TWO)
    for name in ("amd64", "arm64"):
        (app / name).write_text(name)
    store = tmp_path / "store"
    machine = machines(kind)
    platforms = ("linux/amd64", "linux/arm64")
    words = ("--backend", f"type=local,dir={store}", "--platform", ",".join(platforms))
    output = ("-o", f"type=oci,dest={tmp_path / 'image.tar'}", "-t", "app")
    # The variable concerns the caller's own metadata file, and not the record.
    built = machine.build(*words, *output, folder=app, BUILDX_METADATA_PROVENANCE="disabled")
    [page] = (store / ".bxcache" / "scopes").iterdir()
    assert json.loads(page.read_text())["seconds"].keys() == layers_of(store, built).keys()
    again = machine.build(*words, "-o", "type=cacheonly", folder=app)
    assert [describe(each) for each in built["steps"]] == [describe(e) for e in again["steps"]]
    assert all(each["line"] and each["layers"] for each in built["steps"])
    assert set(quietly(machine, app, "--from", str(store))) == set(layers_of(store, again))
    source = f"type=local,src={store},tag={again['caches'][0]['scope']}"
    for platform in platforms:
        only = ("--platform", platform)
        image = pulled_by_docker(machine, app, source, "named", tmp_path, *only)
        here = ("--from", str(store), "--stage", "named", *only)
        assert quietly(machine, app, *here, "--chain") == image
        assert quietly(machine, app, *here) == image[1:]
    shown = machine.run("history", "--from", str(store), folder=app).out
    assert all(platform in shown for platform in platforms)


def test_a_target_that_is_not_the_last_stage(machine: Machine, app: Path, tmp_path: Path) -> None:
    """History lists the stages that the target needs, and names the others."""
    store = tmp_path / "store"
    words = ("--backend", f"type=local,dir={store}", "--target", "deps", *base())
    built = machine.build(*words, folder=app)
    assert set(quietly(machine, app, "--from", str(store))) == set(layers_of(store, built))
    shown = machine.run("history", "--from", str(store), folder=app).out
    [closing] = [line for line in shown.splitlines() if line.startswith("not part of this build")]
    assert closing.split(": ")[1].split(", ") == ["tools", *NAMES[3:]]
    said = machine.run("history", "--stage", "build", "--from", str(store), folder=app, status=66)
    assert "not part of this build" in said.err


def test_build_and_history_list_the_same_layers(
    machine: Machine, app: Path, tmp_path: Path
) -> None:
    """`build --layers`, `history` and the build's document list the same layers."""
    backend = f"type=local,dir={tmp_path / 'store'}"
    (app / "bxcache.toml").write_text(
        f'[[cache.backends]]\ntype = "local"\ndir = "{tmp_path / "store"}"\n'
    )
    ran = machine.run("build", "--layers", "--network", "none", *base(), ".", folder=app)
    after = machine.run("history", folder=app).out

    def tables(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith((" ", "not part"))]

    assert tables(ran.out) == tables(after)
    assert len(tables(after)) > 20
    document = machine.build("--backend", backend, *base(), folder=app)
    stages = {stage["name"]: stage["layers"] for stage in document["stages"]}
    for name in ("build", "stage-7"):
        assert quietly(machine, app, "--stage", name) == [each["digest"] for each in stages[name]]


def test_diff_lists_the_layers_that_changed(machine: Machine, app: Path, tmp_path: Path) -> None:
    """`diff` lists the stages with the changed file, and the layers that differ."""
    store = tmp_path / "store"
    words = ("--backend", f"type=local,dir={store}", *base())
    before = layers_of(store, machine.build(*words, folder=app))
    same = machine.run("diff", "~0", "~0", "--from", str(store), folder=app).out
    assert "no layers differ" in same
    (app / "notes").write_text("other notes\n")
    after = layers_of(store, machine.build(*words, folder=app))
    told = json.loads(machine.run("diff", "--json", "--from", str(store), folder=app).out)
    changed = {each["name"] for each in told["stages"] if each["gone"] or each["new"]}
    assert {"tools", "base", "alias"}.isdisjoint(changed)
    assert {"deps", "build", "stage-4", "stage-7"} <= changed
    gone = {each["digest"] for stage in told["stages"] for each in stage["gone"]}
    new = {each["digest"] for stage in told["stages"] for each in stage["new"]}
    assert gone == before.keys() - after.keys()
    assert new == after.keys() - before.keys()


def test_an_evicted_layer_is_shown_as_one(machine: Machine, app: Path, tmp_path: Path) -> None:
    """Layers that the store evicted stay in the record and are shown as evicted."""
    store = tmp_path / "store"
    built = machine.build("--backend", f"type=local,dir={store}", *base(), folder=app)
    before = set(layers_of(store, built))
    machine.run("store", "prune", "--from", str(store), "--max-size", "1000kB", folder=app)
    told = json.loads(machine.run("history", "--json", "--from", str(store), folder=app).out)
    evicted = {e["digest"] for s in told["stages"] for e in s["layers"] if e["evicted"]}
    kept = {e["digest"] for s in told["stages"] for e in s["layers"] if not e["evicted"]}
    left = {f"sha256:{each.name}" for each in (store / "blobs" / "sha256").iterdir()}
    assert kept == before & left
    assert evicted == before - left != set()
    assert "evicted" in machine.run("history", "--from", str(store), folder=app).out


BORROWED = """\
FROM busybox AS tool
FROM scratch
COPY --from=tool /bin/busybox /tool
"""


def test_a_layer_that_was_never_saved_is_not_called_evicted(
    machine: Machine, app: Path, tmp_path: Path
) -> None:
    """A layer that BuildKit does not export is shown as not saved.

    BuildKit exports no base image that is only copied from, and nothing if nothing is built.
    """
    for name, dockerfile in (("borrowed", BORROWED), ("bare", "FROM busybox AS tool\n")):
        store = tmp_path / name
        (app / "Dockerfile").write_text(dockerfile)
        words = ("--backend", f"type=local,dir={store}", "-o", "type=cacheonly", *base())
        built = machine.build(*words, folder=app)
        saved = set(layers_of(store, built)) if built["caches"][0]["digest"] else set()
        assert set(quietly(machine, app, "--from", str(store))) == saved
        ran = machine.run("history", "--from", str(store), folder=app)
        assert "evicted" not in ran.out + ran.err
        assert "gone" not in ran.err
        assert ("not saved" in ran.out) == bool(saved)
        assert ("the build saved nothing" in ran.err) == (not saved)


def test_a_cache_of_plain_buildx(machine: Machine, app: Path, tmp_path: Path) -> None:
    """Without a record, layers, sizes and chains are shown, but not the names of stages."""
    store = tmp_path / "plain"
    machine.raw("--cache-to", f"type=local,dest={store},mode=max", *base(), ".", folder=app)
    [entry] = json.loads((store / "index.json").read_text())["manifests"]
    expected = {each["digest"]: each["size"] for each in stored_layers(store, entry["digest"])}
    told = json.loads(machine.run("history", "--json", "--from", str(store), folder=app).out)
    assert {e["digest"]: e["bytes"] for c in told["chains"] for e in c["layers"]} == expected
    source = f"type=local,src={store}"
    chains = [[each["digest"] for each in chain["layers"]] for chain in told["chains"]]
    for name in ("deps", "build"):
        assert pulled_by_docker(machine, app, source, name, tmp_path, *base()) in chains
    shown = machine.run("history", "--from", str(store), folder=app).out
    assert "record" in shown.splitlines()[-1]
    said = machine.run("history", "--stage", "deps", "--from", str(store), folder=app, status=66)
    assert "no record" in said.err


def test_a_packed_store_keeps_its_history(built: Callable[[str], Built], tmp_path: Path) -> None:
    """A machine that unpacks a store reads the same history from it."""
    done, other, file = built("docker"), tmp_path / "other", tmp_path / "cache.tar.zst"
    for verb, store in (("pack", done.store), ("unpack", other)):
        done.machine.run("store", verb, str(file), "--from", str(store), folder=done.app)
    here, there = (
        json.loads(done.machine.run("history", "--json", "--from", str(each), folder=done.app).out)
        for each in (done.store, other)
    )
    assert here.pop("source") != there.pop("source")
    assert here == there


def test_an_old_buildx_has_a_history_without_layers(
    machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """With an old buildx, history lists stages and steps, and reports that layers are unknown."""
    store = tmp_path / "store"
    machine = machines("oldest")
    machine.build("--backend", f"type=local,dir={store}", folder=project)
    note = "note: the layers are not known: buildx reports them since version 0.14"
    ran = machine.run("history", "--from", str(store), folder=project)
    assert ran.err.count(note) == 1
    shown = machine.run("build", "--network", "none", "--layers", folder=project)
    assert shown.err.count(note) == 1
    (project / "bxcache.toml").write_text("[images.api]\n[images.web]\n")
    words = ("build", "--network", "none", "--layers", "--all")
    assert machine.run(*words, folder=project).err.count(note) == 1
    assert all(name in ran.out for name in ("base", "deps", "build", "RUN mkdir /deps"))
    assert quietly(machine, project, "--from", str(store)) == []


def test_a_classic_engine_lists_the_final_stage(
    machines: MakeMachine, project: Path, registry: Registry, tmp_path: Path
) -> None:
    """A classic engine lists the layers of the final stage, which is all that it can export."""
    machine = machines("classic")
    ref = f"{registry.address}/{tmp_path.name.lower()}:main"
    words = ("--backend", f"type=inline,ref={ref}", "-t", ref, "--push")
    document = machine.build(*words, folder=project)
    stages = {stage["name"]: stage for stage in document["stages"]}
    inspected = machine.docker("image", "inspect", ref, folder=project).stdout
    [image] = json.loads(inspected)
    digests = [each["digest"] for each in stages["stage-4"]["layers"]]
    assert len(digests) == 2
    # Such an engine knows its layers by the digests of their content.
    assert digests == image["RootFS"]["Layers"][-2:]
    here: dict[str, Any] = {"BXCACHE_CACHE_BACKENDS": words[1]}
    # The cache keeps no record, but the machine does.
    told = machine.run("history", folder=project, **here).out
    assert all(digest[:19] in told for digest in digests)
    here["XDG_CACHE_HOME"] = str(tmp_path / "empty")
    assert "keeps records" in machine.run("history", folder=project, status=66, **here).err


def test_a_classic_engine_lists_the_layers_that_it_imports(
    machines: MakeMachine, project: Path, registry: Registry, tmp_path: Path
) -> None:
    """A classic engine lists the registry's layers, though it knows its own by other digests."""
    ref = f"{registry.address}/{tmp_path.name.lower()}"
    words = ("--backend", f"type=registry,ref={ref}")
    first = machines().build(*words, folder=project)
    second = machines("classic").build(*words, "--write", "never", folder=project)
    assert count(second)[1] == 0
    assert second["stages"] == first["stages"]
    assert all(layer["bytes"] for stage in second["stages"] for layer in stage["layers"])


def test_a_secret_in_the_name_of_a_dockerfile_is_in_no_record(
    machine: Machine, app: Path, tmp_path: Path
) -> None:
    """A Dockerfile's name that is a secret is masked in the record."""
    (app / "Dockerfile").rename(app / "hunter2-secret")
    (app / "bxcache.toml").write_text("[images.app]\nfile = 'hunter2-secret'\n")
    store = ("--backend", f"type=local,dir={tmp_path / 'store'}")
    given = ("--image", "app", "--build-arg", "API_TOKEN=hunter2-secret")
    machine.build(*store, *base(), *given, folder=app)
    [file] = (tmp_path / "store" / ".bxcache" / "records").iterdir()
    assert json.loads(file.read_text())["file"] == "***"
    assert "hunter2" not in file.read_text()


def test_every_build_leaves_a_record(machine: Machine, app: Path, tmp_path: Path) -> None:
    """Unchanged and failed builds leave records too, and no record contains a secret."""
    store = tmp_path / "store"
    words = ("--backend", f"type=local,dir={store}", *base())
    given = ("--build-arg", "MODE=release", "--build-arg", "API_TOKEN=hunter2-secret")
    for _ in range(2):
        machine.build(*words, *given, folder=app)
    (app / "Dockerfile").write_text(
        DOCKERFILE + "RUN echo https://me:pw-secret@example.com; exit 3\n"
    )
    machine.build(*words, *given, folder=app, status=1)
    [file] = (store / ".bxcache" / "records").iterdir()
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert [each.get("exit_status", 0) for each in records] == [0, 0, 1]
    outcomes = [{s.get("outcome") for s in each["steps"]} - {None} for each in records]
    assert "executed" in outcomes[0]
    assert outcomes[1:] == [{"reused"}, {"reused", "failed"}]
    hashes = [each["arguments"]["values"] for each in records]
    assert hashes[0] == hashes[1] == hashes[2]
    assert hashes[0]["API_TOKEN"] is None
    assert len(hashes[0]["MODE"]) == 16
    text = file.read_text()
    assert not any(secret in text for secret in ("hunter2", "pw-secret", "release"))
    tools = records[0]["tools"]
    assert tools["bxcache"] == bxcache.__version__
    assert tools["buildx"] in machine.docker("buildx", "version", folder=app).stdout
    assert records[0]["images"][0]["name"].endswith("busybox") or records[0]["images"]
    note = machine.run("history", "--from", str(store), folder=app).err
    assert "1 later build failed" in note


PLAIN = "FROM scratch AS one\nCOPY a /a\nFROM scratch\nCOPY --from=one /a /b\n"


def test_the_last_build_here_is_found_without_a_name(machines: MakeMachine, tmp_path: Path) -> None:
    """History finds the last build here, whatever was built and however it ended, if it began.

    A generated Dockerfile is one image in all runs: its steps are reused on a fresh machine, and
    the store has one scope of them.
    """
    machine, project, store = machines(), tmp_path / "app", tmp_path / "store"
    (project / ".git").mkdir(parents=True)
    (project / "api").mkdir()
    for name in ("Dockerfile", "web.Dockerfile", "api/Dockerfile"):
        (project / name).write_text(PLAIN)
    for name in ("a", "api/a"):
        (project / name).write_text(f"{tmp_path}\n")
    backend = ("--backend", f"type=local,dir={store}")
    (project / "bxcache.toml").write_text(f'[[cache.backends]]\ntype = "local"\ndir = "{store}"\n')
    runs: list[Path] = []
    for name in ("tmp.1", "tmp.2"):
        (tmp_path / name).mkdir()
        runs.append(tmp_path / name / "Dockerfile")
        runs[-1].write_text(PLAIN + "COPY a /generated\n")
    builds: list[tuple[str, ...]] = [
        ("-f", "web.Dockerfile", "--target", "one", "--platform", "linux/arm64"),
        ("-f", str(runs[0])),
        ("--write", "never", "api"),
        ("-f", "failing/Dockerfile"),
    ]
    (project / "failing").mkdir()
    (project / "failing" / "Dockerfile").write_text(f"{PLAIN}COPY absent /\n")
    seen = []
    for words in builds:
        status = int(words[-1].startswith("failing"))
        machine.build(*words, "-o", "type=cacheonly", folder=project, status=status)
        seen.append(json.loads(machine.run("history", "--json", folder=project).out))
    assert [each["image"] for each in seen] == ["web.Dockerfile", "../image", "api", "failing"]
    assert [each["exit_status"] for each in seen] == [0, 0, 0, 1]
    assert (seen[0]["target"], seen[0]["platforms"]) == ("one", ["linux/arm64"])
    machine.build("-f", "missing/Dockerfile", folder=project, status=1)
    report = json.loads(machine.run("report", "--json", folder=project).out)
    assert (report["scope"]["name"], report["started"]) == (seen[3]["scope"], seen[3]["started"])
    again = machines().build(*backend, "-f", str(runs[1]), "-o", "type=cacheonly", folder=project)
    assert count(again) == (3, 0)
    assert {*Store(store).read_scopes()} == {each["scope"] for each in seen[:2]}

    # A cache that another build saved to this scope is not the last build's.
    other = tmp_path / "other"
    for words in ((), ("--backend", f"type=local,dir={other}")):
        (project / "a").write_text(f"{tmp_path} {words}")
        machine.build(*words, "-o", "type=cacheonly", folder=project)
    told = machine.run("history", folder=project)
    assert f"`--from {other}` has its cache" in told.err
    assert "evicted" not in told.out


@pytest.mark.parametrize("kind", ["docker", "docker-container"])
def test_the_files_of_a_stage_are_exported_from_the_cache(
    kind: str, built: Callable[[str], Built], machines: MakeMachine, tmp_path: Path
) -> None:
    """A fresh machine exports a stage's files without executing a step; docker's are the same."""
    done, fresh = built(kind), machines(kind)
    own = ("--target", "build", "-o", f"{tmp_path / 'own'}", *base(), ".")
    done.machine.raw(*own, folder=done.app)
    given = ("--from", str(done.store), "--", *base(), "--network", "none")
    for stage in ("build", "stage-4"):
        words = ("history", "--stage", stage, "--export", str(tmp_path / stage), *given)
        assert "0 executed" in fresh.run(*words, folder=done.app).err
    assert files_of(tmp_path / "build") == files_of(tmp_path / "own")
    assert (tmp_path / "build" / "unpacked" / "notes").read_text() == "notes\n"
    assert files_of(tmp_path / "stage-4") == {"z": b"notes\n"}
    records = (done.store / ".bxcache" / "records").iterdir()
    assert [len(each.read_text().splitlines()) for each in records] == [1]


def test_a_build_is_found_by_its_context_and_dockerfile(
    machine: Machine, app: Path, tmp_path: Path
) -> None:
    """The record has the build's context and Dockerfile, relative to the project's top folder."""
    (app / ".git").rmdir()
    (tmp_path / ".git").mkdir()
    (app / "Dockerfile").rename(tmp_path / "build.file")
    store = tmp_path / "store"
    words = ("--backend", f"type=local,dir={store}", *base())
    machine.build(*words, "-f", "build.file", "app", folder=tmp_path)
    elsewhere = tmp_path / "deep" / "down"
    elsewhere.mkdir(parents=True)
    export = ("--stage", "deps", "--export", "out", "--from", str(store), "--", *base())
    ran = machine.run("history", *export, folder=elsewhere)
    assert "0 executed" in ran.err
    assert (elsewhere / "out" / "one").read_text() == "one\nFROM nothing AS fake\n"


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_an_impossible_export_is_refused(machine: Machine, app: Path, tmp_path: Path) -> None:
    """An export is refused for a full folder, an ambiguous or unknown stage, or a forged record."""
    (app / "bxcache.toml").write_text(
        f'[[cache.backends]]\ntype = "local"\ndir = "{tmp_path / "store"}"\n'
    )
    machine.build(*base(), "--build-arg", "TOOLS=busybox", folder=app)
    full, out = tmp_path / "full", tmp_path / "out"
    full.mkdir()
    (full / "file").write_text("mine")

    def export(*words: str, status: int = 66) -> str:
        return machine.run("history", *words, folder=app, status=status).err

    assert "not an empty directory" in export("--stage", "deps", "--export", str(full))
    (tmp_path / "elsewhere").symlink_to(out)
    assert "is a link" in export("--stage", "deps", "--export", str(tmp_path / "elsewhere"))
    assert "TOOLS" in export("--stage", "deps", "--export", str(out))
    assert "one `--stage`" in export("--export", str(out), status=2)
    two = ("--stage", "deps", "--stage", "build")
    assert "one `--stage`" in export(*two, "--export", str(out), status=2)
    assert "`deps`" in export("--stage", "nothing", "--export", str(out))
    assert (full / "file").read_text() == "mine"

    store = ("--from", str(tmp_path / "store"))
    [kept] = (tmp_path / "store" / ".bxcache" / "records").iterdir()
    record = json.loads(kept.read_text())
    (app / "link").symlink_to("..")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    keys = {"context": ("..", "link"), "file": (f"{tmp_path}/Dockerfile", "link/Dockerfile")}
    for values in ({key: value} for key, listed in keys.items() for value in listed):
        kept.write_text(json.dumps(record | values) + "\n")
        told = export(*store, "--stage", "deps", "--export", str(out), "--", *base())
        assert "lies outside of the project" in told, values
    kept.write_text(json.dumps(record | {"network": "host"}) + "\n")
    given = ("--", *base(), "--build-arg", "TOOLS=busybox")
    words = (*store, "--stage", "deps", "--export", str(out), *given)
    assert "with the network `host`, which the record alone asks for" in export(*words)
    assert not out.exists()
    export(*words, "--network", "none", status=0)
    assert out.exists()


FETCHED = textwrap.dedent(
    """\
    FROM busybox AS fetch
    ADD {url} /fetched
    RUN wc -c < /fetched > /size
    FROM busybox
    COPY --from=fetch /size /size
    """
)


def test_fetched_files_belong_to_their_stage(
    machine: Machine, registry: Registry, app: Path, tmp_path: Path
) -> None:
    """An ADD of a URL is two steps of BuildKit, and every layer of both is listed."""
    (app / "Dockerfile").write_text(FETCHED.format(url=f"http://{registry.address}/v2/"))
    store = tmp_path / "store"
    built = machine.build("--backend", f"type=local,dir={store}", *base(), folder=app)
    assert set(quietly(machine, app, "--from", str(store))) == set(layers_of(store, built))
    told = json.loads(machine.run("history", "--json", "--from", str(store), folder=app).out)
    fetch = told["stages"][0]
    assert [step["kind"] for step in fetch["steps"]][:2] in (
        ["from", "source"],
        ["from", "instruction"],
    )
    assert {line for step in fetch["steps"] for line in step["lines"]} >= {2, 3}
