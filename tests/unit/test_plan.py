"""Tests of which caches are imported and saved, and why."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from bxcache.backends.base import Wish
from bxcache.backends.local import LocalBackend, StoreState
from bxcache.backends.registry import RemoteBackend
from bxcache.backends.registry_tag import expect_tag
from bxcache.buildx.option_text import parse_options
from bxcache.config.models import Config
from bxcache.config.reference import Reference
from bxcache.errors import RegistryError, Trouble
from bxcache.pipeline.choose import make_plan
from bxcache.pipeline.plan import BuildPlan, list_candidates
from bxcache.place.place import Place
from bxcache.place.scope import Owner, Scope
from bxcache.place.trust import Trust
from bxcache.registry.labels import Label
from bxcache.registry.repository import RemoteManifest, Sighting, open_repository
from tests.support.backends import make_backend

CACHE = json.dumps(
    {
        "config": {
            "mediaType": "application/vnd.buildkit.cacheconfig.v0",
            "digest": "sha256:" + "c" * 64,
            "size": 2,
        },
        "layers": [],
    }
).encode()
MAIN, FEATURE = "main", "feature/x"
SCOPE = Scope("image", None, ("linux/amd64",), Owner.of_branch(MAIN))
TARGET = Scope("image", "test", ("linux/amd64",), Owner.of_branch(MAIN))
DIGEST = "sha256:" + "a" * 64
LOCAL = {"type": "local", "dir": "/store"}
REGISTRY = {"type": "registry", "ref": "r.example.com/app-cache"}
INLINE = {"type": "inline", "ref": "r.example.com/app:main"}
ALL = {"type": "inline", "ref": "r.example.com/app", "stages": "all"}
REF = "r.example.com/app-cache:image.linux-amd64.main"


def state(*donors: str, **fields: Any) -> StoreState:  # noqa: ANN401
    return StoreState(Path("/store/staging"), dict.fromkeys(donors, DIGEST), **fields)


def place(branch: str | None = MAIN, **fields: Any) -> Place:  # noqa: ANN401
    known = {"provider": "git", "tag": None, "base": None, "default": MAIN, "pull_request": None}
    rest = {"trusted": True, "reason": "told by the test", "sources": {}, "notes": ()}
    return Place(branch=branch, **{**known, **rest, **fields})


def sight(found: bool | Trouble) -> Sighting:  # noqa: FBT001
    repository = open_repository(Reference("r.example.com/app-cache"), {}, insecure=False)
    if isinstance(found, Trouble):
        error = RegistryError("r.example.com", "looking up", "it is ill", trouble=found)
        return Sighting(repository, error=error)
    return Sighting(repository, RemoteManifest(DIGEST, "", CACHE) if found else None)


def plan(*backends: dict[str, Any], **given: Any) -> BuildPlan:  # noqa: ANN401
    """Make the plan for some backends; values that are not given are those of the simplest case."""
    cache = {"backends": list(backends), **given.get("cache", {})}
    settings = Config.model_validate({"cache": cache, "build": given.get("build", {})})
    at, writes = given.get("at", place()), given.get("writes", True)
    trust = Trust(at, writes=writes, reason="as the test says")
    scope: Scope = given.get("scope", SCOPE).of_owner(trust.owner)
    seen = {ref: sight(found) for ref, found in given.get("refs", {}).items()}
    declared = tuple(make_backend(each, settings) for each in backends)
    for each in declared:
        if each.kind in given.get("read_only", ()):
            each.read_only = "as the file says"
        if isinstance(each, LocalBackend):
            each.state = given.get("local", StoreState(Path("/store")))
            each._list_stored = lambda: given.get("stored", ())  # type: ignore[method-assign]
        elif isinstance(each, RemoteBackend):
            each.sightings = {**seen, **given.get("seen", {})}
    prepared: Any = SimpleNamespace(
        setup=SimpleNamespace(config=settings),
        trust=trust,
        backends=declared,
        candidates=list_candidates(settings, scope, trust, declared),
    )
    wish = Wish(
        scope=scope,
        makes_image=given.get("makes_image", True),
        once=given.get("once"),
        unbaked=given.get("unbaked"),
        inline_only=given.get("inline_only"),
        refuses_borrowed=trust.is_guarded and settings.cache.shared_builder == "refuse",
        state=lambda: given.get("state", ""),
    )
    return make_plan(prepared, wish)


def options(found: BuildPlan) -> list[tuple[str, dict[str, str]]]:
    return [(use.flag, dict(parse_options(use.option[1]))) for use in found.uses]


def test_a_local_cache_goes_through_staging() -> None:
    """A local cache is imported by digest, and exported with all stages under its scope's name."""
    assert options(plan(LOCAL, local=state(SCOPE.name))) == [
        ("--cache-from", {"type": "local", "src": "/store/staging", "digest": DIGEST}),
        (
            "--cache-to",
            {
                "type": "local",
                "dest": "/store/staging",
                "tag": "image.linux-amd64.main",
                "mode": "max",
                "image-manifest": "true",
                "ignore-error": "true",
            },
        ),
    ]


