"""Operations on a store between builds, checked by the next build on a new machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bxcache.store.store import Store
from tests.real.conftest import STEPS, MakeMachine
from tests.real.machines import Machine, count
from tests.support.sampling import more


def backend(store: Path, **attributes: str) -> tuple[str, str]:
    """The flag that names a store."""
    more = (f"{name}={value}" for name, value in attributes.items())
    return "--backend", ",".join(["type=local", f"dir={store}", *more])


def live_set(store: Path) -> set[str]:
    """The blobs that the index needs, by the OCI format."""
    found = set()
    for entry in json.loads((store / "index.json").read_text())["manifests"]:
        manifest = json.loads((store / "blobs" / "sha256" / entry["digest"][7:]).read_text())
        found.add(entry["digest"][7:])
        # BuildKit of 26.1 writes an index by default, and an image manifest on request.
        parts = (manifest.get(name, []) for name in ("layers", "manifests"))
        config = [manifest["config"]] if "config" in manifest else []
        found |= {each["digest"][7:] for part in (config, *parts) for each in part}
    return found


def blobs_of(store: Path) -> set[str]:
    """The files in the folder of blobs."""
    return {path.name for path in (store / "blobs" / "sha256").iterdir()}


def test_a_build_leaves_nothing_dead(machine: Machine, project: Path, tmp_path: Path) -> None:
    """A build removes what only the last commit needed, which plain buildx would keep."""
    store, raw = tmp_path / "store", tmp_path / "raw"
    for number in range(3):
        (project / "src" / "main.c").write_text(f"// {number} {tmp_path}\n")
        built = machine.build(*backend(store), folder=project)
        machine.raw("--cache-to", f"type=local,dest={raw},mode=max", ".", folder=project)
        assert blobs_of(store) == live_set(store)
        assert blobs_of(store) == live_set(raw)
        assert (built["caches"][0]["freed_bytes"] > 0) == (number > 0)
    assert len(blobs_of(raw)) > len(live_set(raw))


@pytest.mark.parametrize("kind", ["docker", "oldest"])
def test_an_adopted_directory_is_reused_whole(
    kind: str, machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """A build of an image that has no scope yet starts from what plain buildx has left.

    Before that, a warning names the directory, and nothing in it changes.
    """
    store = tmp_path / "cache"
    first = machines(kind)
    first.raw("--cache-to", f"type=local,dest={store},mode=max", ".", folder=project)
    before = blobs_of(store)
    [warning] = first.build(*backend(store), folder=project)["warnings"]
    assert f"bxcache store adopt {store}" in warning
    assert blobs_of(store) == before
    adopted = first.run("store", "adopt", str(store), folder=project)
    assert "its scopes: latest" in adopted.out
    built = machines(kind).build(*backend(store), folder=project)
    assert count(built) == (STEPS, 0)
    assert set(Store(store).read_scopes()) == {"latest", built["caches"][-1]["scope"]}
    assert blobs_of(store) == live_set(store)


def test_an_unpacked_store_is_reused_whole(
    machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """An archive of a store works on another machine, and the system's own tools can read it."""
    first, file = machines(), str(tmp_path / "cache.tar.zst")
    first.build(*backend(tmp_path / "a"), folder=project)
    first.run("store", "pack", "--from", str(tmp_path / "a"), file, folder=project)
    second = machines()
    second.run("store", "unpack", "--from", str(tmp_path / "b"), file, folder=project)
    assert count(second.build(*backend(tmp_path / "b"), folder=project)) == (STEPS, 0)
    if shutil.which("zstd"):
        (tmp_path / "c").mkdir()
        subprocess.run(
            ["/bin/sh", "-ec", 'zstd -qdc "$0" | tar x -C "$1"', file, str(tmp_path / "c")],
            check=True,
        )
        assert not Store(tmp_path / "c").verify(full=True).damages
        assert count(machines().build(*backend(tmp_path / "c"), folder=project)) == (STEPS, 0)


