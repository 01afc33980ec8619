"""Rows in the order in which they are visited: where they lie, or some at a time in a buffer.

Kernels read rows through an order, and know nothing else of where they are. Dense `StagedRows` take their form when a
kernel looks them up, in a buffer of its worker's. Of sparse ones the order says where in one buffer a row stands, if it
is there: before a call, or beside the one before it, the host has the places of the order brought there that the call
passes over. What a call only looks ahead to is somewhere in the buffer, too, and is asked for again.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fastgd.core.threads import Threads
from fastgd.datasets.staged_rows import StagedRows
from fastgd.engine.arrays import (
    CHUNK_ROWS,
    PARTIAL_SUM_ROWS,
    Ranges,
    Rows,
    SparseRows,
    chunk_rows,
    make_rows,
    unlocked,
)
from fastgd.engine.calls import InTurn, KernelCall, Pace, side_by_side
from fastgd.engine.rows.read_ahead import ReadAhead
from fastgd.engine.rows.staging import Buffers, Copy, Stage, joined, stage_of

Array = npt.NDArray[Any]
Calls = Sequence[KernelCall | InTurn]


def is_sparse(X: Any) -> bool:
    """Whether rows are sparse, in memory or staged."""
    return X.sparse if isinstance(X, StagedRows) else not isinstance(X, np.ndarray)


class Visit:
    """Rows X with y, visited in an order.

    Parameters
    ----------
    X : ndarray (N, d), C-contiguous, csr_array (N, d), or StagedRows
    y : ndarray (N, columns)
    order : ndarray (n,) int32
    intercept : bool
    flat : bool
        Whether kernels take y flat.
    batch : int
        How many places in a row of the order a call passes over at the least.
    stages : list, optional
        Where rows of other visits take their form, which are passed over in turn.

    Attributes
    ----------
    rows : Rows or SparseRows
        What kernels work on.
    numbers : ndarray (n,) int32
        The order.
    entries : float
        Of a row, on average.
    """

    def __init__(
        self,
        X: Any,
        y: Array,
        order: Array,
        intercept: bool,
        *,
        flat: bool = False,
        batch: int = 1,
        stages: list[Copy | Buffers | Stage] | None = None,
    ) -> None:
        self._X, self._y, self._flat, self._batch = X, y, flat, batch
        self.numbers, self.intercept, self.entries = order, intercept, max(1.0, X.size / max(1, len(y)))
        self.rows: Rows | SparseRows
        self._stages = [] if stages is None else stages
        self._stage: Stage | None = None
        self._buffers: Buffers | None = None
        where = self._where() if isinstance(X, StagedRows) else None
        if isinstance(where, Copy):
            X = where.rows
        elif isinstance(where, Buffers):
            self._buffers, X = where, X.source
        elif isinstance(where, Stage):
            self._stage, X = where, X.source
        self._ahead = ReadAhead(X)
        if self._stage is not None:
            self._y = unlocked(np.ascontiguousarray(y))
            self._held_y = np.zeros((self._stage.places, y.shape[1]), y.dtype)
            self.rows = self._in_stage(self._stage)
            return
        self.rows = make_rows(X, y.reshape(-1) if flat else y, order, intercept)
        if isinstance(self.rows, Rows) and self._buffers is not None:
            chunk = chunk_rows(self.rows.d, self._X.dtype.itemsize)
            self.rows = self.rows._replace(X=self._buffers.of(0), chunk=chunk, form=self._buffers.form)

    def _where(self) -> Copy | Buffers | Stage:
        """Return where the rows take their form; visits of the same rows share it."""
        found = next((each for each in self._stages if each.X is self._X), None)
        if found is None:
            self._stages.append(found := stage_of(self._X, self._batch))
        return found

    def of_worker(self, worker: int, rows: Any = None) -> Any:
        """Return the rows, as a worker's kernels see them; `rows`: what the owner of the visit has made of them."""
        rows = self.rows if rows is None else rows
        return rows if self._buffers is None else rows._replace(X=self._buffers.of(worker))

    def _in_stage(self, stage: Stage) -> SparseRows:
        y, order = self._held_y.reshape(-1) if self._flat else self._held_y, np.zeros(len(self.numbers), np.int32)
        return SparseRows(*stage.matrix, y, order, self.numbers, self._X.shape[1], self.intercept, CHUNK_ROWS, 0, 0)

    @property
    def _source(self) -> Any:
        return self._X.source if isinstance(self._X, StagedRows) else self._X

    @property
    def indptr(self) -> Array:
        """Where the entries of all rows begin (N + 1,), of sparse ones."""
        return np.asarray(self._source.indptr, np.int64)

    @property
    def targets(self) -> Array:
        """What losses take of the rows, in their order: (n, columns)."""
        return np.asarray(self._y[self.numbers])

    @property
    def room(self) -> int:
        """How many places can be held at a time: of rows in memory all, of mapped ones as many as are read ahead."""
        if self._stage is not None:
            return self._stage.rows
        return max(self._batch, PARTIAL_SUM_ROWS, self._ahead.room) if self._ahead else len(self.numbers)

    @property
    def held(self) -> bool:
        """Whether rows have to be held before a call."""
        return self._stage is not None or bool(self._ahead)

    def compile(self) -> None:
        """Compile what brings rows to the buffer, or load it from the cache."""
        if self._stage is not None:
            self._stage.compile(self._y, self._held_y)

    def other(self, X: Any, y: Array, order: Array) -> Self:
        """Return a visit of other rows, or of the same ones in another order."""
        how: dict[str, Any] = {"flat": self._flat, "batch": self._batch, "stages": self._stages}
        return type(self)(X, y, order, self.intercept, **how)

    def again(self, order: Array) -> Self:
        """Return a visit of the same rows in another order."""
        return self.other(self._X, self._y, order)

    def hold(self, threads: Threads, *ranges: tuple[int, int]) -> None:
        """Have the rows of some ranges of places, at most `room`, where kernels find them."""
        if self._ahead:
            self._ahead.pass_over(self.numbers, ranges)
        if self._stage is None:
            return
        numbers = self._rows_of(ranges)
        at = self._stage.take(numbers, self._y, self._held_y, threads)
        for first, end in ranges:
            self.rows.order[first:end] = np.arange(at, at + end - first, dtype=np.int32)
            at += end - first

    def run(self, pace: Pace, calls: Calls, work: float, now: Ranges, following: Ranges) -> None:
        """Run calls that pass over the rows of some ranges of places; beside, rows of those that follow are brought."""
        self.hold(pace.threads, *now)
        if self._stage is None or all(first >= end for first, end in following):
            pace.run(calls, work)
            return
        workers = min(len(calls), pace.threads.count)
        others = self._stage.bring(self._rows_of(following), self._y, self._held_y, workers)
        pace.run(side_by_side(calls, others), work)
        self._stage.arrived()

    def _rows_of(self, ranges: Ranges) -> Array:
        numbers = joined(self.numbers, ranges)
        if len(numbers) > self.room:
            raise ValueError(f"{len(numbers)} rows are to be held, and there is room for {self.room}")
        return numbers
