"""The backends in cache services: their attributes, credentials, and the caches of the caller."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from bxcache.backends.base import Candidate, Wish
from bxcache.backends.service import ServiceBackend
from bxcache.buildx.capabilities import Builder, Capabilities, Node
from bxcache.buildx.option_text import parse_options
from bxcache.config.backends import SETTINGS
from bxcache.config.models import Config
from bxcache.config.problems import find_invalid
from bxcache.config.services import GhaSettings, S3Settings
from bxcache.errors import ConfigError, StoreError, Trouble
from bxcache.oci.graph import Graph
from bxcache.pipeline.given_caches import (
    list_given_imports,
    list_ignored,
    refuse_shown_secrets,
)
from bxcache.place.scope import Owner, Scope
from bxcache.services.actions import ActionsService
from bxcache.services.actions_access import Access, find_access
from bxcache.services.aws_keys import AwsKeys, find_keys, find_region
from bxcache.services.cache_document import parse_cache, restore_annotations
from bxcache.services.faults import ServiceError
from bxcache.services.s3 import find_endpoint
from bxcache.services.service import Sighting, Stored, look_up, look_up_all
from tests.engines.cache_service import CacheService, make_token
from tests.support.backends import make_backend

if TYPE_CHECKING:
    from collections.abc import Mapping

URL = "https://cache.example.com"
SCOPE = Scope("image", None, ("linux/amd64",), Owner.of_branch("main"))
NEEDED: dict[str, dict[str, Any]] = {
    "gha": {},
    "s3": {"bucket": "cache", "region": "eu-central-1"},
    "azblob": {"account_url": "https://acme.blob.core.windows.net"},
}
JOB = {
    "ACTIONS_RUNTIME_TOKEN": "token-of-the-job",
    "ACTIONS_RESULTS_URL": URL,
    "ACTIONS_CACHE_SERVICE_V2": "true",
    "AWS_ACCESS_KEY_ID": "AKIDTESTS",
    "AWS_SECRET_ACCESS_KEY": "key-of-the-job",
    "AZURE_STORAGE_KEY": "YSBrZXk=",
    "GITHUB_TOKEN": "token-of-the-repository",
}

# Each attribute of a kind, with a valid value, what docker then gets, and invalid values.
ATTRIBUTES: list[tuple[str, str, Any, dict[str, str], list[Any]]] = [
    ("gha", "version", 2, {"version": "2"}, [0, 3, "2", True]),
    ("gha", "url", URL, {"url": URL}, ["cache.example.com", "ftp://x", "https://me:pw@x", 1]),
    ("gha", "url_v2", URL, {"url_v2": URL}, ["", f"{URL}?sig=x"]),
    (
        "gha",
        "repository",
        "acme/shop",
        {"repository": "acme/shop", "ghtoken": JOB["GITHUB_TOKEN"]},
        ["shop", "a/b/c", ""],
    ),
    ("gha", "timeout", "20m", {"timeout": "1200000ms"}, ["long", -1]),
    ("s3", "bucket", "my.bucket-1", {"bucket": "my.bucket-1"}, ["My_Bucket", "a", "", "a" * 64]),
    ("s3", "region", "us-east-1", {"region": "us-east-1"}, ["US East", ""]),
    ("s3", "prefix", "ci/app/", {"prefix": "ci/app/"}, ["/ci", "a//b", "../x", "a;b", "a,b"]),
    ("s3", "blobs_prefix", "b/", {"blobs_prefix": "b/"}, ["/b", 1]),
    ("s3", "manifests_prefix", "m/", {"manifests_prefix": "m/"}, ["./m"]),
    (
        "s3",
        "endpoint_url",
        URL,
        {"endpoint_url": URL},
        [
            *("s3.example.com", "https://k:s@x", "http://x:abc", "http://x:99999", "http://a b"),
            *("http://a%b", "http://[::1", "https://", "http://x/\n"),
        ],
    ),
    ("s3", "use_path_style", True, {"use_path_style": "true"}, ["yes", 1]),
    ("s3", "touch_refresh", "12h", {"touch_refresh": "43200s"}, ["soon", "12"]),
    ("s3", "upload_parallelism", 8, {"upload_parallelism": "8"}, [0, -1, "8"]),
    ("s3", "disable_accept_encoding", True, {"disable_accept_encoding": "true"}, ["no"]),
    ("s3", "retry_mode", "adaptive", {"retry_mode": "adaptive"}, ["always"]),
    ("s3", "retry_max_attempts", 5, {"retry_max_attempts": "5"}, [0]),
    ("s3", "credentials", "job", {}, ["mine", ""]),
    (
        "s3",
        "credentials",
        "builder",
        {"access_key_id": "", "secret_access_key": "", "session_token": ""},
        [],
    ),
    ("s3", "timeout", "20m", {}, ["long"]),
    (
        "azblob",
        "account_url",
        "http://127.0.0.1:1/acc",
        {"account_url": "http://127.0.0.1:1/acc"},
        ["acme", f"{URL}?sv=x"],
    ),
    ("azblob", "account_name", "acme1", {"account_name": "acme1"}, ["Acme", "a", ""]),
    ("azblob", "container", "cache-1", {"container": "cache-1"}, ["Cache", "a--b", "-a", "ab"]),
    ("azblob", "prefix", "ci", {"prefix": "ci"}, ["/ci"]),
    ("azblob", "blobs_prefix", "b", {"blobs_prefix": "b"}, [".."]),
    ("azblob", "manifests_prefix", "m", {"manifests_prefix": "m"}, ["a b"]),
    ("azblob", "credentials", "job", {"secret_access_key": JOB["AZURE_STORAGE_KEY"]}, ["mine"]),
    ("azblob", "timeout", "1h", {}, [[]]),
]


def engine(driver: str, nodes: int = 1) -> Capabilities:
    """Return what a current engine can do, with a builder of a driver."""
    label = "org.mobyproject.buildkit.worker.snapshotter"
    node = Node("n", "running", "v0.25.2", labels=(label,))
    return Capabilities("28.5.2", "28.5.2", "linux/amd64", Builder("b", driver, (node,) * nodes))


def make(
    kind: str,
    job: Mapping[str, str] | None = None,
    driver: str = "docker-container",
    **given: Any,  # noqa: ANN401
) -> ServiceBackend:
    """Make a backend in a job with these variables."""
    backend = make_backend({"type": kind, **NEEDED[kind], **given})
    assert isinstance(backend, ServiceBackend)
    backend.environment = JOB if job is None else job
    backend.use_builder(engine(driver))
    return backend


def make_with(kind: str, given: dict[str, Any]) -> ServiceBackend:
    """Make a backend with these attributes."""
    return make(kind, **given)


def save(backend: ServiceBackend) -> dict[str, str]:
    """Return the attributes of the export that a backend plans."""
    (planned,) = backend.plan_save(Wish(SCOPE), ()).saves
    return dict(parse_options(planned.use.option[1]))


@pytest.mark.parametrize(
    ("kind", "name", "value", "rendered"),
    [row[:4] for row in ATTRIBUTES],
    ids=[f"{row[0]}-{row[1]}-{row[2]}" for row in ATTRIBUTES],
)
def test_docker_gets_each_attribute(
    kind: str, name: str, value: object, rendered: dict[str, str]
) -> None:
    """Docker gets each attribute under BuildKit's name and in its form."""
    plain, given = save(make(kind)), save(make_with(kind, {name: value}))
    assert given.items() >= rendered.items()
    unchanged = {*plain} - {*rendered} - {"secret_access_key"}
    assert {each: given[each] for each in unchanged} == {each: plain[each] for each in unchanged}
    assert (given["type"], given["mode"]) == (kind, "max")
    assert given["scope" if kind == "gha" else "name"] == SCOPE.name


