"""The types that a user's type checker finds, which mypy checks with the rest; never run."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, assert_type

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
    assert_type(bxcache.build("app", call="check"), bxcache.Answer)
    assert_type(bxcache.bake("api", call="check"), bxcache.Answer)
    assert_type(bxcache.bake("api", files="docker-bake.hcl"), bxcache.Outcomes)
    assert_type(bxcache.build_images()["api"].to_dict(), dict[str, Any])
    assert_type(bxcache.diff("~2").stages[0].state, str)
    bxcache.build(secrets="id=a", outputs="out", gate="max_size=2GB", backends="type=local")
    bxcache.build(
        file=Path("Dockerfile"),
        secrets=bxcache.Secret(id="token", env="TOKEN"),
        outputs=[bxcache.Output(type="local", dest=Path("out")), "type=docker"],
        gate=bxcache.Gate(min_hit_ratio=0.8, max_size="2GB"),
        backends=[
            bxcache.LocalBackend(type="local", dir=Path("cache"), max_size="5GB"),
            bxcache.RegistryBackend(type="registry", ref="registry.example.com/app-cache"),
            {"type": "inline", "ref": "registry.example.com/app"},
        ],
        timeout=60,
        cancel=Event(),
    )
    bxcache.Gate(min_hit_ration=0.8)  # type: ignore[typeddict-unknown-key]  # a misspelled gate
    bxcache.RegistryBackend(type="registry")  # type: ignore[typeddict-item]  # without its ref
    bxcache.Secret(id=3)  # type: ignore[typeddict-item]  # a wrong type
    bxcache.build(cancel=True)  # type: ignore[call-overload]  # not an event
    bxcache.build(tagz=["a"])  # type: ignore[call-overload]  # a wrong name is found before it runs
    bxcache.build(push="yes")  # type: ignore[call-overload]  # and a wrong type
