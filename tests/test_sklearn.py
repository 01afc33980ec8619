"""The faces of scikit-learn: its own checks, its own estimators as witnesses, and the studies that estimators are."""

import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.preprocessing import StandardScaler

import fastgd
from fastgd import InputError
from fastgd.sklearn import GDClassifier, GDRegressor

# What scikit-learn's SGD does: one row a step, in order, so many epochs, at a rate that does not change.
LIKE_SGD = {"optimizer": "sgd", "eta0": 0.01, "batch_size": 1, "shuffle": False, "max_iter": 3, "tol": None}
SGD = {"learning_rate": "constant", "eta0": 0.01, "shuffle": False, "max_iter": 3, "tol": None}
SHORT = {"max_iter": 5, "tol": None, "random_state": 0}


def standard(load):
    X, y = load(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.fixture(scope="module")
def cancer():
    return standard(load_breast_cancer)


@pytest.fixture(scope="module")
def iris():
    return standard(load_iris)


@pytest.fixture(scope="module")
def diabetes():
    X, y = standard(load_diabetes)
    return X, (y - y.mean()) / y.std()


def test_scikit_learn_has_nothing_to_find_fault_with():
    # of arrays of other libraries it asks only where this is set before SciPy is imported
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    script = Path(__file__).parent / "scikit_learn_checks.py"
    found = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert len(set(found.stdout.split())) > 4 * 40  # each check of each estimator that passed


@pytest.mark.parametrize("loss", ["log_loss", "hinge", "squared_hinge"])
@pytest.mark.parametrize("penalty", [{"alpha": 0.01}, {"penalty": None}])
def test_steps_are_those_of_sgd_classifier(cancer, loss, penalty):
    X, y = cancer
    theirs = SGDClassifier(loss=loss, **SGD, **penalty).fit(X, y)
    ours = GDClassifier(loss=loss, **LIKE_SGD, **penalty).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-10, atol=1e-12)
    assert (ours.predict(X) == theirs.predict(X)).all()
    assert ours.n_iter_ == theirs.n_iter_


def test_one_against_all_others_is_that_of_sgd_classifier(iris):
    X, y = iris
    theirs = SGDClassifier(loss="log_loss", **SGD).fit(X, y)
    ours = GDClassifier(multi_class="ovr", **LIKE_SGD).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-9)


def test_schedules_and_weights_are_those_of_sgd_regressor(diabetes):
    X, y = diabetes
    weights = np.random.default_rng(0).uniform(0.5, 1.5, len(y))
    weights /= weights.mean()
    theirs = SGDRegressor(**SGD | {"learning_rate": "invscaling"}).fit(X, y, sample_weight=weights)
    ours = GDRegressor(learning_rate="invscaling", **LIKE_SGD).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-9)


