"""The targets of a bake file on real engines, each with a cache of its own."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bxcache.store.store import Store
from tests.engines import Registry
from tests.real.bakes import (
    LOCAL,
    STEPS,
    bake,
    counts,
    declare,
    forget,
    in_registry,
    make_shop,
    reused,
    scope,
    scopes,
)
from tests.real.conftest import MakeMachine
from tests.real.fleet import FORK, pull, push
from tests.real.machines import Machine
from tests.real.manifests import stored_layers
from tests.real.test_local import snapshot
from tests.support.sampling import more

KINDS = ["docker", "docker-container", *more("remote")]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A repository of three images, with a store of its own."""
    return make_shop(tmp_path / "shop")


@pytest.mark.parametrize("kind", KINDS)
def test_three_targets_have_three_scopes(
    kind: str, machines: MakeMachine, registry: Registry, shop: Path, tmp_path: Path
) -> None:
    """A fresh machine reuses every step of three targets, from the store or from the registry."""
    remote = in_registry(registry, tmp_path)
    declare(shop, LOCAL, remote)
    first = bake(machines(kind), shop)
    assert {name: sum(of) for name, of in counts(first).items()} == STEPS
    assert [each["warnings"] for each in first.values()] == [[]] * 3
    assert scopes(shop) == sorted(map(scope, STEPS))
    machine = machines(kind)
    for backend in (LOCAL, remote):
        declare(shop, backend)
        again = bake(forget(machine, shop), shop)
        assert counts(again) == reused()
        for name, each in again.items():
            [cache] = each["caches"]
            assert (cache["imported"], cache["scope"]) == (True, scope(name))
            assert each["warnings"] == []


def test_the_oldest_buildx(machines: MakeMachine, shop: Path) -> None:
    """The oldest buildx reuses every step of three targets.

    Its bake cannot set a network for RUN steps, so these targets have none.
    """
    stages = "FROM scratch AS base\nCOPY own.txt /\n"
    stages += "".join(f"FROM base AS {name}\nCOPY worker.txt /{name}\n" for name in STEPS)
    (shop / "Dockerfile").write_text(stages)
    file = shop / "docker-bake.hcl"
    file.write_text(file.read_text().replace('network = "none"', "pull = false"))
    machine = machines("oldest")
    bake(machine, shop)
    again = bake(forget(machine, shop), shop)
    assert counts(again) == dict.fromkeys(STEPS, (2, 0))
    assert scopes(shop) == sorted(map(scope, STEPS))


def test_a_classic_engine_keeps_stages_as_images(
    machines: MakeMachine, registry: Registry, shop: Path, tmp_path: Path
) -> None:
    """A classic engine, which cannot export, keeps stages as images and reuses every step."""
    declare(shop, in_registry(registry, tmp_path).replace('"registry"', '"inline"\nstages = "all"'))
    first = bake(machines("classic"), shop)
    assert [each["warnings"] for each in first.values()] == [[]] * 3
    assert counts(bake(machines("classic"), shop)) == reused()


def test_a_target_that_is_a_stage_of_another_is_saved_only_if_it_changed(
    machines: MakeMachine, registry: Registry, shop: Path, tmp_path: Path
) -> None:
    """BuildKit reports the last step of `deps` as one of `web`'s; it is saved only if it changed.

    Whose step it is varies from bake to bake.
    """
    declare(shop, in_registry(registry, tmp_path).replace('"registry"', '"inline"\nstages = "all"'))
    with (shop / "docker-bake.hcl").open("a") as file:
        file.write('target "deps" {\n  inherits = ["_common"]\n  target = "deps"\n}\n')
    machine = machines("classic")
    bake(machine, shop, "web", "deps")
    for _ in range(8):
        assert saves(bake(machine, shop, "web", "deps")) == {"web": False, "deps": False}
    dockerfile = shop / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("head -c 9999", "head -c 8888"))
    assert saves(bake(machine, shop, "web", "deps")) == {"web": True, "deps": True}
    assert saves(bake(machine, shop, "web", "deps")) == {"web": False, "deps": False}


def saves(targets: dict[str, Any]) -> dict[str, bool]:
    """Return whether each target saved its only cache."""
    return {name: each["caches"][0]["exported"] for name, each in targets.items()}


