"""Tests of listing, copying and removing a repository's scopes, and of looking up several refs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bxcache.errors import RegistryError, Trouble
from bxcache.place.scope import Owner, Scope
from bxcache.registry.labels import EMPTY, Label, parse_label, render_label
from bxcache.registry.registry_cache import RegistryCache
from bxcache.registry.repository import RemoteManifest, Repository, probe_refs
from bxcache.registry.scopes import copy_scope, list_scopes, read_label, write_label
from tests.support.registries import (
    MANIFEST,
    Answer,
    Asked,
    MemoryRegistry,
    cache_manifest,
    digest_of,
    kind_of_request,
    refuse,
)
from tests.support.sampling import Effort, choose

pytestmark = pytest.mark.usefixtures("nobody")

DAY = 86_400
NOW = 1_700_000_000.0


@pytest.fixture(autouse=True)
def _known_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(time=lambda: NOW)
    monkeypatch.setattr("bxcache.registry.registry_cache.time", clock)


def label(digest: str, branch: str | None = "main", *, days: float = 0) -> Label:
    used = NOW - days * DAY
    return Label(
        Scope("image", None, ("linux/amd64",), Owner.of_branch(branch)), digest, used, used
    )


def save(registry: MemoryRegistry, branch: str, *layers: bytes, days: float = 0) -> str:
    """Write a scope's cache and label as a build does, and return its tag."""
    digest = registry.put(_tag(branch), cache_manifest(*layers))
    registry.shelf().blobs[digest_of(EMPTY)] = EMPTY
    body = render_label(label(digest, branch, days=days))
    registry.put(f"{_tag(branch)}.bxcache", body)
    return _tag(branch)


def _tag(branch: str) -> str:
    return label("", branch).scope.name


def tags_of(registry: MemoryRegistry) -> dict[str, str]:
    return dict(registry.shelf().tags)


def readable(registry: MemoryRegistry) -> set[str]:
    shelf = registry.shelf()
    return {tag for tag, digest in shelf.tags.items() if digest in shelf.manifests}


# The documents of a repository.


@pytest.mark.parametrize("page", [1, 2, 3, 7, 1000])
def test_every_page_of_tags_is_read(
    registry: MemoryRegistry, repository: Repository, page: int
) -> None:
    """Every page of tags is read once, whatever its size."""
    registry.page = page
    expected = [f"tag-{number}" for number in range(7)]
    for tag in expected:
        registry.put(tag, b"{}")
    assert repository.list_tags() == expected


def test_a_missing_repository_has_no_tags(repository: Repository) -> None:
    """A missing repository has neither tags nor scopes."""
    assert repository.list_tags() == []
    assert list_scopes(repository) == []
    assert repository.read_manifest("main") is None
    assert repository.read_digest("main") is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"tags":["a","b"]}', ["a", "b"]),
        (b'{"tags":null}', []),
        (b'{"tags":7}', []),
        (b'{"tags":"main"}', []),
        (b'{"tags":{"main":1}}', []),
        (b'{"tags":[1,null,"a",["b"]]}', ["a"]),
        (b"{}", []),
        (b"[]", []),
        (b"no JSON", []),
        (b"[" * 100_000, []),
    ],
)
def test_an_invalid_list_of_tags_is_empty(
    registry: MemoryRegistry, repository: Repository, body: bytes, expected: list[str]
) -> None:
    """An empty or invalid list of tags is empty; docker's registry writes `null`."""
    registry.interfere = lambda _: Answer(200, body)
    assert repository.list_tags() == expected


@pytest.mark.parametrize(
    "link",
    [
        '</v2/app/tags/list?last=a>; rel="next"',
        "</v2/app/tags/list?last=a>; rel=next",
        '</v2/app/tags/list?last=a>;rel="next"',
        'http://{address}/v2/app/tags/list?last=a>; rel="next"',
    ],
)
def test_the_link_to_the_next_page_is_read(
    registry: MemoryRegistry, repository: Repository, link: str
) -> None:
    """The next page's link is read in every form that RFC 5988 allows."""
    header = link.format(address=registry.address)
    header = header if header.startswith("<") else f"<{header}"

    def page(asked: Asked) -> Answer:
        if asked.query.get("last") == "a":
            return Answer(200, b'{"tags":["b"]}')
        return Answer(200, b'{"tags":["a"]}', {"Link": header})

    registry.interfere = page
    assert repository.list_tags() == ["a", "b"]


