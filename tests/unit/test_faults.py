"""Tests that a cache is blamed for docker's error only if it caused the error, with texts of real
builds.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bxcache.buildx.faults import (
    blames_process,
    find_cache_fault,
    have_nodes_collided,
    is_transient,
)
from bxcache.buildx.stream.raw import join_documents
from bxcache.buildx.stream.reader import TraceReader
from bxcache.buildx.stream.trace import Trace

STREAMS = Path(__file__).parents[1] / "streams"
ONE, OTHER = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
SOLVE = "failed to build: failed to solve: "
"""The beginning of buildx 0.29's errors; 0.13 has only the second half."""
KEY = f"{SOLVE}failed to compute cache key: "
OLD = "failed to solve: "
GONE = "127.0.0.1:5000/nonesuch"
LOOKED_UP = f"{SOLVE}{GONE}@{ONE}: failed to resolve source metadata for {GONE}@{ONE}: "
CHANGED = (
    f'failed commit on ref "layer-{ONE}": commit failed: unexpected commit digest {OTHER}, '
    f"expected {ONE}: failed precondition"
)
SEEKER = "failed to copy: httpReadSeeker: failed open: "

CACHE_FAULTS = {
    "missing": f"{KEY}NotFound: rpc error: code = NotFound desc = content {ONE}: not found",
    "missing, 0.13": (
        f"{OLD}failed to compute cache key: "
        f"NotFound: rpc error: code = NotFound desc = content {ONE}: not found"
    ),
    "short": f"{KEY}short read: expected 51745 bytes but got 51736: unexpected EOF",
    "empty": f"{KEY}short read: expected 51745 bytes but got 0: unexpected EOF",
    "short, 0.13": (
        f"{OLD}failed to compute cache key: failed to read expected number of bytes: unexpected EOF"
    ),
    "changed": f"{KEY}{CHANGED}",
    "changed, 0.13": f"{OLD}failed to compute cache key: {CHANGED}",
    "missing in a registry": (
        f"{SOLVE}{SEEKER}could not fetch content descriptor {ONE} "
        "(application/vnd.oci.image.layer.v1.tar+gzip) from remote: not found"
    ),
    "short in a registry": (
        f"{SOLVE}{SEEKER}unexpected status from GET request to "
        f"http://127.0.0.1:5000/v2/app/blobs/{ONE}: 416 Requested Range Not Satisfiable"
    ),
    "short in a registry, 0.13": (
        f"{OLD}{SEEKER}unexpected status code "
        f"https://127.0.0.1:5000/v2/app/blobs/{ONE}: 416 Requested Range Not Satisfiable"
    ),
    "empty in a registry, 0.13": (f"{OLD}failed to read expected number of bytes: unexpected EOF"),
    "empty in a registry": f"{SOLVE}short read: expected 51763 bytes but got 0: unexpected EOF",
    "changed in a registry": f"{SOLVE}{CHANGED}",
}

OTHER_FAULTS = {
    "RUN that fails": (
        f'{SOLVE}process "/bin/sh -c echo unexpected EOF; exit 7" '
        "did not complete successfully: exit code: 7"
    ),
    "RUN that names a fault": (
        f'{SOLVE}process "/bin/sh -c echo short read: expected 2 bytes but got 1; exit 7" '
        "did not complete successfully: exit code: 7"
    ),
    "RUN without network": (
        f'{SOLVE}process "/bin/sh -c wget http://127.0.0.1:1/x" '
        "did not complete successfully: exit code: 1"
    ),
    "COPY": (
        f"{KEY}failed to calculate checksum of ref "
        'q9p985f0u46azyssrw9zjh2tc::p9dx9brjuokv353w7plb5ny3a: "/nonesuch": not found'
    ),
    "COPY --from": f"{SOLVE}lstat /nonesuch: no such file or directory",
    "COPY --from, 0.13": (
        f"{OLD}lstat /var/lib/docker/tmp/buildkit-mount3802692027/nonesuch: "
        "no such file or directory"
    ),
    "base unreachable": (
        f"{LOOKED_UP}failed to do request: "
        f'Head "https://127.0.0.1:5000/v2/nonesuch/manifests/{ONE}": '
        "dial tcp 127.0.0.1:5000: connect: connection refused"
    ),
    "base absent": f"{LOOKED_UP}{GONE}@{ONE}: not found",
    "base absent, 0.13": (
        f"{OLD}{GONE}:1: failed to resolve source metadata for {GONE}:1: {GONE}:1: not found"
    ),
    "frontend absent": (
        f"{SOLVE}failed to resolve source metadata for {GONE}@{ONE}: {GONE}@{ONE}: not found"
    ),
    "syntax": f"{SOLVE}dockerfile parse error on line 6: unknown instruction: NONESUCH",
    "target": f'{SOLVE}target stage "nonesuch" could not be found',
    "ADD unreachable": (
        f'{SOLVE}failed to load cache key: Get "http://127.0.0.1:1/x": '
        "dial tcp 127.0.0.1:1: connect: connection refused"
    ),
    "ADD absent": f"{SOLVE}failed to load cache key: invalid response status 404",
    "ADD --checksum": f"{SOLVE}digest mismatch {ONE}: {OTHER}",
    "secret": f"{SOLVE}secret nonesuch: not found",
    "ssh": f"{SOLVE}unset ssh forward key default",
    "push": (
        f"{SOLVE}failed to push 127.0.0.1:1/x:1: failed to do request: "
        f'Head "https://127.0.0.1:1/v2/x/blobs/{ONE}": '
        "dial tcp 127.0.0.1:1: connect: connection refused"
    ),
    "output": (
        "failed to build: invalid destination directory: /dev/null/x: "
        "stat /dev/null/x: not a directory"
    ),
}


