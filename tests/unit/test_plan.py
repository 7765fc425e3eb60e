"""Which caches are imported and saved, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bxcache.buildx.option_text import parse_options
from bxcache.config.models import Config
from bxcache.plan import BuildPlan, LocalState, make_plan
from bxcache.scope import Scope

SCOPE = Scope("image", None, ("linux/amd64",))
TARGET = Scope("image", "test", ("linux/amd64",))
DIGEST = "sha256:" + "a" * 64
LOCAL = {"type": "local"}
REGISTRY = {"type": "registry", "ref": "r.example.com/app-cache"}
INLINE = {"type": "inline", "ref": "r.example.com/app:main"}


def state(donor: str | None = None, **fields: Any) -> LocalState:  # noqa: ANN401
    digest = DIGEST if donor else None
    return LocalState(Path("/store"), Path("/store/staging"), donor, digest, **fields)


def plan(
    *backends: dict[str, Any],
    scope: Scope = SCOPE,
    local: LocalState | None = None,
    refs: dict[str, bool | None] | None = None,
    makes_image: bool = True,
    **config: Any,  # noqa: ANN401
) -> BuildPlan:
    cache = {"backends": list(backends), **config.pop("cache", {})}
    settings = Config.model_validate({"cache": cache, **config})
    return make_plan(settings, scope, local, refs or {}, makes_image=makes_image)


def options(found: BuildPlan) -> list[tuple[str, dict[str, str]]]:
    return [(use.flag, dict(parse_options(use.option[1]))) for use in found.uses]


def test_a_local_cache_goes_through_staging() -> None:
    """Imported by digest, exported under the scope's name, every stage of it."""
    assert options(plan(LOCAL, local=state(SCOPE.name))) == [
        ("--cache-from", {"type": "local", "src": "/store/staging", "digest": DIGEST}),
        (
            "--cache-to",
            {
                "type": "local",
                "dest": "/store/staging",
                "tag": "image.linux-amd64",
                "mode": "max",
                "image-manifest": "true",
                "ignore-error": "true",
            },
        ),
    ]


def test_a_registry_cache_has_a_tag_for_each_scope() -> None:
    """The declared ref is the repository."""
    assert options(plan(REGISTRY)) == [
        ("--cache-from", {"type": "registry", "ref": "r.example.com/app-cache:image.linux-amd64"}),
        (
            "--cache-to",
            {
                "type": "registry",
                "ref": "r.example.com/app-cache:image.linux-amd64",
                "mode": "max",
                "image-manifest": "true",
                "oci-mediatypes": "true",
                "ignore-error": "true",
            },
        ),
    ]


def test_a_declared_tag_is_kept() -> None:
    """Who names a tag wants that one."""
    backend = {**REGISTRY, "ref": "r.example.com/app-cache:shared"}
    assert {use.place for use in plan(backend).uses} == {"r.example.com/app-cache:shared"}


def test_inline_is_imported_as_a_registry_cache() -> None:
    """BuildKit has no importer of that name."""
    assert options(plan(INLINE)) == [
        ("--cache-from", {"type": "registry", "ref": "r.example.com/app:main"}),
        ("--cache-to", {"type": "inline"}),
    ]


def test_inline_without_a_tag_is_the_latest() -> None:
    """As docker reads an image's name."""
    (use, _) = plan({**INLINE, "ref": "r.example.com/app"}).uses
    assert use.place == "r.example.com/app:latest"


def test_inline_needs_an_image() -> None:
    """BuildKit would save nothing and say nothing."""
    found = plan(INLINE, makes_image=False)
    assert not found.exports
    assert "makes no image" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"compression": "zstd"}, {"compression": "zstd"}),
        (
            {"compression": "zstd", "compression_level": 19, "force_compression": True},
            {"compression": "zstd", "compression-level": "19", "force-compression": "true"},
        ),
    ],
)
@pytest.mark.parametrize("backend", [LOCAL, REGISTRY])
def test_compression_is_passed_on(
    backend: dict[str, Any], attributes: dict[str, Any], expected: dict[str, str]
) -> None:
    """By docker's names."""
    found = options(plan({**backend, **attributes}, local=state()))[-1][1]
    assert expected.items() <= found.items()


