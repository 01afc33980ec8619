"""Reports without a browser: what they hold, names from files that stay text, the same bytes of the same results."""

import base64
import json
import subprocess
import sys
from html.parser import HTMLParser

import landscape_results
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import commit, open_folder, trials, write_study

import fastgd
from fastgd import InputError
from fastgd.cli.output import pages
from fastgd.plots.landscapes.contour import walks_on_maps
from fastgd.plots.landscapes.map import Height
from fastgd.reports import columns, curves, maps, selection
from fastgd.reports.study_data import study_data
from fastgd.store.surface_files import Surface, SurfaceInfo

EMPTY = {"meta", "link", "input", "br", "hr", "img"}
HOSTILE = '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">\'"&\u202e\u2028'


class Page(HTMLParser):
    """The elements of a page, which must be closed in order; the texts of some."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.found, self.texts, self.attributes = [], [], {}, []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    @property
    def data(self):
        """What the page's script reads."""
        return json.loads(self.texts["script"][0])

    @property
    def words(self):
        """All that a reader sees, but for what scripts draw."""
        return " ".join(text for tag, texts in self.texts.items() if tag not in ("script", "style") for text in texts)


def page_of(folders, path):
    return Page(fastgd.report(folders, path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "sample"
    return write_study(folder, ["sgd", "momentum", "adam"], rates=8, seeds=3, epochs=6)


@pytest.fixture(scope="module")
def page(sample):
    return page_of(sample, sample.parent / "report.html")


def values_of(record):
    """A column of the page as the script reads it."""
    if "list" in record:
        return record["list"]
    if "numbers" in record:
        return np.frombuffer(base64.b64decode(record["numbers"]), "<f8").tolist()
    codes = np.frombuffer(base64.b64decode(record["codes"]["data"]), f"<u{record['codes']['bytes']}")
    values = [float(value) if record["kind"] == "number" else value for value in record["values"]]
    return [None if code == 0 else values[code - 1] for code in codes]


def named(table, name):
    return values_of(next(record for record in table["columns"] if record["name"] == name))


def test_the_first_lines_say_what_was_studied_and_what_is_best(page, sample):
    best = fastgd.load(sample).best()
    first, words = best.iloc[0], page.words
    count = len(fastgd.load(sample).trials)
    assert f"{count} trials: {len(best)} configurations of 3 optimizers, each with 3 seeds, on flights" in words
    assert f"{first['optimizer']} at " in words
    assert f"final validation loss {first['final_validation_loss']:.5g}" in words
    others = best[best["optimizer"] != first["optimizer"]].iloc[0]
    assert f"by {others['final_validation_loss'] - first['final_validation_loss']:.2g} ahead of" in words
    lost = (fastgd.load(sample).trials["status"] == "diverged").sum()
    assert f"{lost} diverged" in words


def test_tables_hold_the_ranking_and_the_trials(page, sample):
    results = fastgd.load(sample)
    (study,) = page.data
    best = results.best()
    assert named(study["configurations"], "rank") == best["rank"].tolist()
    assert named(study["configurations"], "method") == best["optimizer"].tolist()
    np.testing.assert_array_equal(
        named(study["configurations"], "final_validation_loss"), best["final_validation_loss"]
    )
    stored = results.trials.set_index("trial_id").loc[named(study["trials"], "trial_id")]
    assert named(study["trials"], "status") == stored["status"].tolist()
    np.testing.assert_array_equal(named(study["trials"], "final_loss"), stored["final_loss"])
    # A trial belongs to the configuration of its settings.
    owners = np.frombuffer(base64.b64decode(study["trials"]["owners"]), "<u4")
    for name in ("lr", "momentum", "beta1"):
        own = best[name].to_numpy()[owners]
        np.testing.assert_array_equal(own, stored[name].to_numpy())


def decoded(study, metric):
    """The curves of a page as a frame: trial, step, and the distance from the least known value."""
    record = next(each for each in study["curves"]["metrics"] if each["name"] == metric)
    codes = np.frombuffer(base64.b64decode(record["codes"]), "<u2").astype(float)
    pattern = np.frombuffer(base64.b64decode(study["curves"]["pattern"]), "<u4")
    steps = [study["curves"]["patterns"][at][study["curves"]["axes"].index("step")] for at in pattern]
    ids = np.repeat(named(study["trials"], "trial_id"), [len(each) for each in steps])
    exponent = record["low"] + (codes - 1) / (curves.LEVELS - 1) * (record["high"] - record["low"])
    value = np.where(codes == 0, 0.0, 10**exponent)
    frame = pd.DataFrame({"trial_id": ids, "step": np.concatenate(steps), "code": codes, "value": value})
    frame["linear"] = exponent
    return record, frame


def test_curves_are_precise_to_a_thousandth_of_their_distance_from_the_least_value(page, sample):
    results = fastgd.load(sample)
    (study,) = page.data
    record, found = decoded(study, "loss")
    assert record["bases"] == results.minima["minimum"].tolist()
    stored = results.curves[["trial_id", "step", "loss"]]
    both = found.merge(stored, on=["trial_id", "step"], validate="one_to_one")
    assert len(both) == len(found) == len(stored)
    gap = both["loss"] - record["bases"][0]
    shown = both["code"] < curves.BEYOND
    assert shown.sum() > len(both) / 2
    assert (gap[both["code"] == 0] == 0).sum() == 1  # the least loss of all
    np.testing.assert_allclose(both["value"][shown], gap[shown], rtol=1e-3)
    assert (gap[both["code"] == curves.BEYOND] > 10 ** record["high"]).all()


def test_other_metrics_are_on_a_straight_scale(page, sample):
    (study,) = page.data
    record, found = decoded(study, "param_norm")
    assert record["scale"] == "linear"
    both = found.merge(fastgd.load(sample).curves[["trial_id", "step", "param_norm"]], on=["trial_id", "step"])
    np.testing.assert_allclose(both["linear"], both["param_norm"], atol=(record["high"] - record["low"]) / 1e4)


def test_long_curves_keep_their_ends_and_evenly_spaced_checkpoints(tmp_path):
    with open_folder(tmp_path / "long") as folder:
        folder.finish(commit(folder, trials(2), checkpoints=1000))
    (study,) = page_of(tmp_path / "long", tmp_path / "r.html").data
    steps = study["curves"]["patterns"][0][study["curves"]["axes"].index("step")]
    assert len(steps) == curves.MOST_POINTS
    assert (steps[0], steps[-1]) == (0, 16 * 999)
    assert set(np.diff(steps)) <= {16 * 6, 16 * 7}


def test_of_many_trials_each_optimizer_has_its_best_configurations(sample, monkeypatch):
    monkeypatch.setattr(selection, "MOST_TRIALS", 36)
    results = fastgd.load(sample)
    chosen = selection.select(results)
    assert len(chosen.rows) <= 36
    assert chosen.all_trials == len(results.trials)
    counts = chosen.configurations.iloc[chosen.owners].groupby("method").size()
    assert counts.tolist() == [12, 12, 12]
    for _, own in chosen.ranking.groupby("method"):  # four configurations of three seeds
        expected = {each for trial in own["trial_id"].head(4) for each in results.seeds_of(trial)}
        assert expected <= set(chosen.column("trial_id"))
    data = study_data(chosen)
    assert data["configurations"]["count"] == len(chosen.ranking)


def test_of_many_configurations_each_optimizer_has_its_best(sample, monkeypatch):
    monkeypatch.setattr(selection, "MOST_CONFIGURATIONS", 9)
    chosen = selection.select(fastgd.load(sample))
    assert chosen.configurations.groupby("method")["rank"].agg(list).to_dict() == {
        method: own["rank"].head(3).tolist() for method, own in chosen.ranking.groupby("method")
    }


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False)), max_size=30), st.sampled_from([0, 4096]))
def test_numbers_come_back_from_a_column(numbers, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "MOST_CODES", most)
        record = json.loads(json.dumps(columns.column("x", "x", pd.Series(numbers, dtype=np.float64)), allow_nan=False))
    expected = [np.nan if number is None else number for number in numbers]
    np.testing.assert_array_equal(np.array(values_of(record), dtype=float), np.array(expected, dtype=float))