@pytest.mark.parametrize(
    ("kind", "name", "bad"),
    [(row[0], row[1], bad) for row in ATTRIBUTES for bad in row[4]],
    ids=str,
)
def test_a_bad_value_is_one_clear_error(kind: str, name: str, bad: object) -> None:
    """A bad value of an attribute is an error at its key, alone."""
    backends = [{"type": kind, **NEEDED[kind], name: bad}]
    (found,) = find_invalid({"cache": {"backends": backends}})
    assert found[0] == ("cache", "backends", 0, name)


def test_every_attribute_has_a_valid_and_an_invalid_value() -> None:
    """The table has each attribute of each kind, with an invalid value."""
    known = {(kind, name) for kind in NEEDED for name in SETTINGS[kind].model_fields}
    assert known - {(kind, "type") for kind in NEEDED} == {
        (row[0], row[1]) for row in ATTRIBUTES if row[4]
    }


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("gha", "token", "ACTIONS_RUNTIME_TOKEN"),
        ("gha", "ghtoken", "GITHUB_TOKEN"),
        ("s3", "access_key_id", "AWS_ACCESS_KEY_ID"),
        ("s3", "secret_access_key", "AWS_SECRET_ACCESS_KEY"),
        ("s3", "session_token", "AWS_SESSION_TOKEN"),
        ("azblob", "secret_access_key", "AZURE_STORAGE_KEY"),
        *((kind, name, "remove this key") for kind in NEEDED for name in ("mode", "ignore_error")),
        *((kind, name, "remove this key") for kind in NEEDED for name in ("name", "scope")),
    ],
)
def test_what_does_not_belong_there_is_explained(kind: str, name: str, words: str) -> None:
    """Secrets, and what bxcache sets itself, are refused with what to do, and without the value."""
    backends = [{"type": kind, **NEEDED[kind], name: "hunter2-hunter2"}]
    ((place, message),) = find_invalid({"cache": {"backends": backends}})
    assert place == ("cache", "backends", 0, name)
    assert words in message
    assert "hunter2" not in message


