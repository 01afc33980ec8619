"""What kernels work on: rows of data, dense or sparse, a cohort's tiles, a worker's memory, and a worker's share.

Dense and sparse rows share every driver but that of sparse mini-batches; what differs is chosen by the rows' type.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numba.extending import intrinsic

from fastgd.core.static import typed_call, with_parameters_of

CHUNK_ROWS = 256  # rows whose residuals stay in the cache beside the tile; larger batches are summed chunk by chunk
FEWEST_CHUNK_ROWS = 16  # of wide rows, which are passed twice: they stay in the second-level cache with those ahead
CHUNK_BYTES = 1 << 19
MOST_BLOCK_ROWS = 8  # rows of a register block
PARTIAL_SUM_ROWS = 4096  # rows of a partial sum of losses
PLAIN, SVRG, SAGA, SNAPSHOT = range(4)  # how gradients are estimated; a snapshot fills the table


class Form(NamedTuple):
    """What is subtracted from the values of a row, and what divides them, in float64; (0,) where nothing is.

    Behind those of the d features stand others, up to a whole vector (`engine.rows.staging.form_of`).

    inverse : 1 / deviation, or NaN where quotients cannot be made of products with it (`engine.row_places`)
    """

    mean: Any
    deviation: Any
    inverse: Any


class Rows(NamedTuple):
    """Rows of data: X flat, y, the order (n,) in which they are visited, d, and the loss's kernels by address.

    They lie in `source`, flat, and kernels multiply what is in X: the same array, or where rows take their `form` when
    they are looked up, a buffer of the worker's (`engine.row_places`).

    An order may visit some of the rows alone, as those of a fold are. `numbers` (n,) are the rows' own numbers in that
    order: the order itself, but where the rows stand in a buffer (`engine.rows.visit`) and the order says where there.

    y : (N, 1), or (N, 2) with the rows' weights behind their targets; of a network flat, with all numbers of a row

    `intercept`: whether a column of ones, which is not stored, stands behind the features; `chunk`: the rows that are
    summed at a time.
    """

    X: Any
    y: Any
    order: Any
    numbers: Any
    d: Any
    intercept: Any
    chunk: Any
    residuals: Any
    losses: Any
    source: Any
    form: Any


class SparseRows(NamedTuple):
    """Rows in CSR form: values X (nnz,), indices (nnz,) int32, indptr (n + 1,) int64; the rest as for dense rows."""

    X: Any
    indices: Any
    indptr: Any
    y: Any
    order: Any
    numbers: Any
    d: Any
    intercept: Any
    chunk: Any
    residuals: Any
    losses: Any


def by_rows(dense: Any, sparse: Any) -> Callable[..., Any]:
    """Return a function for kernels: `dense` where an argument is `Rows`, `sparse` where one is `SparseRows`."""

    def choose(typingctx, *kinds):
        is_sparse = any(getattr(kind, "instance_class", None) is SparseRows for kind in kinds)
        return typed_call(typingctx, sparse if is_sparse else dense, kinds, range(len(kinds)))

    return intrinsic(with_parameters_of(dense.py_func, choose))


def by_shape(tile: Any, single: Any) -> Callable[..., Any]:
    """Return a function for kernels whose first argument is a shape: `single` for that of one lane, else `tile`."""

    def choose(typingctx, shape, *others):
        chosen = single if shape.value.single else tile
        return typed_call(typingctx, chosen, (shape, *others), range(1 + len(others)))

    return intrinsic(with_parameters_of(tile.py_func, choose))


def make_rows(X: Any, y: Any, order: Any, intercept: bool) -> Rows | SparseRows:
    """Return the rows of a matrix, dense or in CSR form, without the loss's kernels."""
    common = (unlocked(y), order, order, X.shape[1], intercept)
    if isinstance(X, np.ndarray):
        flat, nothing = unlocked(X.reshape(-1)), np.zeros(0)
        form = Form(nothing, nothing, nothing)
        return Rows(flat, *common, chunk_rows(X.shape[1], X.itemsize), 0, 0, flat, form)
    indptr = np.asarray(X.indptr, np.int64)
    return SparseRows(unlocked(X.data), unlocked(X.indices), unlocked(indptr), *common, CHUNK_ROWS, 0, 0)


def chunk_rows(d: int, itemsize: int) -> int:
    """Return how many dense rows are summed at a time: a power of two, so that whole chunks fill `CHUNK_ROWS`."""
    rows = CHUNK_ROWS
    while rows > FEWEST_CHUNK_ROWS and rows * d * itemsize > CHUNK_BYTES:
        rows //= 2
    return rows


def unlocked(array: Any) -> Any:
    """Return a view that says it may be written to: for locked arrays Numba would compile every driver a second time.

    Kernels write to no rows.
    """
    if array.flags.writeable:
        return array
    known = {**array.__array_interface__, "data": (array.ctypes.data, False)}
    return np.asarray(SimpleNamespace(__array_interface__=known, kept=array))


FIRST, ROWS, NUMBERS, HALF, LAYER = range(5)  # the columns of `Lanes.groups`


