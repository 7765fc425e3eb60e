"""A fault of one target, or of its cache, does not affect the other targets."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bxcache.store.store import Store
from tests.engines.faults import FORBIDDEN, Stall, writing_blobs
from tests.engines.proxy import FaultyProxy
from tests.real.bakes import (
    LOCAL,
    STEPS,
    bake,
    counts,
    declare,
    forget,
    make_shop,
    reused,
    scope,
    scopes,
)
from tests.real.conftest import MakeMachine
from tests.real.machines import Machine
from tests.real.manifests import stored_layers
from tests.real.test_corruption import files_of
from tests.real.test_local import mentioned, snapshot
from tests.support.layouts import damage

if TYPE_CHECKING:
    import subprocess


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A repository of three images, with a store of its own."""
    return make_shop(tmp_path / "shop")


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_one_of_three_fails(machine: Machine, shop: Path) -> None:
    """When a target fails, a finished one is saved, and a running one is reported as stopped.

    What the failed one had finished is saved, too, and what the stopped one had if BuildKit still
    has all of it.
    """
    replace(shop / "Dockerfile", "RUN echo $WORD", "RUN sleep 12; exit 3; echo $WORD")
    replace(shop / "Dockerfile", "RUN cp /blob", "RUN sleep 300; cp /blob")
    begun = time.monotonic()
    targets = bake(machine, shop, status=1)
    assert time.monotonic() - begun < 120
    assert {name: each["exit_status"] for name, each in targets.items()} == {
        "api": 0,
        "web": 71,
        "worker": 1,
    }
    assert targets["api"]["error"] == ""
    assert "exit code: 3" in targets["worker"]["error"]
    assert targets["web"]["error"] == "it was stopped, since another target failed"
    assert {scope("api"), scope("worker")} <= {*scopes(shop)}, targets
    assert targets["api"]["caches"][-1]["salvaged"] == 0
    assert targets["worker"]["caches"][-1]["salvaged"] > 0
    # No step is listed twice, though the targets share their vertices.
    for name in STEPS:
        told = [(step["stage"], step["text"]) for step in targets[name]["steps"]]
        assert len(told) == len(set(told)) <= STEPS[name]
    assert counts({"api": targets["api"]})["api"][1] <= STEPS["api"]
    assert sum(counts(targets)["api"]) == STEPS["api"]


def test_a_finished_target_is_saved_to_a_registry(
    machine: Machine, proxy: FaultyProxy, shop: Path, tmp_path: Path
) -> None:
    """When a target fails, a finished one is saved to a registry, and a running one is stopped."""
    declare(shop, f'type = "registry"\nref = "{proxy.address}/{tmp_path.name.lower()}"')
    replace(shop / "Dockerfile", "RUN echo $WORD", "RUN sleep 12; exit 3; echo $WORD")
    replace(shop / "Dockerfile", "RUN cp /blob", "RUN sleep 300; cp /blob")
    targets = bake(machine, shop, status=1)
    statuses = {name: each["exit_status"] for name, each in targets.items()}
    assert statuses == {"api": 0, "web": 71, "worker": 1}
    assert [cache["exported"] for cache in targets["api"]["caches"]] == [True]
    assert targets["api"]["warnings"] == []


def test_a_failing_target_alone(machine: Machine, shop: Path) -> None:
    """A failing target alone ends with docker's status and message, and what finished is saved."""
    replace(shop / "Dockerfile", "RUN echo $WORD", "RUN exit 3; echo $WORD")
    targets = bake(machine, shop, "worker", status=1)
    assert "exit code: 3" in targets["worker"]["error"]
    counted = targets["worker"]["counts"]
    assert counted["failed"] == 1
    assert scopes(shop) == [scope("worker")]
    assert targets["worker"]["caches"][0]["salvaged"] == counted["executed"]


ENDS = {
    "check": (
        'call = "check"\n dockerfile-inline = "FROM scratch as odd\\nCOPY own.txt /own"',
        {"api": 0, "odd": 1},
    ),
    "no Dockerfile": ('dockerfile = "nowhere"', {"odd": 1}),
    "no context": ('context = "nowhere"', {"api": 1, "odd": 1}),
    "no registry": (
        'target = "worker"\n output = ["type=image,name=127.0.0.1:1/x,push=true"]',
        {"odd": 1},
    ),
}
"""The fault of the second of two targets, and the exit statuses that are certain:
before some failures, the other target may have ended."""