# As `addGithubToken` and `isActive` of buildx, and `getConfig` of BuildKit decide:
# https://github.com/docker/buildx/blob/v0.29.1/build/opt.go
# https://github.com/moby/buildkit/blob/v0.25.2/cache/remotecache/gha/gha.go
T, V1, V2 = "ACTIONS_RUNTIME_TOKEN", "ACTIONS_CACHE_URL", "ACTIONS_RESULTS_URL"
ON = "ACTIONS_CACHE_SERVICE_V2"
RECEIVER = "https://results-receiver.actions.githubusercontent.com/"
ACCESS: list[tuple[dict[str, str], dict[str, Any], Access | None]] = [
    ({}, {}, None),
    ({V1: "u1", V2: "u2"}, {}, None),
    ({T: "t"}, {}, None),
    ({T: "t", V1: "u1"}, {}, Access("u1", 1, "t")),
    ({T: "t", V1: "u1", V2: "u2"}, {}, Access("u1", 1, "t")),
    ({T: "t", V1: "u1", V2: "u2", ON: "true"}, {}, Access("u2", 2, "t")),
    ({T: "t", V1: "u1", V2: "u2", ON: "True"}, {"version": 1}, Access("u1", 1, "t")),
    ({T: "t", V1: "u1", V2: "u2"}, {"version": 2}, Access("u2", 2, "t")),
    ({T: "t"}, {"url": URL}, Access(URL, 1, "t")),
    ({T: "t", V1: "u1"}, {"url_v2": URL}, Access(URL, 2, "t")),
    ({T: "t", V1: "u1", ON: "nonsense"}, {}, Access("u1", 1, "t")),
    ({T: "t", V1: "u1"}, {"version": 2}, Access("u1", 2, "t")),
    ({T: "t", V2: "u2"}, {}, Access("u2", 1, "t")),
    ({T: "t", V2: RECEIVER}, {}, Access(RECEIVER, 2, "t")),
    ({T: "", V1: "u1"}, {}, None),
]


@pytest.mark.parametrize(("job", "given", "expected"), ACCESS, ids=str)
def test_githubs_service_is_reached_as_docker_reaches_it(
    job: dict[str, str], given: dict[str, Any], expected: Access | None
) -> None:
    """The address and the version are those that buildx and BuildKit choose."""
    assert find_access(GhaSettings(type="gha", **given), job) == expected