def test_an_insecure_registry_is_said_both_ways() -> None:
    """For reading and for writing."""
    found = options(plan({**REGISTRY, "insecure": True}))
    assert [attributes["registry.insecure"] for _, attributes in found] == ["true", "true"]


REF = "r.example.com/app-cache:image.linux-amd64"


@pytest.mark.parametrize(
    ("local", "refs", "place"),
    [
        (state(SCOPE.name), {REF: True}, "/store"),
        (state(None), {REF: True}, REF),
        (state(None), {REF: None}, REF),
        (state("latest"), {REF: True}, "/store"),
        (state(None, trouble="the index is damaged"), {REF: True}, REF),
        (state(None), {REF: False}, None),
    ],
)
def test_the_first_backend_that_has_a_cache_is_the_one_donor(
    local: LocalState, refs: dict[str, bool | None], place: str | None
) -> None:
    """Never two: BuildKit then misses at random."""
    found = plan(LOCAL, REGISTRY, local=local, refs=refs)
    assert [use.place for use in found.imports] == ([place] if place else [])
    assert bool(found.notes) == (place is None)


def test_a_cache_that_is_there_goes_before_one_that_may_be() -> None:
    """Whatever the order."""
    refs: dict[str, bool | None] = {REF: None, "r.example.com/app:main": True}
    assert [use.place for use in plan(REGISTRY, INLINE, refs=refs).imports] == [
        "r.example.com/app:main"
    ]


def test_a_target_without_a_cache_starts_from_the_whole_image() -> None:
    """Which has all its stages."""
    found = plan(LOCAL, scope=TARGET, local=state(SCOPE.name))
    assert [use.scope for use in found.imports] == ["image.linux-amd64"]
    assert [use.scope for use in found.exports] == ["image.test.linux-amd64"]


def test_what_plain_buildx_left_in_a_store_is_a_donor() -> None:
    """It exports as `latest` unless told otherwise; the build saves its own scope."""
    found = plan(LOCAL, local=state("latest"))
    assert [use.scope for use in found.imports] == ["latest"]
    assert [use.scope for use in found.exports] == [SCOPE.name]


def test_the_second_try_imports_nothing() -> None:
    """And saves what the first would have."""
    found = plan(LOCAL, REGISTRY, local=state(SCOPE.name))
    assert found.imports
    assert found.without_imports().uses == found.exports


def test_no_cache_imports_nothing_and_saves() -> None:
    """The caches are made anew."""
    found = plan(LOCAL, REGISTRY, local=state(SCOPE.name), build={"no_cache": True})
    assert not found.imports
    assert len(found.exports) == 2
    assert "`--no-cache`" in found.notes[0]


def test_never_write_saves_nothing() -> None:
    """And imports all the same."""
    found = plan(LOCAL, local=state(SCOPE.name), cache={"write": "never"})
    assert len(found.imports) == 1
    assert not found.exports


def test_the_local_export_comes_last() -> None:
    """BuildKit writes the digest of the last export into the local index."""
    found = plan(LOCAL, REGISTRY, INLINE, local=state())
    assert [use.backend for use in found.exports] == ["registry", "inline", "local"]


def test_a_store_in_trouble_is_left_alone() -> None:
    """Neither read nor written."""
    assert not plan(LOCAL, local=state(None, trouble="damaged")).uses


def test_a_store_that_cannot_be_written_is_only_read() -> None:
    """From where it lies."""
    found = plan(LOCAL, local=state(SCOPE.name, read_only=True))
    assert [use.flag for use in found.uses] == ["--cache-from"]


def test_every_flag_has_a_reason() -> None:
    """For the dry run."""
    found = plan(LOCAL, REGISTRY, INLINE, local=state(SCOPE.name))
    assert all(use.reason for use in found.uses)
