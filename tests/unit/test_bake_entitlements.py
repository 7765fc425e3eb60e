"""Tests of entitlements by buildx's rules, with cases of its own tests.

https://github.com/docker/buildx/blob/v0.29.1/bake/entitlements_test.go
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.bake.definition import BakeTarget, parse_definition
from bxcache.buildx.bake.entitlements import (
    Entitlement,
    are_files_free,
    concerns_files,
    list_missing,
)
from bxcache.buildx.driver import Docker
from bxcache.config.wording import Speech, speaking
from bxcache.errors import ConfigError
from bxcache.pipeline.bake_targets import BakeRequest, read_targets
from bxcache.pipeline.request import BuildRequest
from bxcache.process import Answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a working directory with neighbours, and links that lead out of it."""
    here = tmp_path / "home" / "me" / "project"
    for path in ("src/sub", "git@x", "..data"):
        (here / path).mkdir(parents=True)
    (here.parent / "one" / "sub").mkdir(parents=True)
    (here.parent / "two").mkdir()
    (here.parent / "projects").mkdir()
    (here.parent / "one" / "file").write_text("x")
    (here / "out").symlink_to("../one")
    (here / "lost").symlink_to("../../nowhere")
    (here / "src" / "Dockerfile").symlink_to("../../one/file")
    (here.parent / "back").symlink_to("project/src")
    return here


def define(**printed: dict[str, Any]) -> dict[str, BakeTarget]:
    return parse_definition(json.dumps({"target": printed}))


def ask(
    folder: Path, printed: dict[str, Any], *allowed: str, sets: tuple[str, ...] = ()
) -> list[str]:
    """List the entitlements that a target lacks."""
    return [each.allow for each in list_missing(define(app=printed), allowed, sets, folder)]


def local(path: str) -> dict[str, str]:
    return {"type": "local", "dest": path}


HERE: list[dict[str, Any]] = [
    {},
    {"context": "."},
    {"context": "src/sub", "dockerfile": "../../Dockerfile"},
    {"context": "../project/src/sub"},
    {"context": "../back/sub"},
    {"context": "..data"},
    {"context": "https://github.com/acme/app.git#main"},
    {"context": "git@github.com:acme/app.git", "ssh": [{"id": "key", "paths": ["key.pem"]}]},
    {"context": "http://host/../../x.tar"},
    {"context": "src/sub", "contexts": {"a": "target:b", "b": "docker-image://x", "c": "src"}},
    {"contexts": {"a": "cwd://src"}, "dockerfile": "cwd://Dockerfile"},
    {"output": [local("new/folder"), {"type": "image", "name": "x/../../../y", "push": "true"}]},
    {"output": [{"type": "tar", "dest": "-"}, {"type": "docker"}]},
    {"output": ["out2", "-", "type=tar,dest=-", "type=registry"]},
    {"secret": [{"id": "a", "src": "a.txt"}, {"id": "b", "env": "../B"}, {"id": "c"}]},
    {"secret": ["id=a,src=a.txt", "type=env,id=b,src=../B"]},
    {"ssh": [{"id": "key", "paths": ["key.pem"]}]},
    {"cache-from": [{"type": "registry", "ref": "../x"}, {"type": "local", "src": "c"}]},
    {"cache-to": [{"type": "local", "dest": "c"}, {"type": "inline"}]},
    {"cache-from": None, "secret": None, "ssh": None, "output": None, "entitlements": None},
]


@pytest.mark.parametrize("printed", HERE, ids=json.dumps)
def test_paths_below_the_working_directory_need_no_entitlement(
    folder: Path, printed: dict[str, Any]
) -> None:
    """Local paths below it, remote contexts and texts that are not paths need no entitlement."""
    assert ask(folder, printed) == []


