"""The steps of dense cohorts with one or two lanes: one lane at a time, with vectors over features.

Nearly all of their time is spent on reading the data from memory, of which one processor reads half of what two do:
batches of some rows are shared by two threads (`halved_steps.py`), and what is here is for the smaller ones.

A lane's parameters are padded to whole vectors; an intercept has a vector of its own, of which the first element
counts.
"""

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import spread, store
from fastgd.engine.arrays import CHUNK_ROWS, RowRange
from fastgd.engine.linear.dense import gather, prefetch_rows
from fastgd.engine.linear.feature_blocks import dot_block, outer_block
from fastgd.engine.row_sums import add_chunk, clear, clear_chunk, rounded


@jit(inner=True)
def margins(shape, data, low, count, W, bias, scratch, ahead):
    """Leave in Z the margins of the rows order[low : low + count]; prefetch as many rows of the `RowRange` ahead.

    In any order: left to the hardware, sequential rows take twice the time.
    """
    gather(data, low, count, scratch)
    block, width, d = static(shape, "rows"), static(shape, "width"), data.d
    for i in range(0, count, width):
        store(scratch.Z, i, spread(shape, bias))
    whole = count - count % block
    for i in range(0, count):
        if i < whole and i % block == 0:
            dot_block(shape, "rows", data.X, scratch.offsets, i, W, d, scratch.Z)
        elif i >= whole:
            dot_block(shape, "one", data.X, scratch.offsets, i, W, d, scratch.Z)
        prefetch_rows(data.X, data.order, d, ahead.first + i, min(ahead.first + i + 1, ahead.end))
    for i in range(count, count + (-count) % width):
        scratch.y[i] = 0


@jit(inner=True)
def bias_of(shape, data, W):
    """Return the intercept among a lane's parameters W, or 0."""
    width = static(shape, "width")
    return W[(data.d + width - 1) // width * width] if data.intercept else W.dtype.type(0)


@jit(inner=True)
def add_gradient(shape, data, count, scratch, G):
    """Add to G the gradient of the rows that were gathered."""
    d, width, block = data.d, static(shape, "width"), static(shape, "group")
    j = 0
    while j + block <= d:
        outer_block(shape, "vectors", data.X, scratch.offsets, j, count, scratch.Z, G, j, block)
        j += block
    while j < d:
        outer_block(shape, "one", data.X, scratch.offsets, j, count, scratch.Z, G, j, min(width, d - j))
        j += width


@jit(inner=True)
def sum_rows(shape, data, first, last, ahead, scale, points, check, scratch):
    """Do for one lane what `tile_steps.sum_rows` does for a tile."""
    width, W, loss = static(shape, "width"), points.W, points.loss
    vectors, bias = (data.d + width - 1) // width, bias_of(shape, data, W)
    G, total, many = scratch.G, scratch.total, last - first > CHUNK_ROWS
    clear(shape, G, 0, vectors + 1)
    if many:
        clear(shape, total, 0, vectors + 1)
    loss[0] = check[0] = 0
    for low in range(first, last, CHUNK_ROWS):
        count = min(CHUNK_ROWS, last - low)
        following = RowRange(low + count, last) if low + count < last else ahead
        margins(shape, data, low, count, W, bias, scratch, following)
        if points.losses:
            call_at(data.losses, shape, scratch.Z, scratch.y, count, loss)
        call_at(data.residuals, shape, scratch.Z, scratch.y, count, scale, scratch.check)
        check[0] += scratch.check[0]
        if many:
            clear_chunk(shape, G, total, vectors + 1)
        add_gradient(shape, data, count, scratch, G)
        if data.intercept:
            for i in range(count):
                G[vectors * width] += scratch.Z[i]
        if many:
            add_chunk(shape, G, total, vectors + 1)
    if many:
        rounded(shape, total, G, vectors + 1)
