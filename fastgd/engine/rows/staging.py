"""A buffer that takes some rows at a time of those that are standardised, or rounded, as kernels pass over them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.common.system import memory
from fastgd.core.compile import jit
from fastgd.core.threads import Threads
from fastgd.core.vectors import aligned, prefetch_lines
from fastgd.datasets.staged_rows import StagedRows
from fastgd.engine.arrays import PARTIAL_SUM_ROWS, most_entries, unlocked
from fastgd.engine.calls import KernelCall

Array = npt.NDArray[Any]
WHOLE_BYTES = 128 << 20  # of rows that are all in the buffer at once: they take their form a single time
WHOLE_SHARE = 16  # of the memory that the process may use: no more than this part of it
BUFFER_BYTES = 8 << 20  # of each half's rows, where a block of rows is not longer: the third-level cache keeps them

ROWS_AHEAD = 6  # whose memory is asked for while a row is copied


@jit
def copy_dense(X, d, y, numbers, mean, deviation, scales, out, targets, begin, worker, workers):
    """Copy the rows `numbers` of X (N * d) to out, one after another from row `begin` on, standardised where `scales`.

    So are their targets y (N, columns). The differences and quotients are those of float64, as in a copy of all rows.
    Rows that follow are prefetched: shuffled ones would take twice as long without.
    """
    count, kind = numbers.shape[0], out.dtype.type
    end = count * (worker + 1) // workers
    for i in range(count * worker // workers, end):
        prefetch_lines(X, np.int64(numbers[min(i + ROWS_AHEAD, end - 1)]) * d, d)
        first, start = np.int64(numbers[i]) * d, (begin + i) * d
        row, place = X[first : first + d], out[start : start + d]
        if scales:
            for j in range(d):
                place[j] = kind((np.float64(row[j]) - mean[j]) / deviation[j])
        else:
            for j in range(d):
                place[j] = kind(row[j])
        for j in range(y.shape[1]):
            targets[begin + i, j] = y[numbers[i], j]


@jit
def copy_sparse(
    X, indices, indptr, y, numbers, deviation, scales, out, out_indices, begins, targets, begin, worker, workers
):
    """Copy rows in CSR form, whose entries begin at begins[begin:] in the buffer."""
    count, kind = numbers.shape[0], out.dtype.type
    for i in range(count * worker // workers, count * (worker + 1) // workers):
        first, end, to = indptr[numbers[i]], indptr[numbers[i] + 1], begin + i
        values, features = X[first:end], indices[first:end]
        place, own = out[begins[to] : begins[to + 1]], out_indices[begins[to] : begins[to + 1]]
        for k in range(end - first):
            own[k] = features[k]
            place[k] = kind(values[k] / deviation[features[k]]) if scales else kind(values[k])
        for j in range(y.shape[1]):
            targets[to, j] = y[numbers[i], j]


def fits_whole(X: StagedRows) -> bool:
    """Return whether all rows are in the buffer at once: where that is little, also of the memory that there is."""
    return X.size * X.dtype.itemsize <= min(WHOLE_BYTES, memory() // WHOLE_SHARE)


def buffer_rows(X: StagedRows, rows: int) -> int:
    """Return how many rows the buffer has room for: all of them, where they take little, or those of two halves."""
    half = _room_for(X, rows)
    return half if half == X.shape[0] else 2 * half


def _room_for(X: StagedRows, rows: int) -> int:
    """Return how many rows a half has room for, at least so many; all of them, where they take little."""
    total, size = X.shape[0], X.size * X.dtype.itemsize
    return total if fits_whole(X) else min(total, max(rows, PARTIAL_SUM_ROWS, BUFFER_BYTES * total // size))


class Stage:
    """The buffer, in two halves: while kernels pass over the rows in one, others are brought to the other one.

    Parameters
    ----------
    X : StagedRows (N, d)
    rows : int
        How many rows a half has room for at the least.

    Attributes
    ----------
    whole : ndarray or csr_array (N, d), or None
        All rows, where there is room for them.
    matrix : tuple of ndarray
        Otherwise what kernels see of some rows: X flat, and of sparse rows indices and indptr.
    rows : int
        The room of a half.
    """

    def __init__(self, X: StagedRows, rows: int) -> None:
        (total, d), self.rows = X.shape, _room_for(X, rows)
        self.X, self._scales = X, X.scaling is not None
        self.whole: Any = None
        self._half = 0  # that was taken last
        self._coming: tuple[Array, Array] | None = None  # of the other one: for which targets, and which rows,
        self._brought: tuple[Array, Array] | None = None  # and once they are there
        if self.rows == total:
            self.whole = X.copied()
            return
        mean, deviation = (np.zeros(0), np.zeros(0)) if X.scaling is None else (X.scaling.mean, X.scaling.deviation)
        self._mean, self._deviation = (np.ascontiguousarray(each, np.float64) for each in (mean, deviation))
        self.matrix: tuple[Array, ...]
        if isinstance(X.source, np.ndarray):
            self._source: tuple[Array, ...] = (unlocked(X.source.reshape(-1)),)
            self.matrix = (aligned((self.places * d,), X.dtype),)
        else:
            indptr = np.asarray(X.source.indptr, np.int64)
            self._entries = most_entries(indptr, self.rows)
            self._source = unlocked(X.source.data), unlocked(X.source.indices), unlocked(indptr)
            self.matrix = (
                aligned((2 * self._entries,), X.dtype),
                np.zeros(2 * self._entries, X.source.indices.dtype),
                np.zeros(self.places, np.int64),
            )

    @property
    def places(self) -> int:
        """Those of rows in both halves; one more of each, where the last sparse row ends."""
        return 2 * (self.rows + 1)

    def compile(self, y: Array, targets: Array) -> None:
        """Compile what fills the buffer, or load it from the cache."""
        self._call(np.zeros(0, np.int32), y, targets, 0, 0, 1).compile()

    def bring(self, numbers: Array, y: Array, targets: Array, workers: int) -> list[KernelCall]:
        """Return calls that put some rows (at most `rows`,) int32, and their targets, into the half that is free.

        Say `arrived` when they have been made: calls may be interrupted.
        """
        half, numbers = 1 - self._half, numbers.copy()
        begin = half * (self.rows + 1)
        self._coming, self._brought = (targets, numbers), None
        if self.X.sparse:
            (_, _, indptr), begins = self._source, self.matrix[2][begin : begin + self.rows + 1]
            begins[0] = half * self._entries
            np.cumsum(indptr[numbers + 1] - indptr[numbers], out=begins[1 : len(numbers) + 1])
            begins[1 : len(numbers) + 1] += begins[0]
            begins[len(numbers) + 1 :] = begins[len(numbers)]
        workers = max(1, min(workers, len(numbers) // PARTIAL_SUM_ROWS))
        return [self._call(numbers, y, targets, begin, worker, workers) for worker in range(workers)]

    def arrived(self) -> None:
        """Note that what was to be brought is there."""
        self._coming, self._brought = None, self._coming

    def take(self, numbers: Array, y: Array, targets: Array, threads: Threads) -> int:
        """Have some rows in the buffer, one after another, and return the place of the first."""
        brought = self._brought
        if brought is None or brought[0] is not targets or not np.array_equal(brought[1], numbers):
            threads.run(self.bring(numbers, y, targets, threads.count))
        self._brought, self._half = None, 1 - self._half
        return self._half * (self.rows + 1)

    def _call(self, numbers: Array, y: Array, targets: Array, begin: int, worker: int, workers: int) -> KernelCall:
        where = (targets, begin, worker, workers)
        if self.X.sparse:
            given = (*self._source, y, numbers, self._deviation, self._scales)
            return KernelCall(copy_sparse, (*given, *self.matrix, *where))
        given = (*self._source, self.X.shape[1], y, numbers, self._mean, self._deviation, self._scales)
        return KernelCall(copy_dense, (*given, *self.matrix, *where))


def joined(order: Array, ranges: Sequence[tuple[int, int]]) -> Array:
    """Return the parts of an order (n,) that some ranges of places name, one after another."""
    return np.concatenate([order[first:end] for first, end in ranges])
