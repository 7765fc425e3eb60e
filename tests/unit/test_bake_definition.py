"""Tests of reading `docker buildx bake --print` as the settings of builds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bxcache.buildx.bake.definition import BakeTarget, list_linked, parse_definition

RECORDED = Path(__file__).parents[1] / "streams" / "bake"


def parse(target: dict[str, Any]) -> BakeTarget:
    return parse_definition(json.dumps({"target": {"app": target}}))["app"]


def option(text: str) -> set[str]:
    """Return an option's fields, in any order."""
    return set(text.split(","))


@pytest.mark.parametrize("name", ["print", "print-old"])
def test_every_buildx_version_gives_the_same_targets(name: str) -> None:
    """All keys of the recorded bake file have the values written by hand."""
    targets = parse_definition((RECORDED / f"{name}.json").read_text())
    assert sorted(targets) == ["full", "inline", "plain"]
    full = targets["full"]
    settings = full.settings
    assert (settings.context, settings.file) == ("app", "app/docker/App.Dockerfile")
    assert settings.target == "site"
    assert settings.platforms == ("linux/amd64", "linux/arm64")
    assert settings.tags == ("shop/app:1", "shop/app")
    assert settings.build_args == {"A": "1", "EMPTY": ""}
    assert settings.build_contexts == {
        "base": "target:plain",
        "files": "./files",
        "img": "docker-image://busybox",
    }
    assert settings.labels == {"team": "x"}
    assert list(map(option, settings.secrets)) == [
        {"id=npm", "src=npm.txt"},
        {"id=token", "env=TOKEN"},
    ]
    assert settings.ssh == ("default", "key=a.pem", "two=b.pem,c.pem")
    assert list(map(option, settings.outputs)) == [
        {"type=registry"},
        {"type=local", "dest=out"},
        {"type=image", "name=a", "push=true"},
    ]
    assert (settings.pull, settings.no_cache) == (True, True)
    assert full.extra == (
        *("--shm-size", "128m", "--ulimit", "nofile=1024:1024", "--no-cache-filter", "site"),
    )
    assert full.links == ("plain",)
    assert full.keeps_cache
    registry, image, local = map(option, full.cache_from)
    assert registry == {"type=registry", "ref=r/app:cache"}
    # A bare ref means a registry; the old buildx shows it as written in the file.
    assert image in ({"r/app:plain"}, {"type=registry", "ref=r/app:plain"})
    assert local == {"type=local", "src=c"}


def test_a_bare_id_is_rendered_as_docker_reads_it() -> None:
    """A bare id of a secret becomes `id=NAME`, and one of an agent stays `NAME`."""
    printed = {"secret": [{"id": "TOKEN"}], "ssh": [{"id": "default"}, {"id": "key", "paths": []}]}
    settings = parse(printed).settings
    assert settings.secrets == ("id=TOKEN",)
    assert settings.ssh == ("default", "key")


@pytest.mark.parametrize("name", ["print", "print-old"])
def test_an_empty_target_has_the_defaults_of_a_build(name: str) -> None:
    """An empty target uses the usual Dockerfile in the working directory, without options."""
    plain = parse_definition((RECORDED / f"{name}.json").read_text())["plain"]
    assert plain == BakeTarget("plain", plain.settings)
    assert plain.settings == parse({}).settings
    assert (plain.settings.context, plain.settings.file) == (".", None)


@pytest.mark.parametrize("name", ["print", "print-old"])
def test_an_inline_dockerfile_is_a_flag(name: str) -> None:
    """An inline Dockerfile, which no run can read again, becomes a flag that prevents repeating."""
    inline = parse_definition((RECORDED / f"{name}.json").read_text())["inline"]
    assert inline.extra[0] == "--file"
    assert inline.settings.context == "https://github.com/acme/app.git"


@pytest.mark.parametrize(
    ("printed", "extra"),
    [
        ({"entitlements": ["network.host"]}, ("--allow", "network.host")),
        ({"extra-hosts": {"db": "10.0.0.2"}}, ("--add-host", "db:10.0.0.2")),
        ({"shm-size": "1g"}, ("--shm-size", "1g")),
        ({"ulimits": ["a=1", "b=2"]}, ("--ulimit", "a=1", "--ulimit", "b=2")),
        ({"ulimits": None, "shm-size": ""}, ()),
    ],
)
def test_keys_without_a_setting_become_flags(
    printed: dict[str, Any], extra: tuple[str, ...]
) -> None:
    """Keys without a setting become flags of `docker buildx build`."""
    assert parse(printed).extra == extra