def test_endless_pages_end(
    registry: MemoryRegistry, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading ends even if a registry links to the same page forever."""
    monkeypatch.setattr("bxcache.registry.repository._MOST_PAGES", 5)
    headers = {"Link": '</v2/app/tags/list>; rel="next"'}
    registry.interfere = lambda _: Answer(200, b'{"tags":["a"]}', headers)
    assert repository.list_tags() == ["a"] * 5


def test_a_manifest_is_known_by_its_bytes(registry: MemoryRegistry, repository: Repository) -> None:
    """A manifest is found by tag and digest, with every media type of a cache."""
    body = cache_manifest(b"layer")
    digest = registry.put("main", body)
    for reference in ("main", digest):
        found = repository.read_manifest(reference)
        assert found is not None
        assert (found.digest, found.media_type, found.body) == (digest, MANIFEST, body)
    assert repository.read_digest("main") == digest
    assert [asked.method for asked in registry.asked] == ["GET", "GET", "HEAD"]
    for kind in ("oci.image.index.v1+json", "docker.distribution.manifest.list.v2+json"):
        assert f"application/vnd.{kind}" in registry.asked[0].headers["accept"]


def test_a_digest_without_a_header_is_calculated(
    registry: MemoryRegistry, repository: Repository
) -> None:
    """Without the header, the digest is calculated."""
    body = cache_manifest(b"layer")
    registry.interfere = lambda _: Answer(200, body)
    assert repository.read_digest("main") == digest_of(body)


@given(st.binary())
def test_a_manifest_that_is_not_a_cache_parses_to_none(body: bytes) -> None:
    """A manifest that is not a cache parses to None without an error."""
    assert RemoteManifest("", "", body).parse() is None


def test_a_blob_is_uploaded_in_one_piece(registry: MemoryRegistry, repository: Repository) -> None:
    """A blob is uploaded to the registry's URL, and the registry checks its digest."""
    repository.write_blob(b"data")
    assert registry.shelf().blobs == {digest_of(b"data"): b"data"}


@pytest.mark.parametrize("refusals", [0, 1, 2, 3])
def test_a_refused_manifest_is_retried(
    registry: MemoryRegistry, repository: Repository, refusals: int
) -> None:
    """A refused manifest is retried with its config a few times."""
    left = [refuse(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown")] * refusals
    registry.interfere = lambda asked: (
        left.pop() if left and "/manifests/" in asked.path and asked.method == "PUT" else None
    )
    config, manifest = b'{"layers":[]}', cache_manifest()
    write = partial(repository.write_with_config, "main", manifest, MANIFEST, config)
    if refusals < 3:
        write()
        assert registry.shelf().tags == {"main": digest_of(manifest)}
        assert registry.shelf().blobs == {digest_of(config): config}
    else:
        with pytest.raises(RegistryError, match=r"writing `app:main` failed: 400 blob unknown"):
            write()
    uploads = [each for each in registry.asked if each.method == "POST"]
    assert len(uploads) == min(refusals + 1, 3)


@pytest.mark.parametrize("location", ["/elsewhere", "?x=1", "", "http://["])
def test_an_invalid_upload_url_is_an_error(
    registry: MemoryRegistry, repository: Repository, location: str
) -> None:
    """An invalid or missing upload URL is an error."""
    headers = {"Location": location} if location else {}
    registry.interfere = lambda asked: (
        Answer(202, headers=headers) if asked.method == "POST" else None
    )
    with pytest.raises(RegistryError, match="writing to `app` failed"):
        repository.write_blob(b"data")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(202), True),
        (Answer(200), True),
        (refuse(400, "DIGEST_INVALID", "no digest"), False),
        (refuse(405, "UNSUPPORTED", "unsupported"), False),
        (refuse(404, "MANIFEST_UNKNOWN", "unknown"), False),
        (refuse(403, "DENIED", "denied"), Trouble.DENIED),
        (refuse(500, "UNKNOWN", "oops"), Trouble.SICK),
    ],
)
def test_a_refusal_to_delete_a_tag_is_false(
    registry: MemoryRegistry,
    repository: Repository,
    answer: Answer,
    expected: bool | Trouble,  # noqa: FBT001
) -> None:
    """A refusal to delete a tag returns False; other failures are raised."""
    registry.interfere = lambda _: answer
    if isinstance(expected, Trouble):
        with pytest.raises(RegistryError) as caught:
            repository.delete_tag("main")
        assert caught.value.trouble is expected
    else:
        assert repository.delete_tag("main") is expected


