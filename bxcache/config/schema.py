"""The JSON Schema of the config file, made from the models that load it."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue

from bxcache.config.models import Config


class _ConfigSchema(GenerateJsonSchema):
    schema_dialect = "http://json-schema.org/draft-07/schema#"
    ref_template = "#/definitions/{model}"

    def generate(self, schema: Any, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:  # noqa: ANN401  # pydantic's signature
        document = super().generate(schema, mode)
        # Draft 7 is what TOML editors read; it has `definitions` where later drafts have `$defs`.
        text = json.dumps(document).replace("#/$defs/", "#/definitions/")
        document = json.loads(text)
        document["definitions"] = document.pop("$defs")
        return {
            "$schema": self.schema_dialect,
            "title": "bxcache.toml",
            "description": "What a repository declares for bxcache.",
            **{
                key: value for key, value in document.items() if key not in ("title", "description")
            },
        }


def _drop_null(node: Any) -> Any:  # noqa: ANN401  # any JSON value
    """TOML has no null, so an optional key is one that may be absent."""
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


def render_schema() -> str:
    """The schema as the text of `schemas/bxcache.schema.json`."""
    document = Config.model_json_schema(schema_generator=_ConfigSchema, by_alias=True)
    return json.dumps(_drop_null(document), indent=2, sort_keys=True) + "\n"
