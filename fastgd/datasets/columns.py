"""What is known of the columns of rows: means, deviations and extremes, in passes over blocks of rows."""

from collections.abc import Iterator
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from fastgd.common.errors import InputError
from fastgd.datasets.csr import cut, take
from fastgd.datasets.mapped.remembered import remembered
from fastgd.datasets.record import CSR, Dataset, Floats, Matrix, Scaling, check_memory, digest

Rows = NDArray[np.integer[Any]]
VALUES_PER_BLOCK = 1 << 18  # temporary arrays of this size stay in the processor's cache


@overload
def row_blocks(X: Floats, rows: Rows | None) -> Iterator[Floats]: ...


@overload
def row_blocks(X: CSR, rows: Rows | None) -> Iterator[CSR]: ...


@overload
def row_blocks(X: Matrix, rows: Rows | None) -> Iterator[Matrix]: ...


def row_blocks(X: Any, rows: Rows | None) -> Iterator[Any]:
    """Yield some rows (None: all of them) in blocks that stay in the processor's cache."""
    n, count = X.shape[0], X.shape[0] if rows is None else len(rows)
    step = max(1, VALUES_PER_BLOCK * n // max(1, X.size))  # as many as have so many values, on average
    for start in range(0, count, step):
        if isinstance(X, np.ndarray):
            yield X[start : start + step] if rows is None else X[rows[start : start + step]]
        else:
            yield cut(X, start, start + step) if rows is None else take(X, rows[start : start + step])


# --- means and deviations ---------------------------------------------------------------------------------------------


def standardisation(dataset: Dataset, rows: Rows | None) -> Scaling:
    """Return mean and standard deviation of the rows' columns, in float64 and two passes."""

    def moments() -> tuple[Floats, Floats, NDArray[np.bool_]]:
        X = dataset.X
        return _dense_moments(X, rows) if isinstance(X, np.ndarray) else _sparse_moments(X, rows)

    n = dataset.X.shape[0] if rows is None else len(rows)
    which = "all" if rows is None or dataset.folder is None else digest(rows.astype(np.int64))
    mean, deviation, constant = remembered(dataset.folder, f"moments of {which}", moments)
    rounded = ~constant & _within_rounding(mean, deviation, n, dataset.X.dtype)
    constant |= rounded
    mean[constant], deviation[constant] = 0.0, 1.0
    bad = np.flatnonzero(~np.isfinite(deviation) | (deviation == 0))
    if bad.size:
        column, found = dataset.features[bad[0]], deviation[bad[0]]
        raise InputError(f"{dataset.name}: column {column!r} cannot be standardised: its deviation is {found}")
    return Scaling(mean, deviation, int(constant.sum()), int(rounded.sum()))


def _within_rounding(mean: Floats, deviation: Floats, n: int, dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Whether columns differ from a constant by no more than rounding may make of one.

    scikit-learn's rule, var <= n eps var + (n mean eps)^2, for the sums, which are in float64; and var <= (mean eps)^2
    with the eps of the source, whose values were each rounded once. The latter matters for float32. With an n in front,
    every column of a million rows that varies by less than a tenth of its mean would count as constant.
    """
    eps = np.finfo(np.float64).eps
    noise = np.abs(mean) * max(n * eps, float(np.finfo(dtype).eps))
    # roots are compared, since squares may overflow; a deviation of 0 was too small for its square
    spread = deviation * np.sqrt(max(0.0, 1 - n * eps))
    within: NDArray[np.bool_] = np.isfinite(deviation) & (deviation > 0) & (spread <= noise)
    return within


def _dense_moments(X: Floats, rows: Rows | None) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    n = len(X) if rows is None else len(rows)
    mean, square, constant = np.zeros(X.shape[1]), np.zeros(X.shape[1]), np.ones(X.shape[1], dtype=bool)
    first = X[0 if rows is None else rows[0]]
    with np.errstate(over="ignore", invalid="ignore"):
        for block in row_blocks(X, rows):
            mean += block.sum(axis=0, dtype=np.float64) / n
            constant &= (block == first).all(axis=0)
        for block in row_blocks(X, rows):
            centred = block - mean
            square += np.einsum("ij,ij->j", centred, centred)
        deviation = np.sqrt(square / n)
    return mean, deviation, constant


def _sparse_moments(X: CSR, rows: Rows | None) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Two passes over the non-zeros: the zeros of a column are counted, and add their number times the squared mean.

    Sums run from entry to entry, whatever the blocks.
    """
    n, d = X.shape[0] if rows is None else len(rows), X.shape[1]
    check_memory(40 * d, f"the means and deviations of {d:,} columns", "float64", "standardize = false needs none")
    counts, sums, square = np.zeros(d, np.intp), np.zeros(d), np.zeros(d)
    low, high = np.full(d, np.inf), np.full(d, -np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        for block in row_blocks(X, rows):
            columns, values = block.indices.astype(np.intp), block.data.astype(np.float64, copy=False)
            counts += np.bincount(columns, minlength=d)
            np.add.at(sums, columns, values)
            np.minimum.at(low, columns, values)
            np.maximum.at(high, columns, values)
        mean = sums / n
        for block in row_blocks(X, rows):
            columns = block.indices.astype(np.intp)
            centred = block.data - mean[columns]
            np.add.at(square, columns, centred * centred)
        deviation = np.sqrt((square + (n - counts) * (mean * mean)) / n)
    # a column of zeros is constant, and one without zeros that has one value in every row
    return mean, deviation, (counts == 0) | ((counts == n) & (low == high))


# --- extremes ---------------------------------------------------------------------------------------------------------


class Extremes(NamedTuple):
    """The least and the largest value of each column, (d,) each; of sparse rows, of the sizes of its non-zeros.

    Columns without non-zeros have 1 and 0.
    """

    low: Floats
    high: Floats


def extremes(dataset: Dataset) -> Extremes:
    """Return the extremes of the columns of all rows."""
    X = dataset.X
    return Extremes(*remembered(dataset.folder, "extremes", lambda: _extremes(X)))


def _extremes(X: Matrix) -> tuple[Floats, Floats]:
    d = X.shape[1]
    low, high = np.full(d, np.inf), np.full(d, -np.inf)
    for block in row_blocks(X, None):
        if isinstance(block, np.ndarray):
            low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
        else:
            columns, sizes = block.indices.astype(np.intp), np.abs(block.data).astype(np.float64, copy=False)
            np.minimum.at(low, columns, sizes)
            np.maximum.at(high, columns, sizes)
    empty = low > high
    return np.where(empty, 1.0, low), np.where(empty, 0.0, high)