# Labels.


def test_the_first_label_uploads_the_shared_blob(
    registry: MemoryRegistry, repository: Repository
) -> None:
    """The first label uploads the shared blob, which later labels reuse."""
    digest = registry.put("main", cache_manifest(b"layer"))
    write_label(repository, "main", label(digest))
    assert read_label(repository, "main") == label(digest)
    assert registry.shelf().blobs == {digest_of(EMPTY): EMPTY}
    before = len(registry.asked)
    write_label(repository, "main", label(digest, days=1))
    assert registry.requests()[before:] == ["PUT /v2/app/manifests/main.bxcache"]
    assert read_label(repository, "main") == label(digest, days=1)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_the_shared_blob_is_uploaded_only_after_a_refusal(
    registry: MemoryRegistry, repository: Repository, status: int
) -> None:
    """The shared blob is uploaded again only after a refusal."""
    registry.interfere = lambda _: refuse(status, "X", "no")
    with pytest.raises(RegistryError, match=r"writing `app:main\.bxcache` failed"):
        write_label(repository, "main", label(digest_of(b"")))
    assert {asked.method for asked in registry.asked} == {"PUT"}


def test_a_tag_that_is_too_long_has_no_label(
    registry: MemoryRegistry, repository: Repository
) -> None:
    """A tag that is too long for a label causes no request."""
    write_label(repository, "x" * 128, label(digest_of(b"")))
    assert read_label(repository, "x" * 128) is None
    assert registry.asked == []


def test_a_copy_is_the_same_manifest(registry: MemoryRegistry, repository: Repository) -> None:
    """A copy has the same bytes and media type."""
    body = b'{"schemaVersion":2,"manifests":[]}'
    kind = "application/vnd.oci.image.index.v1+json"
    digest = registry.put("main", body, kind=kind)
    found = repository.read_manifest("main")
    assert found is not None
    copy_scope(repository, found, "feature")
    assert tags_of(registry) == {"main": digest, "feature": digest}
    assert registry.shelf().manifests == {digest: (kind, body)}


# Lists.


def test_only_tags_of_bxcache_are_listed(registry: MemoryRegistry, repository: Repository) -> None:
    """Other tags, and foreign manifests under a label's name, are not listed."""
    main = save(registry, "main", b"one", b"three")
    other = save(registry, "other", b"one")
    registry.put("latest", cache_manifest(b"foreign"))
    registry.put("foreign.bxcache", cache_manifest(b"foreign"))
    registry.put("text.bxcache", b"no JSON")
    registry.put("text", cache_manifest(b"foreign"))
    first, second = list_scopes(repository)
    assert (first.tag, second.tag) == (main, other)
    assert first.layers == {digest_of(b"one"): 3, digest_of(b"three"): 5}
    assert first.bytes == 8
    assert first.label == label(registry.shelf().tags[main])
    assert (first.changed, first.lost) == ("", False)


def test_lost_and_changed_tags_are_shown(registry: MemoryRegistry, repository: Repository) -> None:
    """A listing reports labels without a cache, and tags that another client overwrote."""
    lost, changed, image = (save(registry, branch, b"x") for branch in ("a", "b", "c"))
    del registry.shelf().tags[lost]
    registry.put(changed, cache_manifest(b"another"))
    registry.put(image, b'{"schemaVersion":2}')
    first, second, third = list_scopes(repository)
    assert (first.tag, first.lost, first.changed, first.bytes) == (lost, True, "", 0)
    assert (second.tag, second.lost, second.bytes) == (changed, False, 7)
    assert second.changed == "another client has overwritten it"
    assert (third.tag, third.lost, third.bytes) == (image, False, 0)
    assert third.changed