MORE = """\
target "uses" {
  inherits = ["_common"]
  contexts = { x = "target:api" }
  dockerfile-inline = "FROM x AS m\\nRUN cp /api /copy\\nFROM scratch\\nCOPY --from=m /copy /\\n"
}
target "mx" {
  inherits = ["_common"]
  name = "mx-${word}"
  matrix = { word = ["one", "two"] }
  target = "worker"
  args = { WORD = word }
}
"""


def test_matrix_targets_and_needed_targets_have_scopes(machine: Machine, shop: Path) -> None:
    """Matrix targets, and a target that only another one needs, have scopes and are reused."""
    (shop / "more.hcl").write_text(MORE)
    words = ("-f", "docker-bake.hcl", "-f", "more.hcl", "uses", "mx")
    names = ["api", "mx-one", "mx-two", "uses"]
    first = bake(machine, shop, *words)
    assert sorted(first) == names
    assert scopes(shop) == [scope(name) for name in names]
    again = bake(forget(machine, shop), shop, *words)
    # BuildKit cannot separate what it shares with `api`, whose steps are its own, so it may miss
    # a step there: https://github.com/docker/buildx/issues/3878
    reused, executed = counts(again).pop("uses")
    assert reused + executed == 2
    assert executed <= 1
    others = {name: counts(again)[name] for name in names if name != "uses"}
    assert others == dict.fromkeys(others, (5, 0))


TWO = """\
target "two" {
  inherits = ["_common"]
  contexts = { x = "target:api" }
  dockerfile-inline = "FROM x\\nRUN echo two > /two\\n"
}
target "_common" {
  platforms = ["linux/amd64", "linux/arm64"]
  output = ["type=oci,dest=image.tar"]
}
"""


def test_an_image_for_several_platforms_is_reported(machine: Machine, shop: Path) -> None:
    """Each step of each platform has layers, also in a target that another one is made from.

    The cache contains those layers.
    """
    (shop / "two.hcl").write_text(TWO)
    documents = bake(machine, shop, "-f", "docker-bake.hcl", "-f", "two.hcl", "two")
    for name, document in documents.items():
        # A step that is the same on all platforms names none.
        platforms = {each["platform"] for each in document["steps"]} - {None}
        assert platforms == {"linux/amd64", "linux/arm64"}
        told = {layer["digest"] for each in document["steps"] for layer in each["layers"]}
        saved = stored_layers(shop / "store", document["caches"][0]["digest"])
        assert all(each["layers"] and each["line"] for each in document["steps"])
        assert told <= {each["digest"] for each in saved}, name


def test_overlapping_groups_bake_each_target_once(machine: Machine, shop: Path) -> None:
    """A target in several groups is baked once, and targets outside of them are not baked."""
    with (shop / "docker-bake.hcl").open("a") as file:
        file.write('group "one" { targets = ["api", "worker"] }\ngroup "two" { targets = ["one"] }')
    assert sorted(bake(machine, shop, "one", "two", "api")) == ["api", "worker"]
    assert scopes(shop) == [scope("api"), scope("worker")]


def written(*words: str) -> tuple[str, ...]:
    """Add the words that make `worker` leave its files in `out`."""
    return (*words, "--set", "worker.output=type=local,dest=out", "worker")


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ((), "default file"),
        (("-f", "docker-bake.hcl"), "plain"),
        (("-f", "docker-bake.hcl", "-f", "other.hcl"), "other file"),
        (("-f", "docker-bake.hcl", "-f", "compose.yaml"), "compose"),
        (("--set", "worker.args.WORD=set"), "set"),
        (("-f", "docker-bake.hcl", "--set", "*.args.WORD=set"), "set"),
        (("--", "--set", "worker.args.WORD=behind"), "behind"),
    ],
)
def test_files_and_values_apply_as_in_bake(
    words: tuple[str, ...], word: str, machine: Machine, shop: Path
) -> None:
    """Files and values take precedence as in plain bake, as the content of the image shows."""
    for name, text in {
        "docker-bake.override.hcl": "default file",
        "other.hcl": "other file",
    }.items():
        (shop / name).write_text(f'target "worker" {{ args = {{ WORD = "{text}" }} }}\n')
    service = "services: {worker: {build: {context: ., args: {WORD: compose}}}}\n"
    (shop / "compose.yaml").write_text(service)
    own, _, behind = " ".join(map(shlex.quote, words)).partition("-- ")
    chosen = written(*shlex.split(own))
    bake(machine, shop, *chosen, *(("--", *shlex.split(behind)) if behind else ()))
    assert (shop / "out" / "word").read_text() == f"{word}\n"


