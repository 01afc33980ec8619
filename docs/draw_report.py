"""Draws pictures/report.png: the upper part of the demo's report, as Chromium shows it. It needs the extra `dev`."""

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).parent / "pictures" / "report.png"
RESULTS = ROOT / "results" / "demo"
WIDTH, HEIGHT = 1200, 1400  # pixels of the window
READY = "return document.querySelectorAll('.curves .scatterlayer path').length > 0"


def draw(results: Path) -> None:
    """Write the report of a folder of results, open it, and keep what the window shows."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "docs")]
    from browsers import browser, open_page
    from gallery_pictures import shrink
    from selenium.webdriver.support.ui import WebDriverWait

    import fastgd

    with tempfile.TemporaryDirectory() as folder, browser(WIDTH, HEIGHT) as driver:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        open_page(driver, fastgd.report(results, Path(folder) / "report.html"))
        WebDriverWait(driver, 30).until(lambda page: page.execute_script(READY))
        time.sleep(0.5)
        driver.save_screenshot(str(PAGE))
    shrink(PAGE)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS)