def test_many_scopes_are_read_in_parallel(registry: MemoryRegistry, repository: Repository) -> None:
    """Several scopes are read in parallel, up to a limit."""
    for number in range(30):
        save(registry, f"b{number}", b"x", days=number)
    most = watch(registry)
    assert len(list_scopes(repository)) == 30
    assert 2 <= most() <= 16


def watch(registry: MemoryRegistry) -> Callable[[], int]:
    """A secret is not hashed, since it could be guessed; a bare name has its variable's value."""
    lock, counts = threading.Lock(), [0, 0]

    def count(_: Asked) -> None:
        with lock:
            counts[0] += 1
            counts[1] = max(counts)
        time.sleep(0.02)
        with lock:
            counts[0] -= 1

    registry.interfere = count
    return lambda: counts[1]


# Several refs.


def test_refs_are_looked_up_in_parallel(registry: MemoryRegistry) -> None:
    """Three refs are looked up in parallel: none is answered before all are requested."""
    digests = {f"{registry.address}/{name}:main": b"%d" % at for at, name in enumerate("abc")}
    for ref, layer in digests.items():
        name = ref.rpartition("/")[2].partition(":")[0]
        registry.put("main", cache_manifest(layer), name=name)
    together = threading.Barrier(3)

    def wait(_: Asked) -> None:
        together.wait(10)

    registry.interfere = wait
    found = probe_refs(dict.fromkeys(digests, False), {})
    for ref, layer in digests.items():
        manifest = found[ref].manifest
        assert manifest is not None
        assert manifest.digest == digest_of(cache_manifest(layer))
    assert not together.broken


def test_refs_of_one_repository_share_its_connection(registry: MemoryRegistry) -> None:
    """Refs of one repository share a connection; without a tag, a ref means `latest`."""
    registry.put("latest", cache_manifest(b"x"))
    name = f"{registry.address}/app"
    found = probe_refs({name: False, f"{name}:latest": False, f"{name}:other": False}, {})
    assert [sighting.manifest is not None for sighting in found.values()] == [True, True, False]
    assert all(sighting.error is None for sighting in found.values())
    assert len({id(sighting.repository) for sighting in found.values()}) == 1


def test_the_failure_of_one_registry_does_not_affect_others(registry: MemoryRegistry) -> None:
    """The failure of one registry does not affect other refs."""
    registry.put("main", cache_manifest(b"x"))
    good, bad = f"{registry.address}/app:main", "127.0.0.1:1/app:main"
    found = probe_refs({bad: False, good: False}, {})
    assert found[good].manifest is not None
    error = found[bad].error
    assert error is not None
    assert error.trouble is Trouble.UNREACHABLE


def test_without_refs_nothing_is_requested() -> None:
    """Without refs, nothing is requested."""
    assert probe_refs({}, {}) == {}


# Pruning.


def prune(registry: MemoryRegistry, **given: object) -> set[str]:
    cache = RegistryCache(f"{registry.address}/app")
    pruned = cache.prune(**given)  # type: ignore[arg-type]  # a test's own keywords
    return {each.scope.tag for each in pruned.removed}


EVERY = 5
"""Besides the first request of each kind, every so many requests are tried."""
BOTH = pytest.mark.parametrize("tag_deletes", [False, True])


@BOTH
def test_prune_removes_a_scope_and_its_label(registry: MemoryRegistry, tag_deletes: bool) -> None:  # noqa: FBT001
    """Pruning removes a scope and its label, and every other tag keeps its digest."""
    registry.tag_deletes = tag_deletes
    kept = save(registry, "main", b"1")
    gone = save(registry, "gone", b"2")
    registry.put("latest", cache_manifest(b"3"))
    before = tags_of(registry)
    assert prune(registry, branches={"main"}) == {gone}
    expected = {tag: before[tag] for tag in (kept, f"{kept}.bxcache", "latest")}
    assert tags_of(registry) == expected
    assert readable(registry) == set(expected)
    assert prune(registry, branches={"main"}) == set()


