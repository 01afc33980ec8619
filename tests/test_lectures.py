"""What the lectures observed, in the numbers of the studies that show it."""

import runpy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_svmlight_file

import fastgd

FOLDER = Path(__file__).parent.parent / "studies" / "lectures"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a function that runs a study of the folder, with values replaced as `--set` does, once."""

    @cache
    def run(name, *changes):
        study = fastgd.Study.from_toml(FOLDER / f"{name}.toml", set=changes)
        return fastgd.run(study, tmp_path_factory.mktemp(name))

    return run


def curve(results, optimizer, column):
    """A column of the only trial of an optimizer, after each epoch."""
    (trial,) = results.trials.loc[results.trials["optimizer"] == optimizer, "trial_id"]
    curves = results.curves[results.curves["trial_id"] == trial].sort_values("step")
    return curves[column].to_numpy()[1:]


def test_the_data_are_those_of_the_script():
    made = runpy.run_path(str(FOLDER / "make_data.py"))
    for name in ("sparse_feature", "rare_feature"):
        X, y = made[name]()
        found, values = load_svmlight_file(str(FOLDER / f"{name}.svm"), zero_based=True)
        np.testing.assert_array_equal(found.toarray(), X)
        np.testing.assert_array_equal(values, y)


@pytest.mark.parametrize("name", ["sparse_feature", "adagrad_stops", "rare_feature"])
def test_the_studies_run_on_sparse_kernels(run, name):
    trials = run(name).trials
    assert (trials["status"] == "completed").all()
    assert trials["kernel"].str.startswith("sparse-tile").all()


# --- a sparse feature -------------------------------------------------------------------------------------------------


def directions(results):
    """How far each optimizer went in w for a step in b, from zero."""
    moved = {row.optimizer: results.parameters(row.trial_id) for row in results.trials.itertuples()}
    assert all(b > 0 for _, b in moved.values())
    return {optimizer: w / b for optimizer, (w, b) in moved.items()}


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_on_a_sparse_feature_adagrad_moves_in_both_directions_where_others_move_in_one(run, steps):
    X, _ = load_svmlight_file(str(FOLDER / "sparse_feature.svm"))
    assert (X.shape[0], X.getnnz(axis=0).min()) == (100, 20)
    slopes = directions(run("sparse_feature", f"steps={steps}"))
    assert all(0 < slopes[name] < 0.13 for name in ("sgd", "momentum", "nesterov"))
    assert 0.95 < slopes["adagrad"] < 1.01


def test_its_rates_say_why(run):
    results = run("sparse_feature", "steps=10")
    lowest, highest = (curve(results, "adagrad", f"effective_lr.frequent.{q}") for q in ("q10", "q90"))
    assert (highest > 8 * lowest).all()  # those of w and b
    for name in ("sgd", "momentum", "nesterov"):
        assert (curve(results, name, "effective_lr.frequent.q10") == 1).all()
        assert (curve(results, name, "effective_lr.frequent.q90") == 1).all()


# --- AdaGrad stops ----------------------------------------------------------------------------------------------------

DENSE = "effective_lr.frequent.q10"  # the rate of b, the lower one of two


def test_adagrads_rate_of_the_dense_parameter_falls_for_ever(run):
    rate = curve(run("adagrad_stops"), "adagrad", DENSE)
    assert (np.diff(rate) < 0).all()
    assert rate[-1] < 0.3 * rate[0]
    assert 0.5 < rate[999] / rate[249] < 0.6  # as 1 / sqrt(t), but for the first large gradients


def test_rmsprops_does_not(run):
    rate = curve(run("adagrad_stops"), "rmsprop", DENSE)
    changes = np.diff(rate)
    assert (changes > 0).mean() > 0.4
    assert (changes < 0).mean() > 0.4
    assert rate[-1] > 5 * rate[0]
    assert 0.9 < np.mean(rate[750:]) / np.mean(rate[250:500]) < 1.1


def test_so_that_adagrad_comes_to_rest_and_rmsprop_circles_on(run):
    """The losses' swings around the end of the training: in a third of it, AdaGrad's are a fraction of RMSProp's."""
    results = run("adagrad_stops")
    swings = {name: np.std(curve(results, name, "loss")[-300:]) for name in ("adagrad", "rmsprop")}
    assert swings["adagrad"] < 0.1 * swings["rmsprop"]


# --- a rare feature ---------------------------------------------------------------------------------------------------


def best_of(results):
    """The best trial of each optimizer."""
    return results.best().groupby("optimizer", sort=False).head(1).set_index("optimizer")["trial_id"]


def test_plain_descent_misses_a_rare_feature_that_adaptive_rates_learn(run):
    X, y = load_svmlight_file(str(FOLDER / "rare_feature.svm"), zero_based=True)
    having = X.toarray()[:, 0] != 0
    assert (len(y), having.sum()) == (1000, 5)
    assert (y[having] == 1).all()
    results = run("rare_feature")
    hits, weights = {}, {}
    for optimizer, trial in best_of(results).items():
        parameters = results.parameters(trial)
        hits[optimizer] = int((X[having] @ parameters[:-1] + parameters[-1] > 0).sum())
        weights[optimizer] = parameters[0]
    assert hits == {"sgd": 0, "adagrad": 5, "rmsprop": 5, "adam": 5}
    assert all(weights[name] > 2.5 * weights["sgd"] for name in ("adagrad", "rmsprop", "adam"))


def test_its_rate_is_many_times_that_of_common_features(run):
    results = run("rare_feature")
    for optimizer, trial in best_of(results).items():
        last = results.curves[results.curves["trial_id"] == trial].sort_values("step").iloc[-1]
        ratio = last["effective_lr.medium.q50"] / last["effective_lr.frequent.q50"]
        assert ratio == 1 if optimizer == "sgd" else ratio > 5


def test_and_the_loss_is_the_better_for_it(run):
    best = run("rare_feature").best().groupby("optimizer")["final_loss"].min()
    assert all(best["sgd"] - best[name] > 0.005 for name in ("adagrad", "rmsprop", "adam"))
