"""The types that a user's type checker finds, which mypy checks with the rest; never run."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import bxcache

if TYPE_CHECKING:
    result = bxcache.build("app", tags=["a"], push=True, build_args={"A": None}, strict=True)
    assert_type(result, bxcache.BuildResult)
    assert_type(result.digest, str | None)
    assert_type(result.reused, int)
    assert_type(result.steps[0].outcome, bxcache.Outcome)
    assert_type(result.steps[0].layers[0].size, int)
    store = bxcache.Store("/var/cache/app")
    assert_type(store.collect(max_size=10).freed_bytes, int)
    assert_type(store.usage().scopes[0].steps, int | None)
    assert_type(store.verify(full=True).damages[0].why, str)
    assert_type(store.repair(), tuple[str, ...])
    bxcache.build(tagz=["a"])  # type: ignore[call-arg]  # a wrong name is found before it runs
    bxcache.build(push="yes")  # type: ignore[arg-type]  # and a wrong type