@BOTH
def test_an_alias_of_a_removed_scope_stays(registry: MemoryRegistry, tag_deletes: bool) -> None:  # noqa: FBT001
    """Removing one of two scopes with the same manifest keeps the other."""
    registry.tag_deletes = tag_deletes
    kept, gone = save(registry, "main", b"1"), save(registry, "gone", b"1")
    before = tags_of(registry)
    assert before[kept] == before[gone]
    assert prune(registry, branches={"main"}) == {gone}
    assert tags_of(registry) == {tag: before[tag] for tag in (kept, f"{kept}.bxcache")}
    assert readable(registry) == {kept, f"{kept}.bxcache"}


@BOTH
def test_a_foreign_tag_of_the_same_manifest_stays(
    registry: MemoryRegistry,
    tag_deletes: bool,  # noqa: FBT001
) -> None:
    """Another client's tag of the same manifest is kept."""
    registry.tag_deletes = tag_deletes
    gone = save(registry, "gone", b"1")
    registry.put("release", cache_manifest(b"1"))
    before = tags_of(registry)
    assert before[gone] == before["release"]
    assert prune(registry, branches=set()) == {gone}
    assert tags_of(registry) == {"release": before["release"]}
    assert readable(registry) == {"release"}


@BOTH
def test_a_foreign_tag_of_the_same_label_stays(registry: MemoryRegistry, tag_deletes: bool) -> None:  # noqa: FBT001
    """A label shared by two tags of the same cache is kept until the last tag is removed."""
    registry.tag_deletes = tag_deletes
    gone = save(registry, "gone", b"1")
    shelf = registry.shelf()
    shelf.tags["shared"] = shelf.tags[gone]
    shelf.tags["shared.bxcache"] = shelf.tags[f"{gone}.bxcache"]
    before = tags_of(registry)
    assert prune(registry, branches=set(), keep=["shared"]) == {gone}
    assert tags_of(registry) == {tag: before[tag] for tag in ("shared", "shared.bxcache")}
    assert prune(registry, branches=set()) == {"shared"}
    assert tags_of(registry) == {}


def test_two_removed_scopes_may_share_a_manifest(registry: MemoryRegistry) -> None:
    """Removing two scopes with one manifest is not an error."""
    one, other = save(registry, "a", b"1"), save(registry, "b", b"1")
    assert prune(registry, branches=set()) == {one, other}
    assert tags_of(registry) == {}


def test_a_changed_tag_stays_with_its_label(registry: MemoryRegistry) -> None:
    """A tag that another client overwrote is kept with its label."""
    changed = save(registry, "gone", b"1", days=99)
    registry.put(changed, cache_manifest(b"2"))
    before = tags_of(registry)
    assert prune(registry, branches=set(), max_age=0) == set()
    assert tags_of(registry) == before


def test_a_label_that_is_written_meanwhile_stays(registry: MemoryRegistry) -> None:
    """A label that a build writes between listing and removal is kept."""
    gone = save(registry, "gone", b"1")
    saved: list[str] = []

    def build(asked: Asked) -> None:
        # The last request before the scope itself is deleted.
        if asked.method == "DELETE" and asked.path.endswith(registry.shelf().tags[gone]):
            saved.append(save(registry, "gone", b"2"))

    registry.interfere = build
    prune(registry, branches=set())
    assert saved == [gone]
    assert set(tags_of(registry)) == {gone, f"{gone}.bxcache"}
    written = registry.shelf().manifests[tags_of(registry)[f"{gone}.bxcache"]][1]
    found = parse_label(written)
    assert found is not None
    assert found.digest == digest_of(cache_manifest(b"2"))


