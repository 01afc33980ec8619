"""Least squares by what is sufficient: a batch's gradient is `A w - c` with `A = X_b' X_b / b` and `c = X_b' y_b / b`.

Where rows have weights, a tile of columns is multiplied by them before it takes its place: these are `X_b' S X_b / b`
and `X_b' S y_b / b`.

All lanes share A, and full batches share it for the whole run: a step then takes 2 d^2 operations a lane, however many
rows there are. Smaller batches take A anew each time, which pays where there are many more lanes, or rows of a batch,
than features.

A is summed in float64 with the register blocks of a gradient: a tile of columns of X stands in the place of the
residuals. A column of ones stands for the intercept, and the targets are one more column, of which c is made.

The gradient's rounding errors are those of A and c, a few units in the last place of their products with w: they do not
become smaller with the residuals, as they do where rows are passed over. Where a model fits its data to the last digit,
the path ends a few digits earlier; losses at checkpoints are sums over rows, and tell so.
"""

from typing import Any, NamedTuple

import numpy as np

from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import aligned, cast, load, store, wide, zeros
from fastgd.engine.arrays import CHUNK_ROWS, MOST_BLOCK_ROWS, RowRange
from fastgd.engine.linear.dense import add_gradients, products
from fastgd.engine.row_places import place_of
from fastgd.engine.row_sums import clear
from fastgd.engine.rule_steps import begin_step, finish_batch, not_finite, note_bad


class Gram(NamedTuple):
    """What is sufficient of a batch, and a worker's memory for it; all numbers are float64.

    A : (P * P,), X_b' X_b / b with the intercept's column behind the features
    c : (P,), X_b' y_b / b
    square : (1,), y' y / n of all rows
    starts : (P + MOST_BLOCK_ROWS,) int64, where the rows of A begin
    sums : (tiles, P * L), X_b' [X_b y_b] by tiles of columns
    X, Z, offsets : some rows with the columns of all tiles (CHUNK_ROWS * columns,), a tile of these
        ((CHUNK_ROWS + MOST_BLOCK_ROWS) * L,), and where the rows begin
    weights : (CHUNK_ROWS,), of some rows, where these have weights
    chunk : (P * L,), the sum of some rows for a tile of columns
    columns : int
    W, product : (P * L,), a tile's parameters, and A times them
    """

    A: Any
    c: Any
    square: Any
    starts: Any
    sums: Any
    X: Any
    Z: Any
    offsets: Any
    weights: Any
    chunk: Any
    columns: Any
    W: Any
    product: Any