def test_minima_are_those_of_solvers(iris, diabetes):
    X, y = iris
    how = {"batch_size": "full", "optimizer": "rprop", "max_iter": 3000, "tol": None, "alpha": 0.01}
    ours = GDClassifier(**how).fit(X, y)
    theirs = LogisticRegression(C=1 / (0.01 * len(y)), tol=1e-10, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
    X, y = diabetes
    ridge = Ridge(alpha=0.01 * len(y)).fit(X, y)
    np.testing.assert_allclose(GDRegressor(**how).fit(X, y).coef_, ridge.coef_, atol=1e-5)


def test_an_estimator_is_a_trial_of_a_study(tmp_path, iris):
    X, y = iris
    how = {"optimizer": "momentum", "eta0": 0.1, "optimizer_params": {"momentum": 0.5}, "batch_size": 32}
    ours = GDClassifier(**how, **SHORT, learning_rate="cosine", alpha=0.001, average=3).fit(X, y)
    study = fastgd.Study(
        name="one",
        epochs=5,
        batch_size=32,
        problem={"loss": "softmax", "intercept": True, "l2": 0.001},
        optimizer={"name": "momentum", "lr": 0.1, "momentum": 0.5, "averaging": {"kind": "polyak", "start": 3}},
        schedule={"name": "cosine"},
        record={"parameters": "all"},
    )
    results = fastgd.run(study, tmp_path / "r", data=(X, y), progress=False)
    model = results.model(results.trials["trial_id"].iloc[0], data=(X, y))
    assert np.array_equal(model.layers[0].weights.T, ours.coef_)
    assert ours.loss_curve_ == results.curves["loss"].tolist()[1:]


def test_dense_and_sparse_rows_train_alike(cancer):
    X, y = cancer
    X = np.where(np.abs(X) < 1, 0.0, X)
    dense, sparse = (GDClassifier(**SHORT).fit(rows, y) for rows in (X, csr_matrix(X)))
    np.testing.assert_allclose(sparse.coef_, dense.coef_, rtol=1e-8)
    np.testing.assert_allclose(sparse.decision_function(csr_matrix(X)), dense.decision_function(X), rtol=1e-8)


def test_networks_and_several_targets(diabetes):
    X, y = diabetes
    both = np.column_stack([y, -y])
    model = GDRegressor(hidden=(8, 4), activation="tanh", **SHORT).fit(X, both)
    assert [weights.shape for weights in model.coefs_] == [(10, 8), (8, 4), (4, 2)]
    assert model.predict(X).shape == both.shape
    with pytest.raises(AttributeError, match="of linear models"):
        _ = model.coef_
    linear = GDRegressor(**SHORT).fit(X, both)
    assert linear.coef_.shape == (2, 10)
    np.testing.assert_allclose(linear.predict(X), X @ linear.coef_.T + linear.intercept_)
    np.testing.assert_allclose(linear.predict(X)[:, 0], -linear.predict(X)[:, 1])  # alike, but for their sign


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("how", [{}, {"optimizer": "sgd", "eta0": 0.05, "learning_rate": "invscaling"}])
def test_portions_that_are_all_rows_are_epochs(cancer, sparse, how):
    X, y = cancer
    X = csr_matrix(np.where(np.abs(X) < 1, 0.0, X)) if sparse else X
    how = {**SHORT, **how, "shuffle": False, "batch_size": 32}
    whole, portions = GDClassifier(**how).fit(X, y), GDClassifier(**how)
    for _ in range(5):
        portions.partial_fit(X, y, classes=[0, 1])
    np.testing.assert_allclose(portions.coef_, whole.coef_, rtol=1e-12)
    assert portions.n_iter_ == whole.n_iter_ == 5
    assert portions.t_ == whole.t_


def test_portions_of_any_size_are_steps(cancer):
    X, y = cancer
    how = {**SHORT, "shuffle": False, "batch_size": 19, "learning_rate": "invscaling", "max_iter": 1}
    whole, portions = GDClassifier(**how).fit(X, y), GDClassifier(**how)
    for first, last in ((0, 19), (19, 95), (95, 171), (171, 569)):  # whole batches, so the steps are the same
        portions.partial_fit(X[first:last], y[first:last], classes=[0, 1])
    np.testing.assert_allclose(portions.coef_, whole.coef_, rtol=1e-12)
    assert portions.t_ == whole.t_


def test_portions_have_weights(cancer):
    X, y = cancer
    weights = np.where(np.arange(len(y)) < 95, 3.0, 0.5) * np.where(y == 1, 1, 2)
    weights /= weights.mean()
    how = {**SHORT, "shuffle": False, "batch_size": 19, "max_iter": 1}
    whole, portions = GDClassifier(**how).fit(X, y, sample_weight=weights), GDClassifier(**how)
    for first, last in ((0, 19), (19, 95), (95, 569)):  # their weights have other means
        some = slice(first, last)
        portions.partial_fit(X[some], y[some], classes=[0, 1], sample_weight=weights[some])
    np.testing.assert_allclose(portions.coef_, whole.coef_, rtol=1e-12)


def test_portions_of_one_class_have_its_weight(cancer):
    X, y = cancer
    how = {**SHORT, "shuffle": False, "batch_size": 32}
    by_class, by_row = GDClassifier(**how, class_weight={0: 1, 1: 10}), GDClassifier(**how)
    plain = GDClassifier(**how)
    for label, weight in ((0, 1.0), (1, 10.0)):
        own = y == label
        by_class.partial_fit(X[own], y[own], classes=[0, 1])
        by_row.partial_fit(X[own], y[own], classes=[0, 1], sample_weight=np.full(own.sum(), weight))
        plain.partial_fit(X[own], y[own], classes=[0, 1])
    assert np.array_equal(by_class.coef_, by_row.coef_)
    assert not np.allclose(by_class.coef_, plain.coef_)


def test_portions_go_on_in_a_pickle(cancer):
    X, y = cancer
    model = GDClassifier(**SHORT).partial_fit(X, y, classes=[0, 1])
    other = pickle.loads(pickle.dumps(model))
    assert np.array_equal(model.partial_fit(X, y).coef_, other.partial_fit(X, y).coef_)


def test_stops_early_with_the_best_parameters(cancer):
    X, y = cancer
    model = GDClassifier(early_stopping=True, eta0=0.3, n_iter_no_change=3, random_state=1).fit(X, y)
    assert len(model.validation_curve_) == len(model.loss_curve_) == model.n_iter_ < 200
    assert np.argmin(model.validation_curve_) < model.n_iter_ - 1  # it went on, and took back what it did since
    again = GDClassifier(
        early_stopping=True, eta0=0.3, tol=None, max_iter=1 + int(np.argmin(model.validation_curve_)), random_state=1
    ).fit(X, y)
    assert np.array_equal(again.coef_, model.coef_)


def test_a_training_without_progress_ends_as_in_scikit_learn():
    X = np.linspace(-1, 1, 40)[:, None]
    y = (X[:, 0] > 0).astype(int)
    how = {"loss": "hinge", "alpha": 0.0, "max_iter": 100, "random_state": 0}
    model = GDClassifier(optimizer="sgd", eta0=10.0, batch_size=1, **how).fit(X, y)  # to 0, soon
    assert model.loss_curve_[-1] == 0
    assert model.n_iter_ < 30
    tol, since, least = 0.05, 0, 1.0
    slow = GDClassifier(optimizer="sgd", eta0=0.05, batch_size=8, tol=tol, n_iter_no_change=3, **how).fit(X, y)
    for epochs, loss in enumerate(slow.loss_curve_, 1):
        since, least = (since + 1 if loss > least - tol else 0), min(least, loss)
        assert (since >= 3) == (epochs == slow.n_iter_)
    assert 3 < slow.n_iter_ < 100


def test_warm_starts_begin_where_the_last_fit_ended(cancer):
    X, y = cancer
    how = {**SHORT, "optimizer": "sgd", "eta0": 0.1, "shuffle": False}
    whole = GDClassifier(**how).set_params(max_iter=10).fit(X, y)
    twice = GDClassifier(warm_start=True, **how).fit(X, y).fit(X, y)
    np.testing.assert_allclose(twice.coef_, whole.coef_, rtol=1e-12)
    net = GDClassifier(warm_start=True, hidden=(4,), **how).fit(X, y)
    before = net.loss_curve_[-1]
    assert net.fit(X, y).loss_curve_[0] < before


def test_class_weights_are_row_weights(iris):
    X, y = iris
    weights = np.array([1.0, 2.0, 0.5])[y]
    ours = GDClassifier(class_weight={0: 1, 1: 2, 2: 0.5}, **SHORT).fit(X, y)
    np.testing.assert_allclose(ours.coef_, GDClassifier(**SHORT).fit(X, y, sample_weight=weights).coef_, rtol=1e-12)
    some = np.r_[0:50, 50:70, 100:105]
    balanced = GDClassifier(class_weight="balanced", **SHORT).fit(X[some], y[some])
    counted = GDClassifier(class_weight={0: 0.5, 1: 1.25, 2: 5}, **SHORT).fit(X[some], y[some])
    np.testing.assert_allclose(balanced.coef_, counted.coef_, rtol=1e-12)


def test_l1_leaves_zeros(cancer):
    X, y = cancer
    dense = GDClassifier(optimizer="sgd", eta0=0.1, penalty="l2", alpha=0.1, **SHORT).fit(X, y)
    sparse = GDClassifier(optimizer="sgd", eta0=0.1, penalty="l1", alpha=0.1, **SHORT).fit(X, y)
    assert (dense.coef_ == 0).sum() == 0 < (sparse.coef_ == 0).sum()


@pytest.mark.parametrize("load", [load_iris, load_breast_cancer, load_digits])
def test_the_defaults_do(load):
    X, y = load(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert GDClassifier(random_state=0).fit(X, y).score(X, y) > 0.93


def test_texts_are_labels(iris):
    X, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = GDClassifier(random_state=0, eta0=0.1, max_iter=50, tol=None).fit(X, names)
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert model.score(X, names) > 0.9


def test_says_that_epochs_were_over(cancer):
    with pytest.warns(ConvergenceWarning, match="max_iter = 2 epochs were over"):
        GDClassifier(max_iter=2).fit(*cancer)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"eta0": -1}, "^eta0"),
        ({"alpha": -1}, "^alpha"),
        ({"optimizer": "addam"}, "did you mean 'adam'"),
        ({"optimizer_params": {"betta": 1}}, "betta"),
        ({"optimizer_params": {"beta1": [0.9, 0.8]}}, "^optimizer_params: 'beta1' has several values"),
        ({"learning_rate": "coson"}, "did you mean 'cosine'"),
        ({"schedule_params": {"finale": 0}}, "finale"),
        ({"penalty": "l3"}, "^penalty = 'l3': must be one of"),
        ({"penalty": "elasticnet", "l1_ratio": 2}, "^l1_ratio = 2"),
        ({"max_iter": 0}, "^max_iter"),
        ({"n_iter_no_change": 0}, "^n_iter_no_change"),
        ({"dtype": "float16"}, "^dtype = 'float16'"),
        ({"loss": "squared"}, "of numbers: see GDRegressor"),
        ({"loss": "log_los"}, "log_los"),
        ({"multi_class": "ovo"}, "^multi_class = 'ovo'"),
        ({"hidden": (3,), "multi_class": "ovr"}, "^hidden"),
        ({"hidden": (0,)}, "^hidden"),
        ({"batch_size": 0}, "^batch_size"),
        ({"n_jobs": 0}, "^n_jobs = 0"),
        ({"learning_rate": "plateau"}, "set early_stopping = True"),
        ({"learning_rate": "adaptive"}, "^learning_rate = 'adaptive' is 'plateau'"),
        ({"loss": "modified_huber"}, "also 'log_loss', 'squared_error'"),
        (
            {"early_stopping": True, "validation_fraction": 2},
            "^validation_fraction must be above 0 and below 1, found 2",
        ),
        ({"optimizer": "sgd", "eta0": 1e6, "max_iter": 3, "alpha": 1.0}, "diverged"),
    ],
)
def test_what_is_wrong_is_called_as_estimators_call_it(iris, params, message):
    tol = 1e-4 if "n_iter_no_change" in params else None
    with pytest.raises(InputError, match=message):
        GDClassifier(**{"tol": tol, "max_iter": 3} | params).fit(*iris)


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("poisson", [1, -2, 3], "takes numbers from 0 to inf; found -2"),
        ("sigmoid_squared", [0, 0.5, 2], "takes numbers from 0 to 1; found 2"),
        ("poisson", [[1, 2], [3, 4], [5, 6]], "2 columns"),
        ("hinge", [0, 1, 1], "see GDClassifier"),
    ],
)
def test_targets_are_such_as_the_loss_takes(loss, y, message):
    with pytest.raises(InputError, match=message):
        GDRegressor(loss=loss).fit(np.eye(3), y)


def test_portions_need_classes(cancer):
    X, y = cancer
    with pytest.raises(InputError, match="classes must be given in the first call"):
        GDClassifier().partial_fit(X, y)
    model = GDClassifier().partial_fit(X, y, classes=[0, 1])
    with pytest.raises(InputError, match="found \\[0 2\\]"):
        model.partial_fit(X, y, classes=[0, 2])
    with pytest.raises(InputError, match="none of the classes"):
        model.partial_fit(X, y + 1)
    with pytest.raises(InputError, match="early_stopping"):
        GDClassifier(early_stopping=True).partial_fit(X, y, classes=[0, 1])


def test_clones_have_the_same_bits(cancer):
    X, y = cancer
    model = GDClassifier(**SHORT, n_jobs=1).fit(X, y)
    assert np.array_equal(clone(model).set_params(n_jobs=2).fit(X, y).coef_, model.coef_)
