"""A directory of plain buildx is adopted as a store in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bxcache.errors import StoreError
from bxcache.store.staging import draw_name
from bxcache.store.store import Store
from tests.support.layouts import (
    LAYER_TYPE,
    MANIFEST_TYPE,
    REF_NAME,
    blob_file,
    blobs_of,
    build,
    damage,
    digest_of,
    export,
    put_blob,
    write_index,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the result of two exports of plain buildx, where the first one's layers are dead."""
    path = tmp_path / "cache"
    path.mkdir()
    export(path, "latest", b"base", b"old")
    export(path, "latest", b"base", b"new")
    (path / "ingest" / "0123").mkdir(parents=True)
    (path / "ingest" / "0123" / "data").write_bytes(b"part")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_adopted_directory_is_a_store(folder: Path) -> None:
    """The tags become scopes that can be imported, and a collection drops what no tag needs."""
    adopted = Store(folder).adopt()
    assert adopted.scopes == ("latest",)
    assert not adopted.notes
    assert adopted.dead_bytes > len(b"old")
    assert blob_file(folder, b"old").exists()
    store = Store(folder)
    store.check()
    with store.snapshot(draw_name(), ["image.linux-amd64", "latest"]) as staging:
        assert staging.donors
        assert blob_file(staging.path, b"new").exists()
    assert store.collect().freed_bytes == adopted.dead_bytes
    assert not blob_file(folder, b"old").exists()
    assert not (folder / "ingest").exists()
    assert not store.verify(full=True).damages


def test_adopting_twice_changes_nothing(folder: Path) -> None:
    """Adopting a store changes nothing."""
    Store(folder).adopt()
    before = contents(folder)
    assert Store(folder).adopt().scopes == ("latest",)
    assert {k: v for k, v in contents(folder).items() if "holder" not in k} == {
        k: v for k, v in before.items() if "holder" not in k
    }


def test_an_unadopted_directory_is_refused_with_the_command(folder: Path) -> None:
    """Without adoption, the directory is refused, and the hint names the command."""
    with pytest.raises(StoreError, match="cache of plain buildx") as caught:
        Store(folder).check()
    assert f'`Store("{folder}").adopt()`' in caught.value.hint


def test_broken_layers_are_cut_out(folder: Path) -> None:
    """Broken layers are cut out, as in any store."""
    damage(blob_file(folder, b"new"), "short")
    adopted = Store(folder).adopt()
    assert adopted.scopes == ("latest",)
    assert "1 layer of the scope `latest` is broken" in adopted.notes[0]
    assert not Store(folder).verify(full=True).damages


def test_tags_of_plain_buildx_in_a_store_are_scopes(tmp_path: Path) -> None:
    """Tags that plain buildx exported to a store are scopes like the others."""
    store = Store(tmp_path / "store")
    build(store, "app", b"one")
    export(store.path, "latest", b"by hand")
    assert set(store.read_scopes()) == {"app", "latest"}
    store.collect(max_age=1000)
    assert set(store.read_scopes()) == {"app", "latest"}
    assert blob_file(store.path, b"by hand").exists()


def _image(path: Path) -> None:
    config = put_blob(path, b"{}", "application/vnd.oci.image.config.v1+json")
    layer = put_blob(path, b"layer")
    document = {"schemaVersion": 2, "config": config, "layers": [layer]}
    write_index(path, {"latest": put_blob(path, json.dumps(document).encode(), MANIFEST_TYPE)})


def _tag(name: str, **fields: Any) -> Any:  # noqa: ANN401
    def make(path: Path) -> None:
        plain = {"mediaType": MANIFEST_TYPE, "digest": digest_of(b"x"), "size": 1}
        entry = {**plain, **fields, "annotations": {REF_NAME: name}}
        (path / "index.json").write_text(json.dumps({"manifests": [entry]}))

    return make


def _link_blobs(path: Path) -> None:
    (path / "blobs").rename(path.parent / "elsewhere")
    (path / "blobs").symlink_to(path.parent / "elsewhere")


REFUSED = {
    "an image": (_image, "not a build cache"),
    "no index": (lambda path: (path / "index.json").unlink(), "has no `index.json`"),
    "a torn index": (
        lambda path: (path / "index.json").write_text('{"manif'),
        "is not a valid index",
    ),
    "a tag that is no tag": (_tag("../x"), "is not a valid scope name"),
    "a tag that is empty": (_tag(""), "is not a valid scope name"),
    "a digest that is a path": (_tag("x", digest="../../etc"), "is not a valid index"),
    "something else besides": (lambda path: (path / "thesis.txt").touch(), "contains `thesis.txt`"),
    "blobs that are elsewhere": (_link_blobs, "is a link"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_failed_adoption_changes_nothing(case: str, folder: Path) -> None:
    """A directory that cannot be adopted gives one error and stays unchanged."""
    change, message = REFUSED[case]
    change(folder)
    before = contents(folder.parent)
    with pytest.raises(StoreError, match=message):
        Store(folder).adopt()
    assert contents(folder.parent) == before


def test_every_obstacle_is_reported_at_once(folder: Path) -> None:
    """The error lists all obstacles, not only the first."""
    plain = {"mediaType": LAYER_TYPE, "digest": digest_of(b"x"), "size": 1}
    entries = [{**plain, "annotations": {REF_NAME: name}} for name in ("a/b", "c d")]
    (folder / "index.json").write_text(json.dumps({"manifests": entries}))
    with pytest.raises(StoreError) as caught:
        Store(folder).adopt()
    assert "'a/b'" in caught.value.message
    assert "'c d'" in caught.value.message


def test_a_directory_without_an_index_is_not_a_cache(tmp_path: Path) -> None:
    """A directory without an index is not a buildx cache, even if it is empty."""
    with pytest.raises(StoreError, match="not a buildx cache"):
        Store(tmp_path).adopt()
    assert not blobs_of_nothing(tmp_path)


def blobs_of_nothing(path: Path) -> set[str]:
    return blobs_of(path) if (path / "blobs").exists() else set()
