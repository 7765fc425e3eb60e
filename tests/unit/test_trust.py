"""Tests of which keys count in an untrusted build, by a table that covers the models."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from bxcache.backends.declared import list_backends
from bxcache.backends.location import find_location
from bxcache.cli.main import run
from bxcache.config.backends import SETTINGS
from bxcache.config.builders import BuilderSettings
from bxcache.config.guard import find_rule
from bxcache.config.loading import load_setup
from bxcache.config.models import BuildSettings, CacheSettings, Config, GateSettings, PlaceSettings
from bxcache.errors import ConfigError
from bxcache.pipeline.entry import ask_docker
from bxcache.pipeline.request import BuildRequest
from bxcache.place.trust import decide_trust
from bxcache.store.collection import Limits
from tests.unit.test_trust_decision import FORK, place

if TYPE_CHECKING:
    from pathlib import Path

    from bxcache.config.declaration import Declaration
    from bxcache.config.loading import Setup
    from bxcache.place.trust import Trust

MODELS: dict[str, type[Declaration]] = {
    "build": BuildSettings,
    "builder": BuilderSettings,
    "cache": CacheSettings,
    "place": PlaceSettings,
    "gate": GateSettings,
    **SETTINGS,
}
KEYS = [(section, name) for section, model in MODELS.items() for name in model.model_fields]


@dataclass(frozen=True)
class Value:
    """A key's value in a file, as a variable, and whether it counts in a stranger's file.

    Attributes:
        text: The value as TOML.
        counts: Whether it counts in a stranger's file.
        variable: The value as a variable has it, if that differs from the text.
        entry: The name of the value in its table, if the key is a table.
    """

    text: str
    counts: bool
    variable: str = ""
    entry: str = ""


OUTSIDE = "/etc"
VALUES: dict[tuple[str, str], list[Value]] = {
    ("build", "context"): [
        Value('"sub"', counts=True),
        Value('"../.."', counts=False),
        Value(f'"{OUTSIDE}"', counts=False),
        Value('"link"', counts=False),
        Value('"sub/../link"', counts=False),
        Value('"-"', counts=False),
        Value('"https://example.com/app.git#main"', counts=True),
        Value('"git@example.com:team/app"', counts=False),
        Value('"me@example.com:team/app"', counts=False),
        Value('"ssh://example.com/team/app"', counts=False),
        Value('"file:///etc"', counts=False),
        Value('"oci-layout:///etc"', counts=False),
        Value('"packages/@scope/app"', counts=True),
    ],
    ("build", "file"): [
        Value('"sub/Dockerfile"', counts=True),
        Value('"new.Dockerfile"', counts=True),
        Value('"link/Dockerfile"', counts=False),
        Value('"-"', counts=False),
        Value('"https://example.com/Dockerfile"', counts=False),
    ],
    ("build", "target"): [Value('"test"', counts=True)],
    ("build", "platforms"): [Value('["linux/arm64"]', counts=True, variable="linux/arm64")],
    ("build", "builder"): [Value('"big"', counts=False)],
    ("build", "tags"): [Value('["app:1"]', counts=False, variable="app:1")],
    ("build", "build_args"): [
        Value('"1"', counts=True, entry="VERSION"),
        *(
            Value('"http://127.0.0.1:1"', counts=False, entry=name)
            for name in ("HTTP_PROXY", "https_proxy", "Ftp_Proxy", "NO_PROXY", "all_proxy")
        ),
        Value('"1"', counts=False, entry="BUILDKIT_INLINE_CACHE"),
        Value('"x"', counts=False, entry="buildkit_syntax"),
    ],
    ("build", "build_contexts"): [
        Value('"sub"', counts=True, entry="in"),
        Value(f'"{OUTSIDE}"', counts=False, entry="out"),
        Value('"link"', counts=False, entry="link"),
        Value('"docker-image://alpine:3"', counts=True, entry="image"),
        Value('"target:base"', counts=True, entry="target"),
        Value('"https://example.com/app.git"', counts=True, entry="git"),
        Value('"git@example.com:team/app"', counts=False, entry="ssh"),
        Value('"oci-layout://sub:latest"', counts=True, entry="layout"),
        Value('"oci-layout:///var/lib/x@sha256:00"', counts=False, entry="foreign"),
        Value('"https://dressed"', counts=False, entry="dressed"),
    ],
    ("build", "labels"): [Value('"b"', counts=True, entry="a")],
    ("build", "secrets"): [Value('["id=x,env=Y"]', counts=False, variable='"id=x,env=Y"')],
    ("build", "ssh"): [Value('["default"]', counts=False, variable="default")],
    ("build", "outputs"): [Value('["out"]', counts=False, variable="out")],
    ("build", "network"): [
        Value('"none"', counts=True),
        Value('"default"', counts=True),
        Value('"host"', counts=False),
    ],
    ("build", "push"): [Value("true", counts=False), Value("false", counts=True)],
    ("build", "load"): [Value("true", counts=True)],
    ("build", "pull"): [Value("true", counts=True)],
    ("build", "no_cache"): [Value("true", counts=True)],
    ("build", "no_cache_filter"): [Value('["test"]', counts=True, variable="test")],
    ("build", "add_hosts"): [Value('["a:10.0.0.1"]', counts=False, variable="a:10.0.0.1")],
    ("build", "allow"): [Value('["network.host"]', counts=False, variable="network.host")],
    ("build", "annotations"): [Value('["a=b"]', counts=True, variable="a=b")],
    ("build", "attest"): [Value('["type=sbom"]', counts=True, variable="type=sbom")],
    ("build", "cgroup_parent"): [Value('"/"', counts=False)],
    ("build", "debug"): [Value("true", counts=True)],
    ("build", "iidfile"): [Value('"id"', counts=False)],
    ("build", "metadata_file"): [Value('"data.json"', counts=False)],
    ("build", "provenance"): [Value('"mode=max"', counts=True)],
    ("build", "sbom"): [Value('"true"', counts=True)],
    ("build", "shm_size"): [Value('"64m"', counts=True)],
    ("build", "ulimits"): [Value('["nofile=9"]', counts=True, variable="nofile=9")],
    ("builder", "name"): [Value('"big"', counts=False)],
    ("builder", "driver"): [Value('"kubernetes"', counts=False)],
    ("builder", "endpoint"): [Value('"ssh://me@example.com"', counts=False)],
    ("builder", "driver_options"): [
        Value('"host"', counts=False, entry="network"),
        Value('""', counts=False, entry="cgroup-parent"),
    ],
    ("builder", "platforms"): [
        Value('["linux/arm64"]', counts=False, variable="linux/arm64"),
    ],
    ("builder", "nodes"): [
        Value('[{ endpoint = "far" }]', counts=False, variable="endpoint=far"),
    ],
    ("cache", "read"): [Value('["default"]', counts=True, variable="default")],
    ("cache", "read_all"): [Value("true", counts=True)],
    ("cache", "write"): [Value('"never"', counts=True), Value('"always"', counts=False)],
    ("cache", "strict"): [Value("true", counts=True)],
    ("cache", "shared_builder"): [Value('"trust"', counts=True)],
    ("place", "branch"): [Value('"main"', counts=False)],
    ("place", "tag"): [Value('"v1"', counts=False)],
    ("place", "base"): [Value('"release"', counts=True)],
    ("place", "default"): [Value('"trunk"', counts=True)],
    ("place", "trusted"): [Value("true", counts=False)],
    ("gate", "min_hit_ratio"): [Value("0.5", counts=True)],
    ("gate", "require_cached"): [Value('["deps"]', counts=True, variable="deps")],
    ("gate", "max_growth"): [Value('"1MB"', counts=True)],
    ("gate", "max_size"): [Value('"1GB"', counts=True)],
    ("gate", "max_seconds"): [Value('"5m"', counts=True)],
    ("gate", "warn"): [Value('["max_size"]', counts=True, variable="max_size")],
    ("gate", "first"): [Value("true", counts=True)],
    **{(kind, "compression"): [Value('"zstd"', counts=True)] for kind in ("local", "registry")},
    **{(kind, "compression_level"): [Value("3", counts=True)] for kind in ("local", "registry")},
    **{(kind, "force_compression"): [Value("true", counts=True)] for kind in ("local", "registry")},
    ("local", "dir"): [
        Value('"sub/store"', counts=True),
        Value('"/var/cache/app"', counts=False),
        Value('"link/store"', counts=False),
    ],
    ("cache", "allow_args"): [Value('["TOKEN"]', counts=False, variable="TOKEN")],
    ("cache", "salvage"): [Value('"never"', counts=True)],
    ("cache", "salvage_timeout"): [Value('"5s"', counts=True)],
    ("local", "max_size"): [Value('"1GB"', counts=False)],
    ("local", "max_age"): [Value('"1d"', counts=False)],
    ("registry", "image_manifest"): [Value("true", counts=True)],
    ("registry", "oci_mediatypes"): [Value("true", counts=True)],
    ("registry", "ignore_error"): [Value("false", counts=True)],
    ("inline", "stages"): [Value('"all"', counts=True)],
    **{(kind, "insecure"): [Value("true", counts=False)] for kind in ("registry", "inline")},
    **{(kind, "timeout"): [Value('"5s"', counts=True)] for kind in ("registry", "inline", "gha")},
    ("gha", "version"): [Value("2", counts=True)],
    ("gha", "url"): [Value('"https://cache.example.com"', counts=False)],
    ("gha", "url_v2"): [Value('"https://cache.example.com"', counts=False)],
    ("gha", "repository"): [Value('"acme/shop"', counts=False)],
    **{(kind, "max_age"): [Value('"1d"', counts=False)] for kind in ("registry", "inline")},
}
REFUSED = {
    "s3": {"bucket": "cache"},
    "azblob": {"account_url": "https://acme.blob.core.windows.net"},
}
"""The backends that a file cannot declare at all, each with what it needs."""
REQUIRED = (
    {(kind, "type") for kind in SETTINGS}
    | {("cache", "backends")}
    | {(kind, "ref") for kind in ("registry", "inline")}
)
BARE = {
    "local": ("force_compression", Value("false", counts=True)),
    "registry": ("force_compression", Value("false", counts=True)),
    "inline": ("stages", Value('"final"', counts=True)),
    "gha": ("timeout", Value('"10m"', counts=True)),
}
"""A setting with its default value, for the entry of a backend without others."""
ROWS = [(*key, value) for key, values in VALUES.items() for value in values]


def test_every_key_is_classified() -> None:
    """Every key is classified and is in the table below, so a new one needs a decision."""
    for section, name in KEYS:
        find_rule(MODELS[section], name)
    assert {key for key in KEYS if key[0] not in REFUSED} == {
        *VALUES,
        *(key for key in REQUIRED if key[0] not in REFUSED),
    }
    assert {*Config.model_fields} == {"build", "builder", "cache", "place", "gate", "images"}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a folder, a link that leads out, and a folder that looks like a URL."""
    folder = tmp_path / "team" / "app"
    (folder / ".git").mkdir(parents=True)
    (folder / "sub").mkdir()
    (folder / "link").symlink_to(OUTSIDE)
    (folder / "https:").mkdir()
    (folder / "https:" / "dressed").symlink_to(OUTSIDE)
    monkeypatch.chdir(folder)
    return folder


