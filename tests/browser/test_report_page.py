"""Tests of a report's page in a browser: quiet, complete, by keyboard, narrow, dark, printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from tests.browser.conftest import Window
from tests.support.golden import make_golden
from tests.support.synthetic_report import make_large_report
from tests.unit.test_report_escaping import fill

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
NARROW = 360
ATTACK = (
    "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"
    "\"><svg onload='window.hit = 3'></a><iframe src=http://example.com></iframe>"
)


@pytest.fixture
def large(window: Window) -> Window:
    """Make the report of a build of 300 steps that failed at the last one."""
    window.show(make_large_report(300, failing=True))
    return window


@pytest.mark.parametrize("kind", ["large", "hostile", "recorded"])
def test_a_page_is_quiet(kind: str, window: Window) -> None:
    """The page requests only itself and logs nothing."""
    reports = {
        "large": make_large_report(300),
        "hostile": fill(ATTACK),
        "recorded": make_golden("source-edit"),
    }
    window.show(reports[kind])
    window.run("document.querySelector('#timeline a.bar').focus()")
    window.press(Keys.ARROW_RIGHT, Keys.ENTER)
    (only,) = window.list_requests()
    assert only.startswith("file://")
    assert window.read_logs("browser") == []


def test_a_page_of_300_steps_shows_every_step(large: Window) -> None:
    """The page of a large build has an element for each step; a benchmark measures its loading."""
    assert len(large.run("return [...document.querySelectorAll('details.step')]")) == 300


def test_a_step_is_opened_by_keyboard(large: Window) -> None:
    """Tab, End and Enter focus the last step's details with its log."""
    for _ in range(20):
        large.press(Keys.TAB)
        if large.run("return document.activeElement.matches('#timeline a.bar')"):
            break
    large.press(Keys.END)
    large.run("document.querySelector('#s299').open = false")
    outline = "return getComputedStyle(document.activeElement.querySelector('rect')).strokeWidth"
    assert large.run(outline) == "3px"
    large.press(Keys.ENTER)
    step = large.find("#s299")
    assert step.get_attribute("open") is not None
    assert large.run("return document.activeElement.parentElement.id") == "s299"
    log = step.find_element("css selector", "pre")
    assert log.is_displayed()
    assert "Get:8 http://deb.example.com/" in log.text
    large.press(Keys.ESCAPE)
    assert large.run("return document.activeElement.getAttribute('href')") == "#s299"


def test_arrows_go_from_step_to_step_and_from_stage_to_stage(large: Window) -> None:
    """Right and left follow time; down and up go to the concurrent step of another stage."""
    large.run("document.querySelector('#timeline a.bar').focus()")
    where = "return document.activeElement.closest('svg').getAttribute('aria-label')"
    first = large.run("return document.activeElement.getAttribute('href')")
    large.press(Keys.ARROW_RIGHT)
    assert large.run("return document.activeElement.getAttribute('href')") != first
    assert large.run(where) == "stage base"
    large.press(Keys.ARROW_LEFT, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert large.run(where) == "stage part-2"
    large.press(Keys.ARROW_UP)
    assert large.run(where) == "stage part-1"
    stops = "return document.querySelectorAll('#timeline a.bar[tabindex=\"0\"]').length"
    assert large.run(stops) == 1


def test_a_focused_step_has_a_tooltip(large: Window) -> None:
    """A focused step has a tooltip with its text and its outcome, inside the window."""
    large.run("document.querySelector('#timeline a.bar').focus()")
    tip = large.find("#tip")
    assert tip.is_displayed()
    assert "WORKDIR /srv/accounts0" in tip.text
    assert "reused" in tip.text
    inside = (
        "const at = arguments[0].getBoundingClientRect();"
        "return at.left >= 0 && at.right <= innerWidth && at.top >= 0 && at.bottom <= innerHeight"
    )
    assert large.run(inside, tip)


def test_a_click_opens_a_step(large: Window) -> None:
    """Bars of the timeline and of the layers link to steps."""
    large.show(make_large_report(300))
    for chart in ("#timeline", "#sizes"):
        bar = large.find(f"{chart} .row:last-child a.bar:last-of-type")
        large.run("arguments[0].scrollIntoView({block: 'center'})", bar)
        bar.find_element("css selector", "rect").click()
        step = large.find(large.run("return arguments[0].getAttribute('href')", bar))
        assert step.get_attribute("open") is not None
        large.run("arguments[0].open = false", step)


def test_steps_are_found_by_words_and_outcome(large: Window) -> None:
    """The filter searches texts and logs, and hidden steps come back."""
    shown = "return document.querySelectorAll('details.step:not([hidden])').length"
    assert large.run(shown) == 300
    large.find(".find input").send_keys("WORKDIR /SRV/accounts0")
    assert large.run(shown) == 1
    large.find(".find input").clear()
    outcome = Select(large.find(".find select"))
    outcome.select_by_value("failed")
    assert large.run(shown) == 1
    outcome.select_by_value("all")
    assert large.run(shown) == 300


def test_a_bar_opens_a_step_that_the_filter_has_hidden(large: Window) -> None:
    """A bar opens its step even if the filter has hidden it and its stage."""
    large.find(".find input").send_keys("nothing is called that")
    step = large.find("#s3")
    assert not step.is_displayed()
    large.run("document.querySelector('#timeline a.bar[href=\"#s3\"]').focus()")
    large.press(Keys.ENTER)
    assert step.is_displayed()
    assert large.run("return document.activeElement.parentElement.id") == "s3"


@pytest.mark.parametrize(
    "kind", ["large", "hostile", "failing-step", "two-platforms", "source-edit"]
)
def test_a_narrow_window_scrolls_down_alone(kind: str, window: Window) -> None:
    """The page fits a telephone; wide tables scroll by themselves."""
    reports = {"large": make_large_report(300, failing=True), "hostile": fill(ATTACK + "x" * 300)}
    window.show(reports.get(kind) or make_golden(kind))
    window.set_width(NARROW)
    window.run("for (const each of document.querySelectorAll('details')) each.open = true")
    assert window.run("return document.documentElement.scrollWidth") <= NARROW


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["failing", "built", "recorded"])
def test_every_text_can_be_read(scheme: str, kind: str, window: Window) -> None:
    """Every text has a contrast of at least 4.5 to 1, in light and dark colours."""
    reports = {
        "failing": make_large_report(30, failing=True),
        "built": make_large_report(30),
        "recorded": make_golden("failing-step"),
    }
    window.show(reports[kind])
    window.set_media(prefers_color_scheme=scheme)
    window.run("for (const each of document.querySelectorAll('details')) each.open = true")
    window.run("document.querySelector('#timeline a.bar').focus()")
    unreadable, ground = window.run(CONTRAST)
    assert unreadable == []
    assert (sum(ground) < 3 * 128) == (scheme == "dark")


