"""Tests of the keys that a bake file may set in an untrusted build, from a table of all keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from bxcache.buildx.bake.entitlements import Allowed
from bxcache.buildx.bake.guard import KEYS, Limits, guard_target
from bxcache.buildx.driver import Docker
from bxcache.config.trust import Checkout
from bxcache.errors import ConfigError
from bxcache.pipeline.bake_definition import choose_files, guard_bake
from bxcache.pipeline.bake_targets import BakeRequest
from bxcache.pipeline.request import BuildRequest
from bxcache.process import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# For each key: harmless values, and values that need permission, with their `--allow`, if any.
COUNTS: dict[str, list[Any]] = {
    "context": [".", "sub", "https://example.com/app.git", "docker-image://alpine"],
    "contexts": [{"a": "sub", "b": "target:base", "c": "docker-image://alpine"}],
    "dockerfile": ["Dockerfile", "../app/Dockerfile"],
    "dockerfile-inline": ["FROM scratch"],
    "args": [{"VERSION": "1", "PROXY": "x"}],
    "labels": [{"a": "b"}],
    "annotations": [["a=b"]],
    "attest": [["type=sbom"], [{"type": "provenance"}]],
    "target": ["base"],
    "platforms": [["linux/arm64"]],
    "pull": [True],
    "no-cache": [True],
    "no-cache-filter": [["base"]],
    "shm-size": ["64m"],
    "ulimits": [["nofile=9"]],
    "call": ["check"],
    "description": ["what it is"],
    "network": ["none", "default"],
}
ASKS: dict[str, list[tuple[Any, str]]] = {
    "context": [
        ("/etc", "fs.read=/etc"),
        ("link", "fs=/etc"),
        ("-", ""),
        ("git@example.com:a/b", ""),
        ("cwd:///etc", "fs.read=/etc"),
    ],
    "contexts": [
        ({"a": "/etc"}, "fs.read=*"),
        ({"a": "ssh://example.com/a"}, ""),
        ({"a=b": "sub"}, ""),
    ],
    "extra-hosts": [({"a": "10.0.0.1"}, "")],
    "dockerfile": [
        ("/etc/x", "fs.read=/etc"),
        ("../../x", "fs.read=../.."),
        ("https://example.com/x", ""),
    ],
    "args": [({"HTTP_PROXY": "x"}, ""), ({"no_proxy": "x"}, ""), ({"BUILDKIT_SYNTAX": "x"}, "")],
    "network": [("host", "network.host")],
    "tags": [(["a:b"], "")],
    "secret": [
        ([{"id": "a", "env": "B"}], ""),
        (["id=a,env=B"], ""),
        ([{"id": "a", "type": "env", "src": "B"}], ""),
        ([{"id": "a", "src": "/etc/x"}], "fs.read=/etc"),
        ([{"id": "a", "src": "/etc/x", "env": "B"}], ""),
    ],
    "ssh": [
        (["default"], "ssh"),
        ([{"id": "a", "paths": [""]}], "ssh"),
        ([{"id": "a", "paths": ["/etc/k"]}], "fs.read=/etc/k"),
    ],
    "output": [
        ([{"type": "local", "dest": "out"}], "fs.write=out"),
        (["out"], "fs=out"),
        ([{"type": "registry"}], ""),
        ([{"type": "image", "push": "true", "dest": "out"}], ""),
    ],
    "cache-from": [
        ([{"type": "registry", "ref": "a"}], ""),
        ([{"type": "local", "src": "/etc"}], "fs.read=/etc"),
    ],
    "cache-to": [
        (["type=gha"], ""),
        ([{"type": "local", "dest": "out"}], "fs.write=out"),
    ],
    "entitlements": [(["security.insecure"], "security.insecure")],
    "what-comes-next": [("x", "")],
}
ALL = ("fs=*", "ssh", "network.host", "security.insecure", "device")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a checkout with a link out of it."""
    folder = tmp_path / "app"
    (folder / "sub").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "link").symlink_to("/etc")
    return folder


def guard(printed: dict[str, Any], folder: Path, *allowed: str) -> tuple[dict[str, Any], list[str]]:
    return guard_target(
        printed, Limits(Checkout(folder.resolve(), folder), Allowed(allowed, folder))
    )