@pytest.mark.parametrize("aliased", [False, True])
def test_a_registry_without_deletes_is_unchanged(
    registry: MemoryRegistry,
    aliased: bool,  # noqa: FBT001
) -> None:
    """A registry without deletes gives an error with advice and stays unchanged."""
    registry.deletes = False
    save(registry, "main", b"1")
    save(registry, "gone", b"1" if aliased else b"2")
    registry.put("latest", cache_manifest(b"3"))
    before = tags_of(registry)
    with pytest.raises(RegistryError) as caught:
        prune(registry, branches={"main"})
    assert tags_of(registry) == before
    assert readable(registry) == set(before)
    error = caught.value
    assert error.trouble is Trouble.REFUSED
    assert "nothing was removed" in error.cause
    assert "405 The operation is unsupported." in error.cause
    assert "REGISTRY_STORAGE_DELETE_ENABLED" in error.hint


def test_without_anything_to_remove_nothing_is_written(registry: MemoryRegistry) -> None:
    """If nothing is to be removed, not even the deletion check writes."""
    registry.deletes = False
    save(registry, "main", b"1")
    assert prune(registry, branches={"main"}) == set()
    assert {asked.method for asked in registry.asked} == {"GET"}


def test_a_dry_run_only_reads(registry: MemoryRegistry) -> None:
    """A dry run only reads, and its result equals that of a real run."""
    gone = save(registry, "gone", b"12", b"3")
    save(registry, "main", b"3")
    before = tags_of(registry)
    cache = RegistryCache(f"{registry.address}/app")
    tried = cache.prune(branches={"main"}, dry_run=True)
    assert {asked.method for asked in registry.asked} == {"GET"}
    assert tags_of(registry) == before
    assert [each.scope.tag for each in tried.removed] == [gone]
    assert cache.prune(branches={"main"}) == replace(tried, dry_run=False)
    # The layer `3` stays with the other scope.
    assert tried.freed_bytes == 2


@BOTH
@pytest.mark.parametrize("kind", ["refused", "cut"])
def test_an_interrupted_prune_keeps_scopes_whole(
    tag_deletes: bool,  # noqa: FBT001
    kind: str,
    effort: Effort,
) -> None:
    """After an interruption at any request, kept scopes are whole, and the next run finishes."""
    fault = refuse(500, "X", "the end") if kind == "refused" else Answer(200, b"x", cut=True)
    with MemoryRegistry() as registry:
        registry.tag_deletes = tag_deletes
        fill(registry)
        kept = {tag: d for tag, d in tags_of(registry).items() if tag in KEPT}
        mark = len(registry.asked)
        prune(registry, branches={"main"})
        asked = registry.asked[mark:]
        assert tags_of(registry) == kept
    assert len(asked) > 15
    for number, _ in choose(asked, kind_of_request, EVERY, effort=effort):
        with MemoryRegistry() as registry:
            registry.tag_deletes = tag_deletes
            fill(registry)
            left = [number - 1]

            def end(_: Asked, left: list[int] = left) -> Answer | None:
                left[0] -= 1
                return fault if left[0] < 0 else None

            registry.interfere = end
            with pytest.raises(RegistryError):
                prune(registry, branches={"main"})
            assert {tag: tags_of(registry).get(tag) for tag in KEPT} == kept
            assert readable(registry) == set(tags_of(registry))
            registry.interfere = lambda _: None
            prune(registry, branches={"main"})
            assert tags_of(registry) == kept
            assert readable(registry) == set(kept)


KEPT = {_tag("main"), f"{_tag('main')}.bxcache", "latest", "release"}


def fill(registry: MemoryRegistry) -> None:
    """Write one scope to keep, one alone, one alias of a kept one, and one with a foreign alias."""
    save(registry, "main", b"1")
    save(registry, "gone/alone", b"2")
    save(registry, "gone/alias", b"1", days=1)
    save(registry, "gone/named", b"3", days=2)
    registry.put("release", cache_manifest(b"3"))
    registry.put("latest", cache_manifest(b"4"))


