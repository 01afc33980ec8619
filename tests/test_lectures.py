"""What the lectures observed, in the numbers of the studies that show it."""

import runpy
import sys
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from cohorts import spread
from sklearn.datasets import load_svmlight_file

import fastgd

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "studies" / "lectures"
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))
sys.path.append(str(FOLDER))

from lecture_checks import CHECKS  # noqa: E402

# Those that share their kernels: plain descent on one neuron, as a landscape and as rows.
SHARING = ["brute_force", "gentle_and_steep", "guess_work", "line_search", "vanishing", "sparse_feature", "stochastic"]


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
    found = CHECKS[name](run(name))
    assert found.holds
    assert [text for text, holds in found.holds.items() if not holds] == []
    assert found.numbers


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