def decide(
    folder: Path,
    file: str = "",
    environment: dict[str, str] | None = None,
    /,
    *,
    own: bool = False,
    image: str | None = None,
    **options: Any,  # noqa: ANN401
) -> tuple[Setup, Trust]:
    (folder / "bxcache.toml").write_text(file)
    flags = BuildRequest(options=options, directory=folder).to_layer()
    setup = load_setup(folder, environment or {}, flags=flags, image=image)
    where = place(branch="topic") if own else place(branch="topic", **FORK)
    return decide_trust(where, setup, folder)


def render(section: str, name: str, value: Value, table: str = "") -> str:
    if section in SETTINGS:
        ref = "" if section in ("local", "gha") else 'ref = "registry.example.com/cache"\n'
        head = f'[[cache.backends]]\ntype = "{section}"\n{ref}'
        return f"{head}{name} = {value.text}\n"
    inner = f".{name}" if value.entry else ""
    return f"[{table or section}{inner}]\n{value.entry or name} = {value.text}\n"


def read(setup: Setup, section: str, name: str, value: Value) -> Any:  # noqa: ANN401
    """Return the value of a key in the configuration, or None if it is not set."""
    config = setup.config.model_dump(mode="json")
    if section in SETTINGS:
        return config["cache"]["backends"][0].get(name)
    found = config[section][name]
    return found.get(value.entry) if value.entry else found


