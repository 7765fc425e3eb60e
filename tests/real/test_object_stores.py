"""What bxcache itself asks of S3 and Azure Blob Storage, of real servers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import uuid4

import pytest

from bxcache.config.services import AzblobSettings, S3Settings
from bxcache.errors import Trouble
from bxcache.services.azure import open_container
from bxcache.services.faults import ServiceError
from bxcache.services.s3 import open_bucket
from bxcache.services.service import Service
from tests.engines.object_stores import ACCOUNT, ACCOUNT_KEY, BUCKET, S3, Azure

SCOPE = "image.linux-amd64.main"


@dataclass(frozen=True)
class Shop:
    """A server with clients of the library for it: one with its credentials, and others."""

    server: S3 | Azure
    prefix: str

    def open(self, secret: str | None, bucket: str = BUCKET) -> Service:
        """Open it with a secret; None for a client without any credentials."""
        if isinstance(self.server, S3):
            return self._open_bucket(secret, bucket)
        settings = AzblobSettings(
            type="azblob",
            account_url=self.server.url,
            account_name=ACCOUNT,
            prefix=self.prefix,
            container="buildkit-cache" if bucket == BUCKET else bucket,
        )
        return open_container(settings, "azblob", {"AZURE_STORAGE_KEY": secret} if secret else {})

    def _open_bucket(self, secret: str | None, bucket: str) -> Service:
        settings = S3Settings(
            type="s3",
            bucket=bucket,
            prefix=f"{self.prefix}/",
            endpoint_url=self.server.url,
            use_path_style=True,
        )
        job = {**self.server.job, "AWS_SECRET_ACCESS_KEY": secret or ""}
        own = job if secret else {"HOME": "/nonexistent"}
        return open_bucket(settings, "s3", "us-east-1", own)

    @property
    def own(self) -> Service:
        """It, with its credentials."""
        given = self.server.job
        return self.open(given.get("AWS_SECRET_ACCESS_KEY") or ACCOUNT_KEY)


@pytest.fixture(params=["s3", "azure"])
def shop(request: pytest.FixtureRequest) -> Shop:
    """A server of each kind, with a folder of the test's own."""
    server = request.getfixturevalue(request.param)
    if isinstance(server, Azure):
        server.make_container("buildkit-cache")
    return Shop(server, uuid4().hex)


def test_a_scope_is_read_as_it_was_written(shop: Shop) -> None:
    """A scope is absent before its first save, and then what was saved last."""
    own = shop.own
    assert own.read(SCOPE) is None
    for data in (b"first", b"second"):
        own.write(SCOPE, data)
        found = own.read(SCOPE)
        assert found is not None
        assert (found.data, found.modified is not None) == (data, True)
    assert own.list_scopes() == [SCOPE]


def test_a_container_that_does_not_exist_has_no_scope(shop: Shop) -> None:
    """Nothing is an error before the first save, which makes the container."""
    given = shop.server.job
    absent = shop.open(given.get("AWS_SECRET_ACCESS_KEY") or ACCOUNT_KEY, "absent")
    assert (absent.read(SCOPE), absent.list_scopes()) == (None, [])


@pytest.mark.parametrize("secret", [None, "d3Jvbmc="], ids=["no credentials", "wrong credentials"])
def test_without_access_a_scope_is_unknown(shop: Shop, secret: str | None) -> None:
    """Without valid credentials, whether a scope exists is not known, and the error says why."""
    shop.own.write(SCOPE, b"data")
    with pytest.raises(ServiceError, match="403 Forbidden") as caught:
        shop.open(secret).read(SCOPE)
    assert caught.value.trouble is Trouble.DENIED
    assert "\n" not in str(caught.value)


def test_damaged_layers_are_removed(shop: Shop) -> None:
    """Layers of another size, and suspects with other bytes, are removed; all others stay."""
    own, digests = shop.own, [f"sha256:{number:064}" for number in range(4)]
    intact = f"sha256:{hashlib.sha256(b'12345').hexdigest()}"
    for digest in (*digests[:3], intact):
        shop.server.store.put(f"{shop.prefix}/blobs/{digest}", b"12345")
    sizes = {digests[0]: 5, digests[1]: 6, digests[2]: 5, digests[3]: 5, intact: 5}
    assert own.remove_damaged(sizes, {digests[2], intact}) == 2
    found = next(iter(shop.server.store.list(f"{shop.prefix}/blobs")), ())
    left = {each["path"].rpartition("/")[2] for each in found}
    assert left == {digests[0], intact}
