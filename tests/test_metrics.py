"""Metrics that mean a prediction are taken on its scale: that of the targets."""

import numpy as np
import pytest
from cohorts import TYPES, make_cohort, problem
from small_studies import run

from fastgd import Study
from fastgd.datasets import from_arrays, prepare
from fastgd.problems import LOSSES, SQUARED_ERRORS, ZERO_ONE
from fastgd.runs.measured.metrics import Recorder

PREDICTIONS = {
    "squared": lambda z: z,
    "huber": lambda z: z,
    "poisson": np.exp,
    "sigmoid_squared": lambda z: 1 / (1 + np.exp(-z)),
}


def r2(prediction, y):
    return 1 - np.sum((prediction - y) ** 2) / np.sum((y - y.mean()) ** 2)


def test_r2_of_poisson_is_that_of_the_mean():
    assert (
        set(SQUARED_ERRORS) == {name for name, loss in LOSSES.items() if loss.targets != "binary"} == set(PREDICTIONS)
    )


@TYPES
def test_an_exact_fit_of_counts(tmp_path, dtype):
    X, y = np.tile([[0.0], [1.0], [2.0]], (10, 1)), np.tile([1.0, 2.0, 4.0], 10)
    results = run(
        tmp_path / "r", (X, y), problem={"loss": "poisson", "intercept": False, "validation": 0.3}, dtype=dtype,
        init={"point": [float(np.log(2))]}, record={"metrics": ["r2", "validation_r2"]},
        optimizer={"name": "sgd", "lr": 1e-9}, epochs=1, batch_size=10,
    )  # fmt: skip
    assert results.curves["r2"].iloc[0] == pytest.approx(1, abs=1e-12)
    assert results.curves["validation_r2"].iloc[0] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("loss", PREDICTIONS)
@pytest.mark.parametrize("lanes", [1, 8])
def test_r2_of_each_loss(tmp_path, loss, lanes):
    rng = np.random.default_rng(0)
    X, z = rng.standard_normal((60, 2)), rng.standard_normal(60)
    y = np.abs(PREDICTIONS[loss](z))
    point = [0.3, -0.2, 0.1]
    results = run(
        tmp_path / "r", (X, y), problem={"loss": loss, "intercept": True, "validation": 0.4},
        init={"point": point}, record={"metrics": ["r2", "validation_r2"]},
        optimizer={"name": "sgd", "lr": list(1e-9 * np.arange(1.0, lanes + 1))}, epochs=1, batch_size=10,
    )  # fmt: skip
    keys = np.random.PCG64(0).random_raw(60)
    held = np.sort(np.argsort(keys, kind="stable")[:24])
    train = np.setdiff1d(np.arange(60), held)
    prediction = PREDICTIONS[loss](X @ point[:2] + point[2])
    first = results.curves.groupby("trial_id").first()
    np.testing.assert_allclose(first["r2"], r2(prediction[train], y[train]), rtol=1e-10)
    np.testing.assert_allclose(first["validation_r2"], r2(prediction[held], y[held]), rtol=1e-10)


@pytest.mark.parametrize("loss", ["logistic", "hinge", "squared_hinge"])
def test_a_loss_of_classes_has_no_r2(loss):
    with pytest.raises(ValueError, match="no problem has 'r2'"):
        Study(
            name="x", epochs=1, problem={"loss": loss, "synthetic": {"n": 10, "d": 2}}, batch_size=1,
            optimizer={"name": "sgd", "lr": 0.1}, record={"metrics": ["r2"]},
        )  # fmt: skip


def test_targets_that_are_all_the_same_have_no_r2(tmp_path):
    """The variance of 0.1, thirty times, is 1e-34 by rounding alone."""
    data = np.arange(30.0)[:, None] / 30, np.full(30, 0.1)
    results = run(
        tmp_path / "r", data, problem={"loss": "squared", "intercept": True}, record={"metrics": ["r2"]}, batch_size=10
    )
    assert results.curves["r2"].isna().all()


@pytest.mark.parametrize("labels", [True, False])
def test_accuracy_is_of_labels(tmp_path, labels):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 2)), rng.random(30)
    results = run(
        tmp_path / "r", (X, np.round(y) if labels else y), problem={"loss": "sigmoid_squared", "intercept": True},
        record={"metrics": ["accuracy", "r2"]}, batch_size=10,
    )  # fmt: skip
    assert results.curves["accuracy"].notna().all() == labels
    assert results.curves["accuracy"].isna().all() != labels
    assert any("accuracy is not recorded" in note for note in results.manifest.notes) != labels


def test_what_is_no_number_predicts_no_label():
    z, y = np.array([np.nan, np.inf, -np.inf]), np.array([1.0, 1.0, 1.0])
    np.testing.assert_array_equal(ZERO_ONE.value(z, y), [np.nan, 0, 1])


def test_a_penalty_that_there_is_not_adds_nothing_to_large_weights():
    X, y = problem(10, 2)
    lanes = [{"lr": 0.1, "proximal.l1": 0.5, "proximal.l2": 0.0}, {"lr": 0.1, "proximal.l1": 0.0, "proximal.l2": 0.5}]
    cohort = make_cohort(X, y, lanes, "sgd", around={"proximal": ""}, init=(1e200, 1e200), intercept=False)
    data = prepare(from_arrays(X, y), targets="binary", dtype="float64")
    with np.errstate(over="ignore", invalid="ignore"):
        found = Recorder(data, LOSSES["logistic"], ["composite_loss"])._of_weights(cohort, np.ones(2))
    np.testing.assert_allclose(found["composite_loss"], [1e200, np.inf])
