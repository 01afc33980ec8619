"""`init = { point = [...] }`: every trial over data starts at a point that the study names."""

from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
from cohorts import TYPES, spread
from small_studies import D, Log, assert_same, rows, run, study_of

import fastgd
from fastgd import InputError

POINT = [0.5, -1.0, 0.25, 2.0, -0.125, 0.75]  # of five features, then the intercept
START = {"init": {"point": POINT}, "record": {"parameters": "all"}}


def loss_at(w, X, y):
    z = X @ w[:-1] + w[-1]
    return np.mean(np.logaddexp(0, z) - y * z)


def descended(X, y, lr, steps):
    """The iterate after steps of plain descent from the point."""
    w, ones = np.array(POINT), np.column_stack([X, np.ones(len(X))])
    for _ in range(steps):
        w -= lr * ones.T @ (1 / (1 + np.exp(-ones @ w)) - y) / len(y)
    return w


RATES = {"single": [0.1], "tile": [0.01, 0.03, 0.1, 0.3]}
SOME = [("single", 32, "dense"), ("tile", "full", "dense"), ("tile", 32, "sparse"), ("single", "full", "sparse")]


@pytest.mark.parametrize(
    ("lanes", "batch_size", "layout"), spread(list(product(RATES, (32, "full"), ("dense", "sparse"))), SOME)
)
@TYPES
def test_every_curve_starts_there(tmp_path, lanes, batch_size, dtype, layout):
    X, y = rows()
    data, rates = (sp.csr_array(X) if layout == "sparse" else X, y), RATES[lanes]
    optimizer = {"name": "sgd", "lr": rates}
    results = run(tmp_path, data, optimizer=optimizer, batch_size=batch_size, dtype=dtype, **START)
    first = results.curves[results.curves["step"] == 0]
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    assert len(first) == len(rates)
    np.testing.assert_allclose(first["loss"], loss_at(np.array(POINT), X, y), rtol=tolerance)
    np.testing.assert_allclose(first["param_norm"], np.linalg.norm(POINT), rtol=tolerance)
    if batch_size == "full":
        for trial in results.trials.itertuples():
            expected = descended(X, y, trial.lr, 3)
            np.testing.assert_allclose(results.parameters(trial.trial_id), expected, rtol=100 * tolerance)


def test_a_full_batch_runs_once_for_all_seeds(tmp_path):
    log = Log()
    results = run(tmp_path, log=log, batch_size="full", seed=[0, 1, 2], **START)
    assert log.computed == [4]
    assert len(results.trials) == 12
    assert (results.trials.groupby("lr")["final_loss"].nunique() == 1).all()


def test_one_trial_and_a_resumed_study_have_the_same_bits(tmp_path):
    whole = run(tmp_path / "whole", **START)
    trial = whole.trials["trial_id"].iloc[2]
    alone = run(tmp_path / "alone", trial=trial, **START)
    expected = whole.curves[whole.curves["trial_id"] == trial].drop(columns="train_seconds").reset_index(drop=True)
    assert alone.curves.drop(columns="train_seconds").equals(expected)
    momentum = {"name": "momentum", "lr": [0.01, 0.03, 0.1, 0.3]}
    first = {**START, "seed": [0], "optimizer": momentum}
    run(tmp_path / "grown", **first)
    log = Log()
    grown = run(tmp_path / "grown", log=log, **{**first, "seed": [0, 1]})
    assert log.computed == [4], "the seed that was new"
    assert_same(grown, run(tmp_path / "both", **{**first, "seed": [0, 1]}))


def test_other_points_are_other_trials():
    fields = {"name": "a", "epochs": 1, "problem": {"loss": "logistic"}, "optimizer": {"name": "sgd", "lr": 0.1}}
    points = [fastgd.Study(**fields, init={"point": [value]}) for value in (1, 1.0, 2)]
    assert points[0] == points[1] != points[2]
    assert points[0].to_toml() == points[1].to_toml()
    assert "point = [\n    1.0,\n]" in points[0].to_toml()


@pytest.mark.parametrize("count", [D, D + 2])
def test_another_number_of_parameters_is_refused_once_the_data_are_known(tmp_path, count):
    text = r"init\.point has \d numbers, and 'arrays/logistic' needs 6: 5 features, and the intercept comes last"
    with pytest.raises(InputError, match=text):
        run(tmp_path / "r", init={"point": [0.5] * count})
    assert not (tmp_path / "r").exists()


def test_it_must_fit_every_problem(tmp_path):
    problems = [{"loss": "logistic", "intercept": True}, {"loss": "squared", "name": "bare"}]
    with pytest.raises(InputError, match=r"init\.point has 6 numbers, and 'bare' needs 5: 5 features$"):
        run(tmp_path / "r", problem=problems, **START)


@pytest.mark.parametrize("point", [1.0, ["a"], [float("nan")], [True]])
def test_what_is_no_point_is_refused(point):
    with pytest.raises(InputError, match=r"init must be 'zeros', \{ normal = s \} with s > 0, or \{ point"):
        study_of(init={"point": point})
