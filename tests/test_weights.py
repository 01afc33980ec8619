"""Weights of rows in the engine: a row of weight 3 is three rows, in every layout, and a batch's mean is weighted."""

import pickle
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import reference
import reference_networks
from cohorts import HALVES, PARTS, SINGLE, SMALL, make_cohort, problem, relative_error
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.utils.class_weight import compute_sample_weight
from sparse_cohorts import pair, sparse_cohort
from sparse_cohorts import problem as sparse_problem
from test_engine_networks import ONE, TILE, network

from fastgd.datasets.data import with_weights
from fastgd.engine.linear import block_steps, evaluation_steps
from fastgd.engine.network.model import Network
from fastgd.engine.shapes import Kernel
from fastgd.optimizers.line_search import Armijo, Exact
from fastgd.problems import CLASS_LOSSES, LOSSES, MISSES, ZERO_ONE, of_each_target, of_weighted_rows, with_outputs
from fastgd.problems.activations import ACTIVATIONS

N, D = 600, 9
LANES = [{"lr": lr} for lr in (0.02, 0.05, 0.1, 0.15)]
TIMES = np.random.default_rng(5).integers(0, 4, N)  # how often each row is there
WEIGHTS = TIMES / TIMES.mean()


def weighted(name, outputs=1):
    record = LOSSES[name] if name in LOSSES else CLASS_LOSSES[name]
    return of_weighted_rows(with_outputs(record, outputs))


def several(n=N, d=D, seed=0):
    """Two targets of a row."""
    return np.column_stack([problem(n, d, "squared", seed)[1], problem(n, d, "squared", seed + 1)[1]])


def classes(n=N):
    return (np.arange(n) * 7 % 3).astype(float)


@pytest.mark.parametrize("record", [weighted("logistic"), weighted("softmax", 3), of_weighted_rows(ZERO_ONE)])
def test_losses_of_weighted_rows_reach_other_processes(record):
    assert pickle.loads(pickle.dumps(record)) == record


# --- a row of weight 3 is three rows ----------------------------------------------------------------------------------


def both(X, y, lanes, optimizer, *, loss, outputs=1, **options):
    """A cohort on weighted rows and one on repeated rows, all of them in a batch."""
    rows, how = np.repeat(np.arange(N), TIMES), {"shuffled": False, **options}
    heavy = make_cohort(
        X, with_weights(y, WEIGHTS), lanes, optimizer, loss=weighted(loss, outputs), batch_size=N, **how
    )
    how |= {"loss": plain_loss(loss, outputs), "batch_size": len(rows)}
    return heavy, make_cohort(X[rows], y[rows], lanes, optimizer, **how)


def plain_loss(name, outputs=1):
    return replace(weighted(name, outputs), weighted=False)


LINEAR = [
    (SMALL, "logistic", "momentum"),
    (SMALL, "poisson", "polyak"),  # which needs the batch's objective
    (SINGLE, "logistic", "momentum"),
    (PARTS, "hinge", "adam"),
    (Kernel(4, gram=True), "squared", "momentum"),
]


@pytest.mark.parametrize(("kernel", "loss", "optimizer"), LINEAR, ids=[f"{k.name} {loss}" for k, loss, _ in LINEAR])
def test_full_batches_of_weighted_rows_are_those_of_repeated_ones(kernel, loss, optimizer):
    lanes = LANES[:2] if optimizer == "adam" else LANES
    heavy, plain = both(*problem(N, D, loss), lanes, optimizer, loss=loss, kernel=kernel, l2=0.01)
    for cohort in (heavy, plain):
        cohort.advance(30)
    assert relative_error(heavy.parameters(), plain.parameters()) < 1e-10
    assert relative_error(heavy.gradient_norms(), plain.gradient_norms()) < 1e-9