@given(st.lists(st.one_of(st.none(), st.text()), max_size=30))
def test_texts_come_back_from_a_column_without_what_does_not_print(texts):
    found = values_of(columns.column("x", "x", pd.Series(texts, dtype=object)))
    assert [each is None for each in found] == [each is None for each in texts]
    assert all(each is None or each.isprintable() for each in found)
    plain = [each if each is not None and each.isprintable() else None for each in texts]
    assert all(each is None or each == other for each, other in zip(plain, found, strict=True))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return write_hostile(tmp_path_factory.mktemp("hostile") / "a'b\"<b>&")


def write_hostile(path):
    """Results of which every text is one that breaks pages."""
    rows = trials(4, optimizer=[HOSTILE, "sgd", "sgd", HOSTILE], problem=HOSTILE, variant=["", HOSTILE, "", ""])
    rows["reason"], rows["schedule"] = HOSTILE, ["constant", HOSTILE, "constant", "cosine"]
    rows["trial_id"] = [f"{HOSTILE}{i}" for i in range(4)]
    options = {"name": HOSTILE, "cpu": HOSTILE, "notes": (HOSTILE,), "packages": {"numba": HOSTILE}}
    study = f"name = {json.dumps(HOSTILE)}\n# {HOSTILE.splitlines()[0]}\n"
    with open_folder(path, study_toml=study, hyper=("lr",), metrics=("<b>m</b>",), **options) as folder:
        folder.finish(commit(folder, rows, **{"<b>m</b>": 1.0}))
    return path


