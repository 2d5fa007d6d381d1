"""A headless Chromium for the tests of HTML pages; where there is none, they are skipped and say so."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest


@contextlib.contextmanager
def chromium(downloads: Path):
    """A driver whose downloads go to a folder, and whose console is kept."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pages are not opened")
    from selenium.webdriver.chrome.service import Service

    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("chromium or chromedriver is not installed: pages are not opened and clicked")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1280,1000",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        browser.set_script_timeout(60)
        yield browser
    finally:
        browser.quit()


def opened(browser, path: Path) -> None:
    """Open a page from the disk, wait for its script, and see that it asked for nothing and complained of nothing."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(path.resolve().as_uri())
    ready = "return document.querySelector('[data-ready]')?.dataset.ready"
    assert WebDriverWait(browser, 60).until(lambda b: b.execute_script(ready)) == "yes"
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