def test_aws_keys_come_from_variables_or_a_profile(tmp_path: Path) -> None:
    """Variables come first, then the chosen profile; without any, there are no keys."""
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = A\naws_secret_access_key = a%b\n"
        "[ci]\naws_access_key_id = B\naws_secret_access_key = b\naws_session_token = t\n"
        "[sso]\nsso_session = x\n"
    )
    at = {"AWS_SHARED_CREDENTIALS_FILE": str(file)}
    own = {"AWS_ACCESS_KEY_ID": "C", "AWS_SECRET_ACCESS_KEY": "c"}
    assert find_keys({**at, **own}) == AwsKeys("AWS_ACCESS_KEY_ID", "C", "c")
    assert find_keys({**own, "AWS_SESSION_TOKEN": "t"}) == AwsKeys(
        "AWS_ACCESS_KEY_ID", "C", "c", "t"
    )
    assert find_keys(at) == AwsKeys(f"the profile `default` of {file}", "A", "a%b")
    assert find_keys({**at, "AWS_PROFILE": "ci"}) == AwsKeys(
        f"the profile `ci` of {file}", "B", "b", "t"
    )
    for job in (
        {**at, "AWS_PROFILE": "sso"},
        {**at, "AWS_PROFILE": "none"},
        {"HOME": str(tmp_path)},
        {},
    ):
        assert find_keys(job) is None
    file.write_text("no section\n")
    assert find_keys(at) is None


@pytest.mark.parametrize(
    ("given", "job", "expected"),
    [
        ({"region": "a"}, {"AWS_REGION": "b"}, "a"),
        ({}, {"AWS_REGION": "b", "AWS_DEFAULT_REGION": "c"}, "b"),
        ({}, {"AWS_DEFAULT_REGION": "c"}, "c"),
        ({"endpoint_url": URL}, {}, "us-east-1"),
        ({}, {}, None),
    ],
)
def test_the_region(given: dict[str, Any], job: dict[str, str], expected: str | None) -> None:
    """The setting counts before the variables, in the order of AWS's own command line."""
    assert find_region(S3Settings(type="s3", bucket="cache", **given), job) == expected


def test_without_a_region_a_bucket_is_left_out() -> None:
    """Without a region, which BuildKit needs to begin, the build goes on without the cache."""
    backend = make_backend({"type": "s3", "bucket": "cache"})
    assert isinstance(backend, ServiceBackend)
    backend.environment = {}
    backend.use_builder(engine("docker-container"))
    assert backend.plan_save(Wish(SCOPE), ()).saves == ()
    (trouble,) = backend.list_troubles(saves=True)
    assert "set `region`, or AWS_REGION" in trouble


@pytest.mark.parametrize("kind", [*NEEDED])
@pytest.mark.parametrize(
    ("driver", "usable"),
    [
        ("docker", ("gha",)),
        *((each, (*NEEDED,)) for each in ("docker-container", "remote", "kubernetes")),
    ],
)
def test_a_builder_that_cannot_is_not_asked_to(
    kind: str, driver: str, usable: tuple[str, ...]
) -> None:
    """A builder imports and exports only kinds that it has.

    Docker's own has `gha` of these: controller.go of moby's builder-next.
    """
    backend = make(kind, driver=driver)
    saves = backend.plan_save(Wish(SCOPE), ()).saves
    assert bool(saves) == (kind in usable)
    sight = backend.judge(Candidate(backend, SCOPE.name, ""))
    assert sight.there is False
    assert any("docker's own builder" in each for each in backend.list_troubles(saves=True)) == (
        kind not in usable
    )


