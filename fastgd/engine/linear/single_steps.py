"""The steps of dense cohorts with one or two lanes: one lane at a time, with vectors over features.

Nearly all of their time is spent on reading the data from memory.

A lane's parameters are padded to whole vectors; an intercept has a vector of its own, of which the first element
counts.
"""

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import spread, store
from fastgd.engine.arrays import CHUNK_ROWS, Batch
from fastgd.engine.linear.dense import gather, prefetch_rows
from fastgd.engine.linear.feature_blocks import dot_block, outer_block
from fastgd.engine.row_sums import add_chunk, clear, clear_chunk, rounded
from fastgd.engine.rule_steps import begin_step, finish_batch


@jit
def margins(shape, data, low, count, W, bias, scratch, ahead):
    """Leave in Z the margins of the rows order[low : low + count]; prefetch as many rows from `ahead` on.

    In any order: left to the hardware, sequential rows take twice the time.
    """
    gather(data, low, count, scratch)
    block, width, d = static(shape, "rows"), static(shape, "width"), data.d
    n = data.order.shape[0]
    for i in range(0, count, width):
        store(scratch.Z, i, spread(shape, bias))
    whole = count - count % block
    for i in range(0, count):
        if i < whole and i % block == 0:
            dot_block(shape, "rows", data.X, scratch.offsets, i, W, d, scratch.Z)
        elif i >= whole:
            dot_block(shape, "one", data.X, scratch.offsets, i, W, d, scratch.Z)
        prefetch_rows(data.X, data.order, d, ahead + i, min(ahead + i + 1, n))
    for i in range(count, count + (-count) % width):
        scratch.y[i] = 0


@jit
def bias_of(shape, data, W):
    """Return the intercept among a lane's parameters W, or 0."""
    width = static(shape, "width")
    return W[(data.d + width - 1) // width * width] if data.intercept else W.dtype.type(0)


@jit
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


@jit(inline="always")
def lane_step(calls, shape, data, lanes, scratch, batch, index):
    """Take one step with one lane."""
    start, stop, _, t, at = batch
    width, state, bad = static(shape, "width"), lanes.state[index], lanes.bad[index]
    vectors = (data.d + width - 1) // width
    scale = data.X.dtype.type(1.0 / (stop - start))
    begin_step(calls, shape, lanes, index, at, t, scratch)
    G, total, many = scratch.G, scratch.total, stop - start > CHUNK_ROWS
    clear(shape, G, 0, vectors + 1)
    if many:
        clear(shape, total, 0, vectors + 1)
    scratch.loss[0] = 0
    for low in range(start, stop, CHUNK_ROWS):
        count = min(CHUNK_ROWS, stop - low)
        margins(shape, data, low, count, state, bias_of(shape, data, state), scratch, low + count)
        if calls.losses:
            call_at(data.losses, shape, (scratch.Z, scratch.y, count, scratch.loss))
        call_at(data.residuals, shape, (scratch.Z, scratch.y, count, scale, scratch.check))
        if scratch.check[0] != scratch.check[0] and bad[0] == 0:
            bad[0] = t
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
    scratch.loss[0] *= 1.0 / (stop - start)
    finish_batch(calls, shape, lanes, index, t, scale, G, scratch, True)  # without an estimator, the share is not used


@jit
def advance(calls, shape, data, lanes, scratch, span):
    """Take the steps of a `StepSpan` with one lane after another."""
    n, b = data.y.shape[0], span.batch_size
    for index in range(span.worker, lanes.state.shape[0], span.workers):
        for step in range(span.steps):
            start = (span.batch + step) * b
            stop, at = min(start + b, n), min(step, lanes.scheduled.shape[0] - 1)
            lane_step(calls, shape, data, lanes, scratch, Batch(start, stop, stop, span.t + step, at), index)
