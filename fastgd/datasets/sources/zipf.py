"""Sparse synthetic rows: distinct columns drawn by Zipf's law, values of one sign, rows of length 1."""

import numpy as np
from numpy.typing import NDArray

from fastgd.datasets.csr import assembled
from fastgd.datasets.record import CSR, Floats

VALUES_PER_BLOCK = 1 << 20  # bounds the memory that temporary arrays take
RACE_BELOW = 4  # columns for each non-zero of a row: with fewer, all columns draw an arrival time

Columns = NDArray[np.int32]


def rows(n: int, d: int, nonzeros: int, exponent: float, rng: np.random.Generator) -> CSR:
    """Return X (n, d), `nonzeros` values in each row: from 0 to 1 before they are scaled to length 1.

    The columns of a row are drawn one after the other without replacement, each with a probability proportional to
    (1 + column) ** -exponent.
    """
    columns, values = np.empty((n, nonzeros), dtype=np.int32), np.empty((n, nonzeros))
    draw = _race if d < RACE_BELOW * nonzeros else _redrawn
    step = max(1, VALUES_PER_BLOCK // (d if draw is _race else nonzeros))
    weights = _tails(d, exponent) if draw is _redrawn else exponent * np.log(np.arange(1.0, d + 1))
    for start in range(0, n, step):
        part = slice(start, min(n, start + step))
        columns[part] = draw(part.stop - start, nonzeros, weights, rng)
        raw = 1 - rng.random((nonzeros, part.stop - start))  # never 0
        # Summed along the first axis, value by value: the bits do not depend on the machine.
        values[part] = (raw / np.sqrt((raw * raw).sum(axis=0))).T
    indptr = np.arange(0, n * nonzeros + 1, nonzeros)
    return assembled(values.reshape(-1), columns.reshape(-1), indptr, (n, d))


def margins(X: CSR, weights: Floats) -> Floats:
    """Return X w, of mean 0 and variance 1, where w is the part of `weights` at right angles to the mean row, scaled.

    So both classes are about as large without an intercept. (If all rows are the same, margins are 0.)
    """
    n, d = X.shape
    mean = np.bincount(X.indices, X.data, d) / n
    weights = weights - np.sum(mean * weights) / np.sum(mean * mean) * mean
    margin = np.empty(n)
    nonzeros = X.nnz // n
    for start in range(0, n, step := max(1, VALUES_PER_BLOCK // nonzeros)):
        part = slice(start * nonzeros, (start + step) * nonzeros)
        products = (X.data[part] * weights[X.indices[part]]).reshape(-1, nonzeros)
        margin[start : start + step] = np.ascontiguousarray(products.T).sum(axis=0)
    return margin / (margin.std() or 1.0)


def _race(count: int, nonzeros: int, log_weights: Floats, rng: np.random.Generator) -> Columns:
    """Return the columns (count, nonzeros) of the earliest of exponential arrival times, whose rates are the weights.

    That is the law of drawing without replacement, for any weights: Efraimidis and Spirakis, Information Processing
    Letters 97 (2006). It costs a number for each column of each row.
    """
    times = np.log(rng.standard_exponential((count, len(log_weights)))) + log_weights
    order = np.argpartition(times, nonzeros - 1, axis=1)[:, :nonzeros]
    return np.sort(order, axis=1).astype(np.int32)


def _tails(d: int, exponent: float) -> Floats:
    """Return the weights of the last 1, 2, ..., d columns together: small ones first, so that none is rounded away."""
    tails: Floats = np.cumsum(np.arange(d, 0.0, -1.0) ** -exponent)
    return tails


def _redrawn(count: int, nonzeros: int, tails: Floats, rng: np.random.Generator) -> Columns:
    """Return the columns (count, nonzeros): independent draws, repeated for columns that a row has already.

    A row that has the columns 0 to j - 1 draws from j on: the first columns are heavy, and would be drawn again and
    again. This does not change the law of the draws, since a column that the row has is drawn anew in any case.
    """
    d = len(tails)
    columns: Columns = np.full((count, nonzeros), d, dtype=np.int32)  # d: not drawn yet
    todo = np.arange(count)
    while todo.size:
        part = columns[todo]
        first = (part == np.arange(nonzeros)).sum(axis=1)  # the row is sorted, and begins with 0 to first - 1
        row, place = np.nonzero(part == d)
        part[row, place] = d - 1 - np.searchsorted(tails, rng.random(len(row)) * tails[d - 1 - first[row]], "right")
        part.sort(axis=1)
        twice = np.zeros(part.shape, dtype=bool)
        twice[:, 1:] = part[:, 1:] == part[:, :-1]
        part[twice] = d
        part.sort(axis=1)
        columns[todo] = part
        todo = todo[twice.any(axis=1)]
    return columns
