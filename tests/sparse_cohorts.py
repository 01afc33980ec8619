"""Sparse cohorts of the real engine, and dense ones on the same data made dense."""

from dataclasses import replace
from functools import cache

import numpy as np
from cohorts import FEW, RATES, grid, make_cohort

from fastgd.datasets.csr import from_dense
from fastgd.engine.rows.cohort import Cohort
from fastgd.engine.shapes import Kernel
from fastgd.optimizers.coasting import UNCHANGED, Coast, prove_coasting, stays_in_frame

WINDOW = 64
STEPS = 3 * 300 + 40  # more than three epochs at b = 1, and many windows


@cache
def problem(n=300, d=40, seed=0):
    """Rows (n, d) with features from frequent to rare, some of them empty, and targets 0 and 1."""
    rng = np.random.default_rng(seed)
    X = (rng.random((n, d)) < np.minimum(1, 3 / (1 + np.arange(d)))) * rng.standard_normal((n, d))
    X[5:8] = 0  # rows without entries
    X[:, d - 2] = 0  # and a feature that no row has
    margin = X @ rng.standard_normal(d) + 0.3 * rng.standard_normal(n)
    return X, (margin > 0).astype(float)


class Wave:
    """A schedule of the rate that changes with every step."""

    per_step = True

    def __init__(self, rates):
        self.rates = np.asarray(rates)

    def reference(self, first, steps):
        return (0.2 + 0.8 * np.abs(np.cos(np.arange(first, first + steps) / 37)))[:, None]

    def __call__(self, first, steps):
        return self.reference(first, steps)[:, :, None] * self.rates


def rates_of(optimizer):
    """Four lanes that differ by their rates alone: those whose matrices are kept once."""
    return [{"lr": rate} for rate in (*RATES.get(optimizer, FEW), *(0.7 * r for r in RATES.get(optimizer, FEW)))]


def pair(
    optimizer, lanes=None, *, mode="exact", window=WINDOW, framed=True, wave=False, data=None, lanes_of_tile=4, **given
):
    """Return a dense and a sparse cohort of the same trials, with hyper-parameters of lanes that differ.

    `framed`: whether the sparse one keeps its parameters in the frame of the window's first step, where it can.
    """
    X, y = data or problem()
    lanes = lanes or grid(optimizer)
    if wave:
        given |= {"scheduled": ("lr",), "schedule": Wave([lane["lr"] for lane in lanes])}
    dense = make_cohort(X, y, lanes, optimizer, kernel=Kernel(lanes_of_tile), **given)
    spec = dense.spec
    untouched = UNCHANGED
    if mode == "exact":
        drift = spec.estimator != "none"
        untouched = prove_coasting(spec.rule, spec.hyper, spec.l2, scheduled=spec.scheduled, drift=drift, same=True)
    if framed and isinstance(untouched, Coast):
        stays = stays_in_frame(untouched, spec.hyper, spec.l2, window, dense.dtype.itemsize)
        untouched = replace(untouched, framed=stays)
    spec = replace(spec, kernel=replace(spec.kernel, sparse=True), untouched=untouched, window=window)
    return dense, sparse_cohort(spec, X.astype(dense.dtype), y, dense)


def sparse_cohort(spec, X, y, like):
    """Return a cohort on sparse rows."""
    return Cohort(spec, from_dense(X), y.astype(X.dtype), like.threads, like.schedule)


def difference(one, other):
    """The largest difference of the reported iterates, relative to the largest parameter."""
    expected, found = one.parameters(), other.parameters()
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))


def run(pair_of, steps=STEPS):
    """Take the steps with both; the sparse one is read in between, which must change nothing."""
    dense, sparse = pair_of
    dense.advance(steps)
    sparse.advance(steps // 3)
    sparse.parameters()
    sparse.advance(steps - steps // 3)
    return difference(dense, sparse)
