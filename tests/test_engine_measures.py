"""What a checkpoint measures: exact sums, norms and gradients, of the reported iterates."""

import numpy as np
import pytest
import reference
from cohorts import PARTS, SINGLE, SMALL, TYPES, make_cohort, problem, spread
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgd.engine.shapes import Kernel
from fastgd.problems import LOSSES, MEASURES, ZERO_ONE

KERNELS = [SINGLE, SMALL, Kernel(8), PARTS]
LANES = [{"lr": lr} for lr in (0.01, 0.03, 0.1, 0.2, 0.3)]
L2 = np.array([0.0, 1e-3, 1e-2, 0.1, 1.0])

kernels = pytest.mark.parametrize("kernel", spread(KERNELS, [SINGLE, SMALL, PARTS]), ids=lambda kernel: kernel.name)


@kernels
@settings(max_examples=15)
@given(
    n=st.sampled_from([1, 2, 255, 256, 257, 4095, 4096, 4097, 9000]),
    m=st.integers(1, 300),
    d=st.integers(1, 40),
    intercept=st.booleans(),
)
def test_sums_norms_and_gradients(kernel, n, m, d, intercept):
    X, y = problem(n, d)
    V, v = problem(m, d, seed=1)
    cohort = make_cohort(
        X, y, LANES, kernel=kernel, batch_size=min(n, 64), l2=L2, intercept=intercept, init=0.3, threads=2
    )
    cohort.advance(3)
    W = cohort.parameters()
    binary = [LOSSES["logistic"], ZERO_ONE, LOSSES["squared"], LOSSES["hinge"]]
    measured = cohort.measure([(X, y, binary), (V, v, binary[::-1])])
    for rows, targets, measures, sums in ((X, y, binary, measured.sums[0]), (V, v, binary[::-1], measured.sums[1])):
        margins = reference.with_intercept(rows, intercept) @ W.T
        for measure, found in zip(measures, sums, strict=True):
            if measure is ZERO_ONE:
                expected = ((margins > 0) != targets[:, None]).sum(axis=0)
                np.testing.assert_array_equal(found, expected)
            else:
                value, _ = reference.LOSSES[measure.name]
                np.testing.assert_allclose(found, value(margins, targets[:, None]).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(measured.squares, (W**2).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(measured.penalised, (W[:, :d] ** 2).sum(axis=1), rtol=1e-12)
    gradients = [
        reference.gradient(X, y, w, loss="logistic", l2=l2, intercept=intercept) for w, l2 in zip(W, L2, strict=True)
    ]
    np.testing.assert_allclose(cohort.gradient_norms()[0], np.linalg.norm(gradients, axis=1), rtol=1e-10, atol=1e-13)


@kernels
def test_measures_are_of_what_is_reported(kernel):
    """Nesterov keeps another point than it reports."""
    X, y = problem(100, 6)
    cohort = make_cohort(X, y, LANES, "nesterov", kernel=kernel, l2=L2)
    cohort.advance(7)
    W = cohort.parameters()
    measured = cohort.measure([(X, y, [LOSSES["logistic"]])])
    for lane, w in enumerate(W):
        loss = reference.objective(X, y, w, loss="logistic", intercept=True)
        assert measured.sums[0][0, lane] / 100 == pytest.approx(loss, rel=1e-12)
        gradient = reference.gradient(X, y, w, loss="logistic", l2=L2[lane], intercept=True)
        assert cohort.gradient_norms()[0][lane] == pytest.approx(np.linalg.norm(gradient), rel=1e-10)
    np.testing.assert_allclose(measured.squares, (W**2).sum(axis=1), rtol=1e-12)


@TYPES
@pytest.mark.parametrize(
    "kernel",
    spread([SINGLE, SMALL, PARTS, Kernel(8), Kernel(8, 2)], [SINGLE, SMALL, PARTS]),
    ids=lambda kernel: kernel.name,
)
@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_is_said_on_the_way_to_infinity(loss, kernel, dtype):
    """Warnings are errors: however large the weights, measuring is silent, and what is not finite is returned so."""
    X, y = problem(40, 3, loss)
    cohort = make_cohort(
        X, y, [{"lr": lr, "momentum": 0.0} for lr in (1e3, 1e20, 1e-3)],
        loss=loss, kernel=kernel, batch_size=40, l2=[100.0, 100.0, 0.0], dtype=dtype,
    )  # fmt: skip
    ended = 0
    for _ in range(100):
        cohort.advance(1)
        measured = cohort.measure([(X.astype(dtype), y.astype(dtype), MEASURES)])
        norms = cohort.gradient_norms()[0]
        ended = np.sum(~np.isfinite(measured.squares[:2] + norms[:2]))
        assert np.isfinite(measured.squares[2] + norms[2])
    assert ended == 2
    cohort.retire(np.array([False, False, True]))
    assert np.isfinite(cohort.measure([(X.astype(dtype), y.astype(dtype), MEASURES)]).sums[0]).all()
