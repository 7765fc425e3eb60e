"""HTML that escapes every text that is not markup."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ROW, BAR = 22, 16
"""The height of a row and of a bar, in pixels."""


class Markup(str):
    """A string that is HTML."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str | int | None) -> Markup:
    """Return an element.

    An attribute that is None is left out; `class_` is `class`, `data_x` `data-x`.

    >>> element("a", "<b>", element("i"), href='"x"', class_="y")
    '<a href="&quot;x&quot;" class="y">&lt;b&gt;<i></i></a>'
    """
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{shown}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """Concatenate markup and texts."""
    return Markup("".join(each if isinstance(each, Markup) else escape(each) for each in children))


def section(title: str, *content: str, **attributes: str) -> Markup:
    """Return a section with its title."""
    return element("section", element("h2", title), *content, **attributes)


def draw_row(head: Iterable[str], label: str, height: int, *shapes: Markup) -> Markup:
    """Draw the shapes of a stage beside its name."""
    svg = element("svg", *shapes, height=height, width="100%", role="group", aria_label=label)
    return element("div", element("span", *head, class_="name"), svg, class_="row")


def format_percent(number: float) -> str:
    """Format a position or a width.

    >>> format_percent(12.3456)
    '12.35%'
    """
    return f"{round(number, 2):g}%"
