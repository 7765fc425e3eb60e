"""Tests of `bxcache builder`: builders that come up from the configuration alone, and build."""

from __future__ import annotations

import json
import re
import signal
import socket
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from bxcache.pipeline.builder_lock import hold_builder
from tests.engines import LOGIN, Engine, Registry
from tests.engines.bridge import buildkit_socket
from tests.engines.builders import load_builder_image
from tests.real.machines import Machine, count
from tests.real.test_backends import TWO, TWO_STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.real.conftest import MakeMachine

ENGINE, CONFIG = 69, 78


@dataclass(frozen=True)
class Site:
    """A machine with a repository that declares a builder."""

    machine: Machine
    folder: Path

    def declare(self, text: str) -> None:
        """Write the configuration."""
        (self.folder / "bxcache.toml").write_text(text)

    def run(self, *words: str, status: int = 0, **more: str) -> str:
        """Run `bxcache builder`, and return its output and its messages."""
        ran = self.machine.run("builder", *words, folder=self.folder, status=status, **more)
        assert "Traceback" not in ran.err
        return ran.out + ran.err

    def up(self, **more: str) -> dict[str, Any]:
        """Bring the builder up, and return what was done."""
        ran = self.machine.run("builder", "up", "--json", folder=self.folder, status=0, **more)
        document: dict[str, Any] = json.loads(ran.out)
        return document

    def list(self, **more: str) -> dict[str, dict[str, Any]]:
        """Return the listed builders by name."""
        ran = self.machine.run("builder", "ls", "--json", folder=self.folder, status=0, **more)
        return {each["name"]: each for each in json.loads(ran.out)["builders"]}

    def known(self) -> set[str]:
        """Return the names of the builders that docker has."""
        told = self.machine.engine.docker("buildx", "ls", "--format", "{{.Name}}").stdout
        return {line.removesuffix("*") for line in told.split()}


@pytest.fixture
def site(machine: Machine, project: Path) -> Site:
    """A repository on a machine whose docker has no builders but its own."""
    if not isinstance(machine.engine, Engine):
        pytest.skip("the builders of an engine outside are somebody else's")
    return Site(machine, project)


def container(machine: Machine, *options: str) -> str:
    """Declare a builder of the driver docker-container that needs no registry."""
    assert isinstance(machine.engine, Engine)
    image = load_builder_image(machine.engine)
    own = ", ".join((f'image = "{image}"', *options))
    return f'[builder]\nname = "mine"\ndriver_options = {{ {own} }}\n'


def list_volumes(machine: Machine) -> list[str]:
    return machine.engine.docker("volume", "ls", "--quiet").stdout.split()


def test_a_container_comes_up_changes_and_goes(site: Site) -> None:
    """A builder of a container is created once, started, changed with its state, and removed."""
    machine, folder = site.machine, site.folder
    odd = '"env.ODD" = "a,\\"b\\" =c"'
    site.declare(container(machine, 'network = "none"', odd))
    refused = machine.run("build", folder=folder, status=ENGINE).err
    assert "there is no builder `mine`\n\nhint: `bxcache builder up`" in refused
    up = site.up()
    assert (up["name"], up["change"], up["driver"]) == ("mine", "created", "docker-container")
    assert [each["status"] for each in up["nodes"]] == ["running"]
    inside = machine.engine.docker("exec", "buildx_buildkit_mine0", "/bin/sh", "-c", 'echo "$ODD"')
    assert inside.stdout == 'a,"b" =c\n'
    built = machine.build(folder=folder)
    assert built["warnings"] == []
    assert built["caches"][0]["exported"]
    (folder / "docker-bake.json").write_text('{"target": {"default": {"network": "none"}}}')
    for words in (("build",), ("bake",)):
        assert "--builder mine " in machine.run(*words, "--dry-run", folder=folder).out
    assert site.up()["change"] == "none"
    machine.engine.docker("buildx", "stop", "mine")
    assert site.up()["change"] == "started"
    listed = site.list()
    assert (listed["mine"]["used"], listed["mine"]["declared"]) == (True, True)
    assert listed["mine"]["exports"] == ["local", "registry", "inline", "gha", "s3", "azblob"]
    assert not listed["default"]["used"]
    assert listed["default"]["exports"] == ["local", "registry", "inline", "gha"]

    site.declare(container(machine, 'network = "host"', odd))
    up = site.up()
    assert up["change"] == "recreated"
    assert up["differences"] == ["its driver option `network` is `none`, declared is `host`"]
    assert up["lost"] == ""
    # What it has built is still there.
    again = machine.build("--backend", f"type=local,dir={folder.parent / 'new'}", folder=folder)
    assert count(again) == (len(built["steps"]), 0)

    assert "would be removed" in site.run("rm", "--dry-run")
    assert "mine" in site.known()
    assert "was removed" in site.run("rm")
    assert "mine" not in site.known()
    assert "buildx_buildkit_mine0_state" not in list_volumes(machine)
    assert "nothing to remove" in site.run("rm")
    assert "there is no builder `mine`" in machine.run("build", folder=folder, status=ENGINE).err


