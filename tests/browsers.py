"""Chromium without a window and without a network, for tests of pages; they are skipped where it is not installed."""

import shutil
from contextlib import contextmanager

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def browser(width=1280, height=900):
    """Open a browser; what its console says is in `get_log("browser")`."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="clicks are selenium's")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("Chromium and its chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    arguments = (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--force-color-profile=srgb",
    )
    for argument in (*arguments, f"--window-size={width},{height}", "--host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        made.set_script_timeout(60)
        yield made
    finally:
        made.quit()


def open_page(driver, path):
    """Open a file, and wait until its script has run."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get(path.resolve().as_uri())
    ready = "return document.documentElement.dataset.ready"
    WebDriverWait(driver, 60).until(lambda page: page.execute_script(ready) == "yes")


def complaints(driver):
    """What the console says, but for notes of Chromium's own."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]