@pytest.mark.parametrize("search", [Armijo(), Exact()])
@pytest.mark.parametrize(("kernel", "loss"), [(PARTS, "logistic"), (Kernel(4, 2, gram=True), "squared")])
def test_line_searches_weigh_rows(kernel, loss, search):
    heavy, plain = both(
        *problem(N, D, loss), [{"lr": 1.0}], "sgd", loss=loss, kernel=kernel, line_search=search, l2=0.01
    )
    for cohort in (heavy, plain):
        cohort.advance(8)
    assert relative_error(heavy.parameters(), plain.parameters()) < 1e-9


NETWORKS = [
    (TILE, "logistic", 1, (6, 3), "momentum"),
    (ONE, "squared", 1, (6, 3), "momentum"),
    (TILE, "softmax", 3, (5,), "adam"),
    (TILE, "huber", 2, (), "momentum"),
    (Kernel(8, parts=2, network=True), "logistic", 1, (6, 3), "momentum"),
]


@pytest.mark.parametrize(("kernel", "loss", "outputs", "hidden", "optimizer"), NETWORKS)
def test_networks_weigh_rows(kernel, loss, outputs, hidden, optimizer):
    X, y = problem(N, D, "logistic" if loss == "softmax" else loss)
    y = classes() if loss == "softmax" else several() if outputs > 1 else y
    model = Network(hidden, ACTIVATIONS["tanh"], outputs=outputs)
    heavy, plain = both(X, y, LANES, optimizer, loss=loss, outputs=outputs, kernel=kernel, model=model, init="glorot")
    measures = [plain_loss(loss, outputs)]
    measures += [with_outputs(MISSES[1], 3)] if loss == "softmax" else of_each_target(measures[0])
    for cohort in (heavy, plain):
        cohort.advance(20)
    assert relative_error(heavy.parameters(), plain.parameters()) < 1e-10
    found = heavy.measure([(X, with_weights(y, 1.0 * TIMES), [of_weighted_rows(each) for each in measures])]).sums[0]
    rows = np.repeat(np.arange(N), TIMES)
    np.testing.assert_allclose(found, plain.measure([(X[rows], y[rows], measures)]).sums[0], rtol=1e-9)


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_sparse_rows_weigh_as_dense_ones(optimizer):
    X, y = sparse_problem()
    weights = WEIGHTS[: len(y)] / WEIGHTS[: len(y)].mean()
    for batch_size in (1, 16):
        how = {"batch_size": batch_size, "loss": weighted("logistic")}
        dense, sparse = pair(optimizer, LANES, data=(X, with_weights(y, weights)), **how)
        for cohort in (dense, sparse):
            cohort.advance(200)
        assert relative_error(sparse.parameters(), dense.parameters()) < 1e-10
        assert relative_error(sparse.gradient_norms(), dense.gradient_norms()) < 1e-9


def test_sparse_networks_weigh_rows():
    X, y = sparse_problem()
    numbers = with_weights(y, WEIGHTS[: len(y)])
    how = {"model": network((6,)), "kernel": TILE, "init": "glorot", "batch_size": 20, "loss": weighted("logistic")}
    dense = make_cohort(X, numbers, LANES, "sgd", **how)
    spec = replace(dense.spec, kernel=replace(dense.spec.kernel, sparse=True))
    sparse = sparse_cohort(spec, X, numbers, dense)
    for cohort in (dense, sparse):
        cohort.advance(40)
    assert relative_error(sparse.parameters(), dense.parameters()) < 1e-10


# --- mini-batches: the mean over a batch of weighted gradients --------------------------------------------------------


def by_numpy(X, y, weights, lr, loss, batch_size, steps, l2):
    rows, penalised = np.column_stack([X, np.ones(len(X))]), np.append(np.full(X.shape[1], l2), 0.0)
    w, derivative = np.zeros(X.shape[1] + 1), reference.LOSSES[loss][1]
    for at in islice(reference.batches(len(X), batch_size, 3), steps):
        residuals = weights[at] * derivative(rows[at] @ w, y[at])
        w = w - lr * (rows[at].T @ residuals / len(at) + penalised * w)
    return w