def test_names_from_files_stay_text(hostile, tmp_path):
    text = fastgd.report(hostile, tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page(text)  # every element is closed in order: none was broken out of
    assert page.found.count("script") == 3
    assert not {"img", "b"} & set(page.found)
    assert not any(name.startswith("on") for _, attributes in page.attributes for name in attributes)
    words = page.words + "".join(page.texts["title"])
    assert "<script>window.hacked=1</script>" in words
    assert "\u202e" not in text
    assert "\\u202e" in words
    assert "\u2028" not in page.texts["script"][0]
    assert "<" not in page.texts["script"][0]
    (study,) = page.data
    assert any("window.hacked" in name for name in named(study["configurations"], "method"))


def test_nothing_is_loaded(page):
    (policy,) = (
        attributes["content"]
        for tag, attributes in page.attributes
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in rules["script-src"]
    assert "http" not in policy
    for _, attributes in page.attributes:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))


def test_scripts_are_those_that_the_policy_names(page):
    import hashlib

    policy = next(each["content"] for _, each in page.attributes if "http-equiv" in each)
    for script in page.texts["script"][1:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_the_same_results_give_the_same_bytes(sample, tmp_path):
    import shutil

    copy = shutil.copytree(sample, tmp_path / "elsewhere" / sample.name)
    first, again = fastgd.report(sample, tmp_path / "a.html"), fastgd.report(fastgd.load(copy), tmp_path / "b.html")
    assert first.read_bytes() == again.read_bytes()


def test_several_studies_stand_side_by_side_where_data_and_loss_are_the_same(sample, tmp_path):
    other = write_study(tmp_path / "other", ["adam", "nadam"], rates=6, seeds=2, epochs=4)
    foreign = write_study(tmp_path / "foreign", ["adam"], rates=4, epochs=4, problems=("else",))
    page = page_of([sample, fastgd.load(other), str(foreign)], tmp_path / "r.html")
    assert len(page.data) == 3
    assert [attributes["id"] for tag, attributes in page.attributes if attributes.get("class") == "study"] == [
        "study-1",
        "study-2",
        "study-3",
    ]
    words = " ".join(page.words.split())
    assert "flights: the best final validation loss of each optimizer" in words
    assert "else: the best" not in words
    best = fastgd.load(other).best().drop_duplicates("optimizer").set_index("optimizer")["final_validation_loss"]
    assert f"{best['nadam']:.6g}" in words


def test_it_says_how_to_make_the_results_again(page, sample):
    words = page.words
    assert (
        "fastgd run study.toml --out sample" in words or 'fastgd.run("study.toml", out="sample", data=(X, y))' in words
    )
    assert 'name = "sample"' in words
    assert "A Processor" in words
    assert "numba 0.68.1" in words


def test_a_study_whose_only_trial_diverged_has_a_report(tmp_path):
    with open_folder(tmp_path / "one") as folder:
        folder.finish(commit(folder, trials(1, status="diverged", final_loss=np.inf, best_loss=np.nan)))
    words = page_of(tmp_path / "one", tmp_path / "one.html").words
    assert "No configuration ended with a finite loss." in words


@pytest.mark.parametrize("name", ["r.pdf", "r"])
def test_a_report_is_a_page(sample, tmp_path, name):
    with pytest.raises(InputError, match=r"ends in \.html"):
        fastgd.report(sample, tmp_path / name)


def test_a_folder_without_results_or_trials_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no fastgd results"):
        fastgd.report(tmp_path, tmp_path / "r.html")
    with pytest.raises(InputError, match="at least one study"):
        fastgd.report([], tmp_path / "r.html")
    with open_folder(tmp_path / "empty"):
        pass
    with pytest.raises(InputError, match="no trials of its study yet"):
        fastgd.report(tmp_path / "empty", tmp_path / "r.html")


def test_without_the_extra_one_message_says_how_to_install_it(sample, tmp_path):
    code = f"""
import sys
sys.modules["plotly"] = None
from fastgd.cli import main
sys.argv = ["fastgd", "report", {str(sample)!r}, "-o", {str(tmp_path / "r.html")!r}]
main()"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert 'pip install "fastgd[report]"' in done.stderr
    assert not (tmp_path / "r.html").exists()


def test_a_report_imports_no_numba(sample, tmp_path):
    make = f"fastgd.report({str(sample)!r}, {str(tmp_path / 'r.html')!r})"
    code = f"import sys, fastgd; {make}; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    return fastgd.load(landscape_results.walked_in(tmp_path_factory.mktemp("walked")).path)


def test_on_landscapes_starts_take_the_place_of_seeds(walked, tmp_path):
    page = page_of(walked, tmp_path / "r.html")
    (study,) = page.data
    assert "9 trials: 3 configurations of 2 optimizers, each with 3 starts, on himmelblau" in page.words
    assert study["curves"]["axes"] == ["step"]
    assert study["curves"]["metrics"][0]["name"] == "loss"
    trials = list(zip(named(study["trials"], "trial_id"), named(study["trials"], "start"), strict=True))
    stored = walked.trials.astype({"trial_id": str}).set_index(["trial_id", "start"])["final_loss"]
    assert sorted(trials) == sorted(stored.index)
    np.testing.assert_array_equal(named(study["trials"], "final_loss"), stored.loc[trials])
    # Each curve is that of its start.
    record = study["curves"]["metrics"][0]
    codes = np.frombuffer(base64.b64decode(record["codes"]), "<u2").astype(float)
    steps = [each[0] for each in study["curves"]["patterns"]]
    lengths = [len(steps[at]) for at in np.frombuffer(base64.b64decode(study["curves"]["pattern"]), "<u4")]
    distance = 10 ** (record["low"] + (codes - 1) / (curves.LEVELS - 1) * (record["high"] - record["low"]))
    last = np.cumsum(lengths) - 1
    value = record["bases"][0] + np.where(codes == 0, 0.0, distance)[last]
    np.testing.assert_allclose(value, stored.loc[trials], rtol=1e-3)


def losses_of(map_):
    """The losses of a map's grid, as the page's script computes them."""
    codes = np.frombuffer(base64.b64decode(map_["codes"]), "<u2").reshape(len(map_["y"]), len(map_["x"]))
    place = codes / maps.STEPS * (len(map_["levels"]) - 1)
    height = np.interp(place, np.arange(len(map_["levels"])), map_["levels"])
    return np.where(codes > maps.STEPS, np.nan, map_["low"] + map_["scale"] * np.expm1(height)).T


def test_a_landscape_has_its_map_with_the_walks_of_its_pictures(walked, monkeypatch):
    ((surface, walks),) = walks_on_maps(walked, "contour", None, None, None, False, False)
    (found,) = maps.maps_of(walked)
    assert (found["title"], found["labels"], found["equal"]) == ("himmelblau", ["x₀", "x₁"], True)
    places = [
        [int(np.abs(axis - value).argmin()) for value in found[name]]
        for axis, name in ((surface.x, "x"), (surface.y, "y"))
    ]
    assert max(map(len, places)) <= maps.MOST_CELLS
    assert [places[axis][at] for axis in (0, 1) for at in (0, -1)] == [0, len(surface.x) - 1, 0, len(surface.y) - 1]
    height = Height(surface)
    expected = height(surface.loss[np.ix_(*places)])
    np.testing.assert_allclose(height(losses_of(found)), expected, atol=2e-4 * expected.max())
    assert [(each["start"], each["name"].split()[0]) for each in found["walks"]] == [(w.start, w.method) for w in walks]
    for each, walk in zip(found["walks"], walks, strict=True):
        np.testing.assert_allclose(np.transpose([each["x"], each["y"]]), walk.path, rtol=1e-5, atol=1e-12)
        assert each["step"] == list(range(61))
    assert len(found["minima"][0]) == 4
    monkeypatch.setattr(maps, "MOST_STEPS", 30)
    monkeypatch.setattr(maps, "FIRST_STEPS", 10)
    (found,) = maps.maps_of(walked)
    assert all(each["step"][:10] == list(range(10)) and each["step"][-1] == 60 for each in found["walks"])
    assert all(20 < len(each["step"]) <= 30 for each in found["walks"])
    assert found["words"] == ["of walks of more than 30 steps the first 10 and evenly spaced ones"]


def test_a_part_of_a_map_without_a_loss_is_left_open():
    loss = np.add.outer(np.arange(8.0), np.arange(5.0))
    loss[3, 2] = np.nan
    surface = Surface(SurfaceInfo("p", (0, 1), [0.0, 0.0], [], []), np.arange(8.0), np.arange(5.0), loss)
    found = losses_of(maps._map(surface, [], {}))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(loss))
    np.testing.assert_allclose(found, loss, atol=1e-3)


def test_without_surfaces_there_are_no_maps(page, sample):
    assert [study["maps"] for study in page.data] == [[]]
    assert "Loss surfaces" not in page.words


def test_of_a_swarm_each_configuration_has_some_starts(walked, monkeypatch):
    monkeypatch.setattr(selection, "MOST_TRIALS", 6)
    monkeypatch.setattr(selection, "MOST_STARTS", 2)
    chosen = selection.select(walked)
    assert (len(chosen.rows), chosen.all_trials) == (5, 9)  # of three configurations, by shares of three trials each
    assert chosen.configurations.iloc[chosen.owners].groupby("method").size().tolist() == [3, 2]


def test_the_demo_says_where_its_report_is_or_how_to_have_one(sample, monkeypatch, capsys):
    pages.report_of_demo(sample)
    assert "".join(capsys.readouterr().out.split()) == f"report:{sample / 'report.html'}"
    (sample / "report.html").unlink()
    monkeypatch.setattr(fastgd.reports, "is_possible", lambda: False)
    pages.report_of_demo(sample)
    assert 'pip install "fastgd[report]"' in capsys.readouterr().out
    assert not (sample / "report.html").exists()