BEYOND: list[tuple[dict[str, Any], list[str]]] = [
    ({"context": ".."}, ["fs.read=.."]),
    ({"context": "../../me"}, ["fs.read=.."]),
    ({"context": "../projects"}, ["fs.read=../projects"]),
    ({"context": "out"}, ["fs.read=../one"]),
    ({"context": "src"}, ["fs.read=../one/file"]),
    ({"context": "src/sub", "dockerfile": "../../../one/file"}, ["fs.read=../one/file"]),
    ({"dockerfile": "cwd://../one/file"}, ["fs.read=../one/file"]),
    ({"context": "https://x/y.git", "dockerfile": "../one/file"}, ["fs.read=../one/file"]),
    ({"contexts": {"a": "../one"}}, ["fs.read=../one"]),
    ({"contexts": {"a": "cwd://../one"}}, ["fs.read=../one"]),
    # These folders look like something else.
    ({"context": "git@x/../../one"}, ["fs.read=../one"]),
    ({"context": "oci-layout://../../one"}, ["fs.read=../one"]),
    ({"context": "../one", "contexts": {"a": "../one/sub"}}, ["fs.read=../one"]),
    ({"contexts": {"a": "../one", "b": "../two"}}, ["fs.read=../one", "fs.read=../two"]),
    ({"context": "/"}, ["fs.read=/"]),
    ({"context": "//"}, ["fs.read=/"]),
    ({"output": [local("../one")]}, ["fs.write=../one"]),
    ({"output": [local("../one"), local("../one/sub")]}, ["fs.write=../one"]),
    ({"output": [local("../none/deep")]}, ["fs.write=.."]),
    ({"output": [{"type": "oci", "dest": "../a.tar"}]}, ["fs.write=.."]),
    ({"output": ["../one"]}, ["fs.write=../one"]),
    ({"output": ["type=tar,dest=../one/a.tar"]}, ["fs.write=../one"]),
    ({"secret": [{"id": "a", "src": "../one/file"}]}, ["fs.read=../one/file"]),
    ({"secret": [{"id": "a=b", "src": "../one/file"}]}, ["fs.read=../one/file"]),
    ({"secret": ["id=a,source=../one/file"]}, ["fs.read=../one/file"]),
    ({"secret": [{"id": "../one/file"}]}, ["fs.read=../one/file"]),
    ({"ssh": [{"id": "a=b", "paths": ["../one/file"]}]}, ["fs.read=../one/file"]),
    ({"ssh": ["k=a,../one/file"]}, ["fs.read=../one/file"]),
    ({"ssh": [{"id": "default"}]}, ["ssh"]),
    ({"ssh": [{"id": "default", "paths": [""]}]}, ["ssh"]),
    ({"ssh": ["default"]}, ["ssh"]),
    ({"context": "git@github.com:acme/app.git"}, ["ssh"]),
    ({"cache-from": [{"type": "local", "src": "../one"}]}, ["fs.read=../one"]),
    ({"cache-from": ["type=local,src=../one"]}, ["fs.read=../one"]),
    ({"cache-to": [{"type": "local", "dest": "../one"}]}, ["fs.write=../one"]),
    ({"entitlements": ["network.host"], "network": "host"}, ["network.host"]),
    ({"network": "host"}, ["network.host"]),
    ({"entitlements": ["security.insecure"]}, ["security.insecure"]),
    ({"entitlements": ["device=vendor/gpu,optional"]}, ["device=vendor/gpu"]),
    ({"context": "..", "output": [local("..")]}, ["fs.read=..", "fs.write=.."]),
]


@pytest.mark.parametrize(("printed", "missing"), BEYOND, ids=json.dumps)
def test_paths_outside_the_working_directory_need_an_entitlement(
    folder: Path, printed: dict[str, Any], missing: list[str]
) -> None:
    """A path outside needs exactly the entitlement that is named."""
    assert ask(folder, printed) == missing
    assert ask(folder, printed, *missing) == []


# `escape` is a dangling link: the folder that it points into counts.
UPSTREAM: list[tuple[str, dict[str, Any], tuple[str, ...], list[str]]] = [
    ("NetworkHostSet", {"network": "host"}, ("network.host",), []),
    (
        "SecurityMissingAndNetworkHostSet",
        {"entitlements": ["network.host", "security.insecure"]},
        ("network.host",),
        ["security.insecure"],
    ),
    ("SecretFromSubFile", {"secret": [{"src": "../one/subfile"}]}, ("fs.read=../one",), []),
    ("SecretFromEscapeLink", {"secret": [{"src": "lost"}]}, ("fs.read=../one",), ["{top}"]),
    ("SecretFromEscapeLinkAllowRoot", {"secret": [{"src": "lost"}]}, ("fs.read=/",), []),
    ("SecretFromEscapeLinkAllowAny", {"secret": [{"src": "lost"}]}, ("fs.read=*",), []),
    (
        "NonExistingAllowedPathSubpath",
        {"output": [local("../one")]},
        ("fs.write=../one/not/exists",),
        ["fs.write=../one"],
    ),
    (
        "NonExistingAllowedPathMatches",
        {"output": [local("../one/not/exists")]},
        ("fs.write=../one/not/exists",),
        ["fs.write=../one"],
    ),
    ("NonExistingBuildPath", {"output": [local("../one/not")]}, ("fs.write=../one",), []),
    ("both", {"context": "..", "output": [local("..")]}, ("fs=..",), []),
    ("both, any", {"context": "/", "output": [local("/")]}, ("fs=*",), []),
    ("one is not the other", {"context": ".."}, ("fs.write=..",), ["fs.read=.."]),
    ("a link is allowed", {"context": "../one"}, ("fs.read=out",), []),
    ("any device", {"entitlements": ["device=a"]}, ("device",), []),
    ("another device", {"entitlements": ["device=a"]}, ("device=b",), ["device=a"]),
]


