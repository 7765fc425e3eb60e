"""The JSON Schema of the config file, generated from its models."""

from __future__ import annotations

import ast
import inspect
import json
from itertools import pairwise
from typing import TYPE_CHECKING

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from bxcache.config.declaration import Declaration
from bxcache.config.models import Config

if TYPE_CHECKING:
    from pydantic_core.core_schema import ModelSchema, NullableSchema, WithDefaultSchema


_ADDRESS = "https://raw.githubusercontent.com/bxcache/bxcache/main/schemas/bxcache.schema.json"
SCHEMA_LINE = f"#:schema {_ADDRESS}"
"""The first line of a config file, by which editors complete and check it:
https://taplo.tamasfe.dev/configuration/directives.html"""


class _ConfigSchema(GenerateJsonSchema):
    """TOML has no null: an optional key may only be absent."""

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        # pydantic's `use_attribute_docstrings` would read the sources at every start.
        document = super().model_schema(schema)
        models = [base for base in schema["cls"].__mro__ if issubclass(base, Declaration)]
        for base in reversed(models[:-1]):
            for name, text in read_docstrings(base).items():
                document["properties"][name]["description"] = text
        return document


def read_docstrings(model: type) -> dict[str, str]:
    """The docstring of each field of a model or member of an enumeration, on one line."""
    definition = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(definition, ast.ClassDef)  # noqa: S101  # it is the source of a class
    return {
        target.id: " ".join(docstring.value.value.split())
        for field, docstring in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign | ast.Assign)
        for target in (field.targets if isinstance(field, ast.Assign) else [field.target])
        if isinstance(target, ast.Name)
        and isinstance(docstring, ast.Expr)
        and isinstance(docstring.value, ast.Constant)
        and isinstance(docstring.value.value, str)
    }


def render_schema() -> str:
    """The content of `schemas/bxcache.schema.json`."""
    document = Config.model_json_schema(
        ref_template="#/definitions/{model}", schema_generator=_ConfigSchema
    )
    # TOML editors read draft 7, which has `definitions` instead of `$defs`.
    document |= {
        "definitions": document.pop("$defs"),
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "bxcache.toml",
        "description": "A repository's configuration of bxcache.",
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
