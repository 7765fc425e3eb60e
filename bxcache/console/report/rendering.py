"""A report in the form that somebody asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from bxcache.insight.report import Report

Form = Literal["json", "md", "html"]
"""What a report can be rendered as; a file of that suffix has it."""

FORMS: tuple[str, ...] = get_args(Form)


def render_report(report: Report, form: Form) -> str:
    """A report as text: `json`, `md` or `html`.

    Raises:
        ValueError: there is no such form.
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
            raise ValueError(f"`{form}` is no form of a report; there are {', '.join(FORMS)}")
