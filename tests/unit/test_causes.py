"""Errors of docker get their cause in words, with texts that real builds reported."""

from __future__ import annotations

import pytest

from bxcache.buildx.stream.causes import prepend_cause

SOLVE = "failed to solve: rpc error: code = Unknown desc = "
CAUSES = {
    f"{SOLVE}write /out/o.tar: no space left on device": "the disk of `/out/o.tar` is full",
    "failed to register layer: no space left on device": "the disk is full",
    f"{SOLVE}mkdir /a b/out: operation not permitted": "access to `/a b/out` is denied",
    "failed to open open /out/o.tar: permission denied": "access to `/out/o.tar` is denied",
    "writing image ID file: open /i: read-only file system": "the file system of `/i` is read-only",
    "failed to solve: error from receiver: context canceled": "docker could not write the output",
    "failed to solve: EOF": "docker could not write the output",
    "failed to solve: Unavailable: error reading from server: EOF": "the builder is gone",
    "rpc error: code = Unavailable desc = closing transport due to: EOF": "the builder is gone",
}
OTHERS = [
    'process "/bin/sh -c cp /a: no space left on device" did not complete successfully: exit code',
    "pull access denied, repository does not exist or may require authorization",
    "denied: permission_denied: write_package",
    'failed to do request: Head "https://r.example.com/v2/": dial tcp: connection refused',
    "unexpected status from GET request: short read: unexpected EOF",
]


@pytest.mark.parametrize("error", CAUSES)
def test_a_known_cause_precedes_the_error(error: str) -> None:
    """The cause comes first, and docker's own words follow it unchanged."""
    explained = prepend_cause(error)
    assert explained.startswith(CAUSES[error])
    assert explained.endswith(f": {error}")


@pytest.mark.parametrize("error", OTHERS)
def test_no_cause_is_guessed(error: str) -> None:
    """An error of a step, of a registry or of a cache is not explained as something else."""
    assert prepend_cause(error) == error