def test_a_builder_that_cannot_start_leaves_the_earlier_one(site: Site) -> None:
    """Where the image or an option is refused, nothing new is left, and the earlier one is back."""
    good = container(site.machine, 'network = "none"')
    bad = re.sub('image = "[^"]*"', 'image = "127.0.0.1:1/none"', good)
    site.declare(bad)
    said = site.run("up", status=ENGINE)
    assert "the builder `mine` does not start: node `mine0`" in said
    assert "connection refused" in said
    assert site.known() == {"default"}
    site.declare(good)
    site.up()
    site.declare(bad)
    assert "; the earlier one is back" in site.run("up", status=ENGINE)
    site.declare(good)
    assert site.up()["change"] == "started"
    # Docker refuses it, though it looks like a size.
    site.declare(container(site.machine, 'memory = "1k"'))
    assert "the builder `mine` does not start" in site.run("up", status=ENGINE)
    assert site.run("rm")


def test_removing_a_builder_waits_for_who_changes_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in site.machine.environment().items():
        monkeypatch.setenv(name, value)
    with hold_builder("mine"):
        process = site.machine.start("builder", "rm", "mine", folder=site.folder)
        assert process.stderr is not None
        assert "another process, which is changing the builder `mine`" in process.stderr.readline()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out


@contextmanager
def two_nodes(first: Engine, second: Engine) -> Iterator[str]:
    """Serve two engines' BuildKit, and yield the configuration that declares them as nodes."""
    text = '[builder]\nname = "fleet"\ndriver = "remote"\n'
    with ExitStack() as bridges:
        for number, (engine, platform) in enumerate(((first, "amd64"), (second, "arm64"))):
            path = first.folder / f"node-{number}"
            bridges.enter_context(buildkit_socket(engine.socket, path))
            text += f'[[builder.nodes]]\nendpoint = "unix://{path}"\n'
            text += f'platforms = ["linux/{platform}"]\n'
        yield text


def test_a_remote_builder_of_two_nodes_comes_up_and_builds(
    machines: MakeMachine, registry: Registry, project: Path, tmp_path: Path
) -> None:
    """Two nodes build for their platforms, and another fleet reuses all of it from a registry."""
    (project / "Dockerfile").write_text(TWO)
    for name in ("amd64", "arm64"):
        (project / name).write_text(f"{name} {tmp_path}\n")
    ref = f"{registry.address}/{tmp_path.name.lower()}"
    cache = f'[[cache.backends]]\ntype = "registry"\nref = "{ref}"\n'
    job = ("--platform", "linux/amd64,linux/arm64", "-o", "type=cacheonly")
    # The second fleet has nothing to save.
    expected = [((0, 2 * TWO_STEPS), ()), ((2 * TWO_STEPS, 0), ("--write", "never"))]
    for steps, more in expected:
        machine = machines()
        assert isinstance(machine.engine, Engine)
        site = Site(machine, project)
        with Engine() as second, two_nodes(machine.engine, second) as text:
            site.declare(f"{text}{cache}")
            up = site.up()
            assert [each["platforms"][0] for each in up["nodes"]] == ["linux/amd64", "linux/arm64"]
            assert site.up()["change"] == "none"
            built = machine.build(*job, *more, folder=project)
            assert (count(built), built["warnings"]) == (steps, [])
            site.run("rm")