def saved(found: BuildPlan) -> dict[str, str]:
    (save,) = found.saves
    assert save.use.flag == "--cache-to"
    return dict(parse_options(save.use.option[1]))


def test_a_registry_cache_has_a_tag_for_each_scope() -> None:
    """A registry cache is saved after the build, to its scope's tag in the declared repository."""
    found = plan(REGISTRY, refs={REF: True})
    assert options(found) == [("--cache-from", {"type": "registry", "ref": REF})]
    assert saved(found) == {
        "type": "registry",
        "ref": REF,
        "mode": "max",
        "image-manifest": "true",
        "oci-mediatypes": "true",
        "ignore-error": "true",
    }


def test_a_build_that_cannot_be_repeated_exports_to_the_registry() -> None:
    """A build that cannot be repeated exports to the registry with a flag of its own."""
    found = plan(REGISTRY, refs={REF: True}, once="it reads stdin")
    assert [save.apart for save in found.saves] == [False]
    assert [use.place for use in found.exports] == [REF]


@pytest.mark.parametrize(
    ("backends", "given", "apart"),
    [
        ([REGISTRY], {}, False),
        ([REGISTRY], {"build": {"no_cache": True}}, False),
        ([REGISTRY], {"refs": {REF: True}}, True),
        ([REGISTRY], {"refs": {REF: True}, "state": "a"}, True),
        ([REGISTRY], {"refs": {REF: True}, "state": "a", "built": ""}, True),
        ([REGISTRY], {"refs": {REF: True}, "state": "a", "built": "a"}, True),
        ([REGISTRY], {"refs": {REF: True}, "state": "a", "built": "b"}, False),
        ([REGISTRY], {"refs": {REF: True}, "state": "", "built": "b"}, True),
        ([REGISTRY], {"refs": {REF: Trouble.UNREACHABLE}}, True),
        ([REGISTRY], {"refs": {REF: Trouble.DENIED}}, True),
        ([LOCAL, REGISTRY], {"local": state()}, True),
        ([LOCAL, REGISTRY], {"local": state(SCOPE.name)}, True),
    ],
)
def test_a_build_exports_itself_what_a_registry_cannot_have(
    backends: list[dict[str, Any]],
    given: dict[str, Any],
    apart: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A registry that was asked and has no cache of the same files gets it from the build itself.

    The states are those of the files now, and of those that the registry's cache was built from.
    """
    label = None
    if "built" in given:
        label = Label(SCOPE, DIGEST, 1.0, 1.0, state=given["built"])
    monkeypatch.setattr("bxcache.registry.scopes.read_label", lambda *_: label)
    found = plan(*backends, **given)
    (save,) = (each for each in found.saves if each.use.backend.kind == "registry")
    assert save.apart == apart
    assert save.limit == 600


def test_a_registry_that_does_not_answer_is_saved_after_the_build(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If it is unknown what a registry's cache was built from, saving waits for the build."""

    def fail(*_: object) -> Label:
        raise RegistryError("r.example.com", "reading", "it is ill", trouble=Trouble.SICK)

    monkeypatch.setattr("bxcache.registry.scopes.read_label", fail)
    (save,) = plan(REGISTRY, refs={REF: True}, state="a").saves
    assert save.apart


def test_a_declared_tag_is_kept() -> None:
    """A declared tag is used on every branch."""
    backend = {**REGISTRY, "ref": "r.example.com/app-cache:shared"}
    ref = "r.example.com/app-cache:shared"
    found = plan(backend, refs={ref: True}, at=place(FEATURE))
    assert [use.place for use in found.uses] == [ref]
    assert [choice.candidate.name for choice in found.choices] == [ref]
    assert saved(found)["ref"] == ref


def test_inline_is_imported_as_a_registry_cache() -> None:
    """An inline cache is imported as `registry`, since BuildKit has no importer named `inline`."""
    assert options(plan(INLINE, refs={"r.example.com/app:main": True})) == [
        ("--cache-from", {"type": "registry", "ref": "r.example.com/app:main"}),
        ("--cache-to", {"type": "inline"}),
    ]


def test_inline_without_a_tag_is_latest() -> None:
    """An inline ref without a tag means `latest`, as in docker."""
    inline = {**INLINE, "ref": "r.example.com/app"}
    (use, _) = plan(inline, refs={"r.example.com/app:latest": True}).uses
    assert use.place == "r.example.com/app:latest"


@pytest.mark.parametrize(
    ("backend", "given"), [(INLINE, {}), (REGISTRY, {"once": "it reads stdin, which is read once"})]
)
def test_refusing_borrowed_layers_drops_exports_of_the_build_itself(
    backend: dict[str, Any], given: dict[str, Any]
) -> None:
    """On a CI system, `refuse` drops exports of the build itself, which precede the check."""
    cache = {"shared_builder": "refuse"}
    found = plan(backend, at=place(provider="github"), cache=cache, **given)
    assert not found.exports
    assert "shared_builder" in " ".join(found.notes)
    assert plan(backend, at=place(provider="git"), cache=cache, **given).exports
    assert plan(backend, at=place(provider="github"), **given).exports


def test_inline_needs_an_image() -> None:
    """Without an image, an inline cache is not exported, and a note gives the reason."""
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
    """Compression settings are passed on by docker's names."""
    made = plan({**backend, **attributes}, local=state())
    found = saved(made) if made.saves else options(made)[-1][1]
    assert expected.items() <= found.items()


def test_an_insecure_registry_is_marked_for_both_directions() -> None:
    """An insecure registry is marked as insecure for reading and for writing."""
    made = plan({**REGISTRY, "insecure": True}, refs={REF: True})
    assert options(made)[0][1]["registry.insecure"] == "true"
    assert saved(made)["registry.insecure"] == "true"


@pytest.mark.parametrize(
    ("local", "refs", "place"),
    [
        (state(SCOPE.name), {REF: True}, "/store"),
        (state(), {REF: True}, REF),
        (state(), {REF: Trouble.UNREACHABLE}, REF),
        (state("latest"), {REF: True}, REF),
        (state("latest"), {REF: False}, "/store"),
        (state(trouble="the index is damaged"), {REF: True}, REF),
        (state(), {REF: False}, None),
        (state(), {REF: Trouble.SICK}, None),
        (state(), {REF: Trouble.DENIED}, None),
    ],
)
def test_the_first_existing_cache_is_the_only_donor(
    local: StoreState, refs: dict[str, bool | Trouble], place: str | None
) -> None:
    """Exactly one cache is imported, since BuildKit misses at random with two."""
    found = plan(LOCAL, REGISTRY, local=local, refs=refs)
    assert [use.place for use in found.imports] == ([place] if place else [])


def test_a_cache_that_exists_precedes_one_that_may_exist() -> None:
    """A cache that was seen precedes one that may exist, whatever the order of backends."""
    refs: dict[str, bool | Trouble] = {REF: Trouble.UNREACHABLE, "r.example.com/app:main": True}
    assert [use.place for use in plan(REGISTRY, INLINE, refs=refs).imports] == [
        "r.example.com/app:main"
    ]


def ref_of(branch: str) -> str:
    return f"r.example.com/app-cache:{SCOPE.of_owner(Owner.of_branch(branch)).name}"


PULL = place("topic", base="release", pull_request="7")


@pytest.mark.parametrize(
    ("existing", "donor"),
    [
        (("topic", "release", "main"), "topic"),
        (("release", "main"), "release"),
        (("main",), "main"),
        ((), None),
    ],
)
def test_the_own_branch_precedes_base_and_default(
    existing: tuple[str, ...], donor: str | None
) -> None:
    """A build starts from the first of own, base and default branch, and saves its own scope."""
    refs: dict[str, bool | Trouble] = {
        ref_of(branch): branch in existing for branch in ("topic", "release", "main")
    }
    found = plan(REGISTRY, refs=refs, at=PULL)
    assert [use.place for use in found.imports] == ([ref_of(donor)] if donor else [])
    assert saved(found)["ref"] == ref_of("topic")


def test_a_branch_that_is_not_read_is_not_a_candidate() -> None:
    """Only the owners in `read` are candidates, in that order."""
    refs: dict[str, bool | Trouble] = dict.fromkeys(map(ref_of, ("topic", "release", "main")), True)
    found = plan(REGISTRY, refs=refs, at=PULL, cache={"read": ["default", "branch"]})
    assert [choice.candidate.name for choice in found.choices] == [ref_of("main"), ref_of("topic")]
    assert [use.place for use in found.imports] == [ref_of("main")]


def test_all_caches_are_imported_with_read_all() -> None:
    """With `read_all`, all existing caches are imported, best first."""
    refs: dict[str, bool | Trouble] = {
        ref_of("topic"): False,
        ref_of("release"): True,
        ref_of("main"): True,
    }
    found = plan(REGISTRY, refs=refs, at=PULL, cache={"read_all": True})
    assert [use.place for use in found.imports] == [ref_of("release"), ref_of("main")]


def test_the_better_branch_precedes_the_better_backend() -> None:
    """The own branch's cache in a registry precedes the default branch's in the store."""
    found = plan(
        LOCAL, REGISTRY, local=state(SCOPE.name), refs={ref_of("topic"): True}, at=place("topic")
    )
    assert [use.place for use in found.imports] == [ref_of("topic")]


def test_every_candidate_has_a_verdict() -> None:
    """The dry run has a verdict for every candidate."""
    refs: dict[str, bool | Trouble] = {
        ref_of("topic"): False,
        ref_of("release"): Trouble.DENIED,
        ref_of("main"): True,
    }
    found = plan(REGISTRY, refs=refs, at=PULL)
    assert [choice.verdict for choice in found.choices] == [
        "there is none",
        "it is ill",
        "imported",
    ]


@pytest.mark.parametrize("trouble", Trouble)
def test_an_unseen_cache_is_not_reported_as_present(trouble: Trouble) -> None:
    """An unseen cache is reported neither as present nor as absent, and the reason is given."""
    refs: dict[str, bool | Trouble] = {ref_of("topic"): trouble, ref_of("main"): trouble}
    found = plan(REGISTRY, refs=refs, at=place("topic"))
    told = [*(use.reason for use in found.imports), *(each.verdict for each in found.choices)]
    told += [found.start, *found.notes, *found.troubles]
    assert not [each for each in told if "has a cache there," in each or "none yet" in each]
    assert all("it is ill" in each.verdict for each in found.choices)
    assert any("it is ill" in each for each in (found.start, *found.troubles)) or found.imports
    for use in found.imports:
        assert use.reason == "whether the registry has a cache there is not known: it is ill"
        assert "not seen: it is ill; left to docker" in found.choices[0].verdict
        assert found.choices[1].verdict == "not seen: it is ill"


BOTH = "image.linux-amd64_linux-arm64"


@pytest.mark.parametrize(
    ("donors", "taken"),
    [
        (["image.linux-amd64_linux-arm64.main", "image.linux-amd64.main"], SCOPE.name),
        ([f"{BOTH}.topic", f"{BOTH}.main"], f"{BOTH}.topic"),
        ([f"{BOTH}.main", "latest"], f"{BOTH}.main"),
        (["image.linux-arm64.topic", "latest"], "latest"),
    ],
)
def test_other_platforms_come_last(donors: list[str], taken: str) -> None:
    """A cache of other platforms comes after all of the own platforms, and only one is imported."""
    found = plan(LOCAL, local=state(*donors), stored=donors, at=place("topic"))
    assert [use.scope for use in found.imports] == [taken]


def test_other_platforms_are_not_imported_beside_their_own() -> None:
    """With `read_all`, other platforms are not imported, since several caches hide each other."""
    donors = [SCOPE.name, f"{BOTH}.main"]
    found = plan(LOCAL, local=state(*donors), stored=donors, cache={"read_all": True})
    assert [use.scope for use in found.imports] == [SCOPE.name]


@pytest.mark.parametrize(
    ("trouble", "writes", "tells", "saves"),
    [
        (Trouble.SICK, True, 1, 0),
        (Trouble.SICK, False, 1, 0),
        (Trouble.DENIED, True, 0, 1),
        (Trouble.DENIED, False, 1, 0),
        (Trouble.UNREACHABLE, True, 0, 1),
        (Trouble.UNREACHABLE, False, 0, 0),
    ],
)
def test_a_registry_in_trouble_causes_one_warning(
    trouble: Trouble,
    writes: bool,  # noqa: FBT001
    tells: int,
    saves: int,
) -> None:
    """A registry in trouble causes one warning, unless docker may still reach or write it."""
    refs: dict[str, bool | Trouble] = dict.fromkeys(map(ref_of, ("topic", "main")), trouble)
    found = plan(REGISTRY, refs=refs, at=place("topic"), writes=writes)
    assert len(found.troubles) == tells
    assert len(found.saves) == saves


def test_an_image_is_not_a_donor() -> None:
    """An image under a scope's tag is skipped, but one under a declared tag is imported."""
    image = RemoteManifest(DIGEST, "", b'{"config": {}, "layers": []}')
    seen = {ref_of("topic"): replace(sight(found=True), manifest=image)}
    found = plan(REGISTRY, seen=seen, refs={ref_of("main"): True}, at=place("topic"))
    assert [use.place for use in found.imports] == [ref_of("main")]
    assert found.choices[0].verdict == "the tag is not a build cache"
    ref = "r.example.com/app:main"
    declared = {**REGISTRY, "ref": ref}
    found = plan(declared, seen={ref: replace(sight(found=True), manifest=image)})
    assert [use.place for use in found.imports] == [ref]


def test_a_save_knows_the_imported_cache() -> None:
    """A save knows the imported cache if both are in the same repository."""
    refs: dict[str, bool | Trouble] = {ref_of("topic"): False, ref_of("main"): True}
    (save,) = plan(REGISTRY, refs=refs, at=place("topic")).saves
    assert expect_tag(save).source_ref == ref_of("main")
    save, _ = plan(LOCAL, REGISTRY, local=state(SCOPE.name)).saves
    assert expect_tag(save).source is None


def test_an_untrusted_build_imports_but_does_not_save() -> None:
    """An untrusted build imports caches and does not save them."""
    backends = (LOCAL, REGISTRY, INLINE)
    found = plan(*backends, local=state(SCOPE.name), refs={REF: True}, writes=False)
    assert found.imports
    assert not found.exports
    assert not found.saves
    assert "as the test says" in found.notes


def test_a_read_only_backend_is_not_saved_to() -> None:
    """A read-only backend is imported and not saved to, and a denied one causes a warning."""
    found = plan(LOCAL, REGISTRY, local=state(SCOPE.name), read_only=("registry",))
    assert [each.use.backend.kind for each in found.saves] == ["local"]
    assert "as the file says" in found.notes
    found = plan(REGISTRY, INLINE, refs={REF: True}, read_only=("registry", "inline"))
    assert (len(found.imports), found.exports, found.saves) == (1, (), ())
    denied = {REF: Trouble.DENIED}
    assert plan(REGISTRY, refs=denied).troubles == ()
    assert len(plan(REGISTRY, refs=denied, read_only=("registry",)).troubles) == 1


def test_an_untrusted_build_has_its_own_scope() -> None:
    """An untrusted build that may save has its own scope, even if its branch is called `main`."""
    fork = place(MAIN, trusted=False, pull_request="7")
    (save,) = plan(REGISTRY, at=fork).saves
    assert save.use.place != REF
    candidates = list_candidates(
        Config.model_validate({"cache": {"backends": [REGISTRY]}}),
        expect_tag(save).owner,
        Trust(fork, writes=True, reason=""),
        [save.use.backend],
    )
    assert [each.name for each in candidates] == [save.use.place, REF]


def test_a_target_without_a_cache_starts_from_the_whole_image() -> None:
    """A target without a cache starts from the whole image, which has all its stages."""
    found = plan(LOCAL, scope=TARGET, local=state(SCOPE.name))
    assert [use.scope for use in found.imports] == ["image.linux-amd64.main"]
    assert [use.scope for use in found.exports] == ["image.test.linux-amd64.main"]


def test_a_cache_of_plain_buildx_in_a_store_is_a_donor() -> None:
    """A cache that plain buildx exported as `latest` is imported; the build saves its own scope."""
    found = plan(LOCAL, local=state("latest"))
    assert [use.scope for use in found.imports] == ["latest"]
    assert [use.scope for use in found.exports] == [SCOPE.name]


def test_the_second_attempt_imports_nothing() -> None:
    """The second attempt imports nothing and saves the same caches as the first."""
    found = plan(LOCAL, REGISTRY, local=state(SCOPE.name))
    assert found.imports
    assert found.without_imports().uses == found.exports
    assert [save.use for save in found.without_imports().saves] == [s.use for s in found.saves]


def test_no_cache_imports_nothing_and_saves_all() -> None:
    """With `no_cache=True`, nothing is imported and all caches are saved."""
    found = plan(LOCAL, REGISTRY, local=state(SCOPE.name), build={"no_cache": True})
    assert not found.imports
    assert [each.use.backend.kind for each in found.saves] == ["registry", "local"]
    assert found.start.endswith(", from no cache: `no_cache=True`")


@pytest.mark.parametrize(
    ("backends", "given", "told"),
    [
        ([LOCAL], {"local": state(SCOPE.name)}, f"the local cache `{SCOPE.name}` in /store"),
        ([REGISTRY], {"refs": {REF: True}}, f"the registry cache {REF}"),
        ([REGISTRY], {"refs": {REF: False}}, "no cache: the scope has none yet"),
        (
            [REGISTRY],
            {"refs": {REF: Trouble.UNREACHABLE}},
            f"the registry cache {REF}, if docker finds it",
        ),
        ([LOCAL], {"local": state(trouble="damaged")}, "no cache: none could be used"),
        ([], {}, "no cache: none is declared"),
        (
            [LOCAL, REGISTRY],
            {"local": state(SCOPE.name), "refs": {REF: True}, "cache": {"read_all": True}},
            f"the local cache `{SCOPE.name}` in /store and the registry cache {REF}",
        ),
    ],
)
def test_a_build_says_what_it_starts_from(
    backends: list[dict[str, Any]], given: dict[str, Any], told: str
) -> None:
    """One line has the image, the scope, and the cache that is imported or why none is."""
    found = plan(*backends, **given, build={"tags": ["r/app:1", "r/app:2"]})
    assert found.start == f"building r/app:1, scope `{SCOPE.name}`, from {told}"


@pytest.mark.parametrize(
    ("backends", "given", "why"),
    [
        ([LOCAL], {}, ""),
        ([LOCAL, REGISTRY], {"inline_only": "it is classic"}, "the builder cannot export it"),
        ([LOCAL], {"local": state(trouble="damaged")}, "the store cannot be written"),
        ([LOCAL], {"local": state(is_writable=False)}, "the store cannot be written"),
        ([LOCAL], {"read_only": ["local"]}, "this build only reads the local cache"),
        ([REGISTRY], {"refs": {REF: Trouble.REFUSED}}, "the registry failed"),
        ([INLINE], {"makes_image": False}, "this build makes no image to hold it"),
        ([ALL], {"once": "it reads stdin"}, "the stages cannot be built again, as it reads stdin"),
        ([], {}, "no cache is declared"),
    ],
)
def test_a_cache_that_is_not_saved_has_a_reason(
    backends: list[dict[str, Any]], given: dict[str, Any], why: str
) -> None:
    """The plan has the reason in a few words, once for several caches."""
    assert plan(*backends, **given).why_unsaved == why


def test_the_local_export_comes_last() -> None:
    """The local export is last, since BuildKit writes the last export's digest into its index."""
    found = plan(LOCAL, REGISTRY, INLINE, local=state(), once="it reads stdin")
    assert [use.backend.kind for use in found.exports] == ["registry", "inline", "local"]


def test_a_store_in_trouble_is_left_alone() -> None:
    """A store in trouble is neither read nor written, and one warning gives the reason."""
    found = plan(LOCAL, local=state(trouble="damaged"))
    assert not found.uses
    assert found.troubles == ("the local cache `/store` was not used: damaged",)
    assert not found.notes
    assert [use.place for use in found.unsaved] == ["/store"]


@pytest.mark.parametrize(
    ("backends", "told"),
    [
        ([LOCAL, REGISTRY, INLINE], ("no `local` or `registry` cache is saved: it is classic",)),
        ([REGISTRY], ("no `registry` cache is saved: it is classic",)),
        ([INLINE], ()),
        ([ALL], ()),
    ],
)
@pytest.mark.parametrize("once", ["", "it reads stdin"])
def test_a_builder_that_saves_inline_only_imports_all_caches(
    backends: list[dict[str, Any]], told: tuple[str, ...], once: str
) -> None:
    """A builder that saves inline only imports all caches and causes one warning."""
    given = {"local": state(SCOPE.name), "refs": {REF: True}, "once": once}
    found, usual = (plan(*backends, **given, inline_only=why) for why in ("it is classic", ""))
    assert [use.option for use in found.imports] == [use.option for use in usual.imports]
    kept = [save.use.backend.kind for save in found.saves]
    assert set(kept) <= {"inline"}
    assert found.troubles == told
    assert len(found.unsaved) == len([each for each in backends if each["type"] != "inline"])


def test_a_build_that_saves_nothing_causes_no_warning() -> None:
    """A build that saves nothing causes no warning about its builder."""
    found = plan(LOCAL, local=state(), writes=False, inline_only="it is classic")
    assert not found.troubles
    assert not found.unsaved


def test_a_store_that_cannot_be_written_is_only_read() -> None:
    """A store that cannot be written is imported and not exported to."""
    found = plan(LOCAL, local=state(SCOPE.name, is_writable=False))
    assert [use.flag for use in found.uses] == ["--cache-from"]


def test_every_flag_has_a_reason() -> None:
    """Every flag has a reason for the dry run."""
    found = plan(LOCAL, REGISTRY, INLINE, local=state(SCOPE.name))
    assert all(use.reason for use in found.uses)


# An inline cache of all stages.


def stages_of(branch: str) -> str:
    return f"r.example.com/app:{SCOPE.of_owner(Owner.of_branch(branch)).name}"


@pytest.mark.parametrize(
    ("existing", "donor"),
    [
        (("topic", "release", "main"), "topic"),
        (("release", "main"), "release"),
        (("main",), "main"),
        ((), None),
    ],
)
def test_stages_have_a_tag_for_each_scope(existing: tuple[str, ...], donor: str | None) -> None:
    """The first existing image is imported, and the own scope is saved."""
    branches = ("topic", "release", "main")
    refs: dict[str, bool | Trouble] = {stages_of(name): name in existing for name in branches}
    found = plan(ALL, refs=refs, at=PULL)
    assert [choice.candidate.name for choice in found.choices] == list(refs)
    assert options(found) == (
        [("--cache-from", {"type": "registry", "ref": stages_of(donor)})] if donor else []
    )
    (save,) = found.saves
    assert (save.use.place, expect_tag(save).source_ref) == (
        stages_of("topic"),
        stages_of(donor) if donor else "",
    )


def test_all_stages_are_saved_apart_from_the_build() -> None:
    """Stages are saved apart from the build, whether or not it makes an image."""
    for makes_image in (False, True):
        found = plan(ALL, refs={stages_of(MAIN): True}, makes_image=makes_image)
        assert not found.exports
        assert [(save.apart, save.use.backend.kind) for save in found.saves] == [(True, "inline")]
        assert not found.notes


@pytest.mark.parametrize("given", [{"once": "it is odd"}, {"unbaked": "it is odd"}])
def test_stages_of_a_build_that_runs_once_are_not_saved(given: dict[str, str]) -> None:
    """If a build runs only once, its stages are imported but not saved, as a note explains."""
    found = plan(ALL, refs={stages_of(MAIN): True}, **given)
    assert [use.place for use in found.imports] == [stages_of(MAIN)]
    assert not found.exports
    assert not found.saves
    assert "cannot be run again for them, as it is odd" in " ".join(found.notes)


def test_an_untrusted_build_saves_no_stages() -> None:
    """An untrusted build imports stages and does not save them."""
    found = plan(ALL, refs={stages_of(MAIN): True}, writes=False)
    assert [use.place for use in found.imports] == [stages_of(MAIN)]
    assert not found.saves


def test_stages_beside_a_registry_cache_are_both_saved() -> None:
    """A registry cache and stages are each saved to their own repository, and one is imported."""
    refs: dict[str, bool | Trouble] = {REF: True, stages_of(MAIN): True}
    found = plan(REGISTRY, ALL, refs=refs)
    assert [use.place for use in found.imports] == [REF]
    assert [(save.use.place, expect_tag(save).source_ref) for save in found.saves] == [
        (REF, REF),
        (stages_of(MAIN), ""),
    ]


@pytest.mark.parametrize(
    ("trouble", "saves"),
    [(Trouble.SICK, 0), (Trouble.DENIED, 1), (Trouble.UNREACHABLE, 1)],
)
def test_a_failing_registry_gets_no_stages(trouble: Trouble, saves: int) -> None:
    """Stages are not saved to a failing registry, but may be to a denied or unreachable one."""
    assert len(plan(ALL, refs={stages_of(MAIN): trouble}).saves) == saves


def test_an_insecure_registry_of_stages_is_marked() -> None:
    """An insecure registry of stages is marked as insecure for reading."""
    found = plan({**ALL, "insecure": True}, refs={stages_of(MAIN): True})
    assert options(found)[0][1]["registry.insecure"] == "true"
