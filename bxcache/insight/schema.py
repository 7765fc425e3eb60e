"""The JSON Schema of a build's record, made from the models that read it."""

from __future__ import annotations

import json

from pydantic.json_schema import GenerateJsonSchema

from bxcache.config.schema import read_docstrings
from bxcache.insight import record


def render_schema() -> str:
    """The schema as the text of `schemas/bxcache-record.schema.json`."""
    document = record.Record.model_json_schema()
    for name, node in {"Record": document, **document["$defs"]}.items():
        for field, text in read_docstrings(getattr(record, name)).items():
            node["properties"][field]["description"] = text
    document |= {"$schema": GenerateJsonSchema.schema_dialect, "title": "bxcache record"}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