@pytest.mark.parametrize(
    ("driver", "chosen", "forwarded"),
    [
        ("docker-container", None, True),
        ("remote", None, False),
        ("kubernetes", None, False),
        ("remote", "job", True),
        ("docker-container", "builder", False),
    ],
)
@pytest.mark.parametrize("kind", ["s3", "azblob"])
def test_credentials_leave_this_machine_only_on_request(
    kind: str,
    driver: str,
    chosen: str | None,
    forwarded: bool,  # noqa: FBT001
) -> None:
    """A builder elsewhere gets this job's credentials only if the configuration says so."""
    backend = make(kind, driver=driver, credentials=chosen)
    attributes = dict(backend.import_flag(Candidate(backend, SCOPE.name, "")).attributes)
    if kind == "azblob":
        assert ("secret_access_key" in attributes) == forwarded
    else:
        # Docker adds its own where the attribute is absent.
        assert ("secret_access_key" not in attributes) == forwarded
        assert attributes.get("secret_access_key", "") == ""
    (note,) = backend.list_notes(Config().build, Path())
    assert ("docker passes the credentials of" in note) == forwarded
    assert ("the builder uses its own" in note) != forwarded
    assert JOB["AWS_SECRET_ACCESS_KEY"] not in note
    assert JOB["AZURE_STORAGE_KEY"] not in note


@pytest.mark.parametrize("kind", ["s3", "azblob"])
def test_without_credentials_of_this_job_the_builder_uses_its_own(kind: str) -> None:
    """Docker could find more than bxcache sees, so it passes nothing on that no note names."""
    backend = make(kind, {"AZURE_CLIENT_SECRET": "x", "HOME": "/nonexistent"})
    attributes = dict(backend.import_flag(Candidate(backend, SCOPE.name, "")).attributes)
    assert attributes.get("secret_access_key", "") == ""
    assert ("secret_access_key" in attributes) == (kind == "s3")
    (note,) = backend.list_notes(Config().build, Path())
    assert note.startswith("the builder uses its own credentials")
    asked = make("s3", {"HOME": "/nonexistent"}, credentials="job")
    assert "secret_access_key" not in dict(asked.list_attributes())
    assert "credentials of what docker finds" in next(asked.list_notes(Config().build, Path()))


def test_docker_passes_the_token_of_a_job_on_to_any_builder() -> None:
    """A note says so, and the file of a stranger does not make it happen."""
    for driver in ("docker", "remote"):
        (note,) = make("gha", driver=driver).list_notes(Config().build, Path())
        assert note.startswith("docker passes the credentials of ACTIONS_RUNTIME_TOKEN")
    strangers = make("gha", driver="remote")
    strangers.read_only = "as its file says"
    (trouble,) = strangers.list_troubles(saves=True)
    assert "the file of an untrusted build does not send this job's token elsewhere" in trouble
    assert strangers.judge(Candidate(strangers, SCOPE.name, "")).there is False


@pytest.mark.parametrize(
    ("buildx", "buildkit", "job", "usable"),
    [
        ("0.21.0", "v0.20.0", JOB, True),
        ("", "v0.20.0", JOB, True),
        ("0.20.1", "v0.20.0", JOB, False),
        ("0.21.0", "v0.19.0", JOB, False),
        ("0.20.1", "v0.19.0", {"ACTIONS_RUNTIME_TOKEN": "t", "ACTIONS_CACHE_URL": URL}, True),
    ],
)
def test_what_does_not_know_version_2_is_not_used(
    buildx: str,
    buildkit: str,
    job: dict[str, str],
    usable: bool,  # noqa: FBT001
) -> None:
    """Earlier buildx and BuildKit leave version 2 of GitHub's service out in silence."""
    backend = make("gha", job)
    found = engine("docker-container")
    nodes = (replace(found.builder.nodes[0], version=buildkit),)
    backend.use_builder(replace(found, buildx=buildx, builder=replace(found.builder, nodes=nodes)))
    assert bool(backend.plan_save(Wish(SCOPE), ()).saves) == usable
    assert any("version 2" in each for each in backend.list_troubles(saves=True)) != usable