def column_tiles(parameters: int, lanes: int) -> int:
    """Return the tiles of `lanes` columns that hold A and c."""
    return -(-(parameters + 1) // lanes)


def make_gram(parameters: int, lanes: int, whole: Gram | None = None, *, batches: bool = True) -> Gram:
    """Return a worker's memory: with A and c of all rows if these are given; `batches`: whether it makes its own."""
    P, tiles = parameters, column_tiles(parameters, lanes)
    behind = np.minimum(np.arange(P + MOST_BLOCK_ROWS, dtype=np.int64), P - 1)
    rows = np.minimum(np.arange(CHUNK_ROWS + MOST_BLOCK_ROWS, dtype=np.int64), CHUNK_ROWS - 1)
    return Gram(
        whole.A if whole else aligned((P * P,), np.float64),
        whole.c if whole else aligned((P,), np.float64),
        whole.square if whole else np.zeros(1),
        behind * P,
        aligned((tiles if batches else 0, P * lanes), np.float64),
        aligned((CHUNK_ROWS * tiles * lanes,), np.float64),
        aligned(((CHUNK_ROWS + MOST_BLOCK_ROWS) * lanes,), np.float64),
        rows * tiles * lanes,
        np.ones(CHUNK_ROWS),
        aligned((P * lanes,), np.float64),
        tiles * lanes,
        aligned((P * lanes,), np.float64),
        aligned(((P + MOST_BLOCK_ROWS) * lanes,), np.float64),
    )


def put_sums(gram: Gram, sums: Any, y: Any) -> None:
    """Make A and c of sums (tiles, P * L) over all rows, whose targets are y (n, 1), or (n, 2) with their weights."""
    P, tiles, rows = len(gram.c), len(sums), len(y)
    squares = np.square(y[:, 0], dtype=np.float64)
    gram.square[0] = (squares if y.shape[1] == 1 else squares * y[:, 1]).sum() / rows
    columns = sums.reshape(tiles, P, -1).swapaxes(0, 1).reshape(P, -1)
    gram.A[:], gram.c[:] = columns[:, :P].reshape(-1) / rows, columns[:, P] / rows


@jit(inner=True)
def take_rows(shape, data, low, count, gram):
    """Copy the rows order[low : low + count] to X (count, columns): features, a one for the intercept, the target."""
    X, d, P, columns = gram.X, data.d, gram.c.shape[0], gram.columns
    width = static(shape, "width")
    whole = d - d % width
    for i in range(count):
        row = np.int64(data.order[low + i])
        source, target = place_of(data, low + i, 0), i * columns
        for j in range(0, whole, width):
            store(X, target + j, wide(load(shape, data.X, source + j)))
        for j in range(whole, d):
            X[target + j] = data.X[source + j]
        if d < P:
            X[target + d] = 1.0
        X[target + P] = data.y[row, 0]
        if data.y.shape[1] > 1:
            gram.weights[i] = data.y[row, 1]


@jit(inner=True)
def add_tile(shape, count, tile, gram, weighted, out):
    """Add to out (P * L) the products of all columns of the rows that were taken with a tile of them.

    They are summed by themselves first: a sum in one chain over all rows would lose digits.
    """
    L, P, chunk = static(shape, "lanes"), gram.c.shape[0], gram.chunk
    for i in range(count):
        for v in range(0, L, static(shape, "width")):
            store(gram.Z, i * L + v, load(shape, gram.X, i * gram.columns + tile * L + v))
    if weighted:
        weigh(shape, count, gram.weights, gram.Z)
    clear(shape, chunk, 0, P)
    add_gradients(shape, gram.X, gram.offsets, P, 0, P, count, gram.Z, chunk)
    for at in range(0, P * L, static(shape, "width")):
        store(out, at, load(shape, out, at) + load(shape, chunk, at))


@jit(inner=True)
def weigh(shape, count, weights, Z):
    """Multiply rows Z (count, L) by their weights."""
    for i in range(count):
        for at in range(i * static(shape, "lanes"), (i + 1) * static(shape, "lanes"), static(shape, "width")):
            store(Z, at, load(shape, Z, at) * weights[i])


@jit
def accumulate(shape, data, sums, gram, span):
    """Add the rows of a `PartSpan` to sums (parts, tiles, P * L)."""
    parts, tiles, weighted = sums.shape[0], sums.shape[1], data.y.shape[1] > 1
    for item in range(span.worker, parts * tiles, span.workers):
        part, tile = item // tiles, item % tiles
        first = part * span.part_rows
        last = min(first + span.part_rows, span.end, first + span.high)
        for low in range(first + span.low, last, CHUNK_ROWS):
            count = min(CHUNK_ROWS, last - low)
            take_rows(shape, data, low, count, gram)
            add_tile(shape, count, tile, gram, weighted, sums[part, tile])


@jit(inner=True)
def take_batch(shape, data, start, stop, gram):
    """Make A and c of the rows order[start:stop]."""
    L, P, sums, rows = static(shape, "lanes"), gram.c.shape[0], gram.sums, stop - start
    sums[:] = 0
    for low in range(start, stop, CHUNK_ROWS):
        count = min(CHUNK_ROWS, stop - low)
        take_rows(shape, data, low, count, gram)
        for tile in range(sums.shape[0]):
            add_tile(shape, count, tile, gram, data.y.shape[1] > 1, sums[tile])
    for i in range(P):
        for k in range(P + 1):
            value = sums[k // L, i * L + k % L] / rows
            if k < P:
                gram.A[i * P + k] = value
            else:
                gram.c[i] = value


@jit(inner=True)
def take_gradient(shape, double, gram, W, G, check):
    """Leave the gradient `A W - c` in G (P, L); check (L,) is NaN where it is not finite."""
    L, P = static(shape, "lanes"), gram.c.shape[0]
    for at in range(0, P * L, static(shape, "width")):
        store(gram.W, at, wide(load(shape, W, at)))
    products(double, gram.A, gram.starts, P, P, gram.W, -1, gram.product, gram.A, gram.starts, RowRange(0, 0))
    for v in range(0, L, static(shape, "width")):
        finite = zeros(shape, G)
        for i in range(P):
            g = cast(load(shape, gram.product, i * L + v) - gram.c[i], G)
            finite = finite + g * 0
            store(G, i * L + v, g)
        store(check, v, finite)


@jit
def take_gradients(shape, double, sums, gram, span):
    """Leave the gradient of all rows in the first part of `GradientSums`, and the sum of their losses.

    The loss is half of `w' A w - 2 w' c + y' y / n`, of which the first two are `w' (A w - c) - w' c`.
    """
    P, c = gram.c.shape[0], gram.c
    L = static(shape, "lanes")
    for tile in range(span.worker, sums.W.shape[0], span.workers):
        G, loss = sums.gradients[0, tile], sums.losses[0, tile]
        take_gradient(shape, double, gram, sums.W[tile], G, loss)
        note_bad(loss, sums.bad[tile], span.t)
        for v in range(0, L, static(shape, "width")):
            total = zeros(shape, G) + gram.square[0]
            for i in range(P):
                total = total + load(shape, gram.W, i * L + v) * (load(shape, G, i * L + v) - c[i])
            store(loss, v, total * (0.5 * span.end))


@jit
def curvatures(double, gram, directions, out, worker, workers):
    """Write p' A p of the directions (tiles, P * L) float64 to out (tiles, L)."""
    P, L = gram.c.shape[0], static(double, "lanes")
    for tile in range(worker, directions.shape[0], workers):
        p, curvature = directions[tile], out[tile]
        products(double, gram.A, gram.starts, P, P, p, -1, gram.product, gram.A, gram.starts, RowRange(0, 0))
        for v in range(0, L, static(double, "width")):
            total = zeros(double, p)
            for i in range(P):
                total = total + load(double, p, i * L + v) * load(double, gram.product, i * L + v)
            store(curvature, v, total)


@jit
def advance(calls, shape, double, data, lanes, scratch, gram, span, whole):
    """Take the steps of a `StepSpan`; where `whole`, the batch is all rows, of which A and c are there.

    `double`: the shape of a tile of as many lanes in float64.
    """
    tiles, n, b = lanes.state.shape[0], data.order.shape[0], span.batch_size
    for step in range(span.steps):
        start = 0 if whole else (span.batch + step) * b
        stop, index = min(start + b, n), min(step, lanes.scheduled.shape[0] - 1)
        if not whole:
            take_batch(double, data, start, stop, gram)
        share = data.X.dtype.type(1.0)  # which no estimator needs
        for tile in range(span.worker, tiles, span.workers):
            begin_step(calls, shape, lanes, tile, index, span.t + step, scratch)
            take_gradient(shape, double, gram, lanes.state[tile], scratch.G, scratch.check)
            if not_finite(shape, scratch.check):
                note_bad(scratch.check, lanes.bad[tile], span.t + step)
            finish_batch(calls, shape, lanes, tile, index, span.t + step, share, scratch.G, scratch, False)