def test_a_compose_file_alone(machine: Machine, shop: Path) -> None:
    """The services of a compose file are the targets."""
    (shop / "docker-bake.hcl").unlink()
    services = "".join(
        f"  {name}: {{build: {{context: ., target: {name}, network: none}}}}\n" for name in STEPS
    )
    (shop / "compose.yaml").write_text(f"services:\n{services}")
    bake(machine, shop)
    assert counts(bake(forget(machine, shop), shop)) == reused()


def test_a_target_that_exports_a_cache_is_left_as_it_is(machine: Machine, shop: Path) -> None:
    """A target with its own `cache-to` writes that cache, has no scope, and causes a note."""
    (shop / "own").mkdir()
    with (shop / "docker-bake.hcl").open("a") as file:
        file.write('target "web" { cache-to = ["type=local,dest=own"] }\n')
    said = machine.run("bake", folder=shop).err
    assert "web | note: it has a `cache-to` of its own; its caches are left to bake" in [
        re.sub(" +", " ", line) for line in said.splitlines()
    ]
    assert json.loads((shop / "own" / "index.json").read_text())["manifests"]
    assert scopes(shop) == [scope("api"), scope("worker")]


def test_a_branch_starts_from_the_default_branch(
    machine: Machine, shop: Path, tmp_path: Path
) -> None:
    """Each target starts from its scope on the default branch; a fork's bake saves nothing."""
    bake(machine, shop, **push("main", tmp_path / "ci"))
    topic = bake(forget(machine, shop), shop, **push("topic", tmp_path / "ci"))
    assert counts(topic) == reused()
    assert scopes(shop) == sorted(scope(n, branch) for n in STEPS for branch in ("main", "topic"))
    before = snapshot(shop / "store")
    stranger = bake(forget(machine, shop), shop, **pull("patch", tmp_path / "ci", head=FORK))
    assert counts(stranger) == reused()
    assert not any(cache["exported"] for each in stranger.values() for cache in each["caches"])
    assert snapshot(shop / "store") == before


def test_the_layers_are_those_of_plain_bake(machine: Machine, shop: Path, tmp_path: Path) -> None:
    """The layers of all stages are those that plain bake exports for each target, by digest."""
    targets = bake(machine, shop)
    sets = []
    for name in STEPS:
        (tmp_path / name).mkdir()
        sets += ["--set", f"{name}.cache-to=type=local,dest={tmp_path / name},mode=max"]
    machine.docker("buildx", "bake", *sets, folder=shop)
    for name, document in targets.items():
        index = json.loads((tmp_path / name / "index.json").read_text())
        [entry] = index["manifests"]
        layers = {each["digest"] for each in stored_layers(tmp_path / name, entry["digest"])}
        told = {layer["digest"] for step in document["steps"] for layer in step["layers"]}
        kept = machine.run("history", name, "--json", folder=shop).out
        known = {each["digest"] for s in json.loads(kept)["stages"] for each in s["layers"]}
        assert told == known == layers
        assert len(layers) == STEPS[name]