def test_every_key_is_classified() -> None:
    """Every key is listed as harmless or as needing permission."""
    assert COUNTS.keys() | ASKS.keys() - {"what-comes-next"} == KEYS.keys()


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in COUNTS.items() for v in vs])
def test_harmless_keys_are_kept(key: str, value: object, checkout: Path) -> None:
    """A target with only harmless keys is unchanged."""
    assert guard({key: value}, checkout) == ({key: value}, [])


@pytest.mark.parametrize(
    ("key", "value", "allow"), [(k, *row) for k, rows in ASKS.items() for row in rows]
)
def test_other_keys_are_dropped_unless_the_caller_allows_them(
    key: str, value: object, allow: str, checkout: Path
) -> None:
    """Only the right `--allow` keeps a key that needs permission."""
    printed = {"context": ".", key: value}
    kept, (refused,) = guard(printed, checkout)
    assert not kept.get(key) or key == "context"
    assert kept.get("context") == (None if key == "context" else ".")
    assert refused == key or refused.startswith(f"{key}.")
    kept, rest = guard(printed, checkout, *([allow] if allow else ALL))
    assert (kept == printed, rest) == (bool(allow), [] if allow else [refused])


def test_the_dockerfile_is_relative_to_the_effective_context(checkout: Path) -> None:
    """The Dockerfile of a remote context is not a local file."""
    assert guard({"context": "sub", "dockerfile": "../link/x"}, checkout)[1] == ["dockerfile"]
    assert guard({"context": "https://a.b/c.git", "dockerfile": "x"}, checkout)[1] == []
    # Docker still reads an absolute path from this machine.
    there = {"context": "https://a.b/c.git", "dockerfile": "/x"}
    assert guard(there, checkout)[1] == ["dockerfile"]
    assert guard({"context": "/etc", "dockerfile": "x"}, checkout)[1] == ["context"]


class Evaluating(Docker):
    """A docker whose bake prints one target, and reads definitions as a release of buildx does.

    Attributes:
        escapes: whether it prints texts as written in a file.
        environments: the environment of each call.
    """

    def __init__(self, printed: dict[str, Any], *, escapes: bool = False) -> None:
        super().__init__(("docker",))
        self.printed, self.escapes = printed, escapes
        self.environments: list[Any] = []

    def print_bake(
        self,
        arguments: Sequence[str],
        directory: Path,
        environment: Mapping[str, str] | None = None,
    ) -> Answer:
        self.environments.append(environment)
        printed = self.printed
        if arguments[:1] == ("--file",) and arguments[1].endswith(".json"):
            text = (directory / arguments[1]).read_text()
            printed = self.read(json.loads(text)["target"]["app"])
        shown = {key: self.show(key, value) for key, value in printed.items()}
        return Answer(0, json.dumps({"target": {"app": shown}}), "")

    def show(self, key: str, value: Any) -> Any:  # noqa: ANN401
        if not self.escapes or key not in ("labels", "args", "dockerfile-inline"):
            return value
        if isinstance(value, dict):
            return {name: self.show(key, each) for name, each in value.items()}
        return value.replace("${", "$${").replace("%{", "%%{")

    def read(self, value: Any) -> Any:  # noqa: ANN401
        """Evaluate as HCL does: `$${` means `${`; an expression fails the test."""
        text = json.dumps(value).replace("$${", "\0").replace("${", "<").replace("\0", "${")
        return json.loads(text.replace("%%{", "\0").replace("%{", "<").replace("\0", "%{"))


@pytest.mark.parametrize("escapes", [True, False])
@pytest.mark.parametrize("text", ["plain", "${HOME} %{if}", "$${HOME}", "$$${x}", "a$%{"])
def test_texts_stay_unchanged(escapes: bool, text: str, checkout: Path) -> None:  # noqa: FBT001
    """No release of buildx evaluates a text a second time."""
    printed = {"labels": {text: text}, "dockerfile-inline": text, "target": text}
    asking = {"args": {"HTTP_PROXY": text}, "tags": [text]}
    docker = Evaluating({**printed, **asking}, escapes=escapes)
    request = BakeRequest(BuildRequest(directory=checkout))
    guarded, (note,) = guard_bake(request, docker, checkout)
    (file,) = guarded.files
    read = docker.read(json.loads((checkout / file).read_text())["target"]["app"])
    assert read == printed
    assert "`app.args.HTTP_PROXY`, `app.tags`" in note