def say(*lines: str) -> Trace:
    """Return the trace of a stream of these lines."""
    reader = TraceReader()
    for line in join_documents(lines):
        list(reader.feed(line))
    return reader.finish()


@pytest.mark.parametrize("name", CACHE_FAULTS)
def test_a_broken_cache_is_blamed(name: str) -> None:
    """Docker's error is returned for any damage, on disk and in a registry."""
    text = CACHE_FAULTS[name]
    assert find_cache_fault(say("Dockerfile:3", "", f"ERROR: {text}")) == text


@pytest.mark.parametrize("name", OTHER_FAULTS)
def test_other_errors_are_not_blamed_on_a_cache(name: str) -> None:
    """An error that would occur again without a cache is not blamed on one."""
    assert find_cache_fault(say(f"ERROR: {OTHER_FAULTS[name]}")) is None


def test_a_recorded_build_with_a_truncated_layer_blames_the_cache() -> None:
    """The recorded stream blames the cache, not a step."""
    trace = say(*(STREAMS / "truncated-parent.ndjson").read_text().splitlines())
    assert "short read" in (find_cache_fault(trace) or "")
    assert not blames_process(trace)


@pytest.mark.parametrize("name", ["failing-step", "docker-26-failing-step"])
def test_a_recorded_build_with_a_failing_step_blames_the_step(name: str) -> None:
    """The recorded stream blames the step's process, not the cache."""
    trace = say(*(STREAMS / f"{name}.ndjson").read_text().splitlines())
    assert find_cache_fault(trace) is None
    assert blames_process(trace)


def test_only_docker_can_blame_a_cache() -> None:
    """A step's output is not read as docker's error."""
    vertex = {"digest": ONE, "name": "[1/1] RUN x", "started": "2026-01-01T00:00:00Z"}
    log = {"vertex": ONE, "stream": 2, "data": "RVJST1I6IHVuZXhwZWN0ZWQgY29tbWl0IGRpZ2VzdCAK"}
    trace = say(json.dumps({"vertexes": [vertex], "logs": [log]}), "unexpected commit digest ")
    assert find_cache_fault(trace) is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("failed to build: could not lock /store/x/index.json.lock", True),
        ("rename tmp file: rename /s/ingest/ab/data /s/b: no such file or directory", True),
        ("failed to open writer: mkdir /s/ingest/ab: permission denied", False),
        ("failed to solve: write /s/ingest/ab/data: no space left on device", False),
        ("failed to solve: could not lock the door", False),
        ("failed to solve: process did not complete successfully: exit code: 1", False),
    ],
)
def test_colliding_nodes_are_recognized(said: str, expected: bool) -> None:  # noqa: FBT001
    """Collisions of nodes in one layout are recognized by the messages of buildx."""
    assert have_nodes_collided(say(f"ERROR: {said}")) is expected
    assert (
        have_nodes_collided(say(fail_export("exporting cache to client directory", said)))
        is expected
    )
    assert not have_nodes_collided(say(fail_export("exporting cache to registry", said)))


def fail_export(name: str, error: str) -> str:
    when = "2026-01-01T00:00:00Z"
    vertex = {"digest": ONE, "name": name, "started": when, "completed": when, "error": error}
    return json.dumps({"vertexes": [vertex]})


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Error response from daemon: received unexpected HTTP status: 502 Bad Gateway", True),
        ("failed to push r/a:b: unexpected status from PUT request: 500 Internal Error", True),
        ("Error response from daemon: No such image: 127.0.0.1:5000/app:main.build", True),
        ("An image does not exist locally with the tag: 127.0.0.1:5000/app", True),
        ("failed to push: errors: blob unknown: blob unknown to registry; digest invalid", True),
        ("failed to push r/a:b: unexpected status from PUT request: 403 Forbidden", False),
        ("denied: requested access to the resource is denied", False),
    ],
)
def test_a_transient_push_error_is_recognized(said: str, expected: bool) -> None:  # noqa: FBT001
    """Errors of the registry and removed images are transient, but a refused login is not."""
    assert is_transient(said) is expected
