"""How large the report of 10,000 trials is, how soon it opens, and how soon a filter answers, in headless Chromium.

`python -m benchmarks.report_page` makes results of that many trials that nobody ran, writes their report, and measures.
It needs the extra `dev`, Chromium and its chromedriver.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

TRIALS = 10_000
REPEATS = 5
OPENED = """return Math.round(performance.getEntriesByType("navigation")[0].loadEventEnd)"""
# From the letter that is typed to the frame in which tables and curves show what it leaves.
FILTER = """
const [text, done] = arguments;
const field = document.querySelector("input[type=search]");
const before = performance.now();
field.value = text;
field.dispatchEvent(new Event("input", { bubbles: true }));
const computed = performance.now() - before;
requestAnimationFrame(() => setTimeout(() => done([computed, performance.now() - before]), 0));
"""
WORDS = ("adam", "lr<0.01", "status=diverged", "momentum lr>=0.1 seed=1", "")


def measure(folder: Path, trials: int) -> None:
    """Print the sizes and times of the report of so many trials."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from browsers import browser, complaints, open_page
    from store_samples import OPTIMIZERS, write_study

    import fastgd

    write_study(
        folder / "sample", list(OPTIMIZERS), rates=round(trials / 17 / 12), seeds=3, batch_sizes=(16, 64, 256, 1024)
    )
    start = time.perf_counter()
    page = fastgd.report(folder / "sample", folder / "report.html")
    seconds = time.perf_counter() - start
    count = len(fastgd.load(folder / "sample").trials)
    print(f"{count:,} trials: {page.stat().st_size / 1e6:.2f} MB, written in {seconds:.1f} s")
    with browser() as driver:
        opened = []
        for _ in range(REPEATS):
            open_page(driver, page)
            opened.append(driver.execute_script(OPENED))
        print(f"opens in {statistics.median(opened):.0f} ms (median of {REPEATS}; {min(opened)} to {max(opened)})")
        driver.execute_script("document.querySelector('.curves').scrollIntoView()")
        time.sleep(1)
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        for words in WORDS:
            times = []
            for _ in range(REPEATS):
                before = _processor_time(driver)
                shown = driver.execute_async_script(FILTER, words)[1]
                times.append((shown, _processor_time(driver) - before))
                driver.execute_async_script(FILTER, "nothing")
            shown, spent = (statistics.median(each) for each in zip(*times, strict=True))
            least = min(each for each, _ in times)
            print(
                f"filter {words or '(all)':24} shown in {shown:.0f} ms (least {least:.0f}), {spent:.0f} ms of processor"
            )
        print(f"console: {complaints(driver) or 'nothing'}")


def _processor_time(driver) -> float:
    """Return the milliseconds of processor that the page's thread has spent, whatever other processes do."""
    found = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return 1000 * next(each["value"] for each in found if each["name"] == "TaskDuration")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--keep", type=Path, help="a folder for results and page, which stay")
    arguments = parser.parse_args()
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        measure(arguments.keep, arguments.trials)
    else:
        with tempfile.TemporaryDirectory() as name:
            measure(Path(name), arguments.trials)
