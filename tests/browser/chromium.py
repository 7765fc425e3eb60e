"""Debian's Chromium: where it is, how CI gets it, and how it is started."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

PACKAGES = ("chromium", "chromium-driver")
PROGRAMS = ("chromium", "chromedriver")
STARTS = 3
APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")
# A browser that sends no requests by itself; root may not use its sandbox.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",
)


class BrowserError(Exception):
    """There is no browser; the text says what to do."""


@dataclass(frozen=True)
class Browser:
    """The programs of a browser."""

    chromium: Path
    driver: Path


def find_browser() -> Browser | None:
    """Find the browser of this machine, if it has one."""
    found = [shutil.which(name) for name in PROGRAMS]
    return Browser(*map(Path, filter(None, found))) if all(found) else None


def provide_browser() -> Browser:
    """Find the browser of this machine; in CI, where the machine is the job's own, install it.

    Raises:
        BrowserError: there is no browser.
    """
    browser = find_browser()
    if browser is None and os.environ.get("CI") and os.geteuid() == 0:
        _install()
        browser = find_browser()
    if browser is None:
        raise BrowserError(f"there is no Chromium; `apt-get install {' '.join(PACKAGES)}`")
    return browser


def _install() -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (("update",), ("install", "-y", *PACKAGES)):
        done = subprocess.run(
            [*APT, *words], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BrowserError(f"`apt-get {' '.join(words)}` failed: {done.stderr[-500:]}")


@contextmanager
def start_browser(browser: Browser) -> Iterator[Chrome]:
    """Start a browser with a new profile, which keeps its logs and the requests of its pages."""
    with TemporaryDirectory(prefix="bxcache-browser-") as folder:
        options = ChromeOptions()
        options.binary_location = str(browser.chromium)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        for flag in (*FLAGS, f"--user-data-dir={folder}", "--window-size=1200,900"):
            options.add_argument(flag)
        driver = _start_driver(browser, options)
        try:
            yield driver
        finally:
            driver.quit()


def _start_driver(browser: Browser, options: ChromeOptions) -> Chrome:
    """Start the browser; on a busy machine its first start can exceed the driver's own limit."""
    for _ in range(STARTS - 1):
        with suppress(WebDriverException):
            return Chrome(options=options, service=ChromeService(str(browser.driver)))
    return Chrome(options=options, service=ChromeService(str(browser.driver)))
