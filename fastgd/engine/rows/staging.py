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
BUFFER_BYTES = 8 << 20  # of some rows, where a block of rows is not longer: the third-level cache keeps them

ROWS_AHEAD = 6  # whose memory is asked for while a row is copied


@jit
def copy_dense(X, d, numbers, mean, deviation, scales, out, worker, workers):
    """Copy the rows `numbers` of X (N * d) to out, one after another, standardised where `scales`.

    The differences and quotients are those of float64, as in a copy of all rows. Rows that follow are prefetched:
    shuffled ones would take twice as long without.
    """
    count, kind = numbers.shape[0], out.dtype.type
    end = count * (worker + 1) // workers
    for i in range(count * worker // workers, end):
        prefetch_lines(X, np.int64(numbers[min(i + ROWS_AHEAD, end - 1)]) * d, d)
        first = np.int64(numbers[i]) * d
        row, place = X[first : first + d], out[i * d : (i + 1) * d]
        if scales:
            for j in range(d):
                place[j] = kind((np.float64(row[j]) - mean[j]) / deviation[j])
        else:
            for j in range(d):
                place[j] = kind(row[j])


@jit
def copy_sparse(X, indices, indptr, numbers, deviation, scales, out, out_indices, begins, worker, workers):
    """Copy rows in CSR form, whose entries begin at `begins` (count + 1,) in the buffer."""
    count, kind = numbers.shape[0], out.dtype.type
    for i in range(count * worker // workers, count * (worker + 1) // workers):
        first, end = indptr[numbers[i]], indptr[numbers[i] + 1]
        values, features = X[first:end], indices[first:end]
        place, own = out[begins[i] : begins[i + 1]], out_indices[begins[i] : begins[i + 1]]
        for k in range(end - first):
            own[k] = features[k]
            place[k] = kind(values[k] / deviation[features[k]]) if scales else kind(values[k])


def fits_whole(X: StagedRows) -> bool:
    """Return whether all rows are in the buffer at once: where that is little, also of the memory that there is."""
    return X.size * X.dtype.itemsize <= min(WHOLE_BYTES, memory() // WHOLE_SHARE)


def room_for(X: StagedRows, rows: int) -> int:
    """Return how many rows a buffer has room for, at least so many: all of them, where they take little."""
    total, size = X.shape[0], X.size * X.dtype.itemsize
    return total if fits_whole(X) else min(total, max(rows, PARTIAL_SUM_ROWS, BUFFER_BYTES * total // size))


class Stage:
    """The buffer.

    Parameters
    ----------
    X : StagedRows (N, d)
    rows : int
        How many rows it has room for at the least.

    Attributes
    ----------
    whole : ndarray or csr_array (N, d), or None
        All rows, where there is room for them.
    matrix : tuple of ndarray
        Otherwise what kernels see of some rows: X flat, and of sparse rows indices and indptr.
    rows : int
        The room.
    """

    def __init__(self, X: StagedRows, rows: int) -> None:
        (total, d), self.rows = X.shape, room_for(X, rows)
        self.X, self._scales = X, X.scaling is not None
        self.whole: Any = None
        if self.rows == total:
            self.whole = X.copied()
            return
        mean, deviation = (np.zeros(0), np.zeros(0)) if X.scaling is None else (X.scaling.mean, X.scaling.deviation)
        self._mean, self._deviation = (np.ascontiguousarray(each, np.float64) for each in (mean, deviation))
        self.matrix: tuple[Array, ...]
        if isinstance(X.source, np.ndarray):
            self._source: tuple[Array, ...] = (unlocked(X.source.reshape(-1)),)
            self.matrix = (aligned((self.rows * d,), X.dtype),)
        else:
            indptr = np.asarray(X.source.indptr, np.int64)
            entries = most_entries(indptr, self.rows)
            self._source = unlocked(X.source.data), unlocked(X.source.indices), unlocked(indptr)
            self.matrix = (
                aligned((entries,), X.dtype),
                np.zeros(entries, X.source.indices.dtype),
                np.zeros(self.rows + 1, np.int64),
            )

    def compile(self) -> None:
        """Compile what fills the buffer, or load it from the cache."""
        self._call(np.zeros(0, np.int32), 0, 1).compile()

    def take(self, numbers: Array, threads: Threads) -> None:
        """Fill the buffer with some rows (at most `rows`,) int32, one after another."""
        if self.X.sparse:
            _, indptr = self._source[1:]
            np.cumsum(indptr[numbers + 1] - indptr[numbers], out=self.matrix[2][1 : len(numbers) + 1])
            self.matrix[2][len(numbers) + 1 :] = self.matrix[2][len(numbers)]
        workers = max(1, min(threads.count, len(numbers) // PARTIAL_SUM_ROWS))
        threads.run([self._call(numbers, worker, workers) for worker in range(workers)])

    def _call(self, numbers: Array, worker: int, workers: int) -> KernelCall:
        span = (worker, workers)
        if self.X.sparse:
            out, indices, begins = self.matrix
            given = (*self._source, numbers, self._deviation, self._scales)
            return KernelCall(copy_sparse, (*given, out, indices, begins, *span))
        given = (*self._source, self.X.shape[1], numbers, self._mean, self._deviation, self._scales)
        return KernelCall(copy_dense, (*given, *self.matrix, *span))


def joined(order: Array, ranges: Sequence[tuple[int, int]]) -> Array:
    """Return the parts of an order (n,) that some ranges of places name, one after another."""
    return np.concatenate([order[first:end] for first, end in ranges])
