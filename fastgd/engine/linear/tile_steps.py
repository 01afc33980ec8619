"""The steps of tiles: all lanes of a tile pass over the same rows together.

A mini-batch step of a tile is `Z = X_b W`, `R = loss'(Z, y) / b`, `G = X_b' R`, and then the rule on each feature.

- Register blocks (`engine/linear/blocks.py`). Both products spread a scalar of X over a vector and multiply it into a
  row of W or R. 4 rows x 4 vectors of accumulators stay in registers; 16 multiply-adds then need 8 loads. LLVM does not
  keep such a block of an array in registers, so one emitter writes the instructions for both products. Alone, a block
  of 6 x 4 runs at 86 to 95 % of the machine's multiply-add peak; 4 x 4 leaves no rows over where b is a power of two,
  which is worth more.
- The gradient never leaves the first-level cache. It is finished for a few features at a time and handed to the rule
  there (`engine/linear/block_steps.py`); with batches of a few rows, all of a step is one sweep (`sweep_steps.py`).
  What is here is for the rest: rules that sum over all parameters first, and batches of more rows than the caches keep,
  which are added up chunk by chunk in one `(d, L)` buffer.
- Rows are read where they lie, through the epoch's order; those of the next batch are prefetched while this one's are
  multiplied. A shuffled epoch then costs at most 1.1 to 1.2 times a sequential one; copying each batch would double it.
- A thread walks the batches once and applies each to all of its tiles, while the rows are in its cache; where a step
  takes microseconds, a tile takes some at a time.
- exp and log1p are polynomials on vectors, 1 ulp. Rounding by a magic constant leaves 2^k ready to be shifted into the
  exponent; no conversion, no table. At d = 100 the sigmoid is a seventh of all work. A checkpoint's sum of logistic
  losses takes one logarithm for eight rows: a loss may give the terms of `a + log(1 + e)`, and the products of the `1 +
  e` are taken first.
- Rows that do not fill a block repeat the last row, and the surplus is ignored: cheaper than blocks of one row.
- One or two lanes take another kernel (`engine/linear/single`), with vectors over features: there the way of the data
  through memory is the cost. Where there is one tile, two threads share its batches
  (`engine/linear/batch_steps.py`). Batches of 16,384 rows and more are cut into parts that all threads sum, added in a
  fixed order.

Nothing here calls a BLAS: it would bring its own threads, and a lane's bits would depend on its neighbours.

A lane's arithmetic is the same wherever it stands in whichever tile of its kernel: vectors are element-wise, sums over
k run in order, sums over rows run in blocks of 4,096 in float64. A thread owns whole tiles (or whole parts). So bits do
not depend on threads, on retired neighbours, on interruptions, or on whether the trial runs alone (`--trial`).
"""

import numpy as np

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import load, store
from fastgd.engine.arrays import PLAIN, SNAPSHOT, SVRG, Points, RowRange, by_rows
from fastgd.engine.linear import dense, sparse
from fastgd.engine.row_sums import add_chunk, clear, clear_chunk, place_of, rounded
from fastgd.engine.rule_steps import note_bad

gather = by_rows(dense.gather, sparse.gather)
margins = by_rows(dense.margins, sparse.margins)
add_gradient = by_rows(dense.add_gradient, sparse.add_gradient)


@jit(inner=True)
def recall(shape, estimator, table, numbers, low, count, scale, Z):
    """Take from the residuals Z of the rows numbers[low : low + count] what the table has for them, and scale them.

    SAGA's table then holds the new ones. A snapshot takes nothing.
    """
    L = static(shape, "lanes")
    for i in range(count):
        row = np.int64(numbers[low + i]) * L
        for v in range(0, L, static(shape, "width")):
            r = load(shape, Z, i * L + v)
            old = r * 0 if estimator == SNAPSHOT else load(shape, table, row + v)
            store(Z, i * L + v, (r - old) * scale)
            if estimator != SVRG:
                store(table, row + v, r)


@jit(inline="always")
def residual_chunk(shape, data, low, count, scale, points, ahead, scratch, fresh):
    """Leave in Z the scaled residuals of the rows order[low : low + count]; prefetch those of the `RowRange` ahead.

    Where they are not `fresh`, they were looked up last.
    """
    if fresh:
        gather(data, low, count, scratch)
    margins(shape, data, count, points.W, scratch, ahead)
    if points.losses:
        call_at(data.losses, shape, scratch.Z, scratch.y, count, points.loss)
    plain = points.estimator == PLAIN
    unscaled = data.X.dtype.type(1.0)
    call_at(data.residuals, shape, scratch.Z, scratch.y, count, scale if plain else unscaled, scratch.check)
    if not plain:
        recall(shape, points.estimator, points.table, data.numbers, low, count, scale, scratch.Z)


@jit(inline="always")
def sum_chunk(shape, data, count, scratch, total):
    """Add to a float64 total (d + intercept, L) the gradient of the rows that were gathered."""
    G, parameters = place_of(data, total, scratch.G), data.d + data.intercept
    clear_chunk(shape, G, total, parameters)
    add_gradient(shape, data, count, scratch, G)
    add_chunk(shape, G, total, parameters)


@jit(inner=True)
def sum_rows(shape, data, first, last, ahead, scale, points, check, scratch, fresh):
    """Leave in `scratch.G` the gradient of the rows order[first:last] at some `Points`, and there their losses.

    check (L,) becomes NaN where a residual was not finite. Behind the last chunk the `RowRange` ahead is prefetched.
    Where the rows are not `fresh`, they were passed last.
    """
    G, total, many, parameters = scratch.G, scratch.total, last - first > data.chunk, data.d + data.intercept
    clear(shape, G, 0, parameters)
    if many:
        clear(shape, total, 0, parameters)
    clear(shape, points.loss, 0, 1)
    clear(shape, check, 0, 1)
    for low in range(first, last, data.chunk):
        count = min(data.chunk, last - low)
        following = RowRange(low + count, last) if low + count < last else ahead
        residual_chunk(shape, data, low, count, scale, points, following, scratch, fresh or many)
        for v in range(0, static(shape, "lanes"), static(shape, "width")):
            store(check, v, load(shape, check, v) + load(shape, scratch.check, v))
        if many:
            sum_chunk(shape, data, count, scratch, total)
        else:
            add_gradient(shape, data, count, scratch, G)
    if many:
        rounded(shape, total, G, parameters)


@jit
def accumulate(shape, data, sums, scratch, span):
    """Add part of a large batch to its `GradientSums`.

    The batch is cut into parts, each summed by itself: a fixed order whatever the number of threads. One call takes
    some rows of every part (a `PartSpan`), so that it stays short.
    """
    worker, workers, size, low, high, end, t = span
    W, gradients, losses, estimator = sums.W, sums.gradients, sums.losses, sums.estimator
    parts, tiles = gradients.shape[0], gradients.shape[1]
    scale = data.X.dtype.type(1.0 / end)
    for item in range(worker, parts * tiles, workers):
        part, tile = item // tiles, item % tiles
        last = min((part + 1) * size, end, part * size + high)
        points, bad = (
            Points(W[tile], losses[part, tile], sums.wants_losses, estimator, sums.table[tile]),
            sums.bad[tile],
        )
        for start in range(part * size + low, last, data.chunk):
            count = min(data.chunk, last - start)
            residual_chunk(shape, data, start, count, scale, points, RowRange(start + count, last), scratch, True)
            note_bad(scratch.check, bad, t)
            sum_chunk(shape, data, count, scratch, gradients[part, tile])
