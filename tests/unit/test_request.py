"""The options of a caller become the topmost layer of the configuration."""

from __future__ import annotations

from typing import get_type_hints

import pytest

from bxcache.buildx.extra_flags import PASSED, render_flags
from bxcache.config.models import SECTIONS, BuildSettings, Config
from bxcache.pipeline.options import BuildOptions
from bxcache.pipeline.request import BuildRequest

LISTS = {
    name
    for section in ("build", "cache")
    for name, field in SECTIONS[section].model_fields.items()
    if isinstance(field.get_default(call_default_factory=True), tuple) and name != "backends"
}


def test_every_setting_is_an_option() -> None:
    """Each key of `[build]` but the context, which is the path, is an option in Python."""
    assert set(BuildSettings.model_fields) - {"context"} <= set(get_type_hints(BuildOptions))


@pytest.mark.parametrize("name", sorted(LISTS))
def test_a_single_text_is_a_list_of_one(name: str) -> None:
    """A list option takes a single text too."""
    one, listed = (
        BuildRequest(options={name: value}).to_layer().values for value in ("base", ["base"])
    )
    assert one == listed
    Config.model_validate(one)


def test_a_bake_gets_dockers_flags_as_arguments() -> None:
    """The flags that docker gets as they are go to bake, before the caller's own, once."""
    options = {"allow": "ssh", "sbom": "true", "push": True}
    request = BuildRequest(options=options, extra=("--print",)).as_bake()
    assert request.extra == ("--allow", "ssh", "--sbom", "true", "--print")
    assert request.options == {"push": True}
    assert request.as_bake() == request
    assert request.list_extra(BuildSettings(debug=True)) == request.extra


def test_a_build_gets_dockers_flags_from_its_settings() -> None:
    """Settings come before the caller's own arguments, so that the latter count."""
    settings = BuildSettings(ulimits=("nofile=9",), provenance="false")
    extra = BuildRequest(extra=("--provenance=true",)).list_extra(settings)
    assert extra == ("--provenance", "false", "--ulimit", "nofile=9", "--provenance=true")


def test_every_passed_setting_is_rendered() -> None:
    """Each setting that docker gets as it is has a flag, and an empty one has none."""
    fields = BuildSettings.model_fields
    assert set(PASSED) < set(fields)
    assert [*render_flags(dict(BuildSettings()))] == []