def test_the_files_are_evaluated_without_the_runners_variables(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bake files see only the variables that docker needs."""
    monkeypatch.setenv("DEPLOY_PASSWORD", "x")
    monkeypatch.setenv("DOCKER_CONFIG", "/c")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/runner")
    docker = Evaluating({"tags": ["a"], "output": ["out"]})
    request = BakeRequest(BuildRequest(directory=checkout), sets=("*.output=type=local,dest=x",))
    monkeypatch.setenv("VERSION", "1")
    monkeypatch.setenv("BXCACHE_BAKE_VARIABLES", "VERSION, NONE")
    _, (note,) = guard_bake(request, docker, checkout)
    assert docker.environments[0].pop("VERSION") == "1"
    needed = {"PATH", "HOME", "DOCKER_CONFIG", "TMPDIR", "SSH_AUTH_SOCK"}
    assert docker.environments[0].keys() <= needed
    assert docker.environments[0].get("SSH_AUTH_SOCK") != "/runner"
    assert "`app.tags`" in note
    assert "output" not in note


@pytest.mark.parametrize(
    "given",
    [{"targets": ("https://example.com/a.git", "app")}, {"files": ("-",)}, {"extra": ("-fx.hcl",)}],
    ids=str,
)
def test_an_unguardable_definition_is_refused(given: dict[str, Any], checkout: Path) -> None:
    """A definition that is remote, from stdin, or added later is refused."""
    build = BuildRequest(directory=checkout, extra=given.pop("extra", ()))
    with pytest.raises(ConfigError):
        guard_bake(BakeRequest(build, **given), Evaluating({}), checkout)


OVERRIDES = (".json", ".override.hcl")
# The existing files, those that the caller names, and those evaluated; None means refused.
FILES: list[tuple[list[str], list[str], list[str] | None]] = [
    (["docker-bake.hcl"], [], ["docker-bake.hcl"]),
    ([f"docker-bake{e}" for e in OVERRIDES], [], [f"docker-bake{e}" for e in OVERRIDES]),
    (["compose.yaml"], [], None),
    (["compose.yaml", "docker-bake.json"], [], ["docker-bake.json"]),
    (["a.yml"], ["a.yml"], None),
    (["bakefile"], ["bakefile"], None),
    (["ci.hcl"], ["ci.hcl"], ["ci.hcl"]),
    ([], ["link/passwd.hcl"], None),
]


@pytest.mark.parametrize(("there", "named", "expected"), FILES, ids=str)
def test_no_evaluated_file_reads_others(
    there: list[str], named: list[str], expected: list[str] | None, checkout: Path
) -> None:
    """Compose files and links, which can read the runner's files, need the caller's permission."""
    for name in there:
        (checkout / name).write_text("")
    limits = Limits(Checkout(checkout.resolve(), checkout), Allowed((), checkout))
    free = replace(limits, allowed=Allowed(["fs.read=*"], checkout))
    assert choose_files(named, free, {}) == (tuple(named), ())
    for words, variables in ((named, {}), ([], {"BUILDX_BAKE_FILE": ":".join(named)})):
        if expected is None:
            with pytest.raises(ConfigError):
                choose_files(words, limits, variables)
            continue
        files, notes = choose_files(words, limits, variables)
        assert list(files) == expected
        assert ["compose.yaml" in each for each in notes] == [True] * ("compose.yaml" in there)


def test_only_the_caller_may_name_a_bake_file_elsewhere(checkout: Path, tmp_path: Path) -> None:
    """A caller may name a file elsewhere, which is guarded; a link in the checkout to it is
    refused.
    """
    own = tmp_path / "own.hcl"
    own.write_text("")
    limits = Limits(Checkout(checkout.resolve(), checkout), Allowed((), checkout))
    assert choose_files((str(own),), limits, {}) == ((str(own),), ())
    (checkout / "docker-bake.hcl").symlink_to(own)
    with pytest.raises(ConfigError):
        choose_files((), limits, {})
