"""The repository's generated files: schemas, pages of keys and names, examples of CI systems and
the pages that show them, reports and pictures of builds.

`python3 -m tests.regenerate` regenerates them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from bxcache.config.schema import read_docstrings, render_schema
from bxcache.console.starter.files import render_files
from bxcache.insight.document import Document
from bxcache.insight.record import Record
from bxcache.insight.report import Report
from bxcache.pipeline.survey import CI_FILES, Image, Survey
from tests.bootstrap import ROOT
from tests.support import json_reference, python_reference
from tests.support.ci_systems import EXAMPLES, FILES, FOLDERS
from tests.support.golden import BUILDS, SUFFIXES, render_golden
from tests.support.pictures import draw_live, draw_report
from tests.support.reference import render_keys


def _render_record_schema() -> str:
    return _render(Record.model_json_schema(), "bxcache record")


def _render_report_schema() -> str:
    # Readers can rely on every key, even one with a default.
    return _render(Report.model_json_schema(mode="serialization"), "bxcache report")


def _render(document: dict[str, Any], title: str) -> str:
    models = {model.__name__: model for model in _list_models(Document)}
    for name, node in {document["title"]: document, **document["$defs"]}.items():
        for model in models[name].__mro__ if name in models else ():
            own = issubclass(model, Document)
            for field, text in (read_docstrings(model) if own else {}).items():
                node["properties"][field]["description"] = text
    document |= {"$schema": GenerateJsonSchema.schema_dialect, "title": title}
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _list_models(base: type[Document]) -> Iterator[type[Document]]:
    for model in base.__subclasses__():
        yield model
        yield from _list_models(model)


def _list_examples() -> dict[Path, Callable[[], str]]:
    """The examples of CI systems: what `bxcache init` writes beside one Dockerfile."""
    found = Survey("shop", (Image("shop", "Dockerfile", "."),))
    return {
        Path("examples") / folder / name: lambda text=text: text  # type: ignore[misc]  # bound now
        for system, folder in FOLDERS.items()
        for name, text in render_files(found, system).items()
    }


def _fill_page(page: str) -> str:
    """A page of `docs/ci`, whose first blocks of each language are files that `init` writes."""
    known: dict[str, list[str]] = {}
    for folder in (folder for name, folder in FOLDERS.items() if name.split("-")[0] == page):
        for name in ("bxcache.toml", FILES[folder]):
            language = {"toml": "toml", "yml": "yaml"}.get(name.rpartition(".")[2], "groovy")
            text = (EXAMPLES / folder / name).read_text(encoding="utf-8")
            known.setdefault(language, []).append(text)

    def fill(block: re.Match[str]) -> str:
        texts = known.get(block["language"])
        return f"```{block['language']}\n{texts.pop(0)}```\n" if texts else block[0]

    text = (ROOT / "docs" / "ci" / f"{page}.md").read_text(encoding="utf-8")
    return re.sub(r"^```(?P<language>\w+)\n.*?^```\n", fill, text, flags=re.DOTALL | re.MULTILINE)


SCHEMAS, GOLDEN, PICTURES = Path("schemas"), Path("tests/golden"), Path("docs/pictures")
GENERATED: dict[Path, Callable[[], str]] = {
    Path("docs/keys.md"): render_keys,
    Path("docs/json.md"): json_reference.render_page,
    Path("docs/python-reference.md"): python_reference.render_page,
    PICTURES / "live.svg": draw_live,
    PICTURES / "report.svg": draw_report,
    SCHEMAS / "bxcache.schema.json": render_schema,
    SCHEMAS / "bxcache-record.schema.json": _render_record_schema,
    SCHEMAS / "bxcache-report.schema.json": _render_report_schema,
    **_list_examples(),
    **{Path(f"docs/ci/{system}.md"): partial(_fill_page, system) for system in CI_FILES},
    **{
        GOLDEN / f"{name}.{suffix}": partial(render_golden, name, suffix)
        for name in BUILDS
        for suffix in SUFFIXES
    },
}
"""Each file, and the function that makes its text."""


def list_unknown() -> set[Path]:
    """Return the files in these folders that are not generated."""
    kept = [path for folder in (SCHEMAS, GOLDEN, PICTURES) for path in (ROOT / folder).iterdir()]
    return {path.relative_to(ROOT) for path in kept} - set(GENERATED)