def test_the_exit_status_is_that_of_bake(machine: Machine, shop: Path) -> None:
    """The exit status is plain bake's; a target is stopped only after another one has failed."""
    text = (shop / "docker-bake.hcl").read_text().replace('"api", "worker", "web"', '"api", "odd"')
    for what, (words, expected) in ENDS.items():
        odd = f'target "odd" {{\n inherits = ["_common"]\n {words}\n}}\n'
        (shop / "docker-bake.hcl").write_text(text + odd)
        plain = machine.docker("buildx", "bake", folder=shop, check=False)
        assert plain.returncode == expected["odd"], what
        targets = bake(machine, shop, status=plain.returncode)
        for name, told in targets.items():
            assert told["exit_status"] in (expected.get(name, 0), expected.get(name, 71)), what
            assert bool(told["error"]) is bool(told["exit_status"]), what


def test_a_buildx_that_is_killed_has_failed(machine: Machine, shop: Path) -> None:
    """If buildx is killed, its exit status becomes that of each unfinished target."""
    replace(shop / "Dockerfile", "RUN cp /blob", "RUN sleep 300; cp /blob")
    with machine.start("bake", "--json", "web", folder=shop) as process:
        read_until(process, {"web .*started .*sleep"})
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                line = path.read_bytes()
                if b"docker-buildx\0" in line and str(shop).encode() in line:
                    os.kill(int(path.parent.name), signal.SIGKILL)
        out, _ = process.communicate(timeout=60)
    # The docker client's status for a plugin that a signal ended.
    assert process.returncode == 255
    web = json.loads(out)["targets"]["web"]
    assert web["exit_status"] == 255
    assert web["error"] == "docker ended with exit status 255 and without a message"


def test_nodes_that_meet_in_the_store_do_not_fail_a_target(
    machine: Machine, shop: Path, tmp_path: Path
) -> None:
    """If nodes meet in the store, the targets are baked again and then saved."""
    targets = bake(machine.where_nodes_meet("build", tmp_path / "met"), shop, "api", "worker")
    assert (tmp_path / "met" / "count").read_text() == "second\n"
    assert [each["warnings"] for each in targets.values()] == [[], []]
    assert scopes(shop) == [scope("api"), scope("worker")]
    again = bake(machine, shop, "api", "worker")
    assert [each["caches"][0]["unchanged"] for each in again.values()] == [True, True]


def read_until(process: subprocess.Popen[str], patterns: set[str]) -> None:
    """Read the progress until each pattern has matched."""
    assert process.stderr is not None
    for line in process.stderr:
        patterns -= {each for each in patterns if re.search(each, line)}
        if not patterns:
            return
    raise AssertionError(f"never told: {patterns}")


def test_ctrl_c_stops_them_all(machine: Machine, shop: Path, tmp_path: Path) -> None:
    """Ctrl-C leaves no process or temporary folder behind, and does not change the store."""
    bake(machine, shop)
    before = snapshot(shop / "store")
    for text in ("RUN cp /blob", "RUN echo $WORD"):
        replace(shop / "Dockerfile", text, f"RUN sleep 300; {text[4:]}")
    small = tmp_path / "small"
    small.mkdir()
    with machine.start("bake", folder=shop, TMPDIR=str(small)) as process:
        read_until(process, {"web .*started .*sleep", "worker .*started .*sleep"})
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "stopped; no cache is left half saved"
    assert mentioned(str(shop)) == []
    assert list(small.iterdir()) == []
    assert list((shop / "store" / ".bxcache" / "staging").iterdir()) == []
    assert snapshot(shop / "store") == before


def test_ctrl_c_ends_saving_to_a_registry(
    machine: Machine, proxy: FaultyProxy, shop: Path, tmp_path: Path
) -> None:
    """Ctrl-C ends saving to a stalled registry at once, and leaves no process behind."""
    declare(shop, f'type = "registry"\nref = "{proxy.address}/{tmp_path.name.lower()}"')
    proxy.fail(fault=Stall(), matching=writing_blobs())
    with machine.start("bake", folder=shop) as process:
        proxy.wait_for(writing_blobs())
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    # The registry would delay it for ten minutes.
    assert time.monotonic() - begun < 60
    assert process.returncode == 130
    assert err.splitlines()[-1] == "stopped; no cache is left half saved"
    assert mentioned(str(shop)) == []
    assert mentioned(proxy.address) == []