BATCHES = [
    (SMALL, 64, "logistic"),
    (SMALL, 1, "squared"),
    (SMALL, 5, "huber"),
    (SMALL, 300, "hinge"),
    (SINGLE, 1, "logistic"),
    (SINGLE, 50, "logistic"),
    (HALVES, 50, "squared"),
    (PARTS, 500, "logistic"),
    (Kernel(4, gram=True), 64, "squared"),
]


@pytest.mark.parametrize(("kernel", "batch_size", "loss"), BATCHES)
def test_batches_are_means_of_weighted_gradients(kernel, batch_size, loss):
    X, y = problem(N, D, loss)
    cohort = make_cohort(
        X, with_weights(y, WEIGHTS), LANES[:1], "sgd", loss=weighted(loss), batch_size=batch_size, kernel=kernel, l2=0.1
    )
    cohort.advance(50)
    expected = by_numpy(X, y, WEIGHTS, LANES[0]["lr"], loss, batch_size, 50, 0.1)
    assert relative_error(cohort.parameters()[0], expected) < 1e-10


def test_batches_of_networks_are_means_of_weighted_gradients():
    X, y = problem(N, D, "huber")
    model = network((6, 3))
    cohort = make_cohort(
        X, with_weights(y, WEIGHTS), LANES[:1], "sgd", loss=weighted("huber"), batch_size=20, kernel=TILE, model=model,
        init="glorot",
    )  # fmt: skip
    w = cohort.parameters()[0]
    cohort.advance(40)
    for at in islice(reference.batches(N, 20, 3), 40):
        of_rows = [reference_networks.gradient(w, X[[i]], y[[i]], model.widths(D), "tanh", loss="huber") for i in at]
        w = w - LANES[0]["lr"] * (WEIGHTS[at] @ np.array(of_rows)) / len(at)
    assert relative_error(cohort.parameters()[0], w) < 1e-10


@pytest.mark.parametrize("estimator", ["svrg", "saga"])
def test_tables_of_estimators_hold_weighted_residuals(estimator):
    """Where the parameters are when the table is filled, it makes the gradient of all rows of every batch."""
    X, y = problem(N, D)
    how = {"loss": weighted("logistic"), "estimator": estimator, "kernel": SMALL, "batch_size": 32}
    cohort = make_cohort(X, with_weights(y, WEIGHTS), LANES, "sgd", **how)
    cohort.advance(1)
    residuals = WEIGHTS * (0.5 - y)
    expected = -0.02 * np.append(X.T @ residuals, residuals.sum()) / N
    assert relative_error(cohort.parameters()[0], expected) < 1e-10
    cohort.advance(4000)
    assert cohort.gradient_norms()[0, -1] < 1e-6


# --- scikit-learn, row by row -----------------------------------------------------------------------------------------


def classifier(loss, alpha, rate, **options):
    return SGDClassifier(
        loss=loss, alpha=alpha, learning_rate="constant", eta0=rate, shuffle=False, tol=None, max_iter=3, **options
    )


@pytest.mark.parametrize(("ours", "theirs"), [("logistic", "log_loss"), ("hinge", "hinge")])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0.0: 1.0, 1.0: 5.0}])
@pytest.mark.parametrize("kernel", [SMALL, SINGLE])
def test_sgd_classifier_row_by_row(ours, theirs, class_weight, kernel):
    """Where weights have another mean than 1, it multiplies their rate, and divides their penalty."""
    X, y = problem(N, D)
    own = np.random.default_rng(1).uniform(0.1, 3, N)
    factors = own * compute_sample_weight(class_weight, y)
    mean, alpha, rate = factors.mean(), 1e-3, 0.05
    model = classifier(theirs, alpha, rate, class_weight=class_weight).fit(X, y, sample_weight=own)
    cohort = make_cohort(
        X, with_weights(y, factors / mean), [{"lr": rate * mean}], "sgd", loss=weighted(ours), batch_size=1,
        l2=alpha / mean, shuffled=False, kernel=kernel,
    )  # fmt: skip
    cohort.advance(3 * N)
    assert relative_error(cohort.parameters()[0], np.append(model.coef_, model.intercept_)) < 1e-10