# As AWS's client for Go addresses them; buckets with dots have no certificate as hosts.
ADDRESSES: list[tuple[dict[str, Any], str, bool]] = [
    ({}, "https://cache.s3.eu-central-1.amazonaws.com", True),
    ({"region": "cn-north-1"}, "https://cache.s3.cn-north-1.amazonaws.com.cn", True),
    ({"bucket": "my.cache"}, "https://s3.eu-central-1.amazonaws.com", False),
    ({"endpoint_url": "https://s3.example.com"}, "https://cache.s3.example.com", True),
    ({"endpoint_url": "http://s3.local:9000"}, "http://cache.s3.local:9000", True),
    (
        {"endpoint_url": "http://s3.local:9000", "use_path_style": True},
        "http://s3.local:9000",
        False,
    ),
    ({"endpoint_url": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000", False),
    ({"endpoint_url": "http://[::1]:9000"}, "http://[::1]:9000", False),
    ({"use_path_style": True}, "https://cache.s3.eu-central-1.amazonaws.com", True),
]


@pytest.mark.parametrize(("given", "address", "is_hosted"), ADDRESSES, ids=str)
def test_a_bucket_is_where_docker_looks_for_it(
    given: dict[str, Any],
    address: str,
    is_hosted: bool,  # noqa: FBT001
) -> None:
    """The address of a bucket is that of BuildKit's client."""
    settings = S3Settings(type="s3", **{"bucket": "cache", "region": "eu-central-1", **given})
    assert find_endpoint(settings, settings.region or "") == (address, is_hosted)


def test_bad_variables_of_aws_are_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that the library refuses leaves the cache out, with the reason."""
    monkeypatch.setenv("AWS_S3_EXPRESS", "maybe")
    backend = make("s3")
    assert backend.plan_save(Wish(SCOPE), ()).saves == ()
    (trouble,) = backend.list_troubles(saves=True)
    assert "a variable with `AWS_` is not valid" in trouble
    assert find_keys({"AWS_SHARED_CREDENTIALS_FILE": "~no-such-user-here/c"}) is None


def test_a_lookup_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup whose answer never ends is an error, and the others have their results."""
    monkeypatch.setattr("bxcache.services.service.SECONDS_IN_ALL", 0.1)
    hangs = threading.Event()

    class Slow(SimpleNamespace):
        def read(self, scope: str) -> Stored | None:
            if scope == "slow":
                hangs.wait()
            return None

    slow: Any = Slow(name="slow")
    found = look_up_all(slow, ["slow", "fast"])
    hangs.set()
    assert found["slow"].error is not None
    assert found["slow"].error.trouble is Trouble.SICK
    assert found["fast"] == Sighting()


@pytest.mark.parametrize(
    ("kind", "error", "blamed"),
    [
        ("s3", "failed to copy: operation error S3: GetObject, NoSuchKey", True),
        ("s3", "failed to fetch https://acme.blob.core.windows.net/x", False),
        (
            "azblob",
            "GET https://acme.blob.core.windows.net/buildkit-cache/ci%2Fblobs%2Fsha256:0",
            True,
        ),
        ("azblob", "failed to load https://acme.blob.core.windows.net/files/x", False),
        ("gha", f"GET {URL}/twirp/x", True),
        ("gha", "GET https://productionresultssa1.blob.core.windows.net/actions-cache/x", True),
        ("gha", "httpReadSeeker: Get https://acr1.blob.core.windows.net/x: i/o timeout", False),
    ],
)
def test_only_its_own_errors_are_blamed_on_a_cache(
    kind: str,
    error: str,
    blamed: bool,  # noqa: FBT001
) -> None:
    """An error of a base image or of an ADD is not one of the cache, and no reason to run again."""
    assert make(kind).blames(error) == blamed


@pytest.mark.parametrize("kind", [*NEEDED])
def test_every_secret_is_masked(kind: str) -> None:
    """All credentials that docker uses are known as secrets."""
    given: dict[str, Any] = {"repository": "acme/shop"} if kind == "gha" else {}
    expected = {
        "gha": {JOB["ACTIONS_RUNTIME_TOKEN"], JOB["GITHUB_TOKEN"]},
        "s3": {JOB["AWS_SECRET_ACCESS_KEY"]},
        "azblob": {JOB["AZURE_STORAGE_KEY"]},
    }
    assert {*make_with(kind, given).list_secrets()} == expected[kind]


def layer(name: str, size: int = 5) -> dict[str, Any]:
    known = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "diffID": "x",
        "size": size,
    }
    return {"blob": f"sha256:{name * 64}", "parent": -1, "annotations": known}


def document(*layers: dict[str, Any]) -> bytes:
    """Return a scope's content with a record for each layer."""
    records = [
        {"digest": f"sha256:{number:064}", "layers": [{"layer": number}]}
        for number in range(len(layers))
    ]
    return json.dumps({"layers": list(layers), "records": records}).encode()


def test_a_scope_lists_its_layers() -> None:
    """The content of a scope gives the size of each layer."""
    manifest, _ = parse_cache(document(layer("a"), layer("b", 7)))
    assert dict(manifest.layer_sizes) == {f"sha256:{'a' * 64}": 5, f"sha256:{'b' * 64}": 7}


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b'{"layers": [{}]}', b'{"layers": 1}', document({"blob": "x"}), b"null"],
)
def test_other_objects_are_no_cache(data: bytes) -> None:
    """Anything else under a scope's name is no cache, whatever it is."""
    with pytest.raises(StoreError, match="not a build cache"):
        parse_cache(data)
    assert Stored(data).cache is None


