"""Dense cohorts of very few lanes: one lane at a time, vectors over features. The data's way through memory is the
cost.

A lane's parameters are padded to whole vectors; an intercept has a vector of its own, of which the first element
counts.
"""

from fastgd.core.compile import jit
from fastgd.core.static import call_at, static
from fastgd.core.vectors import spread, store
from fastgd.engine.arrays import CHUNK
from fastgd.engine.linear.dense import gather, prefetch_rows
from fastgd.engine.linear.feature_blocks import dot_block, outer_block
from fastgd.engine.linear.sums import add_chunk, clear, clear_chunk, rounded
from fastgd.engine.linear.tile_steps import begin_step


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
        prefetch_rows(data, ahead + i, min(ahead + i + 1, n))
    for i in range(count, count + (-count) % width):
        scratch.y[i] = 0


@jit
def bias_of(shape, W, d, intercept):
    """The intercept among a lane's parameters, or 0."""
    width = static(shape, "width")
    return W[(d + width - 1) // width * width] if intercept else W.dtype.type(0)


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
def sum_rounds(calls, shape, state, exact, memory, scratch, t, d, intercept):
    """Sum what the rule measures over a lane's parameters, and conclude its quantities; as in the tile kernel."""
    half, width, G, exact_c, sums = (
        exact.shape[0] // 2,
        static(shape, "width"),
        scratch.G,
        scratch.exact_c,
        scratch.sums,
    )
    whole, rest = d // width, d % width
    vectors = whole + (rest > 0)
    stride = (vectors + intercept) * width
    for r in range(calls.rounds.shape[0]):
        weigh, conclude = calls.rounds[r, 0], calls.rounds[r, 1]
        call_at(weigh, shape, (state, exact[:half], exact_c, 0, whole, stride, G, 0, width, sums))
        call_at(weigh, shape, (state, exact[:half], exact_c, whole, vectors - whole, stride, G, 0, rest, sums))
        call_at(weigh, shape, (state, exact[half:], exact_c, vectors, int(intercept), stride, G, 0, 1, sums))
        call_at(conclude, shape, (exact, memory, exact_c, scratch.c, t, 0, sums, scratch.loss, True))


@jit(inline="always")
def lane_step(calls, shape, data, lanes, scratch, batch, index, intercept):
    """One step of one lane; batch: (first row, end, step t, index of the scheduled values)."""
    start, stop, t, at = batch
    width, d = static(shape, "width"), data.d
    state, hyper, bad = lanes.state[index], lanes.hyper[index], lanes.bad[index]
    vectors = (d + width - 1) // width
    stride, half = (vectors + intercept) * width, hyper.shape[0] // 2
    scale = data.X.dtype.type(1.0 / (stop - start))
    begin_step(calls, shape, lanes, index, at, t, scratch)
    G, total, many = scratch.G, scratch.total, stop - start > CHUNK
    clear(shape, G, 0, vectors + 1)
    if many:
        clear(shape, total, 0, vectors + 1)
    scratch.loss[0] = 0
    for low in range(start, stop, CHUNK):
        count = min(CHUNK, stop - low)
        margins(shape, data, low, count, state, bias_of(shape, state, d, intercept), scratch, low + count)
        if calls.losses:
            call_at(data.losses, shape, (scratch.Z, scratch.y, count, scratch.loss))
        call_at(data.residuals, shape, (scratch.Z, scratch.y, count, scale, scratch.check))
        if scratch.check[0] != scratch.check[0] and bad[0] == 0:
            bad[0] = t
        if many:
            clear_chunk(shape, G, total, vectors + 1)
        add_gradient(shape, data, count, scratch, G)
        if intercept:
            for i in range(count):
                G[vectors * width] += scratch.Z[i]
        if many:
            add_chunk(shape, G, total, vectors + 1)
    if many:
        rounded(shape, total, G, vectors + 1)
    scratch.loss[0] *= 1.0 / (stop - start)
    if calls.rounds.shape[0] > 0:
        sum_rounds(calls, shape, state, lanes.exact[index], lanes.memory[index], scratch, t, d, intercept)
    call_at(calls.apply, shape, (state, hyper[:half], scratch.c, 0, vectors, stride, G, 0))
    if intercept:
        call_at(calls.apply, shape, (state, hyper[half:], scratch.c, vectors, 1, stride, G, vectors * width))


@jit
def advance(calls, shape, data, lanes, scratch, span, intercept):
    """Take steps with the lanes of one worker; span as in the tile kernel."""
    worker, workers, first, steps, t, b = span
    n = data.y.shape[0]
    for index in range(worker, lanes.state.shape[0], workers):
        for step in range(steps):
            start = (first + step) * b
            at = min(step, lanes.scheduled.shape[0] - 1)
            lane_step(calls, shape, data, lanes, scratch, (start, min(start + b, n), t + step, at), index, intercept)
