"""Reports in Chromium without a window and without a network: clicks, keys, themes, a phone, and hostile names."""

import itertools

import landscape_results
import pytest
from browsers import browser, complaints, open_page
from store_samples import write_study
from test_reports import write_hostile

import fastgd


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def driver(folder):
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def sample(folder):
    return write_study(folder / "sample", ["sgd", "momentum", "adam"], rates=12, seeds=2, epochs=6)


@pytest.fixture(scope="module")
def written(folder, sample):
    return fastgd.report(sample, folder / "report.html")


@pytest.fixture
def page(driver, written):
    """The report, opened anew; at the end nothing is on the console, and nothing was asked of a network."""
    driver.get_log("browser"), driver.get_log("performance")
    open_page(driver, written)
    yield driver
    assert complaints(driver) == []
    assert not [entry for entry in driver.get_log("performance") if '"url":"http' in entry["message"]]


def one(driver, selector):
    return driver.find_element("css selector", selector)


def every(driver, selector):
    return driver.find_elements("css selector", selector)


def texts(driver, selector):
    script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)"
    return driver.execute_script(script, selector)


def click(driver, target):
    driver.execute_script("arguments[0].scrollIntoView({ block: 'center' })", target)
    target.click()


def until(driver, condition, seconds=20):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, seconds).until(lambda _: condition())


def column(driver, panel, name):
    """The texts of a column of a virtual table, as far as its rows are in view."""
    heads = texts(driver, f"{panel} thead th")
    rows = f"{panel} tbody tr[data-at] td:nth-child({heads.index(name) + 1})"
    return texts(driver, rows)


CONFIGURATIONS, TRIALS = "#study-1-configurations", "#study-1-trials"


def drawn(driver):
    """The names in the key of the curves, once they are drawn."""
    until(driver, lambda: every(driver, ".curves + .key li"))
    return texts(driver, ".curves + .key li")


def test_a_filter_leaves_rows_of_tables_and_curves(page):
    click(page, one(page, ".filters input"))
    assert set(drawn(page)) == {"sgd", "momentum", "adam"}
    one(page, ".filters input").send_keys("adam lr<0.01")
    until(page, lambda: drawn(page) == ["adam"])
    assert set(column(page, CONFIGURATIONS, "optimizer")) == {"adam"}
    assert all(float(text) < 0.01 for text in column(page, CONFIGURATIONS, "rate"))
    count = one(page, ".count").text
    expected = fastgd.load(page.current_url.removeprefix("file://").replace("report.html", "sample")).trials
    expected = expected[(expected["optimizer"] == "adam") & (expected["lr"] < 0.01)]
    assert f"{len(expected)} of " in count.split(", ")[1]
    click(page, one(page, ".filters .reset"))
    until(page, lambda: set(drawn(page)) == {"sgd", "momentum", "adam"})


def test_a_list_of_choices_filters_too_and_a_wrong_column_is_named(page):
    from selenium.webdriver.support.ui import Select

    Select(one(page, ".filters select")).select_by_visible_text("adam")
    assert set(column(page, CONFIGURATIONS, "optimizer")) == {"adam"}
    field = one(page, ".filters input")
    field.send_keys("status=diverged")
    click(page, one(page, "#study-1-tab-trials"))
    assert set(column(page, TRIALS, "status")) == {"diverged"}
    field.clear()
    field.send_keys("speed<3")
    assert "speed<3: there is no such column" in one(page, ".fault").text


def test_heatmap_and_sensitivity_show_what_the_filter_leaves(page):
    page.execute_script("document.querySelector('.heatmap').scrollIntoView()")
    cells = "return document.querySelector('.heatmap').data[0].z.flat().filter((z) => z !== null).length"
    until(page, lambda: every(page, ".heatmap .main-svg") and page.execute_script(cells) > 12)
    page.execute_script(
        "const field = document.querySelector('.filters input'); field.value = 'momentum';"
        "field.dispatchEvent(new Event('input'))"
    )
    chosen = "return document.querySelector('.heatmap-controls select').value"
    until(page, lambda: page.execute_script(chosen) == "momentum")
    until(page, lambda: texts(page, ".sensitivity + .key li") == ["momentum"])
    assert page.execute_script(cells) > 12