def test_a_broken_layer_heals(machines: MakeMachine, shop: Path) -> None:
    """A broken layer makes all targets bake again without caches, and the cache is repaired."""
    bake(machines(), shop)
    store = shop / "store"
    saved = Store(store).read_scopes()[scope("worker")]
    layers = stored_layers(store, saved.digest)
    blobs = [store / "blobs" / each["digest"].replace(":", "/") for each in layers]
    damage(next(blob for blob in blobs if files_of(blob) == ["own"]), "changed")
    machine = machines()
    again = bake(machine, shop)
    warnings = {warning for each in again.values() for warning in each["warnings"]}
    assert any("failed because of its cache and is run again without it" in w for w in warnings)
    assert Store(store).verify(full=True).damages == ()
    assert counts(bake(forget(machine, shop), shop)) == reused()


def test_a_registry_that_is_down_costs_a_warning(
    machine: Machine, proxy: FaultyProxy, shop: Path, tmp_path: Path
) -> None:
    """If the registry is down, each target has one warning, and the store is saved and reused."""
    ref = f"{proxy.address}/{tmp_path.name.lower()}"
    declare(shop, LOCAL, f'type = "registry"\nref = "{ref}"\ntimeout = "5s"')
    proxy.refuse()
    first = bake(machine, shop)
    assert [len(each["warnings"]) for each in first.values()] == [1, 1, 1]
    assert all(proxy.address in each["warnings"][0] for each in first.values())
    assert scopes(shop) == sorted(map(scope, STEPS))
    assert counts(bake(forget(machine, shop), shop)) == reused()


def test_a_registry_that_cannot_be_written_costs_a_warning(
    machine: Machine, proxy: FaultyProxy, shop: Path, tmp_path: Path
) -> None:
    """A registry that refuses writes costs each target a warning, which `strict` makes an error."""
    ref = f"{proxy.address}/{tmp_path.name.lower()}"
    declare(shop, f'type = "registry"\nref = "{ref}"\ntimeout = "5s"')
    proxy.fail(fault=FORBIDDEN, matching=writing_blobs())
    targets = bake(machine, shop, "--strict", status=75)
    for each in targets.values():
        [warning] = each["warnings"]
        assert f"`{proxy.address}`" in warning
        assert each["image"]["digest"]
        assert each["exit_status"] == 75


def test_a_warning_belongs_to_its_target_only(machine: Machine, shop: Path) -> None:
    """BuildKit's warning belongs to the target of the stage that it names; docker's to none."""
    replace(shop / "Dockerfile", "COPY --link worker.txt", "WORKDIR odd\nCOPY --link worker.txt")
    missing = 'target = "worker"\n  cache-from = ["type=local,src=nowhere"]'
    replace(shop / "docker-bake.hcl", 'target = "worker"', missing)
    ran = machine.run("bake", "--json", "api", "worker", folder=shop)
    targets = json.loads(ran.out)["targets"]
    assert targets["api"]["build_warnings"] == []
    [warning] = targets["worker"]["build_warnings"]
    assert warning.startswith("WorkdirRelativePath")
    lines = ran.err.splitlines()
    assert any(line.startswith("worker | warning: WorkdirRelativePath") for line in lines)
    assert any(line.startswith("WARNING: local cache import at nowhere") for line in lines)


def test_access_outside_the_folder_has_to_be_allowed(machine: Machine, shop: Path) -> None:
    """Access outside of the folder is refused, as in plain bake, unless `--allow` permits it."""
    part = shop / "part"
    part.mkdir()
    text = 'target "default" {\n context = ".."\n target = "base"\n network = "none"\n'
    outputs = f'output = ["type=local,dest={shop / "made"}"]'
    (part / "docker-bake.hcl").write_text(f"{text} {outputs}\n}}\n")
    plain = machine.docker("buildx", "bake", "--progress=plain", folder=part, check=False)
    flags = ["--allow=fs.read=..", "--allow=fs.write=.."]
    assert plain.returncode == 1
    assert 'Pass "--allow=fs=.."' in plain.stderr
    refused = machine.run("bake", folder=part, status=78)
    assert "reads `..`" in refused.err
    assert "writes `..`" in refused.err
    assert not (shop / "made").exists()
    [target] = bake(machine, part, "--", *flags).values()
    assert target["exit_status"] == 0
    assert (shop / "made" / "own").read_text() == f"{shop}\n"
