"""What the lectures observed, in the numbers of the studies that show it."""

import runpy
import sys
import tomllib
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import pytest
from cohorts import spread
from sklearn.datasets import get_data_home, load_svmlight_file

import fastgd

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "studies" / "lectures"
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))
sys.path.append(str(FOLDER))

from lecture_checks import CHECKS, Found, networks  # noqa: E402

# Those that share their kernels: plain descent on one neuron, as a landscape and as rows; networks in float64.
SHARING = ["brute_force", "gentle_and_steep", "guess_work", "vanishing", "sparse_feature"]
SHARING += ["digits"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a function that runs a study of the folder, with values replaced as `--set` does, once."""

    @cache
    def run(name, *changes):
        study = fastgd.Study.from_toml(FOLDER / f"{name}.toml", set=changes)
        return fastgd.run(study, tmp_path_factory.mktemp(name))

    return run


@pytest.mark.parametrize("name", spread(NAMES, SHARING))
def test_what_the_lectures_observed_holds(run, name):
    if name == "california" and not (Path(get_data_home()) / "cal_housing_py3.pkz").exists():
        pytest.skip("scikit-learn has not downloaded california_housing, and tests take nothing from a network")
    found = CHECKS[name](run(name))
    assert found.holds
    assert [text for text, holds in found.holds.items() if not holds] == []
    assert found.numbers


@pytest.fixture(scope="module")
def homework(tmp_path_factory):
    """The homework of a few epochs, on made-up rows in the file of the real ones: (results, what its check found)."""
    folder, random = tmp_path_factory.mktemp("homework"), np.random.default_rng(0)
    rows = 1 + np.abs(random.standard_normal((400, 9)))
    rows[:, 0] = 1e5 * (rows[:, 1] + 0.3 * random.standard_normal(400))  # the target is a feature with noise
    joblib.dump(rows, folder / "cal_housing_py3.pkz")
    fields = tomllib.loads((FOLDER / "california.toml").read_text(encoding="utf-8"))
    optimizers = [table | {"lr": table["lr"][1:4]} for table in fields["optimizer"] if table["name"] in ("sgd", "adam")]
    study = fastgd.Study(**fields | {"optimizer": optimizers, "epochs": 12, "dtype": "float64"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCIKIT_LEARN_DATA", str(folder))
        results = fastgd.run(study, folder / "results")
    return results, CHECKS["california"](results)


def test_the_homework_says_what_its_results_hold(homework):
    results, found = homework
    rates = ["problem", "optimizer", "schedule", "lr"]
    seeds = results.trials.groupby(rates, observed=True)["final_validation_loss"].median()
    best = seeds.groupby(rates[:3], observed=True).min().unstack("schedule")
    shares = np.exp(np.log(best.div(best["constant"], axis=0)).groupby("optimizer", observed=True).mean())
    for row in found.numbers:
        for name in ("sgd", "adam"):
            assert row[f"loss, {name}"] == f"{shares.loc[name, row['schedule']]:.1%}"
    plain = shares.loc["sgd"]
    assert {row["schedule"]: row["sgd's rank"] for row in found.numbers} == plain.rank().astype(int).to_dict()
    better = [plain[name] < plain["constant"] for name in ("cosine", "step", "plateau")]
    worse = plain["exponential"] > plain[["cosine", "step", "plateau"]].max()
    assert list(found.seen.values()) == [*better, worse, plain.idxmax() == "exponential"]


def test_a_curve_bounces_by_its_last_epochs():
    falling = np.exp(-np.arange(31.0))
    bouncing = falling.copy()
    bouncing[-11::2] *= np.exp(5)  # up and down by 5 beside a fall of 1
    (_, straight), (rises, jitter) = networks.bounces([falling]), networks.bounces([bouncing, bouncing])
    assert straight == pytest.approx(0, abs=1e-12)
    assert rises == 0.5
    assert jitter == pytest.approx(4 * 5 / 2)


def test_what_the_lecturer_saw_is_told_and_need_not_hold():
    sections = tomllib.loads((ROOT / "docs" / "gallery.toml").read_text(encoding="utf-8"))["section"]
    section = next(section for section in sections if section["study"] == "california")
    gallery = runpy.run_path(str(ROOT / "docs" / "make_gallery.py"))
    assert section["number"] == "14, 15"
    found = Found({"this holds": True}, [{"a": 1}], {"that was seen": False, "so was this": True})
    assert gallery["_line"](section, found).endswith("| in part |\n")
    assert gallery["_line"](section, found._replace(seen={})).endswith("| yes |\n")
    told = gallery["_section"](section, found)
    assert "Seen in the lecturer's run: that was seen: **not here**; so was this: so here." in told


@pytest.mark.full
def test_gradients_by_depth_with_one_seed(run):
    found = CHECKS["depth"](run("depth", "seed=2"))
    assert [text for text, holds in found.holds.items() if not holds] == []
    assert len(found.numbers) == 27


def test_the_gallery_names_the_study_that_it_has_not(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["make_gallery.py", "digit"])
    main = runpy.run_path(str(ROOT / "docs" / "make_gallery.py"))["main"]
    with pytest.raises(SystemExit, match="there is no study 'digit' in the gallery; did you mean 'digits'"):
        main()


def test_pictures_of_numbers_have_a_line_for_each_group():
    draw = runpy.run_path(str(ROOT / "docs" / "gallery_pictures.py"))["_figure"]
    rows = [{"x": x, "y": x**k, "power": k, "half": x > 2} for k in (1, 2, 3) for x in (1, 2, 3, 4)]
    how = {"kind": "numbers", "x": "x", "y": "y", "by": "power", "scale": "log"}
    (axes,) = draw(None, rows, how).axes
    assert axes.get_xscale() == "log"
    assert [line.get_ydata().tolist() for line in axes.lines] == [[x**k for x in (1, 2, 3, 4)] for k in (1, 2, 3)]
    panels = draw(None, rows, how | {"panels": [{"half": False, "power": [1, 3]}, {"half": True}]}).axes
    assert [[line.get_ydata().tolist() for line in axes.lines] for axes in panels] == [
        [[1, 2], [1, 8]],
        [[3, 4], [9, 16], [27, 64]],
    ]


def test_fluctuations_are_taken_from_a_curve_that_still_falls():
    at, random = np.arange(2000.0), np.random.default_rng(0)
    noise = 0.01 * random.standard_normal(2000)
    assert networks.fluctuation(5 - at / 500 + at**2 / 1e7 + noise) == pytest.approx(0.01, rel=0.05)


def test_every_study_has_a_check_and_stands_in_the_gallery():
    assert sorted(CHECKS) == NAMES
    sections = tomllib.loads((ROOT / "docs" / "gallery.toml").read_text(encoding="utf-8"))["section"]
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    assert sorted(section["study"] for section in sections) == NAMES
    for section in sections:
        assert f"fastgd run studies/lectures/{section['study']}.toml" in page, "run `make gallery`"
        assert section["said"] in page


def test_the_gallerys_pictures_are_there_and_small():
    folder = ROOT / "docs" / "pictures" / "gallery"
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    pictures = sorted(folder.iterdir())
    for picture in pictures:
        assert f"](pictures/gallery/{picture.name})" in page
        assert picture.stat().st_size < (1_500_000 if picture.suffix == ".gif" else 150_000)
    assert page.count("](pictures/gallery/") == len(pictures)


def test_the_data_are_those_of_the_script():
    made = runpy.run_path(str(FOLDER / "make_data.py"))
    for name in ("sparse_feature", "rare_feature"):
        X, y = made[name]()
        found, values = load_svmlight_file(str(FOLDER / f"{name}.svm"), zero_based=True)
        np.testing.assert_array_equal(found.toarray(), X)
        np.testing.assert_array_equal(values, y)
    stored = np.loadtxt(FOLDER / "neuron.csv", delimiter=",", skiprows=1)
    np.testing.assert_array_equal(stored, np.column_stack(made["neuron"]()))


@pytest.mark.parametrize("name", spread(["sparse_feature", "adagrad_stops", "rare_feature"], SHARING))
def test_the_studies_run_on_sparse_kernels(run, name):
    trials = run(name).trials
    assert (trials["status"] == "completed").all()
    assert trials["kernel"].str.startswith("sparse-tile").all()


@pytest.mark.parametrize("steps", [1, 3])
def test_on_a_sparse_feature_adagrad_moves_in_both_directions_from_the_first_step_on(run, steps):
    X, _ = load_svmlight_file(str(FOLDER / "sparse_feature.svm"))
    assert (X.shape[0], X.getnnz(axis=0).min()) == (100, 20)
    found = CHECKS["sparse_feature"](run("sparse_feature", f"steps={steps}"))
    assert all(found.holds.values())
    rates = {row["optimizer"]: row["rate of w / rate of b"] for row in found.numbers}
    assert rates.pop("adagrad") > 8
    assert set(rates.values()) == {1}


def test_a_rare_feature_stands_in_5_of_1000_points_that_are_all_labelled_1():
    X, y = load_svmlight_file(str(FOLDER / "rare_feature.svm"), zero_based=True)
    having = X.toarray()[:, 0] != 0
    assert (len(y), having.sum()) == (1000, 5)
    assert (y[having] == 1).all()
