"""Tests that no text of a Dockerfile, log or name changes a report's structure."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bxcache.buildx.stream.events import Outcome
from bxcache.console.report.plain import render_plain
from bxcache.console.report.rendering import FORMS, render_report
from bxcache.console.tables import clean_log, clean_text
from bxcache.insight.record_parts import (
    RecordedCache,
    RecordedImage,
    RecordedPlace,
    RecordedScope,
    RecordedStage,
    RecordedStep,
    RecordedTools,
    Verdict,
)
from bxcache.insight.report import Report
from bxcache.insight.reporting import make_report
from tests.support.histories import make_layer, make_record

FRAGMENTS = [
    *("<script>alert(1)</script>", "</script>", "<!--", "-->", "]]>", "<img src=x onerror=x>"),
    *("</pre>", "</details>", "</title>", "</style>", '"', "'", "&amp;", "&#60;", "&lt", "$title"),
    *("`", "``", "```", "~~~", "~~~~", "|", "\\", "\\|", "**", "_", "[a](http://x)", "![a](x)"),
    *("@someone", "#1", "http://example.com", "www.example.com", "<http://x>", "- ", "# ", "> "),
    *(
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\t",
        "\0",
        "\x1b[31m",
        "\x1b[2J",
        "\x1b]8;;http://x\x07",
        "\x9b",
    ),
    *("\u202e", "\u2028", "\ufeff", "---", "===", ": ", "javascript:", "   ", "    "),
]
HOSTILE = (
    st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5), min_size=1, max_size=12)
    .map("".join)
    .filter(lambda text: clean_text(text).strip() and clean_log(text).strip())
)
PLAIN = "x"
# Attributes that load or run something in a browser.
LOADS = {"src", "srcset", "action", "formaction", "data", "poster", "background", "ping"}


def fill(text: str) -> Report:
    """Make a report with a text in every place for foreign text."""
    steps = (
        RecordedStep(kind="from", text=text, stage=text, lines=(1,), layers=(make_layer("a", 90),)),
        RecordedStep(
            text=text,
            stage=text,
            lines=(2,),
            platforms=(text,),
            outcome=Outcome.EXECUTED,
            seconds=9.0,
            began=1.0,
            log=text,
            log_bytes=5,
            layers=(make_layer("b", 80),),
        ),
        RecordedStep(
            text=text, stage=text, lines=(3,), outcome=Outcome.FAILED, log=text, error=text
        ),
    )
    record = make_record(
        *steps,
        stages=(
            RecordedStage(name=text, line=1, base=text),
            RecordedStage(name=text, line=9, base=text, needed=False),
        ),
        exit_status=1,
        scope=RecordedScope(name=text, image=text, target=text, platforms=(text,), branch=text),
        images=(RecordedImage(name=text, digest=text),),
        place=RecordedPlace(provider=text, tag=text, base=text, pull_request=text),
        tools=RecordedTools(**dict.fromkeys(RecordedTools.model_fields, text)),
        caches=(RecordedCache(backend=text, place=text, scope=text, bytes=1, imported=True),),
        warnings=(text,),
        gates=(
            Verdict(gate="max_size", reason=text, fails=True),
            Verdict(gate="max_size", reason=text, fails=False),
        ),
    )
    return make_report([record, record.model_copy(update={"started": 1.0})])


class Structure(HTMLParser):
    """The elements of a page with their attributes, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *(name for name, _ in attrs)))
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}",))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.tags.append(("comment", data))

    def unknown_decl(self, data: str) -> None:
        self.tags.append(("declaration", data))


@given(HOSTILE)
def test_no_text_changes_the_page(text: str) -> None:
    """With any text, a page has the same elements and attributes as with a letter in its place."""
    page = Structure(render_report(fill(text), "html"))
    assert page.tags == Structure(render_report(fill(PLAIN), "html")).tags
    shown = "".join(page.texts)
    assert clean_text(text) in shown
    assert clean_log(text) in shown


@given(HOSTILE)
def test_no_text_makes_a_page_load_or_run_anything(text: str) -> None:
    """The links of a page lead only within it; nothing is fetched, and no attribute is code."""
    for name, value in Structure(render_report(fill(text), "html")).attributes:
        assert name not in LOADS
        assert name != "style"
        assert not name.startswith("on")
        assert name != "href" or re.fullmatch(r"#s\d+", value)


def list_tokens(text: str) -> list[tuple[Any, ...]]:
    """List what a CommonMark parser with tables reads, without the content of code."""
    found: list[tuple[Any, ...]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        found.append((token.type, token.tag, token.nesting, token.level))
        found += [(child.type, child.tag, child.level) for child in token.children or ()]
        if token.type == "html_block":
            found.append(tuple(Structure(token.content).tags))
    return found


@example("a\n~~~\n# b")
@example("a\n~~~~~~\n\n</details>\n\n[b](http://x)")
@given(HOSTILE)
def test_no_text_changes_the_markdown(text: str) -> None:
    """With any text, Markdown has the same headings, tables, code and HTML as with a letter."""
    seen = list_tokens(render_report(fill(text), "md"))
    assert seen == list_tokens(render_report(fill(PLAIN), "md"))
    kinds = {kind for kind, *_ in seen}
    assert not kinds & {"link_open", "image", "html_inline", "blockquote_open", "list_item_open"}


@given(HOSTILE)
def test_markdown_contains_the_text_unchanged(text: str) -> None:
    """Markdown contains the text unchanged, even with a bar in a table."""
    tokens = MarkdownIt("commonmark").enable("table").parse(render_report(fill(text), "md"))
    codes = [c.content for t in tokens for c in t.children or () if c.type == "code_inline"]
    expected, place = clean_text(text), clean_text(f"{text} ({text})")
    assert codes
    seen = [code.removeprefix("gate max_size: ") for code in codes]
    known = {expected.strip(" "), place.strip(" ")}
    assert all(code.strip(" ") in known for code in seen if len(expected) < 100)
    (fence,) = [token for token in tokens if token.type == "fence"]
    assert fence.content.startswith(clean_log(text))


@given(HOSTILE)
def test_plain_lines_contain_no_control_characters(text: str) -> None:
    """Plain lines contain no control characters except line ends."""
    assert render_plain(fill(text)).replace("\n", "").isprintable()


@given(st.text(max_size=30))
def test_the_document_contains_the_text_unchanged(text: str) -> None:
    """JSON contains every text unchanged."""
    document = json.loads(render_report(fill(text or PLAIN), "json"))
    assert document["steps"][1]["text"] == (text or PLAIN)
    assert document["steps"][2]["log"] == (text or PLAIN)


def test_an_unknown_form_is_refused() -> None:
    """The error for an unknown form lists the known forms."""
    with pytest.raises(ValueError, match="json, md, html"):
        render_report(fill(PLAIN), "pdf")  # type: ignore[arg-type]
    assert FORMS == ("json", "md", "html")


def test_a_page_allows_only_its_own_style_and_script() -> None:
    """The policy of a page allows only the hashes of its own style and script."""
    attributes = Structure(render_report(fill(PLAIN), "html")).attributes
    (policy,) = [value for _, value in attributes if "default-src" in value]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for name in ("style-src", "script-src"):
        assert re.fullmatch(r"'sha256-[\w+/]{43}='", rules[name])
    assert rules.keys() == {"default-src", "base-uri", "form-action", "style-src", "script-src"}