class Lanes(NamedTuple):
    """A cohort's tiles.

    groups : (groups, 5) int64, of each group of parameters its first row of L lanes, its rows, its parameters (of which
        a row of a single lane holds `width`), which half of `hyper` holds for it, and the number of its layer
    state : (tiles, (1 + slots) * parameters * L), the parameters first
    hyper : (tiles, 2 * (hyper + 1) * L): for groups that are penalised, then for the others; the last row of each half
        is l2
    exact : the same in float64, of which a step's quantities are made; `hyper` itself, where that is float64
    scheduled : (1 or steps, tiles, m * L) float64, the values of the m scheduled hyper-parameters at each step
    which : (2, m), their rows in each half of hyper, or -1: the decay of what is not penalised stays zero
    memory : (tiles, numbers * L) float64, what the rule keeps for each lane
    bad : (tiles, L), the first step with a residual that is not finite, or 0
    estimator : how gradients are estimated: PLAIN, SVRG or SAGA
    table : (tiles, n * L), each row's residual at an earlier point, where an estimator keeps them
    mean : (tiles, parameters * L), the gradient that the table makes
    """

    groups: Any
    state: Any
    hyper: Any
    exact: Any
    scheduled: Any
    which: Any
    memory: Any
    bad: Any
    estimator: Any
    table: Any
    mean: Any


class Points(NamedTuple):
    """Where residuals are taken: a tile's parameters W, and what is noted there.

    loss (L,) float64, to which those of the rows are added, if the batch's `losses` are needed; estimator and table
    (n * L,) as above.
    """

    W: Any
    loss: Any
    losses: Any
    estimator: Any
    table: Any


class Scratch(NamedTuple):
    """A worker's memory: offsets and targets (CHUNK_ROWS,), margins, gradient, and the step's quantities.

    check, batch_check (L,) are NaN where a residual of the last rows, or of a batch, was not finite.
    In float64: the gradient of a batch of several chunks, the quantities before they are rounded, the batch's loss (L,)
    and a round's sums (2 * sums * width,), of which the second half is room for a copy. A cohort in float64 has one
    gradient, and its quantities once.
    """

    offsets: Any
    y: Any
    Z: Any
    G: Any
    c: Any
    check: Any
    batch_check: Any
    total: Any
    exact_c: Any
    loss: Any
    sums: Any


class StepSpan(NamedTuple):
    """The steps of a worker: of the tiles worker, worker + workers, ...

    batch : the first batch, counted within the epoch
    t : the first step, counted within the run from 1
    """

    worker: Any
    workers: Any
    batch: Any
    steps: Any
    t: Any
    batch_size: Any


class RowRange(NamedTuple):
    """The rows first <= i < end."""

    first: Any
    end: Any


class PartSpan(NamedTuple):
    """What a worker adds to a large batch's gradient: the rows low to high of each of its parts.

    part_rows : rows of a part
    end : rows of the batch, over which the gradient is a mean
    t : the step, from 1
    """

    worker: Any
    workers: Any
    part_rows: Any
    low: Any
    high: Any
    end: Any
    t: Any


class GradientSums(NamedTuple):
    """Where the gradient of many rows is taken, and where its sums go.

    W : (tiles, >= parameters * L)
    gradients : (parts, tiles, parameters * L) float64
    losses : (parts, tiles, L) float64, of the rows' losses, if `wants_losses`
    bad, table, estimator : as in `Lanes`; a SNAPSHOT fills the table
    """

    W: Any
    gradients: Any
    losses: Any
    wants_losses: Any
    bad: Any
    table: Any
    estimator: Any


class ApplySpan(NamedTuple):
    """The tiles of a worker in step t, whose batch has `rows` of the n rows."""

    worker: Any
    workers: Any
    t: Any
    rows: Any
    n: Any


class BlockSpan(NamedTuple):
    """Which of the blocks of rows a worker evaluates; the first one of the call is `first`."""

    worker: Any
    workers: Any
    first: Any


Ranges = Sequence[tuple[int, int]]  # of places in an order, from and to


def ranges_now_and_next(span: PartSpan, parts: int, first: int = 0) -> tuple[Ranges, Ranges]:
    """Return which rows of each part a `PartSpan` takes, and as many that follow, or those that are left.

    They are those of a batch that begins at `first` in the order.
    """
    size, low, high, end = span[2:6]

    def ranges(low: int, high: int) -> Ranges:
        found = [(part * size + low, min((part + 1) * size, end, part * size + high)) for part in range(parts)]
        return [(first + start, first + stop) for start, stop in found if start < stop]

    return ranges(low, high), ranges(high, min(size, 2 * high - low))


def most_entries(indptr: Any, rows: int) -> int:
    """Return the most entries that so many sparse rows can have together."""
    lengths = np.diff(indptr)
    largest = np.partition(lengths, len(lengths) - rows)[len(lengths) - rows :] if rows < len(lengths) else lengths
    return int(max(1, largest.sum()))


def of_batch(rows: Any, first: int, count: int) -> Any:
    """Return rows of which a batch alone is visited, which begins at `first` in their order."""
    return rows._replace(order=rows.order[first : first + count], numbers=rows.numbers[first : first + count])


def chunks(rows: int) -> int:
    """Return the rows of as many whole chunks as there are in some rows; at least those of one."""
    return max(1, rows // CHUNK_ROWS) * CHUNK_ROWS


def part_rows(rows: int, parts: int) -> int:
    """Return the rows of each part of a large batch: whole chunks, so that no cut between calls changes a sum."""
    return -(-rows // (parts * CHUNK_ROWS)) * CHUNK_ROWS