def name_key(section: str, name: str, value: Value) -> str:
    if section in SETTINGS:
        return f"cache.backends[0].{name}"
    return f"{section}.{name}.{value.entry}" if value.entry else f"{section}.{name}"


def name_row(row: object) -> str:
    return f"{row.entry} {row.text}".strip() if isinstance(row, Value) else str(row)


@pytest.mark.parametrize(("section", "name", "value"), ROWS, ids=name_row)
def test_only_harmless_values_of_a_strangers_file_count(
    section: str, name: str, value: Value, checkout: Path
) -> None:
    """In an untrusted build, only harmless values of the file count; a note lists the others."""
    file = render(section, name, value)
    said = read(decide(checkout, file, own=True)[0], section, name, value)
    bare = render(section, *BARE[section]) if section in BARE else ""
    default = read(decide(checkout, bare, own=True)[0], section, name, value)
    # A bound of a cache has no effect, and so no note, in a build that saves nothing.
    saves = {"BXCACHE_CACHE_WRITE": "always"} if name in ("max_size", "max_age") else {}
    setup, trust = decide(checkout, file, saves)
    found = read(setup, section, name, value)
    assert found == (said if value.counts else default)
    notes = [note for note in trust.notes if name_key(section, name, value) in note]
    assert len(notes) == (0 if value.counts else 1)
    assert all("bxcache.toml:" in note for note in notes)


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [row for row in ROWS if row[0] not in SETTINGS],
    ids=name_row,
)
def test_variables_and_flags_always_count(
    section: str, name: str, value: Value, checkout: Path
) -> None:
    """Values from variables and flags count without a note."""
    plain = value.variable or json.loads(value.text)
    plain = f"{value.entry}={plain}" if value.entry else str(plain)
    variables = {f"BXCACHE_{section}_{name}".upper(): plain}
    trusted, _ = decide(checkout, "", variables, own=True)
    setup, trust = decide(checkout, "", variables)
    assert read(setup, section, name, value) == read(trusted, section, name, value)
    assert not any("does not count" in note for note in trust.notes)
    if section == "builder":
        # It has no flags.
        assert setup.declares_builder
        return
    parsed = json.loads(value.text)
    option = {"tag": "git_tag", "base": "base_branch", "default": "default_branch"}
    key = option.get(name, name) if section == "place" else name
    given = {value.entry: parsed} if value.entry else parsed
    options = {"gate": {name: given}} if section == "gate" else {key: given}
    expected, _ = decide(checkout, own=True, **options)
    flagged, flagged_trust = decide(checkout, **options)
    assert read(flagged, section, name, value) == read(expected, section, name, value)
    assert not any("does not count" in note for note in flagged_trust.notes)


