"""Tests that the history of a scope is found, or that an error lists what is known instead."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from bxcache.config.reference import Reference
from bxcache.config.wording import Speech, speaking
from bxcache.errors import RecordError, RegistryError
from bxcache.insight.find import find_history, find_report
from bxcache.insight.history_request import HistoryRequest
from bxcache.insight.record import Record
from bxcache.insight.record_parts import (
    RecordedCache,
    RecordedLayer,
    RecordedScope,
    RecordedStage,
    RecordedStep,
)
from bxcache.place.scope import Owner, Scope, guess_platform
from bxcache.registry.labels import EMPTY, Label
from bxcache.registry.repository import open_repository
from bxcache.registry.scopes import read_label, write_label
from tests.support.layouts import build, digest_of, export
from tests.support.registries import MemoryRegistry, cache_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bxcache.store.store import Store

HERE = guess_platform()


def scope(branch: str | None = None, *, image: str = "image", target: str | None = None) -> Scope:
    return Scope(image, target, (HERE,), Owner.of_branch(branch))


def record(
    whose: Scope,
    *layers: bytes,
    status: int = 0,
    started: float = 1.0,
    caches: tuple[RecordedCache, ...] = (),
) -> bytes:
    """Make the record of a build of one stage."""
    steps = tuple(
        RecordedStep(
            text=f"RUN {number}",
            lines=(number + 2,),
            layers=(RecordedLayer(digest=digest_of(layer), size=len(layer)),),
            parent=number - 1 if number else None,
        )
        for number, layer in enumerate(layers)
    )
    return Record(
        version=1,
        scope=RecordedScope(name=whose.name, image=whose.image, platforms=whose.platforms),
        started=started,
        seconds=1.0,
        exit_status=status,
        steps=steps,
        stages=(RecordedStage(name="build", line=1, base="scratch"),),
        caches=caches,
    ).to_json()


def saved(place: str, *missing: bytes) -> RecordedCache:
    """Describe a store to which all layers except some were saved."""
    unsaved = tuple(map(digest_of, missing))
    return RecordedCache(backend="local", place=place, scope="app", unsaved=unsaved)


@pytest.fixture
def project(store: Store, tmp_path: Path) -> Path:
    """A folder that is a project of its own, with a config file that names the store."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "bxcache.toml").write_text(
        f'[[cache.backends]]\ntype = "local"\ndir = "{store.path}"\n[images.api]\n'
    )
    return folder


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryRegistry]:
    """An empty registry, and a user without a login."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    with MemoryRegistry() as started:
        yield started


def keep(store: Store, whose: Scope, *layers: bytes, **told: Any) -> None:  # noqa: ANN401
    """Leave in a store what a build leaves there."""
    build(store, whose.name, *layers)
    store.add_record(whose.name, record(whose, *layers, **told))


def push(registry: MemoryRegistry, whose: Scope, *layers: bytes) -> None:
    """Leave in the registry's repository `app` what a build leaves there."""
    digest = registry.put(whose.name, cache_manifest(*layers))
    config = b'{"layers":[]}'
    registry.shelf().blobs |= {digest_of(EMPTY): EMPTY, digest_of(config): config}
    repository = open_repository(Reference(f"{registry.address}/app"), {}, insecure=False)
    label = Label(whose, digest, 1.0, 1.0)
    write_label(repository, whose.name, label, record(whose, *layers))


def digests(history: Any) -> list[str]:  # noqa: ANN401
    return [layer.digest for stage in history.stages for layer in stage.layers]


def test_the_own_image_is_found_without_a_name(store: Store, project: Path) -> None:
    """The config file, the folder and the branch select the image, as in a build."""
    keep(store, scope(), b"one", b"two")
    keep(store, scope(image="api"), b"three")
    history = find_history(HistoryRequest(directory=project))
    assert history.scope == scope().name
    assert digests(history) == [digest_of(b"one"), digest_of(b"two")]
    assert history.notes == ()
    api = find_history(HistoryRequest(name="api", directory=project))
    assert digests(api) == [digest_of(b"three")]


def test_a_scope_is_found_by_its_name(store: Store, project: Path) -> None:
    """A scope is found by its name, whatever the current branch is."""
    keep(store, scope("main"), b"one")
    history = find_history(HistoryRequest(name=scope("main").name, directory=project))
    assert digests(history) == [digest_of(b"one")]
    again = find_history(HistoryRequest(branch="main", directory=project))
    assert again.stages == history.stages