@pytest.mark.parametrize(("printed", "allowed", "missing"), [each[1:] for each in UPSTREAM])
def test_allowed_paths_are_not_missing(
    folder: Path, printed: dict[str, Any], allowed: tuple[str, ...], missing: list[str]
) -> None:
    """The cases of buildx's own tests give its results."""
    top = f"fs.read={folder.parents[1].resolve()}"
    assert ask(folder, printed, *allowed) == [each.format(top=top) for each in missing]


@pytest.mark.parametrize(
    ("printed", "text"),
    [
        ({"output": [local("../one")]}, "app.output=type=local,dest=../one"),
        ({"cache-to": [{"type": "local", "dest": ".."}]}, "*.cache-to+=type=local,dest=.."),
        ({"cache-from": [{"type": "local", "src": ".."}]}, "*.cache-from=type=local,src=.."),
        ({"secret": [{"id": "a", "src": "../one/file"}]}, "app.secrets=id=a,src=../one/file"),
        ({"secret": [{"id": "a", "src": "../one/file"}]}, "app.secret.a=src=../one/file"),
        ({"ssh": [{"id": "a", "paths": ["../one/file"]}]}, "app.ssh=a=../one/file"),
        ({"entitlements": ["network.host"]}, "app.entitlements=network.host"),
    ],
)
def test_values_set_by_the_caller_are_allowed(
    folder: Path, printed: dict[str, Any], text: str
) -> None:
    """A value of `--set` is allowed, except a context to read."""
    assert ask(folder, printed, sets=(text,)) == []
    assert ask(folder, {**printed, "context": "/"}, sets=(text, "*.context=/")) == ["fs.read=/"]


def test_each_target_is_checked(folder: Path) -> None:
    """Each target is checked, and its missing entitlements state its name and the reason."""
    targets = define(a={"context": ".."}, b={}, c={"context": "..", "network": "host"})
    outside = "it reads `..` outside the working directory"
    assert list_missing(targets, (), (), folder) == (
        Entitlement("a", "fs.read=..", outside),
        Entitlement("c", "network.host", "it uses the host's network"),
        Entitlement("c", "fs.read=..", outside),
    )


def test_the_working_directory_may_be_a_link(folder: Path) -> None:
    """`..` is the link's parent, as in a shell, and paths below the link need no entitlement."""
    link = folder.parent / "two" / "link"
    link.symlink_to(folder)
    assert ask(link, {"context": "src/sub", "output": [local("new")]}) == []
    assert ask(link, {"context": ".."}) == ["fs.read=../two"]


@given(st.lists(st.sampled_from(["..", ".", "src", "sub", "out", "lost", "x\0", "", "/"])))
def test_any_path_that_leads_out_needs_an_entitlement(parts: list[str]) -> None:
    """Any path that leads out needs an entitlement, and is allowed with it."""
    path = "/".join(parts) or "."
    printed, here = {"output": [local(path)]}, Path(__file__).parent
    missing = ask(here, printed)
    there = Path(os.path.realpath(os.path.normpath(here / path.replace("\0", ""))))
    assert bool(missing) != there.is_relative_to(here.resolve())
    assert ask(here, printed, *missing) == []