@pytest.mark.parametrize(
    "file", ["[builder]", "[builder]\nplatforms = []", "[builder.driver_options]"]
)
def test_an_empty_table_of_a_stranger_declares_no_builder(file: str, checkout: Path) -> None:
    """A stranger's `[builder]` chooses no builder, even if it sets nothing."""
    assert decide(checkout, file, own=True)[0].declares_builder
    setup, trust = decide(checkout, file)
    assert not setup.declares_builder
    assert "`builder" in "".join(trust.notes)


@pytest.mark.parametrize("kind", [*SETTINGS])
def test_a_variables_backend_keeps_all_its_attributes(kind: str, checkout: Path) -> None:
    """A backend from a variable keeps all its attributes, unlike one from the file."""
    text = {
        "local": "type=local,dir=/var/cache/app,max_size=1GB",
        "registry": "type=registry,ref=r.example.com/c,insecure=true",
        "inline": "type=inline,ref=r.example.com/c,insecure=true",
        "gha": "type=gha,url_v2=https://cache.example.com",
        "s3": "type=s3,bucket=cache,endpoint_url=https://s3.example.com,credentials=job",
        "azblob": "type=azblob,account_url=https://acme.blob.core.windows.net",
    }[kind]
    variables = {"BXCACHE_CACHE_BACKENDS": text}
    trusted, _ = decide(checkout, "", variables, own=True)
    setup, _ = decide(checkout, "[[cache.backends]]\ntype = 'local'\n", variables)
    assert setup.config.cache.backends == trusted.config.cache.backends


@pytest.mark.parametrize("kind", [*REFUSED])
def test_a_strangers_file_declares_no_backend_that_needs_the_runners_credentials(
    kind: str, checkout: Path
) -> None:
    """An untrusted file's `s3` and `azblob` are left out whole; other backends of it stay."""
    lines = [f"{name} = '{value}'\n" for name, value in REFUSED[kind].items()]
    table = f"[[cache.backends]]\ntype = '{kind}'\n{''.join(lines)}"
    file = f"{table}[[cache.backends]]\ntype = 'local'\n"
    setup, trust = decide(checkout, file)
    assert [each.type for each in setup.config.cache.backends] == ["local"]
    assert any("`cache.backends[0].type` (bxcache.toml:2)" in note for note in trust.notes)
    assert [each.type for each in decide(checkout, table)[0].config.cache.backends] == []
    own, _ = decide(checkout, file, own=True)
    assert [each.type for each in own.config.cache.backends] == [kind, "local"]


