"""A repository of three images with a bake file, and bakes of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bxcache.store.store import Store
from tests.engines import busybox_context
from tests.real.machines import Machine, count

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines import Registry

STAGES = """\
FROM base AS deps
RUN head -c 9999 /dev/urandom > /blob
FROM base AS api
COPY --from=deps /blob /api
FROM base AS worker
ARG WORD=plain
COPY --link worker.txt /worker
RUN echo $WORD > /word
FROM deps AS web
RUN cp /blob /web
"""
BAKE = """\
group "default" { targets = ["api", "worker", "web"] }
target "_common" { network = "none" }
target "api" {
  inherits = ["_common"]
  target = "api"
  tags = ["shop/api"]
}
target "worker" {
  inherits = ["_common"]
  target = "worker"
}
target "web" {
  inherits = ["_common"]
  target = "web"
}
"""
STEPS = {"api": 5, "worker": 5, "web": 5}
"""Three of base for each; one of deps and one of its own for `api` and `web`, two for `worker`."""
LOCAL = 'type = "local"\ndir = "store"'


def make_shop(folder: Path) -> Path:
    """Create the repository, with a store of its own."""
    (folder / ".git").mkdir(parents=True)
    # Its first step is unique, so that the engine has it from no other test's build.
    base = busybox_context(folder).replace("AS base\n", "AS base\nCOPY own.txt /own\n")
    (folder / "Dockerfile").write_text(base + STAGES)
    (folder / "own.txt").write_text(f"{folder}\n")
    (folder / "worker.txt").write_text("worker\n")
    (folder / "docker-bake.hcl").write_text(BAKE)
    (folder / ".dockerignore").write_text("store\n")
    declare(folder, LOCAL)
    return folder


def in_registry(registry: Registry, folder: Path) -> str:
    """Return a backend in a registry, with a repository of the test's own."""
    return f'type = "registry"\nref = "{registry.address}/{folder.name.lower()}"'


def declare(shop: Path, *backends: str) -> None:
    """Write the config file."""
    (shop / "bxcache.toml").write_text(
        "".join(f"[[cache.backends]]\n{each}\n" for each in backends)
    )


def bake(machine: Machine, shop: Path, *words: str, status: int = 0, **more: str) -> dict[str, Any]:
    """Run `bxcache bake --json` and return the document of each target."""
    ran = machine.run("bake", "--json", *words, folder=shop, status=status, **more)
    document: dict[str, Any] = json.loads(ran.out)
    assert document["exit_status"] == status
    targets: dict[str, Any] = document["targets"]
    return targets


def forget(machine: Machine, shop: Path) -> Machine:
    """Clear the machine's build cache, as if the machine were new."""
    machine.docker("buildx", "prune", "--all", "--force", folder=shop)
    return machine


def counts(targets: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Count the steps of each target that were reused and executed."""
    return {name: count(each) for name, each in targets.items()}


def reused(*names: str) -> dict[str, tuple[int, int]]:
    """Return the counts of these targets, or of all default ones, when every step is reused."""
    return {name: (STEPS[name], 0) for name in names or STEPS}


def scopes(shop: Path) -> list[str]:
    """List the scopes in the store."""
    return sorted(Store(shop / "store").read_scopes())


def scope(name: str, branch: str = "no-branch") -> str:
    """Return the name of a target's scope."""
    return f"{name}.linux-amd64.{branch}"
