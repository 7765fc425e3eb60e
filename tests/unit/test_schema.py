"""Tests that the published schema, the models and the examples agree."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bxcache.config.discovery import read_config_file
from bxcache.config.loading import check_file
from bxcache.config.models import Config
from bxcache.errors import ConfigError

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "schemas" / "bxcache.schema.json"
EXAMPLES = sorted((ROOT / "examples").rglob("bxcache.toml"))


def validate(document: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(document)


def test_the_schema_is_valid() -> None:
    """The schema is valid under its metaschema."""
    jsonschema.Draft7Validator.check_schema(json.loads(SCHEMA.read_text()))


def test_every_key_is_described() -> None:
    """Every key has a description, which editors show."""
    document = json.loads(SCHEMA.read_text())
    for name, definition in document["definitions"].items():
        for key, field in definition.get("properties", {}).items():
            assert field.get("description") or key == "type", f"{name}.{key}"


@pytest.mark.parametrize("schema", ["bxcache-record", "bxcache-report"])
def test_every_part_is_described(schema: str) -> None:
    """Every key of a record and of a report, and of their parts, has a description."""
    document = json.loads((SCHEMA.parent / f"{schema}.schema.json").read_text())
    parts = {"": document, **document["$defs"]}
    found = [
        (name, key, field)
        for name, part in parts.items()
        for key, field in part.get("properties", {}).items()
    ]
    assert len(found) > 50
    assert [each[:2] for each in found if not each[2].get("description")] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_example_is_valid(path: Path) -> None:
    """Every example is valid for bxcache and for the schema."""
    check_file(read_config_file(path))
    validate(tomllib.loads(path.read_text()))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_example_names_the_schema(path: Path) -> None:
    """The first line has the schema's address in the project's own repository, for editors."""
    source = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Source"]
    raw = source.replace("github.com", "raw.githubusercontent.com")
    first, *_ = path.read_text().splitlines()
    assert first == f"#:schema {raw}/main/{SCHEMA.relative_to(ROOT)}"


def test_there_are_examples() -> None:
    """Examples exist, or the test above would prove nothing."""
    assert len(EXAMPLES) >= 3


ACCEPTED = [
    "",
    "[build]\nplatforms = ['linux/amd64']\n",
    "[[cache.backends]]\ntype = 'local'\nmax_size = '5GB'\nmax_age = '14d'\n",
    "[[cache.backends]]\ntype = 'local'\nmax_size = 5000\n",
    "[[cache.backends]]\ntype = 'registry'\nref = 'r.example.com/app'\ncompression = 'zstd'\n",
    "[[cache.backends]]\ntype = 'inline'\nref = 'r.example.com/app'\n",
    "[images.api]\nfile = 'api/Dockerfile'\n[gate]\nmin_hit_ratio = 0.8\n",
]
REFUSED = [
    "[build]\nplatfroms = []\n",
    "[build]\nfile = 1\n",
    "[cache]\nwrite = 'sometimes'\n",
    "[[cache.backends]]\ntype = 's3'\n",
    "[[cache.backends]]\ntype = 'registry'\n",
    "[[cache.backends]]\ntype = 'inline'\nref = 'r.example.com/app'\nmode = 'max'\n",
    "[[cache.backends]]\ntype = 'local'\nmax_size = 'large'\n",
    "[gate]\nmin_hit_ratio = 1.5\n",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_schema_and_models_accept_alike(text: str) -> None:
    """Schema and models accept the same documents."""
    validate(tomllib.loads(text))
    Config.model_validate(tomllib.loads(text))


@pytest.mark.parametrize("text", REFUSED)
def test_schema_and_models_refuse_alike(text: str, tmp_path: Path) -> None:
    """Schema and models refuse the same documents."""
    with pytest.raises(jsonschema.ValidationError):
        validate(tomllib.loads(text))
    (tmp_path / "bxcache.toml").write_text(text)
    with pytest.raises(ConfigError):
        check_file(read_config_file(tmp_path / "bxcache.toml"))