def test_an_image_of_the_file_is_guarded_too(checkout: Path) -> None:
    """An image's values in the file are guarded like those of `[build]`."""
    file = '[build]\ncontext = "sub"\n[images.api]\ncontext = "/etc"\npush = true\ntarget = "x"\n'
    setup, trust = decide(checkout, file, image="api")
    assert (setup.config.build.context, setup.config.build.push) == ("sub", False)
    assert setup.config.build.target == "x"
    assert setup.config.images["api"].push is False
    assert [note for note in trust.notes if "bxcache.toml:4" in note and ":5" in note]


def test_one_note_lists_all_refused_values(checkout: Path) -> None:
    """One note lists every refused value with its line, except those that a flag replaces."""
    file = '[build]\npush = true\ntags = ["a"]\nssh = ["default"]\n[place]\ntrusted = true\n'
    _, trust = decide(checkout, file, tags=["b"])
    (note,) = trust.notes
    assert "`build.push` (bxcache.toml:2), `build.ssh` (bxcache.toml:4)" in note
    assert "`place.trusted` (bxcache.toml:6)" in note
    assert "tags" not in note


def test_trust_is_set_by_flags_and_variables(checkout: Path) -> None:
    """Flags and variables can set trust either way, a file can only remove it."""
    file = "[build]\npush = true\n"
    assert decide(checkout, file, trusted=True)[0].config.build.push
    assert decide(checkout, file, {"BXCACHE_PLACE_TRUSTED": "true"})[0].config.build.push
    setup, _ = decide(checkout, file, {"BXCACHE_PLACE_TRUSTED": "false"}, own=True)
    assert not setup.config.build.push
    own, _ = decide(checkout, f"{file}[place]\ntrusted = false\n", own=True)
    assert not own.config.build.push


SAVED = [
    ("the default store", "", {}, [""]),
    ("a folder of the checkout, in the file", "type = 'local'\ndir = 'sub'", {}, ["file"]),
    ("a registry, in the file", "type = 'registry'\nref = 'r.example.com/c'", {}, ["file"]),
    (
        "every stage, in the file",
        "type='inline'\nref='r.example.com/c'\nstages='all'",
        {},
        ["file"],
    ),
    ("a folder", "", "type=local,dir=/c", [""]),
    ("a registry", "", "type=registry,ref=r.example.com/c", [""]),
    ("every stage", "", "type=inline,ref=r.example.com/c,stages=all", [""]),
    ("a bucket", "", "type=s3,bucket=cache", [""]),
    ("GitHub's cache service, in the file", "type = 'gha'", {}, ["file"]),
    ("GitHub's cache service", "", "type=gha", [""]),
    ("a tag", "", "type=registry,ref=r.example.com/c:main", ["tag"]),
    ("an image", "", "type=inline,ref=r.example.com/app:main", ["tag"]),
    ("an image's usual tag", "", "type=inline,ref=r.example.com/app", ["tag"]),
]


@pytest.mark.parametrize(
    ("file", "variable", "why"), [row[1:] for row in SAVED], ids=[r[0] for r in SAVED]
)
def test_an_untrusted_build_saves_only_where_no_file_decides(
    file: str, variable: str, why: list[str], checkout: Path
) -> None:
    """An untrusted build saves only where no file decides; a trusted build saves everywhere."""
    text = f"[[cache.backends]]\n{file}\n" if file else ""
    variables = {"BXCACHE_CACHE_BACKENDS": variable} if variable else {}
    for trusted in (True, False):
        setup, _ = decide(checkout, text, variables, own=trusted)
        found = [each.read_only or "" for each in list_backends(setup)]
        expected = [""] if trusted else why
        assert all(word in said for word, said in zip(expected, found, strict=True))
        assert [bool(said) for said in found] == [bool(word) for word in expected]


@pytest.mark.parametrize(
    ("trusted", "variable", "limits"),
    [
        (True, "", Limits(10**9, 86_400)),
        (False, "", Limits()),
        (False, "type=local,max_size=2GB", Limits(2 * 10**9, 30 * 86_400)),
    ],
)
def test_an_untrusted_build_does_not_evict_by_a_files_limits(
    trusted: bool,  # noqa: FBT001
    variable: str,
    limits: Limits,
    checkout: Path,
) -> None:
    """An untrusted build does not evict by a file's limits or by default ones."""
    file = "[[cache.backends]]\ntype = 'local'\nmax_size = '1GB'\nmax_age = '1d'\n"
    variables = {"BXCACHE_CACHE_BACKENDS": variable} if variable else {}
    setup, _ = decide(checkout, file, variables, own=trusted)
    location = find_location(setup)
    assert location is not None
    assert location.limits == limits