def test_heads_of_columns_sort_by_click_and_by_key(page):
    from selenium.webdriver.common.keys import Keys

    head = next(each for each in every(page, f"{CONFIGURATIONS} thead th") if each.text.startswith("rate"))
    button = head.find_element("css selector", "button")
    click(page, button)
    rates = [float(text) for text in column(page, CONFIGURATIONS, "rate")]
    assert rates == sorted(rates)
    assert head.get_attribute("aria-sort") == "ascending"
    button.send_keys(Keys.ENTER)
    rates = [float(text) for text in column(page, CONFIGURATIONS, "rate")]
    assert rates == sorted(rates, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    assert len(every(page, f"{CONFIGURATIONS} th[aria-sort=none]")) == len(every(page, f"{CONFIGURATIONS} th")) - 1


def test_the_ranking_sorts(page):
    button = one(page, "#study-1-ranking thead th:nth-child(2) button")
    click(page, button)
    assert texts(page, "#study-1-ranking tbody th") == ["adam", "momentum", "sgd"]
    click(page, button)
    assert texts(page, "#study-1-ranking tbody th") == ["sgd", "momentum", "adam"]


def test_a_row_opens_its_trial_by_click_and_by_key(page, sample):
    from selenium.webdriver.common.keys import Keys

    trials = fastgd.load(sample).trials.set_index("trial_id")
    click(page, one(page, "#study-1-tab-trials"))
    click(page, one(page, f"{TRIALS} tbody tr[data-at='0']"))
    title = until(page, lambda: one(page, "#trial-title").text)
    trial = title.removeprefix("Trial ")
    assert one(page, "#trial-status").text.startswith(trials.loc[trial, "status"])
    facts = dict(zip(texts(page, "#trial-facts dt"), texts(page, "#trial-facts dd"), strict=True))
    assert float(facts["rate"]) == pytest.approx(trials.loc[trial, "lr"], rel=1e-5)
    assert float(facts["final loss"]) == pytest.approx(trials.loc[trial, "final_loss"], rel=1e-5)
    assert one(page, "#trial-command").text == f"fastgd run study.toml --trial {trial}"
    until(page, lambda: every(page, "#trial-chart .scatterlayer path.js-line"))
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    until(page, lambda: not one(page, "#trial").is_displayed())
    box = one(page, f"{TRIALS} .rows")
    box.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER)
    second = column(page, TRIALS, "trial")[1]
    until(page, lambda: one(page, "#trial-title").text == f"Trial {second}")


def test_a_virtual_table_shows_what_it_is_scrolled_to(page):
    ranks = column(page, CONFIGURATIONS, "rank")
    assert ranks[0] == "1"
    page.execute_script(f"document.querySelector('{CONFIGURATIONS} .rows').scrollTop = 1e6")
    count = int(one(page, f"{CONFIGURATIONS} table").get_attribute("aria-rowcount")) - 1
    until(page, lambda: column(page, CONFIGURATIONS, "rank")[-1] == str(count))
    last = every(page, f"{CONFIGURATIONS} tbody tr[data-at]")[-1]
    assert last.get_attribute("aria-rowindex") == str(count + 1)


def test_a_curve_that_is_clicked_shows_its_trial(page):
    drawn(page)
    script = """
const chart = document.querySelector(".curves");
chart.scrollIntoView();
const line = chart.data.findLast((each) => each.customdata.length);
chart.emit("plotly_click", { points: [{ customdata: line.customdata[0] }] });
return line.customdata[0];"""
    trial = page.execute_script(script)
    assert isinstance(trial, int)
    until(page, lambda: one(page, "#trial-title").text.startswith("Trial "))