def test_over_budget_expensive_steps_still_hit(
    machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """Over budget, a small layer that took a second stays; a large one that took no time goes."""
    dockerfile = (project / "Dockerfile").read_text()
    (project / "Dockerfile").write_text(
        f"{dockerfile}"
        "RUN sleep 1; echo dear > /dear\n"
        "RUN head -c 6000000 /dev/urandom > /cheap\n"
        "RUN echo last > /last\n"
    )
    store = tmp_path / "store"
    machine = machines()
    built = machine.build(*backend(store, max_size="4MB"), folder=project)
    assert count(built) == (0, STEPS + 3)
    (cache,) = built["caches"]
    assert cache["bytes"] <= cache["store_bytes"] <= 4_000_000
    # With the size that the warning names, nothing is dropped.
    [warning] = built["warnings"]
    [named] = re.findall(r"a `max_size` of (\w+)", warning)
    whole = machine.build(*backend(tmp_path / "whole", max_size=named), folder=project)
    assert (whole["warnings"], whole["caches"][0]["freed_bytes"]) == ([], 0)
    layers = whole["caches"][0]["layers"]
    assert cache["layers"] == layers - 2
    assert f"{layers - 2} of its {layers} layers were kept" in warning
    size = sum(path.stat().st_size for path in (store / "blobs" / "sha256").iterdir())
    assert size <= 4_000_000
    again = machines().build(*backend(store), "--write", "never", folder=project)
    executed = [step["text"] for step in again["steps"] if step["outcome"] == "executed"]
    assert executed == ["RUN head -c 6000000 /dev/urandom > /cheap", "RUN echo last > /last"]
    assert again["warnings"] == []


@pytest.mark.parametrize("kind", ["docker", "oldest", *more("remote")])
def test_a_scope_without_layers_is_only_a_miss(
    kind: str, machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """A scope that lost all layers, for BuildKit an empty cache, is only a miss."""
    store = tmp_path / "store"
    first = machines(kind)
    saved = first.build(*backend(store), folder=project)
    first.run(*collect_words(store), folder=project)
    assert set(Store(store).read_scopes()) == {saved["caches"][0]["scope"]}
    assert len(blobs_of(store)) == 2
    built = machines(kind).build(*backend(store), folder=project)
    assert count(built) == (0, STEPS)
    assert built["warnings"] == []
    assert count(machines(kind).build(*backend(store), folder=project)) == (STEPS, 0)


def collect_words(store: Path) -> tuple[str, ...]:
    """Collect with room for documents and records, but for no layer."""
    (entry,) = json.loads((store / "index.json").read_text())["manifests"]
    manifest = store / "blobs" / "sha256" / entry["digest"][7:]
    config = json.loads(manifest.read_text())["config"]["size"]
    own = [*(store / ".bxcache" / "scopes").iterdir(), *(store / ".bxcache" / "records").iterdir()]
    room = config + sum(each.stat().st_size for each in (store / "index.json", manifest, *own))
    return "store", "prune", "--from", str(store), "--max-size", str(room)


def test_a_record_has_the_time_of_each_step(
    machines: MakeMachine, project: Path, tmp_path: Path
) -> None:
    """A record has the times of reused steps, too, from when they were executed."""
    store = tmp_path / "store"
    (project / "Dockerfile").write_text(
        (project / "Dockerfile").read_text() + "RUN sleep 1; echo dear > /dear\n"
    )
    machines().build(*backend(store), folder=project)

    def read_seconds() -> dict[str, float]:
        (record,) = (store / ".bxcache" / "scopes").iterdir()
        found: dict[str, float] = json.loads(record.read_text())["seconds"]
        return found

    first = read_seconds()
    assert 1 <= max(first.values()) < 60
    (project / "src" / "main.c").write_text("// edited\n")
    built = machines().build(*backend(store), folder=project)
    second = read_seconds()
    reused = [step for step in built["steps"] if step["outcome"] == "reused"]
    kept = {layer["digest"] for step in reused for layer in step["layers"]}
    assert kept
    assert all(second[digest] >= first[digest] for digest in kept)
    assert second.keys() - kept
