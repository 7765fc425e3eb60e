"""A real browser for the tests of pages.

Where there is no browser, a test is skipped on a laptop and fails in CI (`CI` is set).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.remote.webelement import WebElement

from bxcache.console.report.rendering import render_report
from bxcache.insight.report import Report
from tests.browser.chromium import BrowserError, provide_browser, start_browser


@dataclass
class Window:
    """A window of a browser, and the folder of its pages."""

    driver: Chrome
    folder: Path

    def show(self, report: Report) -> None:
        """Open a report as a file."""
        path = self.folder / "report.html"
        path.write_text(render_report(report, "html"), encoding="utf-8")
        self.read_logs("browser")
        self.read_logs("performance")
        self.driver.get(path.as_uri())

    def run(self, script: str, *words: object) -> Any:  # noqa: ANN401  # what the script gives
        """Return the result of a piece of JavaScript."""
        return self.driver.execute_script(script, *words)

    def tell(self, command: str, **words: object) -> Any:  # noqa: ANN401  # the browser's answer
        """Send the browser a command of its own protocol."""
        return self.driver.execute_cdp_cmd(command, words)

    def find(self, selector: str) -> WebElement:
        """Return the first element that a selector matches."""
        return self.driver.find_element("css selector", selector)

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def read_logs(self, kind: str) -> list[dict[str, Any]]:
        """Return what the browser has logged since the last call."""
        logs: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return logs

    def list_requests(self) -> list[str]:
        """List the requests of the page; those of a page before it can be logged late."""
        page = self.driver.current_url.partition("#")[0]
        entries = (json.loads(entry["message"]) for entry in self.read_logs("performance"))
        return [
            message["params"]["request"]["url"]
            for message in (entry["message"] for entry in entries)
            if message["method"] == "Network.requestWillBeSent"
            and message["params"]["documentURL"].partition("#")[0] == page
        ]

    def set_media(self, kind: str = "", **features: str) -> None:
        """Show the page on another medium, such as paper, or in other colours."""
        named = [{"name": n.replace("_", "-"), "value": value} for n, value in features.items()]
        self.tell("Emulation.setEmulatedMedia", media=kind, features=named)

    def set_width(self, width: int) -> None:
        """Show the page in a window of this width."""
        known = {"height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.tell("Emulation.setDeviceMetricsOverride", width=width, **known)


@pytest.fixture(scope="session")
def _driver() -> Iterator[Chrome]:
    try:
        browser = provide_browser()
    except BrowserError as error:
        if os.environ.get("CI"):
            pytest.fail(f"a browser is needed in CI: {error}")
        pytest.skip(str(error))
    with start_browser(browser) as driver:
        yield driver


@pytest.fixture
def window(_driver: Chrome, tmp_path: Path) -> Iterator[Window]:
    """An empty window."""
    window = Window(_driver, tmp_path)
    yield window
    window.set_media()
    window.tell("Emulation.clearDeviceMetricsOverride")
    window.tell("Emulation.setScriptExecutionDisabled", value=False)
    _driver.get("about:blank")
