"""Certified minima: equal to scikit-learn's, SciPy's and closed forms, with bounds that hold wherever one looks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from scipy.sparse import csr_array
from sklearn.linear_model import HuberRegressor, LinearRegression, LogisticRegression, Ridge
from sklearn.svm import SVC, LinearSVC

from fastgd.optima import CONVEX, Problem, kinks, newton, solve
from fastgd.optima import constants as constants_of
from fastgd.optima.certificates import balanced, certified, duality_gap, newton_decrement
from fastgd.optima.objective import Objective
from fastgd.problems import CLASS_LOSSES, LOSSES

N, D = 80, 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, D)) * [1.0, 3.0, 0.3, 10.0] + [0.5, 0.0, 1.0, -2.0]
MARGIN = X @ [0.7, -0.2, 1.0, 0.05]
TARGETS = {
    "squared": MARGIN + RNG.standard_normal(N),
    "huber": MARGIN + 2 * RNG.standard_cauchy(N),
    "poisson": RNG.poisson(np.exp(np.clip(MARGIN, -2, 2))).astype(float),
    "softmax": RNG.integers(0, 3, N).astype(float),
    **dict.fromkeys(("logistic", "hinge", "squared_hinge"), (MARGIN + RNG.logistic(size=N) > 0).astype(float)),
}
SMOOTH = [name for name, convex in CONVEX.items() if convex.smooth]


def problem_of(loss, l2=0.1, intercept=True, rows=X, targets=None):
    outputs = 3 if loss == "softmax" else 1
    return Problem(rows, TARGETS[loss] if targets is None else targets, loss, l2, intercept, outputs)


def objective_of(loss, l2=0.1, intercept=True):
    return Objective(X, TARGETS[loss], CONVEX[loss], l2, intercept=intercept, outputs=3 if loss == "softmax" else 1)


def value(loss, theta, l2, intercept):
    """The objective as DESIGN has it, by NumPy."""
    W = theta.reshape(D + intercept, -1)
    z = X @ W[:D] + (W[D] if intercept else 0.0)
    record = LOSSES.get(loss) or CLASS_LOSSES[loss]
    rows = record.value(z if loss == "softmax" else z[:, 0], TARGETS[loss])
    return rows.mean() + l2 / 2 * np.square(W[:D]).sum()


# --- minima: outside witnesses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("loss", CONVEX)
def test_no_other_solver_finds_less(loss, intercept):
    found = solve(problem_of(loss, 0.1, intercept))
    assert found.value == pytest.approx(value(loss, found.theta, 0.1, intercept), rel=1e-13)
    assert 0 <= found.bound <= 1e-12
    other = minimize(lambda w: value(loss, w, 0.1, intercept), np.zeros(len(found.theta)), method="Powell", tol=1e-10)
    assert found.value - found.bound - found.rounding <= other.fun
    assert other.fun - found.value < (1e-2 if loss in ("softmax", "hinge") else 1e-4), "the witness came near"


@pytest.mark.parametrize("l2", [1e-3, 1.0])
def test_logistic_is_scikit_learns(l2):
    found = solve(problem_of("logistic", l2))
    model = LogisticRegression(C=1 / (N * l2), tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    model.fit(X, TARGETS["logistic"])
    np.testing.assert_allclose(found.theta, np.r_[model.coef_[0], model.intercept_], rtol=1e-6)


def test_softmax_is_scikit_learns():
    found = solve(problem_of("softmax", 0.01))
    model = LogisticRegression(C=1 / (N * 0.01), tol=1e-12, max_iter=10_000, solver="lbfgs").fit(X, TARGETS["softmax"])
    np.testing.assert_allclose(found.theta.reshape(D + 1, 3)[:D], model.coef_.T, atol=1e-4)


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_squared_is_ridge(l2):
    found = solve(problem_of("squared", l2))
    model = Ridge(alpha=N * l2, solver="cholesky") if l2 else LinearRegression()
    model.fit(X, TARGETS["squared"])
    np.testing.assert_allclose(found.theta, np.r_[model.coef_, model.intercept_], rtol=1e-8)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_support_vectors_are_liblinears(loss):
    found = solve(problem_of(loss, 0.05, intercept=False))
    model = LinearSVC(C=1 / (N * 0.05), loss=loss, fit_intercept=False, tol=1e-10, max_iter=1_000_000)
    model.fit(X, TARGETS[loss])
    np.testing.assert_allclose(found.theta, model.coef_[0], atol=1e-5)


def test_the_hinge_loss_with_an_intercept_is_libsvms():
    found = solve(problem_of("hinge", 0.05))
    model = SVC(kernel="linear", C=1 / (N * 0.05), tol=1e-8).fit(X, TARGETS["hinge"])
    np.testing.assert_allclose(found.theta[:D], model.coef_[0], atol=1e-5)
    assert value("hinge", np.r_[model.coef_[0], model.intercept_], 0.05, True) >= found.value - found.bound


def test_the_hinge_loss_without_a_penalty_is_a_linear_program():
    found = solve(problem_of("hinge", 0.0))
    sign = 2 * TARGETS["hinge"] - 1
    A = np.column_stack([-sign[:, None] * np.column_stack([X, np.ones(N)]), -np.eye(N)])
    bounds = [(None, None)] * (D + 1) + [(0, None)] * N
    program = linprog(np.r_[np.zeros(D + 1), np.ones(N) / N], A, -np.ones(N), bounds=bounds)
    assert found.value == pytest.approx(program.fun, abs=1e-9)
    assert found.bound is None, "and nothing certifies it"


def test_huber_is_scikit_learns_at_its_scale():
    found = solve(problem_of("huber", 0.0))
    model = HuberRegressor(epsilon=1.35, alpha=0.0, tol=1e-10, max_iter=10_000)
    scale = 1 / 1.35  # of scikit-learn, whose parabola ends at epsilon times an estimated scale: here we only compare
    model.fit(X, TARGETS["huber"])
    theirs = value("huber", np.r_[model.coef_, model.intercept_], 0.0, True)
    assert found.value <= theirs < found.value * (1 + scale)


def test_large_targets_of_huber_are_reached():
    """Far from all rows few of them have a curvature, or none."""
    y = 1e4 * TARGETS["squared"] + 5e4
    found = solve(problem_of("huber", 1e-3, targets=y))
    assert found.bound < 1e-8
    other = minimize(
        lambda w: np.mean(LOSSES["huber"].value(X @ w[:D] + w[D], y)) + 5e-4 * w[:D] @ w[:D],
        found.theta * 1.01,
        method="Powell",
    )
    assert other.fun >= found.value - found.bound - found.rounding


def test_several_targets_are_the_mean_of_each():
    Y = np.column_stack([TARGETS["squared"], 2 * TARGETS["squared"] + X[:, 0]])
    both = solve(Problem(X, Y, "squared", 0.1, True, 2))
    each = [solve(problem_of("squared", 0.2, targets=y)) for y in Y.T]
    assert both.value == pytest.approx(np.mean([one.value for one in each]), rel=1e-14)
    np.testing.assert_allclose(both.theta.reshape(D + 1, 2), np.column_stack([one.theta for one in each]), rtol=1e-9)
    W = both.theta.reshape(D + 1, 2)
    z = X @ W[:D] + W[D]
    assert both.value == pytest.approx(np.mean((z - Y) ** 2) / 2 + 0.05 * np.square(W[:D]).sum(), rel=1e-13)
    gram = np.column_stack([X, np.ones(N)]).T @ np.column_stack([X, np.ones(N)]) / N / 2 + np.diag([0.1] * D + [0.0])
    assert both.constants.smoothness == pytest.approx(np.linalg.eigvalsh(gram)[-1], rel=1e-12)


@pytest.mark.parametrize("loss", CONVEX)
def test_sparse_and_single_precision_rows_are_those_rows(loss):
    rows = csr_array(X)
    rows.indptr = rows.indptr.astype(np.int64)  # as the engine keeps them, beside int32 indices
    dense, sparse = solve(problem_of(loss)), solve(problem_of(loss, rows=rows))
    assert sparse.value == pytest.approx(dense.value, abs=dense.rounding + dense.bound + sparse.bound)
    single = solve(problem_of(loss, rows=X.astype(np.float32)))
    again = solve(problem_of(loss, rows=X.astype(np.float32).astype(np.float64)))
    assert single.value == again.value


@pytest.mark.parametrize("loss", CONVEX)
def test_many_parameters_take_other_methods_to_the_same_minimum(loss, monkeypatch):
    exact = solve(problem_of(loss))
    for module in (newton, kinks, constants_of):
        monkeypatch.setattr(module, "MOST_EXACT", 2)
    monkeypatch.setattr("fastgd.optima.certificates.MOST_EXACT", 2)
    other = solve(problem_of(loss))
    assert "conjugate gradients" in other.method
    assert other.bound is not None
    assert abs(other.value - exact.value) <= exact.bound + other.bound + 2 * exact.rounding
    assert other.bound < (1e-3 if loss == "hinge" else 1e-9)
    assert other.constants.how == "Lanczos"
    mine, theirs = other.constants.smoothness, exact.constants.smoothness
    if mine is not None:
        assert abs(mine - theirs) <= other.constants.smoothness_error + 1e-9 * theirs
    if exact.constants.local_smoothness is not None and loss != "hinge":
        assert other.constants.local_smoothness == pytest.approx(exact.constants.local_smoothness, rel=1e-4)


# --- certificates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("loss", CONVEX)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), power=st.floats(-9, 1), l2=st.sampled_from([0.0, 1e-6, 1e-2, 1.0]))
def test_bounds_hold_at_any_parameters(loss, intercept, seed, power, l2):
    """From planted errors of 1e-9 on to points far from the minimum: no bound is below what is truly left."""
    objective = objective_of(loss, l2, intercept)
    best = solve(problem_of(loss, l2, intercept))
    noise = np.random.default_rng(seed).standard_normal(objective.size)
    theta = best.theta + 10**power * noise * (1 + np.abs(best.theta))
    left = objective.value(theta) - objective.value(best.theta)
    rounding = objective.rounding(theta) + objective.rounding(best.theta)
    found = [certified(objective, theta)]
    found += [duality_gap(objective, theta)] if l2 else []
    found += [newton_decrement(objective, theta)] if loss in SMOOTH else []
    for certificate in found:
        assert certificate is None or certificate.bound + rounding >= left, certificate


@pytest.mark.parametrize("loss", SMOOTH)
def test_bounds_are_near_what_is_left(loss):
    objective, best = objective_of(loss), solve(problem_of(loss))
    theta = best.theta + 1e-4
    left = objective.value(theta) - best.value
    assert left * (1 - 1e-6) <= certified(objective, theta).bound <= 20 * left
    assert newton_decrement(objective, theta).bound == pytest.approx(left, rel=0.05)


@pytest.mark.parametrize("loss", CONVEX)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_fenchel_and_young(loss, data):
    """`f(z) + f*(u) - u z` is 0 at the derivative, and `f(x) >= f(z) + u (x - z) - gap` for every x and u."""
    convex, rng = CONVEX[loss], np.random.default_rng(data.draw(st.integers(0, 10_000)))
    many = (50, 3) if loss == "softmax" else (50,)
    z, y = rng.normal(0, 3, many), rng.permutation(TARGETS[loss])[:50]
    u = convex.derivatives(z, y)
    np.testing.assert_allclose(convex.fenchel_young(z, u, y), 0.0, atol=1e-13)
    share = data.draw(st.floats(0.0, 1.0))
    other = share * u + (1 - share) * convex.derivatives(rng.normal(0, 3, many), y)
    gap = convex.fenchel_young(z, other, y)
    assert (gap >= 0).all()
    for _ in range(5):
        x = rng.normal(0, 5, many)
        along = (other * (x - z)).reshape(50, -1).sum(axis=1)
        assert (convex.values(x, y) - convex.values(z, y) - along >= -gap - 1e-10).all()


@pytest.mark.parametrize("loss", CONVEX)
def test_a_dual_point_is_balanced_within_its_domain(loss):
    objective = objective_of(loss)
    theta = solve(problem_of(loss)).theta + 0.1
    z = objective.margins(theta)
    u = balanced(objective, objective.convex.derivatives(z, objective.y))
    np.testing.assert_allclose(u.sum(axis=0), 0.0, atol=1e-13 * N)
    assert (objective.convex.fenchel_young(z, u, objective.y) >= 0).all()
    if loss == "softmax":
        p = u + (np.arange(3) == TARGETS["softmax"][:, None])
        assert p.min() >= 0
        np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-13)


@pytest.mark.parametrize("loss", ["logistic", "softmax", "poisson"])
def test_a_loss_that_falls_for_ever_is_not_certified(loss):
    rows = np.column_stack([np.linspace(-1, 1, 30), np.ones(30)])
    y = np.zeros(30) if loss == "poisson" else (rows[:, 0] > 0).astype(float)
    found = solve(Problem(rows, y, loss, 0.0, False, 2 if loss == "softmax" else 1))
    assert found.value < 1e-6
    assert found.bound is None
    assert "nothing bounds" in found.basis
    assert solve(Problem(rows, y, loss, 1e-3, False, 2 if loss == "softmax" else 1)).bound < 1e-12


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "squared", "huber"])
def test_a_loss_that_becomes_zero_is_certified_by_that(loss):
    rows = np.random.default_rng(1).standard_normal((10, 30))
    found = solve(Problem(rows, (rows[:, 0] > 0).astype(float), loss, 0.0, True))
    assert found.value <= 1e-20
    assert found.bound <= found.value


def test_columns_that_say_the_same_restrict_the_bound_to_their_range():
    rows = np.column_stack([X, X[:, 0] + X[:, 1], np.zeros(N)])
    found = solve(Problem(rows, TARGETS["logistic"], "logistic", 0.0, True))
    assert found.bound < 1e-12
    assert f"on the range of the rows ({D + 1} of {D + 3} dimensions)" in found.basis
    plain = solve(problem_of("logistic", 0.0))
    assert found.value == pytest.approx(plain.value, abs=found.bound + plain.bound + 2 * found.rounding)


def test_rounding_bounds_what_single_precision_does():
    """The bound of rounding, with the unit of single precision, is above what sums in it lose."""
    objective, theta = objective_of("logistic"), np.linspace(-1, 1, D + 1)
    z = (X.astype(np.float32) @ theta[:D].astype(np.float32)) + np.float32(theta[D])
    y = TARGETS["logistic"]
    lost = abs(np.mean(LOSSES["logistic"].value(z, y.astype(np.float32))) + 0.05 * theta[:D] @ theta[:D])
    assert abs(lost - objective.value(theta)) <= 4 * objective.rounding(theta, float(np.finfo(np.float32).eps))


# --- constants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("loss", SMOOTH)
def test_local_constants_are_eigenvalues_of_the_hessian(loss, intercept):
    objective = objective_of(loss, 0.1, intercept)
    found = solve(problem_of(loss, 0.1, intercept))
    step = 1e-5
    columns = [
        (objective.gradient(found.theta + step * e) - objective.gradient(found.theta - step * e)) / (2 * step)
        for e in np.eye(objective.size)
    ]
    values = np.linalg.eigvalsh((np.array(columns) + np.array(columns).T) / 2)
    constants = found.constants
    assert constants.local_smoothness == pytest.approx(values[-1], rel=1e-5)
    changing = values[values > 1e-6]
    assert constants.local_strong_convexity == pytest.approx(changing[0], rel=1e-3)
    if constants.smoothness is not None:
        assert constants.smoothness >= constants.local_smoothness * (1 - 1e-9)
    assert constants.strong_convexity <= constants.local_strong_convexity * (1 + 1e-9)


def test_smoothness_is_what_textbooks_say():
    ones = np.column_stack([X, np.ones(N)])
    penalty = np.diag([0.1] * D + [0.0])
    for loss, largest in {"squared": 1.0, "logistic": 0.25, "squared_hinge": 2.0, "huber": 1.0, "softmax": 0.5}.items():
        expected = np.linalg.eigvalsh(largest * ones.T @ ones / N + penalty)[-1]
        assert solve(problem_of(loss)).constants.smoothness == pytest.approx(expected, rel=1e-12)
    assert solve(problem_of("poisson")).constants.smoothness is None
    assert solve(problem_of("hinge")).constants.smoothness is None
    squared = solve(problem_of("squared")).constants
    assert squared.strong_convexity == pytest.approx(np.linalg.eigvalsh(ones.T @ ones / N + penalty)[0], rel=1e-9)
    assert solve(problem_of("logistic", intercept=False)).constants.strong_convexity == 0.1
    assert squared.row_norm == pytest.approx(np.linalg.norm(ones, axis=1).max(), rel=1e-14)


@pytest.mark.parametrize("loss", SMOOTH)
def test_noise_is_the_variance_of_rows_gradients(loss):
    found, objective = solve(problem_of(loss)), objective_of(loss)
    z = objective.margins(found.theta)
    u = objective.convex.derivatives(z, objective.y).reshape(N, -1)
    rows = np.column_stack([X, np.ones(N)])[:, :, None] * u[:, None, :]
    expected = np.square(rows - rows.mean(axis=0)).sum(axis=(1, 2)).mean()
    assert found.constants.noise == pytest.approx(expected, rel=1e-9)
