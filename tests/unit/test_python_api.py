"""Tests of what a Python program sees: names, documents, arguments, and errors."""

from __future__ import annotations

import json
import pydoc
import re
import threading
import time
from pathlib import Path
from typing import Any, is_typeddict

import pytest

import bxcache
from bxcache import errors
from bxcache.config.backends import SETTINGS
from bxcache.config.models import GateSettings
from bxcache.errors import BxcacheError
from bxcache.pipeline.options import read_option
from bxcache.process import limit
from tests.support.histories import make_history, make_record, make_stages, make_step
from tests.support.python_reference import PAGE, list_keys, list_names

NAMES = list_names()
RECORD = make_record(
    make_step("FROM a", 1), make_step("RUN b", 2), stages=make_stages(("a", 1, "a"))
)
LOCAL = {"type": "local", "dir": "c"}
MODELS = [name for name in bxcache.__all__ if hasattr(getattr(bxcache, name), "model_fields")]


def test_every_error_is_public() -> None:
    """Each error has a name in the package, an exit status and a line in the reference."""
    public = set(NAMES["Errors"])
    found = [each for each in vars(errors).values() if isinstance(each, type)]
    assert {each.__name__ for each in found if issubclass(each, BxcacheError)} == public
    page = PAGE.read_text()
    for name in public:
        assert isinstance(getattr(bxcache, name).exit_status, int) or name == "BuildFailedError"
        assert f"### {name}\n" in page


@pytest.mark.parametrize("name", NAMES["Functions"])
def test_every_argument_is_described(name: str) -> None:
    """The reference has a row for each parameter of a function."""
    part = PAGE.read_text().partition(f"### {name}\n")[2].partition("\n### ")[0]
    parameters = re.findall(
        r"(?:^    |[(,] ?)\*{0,2}(\w+): ", part.partition("```\n")[0], re.MULTILINE
    )
    assert parameters
    assert [each for each in parameters if f"| `{each}` |" not in part] == []


@pytest.mark.parametrize("name", NAMES["Options"])
def test_every_option_is_described(name: str) -> None:
    """Each key of a dictionary that is an argument has a type and a meaning."""
    value = getattr(bxcache, name)
    assert is_typeddict(value)
    assert all(kind and meaning for _, kind, meaning in list_keys(value))


@pytest.mark.parametrize("name", bxcache.__all__)
def test_every_meaning_is_a_sentence(name: str) -> None:
    """Each row and each call of an entry has a meaning, which says more than the name does."""
    entry = PAGE.read_text().partition(f"\n### {name}\n")[2]
    entry = re.split(r"^##", entry, maxsplit=1, flags=re.MULTILINE)[0]
    assert re.match(r"\n(?:```text\n[^`]*```\n\n)?(?:[A-Z`]|bxcache )", entry)
    assert not re.search(r"```\n\s*(?:```|\||\Z)", entry)
    for row, _, meaning in re.findall(r"^\| `(\w+)` \|(.*\|)? ?(.*) \|$", entry, re.MULTILINE):
        assert re.fullmatch(r"(?:[A-Z0-9`]|bxcache ).*\.", meaning), row
        words = set(re.findall(r"[a-z]+", meaning.lower())) - {"a", "an", "the", "its"}
        assert words - set(row.lower().split("_")), row


@pytest.mark.parametrize("name", MODELS)
def test_pydantic_is_not_seen(name: str) -> None:
    """Neither `dir` nor `help` of a class, nor the reference, has a method of pydantic."""
    assert len(MODELS) > 3
    value = getattr(bxcache, name)
    part = PAGE.read_text().partition(f"### {name}\n")[2].partition("\n### ")[0]
    for text in ("\n".join(dir(value)), pydoc.plain(pydoc.render_doc(value)), part):
        assert not re.search(r"model_dump|model_validate|model_copy|parse_obj|__fields", text)


def test_an_instance_shows_its_fields_alone() -> None:
    """`dir` of a record has its fields and our methods, and nothing of pydantic."""
    seen = {name for name in dir(RECORD) if not name.startswith("_")}
    assert {"steps", "scope", "seconds"} <= seen
    assert not any(name.startswith("model_") or "pydantic" in name for name in seen)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("Gate", {*GateSettings.model_fields}),
        ("LocalBackend", {*SETTINGS["local"].model_fields}),
        ("RegistryBackend", {*SETTINGS["registry"].model_fields}),
        ("InlineBackend", {*SETTINGS["inline"].model_fields}),
    ],
)
def test_a_dictionary_has_the_keys_of_its_table(name: str, keys: set[str]) -> None:
    """A type checker knows each key of a gate and of a backend, and no other."""
    assert getattr(bxcache, name).__annotations__.keys() == keys


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("tags", "a", ["a"]),
        ("tags", ("a", "b"), ["a", "b"]),
        ("file", Path("x"), "x"),
        ("secrets", "id=a", ["id=a"]),
        ("secrets", bxcache.Secret(id="a", src=Path("/b,c")), ['id=a,"src=/b,c"']),
        ("secrets", [bxcache.Secret(id="a"), "id=b"], ["id=a", "id=b"]),
        ("outputs", "out", ["out"]),
        ("outputs", bxcache.Output(type="local", dest="out"), ["type=local,dest=out"]),
        (
            "outputs",
            {"type": "image", "push": True, "oci_mediatypes": False, "annotation.a_b": "c"},
            ["type=image,push=true,oci-mediatypes=false,annotation.a_b=c"],
        ),
        ("gate", "max-size=2GB", {"max_size": "2GB"}),
        ("gate", ["min_hit_ratio=0.5", "warn=a"], {"min_hit_ratio": 0.5, "warn": ["a"]}),
        ("gate", bxcache.Gate(require_cached="deps"), {"require_cached": ["deps"]}),
        ("backends", "type=local,dir=/c", [{"type": "local", "dir": "/c"}]),
        ("backends", bxcache.LocalBackend(type="local", dir=Path("c")), [LOCAL]),
        ("backends", [LOCAL, "type=inline,ref=a"], [LOCAL, {"type": "inline", "ref": "a"}]),
    ],
)
def test_plain_and_typed_values_are_the_same(name: str, given: Any, read: object) -> None:  # noqa: ANN401
    """Texts of the command line, dictionaries and single values are read as in a file."""
    assert read_option(name, given) == read


def test_a_document_is_json() -> None:
    """A document has only what JSON has, so it is equal to what is printed."""
    for history in (make_history(RECORD), make_history(None)):
        document = history.to_dict(chain=True)
        assert json.loads(json.dumps(document)) == document
        assert document["version"] == "1"


@pytest.mark.parametrize(
    ("seconds", "is_canceled", "why"),
    [
        (0.2, False, "took longer than 0.2 s"),
        (None, True, "was canceled"),
        (60, True, "was canceled"),
    ],
)
def test_a_limit_sets_a_stop(seconds: float | None, is_canceled: bool, why: str) -> None:  # noqa: FBT001
    """The stop is set with the reason once the time is up, or an event is set."""
    cancel = threading.Event()
    with limit(seconds, cancel) as stop:
        if is_canceled:
            cancel.set()
        end = time.monotonic() + 10
        while not stop.is_set and time.monotonic() < end:
            time.sleep(0.01)
        assert stop.is_set
    assert why in stop.why


def test_a_limit_that_is_kept_stops_nothing() -> None:
    """A call within its time is not stopped, and leaves no thread and its event unset."""
    cancel, before = threading.Event(), threading.active_count()
    with limit(60, cancel) as stop:
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    assert not stop.is_set
    assert not cancel.is_set()