def test_a_node_that_is_down_is_named(machines: MakeMachine, project: Path) -> None:
    """A node that is gone, or silent, is named with the reason, and nothing is changed."""
    machine = machines()
    assert isinstance(machine.engine, Engine)
    site = Site(machine, project)
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, two_nodes(machine.engine, machine.engine) as text:
        gone = f"unix://{machine.engine.folder}/gone"
        quiet = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        node = f"unix://{machine.engine.folder}/node-1"
        for endpoint, why in (
            (gone, "No such file or directory"),
            (quiet, "nothing answers within 5 s"),
        ):
            site.declare(text.replace(node, endpoint))
            said = site.run("up", status=ENGINE)
            assert f"node 2 at `{endpoint}`: {why}" in said
            assert site.known() == {"default"}
        # Somebody else's builder that does not answer delays no list, and is shown.
        site.declare(text)
        site.up()
        create = ("buildx", "create", "--name", "quiet", "--driver", "remote")
        path = machine.engine.folder / "quiet"
        with buildkit_socket(machine.engine.socket, path):
            machine.engine.docker(*create, f"unix://{path}")
        with socket.create_server(str(path), family=socket.AF_UNIX):
            listed = site.list()
        assert listed["quiet"]["exports"] is None
        assert "no answer within 4 s" in json.dumps(listed["quiet"])
        assert listed["fleet"]["used"]
        assert [each["status"] for each in listed["fleet"]["nodes"]] == ["running", "running"]
        assert "was removed" in site.run("rm", "quiet")
        site.run("rm")


def test_without_a_declaration_a_plain_engine_gets_a_builder_that_exports(
    machines: MakeMachine, project: Path
) -> None:
    """On a classic engine, `up` alone makes builds save every stage; `rm` needs the name."""
    machine = machines("classic")
    assert isinstance(machine.engine, Engine)
    site = Site(machine, project)
    (warning,) = machine.build(folder=project)["warnings"]
    assert "`bxcache builder up`" in warning
    image = load_builder_image(machine.engine)
    own = {"BXCACHE_BUILDER_DRIVER_OPTIONS": f"image={image},network=none"}
    assert site.up(**own)["change"] == "created"
    # It exists now, so nothing of it is compared without a declaration.
    up = site.up()
    assert up["change"] == "none"
    (note,) = up["notes"]
    assert note.endswith("is docker's current builder now; `docker buildx use default` goes back")
    assert site.list()["bxcache"]["used"]
    built = machine.build(folder=project)
    assert built["warnings"] == []
    assert built["caches"][0]["exported"]
    other = site.run("up", BUILDX_BUILDER="default")
    assert "note: builds use `default`, which BUILDX_BUILDER names" in other
    assert "name the one to remove" in site.run("rm", status=CONFIG)
    assert "was removed" in site.run("rm", "bxcache")
    assert "context builder cannot be removed" in site.run("rm", "default", status=ENGINE)


