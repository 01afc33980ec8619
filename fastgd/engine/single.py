"""Dense cohorts of very few lanes: one lane at a time, vectors over features. The data's way through memory is the
cost.

A lane's parameters are padded to whole vectors; an intercept has a vector of its own, of which the first element
counts.
"""

from fastgd._jit import jit
from fastgd._static import only_if, static
from fastgd._vectors import load, spread, store
from fastgd.engine.dense import CHUNK, apply_rule, begin_step, clear, gather, prefetch_rows, weigh
from fastgd.engine.feature_blocks import dot_block, outer_block
from fastgd.engine.losses import add_losses_of_rows, residuals_of_rows
from fastgd.optimizers._kernels import conclude, lane, load_slots, narrow, no_sums, readout, rows, store_rows


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


@only_if("sums")
def conclude_step(rule, shape, single, c, t, d, intercept, G, loss, scale):
    """Sum what the rule measures over a lane's parameters, and conclude its quantities; as in the tile kernel."""
    state, hyper, memory = single
    half, width = hyper.shape[0] // 2, static(shape, "width")
    whole, rest = d // width, d % width
    vectors = whole + (rest > 0)
    stride = (vectors + intercept) * width
    sums = no_sums(rule, shape)
    sums = weigh(rule, shape, state, hyper[:half], c, 0, whole, stride, G, 0, width, sums)
    sums = weigh(rule, shape, state, hyper[:half], c, whole, vectors - whole, stride, G, 0, rest, sums)
    sums = weigh(rule, shape, state, hyper[half:], c, vectors, int(intercept), stride, G, 0, 1, sums)
    totals = narrow(state, sums, True)
    h, m = lane(rule, shape, hyper, 0), rows(rule, shape, memory, 0, "memory")
    batch = narrow(state, (load(shape, loss, 0) * scale,), True)[0]
    quantities, kept = conclude(rule, h, rows(rule, shape, c, 0, "prepared"), t, m, totals, batch)
    store_rows(rule, shape, c, 0, quantities)
    store_rows(rule, shape, memory, 0, kept)


@only_if("batch_loss")
def note_losses(_need, loss, shape, Z, y, rows, out):
    """Add the losses of one lane's margins Z (rows,) to the first of `out`."""
    add_losses_of_rows(loss, shape, Z, y, rows, 1, out)


@jit
def lane_step(rule, shape, data, lanes, scratch, batch, index, intercept):
    """One step of one lane; batch: (first row, end, step t, index of the scheduled values)."""
    start, stop, t, at = batch
    width, d = static(shape, "width"), data.d
    state, hyper, bad = lanes.state[index], lanes.hyper[index], lanes.bad[index]
    vectors = (d + width - 1) // width
    stride, half = (vectors + intercept) * width, hyper.shape[0] // 2
    scale = data.X.dtype.type(1.0 / (stop - start))
    begin_step(rule, shape, hyper, lanes.scheduled[at, index], lanes.which, lanes.memory[index], t, scratch.c)
    clear(shape, scratch.G, 0, vectors + 1)
    clear(shape, scratch.loss, 0, 1)
    for low in range(start, stop, CHUNK):
        count = min(CHUNK, stop - low)
        margins(shape, data, low, count, state, bias_of(shape, state, d, intercept), scratch, low + count)
        note_losses(rule, data.loss, shape, scratch.Z, scratch.y, count, scratch.loss)
        residuals_of_rows(data.loss, shape, scratch.Z, scratch.y, count, scale, scratch.check)
        if scratch.check[0] != scratch.check[0] and bad[0] == 0:
            bad[0] = t
        add_gradient(shape, data, count, scratch, scratch.G)
        if intercept:
            for i in range(count):
                scratch.G[vectors * width] += scratch.Z[i]
    kept = (state, hyper, lanes.memory[index])
    conclude_step(rule, shape, kept, scratch.c, t, d, intercept, scratch.G, scratch.loss, 1.0 / (stop - start))
    apply_rule(rule, shape, state, hyper[:half], scratch.c, 0, vectors, stride, scratch.G, 0)
    if intercept:
        apply_rule(rule, shape, state, hyper[half:], scratch.c, vectors, 1, stride, scratch.G, vectors * width)


@jit
def advance(rule, shape, data, lanes, scratch, span, intercept):
    """Take steps with the lanes of one worker; span as in the tile kernel."""
    worker, workers, first, steps, t, b = span
    n = data.y.shape[0]
    for index in range(worker, lanes.state.shape[0], workers):
        for step in range(steps):
            start = (first + step) * b
            at = min(step, lanes.scheduled.shape[0] - 1)
            lane_step(rule, shape, data, lanes, scratch, (start, min(start + b, n), t + step, at), index, intercept)


@jit
def read_iterate(rule, shape, lanes, out):
    """Put the iterates that are reported into out (lanes, padded parameters); the state is not changed."""
    width, stride = static(shape, "width"), out.shape[1]
    for index in range(out.shape[0]):
        state, hyper = lanes.state[index], lanes.hyper[index]
        h = lane(rule, shape, hyper, 0)
        for at in range(0, stride, width):
            s = load_slots(rule, shape, state, at, stride)
            store(out[index], at, readout(rule, h, load(shape, state, at), s))