def test_config_show_reports_refused_values(
    checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`config show` lists refused values with line and reason, beside the effective values."""
    (checkout / "bxcache.toml").write_text("[build]\npush = true\nload = true\n")
    monkeypatch.setenv("BXCACHE_PLACE_TRUSTED", "false")
    monkeypatch.setenv("BXCACHE_PLACE_BRANCH", "main")
    monkeypatch.setenv("BXCACHE_PLACE_DEFAULT", "main")
    monkeypatch.setattr("bxcache.place.repository.ask", refuse)
    assert run(["config", "show"]) == 0
    output = capsys.readouterr()
    lines = [line.split() for line in output.out.splitlines()]
    assert ["build.push", "=", "false", "default"] in lines
    shown = " ".join(output.out.split())
    assert shown.count("does not count") == 1
    assert "build.push = true bxcache.toml:2, does not count here: it pushes" in shown
    assert "`build.push` (bxcache.toml:2)" in output.err


def refuse(*_: object, **__: object) -> Any:  # noqa: ANN401
    """Fail as if git were missing."""
    raise FileNotFoundError


@pytest.mark.parametrize("context", ["oci-layout:///etc", "ssh://h/x", "git@h:a/b.git", "-"])
def test_a_folder_does_not_make_a_url_harmless(context: str, checkout: Path) -> None:
    """A stranger's folder named like a URL does not make that URL harmless."""
    (checkout / context).mkdir(parents=True)
    for file in (f'context = "{context}"', f'build_contexts.x = "{context}"'):
        _, trust = decide(checkout, f"[build]\n{file}\n")
        assert len(trust.refused) == 1


@pytest.mark.parametrize("key", ["build_args", "build_contexts", "labels"])
def test_a_name_cannot_contain_a_value(key: str, checkout: Path) -> None:
    """A build argument's name may not contain `=`, where docker ends the name."""
    with pytest.raises(ConfigError, match="a name must not be empty or contain `=`"):
        decide(checkout, f'[build.{key}]\n"HTTP_PROXY=x" = "sub"\n', own=True)


def test_a_config_file_that_links_elsewhere_is_ignored(checkout: Path, tmp_path: Path) -> None:
    """A config file that links out of the checkout is ignored; the caller may name any file."""
    other = tmp_path / "other.toml"
    decide(checkout, "", own=True)
    other.write_text('[build]\ntarget = "x"\n[cache]\nstrict = true\n')
    (checkout / "bxcache.toml").unlink()
    (checkout / "bxcache.toml").symlink_to(other)
    where = place(branch="topic", **FORK)
    setup, trust = decide_trust(where, load_setup(checkout, {}), checkout)
    assert (setup.config.build.target, setup.config.cache.strict) == (None, False)
    assert {each.key for each in trust.refused} == {"build.target", "cache.strict"}
    own = load_setup(checkout, {"BXCACHE_CONFIG": str(other)})
    assert decide_trust(where, own, checkout)[0].config.build.target == "x"


@pytest.mark.parametrize(
    ("file", "asked"),
    [
        ("", True),
        ("[build]\nload = true\n", True),
        ("[build]\nbuilder = 'prod'\n", False),
        ("[builder]\nname = 'prod'\n", False),
        ("[builder]\n", False),
    ],
)
def test_no_builder_that_a_file_names_is_asked_before_it_is_trusted(
    file: str,
    asked: bool,  # noqa: FBT001
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Docker would reach the builder's nodes; whether the file counts is known only later."""
    names: list[str] = []

    def ask(builder: str, *, fresh: bool) -> nullcontext[bool]:
        names.append(builder)
        return nullcontext(fresh)

    monkeypatch.setattr("bxcache.pipeline.entry.ask_ahead", ask)
    (checkout / "bxcache.toml").write_text(file)
    with ask_docker(BuildRequest(directory=checkout), fresh=True):
        assert names == ([""] if asked else [])
    with ask_docker(BuildRequest(options={"builder": "own"}, directory=checkout), fresh=True):
        assert names[-1] == "own"
