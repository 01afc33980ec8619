"""The steps of dense cohorts with one or two lanes: one lane at a time, with vectors over features.

Nearly all of their time is spent on reading the data from memory, of which one processor reads half of what two do:
batches of some rows are shared by two threads (`batch_steps.py`).

A lane's parameters are padded to whole vectors; an intercept has a vector of its own, of which the first element
counts.
"""

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import spread, store
from fastgd.engine.arrays import RowRange
from fastgd.engine.linear.single.feature_blocks import dot_block, outer_block
from fastgd.engine.row_places import look_up, prefetch_rows, prefetch_targets, to_prefetch
from fastgd.engine.row_sums import add_chunk, clear, clear_chunk, rounded


@jit(inner=True, inline="late")
def vectors_of(shape, d):
    """Return the vectors that hold d features of a lane."""
    return (d + static(shape, "width") - 1) // static(shape, "width")


@jit(inner=True, inline="late")
def whole_vectors(shape, count):
    """Return the smallest number of whole vectors' elements that is at least `count`."""
    return vectors_of(shape, count) * static(shape, "width")


@jit(inner=True, inline="late")
def products(shape, X, offsets, count, d, W, bias, Z, source, order, ahead):
    """Leave in Z the margins of the rows at some offsets; without an intercept `bias` is -1.

    Meanwhile the rows of the `RowRange` ahead are prefetched, at most as many as are passed, in whichever order, as far
    as their last vectors reach: a load under a mask waits for all of its cache lines.
    """
    block, width, ahead = static(shape, "rows"), static(shape, "width"), to_prefetch(source, d, ahead)
    start, whole = W[bias] if bias >= 0 else W.dtype.type(0), count - count % block
    reach = whole_vectors(shape, d)
    for i in range(0, count, width):
        store(Z, i, spread(shape, start))
    for i in range(0, whole, block):
        prefetch_rows(source, order, d, 0, reach, ahead.first + i, min(ahead.first + i + block, ahead.end))
        dot_block(shape, "rows", X, offsets, i, W, d, Z)
    for i in range(whole, count):
        prefetch_rows(source, order, d, 0, reach, ahead.first + i, min(ahead.first + i + 1, ahead.end))
        dot_block(shape, "one", X, offsets, i, W, d, Z)


@jit(inner=True)
def margins(shape, data, low, count, W, scratch, ahead, fresh):
    """Leave in Z the margins of the rows order[low : low + count]; those of the `RowRange` ahead are prefetched.

    Where they are not `fresh`, they were looked up last.
    """
    bias = whole_vectors(shape, data.d) if data.intercept else -1
    if fresh:
        look_up(data, low, count, whole_vectors(shape, count), scratch.offsets, 0, scratch.y)
    prefetch_targets(data.y, data.order, ahead.first, min(ahead.first + count, ahead.end))
    products(shape, data.X, scratch.offsets, count, data.d, W, bias, scratch.Z, data.source, data.order, ahead)


@jit(inner=True, inline="late")
def add_gradients(shape, X, offsets, d, first, most, count, R, G):
    """Add to G the gradient of at most so many vectors of the d features, from the vector `first` on."""
    width, block = static(shape, "width"), static(shape, "group")
    j, end = first * width, min(d, (first + most) * width)
    while j + block <= end:
        outer_block(shape, "vectors", X, offsets, j, count, R, G, j - first * width, block)
        j += block
    while j < end:
        outer_block(shape, "one", X, offsets, j, count, R, G, j - first * width, min(width, d - j))
        j += width


@jit(inner=True, inline="late")
def add_intercept_gradient(shape, count, Z, G, g):  # noqa: ARG001 (as for tiles)
    """Add to G[g] the intercept's gradient: the sum of the residuals."""
    total = G[g]
    for i in range(count):
        total += Z[i]
    G[g] = total


@jit(inner=True)
def sum_rows(shape, data, first, last, ahead, scale, points, check, scratch, fresh):
    """Do for one lane what `tile_steps.sum_rows` does for a tile."""
    loss, vectors = points.loss, vectors_of(shape, data.d)
    G, total, many = scratch.G, scratch.total, last - first > data.chunk
    clear(shape, G, 0, vectors + 1)
    if many:
        clear(shape, total, 0, vectors + 1)
    loss[0] = check[0] = 0
    for low in range(first, last, data.chunk):
        count = min(data.chunk, last - low)
        following = RowRange(low + count, last) if low + count < last else ahead
        margins(shape, data, low, count, points.W, scratch, following, fresh or many)
        if points.losses:
            call_at(data.losses, shape, scratch.Z, scratch.y, count, loss)
        call_at(data.residuals, shape, scratch.Z, scratch.y, count, scale, scratch.check)
        check[0] += scratch.check[0]
        if many:
            clear_chunk(shape, G, total, vectors + 1)
        add_gradients(shape, data.X, scratch.offsets, data.d, 0, vectors, count, scratch.Z, G)
        if data.intercept:
            add_intercept_gradient(shape, count, scratch.Z, G, vectors * static(shape, "width"))
        if many:
            add_chunk(shape, G, total, vectors + 1)
    if many:
        rounded(shape, total, G, vectors + 1)
