"""A report's page in a real browser: quick, quiet, by keyboard, narrow, dark, on paper."""

from __future__ import annotations

from collections.abc import Callable
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
MOST_MS = 5_000.0
ATTACK = (
    "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>"
    "\"><svg onload='window.hit = 3'></a><iframe src=http://example.com></iframe>"
)


@pytest.fixture
def large(window: Window) -> Window:
    """The report of a build of 300 steps that failed at the last one."""
    window.show(make_large_report(300, failing=True))
    return window


@pytest.mark.parametrize("kind", ["large", "hostile", "recorded"])
def test_a_page_is_quiet(kind: str, window: Window) -> None:
    """It asks for nothing but itself, and the console has nothing to say."""
    reports = {
        "large": make_large_report(300),
        "hostile": fill(ATTACK),
        "recorded": make_golden("source-edit"),
    }
    window.show(reports[kind])
    window.press(Keys.TAB, Keys.ARROW_RIGHT, Keys.ENTER)
    (only,) = window.list_requests()
    assert only.startswith("file://")
    assert window.read_logs("browser") == []


def test_a_page_of_300_steps_is_ready_at_once(
    large: Window, record_property: Callable[[str, object], None]
) -> None:
    """By the browser's own clock, its script included."""
    timing = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
    took = large.run(timing)
    record_property("milliseconds", took)
    assert len(large.run("return [...document.querySelectorAll('details.step')]")) == 300
    assert 0 < took < MOST_MS


def test_a_step_is_opened_by_keyboard(large: Window) -> None:
    """Tab to the drawing, End to the last step, Enter: its details with its log have the focus."""
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
    """Right and left in time; down and up to what another stage did at that time."""
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


def test_a_step_that_has_the_focus_is_told(large: Window) -> None:
    """What it is and what became of it, inside of the window."""
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
    """In the timeline, and among the layers of a build that succeeded."""
    large.show(make_large_report(300))
    for chart in ("#timeline", "#sizes"):
        bar = large.find(f"{chart} .row:last-child a.bar:last-of-type")
        large.run("arguments[0].scrollIntoView({block: 'center'})", bar)
        bar.find_element("css selector", "rect").click()
        step = large.find(large.run("return arguments[0].getAttribute('href')", bar))
        assert step.get_attribute("open") is not None
        large.run("arguments[0].open = false", step)


def test_steps_are_found_by_words_and_outcome(large: Window) -> None:
    """In texts and logs; what is hidden comes back."""
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
    """With the stage around it, which is hidden too where none of its steps is left."""
    large.find(".find input").send_keys("nothing is called that")
    step = large.find("#s3")
    assert not step.is_displayed()
    large.run("document.querySelector('#timeline a.bar[href=\"#s3\"]').focus()")
    large.press(Keys.ENTER)
    assert step.is_displayed()
    assert large.run("return document.activeElement.parentElement.id") == "s3"


@pytest.mark.parametrize("kind", ["large", "hostile", "failing-step", "two-platforms"])
def test_a_narrow_window_scrolls_down_alone(kind: str, window: Window) -> None:
    """Everything is as wide as a telephone at most; wide tables scroll by themselves."""
    reports = {"large": make_large_report(300, failing=True), "hostile": fill(ATTACK + "x" * 300)}
    window.show(reports.get(kind) or make_golden(kind))
    window.set_width(NARROW)
    window.run("for (const each of document.querySelectorAll('details')) each.open = true")
    assert window.run("return document.documentElement.scrollWidth") <= NARROW


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["failing", "built", "recorded"])
def test_every_text_can_be_read(scheme: str, kind: str, window: Window) -> None:
    """At a contrast of 4.5 to 1 at least, on a ground that is as light as was asked for."""
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


def test_what_became_of_a_step_is_told_by_more_than_a_colour(large: Window) -> None:
    """The bars of two outcomes differ in their pattern, and each step has the word."""
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
    """Scripts, handlers and frames stay the words that they are."""
    window.show(fill(ATTACK))
    window.run("for (const each of document.querySelectorAll('details')) each.open = true")
    window.run("document.querySelector('#timeline a.bar').focus()")
    assert window.run("return window.hit") is None
    assert window.run("return document.querySelectorAll('img, iframe, svg[onload]').length") == 0
    assert ATTACK in window.find("#steps pre").text
    # The page may write it anew at any time, as when it has been scrolled.
    told = window.run("return document.querySelector('#tip code').textContent")
    assert told.startswith("<script>window.hit = 1</script>")


def test_the_policy_stops_what_would_get_through(window: Window) -> None:
    """Even a script that stands in the page is not run."""
    window.show(make_golden("cold"))
    window.run(
        "const each = document.createElement('script'); each.textContent = 'window.hit = 1';"
        "document.body.append(each)"
    )
    assert window.run("return window.hit") is None
    assert any("Content Security Policy" in log["message"] for log in window.read_logs("browser"))


def test_a_page_can_be_read_without_scripts(window: Window) -> None:
    """Drawings, tables, and the details of a step, which its link opens."""
    window.tell("Emulation.setScriptExecutionDisabled", value=True)
    window.show(make_large_report(30, failing=True))
    assert window.find("#timeline a.bar").is_displayed()
    assert "executed" in window.find("table").text
    window.find("#s0 summary").click()
    assert window.find("#s0 dl").is_displayed()
    assert window.find("#timeline a.bar title").get_attribute("textContent")


def test_paper_has_no_controls(large: Window) -> None:
    """And nothing is cut off on the right."""
    large.set_media("print")
    assert not large.find(".find").is_displayed()
    large.set_width(720)
    assert large.run("return document.documentElement.scrollWidth") <= 720
    assert large.find("table").is_displayed()
