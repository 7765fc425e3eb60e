"""A trusted build must not save what an untrusted one left in a builder that both share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines import Registry, busybox_context
from tests.real.conftest import MakeMachine
from tests.real.fleet import FORK, pull, push
from tests.real.machines import Machine

if TYPE_CHECKING:
    from pathlib import Path

STAGES = """\
FROM base AS build
RUN echo "proxy $HTTP_PROXY" > /out
FROM base
COPY --from=build /out /out
RUN cat /out > /seen
"""
REFUSE = {"BXCACHE_CACHE_SHARED_BUILDER": "refuse"}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A build with a step whose input BuildKit leaves out of its cache keys."""
    folder = tmp_path / "app"
    (folder / ".git").mkdir(parents=True)
    (folder / "own").write_text(f"{tmp_path}\n")
    base = busybox_context(folder).rstrip("\n")
    (folder / "Dockerfile").write_text(f"{base}\nCOPY own /own\n{STAGES}")
    return folder


def build(machine: Machine, app: Path, *words: str, **variables: Any) -> dict[str, Any]:  # noqa: ANN401  # variables as they are
    """Build, and write the image's files beside the repository."""
    output = ("-o", f"type=local,dest={app.parent / 'out'}")
    return machine.build(*output, *words, ".", folder=app, **variables)


def find_seen(app: Path) -> str:
    return (app.parent / "out" / "seen").read_text()


def executed(document: dict[str, Any]) -> list[str]:
    return [each["text"].split()[0] for each in document["steps"] if each["outcome"] == "executed"]


def test_a_trusted_build_warns_of_an_untrusted_builds_steps(
    machine: Machine, machines: MakeMachine, registry: Registry, app: Path, tmp_path: Path
) -> None:
    """A trusted build warns of an untrusted build's steps, and saves them only if it may.

    A fresh machine that starts from a cache without them executes those steps itself.
    """
    trusted, stranger = push("main", tmp_path / "a"), pull("evil", tmp_path / "b", head=FORK)
    ref = f"{registry.address}/{tmp_path.name.lower()}"
    words = ("--backend", f"type=local,dir={tmp_path / 'store'}")
    both = (*words, "--backend", f"type=registry,ref={ref}")
    assert build(machine, app, *words, "--target", "base", **trusted)["warnings"] == []
    build(machine, app, *words, "--build-arg", "HTTP_PROXY=evil", **stranger)
    # A step that builds on an untrusted one is not saved either.
    with (app / "Dockerfile").open("a") as file:
        file.write("RUN cat /out > /last\n")
    refused = build(machine, app, *both, **trusted, **REFUSE)
    assert find_seen(app) == "proxy evil\n"
    assert executed(refused) == ["RUN"]
    assert [each["exported"] for each in refused["caches"]] == [True, False]
    fresh = build(machines(), app, *words, **trusted, **REFUSE)
    assert fresh["caches"][0]["imported"]
    assert executed(fresh) == ["RUN", "COPY", "RUN", "RUN"]
    assert find_seen(app) == "proxy \n"
    assert fresh["warnings"] == []
    remote = ("--backend", f"type=registry,ref={ref}")
    saved = build(machine, app, *remote, **trusted)
    assert saved["caches"][0]["exported"]
    for document in (refused, saved):
        [warning] = document["warnings"]
        assert all(part in warning for part in ("[build 1/1]", "RUN echo", "COPY --from=build"))
        assert "shared_builder" in warning
        # The store has the stage that was built before; the registry does not.
        assert ("COPY own" in warning) == (document is saved)
    assert "/last" not in refused["warnings"][0]
    # The origin of an imported step is known.
    assert build(machine, app, *remote, **trusted)["warnings"] == []


TWO = """\
[build]
network = "none"
[images.web]
target = "web"
[images.api]
target = "api"
[[cache.backends]]
"""
TARGETS = 'target "{0}" {{\n  target = "{0}"\n  network = "none"\n}}\n'


@pytest.mark.parametrize("command", ["build", "bake"])
@pytest.mark.parametrize("kind", ["registry", "local"])
def test_images_of_one_run_borrow_nothing_from_each_other(
    command: str, kind: str, machine: Machine, registry: Registry, app: Path, tmp_path: Path
) -> None:
    """What another image of the run executed is no leftover; what a stranger executed still is."""
    ref = f"{registry.address}/{tmp_path.name.lower()}"
    place = f'type = "registry"\nref = "{ref}"' if kind == "registry" else 'type = "local"'
    (app / "bxcache.toml").write_text(f"{TWO}{place}\n")
    (app / "docker-bake.hcl").write_text("".join(map(TARGETS.format, ("web", "api"))))
    images = "FROM base AS {0}\nRUN echo {0} > /{0}\n".format
    # Other tests have left steps without `own` in the engine.
    base = "FROM scratch AS base\nCOPY own /own\n" + busybox_context(app).partition("\n")[2]
    trusted, stranger = push("main", tmp_path / "a"), pull("evil", tmp_path / "b", head=FORK)

    def make(text: str, more: dict[str, str]) -> list[str]:
        (app / "Dockerfile").write_text(base + text + images("web") + images("api"))
        words = ("build", "--all") if command == "build" else ("bake", "web", "api")
        variables: Any = {**trusted, **more}
        document = json.loads(machine.run(*words, "--json", folder=app, **variables).out)
        built = document["images" if command == "build" else "targets"].values()
        assert all(each["caches"][-1]["exported"] for each in built)
        return [warning for each in built for warning in each["warnings"]]

    assert make("", {}) == []
    assert make("RUN echo new > /new\n", REFUSE) == []
    leftover = 'RUN echo "proxy $HTTP_PROXY" > /out\n'
    (app / "Dockerfile").write_text(f"{base}{leftover}{images('web')}")
    build(machine, app, "--target", "base", "--build-arg", "HTTP_PROXY=evil", **stranger)
    warnings = make(leftover, {})
    # Once one image has saved it, a store vouches for it.
    assert warnings
    assert all("[base 4/4]" in each and "RUN echo" in each for each in warnings)
