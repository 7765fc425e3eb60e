"""The JSON Schemas of a build's record and report, made from the models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from bxcache.config.schema import read_docstrings
from bxcache.insight import record, report

if TYPE_CHECKING:
    from types import ModuleType


def render_schema() -> str:
    """The schema as the text of `schemas/bxcache-record.schema.json`."""
    return _render(record, record.Record.model_json_schema(), "bxcache record")


def render_report_schema() -> str:
    """The schema as the text of `schemas/bxcache-report.schema.json`."""
    # A reader can rely on every key, also on one that has a default.
    document = report.Report.model_json_schema(mode="serialization")
    return _render(report, document, "bxcache report")


def _render(module: ModuleType, document: dict[str, Any], title: str) -> str:
    for name, node in {document["title"]: document, **document["$defs"]}.items():
        for model in getattr(module, name, object).__mro__:
            own = issubclass(model, BaseModel) and model is not BaseModel
            for field, text in (read_docstrings(model) if own else {}).items():
                node["properties"][field]["description"] = text
    document |= {"$schema": GenerateJsonSchema.schema_dialect, "title": title}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
