"""Norms of columns, and of their parts, in float64."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.core.compile import jit
from fastgd.core.math import LARGEST_SUM, SMALLEST_SUM

Array = npt.NDArray[Any]
COLUMNS_AT_ONCE = 4096  # whose norms are computed together: what is computed on the way stays in the cache
silently = np.errstate(over="ignore", invalid="ignore")  # a trial that diverges is data: its norms may be infinite


@jit
def add_squares(columns, sums):
    """Add to sums (lanes,) the squares of columns (count, lanes), row by row, as NumPy adds them."""
    for i in range(columns.shape[0]):
        row = columns[i]
        for lane in range(sums.shape[0]):
            value = np.float64(row[lane])
            sums[lane] += value * value


def squares(columns: Array) -> Array:
    """Return the sum of the squares of each column (lanes,) of a tile (count, lanes) in float64."""
    if columns.shape[1] == 1:  # of which NumPy adds pairs
        return np.asarray(np.square(columns, dtype=np.float64).sum(axis=0))
    sums = np.zeros(columns.shape[1])
    add_squares(columns, sums)
    return sums


@silently
def norms(columns: Array, sums: Array | None = None) -> Array:
    """Return the norm of each column in float64, also where its squares would overflow or underflow.

    sums : ndarray (lanes,), optional
        The sums of its squares, where they are known.
    """
    if sums is not None:
        return _norms(columns, sums)
    cuts = [0, *range(COLUMNS_AT_ONCE, columns.shape[1], COLUMNS_AT_ONCE), columns.shape[1]]
    parts = [columns[:, first:end] for first, end in pairwise(cuts)]
    return np.concatenate([_norms(part, np.square(part, dtype=np.float64).sum(axis=0)) for part in parts])


def _norms(columns: Array, sums: Array) -> Array:
    found, plain = np.sqrt(sums), (sums > SMALLEST_SUM) & (sums < LARGEST_SUM)
    if not plain.all():
        largest = np.abs(columns).max(axis=0).astype(np.float64)
        scale = np.where(np.isfinite(largest) & (largest > 0), largest, 1.0)
        scaled = columns / scale
        found = np.where(plain, found, scale * np.sqrt(np.square(scaled, out=scaled).sum(axis=0)))
    return np.asarray(found)


@silently
def relative_moves(before: Array, after: Array, parts: Sequence[slice]) -> Array:
    """Return how far each part of the parameters (count, lanes) has moved, relative to its norm before (parts, lanes).

    In float64: what a small step adds has few digits in float32, but the difference of two floats is exact. Where the
    norm before is 0, it is NaN.
    """
    moved, found = np.subtract(after, before, dtype=np.float64), []
    for part in parts:
        size = norms(before[part])
        found.append(np.divide(norms(moved[part]), size, out=np.full(len(size), np.nan), where=size > 0))
    return np.stack(found)