def test_a_merged_scope_has_all_annotations() -> None:
    """BuildKit imports nothing of a cache whose layer has no annotations."""
    before, after = document(layer("a")), document(layer("b"))
    merged = {
        "layers": [{"blob": f"sha256:{each * 64}", "parent": -1} for each in "ab"],
        "records": [],
    }
    done = json.loads(restore_annotations(json.dumps(merged).encode(), [before, after]))
    assert [each["annotations"] for each in done["layers"]] == [layer("a")["annotations"]] * 2
    manifest, config = parse_cache(json.dumps(done).encode())
    assert len(Graph(manifest, config).layers) == 2


LOOKUPS = [
    ("there", Sighting(Stored(document(layer("a")))), True),
    ("absent", Sighting(), False),
    ("no cache", Sighting(Stored(b"hello")), False),
    ("not allowed", Trouble.DENIED, None),
    ("no answer", Trouble.SICK, False),
    ("refused", Trouble.REFUSED, False),
]


@pytest.mark.parametrize(
    ("found", "there"), [row[1:] for row in LOOKUPS], ids=[r[0] for r in LOOKUPS]
)
@pytest.mark.parametrize("kind", [*NEEDED])
def test_only_what_is_not_known_is_left_to_docker(
    kind: str,
    found: Sighting | Trouble,
    there: bool | None,  # noqa: FBT001
) -> None:
    """A service that does not answer is left out, and where a look is denied, docker may look."""
    backend = make(kind)
    if isinstance(found, Trouble):
        error = ServiceError(backend.place, "looking up", "it is ill", trouble=found)
        found = Sighting(error=error)
    backend._sightings[SCOPE.name] = found
    assert backend.judge(Candidate(backend, SCOPE.name, "")).there is there
    failed = found.error is not None and there is False
    assert bool([*backend.list_troubles(saves=True)]) == failed
    assert bool(backend.plan_save(Wish(SCOPE), ()).saves) == (not failed)


@pytest.mark.parametrize("kind", [*NEEDED])
def test_a_build_that_runs_once_is_not_saved(kind: str) -> None:
    """A build that cannot run again saves nothing: its own export could fail it."""
    plan = make(kind).plan_save(Wish(SCOPE, once="its context comes from stdin"), ())
    assert plan.saves == ()
    assert "its context comes from stdin" in plan.notes[0]