@given(
    st.dictionaries(
        st.sampled_from(["main", "a", "b", "c", "d"]),
        st.tuples(st.sampled_from([b"1", b"2", b"3"]), st.integers(0, 60), st.booleans()),
    ),
    st.dictionaries(st.sampled_from(["latest", "v1", "x.y"]), st.sampled_from([b"1", b"2", b"9"])),
    st.sampled_from(["main", "a*", "*.b", "none"]),
    st.booleans(),
)
def test_prune_never_touches_anything_else(
    scopes: Mapping[str, tuple[bytes, int, bool]],
    foreign: Mapping[str, bytes],
    pattern: str,
    tag_deletes: bool,  # noqa: FBT001
) -> None:
    """With any sharing of manifests, pruning removes only its scopes, and other tags stay."""
    with MemoryRegistry() as registry:
        registry.tag_deletes = tag_deletes
        for branch, (layer, days, changed) in scopes.items():
            tag = save(registry, branch, layer, days=days)
            if changed:
                registry.put(tag, cache_manifest(b"changed"))
        for tag, layer in foreign.items():
            registry.put(tag, cache_manifest(layer))
        before = tags_of(registry)
        removed = prune(registry, branches={"main", "a"}, max_age=30 * DAY, keep=[pattern])
        gone = removed | {f"{tag}.bxcache" for tag in removed}
        assert gone <= before.keys()
        assert tags_of(registry) == {tag: d for tag, d in before.items() if tag not in gone}
        assert readable(registry) == before.keys() - gone


@pytest.mark.parametrize("access", ["basic", "bearer"])
def test_a_denied_prune_gives_advice_to_log_in(registry: MemoryRegistry, access: str) -> None:
    """A denied request gives the advice to log in, not the one about deletion."""
    save(registry, "gone", b"1")
    registry.access = access
    with pytest.raises(RegistryError) as caught:
        prune(registry, branches=set())
    assert caught.value.trouble is Trouble.DENIED
    assert "docker login" in caught.value.hint


def test_a_repository_has_a_name() -> None:
    """The tag of a reference is ignored, and an invalid reference is an error."""
    assert RegistryCache("r.example.com/app:main").name == "r.example.com/app"
    with pytest.raises(ValueError, match="lower case"):
        RegistryCache("r.example.com/App")


def test_a_label_of_another_cache_counts_as_changed(
    registry: MemoryRegistry, repository: Repository
) -> None:
    """A label with another digest than its tag counts as changed."""
    tag = save(registry, "main", b"1")
    registry.put(f"{tag}.bxcache", render_label(label(digest_of(b"other"))))
    (found,) = list_scopes(repository)
    assert found.changed


# Records.


def test_a_record_is_read_as_it_was_written(
    registry: MemoryRegistry, repository: Repository
) -> None:
    """A record is read as written; adding one writes a blob and a manifest."""
    digest = registry.put(_tag("main"), cache_manifest(b"layer"))
    write_label(repository, _tag("main"), label(digest), b"one\n")
    mark = len(registry.asked)
    before = read_label(repository, _tag("main"))
    assert before is not None
    write_label(repository, _tag("main"), before, b"two\n")
    written = [each.method for each in registry.asked[mark:] if each.method != "GET"]
    assert written == ["POST", "PUT", "PUT"]
    found = read_label(repository, _tag("main"))
    assert found is not None
    assert [repository.read_blob(each.digest) for each in found.records] == [b"two\n", b"one\n"]


def test_deleted_records_are_dropped_from_the_label(
    registry: MemoryRegistry, repository: Repository
) -> None:
    """Records that were deleted from the registry are dropped from the label."""
    digest = registry.put(_tag("main"), cache_manifest(b"layer"))
    write_label(repository, _tag("main"), label(digest), b"one\n")
    before = read_label(repository, _tag("main"))
    assert before is not None
    registry.shelf().blobs.clear()
    write_label(repository, _tag("main"), before, b"two\n")
    found = read_label(repository, _tag("main"))
    assert found is not None
    assert [repository.read_blob(each.digest) for each in found.records] == [b"two\n"]


def test_a_missing_blob_is_none(repository: Repository) -> None:
    """A missing blob (404, by the spec) is None."""
    assert repository.read_blob(digest_of(b"nothing")) is None