@pytest.mark.parametrize(
    ("variables", "remote", "free"),
    [
        ({}, False, False),
        ({"BUILDX_BAKE_ENTITLEMENTS_FS": "0"}, False, True),
        ({"BUILDX_BAKE_ENTITLEMENTS_FS": "false"}, True, True),
        ({"BUILDX_BAKE_ENTITLEMENTS_FS": "1"}, False, False),
        ({"BUILDX_BAKE_ENTITLEMENTS_FS": ""}, False, False),
        ({"BAKE_ALLOW_REMOTE_FS_ACCESS": "1"}, True, True),
        ({"BAKE_ALLOW_REMOTE_FS_ACCESS": "1"}, False, False),
        ({"BAKE_ALLOW_REMOTE_FS_ACCESS": "0"}, True, False),
        ({"BAKE_ALLOW_REMOTE_FS_ACCESS": "1", "BUILDX_BAKE_ENTITLEMENTS_FS": "1"}, True, False),
    ],
)
def test_buildx_variables_disable_only_file_checks(
    variables: dict[str, str],
    remote: bool,  # noqa: FBT001
    free: bool,  # noqa: FBT001
) -> None:
    """The variables of buildx disable only the checks of files and of the ssh agent."""
    assert are_files_free(variables, remote=remote) == free
    words = {"fs.read=..": True, "fs.write=/": True, "ssh": True, "network.host": False}
    assert {word: concerns_files(Entitlement("a", word, "")) for word in words} == words


class Asked(Docker):
    """A docker whose bake file has targets that read and write outside the project."""

    version = "github.com/docker/buildx v0.29.1 abc"

    def print_bake(self, arguments: Any, directory: Path, environment: Any = None) -> Answer:  # noqa: ANN401, ARG002
        targets = {
            "p": {"context": ".."},
            "q": {"context": "..", "network": "host", "output": [local("../a b")]},
        }
        return Answer(0, json.dumps({"target": targets}), "")

    def ask_buildx_version(self, client: str = "") -> str:  # noqa: ARG002
        return self.version


def read(folder: Path, *extra: str, docker: Docker | None = None) -> list[str]:
    request = BakeRequest(BuildRequest(directory=folder, extra=extra))
    return [*read_targets(request, docker or Asked(("docker",)))]


def test_a_bake_without_its_entitlements_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error lists the entitlements and the flags that allow them."""
    monkeypatch.delenv("BUILDX_BAKE_ENTITLEMENTS_FS", raising=False)
    (folder.parent / "a b").mkdir()
    with pytest.raises(ConfigError) as caught, speaking(Speech.SHELL):
        read(folder)
    assert list(map(str, caught.value.problems)) == [
        "target `p`: it reads `..` outside the working directory",
        "target `q`: it uses the host's network",
        "target `q`: it reads `..` outside the working directory",
        "target `q`: it writes `../a b` outside the working directory",
    ]
    flags = ("--allow", "fs.read=..", "--allow", "network.host", "--allow", "fs.write=../a b")
    shown = "--allow fs.read=.. --allow network.host --allow 'fs.write=../a b'"
    assert f"`bxcache bake … {shown}`" in caught.value.hint
    assert read(folder, *flags) == ["p", "q"]
    assert read(folder, "--allow=fs=*", "--set=*.entitlements=network.host") == ["p", "q"]


def test_buildx_variable_keeps_checks_of_the_host(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entitlements of the host are still checked when buildx's variable disables file checks."""
    monkeypatch.setenv("BUILDX_BAKE_ENTITLEMENTS_FS", "0")
    with pytest.raises(ConfigError) as caught:
        read(folder)
    assert len(caught.value.problems) == 1
    assert "BUILDX" not in caught.value.hint
    assert read(folder, "--allow", "network.host") == ["p", "q"]


@pytest.mark.parametrize(
    ("version", "asks"), [("v0.16.2", False), ("v0.17.0", True), ("v0.0.0+unknown", True)]
)
def test_a_buildx_without_allow_needs_no_entitlement(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    asks: bool,  # noqa: FBT001
) -> None:
    """A bake is not checked with a buildx that has no `--allow`."""
    monkeypatch.delenv("BUILDX_BAKE_ENTITLEMENTS_FS", raising=False)
    docker = Asked(("docker",))
    monkeypatch.setattr(Asked, "version", f"github.com/docker/buildx {version} abc")
    if asks:
        with pytest.raises(ConfigError):
            read(folder, docker=docker)
    else:
        assert read(folder, docker=docker) == ["p", "q"]
