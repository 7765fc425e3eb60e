"""A build argument that looks like a secret is refused where others can read the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real.bakes import bake, declare, in_registry, make_shop
from tests.real.machines import Machine
from tests.real.rebuilds import name_store, write_base
from tests.real.stages import Shelf

REFUSED = 78
TOKEN = "glpat-" + "aB3dE6fG9hJ2kL5mN8pQ"
DOCKERFILE = "FROM base\nARG GREETING\nARG NPM_TOKEN\nRUN echo $GREETING > /greeting\n"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An application with a build argument of each kind."""
    folder = tmp_path / "app"
    folder.mkdir()
    write_base(folder, DOCKERFILE)
    return folder


def test_a_secret_never_reaches_a_registry(machine: Machine, app: Path, shelf: Shelf) -> None:
    """The error lists all of them, shows no value, and says what to write instead."""
    words = ("build", "--network", "none", "--backend", f"type=registry,ref={shelf.ref}", ".")
    given = ("--build-arg", f"GREETING={TOKEN}", "--build-arg", "NPM_TOKEN")
    for more in (("--dry-run",), ()):
        ran = machine.run(*words, *more, *given, folder=app, status=REFUSED, NPM_TOKEN="hunter22")
        assert "GREETING: its value looks like a GitLab token" in ran.err
        assert "NPM_TOKEN: its name looks like that of a secret" in ran.err
        assert f"readable in `{shelf.ref}:" in ran.err
        assert "--secret id=GREETING,env=GREETING" in ran.err
        assert "RUN --mount=type=secret,id=GREETING,env=GREETING" in ran.err
        assert TOKEN not in ran.err
        assert "hunter22" not in ran.err
    assert shelf.registry.ask("GET", f"/v2/{shelf.name}/tags/list").status == 404
    again = ("--build-arg", f"GREETING={TOKEN}", "--allow-arg", "GREETING")
    machine.run(*words, *again, "--output", "type=cacheonly", folder=app)
    assert shelf.tags()


@pytest.mark.parametrize(
    "words", [(), ("--write", "never"), ("--untrusted",), ("--build-arg", "GREETING=hello")]
)
def test_others_are_left_alone(
    machine: Machine, app: Path, shelf: Shelf, words: tuple[str, ...]
) -> None:
    """A store of one's own, a build that saves nothing, and an ordinary argument are no reason."""
    registry = ("--backend", f"type=registry,ref={shelf.ref}")
    backend = name_store(app) if not words else registry
    given = () if "--build-arg" in words else ("--build-arg", f"GREETING={TOKEN}")
    machine.build(*backend, *given, *words, "--output", "type=cacheonly", folder=app)


def test_the_targets_of_a_bake_are_checked(machine: Machine, tmp_path: Path, shelf: Shelf) -> None:
    shop = make_shop(tmp_path / "shop")
    declare(shop, in_registry(shelf.registry, shop))
    given = ("--set", f"worker.args.WORD={TOKEN}")
    ran = machine.run("bake", *given, folder=shop, status=REFUSED)
    assert "WORD: its value looks like a GitLab token" in ran.err
    assert TOKEN not in ran.err
    text = (shop / "bxcache.toml").read_text()
    (shop / "bxcache.toml").write_text(f'[cache]\nallow_args = ["WORD"]\n{text}')
    assert bake(machine, shop, *given).keys() == {"api", "web", "worker"}