@pytest.mark.parametrize(
    ("context", "dockerfile", "file"),
    [
        (".", "Dockerfile", None),
        ("app", "Dockerfile", None),
        ("app", "sub/Dockerfile", "app/sub/Dockerfile"),
        ("app", "../Dockerfile", "Dockerfile"),
        ("app", "/abs/Dockerfile", "/abs/Dockerfile"),
        ("../app", "D", "../app/D"),
        ("https://example.com/app.git", "D", "D"),
        ("app", "https://example.com/Dockerfile", "https://example.com/Dockerfile"),
    ],
)
def test_a_dockerfile_is_found_from_its_context(
    context: str, dockerfile: str, file: str | None
) -> None:
    """A Dockerfile's path relative to the context becomes relative to the working directory."""
    found = parse({"context": context, "dockerfile": dockerfile}).settings
    assert (found.context, found.file) == (context, file)


@pytest.mark.parametrize("network", ["none", "host", None])
def test_the_network_of_a_target_is_kept(network: str | None) -> None:
    """A target's network becomes the network of its build."""
    assert parse({"network": network} if network else {}).settings.network == network


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([{"type": "local", "dest": "a,b"}], 'type=local,"dest=a,b"'),
        ([{"dest": "x", "type": "tar"}], "type=tar,dest=x"),
        (["type=docker"], "type=docker"),
    ],
)
def test_an_option_is_written_as_docker_reads_it(outputs: list[Any], expected: str) -> None:
    """An option's type comes first, and a field with a comma is quoted as in CSV."""
    assert parse({"output": outputs}).settings.outputs == (expected,)


@pytest.mark.parametrize(
    ("printed", "keeps"),
    [
        ({}, False),
        ({"cache-to": []}, False),
        ({"cache-to": None}, False),
        ({"cache-to": ["type=inline"]}, True),
        ({"cache-to": [{"type": "inline"}]}, True),
    ],
)
def test_a_target_that_exports_a_cache_is_recognized(printed: dict[str, Any], keeps: bool) -> None:  # noqa: FBT001
    """A target with any cache export keeps a cache."""
    assert parse(printed).keeps_cache == keeps


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", "null", '{"target": []}'])
def test_an_invalid_definition_is_refused(text: str) -> None:
    """A text that is not a definition raises only ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        parse_definition(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = (
    *("context", "dockerfile", "contexts", "target", "platforms", "tags", "args", "labels"),
    *("secret", "ssh", "output", "network", "pull", "no-cache", "cache-from", "cache-to"),
    *("ulimits", "extra-hosts", "shm-size"),
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, JSON)) | JSON)
def test_no_target_breaks_the_reader(target: object) -> None:
    """Targets of any shape, as of a later buildx, can be read."""
    assert list(parse_definition(json.dumps({"target": {"app": target}}))) == ["app"]


def link(**links: str) -> dict[str, BakeTarget]:
    """Make targets with links, such as `a="bc"`."""
    contexts = {
        name: {"contexts": {each: f"target:{each}" for each in needed}}
        for name, needed in links.items()
    }
    return parse_definition(json.dumps({"target": contexts}))


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ({"a": ""}, "a"),
        ({"a": "b", "b": ""}, "ba"),
        ({"a": "b", "b": "c", "c": ""}, "cba"),
        # A diamond: a target that two others need is listed once.
        ({"a": "bc", "b": "d", "c": "d", "d": ""}, "dbca"),
        # Bake refuses cycles, but reading one ends.
        ({"a": "b", "b": "a"}, "ba"),
        ({"a": "a"}, "a"),
        # A missing target is needed by none.
        ({"a": "x"}, "a"),
        ({"a": "", "b": "a"}, "a"),
    ],
)
def test_needed_targets_come_before_their_user(links: dict[str, str], expected: str) -> None:
    """Only needed targets are listed, each before the targets that use it."""
    assert "".join(list_linked(link(**links), "a")) == expected


NAMES = "abcdefgh"


@given(st.dictionaries(st.sampled_from(NAMES), st.sets(st.sampled_from(NAMES)), min_size=1))
def test_all_needed_targets_are_listed_once(needs: dict[str, set[str]]) -> None:
    """For any links, each target is listed once with all that it needs, the wanted one last."""
    targets = link(**{name: "".join(sorted(each)) for name, each in needs.items()})
    for name in needs:
        found = list_linked(targets, name)
        assert found[-1] == name
        assert len(set(found)) == len(found)
        wanted = {name}.union(*(needs[each] & needs.keys() for each in found))
        assert set(found) == wanted
