"""A report in a given format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from bxcache.insight.report import Report

Form = Literal["json", "md", "html"]
"""The formats of a report, which are also the suffixes of its files."""

FORMS: tuple[str, ...] = get_args(Form)


def render_report(report: Report, form: Form) -> str:
    """Render a report for people or programs.

    Args:
        report: the report, as `report` or `make_report` returns it.
        form: `json`, `md` or `html`.

    Raises:
        ValueError: the format is unknown.
    """
    match form:
        case "json":
            return report.model_dump_json(indent=2) + "\n"
        case "md":
            from bxcache.console.report.markdown import render_markdown  # noqa: PLC0415

            return render_markdown(report)
        case "html":
            from bxcache.console.report.page import render_page  # noqa: PLC0415

            return render_page(report)
        case _:
            raise ValueError(f"unknown report format `{form}`; use one of {', '.join(FORMS)}")
