"""The attributes of the backends `local`, `registry` and `inline`."""

from __future__ import annotations

from typing import Any

import pytest

from bxcache.backends.base import Candidate, Wish
from bxcache.buildx.option_text import parse_options
from bxcache.config.backends import SETTINGS
from bxcache.config.problems import find_invalid
from bxcache.place.scope import Owner, Scope
from tests.support.backends import make_backend

SCOPE = Scope("image", None, ("linux/amd64",), Owner.of_branch("main"))
REF = "r.example.com/app"
NEEDED: dict[str, dict[str, Any]] = {"local": {}, "registry": {"ref": REF}, "inline": {"ref": REF}}
REFS = [
    "r.example.com/App",
    "",
    "r.example.com/a b",
    "https://r.example.com/a",
    1,
]
AGES, TIMES, SIZES = ["14", "long", "", -1], ["long", -1, []], ["5 parsecs", "", -1, 1.5]

# Each attribute of a kind, with a valid value, what docker then gets, and invalid values.
ATTRIBUTES: list[tuple[str, str, Any, dict[str, str], list[Any]]] = [
    *(
        row
        for kind in ("local", "registry")
        for row in (
            (kind, "compression", "zstd", {"compression": "zstd"}, ["lz4", "", 1]),
            (kind, "compression_level", 9, {"compression-level": "9"}, [10, -1, "9", 1.5]),
            (kind, "force_compression", True, {"force-compression": "true"}, ["yes", 1]),
        )
    ),
    ("local", "dir", "store", {}, [1, []]),
    ("local", "max_size", "5GB", {}, SIZES),
    ("local", "max_age", "14d", {}, AGES),
    ("registry", "ref", f"{REF}:cache", {"ref": f"{REF}:cache"}, REFS),
    ("registry", "insecure", True, {"registry.insecure": "true"}, ["yes", 1]),
    ("registry", "timeout", "20m", {}, TIMES),
    ("registry", "max_age", "30d", {}, AGES),
    ("registry", "image_manifest", False, {"image-manifest": "false"}, ["no", 0]),
    # BuildKit's image manifests have OCI media types.
    ("registry", "oci_mediatypes", True, {"oci-mediatypes": "true"}, [False, "no"]),
    ("registry", "ignore_error", False, {"ignore-error": "false"}, ["no", 0]),
    ("inline", "ref", f"{REF}:main", {"ref": f"{REF}:main"}, REFS),
    ("inline", "stages", "all", {"ref": f"{REF}:{SCOPE.name}"}, ["some", "", True]),
    ("inline", "insecure", True, {"registry.insecure": "true"}, ["yes"]),
    ("inline", "timeout", "1h", {}, TIMES),
    ("inline", "max_age", "30d", {}, AGES),
]


def list_attributes(kind: str, **given: Any) -> dict[str, str]:  # noqa: ANN401
    """Return what docker gets: of an export, and of the import for an inline cache."""
    backend = make_backend({"type": kind, **NEEDED[kind], **given})
    if kind == "inline":
        backend.judge(candidate := Candidate(backend, SCOPE.name, ""))
        return dict(backend.import_flag(candidate).attributes)
    (planned,) = backend.plan_save(Wish(SCOPE), ()).saves
    return dict(parse_options(planned.use.option[1]))


@pytest.mark.parametrize(
    ("kind", "name", "value", "rendered"),
    [row[:4] for row in ATTRIBUTES],
    ids=[f"{row[0]}-{row[1]}" for row in ATTRIBUTES],
)
def test_docker_gets_each_attribute(
    kind: str, name: str, value: object, rendered: dict[str, str]
) -> None:
    """Docker gets each attribute under BuildKit's name and in its form; nothing else changes."""
    plain, given = list_attributes(kind), list_attributes(kind, **{name: value})
    assert given.items() >= rendered.items()
    own = {*rendered, *(("dest",) if name == "dir" else ())}
    assert {each: text for each, text in given.items() if each not in own} == {
        each: text for each, text in plain.items() if each not in own
    }


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
    """The table has each attribute of each kind."""
    known = {(kind, name) for kind in NEEDED for name in SETTINGS[kind].model_fields}
    assert known - {(kind, "type") for kind in NEEDED} == {row[:2] for row in ATTRIBUTES}
    assert all(row[4] for row in ATTRIBUTES)