def test_sgd_regressor_row_by_row():
    X, y = problem(N, D, "squared")
    how = {"alpha": 1e-3, "learning_rate": "constant", "eta0": 0.01, "shuffle": False, "tol": None, "max_iter": 3}
    model = SGDRegressor(**how).fit(X, y, sample_weight=WEIGHTS)
    numbers, options = with_weights(y, WEIGHTS), {"batch_size": 1, "l2": 1e-3, "shuffled": False, "kernel": SINGLE}
    cohort = make_cohort(X, numbers, [{"lr": 0.01}], "sgd", loss=weighted("squared"), **options)
    cohort.advance(3 * N)
    assert relative_error(cohort.parameters()[0], np.append(model.coef_, model.intercept_)) < 1e-10


# --- measures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kernel", [SMALL, SINGLE])
def test_sums_at_checkpoints_are_weighted(kernel, dtype):
    X, y = problem(N, D)
    numbers = with_weights(y, WEIGHTS).astype(dtype)
    cohort = make_cohort(X, numbers, LANES, loss=weighted("logistic"), kernel=kernel, dtype=dtype, init=0.3)
    own = [weighted("logistic"), of_weighted_rows(ZERO_ONE), weighted("squared_hinge")]
    (sums,) = cohort.measure([(X.astype(dtype), numbers, own)]).sums
    for w, found in zip(cohort.parameters(), sums.T, strict=True):
        z = X @ w[:-1] + w[-1]
        expected = [WEIGHTS @ measure.value(z, y) for measure in own]
        np.testing.assert_allclose(found, expected, rtol=1e-12 if dtype == "float64" else 1e-5)


def test_a_row_that_is_not_finite_is_noted_whatever_it_weighs():
    X, y = problem(N, D)
    X[7] = 1e308
    cohort = make_cohort(X, with_weights(y, np.where(np.arange(N) == 7, 0.0, 1.0)), [{"lr": 10.0}], "sgd",
                         loss=weighted("squared"), kernel=SMALL, batch_size=64, shuffled=False, init=0.3)  # fmt: skip
    cohort.advance(3)
    assert cohort.first_bad_step().tolist() == [1]


def test_weights_of_1_change_nothing():
    """Sums run in the same order, so that even the bits are the same where no rows share a logarithm."""
    X, y = problem(N, D)
    for kernel, batch_size in ((SMALL, 64), (SMALL, 1), (SINGLE, 1), (SINGLE, 50)):
        how = {"kernel": kernel, "batch_size": batch_size, "l2": 0.01}
        heavy = make_cohort(X, with_weights(y, np.ones(N)), LANES, loss=weighted("logistic"), **how)
        plain = make_cohort(X, y, LANES, loss="logistic", **how)
        for cohort in (heavy, plain):
            cohort.advance(60)
        np.testing.assert_array_equal(heavy.parameters(), plain.parameters())
        found, expected = (
            cohort.measure([(X, cohort_y, [loss])]).sums[0]
            for cohort, cohort_y, loss in ((heavy, with_weights(y, np.ones(N)), weighted("logistic")),
                                           (plain, y, LOSSES["logistic"]))
        )  # fmt: skip
        np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_weights_compile_no_driver():
    """Only the kernels of a loss are compiled for weighted rows."""
    X, y = problem(N, D)
    counts = []
    for numbers, loss in ((y, "logistic"), (with_weights(y, WEIGHTS), weighted("logistic"))):
        cohort = make_cohort(X, numbers, LANES, loss=loss, kernel=SMALL)
        cohort.advance(3)
        cohort.measure([(X, numbers, [cohort.spec.loss])])
        counts.append((len(block_steps.advance.overloads), len(evaluation_steps.evaluate_blocks.overloads)))
    assert counts[0] == counts[1]
    assert min(counts[0]) > 0
