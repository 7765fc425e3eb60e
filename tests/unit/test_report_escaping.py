"""Tests that no text of a Dockerfile, log or name changes a report's structure."""

from __future__ import annotations

import json
import re
from html import escape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bxcache.buildx.stream.events import Outcome
from bxcache.console.report.plain import render_plain
from bxcache.console.report.rendering import FORMS, render_report
from bxcache.console.tables import clean_log, clean_text, cut_text
from bxcache.insight.record_parts import (
    RecordedCache,
    RecordedImage,
    RecordedPhase,
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
SHA = "9f2c1e5b7a6d4c3b2a190817161514131211100f"
STATUS = st.sampled_from([0, 1])
# Attributes that load or run something in a browser.
LOADS = {"src", "srcset", "action", "formaction", "data", "poster", "background", "ping"}


def fill(text: str, status: int = 1, job_url: str = "") -> Report:
    """Make a report with a text in every place for foreign text; only a built one is compared."""
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
        exit_status=status,
        phases=tuple(
            RecordedPhase(name=name, seconds=4.0, spans=((0.0, 4.0),)) for name in (text, "steps")
        ),
        scope=RecordedScope(name=text, image=text, target=text, platforms=(text,), branch=text),
        images=(RecordedImage(name=text, digest=text),),
        place=RecordedPlace(
            **dict.fromkeys(("provider", "branch", "tag", "base", "pull_request", "project"), text),
            commit=SHA,
            job_url=job_url,
        ),
        tools=RecordedTools(**dict.fromkeys(RecordedTools.model_fields, text)),
        caches=(RecordedCache(backend=text, place=text, scope=text, bytes=1, imported=True),),
        warnings=(text,),
        gates=(
            Verdict(gate="max_size", reason=text, fails=True),
            Verdict(gate="max_size", reason=text, fails=False),
        ),
    )
    reused = steps[1].model_copy(update={"outcome": Outcome.REUSED})
    before = {
        "started": 1.0,
        "steps": (steps[0], reused, steps[2]),
        "phases": tuple(each.model_copy(update={"seconds": 1.0}) for each in record.phases),
    }
    return make_report([record, record.model_copy(update=before)])


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


@given(HOSTILE, STATUS)
def test_no_text_changes_the_page(text: str, status: int) -> None:
    """With any text, a page has the same elements and attributes as with a letter in its place."""
    page = Structure(render_report(fill(text, status), "html"))
    assert page.tags == Structure(render_report(fill(PLAIN, status), "html")).tags
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


@example("a\n~~~\n# b", 1)
@example("a\n~~~~~~\n\n</details>\n\n[b](http://x)", 1)
@given(HOSTILE, STATUS)
def test_no_text_changes_the_markdown(text: str, status: int) -> None:
    """With any text, Markdown has the same headings, tables, code and HTML as with a letter."""
    seen = list_tokens(render_report(fill(text, status), "md"))
    assert seen == list_tokens(render_report(fill(PLAIN, status), "md"))
    kinds = {kind for kind, *_ in seen}
    assert not kinds & {"link_open", "image", "html_inline", "blockquote_open", "list_item_open"}


@given(HOSTILE, STATUS)
def test_markdown_contains_the_text_unchanged(text: str, status: int) -> None:
    """Markdown contains the text unchanged, even with a bar in a table."""
    tokens = MarkdownIt("commonmark").enable("table").parse(render_report(fill(text, status), "md"))
    codes = [c.content for t in tokens for c in t.children or () if c.type == "code_inline"]
    expected, place = clean_text(text), clean_text(f"{text} ({text})")
    assert codes
    seen = [code.removeprefix("gate max_size: ") for code in codes]
    short, build = clean_text(cut_text(text, 60)), f"{expected}@{SHA[:7]}"
    known = {each.strip(" ") for each in (expected, place, short, SHA[:7], build)}
    assert all(code.strip(" ") in known for code in seen if len(expected) < 100)
    (fence,) = [token for token in tokens if token.type == "fence"]
    assert fence.content.startswith(clean_log(text))


@given(HOSTILE, STATUS)
def test_plain_lines_contain_no_control_characters(text: str, status: int) -> None:
    """Plain lines contain no control characters except line ends."""
    assert render_plain(fill(text, status)).replace("\n", "").isprintable()


@given(st.text(max_size=30))
def test_the_document_contains_the_text_unchanged(text: str) -> None:
    """JSON contains every text unchanged."""
    document = json.loads(render_report(fill(text or PLAIN), "json"))
    assert document["steps"][1]["text"] == (text or PLAIN)
    assert document["steps"][2]["log"] == (text or PLAIN)


@pytest.mark.parametrize("rest", ["&copy;&lt;b&gt;", "(a)[b](c)", "'*_!~;,=$+:@", "%3Cb%3E?a=1#b"])
def test_the_only_link_out_is_the_page_of_the_job(rest: str) -> None:
    """The job's page is a link without a referrer, whatever signs its URL has."""
    url = f"https://ci.example/{rest}"
    report = fill(PLAIN, job_url=url)
    page = render_report(report, "html")
    assert [v for n, v in Structure(page).attributes if n == "href" and v[0] != "#"] == [url]
    assert re.findall(r'<a href="https[^>]*>', page) == [
        f'<a href="{escape(url)}" rel="noreferrer">'
    ]
    tokens = MarkdownIt("commonmark").enable("table").parse(render_report(report, "md"))
    links = [c for t in tokens for c in t.children or () if c.type == "link_open"]
    assert [unquote(str(link.attrs["href"])) for link in links] == [unquote(url)]
    assert f"\nCI job: {url}\n" in render_plain(report)


@pytest.mark.parametrize("url", ["javascript:alert(1)", 'https://x/"onload=x', "https://a@b/"])
def test_another_url_is_no_link(url: str) -> None:
    """A record with anything but a page's URL gives a report without a link out."""
    report = fill(PLAIN, job_url=url)
    for form in ("html", "md"):
        assert url not in render_report(report, form)
    assert "CI job" not in render_plain(report)


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
