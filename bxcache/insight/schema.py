"""The JSON Schema of a build's record, made from the models that read it."""

from __future__ import annotations

import ast
import inspect
import json
from itertools import pairwise
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from bxcache.insight import record


def render_schema() -> str:
    """The schema as the text of `schemas/bxcache-record.schema.json`."""
    document = record.Record.model_json_schema()
    for name, node in {"Record": document, **document["$defs"]}.items():
        _describe_fields(node, getattr(record, name))
    document |= {"$schema": GenerateJsonSchema.schema_dialect, "title": "bxcache record"}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _describe_fields(node: dict[str, Any], model: type) -> None:
    """Put the docstring below each field into the schema."""
    definition = ast.parse(inspect.getsource(model)).body[0]
    assert isinstance(definition, ast.ClassDef)  # noqa: S101  # it is the source of a class
    for field, text in pairwise(definition.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            node["properties"][ast.unparse(field.target)]["description"] = " ".join(
                ast.literal_eval(text.value).split()
            )