def test_outcomes_differ_in_more_than_colour(large: Window) -> None:
    """Bars differ in their pattern, and each step names its outcome."""
    fills = large.run(
        "return ['reused', 'executed', 'failed'].map((name) =>"
        " getComputedStyle(document.querySelector(`#timeline .${name} rect`)).fill)"
    )
    patterns = [fill if "url" in fill else "plain" for fill in fills]
    assert len(set(patterns)) == 3
    words = "return [...document.querySelectorAll('#steps .badge')].map((each) => each.textContent)"
    told = {word.split()[-1] for word in large.run(words)}
    assert told == {"reused", "executed", "failed"}


def test_hostile_texts_are_shown_and_never_run(window: Window) -> None:
    """Scripts, handlers and frames in a build's output stay text."""
    window.show(fill(ATTACK))
    window.run("for (const each of document.querySelectorAll('details')) each.open = true")
    window.run("document.querySelector('#timeline a.bar').focus()")
    assert window.run("return window.hit") is None
    assert window.run("return document.querySelectorAll('img, iframe, svg[onload]').length") == 0
    assert ATTACK in window.find("#steps pre").text
    # The page may write the tooltip anew at any time, for example after scrolling.
    told = window.run("return document.querySelector('#tip code').textContent")
    assert told.startswith("<script>window.hit = 1</script>")


def test_the_policy_stops_injected_scripts(window: Window) -> None:
    """A script that gets into the page does not run."""
    window.show(make_golden("cold"))
    window.run(
        "const each = document.createElement('script'); each.textContent = 'window.hit = 1';"
        "document.body.append(each)"
    )
    assert window.run("return window.hit") is None
    assert any("Content Security Policy" in log["message"] for log in window.read_logs("browser"))


def test_a_page_can_be_read_without_scripts(window: Window) -> None:
    """Drawings, tables, links and details of steps work without scripts."""
    window.tell("Emulation.setScriptExecutionDisabled", value=True)
    window.show(make_large_report(30, failing=True))
    assert window.find("#timeline a.bar").is_displayed()
    assert "executed" in window.find("table").text
    window.find("#s0 summary").click()
    assert window.find("#s0 dl").is_displayed()
    assert window.find("#timeline a.bar title").get_attribute("textContent")


def test_paper_has_no_controls(large: Window) -> None:
    """On paper, the controls are hidden and nothing is cut off on the right."""
    large.set_media("print")
    assert not large.find(".find").is_displayed()
    large.set_width(720)
    assert large.run("return document.documentElement.scrollWidth") <= 720
    assert large.find("table").is_displayed()