def test_what_an_earlier_builder_leaves_is_named(site: Site, tmp_path: Path) -> None:
    """A builder of an engine that is gone is moved; settings that cannot be declared are named."""
    machine = site.machine
    assert isinstance(machine.engine, Engine)
    create = ("buildx", "create", "--name", "mine", "--driver", "docker-container")
    gone = tmp_path / "gone"
    gone.symlink_to(machine.engine.socket)
    machine.engine.docker(*create, f"unix://{gone}")
    gone.unlink()
    here = f'endpoint = "unix://{machine.engine.socket}"\n'
    site.declare(container(machine, 'network = "none"') + here)
    up = site.up()
    assert up["change"] == "recreated"
    assert f"in the volume `buildx_buildkit_mine0_state` at `unix://{gone}`" in up["lost"]
    assert "Cannot connect to the Docker daemon" in " ".join(up["notes"])
    assert site.up()["change"] == "none"
    site.run("rm")

    (tmp_path / "own.toml").write_text("debug = true\n")
    own = ("--buildkitd-flags", "--debug", "--config", str(tmp_path / "own.toml"))
    machine.engine.docker(*create, *own)
    assert site.up()["lost"].endswith("does not have: `--debug`, `buildkitd.toml`")
    assert "a builder's name begins with a letter" in site.run("rm", "", status=CONFIG)
    assert "mine" in site.known()
    site.run("rm")


UNKNOWN_CONTEXT = "apiVersion: v1\nkind: Config\ncurrent-context: unknown\n"


def test_what_cannot_be_is_one_clear_error(site: Site, tmp_path: Path) -> None:
    """Unknown builders and contexts, and an engine that is down, are errors with docker's reason.

    Settings of docker that are no JSON, and a credential helper that does not exist, are no
    trouble of a builder.
    """
    machine, folder = site.machine, site.folder
    said = machine.run("build", folder=folder, status=ENGINE, BUILDX_BUILDER="gone").err
    assert "there is no builder `gone`, which BUILDX_BUILDER names" in said
    assert "builds use `gone`, which does not exist" in site.run("ls", BUILDX_BUILDER="gone")

    site.declare('[builder]\ndriver = "kubernetes"\n')
    (tmp_path / "kube").write_text(UNKNOWN_CONTEXT)
    said = site.run("up", status=ENGINE, KUBECONFIG=str(tmp_path / "kube"))
    assert "context was not found for specified context: unknown" in said
    site.declare('[builder]\nendpoint = "far"\n')
    assert "the builder `bxcache` cannot be created" in site.run("up", status=ENGINE)
    site.declare('[builder]\nname = "mine"\n')
    nothing = f"unix://{tmp_path}/nothing"
    said = site.run("up", status=ENGINE, DOCKER_HOST=nothing)
    assert "Cannot connect to the Docker daemon" in said
    said = site.run("ls", DOCKER_HOST=nothing)
    assert "default can export: unknown" in said
    assert "Cannot connect to the Docker daemon" in said
    assert site.known() == {"default"}

    site.declare(container(machine, 'network = "none"'))
    settings = machine.with_helper("r.example.com", LOGIN, for_all=True).settings
    assert settings is not None
    (settings / "bin" / "docker-credential-test").write_text("#!/bin/sh\nexit 3\n")
    own = {
        "DOCKER_CONFIG": str(settings),
        "PATH": f"{settings}/bin:{machine.environment()['PATH']}",
    }
    assert site.up(**own)["change"] == "created"
    (settings / "config.json").write_text("{no")
    assert site.up(**own)["change"] == "none"
    assert "was removed" in site.run("rm", status=0, **own)


def test_ctrl_c_leaves_no_builder(site: Site) -> None:
    """A builder that is interrupted while its image is pulled is gone again."""
    silent = socket.create_server(("127.0.0.1", 0))
    with silent:
        port = silent.getsockname()[1]
        image = f"127.0.0.1:{port}/image"
        site.declare(f'[builder]\nname = "mine"\ndriver_options = {{ image = "{image}" }}\n')
        with site.machine.start("builder", "up", folder=site.folder) as process:
            # The engine asks for the image.
            silent.settimeout(60)
            asked, _ = silent.accept()
            with asked:
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 130
        assert site.known() == {"default"}
