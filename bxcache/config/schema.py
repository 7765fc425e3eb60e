"""The JSON Schema of the config file, generated from its models."""

from __future__ import annotations

import ast
import inspect
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue

from bxcache.config.backends import Declaration
from bxcache.config.models import Config

if TYPE_CHECKING:
    from pydantic_core.core_schema import ModelSchema


class _ConfigSchema(GenerateJsonSchema):
    schema_dialect = "http://json-schema.org/draft-07/schema#"

    def generate(self, schema: Any, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:  # noqa: ANN401  # pydantic's signature
        document = super().generate(schema, mode)
        # TOML editors read draft 7, which has `definitions` instead of `$defs`.
        document["definitions"] = document.pop("$defs")
        text = json.dumps(document).replace("#/$defs/", "#/definitions/")
        return {
            **json.loads(text),
            "$schema": self.schema_dialect,
            "title": "bxcache.toml",
            "description": "A repository's configuration of bxcache.",
        }

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        # pydantic's `use_attribute_docstrings` would read the sources at every start.
        document = super().model_schema(schema)
        models = [base for base in schema["cls"].__mro__ if issubclass(base, Declaration)]
        for base in reversed(models[:-1]):
            for name, text in read_docstrings(base).items():
                document["properties"][name]["description"] = text
        return document


def _drop_null(node: Any) -> Any:  # noqa: ANN401  # any JSON value
    """Remove null from a schema: TOML has none, so an optional key may only be absent."""
    if isinstance(node, list):
        return [_drop_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _drop_null(value) for key, value in node.items()}
    if "anyOf" in node:
        branches = [branch for branch in node["anyOf"] if branch != {"type": "null"}]
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        node = {**branches[0], **rest} if len(branches) == 1 else {**rest, "anyOf": branches}
    if node.get("default", ...) is None:
        del node["default"]
    return node


def read_docstrings(model: type) -> dict[str, str]:
    """The docstring of each field of a model, on one line."""
    definition = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(definition, ast.ClassDef)  # noqa: S101  # it is the source of a class
    return {
        field.target.id: " ".join(docstring.value.value.split())
        for field, docstring in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(docstring, ast.Expr)
        and isinstance(docstring.value, ast.Constant)
        and isinstance(docstring.value.value, str)
    }


def render_schema() -> str:
    """The content of `schemas/bxcache.schema.json`."""
    document = Config.model_json_schema(schema_generator=_ConfigSchema)
    return json.dumps(_drop_null(document), indent=2, sort_keys=True) + "\n"