def test_a_dry_run_prints_runnable_commands(machine: Machine, shop: Path, tmp_path: Path) -> None:
    """A dry run prints each target with its reasons, and commands that a shell can run."""
    bake(machine, shop)
    before = snapshot(shop / "store")
    shown = machine.run("bake", "--dry-run", folder=shop, TMPDIR=str(tmp_path)).out
    assert snapshot(shop / "store") == before
    assert [line for line in shown.splitlines() if line.startswith("# target ")] == [
        f"# target {name}:" for name in sorted(STEPS)
    ]
    for name in STEPS:
        assert f"# --cache-from {shop}/store: the store has the scope `{scope(name)}`" in shown
    assert "# each target reads the folders" in shown
    for path in re.findall(r"dest=([^,\s]+)|--metadata-file (\S+)/metadata\.json", shown):
        Path("".join(path)).mkdir(parents=True, exist_ok=True)
    source = Store(shop / "store").path
    runnable = re.sub(r"src=[^,]+,", f"src={source},", shown)
    environment = machine.environment()
    done = subprocess.run(
        ["/bin/sh", "-c", runnable], cwd=shop, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("we",), "target we; known: `api`, `default`, `web`, `worker`; did you mean `web`?"),
        (("-f", "absent.hcl"), "open absent.hcl: no such file or directory"),
        (("-f", "broken.hcl"), "Unclosed configuration block"),
        (("--set", "worker=1"), "invalid override key worker, expected target.name"),
        (("-f", "-"), "`-` can be read only once"),
        (("--", "--no-such-flag"), "unknown flag: --no-such-flag"),
    ],
)
def test_invalid_input_is_reported_in_bakes_words(
    words: tuple[str, ...], said: str, machine: Machine, shop: Path
) -> None:
    """Invalid input fails with bake's own message, before anything is built or written."""
    (shop / "broken.hcl").write_text('target "x" {\n')
    before = sorted(shop.rglob("*"))
    ran = machine.run("bake", *words, folder=shop, status=78)
    assert said in ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert sorted(shop.rglob("*")) == before


def test_a_missing_bake_file_is_an_error(machine: Machine, shop: Path) -> None:
    """A missing bake file is an error, as in plain bake."""
    (shop / "docker-bake.hcl").unlink()
    said = machine.run("bake", folder=shop, status=78).err
    assert "couldn't find a bake definition" in said


def test_quiet_prints_digests_and_layers_prints_layers(machine: Machine, shop: Path) -> None:
    """`--quiet` prints docker's digest of each image; `--layers` prints the layers of all."""
    quiet = machine.run("bake", "-q", folder=shop)
    lines = dict(line.split() for line in quiet.out.splitlines())
    assert sorted(lines) == sorted(STEPS)
    seen = machine.docker("image", "inspect", "--format", "{{.Id}}", "shop/api", folder=shop)
    assert lines["api"] == seen.stdout.strip()
    assert quiet.err.splitlines()[-1].startswith("3 targets: 3 built, in ")
    shown = machine.run("bake", "--layers", folder=shop).out
    # A layer is in the table of each target that has it.
    assert len(re.findall(r"^  sha256:", shown, re.MULTILINE)) == sum(STEPS.values())


def test_secrets_are_never_shown_or_kept(machine: Machine, shop: Path) -> None:
    """Secrets are in no output, plan or record, whether the build succeeds or fails."""
    secret, variable = "sw0rdf1sh", "0penSesame"
    with (shop / "docker-bake.hcl").open("a") as file:
        file.write(f'target "worker" {{ args = {{ TOKEN = "{secret}" }} }}\n')
        file.write('target "web" { secret = ["type=env,id=key,env=KEY_OF_WEB"] }\n')
    with (shop / "Dockerfile").open("a") as dockerfile:
        dockerfile.write("RUN --mount=type=secret,id=key cat /run/secrets/key\n")
        dockerfile.write("FROM worker AS failing\nARG TOKEN\nRUN echo $TOKEN && exit 3\n")
    fails = ("--set", "worker.target=failing", "worker")
    web = machine.run("bake", "--json", "web", folder=shop, KEY_OF_WEB=variable)
    assert "cat /run/secrets/key" in web.out
    assert variable not in web.out + web.err
    ran = [
        machine.run("bake", "--dry-run", folder=shop),
        machine.run("bake", "--set", f"api.args.TOKEN={secret}", "api", folder=shop),
        machine.run("bake", "--json", "worker", folder=shop),
        machine.run("bake", "--progress", "rawjson", "worker", folder=shop),
        machine.run("history", "worker", "--json", folder=shop),
        machine.run("bake", *fails, folder=shop, status=1),
        machine.run("bake", "--json", *fails, folder=shop, status=1),
    ]
    assert secret not in "".join(each.out + each.err for each in ran)
    kept = [path for path in (shop / "store").rglob("*") if path.is_file()]
    records = [path for path in kept if "blobs" not in path.parts]
    assert any("records" in path.parts for path in records)
    hidden = (secret.encode(), variable.encode())
    assert not any(each in path.read_bytes() for path in records for each in hidden)