def test_several_nodes_save_one_after_the_other() -> None:
    """Each node would replace what the others saved."""
    scope = replace(SCOPE, platforms=("linux/amd64", "linux/arm64"))
    for nodes, expected in ((1, False), (2, True)):
        backend = make("s3")
        backend.use_builder(engine("remote", nodes))
        (planned,) = backend.plan_save(Wish(scope), ()).saves
        assert getattr(planned, "splits", None) is expected


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("type=s3,bucket=b,secret_access_key=hunter2", ["secret_access_key"]),
        (
            "type=s3,Session_Token=hunter2,secret_access_key=hunter2",
            ["session_token", "secret_access_key"],
        ),
        ("type=gha,token=hunter2,ghtoken=hunter2", ["token", "ghtoken"]),
        ("type=azblob,secret_access_key=hunter2", ["secret_access_key"]),
        ("type=s3,bucket=b,secret_access_key=", []),
        ("type=registry,ref=r.example.com/token", []),
        ("r.example.com/app", []),
    ],
)
def test_secrets_in_the_callers_imports_are_refused(text: str, names: list[str]) -> None:
    """An import of the caller with a secret is refused, as the builder's history would show it."""
    imports = [*list_given_imports(("--cache-from", text))]
    assert [found for _, found in imports] == [text]
    if not names:
        refuse_shown_secrets(imports)
        return
    with pytest.raises(ConfigError, match="history") as caught:
        refuse_shown_secrets(imports)
    assert [each.key for each in caught.value.problems] == names
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "version", "warned"),
    [
        (("--cache-to", "type=local,dest=x,reset=true"), "v0.29.1", True),
        (("--cache-to=type=local,dest=x,reset=true",), "0.13.1", True),
        (("--cache-to", "type=local,dest=x,reset=true"), "v0.31.0", False),
        (("--cache-to", "type=local,dest=x"), "v0.29.1", False),
        (("--cache-from", "type=local,src=reset"), "v0.29.1", False),
    ],
)
def test_a_reset_that_buildx_ignores_is_noted(
    words: tuple[str, ...],
    version: str,
    warned: bool,  # noqa: FBT001
) -> None:
    """buildx before 0.31 ignores `reset` in silence."""
    found = [*list_ignored(words, lambda: f"github.com/docker/buildx {version} x")]
    assert bool(found) == warned


BAD_ANSWERS = [b"", b"null", b"[]", b"{}", b"[" * 100_000, b'{"ok": true}', b"\xff"]
BAD_TOKENS = ["", "x", "a.b.c", make_token({"refs/heads/main": 3}).replace(".", "", 1)]


@pytest.mark.parametrize("data", BAD_ANSWERS, ids=str)
@pytest.mark.parametrize("job", ["job", "first_job"])
def test_any_answer_of_githubs_service_is_a_result(data: bytes, job: str) -> None:
    """An answer that is not in the expected form is nothing there, or an error that says so."""
    with CacheService() as service:
        access = find_access(GhaSettings(type="gha"), getattr(service, job))
        assert access is not None
        service.answer = data
        found = look_up(ActionsService(access), SCOPE.name)
    assert found.stored is None
    assert found.error is None or found.error.trouble is Trouble.SICK


@pytest.mark.parametrize("token", BAD_TOKENS)
def test_a_bad_token_is_an_error(token: str) -> None:
    """A token that is not one of a job is an error, and no text shows it."""
    found = look_up(ActionsService(Access("http://127.0.0.1:1", 2, token)), SCOPE.name)
    assert found.error is not None
    assert "the job's token, is not in the expected form" in found.error.message


def fail_with(method: str, status: int, asked: str, _path: str) -> int | None:
    """Answer requests of a method with a status."""
    return status if asked == method else None


@pytest.mark.parametrize("job", ["job", "first_job"])
def test_a_refused_upload_is_an_error(job: str) -> None:
    """An upload that the service does not take is never one that was saved."""
    with CacheService() as service:
        access = find_access(GhaSettings(type="gha"), getattr(service, job))
        assert access is not None
        method = "PUT" if job == "job" else "PATCH"
        for status in (404, 409, 500):
            service.fail = partial(fail_with, method, status)
            with pytest.raises(ServiceError, match=str(status)):
                ActionsService(access).write(SCOPE.name, b"data")
        service.fail = partial(fail_with, "", 0)
        ActionsService(access).write(SCOPE.name, b"data")
        found = ActionsService(access).read(SCOPE.name)
        assert found is not None
        assert found.data == b"data"
