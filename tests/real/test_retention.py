"""Pruning scopes in docker's own registry, which cannot delete a tag by itself."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from bxcache.errors import RegistryError, Trouble
from bxcache.place.scope import Owner, Scope
from bxcache.registry.labels import Label
from bxcache.registry.registry_cache import RegistryCache
from bxcache.registry.scopes import write_label
from tests.engines import Registry
from tests.real.conftest import _required
from tests.support.registries import CACHE_CONFIG, MANIFEST, cache_manifest, digest_of

DAY = 86_400
CONFIG = b'{"layers":[]}'
ACCEPT = f"{MANIFEST}, application/vnd.oci.image.index.v1+json"


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without a login."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)


@pytest.fixture(scope="module")
def undeleting() -> Iterator[Registry]:
    """A registry in docker's default configuration, which does not delete."""
    with ExitStack() as stack:
        with _required():
            started = stack.enter_context(Registry(deletes=False))
        yield started


class Repository:
    """A repository, read and filled through its API without bxcache."""

    def __init__(self, registry: Registry, name: str) -> None:
        self.registry = registry
        self.name = name
        self.cache = RegistryCache(f"{registry.address}/{name}")

    def send(
        self, method: str, path: str, body: bytes = b"", kind: str = ""
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        headers = {"Accept": ACCEPT, **({"Content-Type": kind} if kind else {})}
        with closing(http.client.HTTPConnection(self.registry.address, timeout=30)) as connection:
            connection.request(method, path, body or None, headers)
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()

    def put_blob(self, data: bytes) -> None:
        _, headers, _ = self.send("POST", f"/v2/{self.name}/blobs/uploads/")
        target = headers["Location"].partition(self.registry.address)[2]
        status, _, _ = self.send("PUT", f"{target}&digest={digest_of(data)}", data)
        assert status == 201

    def put(self, tag: str, *layers: bytes) -> str:
        """Write a cache with these layers under a tag."""
        for data in (CONFIG, *layers):
            self.put_blob(data)
        body = cache_manifest(*layers)
        assert json.loads(body)["config"]["mediaType"] == CACHE_CONFIG
        status, _, said = self.send("PUT", f"/v2/{self.name}/manifests/{tag}", body, MANIFEST)
        assert status == 201, said
        return digest_of(body)

    def save(self, branch: str, *layers: bytes, days: float = 0) -> str:
        """Write a scope as a build does, and return its tag."""
        scope = Scope("image", None, ("linux/amd64",), Owner.of_branch(branch))
        digest = self.put(scope.name, *layers)
        used = 1_700_000_000.0 - days * DAY
        write_label(self.cache._repository, scope.name, Label(scope, digest, used, used))
        return scope.name

    def tags(self) -> dict[str, str]:
        """Every tag with its manifest's digest, after checking that all blobs exist."""
        _, _, body = self.send("GET", f"/v2/{self.name}/tags/list")
        found = {}
        for tag in json.loads(body).get("tags") or ():
            status, _, manifest = self.send("GET", f"/v2/{self.name}/manifests/{tag}")
            assert status == 200, tag
            found[tag] = digest_of(manifest)
            for blob in (json.loads(manifest)["config"], *json.loads(manifest)["layers"]):
                status, _, _ = self.send("HEAD", f"/v2/{self.name}/blobs/{blob['digest']}")
                assert status == 200, tag
        return found


@pytest.fixture
def repository(registry: Registry, tmp_path: Path) -> Repository:
    """A new repository in the registry that all tests share."""
    return Repository(registry, tmp_path.name.lower())


def removed(repository: Repository, *branches: str) -> set[str]:
    found = repository.cache.prune(branches=branches)
    return {each.scope.tag for each in found.removed}


def test_pruning_a_scope_keeps_everything_else(repository: Repository) -> None:
    """Pruning removes a scope, and every other tag keeps its digest."""
    kept = repository.save("main", b"1")
    gone = repository.save("gone", b"2")
    repository.put("latest", b"3")
    before = repository.tags()
    assert removed(repository, "main") == {gone}
    assert repository.tags() == {t: before[t] for t in (kept, f"{kept}.bxcache", "latest")}
    assert removed(repository, "main") == set()


def test_scopes_are_listed_as_they_were_written(repository: Repository) -> None:
    """Scopes are listed with their layers as written."""
    tag = repository.save("feature/ü", b"12", b"345")
    repository.put("latest", b"3")
    (found,) = repository.cache.list_scopes()
    assert (found.tag, str(found.label.scope.owner)) == (tag, "feature/ü")
    assert found.layers == {digest_of(b"12"): 2, digest_of(b"345"): 3}
    assert not found.changed
    assert not found.lost


def test_an_alias_outlives_the_other(repository: Repository) -> None:
    """Removing one of two tags of a manifest keeps the manifest."""
    kept, gone = repository.save("main", b"1"), repository.save("gone", b"1")
    before = repository.tags()
    assert before[kept] == before[gone]
    assert removed(repository, "main") == {gone}
    assert repository.tags() == {tag: before[tag] for tag in (kept, f"{kept}.bxcache")}


def test_a_scope_is_removed_by_its_tag(repository: Repository) -> None:
    """Removing a scope by its tag keeps other scopes, and the manifest that it shares with one."""
    kept, gone = repository.save("main", b"1"), repository.save("gone", b"1")
    repository.put("latest", b"3")
    before = repository.tags()
    assert repository.cache.remove(gone, "latest", dry_run=True).removed
    assert repository.tags() == before
    found = repository.cache.remove(gone, "latest")
    assert [each.scope.tag for each in found.removed] == [gone]
    assert found.freed_bytes == 0
    assert repository.tags() == {t: before[t] for t in (kept, f"{kept}.bxcache", "latest")}


def test_a_foreign_tag_of_the_same_manifest_stays(repository: Repository) -> None:
    """Another client's tag of the same manifest is kept."""
    repository.save("gone", b"1")
    repository.save("gone/too", b"1")
    repository.put("release", b"1")
    digest = repository.tags()["release"]
    assert len(removed(repository)) == 2
    assert repository.tags() == {"release": digest}


def test_every_tag_is_listed(repository: Repository) -> None:
    """Every tag is listed, although this registry does not have pages."""
    tags = [repository.save(f"b{number}", b"1", days=number) for number in range(5)]
    listed = [*tags, *(f"{tag}.bxcache" for tag in tags)]
    assert sorted(repository.cache._repository.list_tags()) == sorted(listed)
    assert [scope.tag for scope in repository.cache.list_scopes()] == sorted(tags)


@pytest.mark.engine
def test_a_registry_without_deletes_is_left_as_it_is(undeleting: Registry) -> None:
    """A registry without deletes stays unchanged, and the error has advice."""
    repository = Repository(undeleting, "app")
    for branch, layer in (("main", b"1"), ("alias", b"1"), ("gone", b"2")):
        repository.save(branch, layer)
    repository.put("latest", b"3")
    before = repository.tags()
    assert len(before) == 7
    with pytest.raises(RegistryError) as caught:
        removed(repository, "main")
    assert repository.tags() == before
    assert caught.value.trouble is Trouble.REFUSED
    assert "nothing was removed" in caught.value.cause
    assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in caught.value.hint


def test_a_dry_run_changes_nothing(repository: Repository) -> None:
    """A dry run only reads."""
    gone = repository.save("gone", b"1")
    before = repository.tags()
    since = len(repository.registry.requests())
    tried = repository.cache.prune(branches=[], dry_run=True)
    assert {asked.method for asked in repository.registry.requests(since)} <= {"GET", "HEAD"}
    assert [each.scope.tag for each in tried.removed] == [gone]
    assert repository.tags() == before


def test_a_prune_that_was_cut_short_is_finished(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prune interrupted at any request is finished by the next one, on the same repository."""
    kept = repository.save("main", b"1")
    repository.save("gone/alone", b"2")
    repository.save("gone/alias", b"1", days=1)
    repository.save("gone/named", b"3", days=2)
    repository.put("release", b"3")
    before = repository.tags()
    expected = {tag: before[tag] for tag in (kept, f"{kept}.bxcache", "release")}
    ask = repository.cache._repository._connection.ask
    for last in range(1000):
        left = iter(range(last))

        def end(query: object, left: Iterator[int] = left) -> object:
            if next(left, None) is None:
                raise RegistryError("r", "asking", "the end", trouble=Trouble.SICK)
            return ask(query)  # type: ignore[arg-type]  # whatever it was given

        with monkeypatch.context() as patch:
            patch.setattr(repository.cache._repository._connection, "ask", end)
            try:
                removed(repository, "main")
            except RegistryError:
                found = repository.tags()
                assert {tag: found.get(tag) for tag in expected} == expected
            else:
                break
    assert repository.tags() == expected
