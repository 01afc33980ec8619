"""Where rows take their form that are standardised, or rounded, as kernels pass over them: whole, or some at a time.

Dense rows take it when kernels look them up (`engine.row_places`). Sparse ones are brought to a buffer, by calls
that are made beside those that pass over what was brought before.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fastgd.common.system import memory
from fastgd.core.compile import jit
from fastgd.core.threads import Threads, available_threads
from fastgd.core.vectors import aligned
from fastgd.datasets.record import Scaling
from fastgd.datasets.staged_rows import StagedRows
from fastgd.engine.arrays import CHUNK_ROWS, PARTIAL_SUM_ROWS, Form, most_entries, unlocked
from fastgd.engine.calls import KernelCall
from fastgd.engine.row_places import slot_values

Array = npt.NDArray[Any]
WHOLE_BYTES = 128 << 20  # of rows that are all in the buffer at once: they take their form a single time
WHOLE_SHARE = 16  # of the memory that the process may use: no more than this part of it
BUFFER_BYTES = 8 << 20  # of each half's rows, where a block of rows is not longer: the third-level cache keeps them
SLOTS = CHUNK_ROWS  # of dense rows that a worker has room for: as many as kernels look up at a time
LEAST = 2.0**-300  # of means and deviations with which products are exact; their reciprocals at the most


@jit
def copy_sparse(
    X, indices, indptr, y, numbers, deviation, scales, out, out_indices, begins, targets, begin, worker, workers
):
    """Copy the rows `numbers` in CSR form, with their targets y (N, columns), to the buffer, from row `begin` on.

    Their entries begin at begins[begin:] there. Where `scales`, values are divided as those of a copy of all rows are.
    """
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


def stage_bytes(X: StagedRows, rows: int) -> float:
    """Return what is taken where rows take their form, of which a call passes over so many at the least."""
    if not (fits_whole(X) or X.sparse):
        return float(available_threads() * SLOTS * X.shape[1] * X.dtype.itemsize)
    half = _room_for(X, rows)
    held = half if half == X.shape[0] else 2 * half
    return held / X.shape[0] * X.size * (X.dtype.itemsize + 4 * X.sparse)


def _room_for(X: StagedRows, rows: int) -> int:
    """Return how many rows a half has room for, at least so many; all of them, where they take little."""
    total, size = X.shape[0], X.size * X.dtype.itemsize
    return total if fits_whole(X) else min(total, max(rows, PARTIAL_SUM_ROWS, BUFFER_BYTES * total // size))


def form_of(scaling: Scaling | None, d: int) -> Form:
    """Return what kernels do with the values of dense rows that are standardised, or rounded alone.

    Behind the features stand others up to a whole vector, which become 0. Where products may not make the quotients of
    a feature, its `inverse` is NaN.
    """
    values = int(slot_values.py_func(d))
    mean, deviation, inverse = np.zeros(values), np.ones(values), np.zeros(values)
    inverse[:d] = 1
    if scaling is not None:
        mean[:d], deviation[:d] = scaling.mean, scaling.deviation
        size, by = np.abs(mean[:d]), deviation[:d]
        # A number's difference from a mean is 0, or at least 2^-54 of the mean; by 1 everything is divided exactly.
        known = (by == 1) | ((size >= LEAST) & (size <= 1 / LEAST) & (by >= LEAST) & (by <= 1 / LEAST))
        inverse[:d] = np.divide(1, by, out=np.full(d, np.nan), where=known)
    return Form(mean, deviation, inverse)


class Copy:
    """All rows at once, where they take little: `rows` (N, d)."""

    def __init__(self, X: StagedRows) -> None:
        self.X, self.rows = X, X.copied()


class Buffers:
    """The buffers of dense rows, one for each worker, and the `form` that rows take there."""

    def __init__(self, X: StagedRows) -> None:
        self.X, self.form, self._made = X, form_of(X.scaling, X.shape[1]), list[Array]()

    def of(self, worker: int) -> Array:
        """Return the one of a worker, flat."""
        while len(self._made) <= worker:
            self._made.append(aligned((SLOTS * len(self.form.mean),), self.X.dtype))
        return self._made[worker]


class Stage:
    """The buffer of sparse rows, in two halves: while kernels pass over one, others are brought to the other one.

    Parameters
    ----------
    X : StagedRows (N, d)
        Sparse rows.
    rows : int
        How many rows a half has room for at the least.

    Attributes
    ----------
    matrix : tuple of ndarray
        What kernels see of some rows: X, indices and indptr.
    rows : int
        The room of a half.
    """

    def __init__(self, X: StagedRows, rows: int) -> None:
        self.X, self.rows, self._scales = X, _room_for(X, rows), X.scaling is not None
        self._half = 0  # that was taken last
        self._coming: tuple[Array, Array] | None = None  # of the other one: for which targets, and which rows,
        self._brought: tuple[Array, Array] | None = None  # and once they are there
        deviation = np.zeros(0) if X.scaling is None else X.scaling.deviation
        self._deviation = np.ascontiguousarray(deviation, np.float64)
        source: Any = X.source
        indptr = np.asarray(source.indptr, np.int64)
        self._entries = most_entries(indptr, self.rows)
        self._source = unlocked(source.data), unlocked(source.indices), unlocked(indptr)
        self.matrix = (
            aligned((2 * self._entries,), X.dtype),
            np.zeros(2 * self._entries, source.indices.dtype),
            np.zeros(self.places, np.int64),
        )

    @property
    def places(self) -> int:
        """Those of rows in both halves; one more of each, where the last row ends."""
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
        indptr, begins = self._source[2], self.matrix[2][begin : begin + self.rows + 1]
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
        given = (*self._source, y, numbers, self._deviation, self._scales)
        return KernelCall(copy_sparse, (*given, *self.matrix, targets, begin, worker, workers))


def stage_of(X: StagedRows, rows: int) -> Copy | Buffers | Stage:
    """Return where rows take their form, of which a call passes over so many at the least."""
    if _room_for(X, rows) == X.shape[0] if X.sparse else fits_whole(X):
        return Copy(X)
    return Stage(X, rows) if X.sparse else Buffers(X)


def joined(order: Array, ranges: Sequence[tuple[int, int]]) -> Array:
    """Return the parts of an order (n,) that some ranges of places name, one after another."""
    return np.concatenate([order[first:end] for first, end in ranges])