def test_a_branch_without_a_build_has_the_history_of_its_donor(
    store: Store, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A branch without a build gets the default branch's history, with a note."""
    monkeypatch.setenv("BXCACHE_PLACE_BRANCH", "topic")
    monkeypatch.setenv("BXCACHE_PLACE_DEFAULT", "main")
    keep(store, scope("main"), b"one")
    history = find_history(HistoryRequest(directory=project))
    assert history.scope == scope("main").name
    assert "no build of this branch is known" in history.notes[0]


@pytest.mark.parametrize(
    "whose",
    [
        Scope("image", "test", (HERE,)),
        Scope("image", None, ("linux/riscv64",)),
        Scope("image", "test", ("linux/riscv64", "linux/s390x")),
    ],
    ids=lambda each: each.name,
)
def test_the_only_target_or_platform_that_was_built_is_found(
    store: Store, project: Path, whose: Scope
) -> None:
    """The only target or platform that was built is found without being named."""
    keep(store, whose, b"one")
    keep(store, Scope("images", None, (HERE,)), b"other image")
    keep(store, scope("another-branch"), b"other branch")
    assert find_history(HistoryRequest(directory=project)).scope == whose.name


def test_a_target_is_distinguished_from_the_whole_image(store: Store, project: Path) -> None:
    """A target and the whole image have separate scopes."""
    keep(store, scope(), b"one")
    keep(store, scope(target="test"), b"two")
    assert digests(find_history(HistoryRequest(directory=project))) == [digest_of(b"one")]
    test = find_history(HistoryRequest(target="test", directory=project))
    assert digests(test) == [digest_of(b"two")]


def test_earlier_builds_are_found_by_their_distance(store: Store, project: Path) -> None:
    """`~N` counts back from the last build and skips failed builds."""
    for number in range(3):
        keep(store, scope(), f"{number}".encode())
        store.add_record(scope().name, record(scope(), b"failed", status=1, started=number))
    for back, layer in {"": b"2", "~0": b"2", "~": b"1", "~1": b"1", "~2": b"0"}.items():
        failed = 3 - int(layer)
        history = find_history(HistoryRequest(name=back or None, directory=project))
        assert digests(history) == [digest_of(layer)], back
        builds = "1 later build" if failed == 1 else f"{failed} later builds"
        assert history.notes[0] == f"{builds} failed and saved nothing"
    named = find_history(HistoryRequest(name=f"{scope().name}~1", directory=project))
    assert digests(named) == [digest_of(b"1")]
    with pytest.raises(RecordError, match="no more than 3 builds"):
        find_history(HistoryRequest(name="~3", directory=project))


def test_a_failed_build_is_shown_if_there_is_no_other(store: Store, project: Path) -> None:
    """A failed build is shown, with a note, if there is no other build."""
    store.add_record(scope().name, record(scope(), status=1))
    history = find_history(HistoryRequest(directory=project))
    assert history.record is not None
    assert history.record.exit_status == 1
    assert "failed" in history.notes[0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{\n", "is damaged"),
        (b'{"version":1}\n', "is damaged: scope"),
        (b'{"version":2,"anything":1}\n', "has version 2"),
    ],
)
def test_an_unusable_record_is_an_error(
    store: Store, project: Path, line: bytes, expected: str
) -> None:
    """An unusable record is an error that names the cause; the build before it can be read."""
    keep(store, scope(), b"one")
    store.add_record(scope().name, line)
    with pytest.raises(RecordError, match=expected):
        find_history(HistoryRequest(directory=project))
    assert digests(find_history(HistoryRequest(name="~1", directory=project)))


def test_missing_layers_are_reported(store: Store, project: Path) -> None:
    """Layers that the store evicted or whose file was removed are reported as evicted."""
    keep(store, scope(), b"one", b"two", b"three" * 9, caches=(saved("/moved"),))
    (store.path / "blobs" / "sha256" / digest_of(b"two")[7:]).unlink()
    history = find_history(HistoryRequest(directory=project))
    evicted = [history.is_evicted(layer) for layer in history.stages[0].layers]
    assert evicted == [False, True, False]


@pytest.mark.parametrize(
    ("caches", "state", "note"),
    [
        ((), "absent", "the cache has none of these layers"),
        ((saved("/a"), saved("/b", b"one")), "absent", "the cache has none of these layers"),
        ((saved("/a"), saved("STORE", b"one")), "not saved", "the build saved nothing"),
        ((saved("/moved"),), "evicted", "the cache is gone"),
    ],
)
def test_a_cache_without_any_of_the_layers_is_explained(
    store: Store, project: Path, caches: tuple[RecordedCache, ...], state: str, note: str
) -> None:
    """Layers count as evicted only if the record shows that they were saved."""
    known = (
        each.model_copy(update={"place": each.place.replace("STORE", str(store.path))})
        for each in caches
    )
    store.add_record(scope().name, record(scope(), b"one", caches=tuple(known)))
    history = find_history(HistoryRequest(directory=project))
    assert [history.find_state(layer) for layer in history.stages[0].layers] == [state]
    assert history.notes[0].startswith(note)


@pytest.mark.parametrize(
    ("why", "note"),
    [("no reason", "the layers are not known: no reason"), ("", "the record does not say why")],
)
def test_the_reason_for_unknown_layers_is_given(
    store: Store, project: Path, why: str, note: str
) -> None:
    """A note gives the recorded reason, and does not blame a version of buildx."""
    data = json.loads(record(scope(), b"one"))
    data |= {"steps": [{"text": "RUN x"}], "why_unknown": why, "tools": {"buildx": "0.29.1"}}
    store.add_record(scope().name, json.dumps(data).encode() + b"\n")
    [said] = find_history(HistoryRequest(directory=project)).notes
    assert note in said
    assert "0.14" not in said


def test_a_scope_without_a_record_has_its_chains(store: Store, project: Path) -> None:
    """Without a record the chains come from the cache config, and `~1` and platforms are errors."""
    build(store, scope().name, b"one", b"two", chains=[(b"one", b"three"), (b"four",)])
    history = find_history(HistoryRequest(directory=project))
    chains = {tuple(layer.digest for layer in chain.layers) for chain in history.chains}
    assert chains == {
        tuple(map(digest_of, each)) for each in ((b"one", b"two"), (b"one", b"three"), (b"four",))
    }
    with pytest.raises(RecordError, match=r"no build of .* left a record"):
        find_history(HistoryRequest(name="~1", directory=project))
    with pytest.raises(RecordError, match="has no record"):
        find_history(HistoryRequest(platform=HERE, directory=project))


def test_a_layout_of_plain_buildx_is_read(tmp_path: Path, project: Path) -> None:
    """A layout of plain buildx is read by its usual tag, a named tag, or its only tag."""
    plain = tmp_path / "plain"
    export(plain, "latest", b"one", b"two")
    request = HistoryRequest(source=str(plain), directory=project, with_places=True)
    history = find_history(request)
    assert [layer.size for layer in history.chains[0].layers] == [3, 3]
    path = plain / "blobs" / "sha256" / digest_of(b"one")[7:]
    assert history.places[digest_of(b"one")] == str(path)
    export(plain, "other", b"three")
    assert find_history(request).scope == "latest"
    named = HistoryRequest(name="other", source="plain", directory=tmp_path)
    assert digest_of(b"three") == find_history(named).chains[0].layers[0].digest


def test_a_store_is_read_by_its_directory_alone(store: Store, tmp_path: Path) -> None:
    """A store is read outside a project if it has one scope; with two, the error lists both."""
    keep(store, scope("main"), b"one")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    request = HistoryRequest(source=str(store.path), directory=elsewhere)
    assert find_history(request).scope == scope("main").name
    keep(store, scope("topic"), b"two")
    with pytest.raises(RecordError) as caught:
        find_history(request)
    assert all(scope(each).name in caught.value.hint for each in ("main", "topic"))


def test_a_registry_yields_the_same_history_as_a_store(
    store: Store, project: Path, registry: MemoryRegistry
) -> None:
    """A registry yields the same history as a store; a layer's place is in the repository."""
    keep(store, scope(), b"one", b"two")
    push(registry, scope(), b"one", b"two")
    ref = f"{registry.address}/app"
    here = find_history(HistoryRequest(directory=project))
    for source in (ref, f"{ref}:{scope().name}"):
        there = find_history(HistoryRequest(source=source, directory=project, with_places=True))
        assert (there.stages, there.record) == (here.stages, here.record)
        assert there.places[digest_of(b"one")] == f"{ref}@{digest_of(b'one')}"


def test_the_backends_are_searched_in_their_order(
    store: Store, project: Path, registry: MemoryRegistry
) -> None:
    """The first backend with a record is used, and later ones get no requests."""
    push(registry, scope(), b"one")
    config = project / "bxcache.toml"
    ref = f'[[cache.backends]]\ntype = "registry"\nref = "{registry.address}/app"\n'
    config.write_text(config.read_text().replace("[images.api]", ref))
    assert find_history(HistoryRequest(directory=project)).source == f"{registry.address}/app"
    build(store, scope().name, b"one")
    assert find_history(HistoryRequest(directory=project)).record is not None
    keep(store, scope(), b"one")
    asked = len(registry.asked)
    assert find_history(HistoryRequest(directory=project)).source == str(store.path)
    assert len(registry.asked) == asked


def test_a_tag_without_a_label_has_its_chains(registry: MemoryRegistry, project: Path) -> None:
    """A cache that plain buildx pushed is read from its config."""
    config = json.dumps({"layers": [{"blob": digest_of(b"one"), "parent": -1}]}).encode()
    manifest = json.loads(cache_manifest(b"one"))
    manifest["config"] |= {"digest": digest_of(config), "size": len(config)}
    registry.put("latest", json.dumps(manifest).encode())
    registry.shelf().blobs[digest_of(config)] = config
    for source in (f"{registry.address}/app", f"{registry.address}/app:latest"):
        history = find_history(HistoryRequest(source=source, directory=project.parent))
        assert [each.digest for each in history.chains[0].layers] == [digest_of(b"one")]


def test_an_image_is_not_a_cache(registry: MemoryRegistry, project: Path) -> None:
    """A tag that is not a cache is an error, which suggests that it is an image."""
    registry.put("latest", b'{"schemaVersion":2,"layers":[]}')
    request = HistoryRequest(source=f"{registry.address}/app:latest", directory=project)
    with pytest.raises(RecordError, match="it may be an image"):
        find_history(request)


def test_a_changed_blob_is_not_a_record(registry: MemoryRegistry, project: Path) -> None:
    """A record whose blob does not match its digest is an error."""
    push(registry, scope(), b"one")
    repository = open_repository(Reference(f"{registry.address}/app"), {}, insecure=False)
    label = read_label(repository, scope().name)
    assert label is not None
    registry.shelf().blobs[label.records[0].digest] = record(scope(), b"other")
    request = HistoryRequest(source=f"{registry.address}/app", directory=project)
    with pytest.raises(RegistryError, match="does not match its digest"):
        find_history(request)


@pytest.mark.parametrize(
    ("request_", "expected", "hint"),
    [
        ({"name": "nothing"}, "no build of `nothing` is known in `", "`image."),
        ({"target": "nothing"}, "no build of `image` is known", "`image."),
        ({"source": "stor"}, "there is no directory `", ""),
        ({"source": "./a/b"}, "there is no directory `", ""),
        ({"source": "Not/A:Ref!"}, "is not a directory, and as a reference", ""),
        ({"platform": "linux/none"}, "not for the platform `linux/none`", f"`{HERE}`"),
    ],
    ids=str,
)
def test_a_missing_name_is_an_error_with_the_known_ones(
    store: Store, project: Path, request_: dict[str, Any], expected: str, hint: str
) -> None:
    """A name that is not found is an error, whose hint lists the known names."""
    keep(store, scope(), b"one")
    with pytest.raises(RecordError) as caught:
        find_history(HistoryRequest(**request_, directory=project))
    assert expected in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("whose", "words"),
    [
        (scope(image="sub"), "sub"),
        (scope(image="services/api"), "services/api"),
        # The scope of another branch is not found by the image alone.
        (scope("topic", image="sub"), scope("topic", image="sub").name),
        (scope(image="my_app"), scope(image="my_app").name.partition(".")[0]),
    ],
    ids=str,
)
def test_a_command_is_suggested_for_another_image(
    store: Store, project: Path, whose: Scope, words: str
) -> None:
    """The command in the hint works as it is."""
    keep(store, whose, b"one")
    request = HistoryRequest(directory=project)
    for find, command in ((find_history, "history"), (find_report, "report")):
        with pytest.raises(RecordError) as caught, speaking(Speech.SHELL):
            find(request)
        assert f"`bxcache {command} {words}` shows another image" in caught.value.hint
        find(replace(request, name=words))


def test_a_project_without_builds_gets_a_hint(project: Path) -> None:
    """Without any build, the hint suggests `bxcache build`."""
    with pytest.raises(RecordError) as caught, speaking(Speech.SHELL):
        find_history(HistoryRequest(directory=project))
    assert "bxcache build" in caught.value.hint


def test_an_inline_cache_keeps_no_records(project: Path) -> None:
    """A project with only an inline cache, which keeps no records, gets an error."""
    (project / "bxcache.toml").write_text(
        '[[cache.backends]]\ntype = "inline"\nref = "r.example.com/app:main"\n'
    )
    with pytest.raises(
        RecordError, match="the configuration declares no backend that keeps records"
    ):
        find_history(HistoryRequest(directory=project))