def test_colours_follow_the_system_and_the_button(page):
    background = "return getComputedStyle(document.body).backgroundColor"
    scheme = {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    light = page.execute_script(background)
    scheme["features"][0]["value"] = "dark"
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    dark = until(page, lambda: (found := page.execute_script(background)) != light and found)
    button = one(page, "#theme")
    button.click()  # light
    assert page.execute_script(background) == light
    button.click()  # dark
    assert page.execute_script(background) == dark
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_tab_key_reaches_all_that_can_be_used_in_the_order_of_the_page(page):
    from selenium.webdriver.common.keys import Keys

    seen = []
    place = "const at = document.activeElement; return [at.tagName, at.getBoundingClientRect().top + scrollY]"
    page.execute_script("document.activeElement.blur()")
    for _ in range(24):
        page.switch_to.active_element.send_keys(Keys.TAB)
        seen.append(page.execute_script(place))
    names = [name for name, _ in seen]
    assert {"A", "BUTTON", "SELECT", "INPUT"} <= set(names)
    tops = [top for _, top in seen[1:]]  # the first is the link that skips to the findings
    assert all(below - above > -60 for above, below in itertools.pairwise(tops))


def test_it_fits_a_phone(page, written):
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    open_page(page, written)
    page.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
    until(page, lambda: every(page, ".sensitivity .trace") or True)
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_hostile_names_do_nothing(driver, folder):
    written = fastgd.report(write_hostile(folder / "hostile"), folder / "hostile.html")
    driver.get_log("browser")
    open_page(driver, written)
    for part in (".curves", ".sensitivity"):
        driver.execute_script("document.querySelector(arguments[0]).scrollIntoView()", part)
        until(driver, lambda part=part: every(driver, f"{part} .main-svg"))
    click(driver, one(driver, "#study-1-tab-trials"))
    click(driver, one(driver, f"{TRIALS} tbody tr[data-at]"))
    until(driver, lambda: "<script>" in one(driver, "#trial-title").text)
    assert driver.execute_script("return window.hacked") is None
    assert driver.execute_script("return document.querySelectorAll('img, b, main script, svg a').length") == 0
    assert complaints(driver) == []


def test_a_landscapes_map_is_drawn_with_its_walks(driver, folder):
    problems = [{"landscape": "himmelblau"}, {"landscape": "rosenbrock", "name": "<b>valley"}]
    from selenium.webdriver.support.ui import Select

    results = landscape_results.run(folder / "walks", problem=problems)
    open_page(driver, fastgd.report(results, folder / "walks.html"))
    driver.execute_script("arguments[0].scrollIntoView()", one(driver, ".maps"))
    until(driver, lambda: every(driver, ".map + .key li"))
    assert {text.split()[0] for text in texts(driver, ".map + .key li")} == {"momentum", "rmsprop"}
    count = "return document.querySelector('.map').data.filter((each) => each.type === arguments[0]).length"
    assert driver.execute_script(count, "contour") == 1
    assert driver.execute_script(count, "scatter") == 1 + 3 * (2 * 3)  # minima; lines, starts and ends of six walks
    assert len(every(driver, ".map .contourlevel path")) > 5
    loss = "const [{ z, text }] = document.querySelector('.map').data; return [z[0][0], text[0][0]]"
    before = driver.execute_script(loss)
    choice = Select(one(driver, ".map-controls select"))
    assert [option.text for option in choice.options] == ["himmelblau", "<b>valley"]
    choice.select_by_index(1)
    until(driver, lambda: driver.execute_script(loss) != before)
    stored = results.surfaces[1].loss[0, 0]
    assert float(driver.execute_script(loss)[1].replace(",", "")) == pytest.approx(stored, rel=2e-3)
    assert complaints(driver) == []


def test_several_studies_work_apart(driver, folder, sample):
    other = write_study(folder / "other", ["nadam"], rates=6, seeds=2, epochs=4)
    open_page(driver, fastgd.report([sample, other], folder / "two.html"))
    field = one(driver, "#study-2 .filters input")
    click(driver, field)
    field.send_keys("lr<0.001")
    assert "of 6 configurations" in one(driver, "#study-2 .count").text
    first = one(driver, "#study-1 .count").text.split(" ")
    assert first[0] == first[2]
    assert complaints(driver) == []
