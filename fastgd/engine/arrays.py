"""What kernels work on: rows of data, dense or sparse, a cohort's tiles, and a thread's memory.

Dense and sparse rows share every driver but that of sparse mini-batches; what differs is chosen by the rows' type.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

CHUNK = 256  # rows whose residuals stay in the cache beside the tile; larger batches are added up chunk by chunk
MOST_ROWS = 8  # of a register block
PLAIN, SVRG, SAGA, SNAPSHOT = range(4)  # how gradients are estimated; a snapshot fills the table


class Rows(NamedTuple):
    """Rows of data: X flat, y (n,), the order (n,) in which they are visited, d, and the loss's kernels by address."""

    X: Any
    y: Any
    order: Any
    d: Any
    residuals: Any
    losses: Any


class SparseRows(NamedTuple):
    """Rows in CSR form: values X (nnz,), indices (nnz,) int32, indptr (n + 1,) int64; the rest as for dense rows."""

    X: Any
    indices: Any
    indptr: Any
    y: Any
    order: Any
    d: Any
    residuals: Any
    losses: Any


def by_rows(dense: Callable[..., Any], sparse: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function for kernels: `dense` where an argument is `Rows`, `sparse` where one is `SparseRows`."""

    def choose(*args: Any) -> Any:
        raise NotImplementedError("called from kernels only")

    @overload(choose, strict=False)
    def _choose(*args):
        is_sparse = any(getattr(kind, "instance_class", None) is SparseRows for kind in args)
        kernel = sparse if is_sparse else dense
        return lambda *args: kernel(*args)

    return choose


def make_rows(X: Any, y: Any, order: Any) -> Rows | SparseRows:
    """Return the rows of a matrix, dense or in CSR form, without the loss's kernels."""
    if isinstance(X, np.ndarray):
        return Rows(X.reshape(-1), y, order, X.shape[1], 0, 0)
    return SparseRows(X.data, X.indices, np.asarray(X.indptr, np.int64), y, order, X.shape[1], 0, 0)


class Lanes(NamedTuple):
    """A cohort's tiles.

    state : (tiles, (1 + slots) * (d + intercept) * L), the parameters first
    hyper : (tiles, 2 * (hyper + 1) * L): for the weights, then for the intercept; the last row of each is l2
    exact : the same in float64, of which a step's quantities are made; `hyper` itself, where that is float64
    scheduled : (1 or steps, tiles, m * L) float64, the values of the m scheduled hyper-parameters at each step
    which : (2, m), their rows in each half of hyper, or -1: an intercept's decay stays zero
    memory : (tiles, numbers * L) float64, what the rule keeps for each lane
    bad : (tiles, L), the first step with a residual that is not finite, or 0
    estimator : how gradients are estimated: PLAIN, SVRG or SAGA
    table : (tiles, n * L), each row's residual at an earlier point, where an estimator keeps them
    mean : (tiles, (d + intercept) * L), the gradient that the table makes
    """

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

    bad (L,) and loss (L,) float64 as above; `losses`: whether the batch's loss is needed; estimator and table (n * L,).
    """

    W: Any
    bad: Any
    loss: Any
    losses: Any
    estimator: Any
    table: Any


class Scratch(NamedTuple):
    """A thread's memory: offsets (CHUNK,), targets (CHUNK,), margins, gradient, the step's quantities, check (L,).

    In float64: the gradient of a batch of several chunks, the quantities before they are rounded, the batch's loss (L,)
    and a round's sums (sums * width,). A cohort in float64 has one gradient, and its quantities once.
    """

    offsets: Any
    y: Any
    Z: Any
    G: Any
    c: Any
    check: Any
    total: Any
    exact_c: Any
    loss: Any
    sums: Any


def part_rows(rows: int, parts: int) -> int:
    """Return the rows of each part of a large batch: whole chunks, so that no cut between calls changes a sum."""
    return -(-rows // (parts * CHUNK)) * CHUNK
