"""The steps of dense cohorts with one or two lanes: one lane at a time, with vectors over features.

Nearly all of their time is spent on reading the data from memory, of which one processor reads half of what two do. So
batches of some rows are cut into two halves, whose gradients two threads sum side by side; they meet once a step, and
each takes the rule's step by itself, on its own copy of the lanes. The halves are there with one thread too, so that
bits do not depend on it.

A lane's parameters are padded to whole vectors; an intercept has a vector of its own, of which the first element
counts.
"""

from typing import Any, NamedTuple

from fastgd.core.address_calls import call_at
from fastgd.core.barrier import begin, meet, parted
from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import load, spread, store
from fastgd.engine.arrays import CHUNK_ROWS
from fastgd.engine.linear.dense import gather, prefetch_rows
from fastgd.engine.linear.feature_blocks import dot_block, outer_block
from fastgd.engine.row_sums import add_chunk, clear, clear_chunk, rounded
from fastgd.engine.rule_steps import begin_step, finish_batch


class Halves(NamedTuple):
    """What two workers know of each other's half of a batch; two steps have their sums in turn.

    counters : see `core.barrier`
    gradients : (2, halves, lanes, parameters * width)
    losses : (2, halves, lanes) float64, the sum over the half's rows
    checks : (2, halves, lanes), NaN where a residual was not finite
    """

    counters: Any
    gradients: Any
    losses: Any
    checks: Any


@jit(inner=True)
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
def sum_rows(shape, data, losses, first, last, following, scale, W, scratch):
    """Leave in `scratch.G` the gradient of the rows order[first:last], and in `scratch.loss` their losses.

    Return a number that is NaN where a residual was not finite. Rows from `following` on are prefetched.
    """
    width = static(shape, "width")
    vectors, bias = (data.d + width - 1) // width, bias_of(shape, data, W)
    G, total, many, finite = scratch.G, scratch.total, last - first > CHUNK_ROWS, scratch.G.dtype.type(0)
    clear(shape, G, 0, vectors + 1)
    if many:
        clear(shape, total, 0, vectors + 1)
    scratch.loss[0] = 0
    for low in range(first, last, CHUNK_ROWS):
        count = min(CHUNK_ROWS, last - low)
        ahead = low + count if low + count < last else following
        margins(shape, data, low, count, W, bias, scratch, ahead)
        if losses:
            call_at(data.losses, shape, scratch.Z, scratch.y, count, scratch.loss)
        call_at(data.residuals, shape, scratch.Z, scratch.y, count, scale, scratch.check)
        finite += scratch.check[0]
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
    return finite


@jit(inner=True)
def take_step(calls, shape, data, lanes, scratch, index, at, t, rows, check):
    """Take one lane's step from the gradient and the losses in a worker's scratch."""
    bad, scale = lanes.bad[index], data.X.dtype.type(1.0 / rows)
    if check != check and bad[0] == 0:
        bad[0] = t
    begin_step(calls, shape, lanes, index, at, t, scratch)
    scratch.loss[0] *= 1.0 / rows
    finish_batch(calls, shape, lanes, index, t, scale, scratch.G, scratch, True)  # no estimator needs the share


@jit
def advance(calls, shape, data, lanes, scratch, halves, span, halved):
    """Take the steps of a `StepSpan`.

    Where batches are `halved`, each worker sums one half of every batch for all lanes. If one has to wait for long,
    the first goes on alone and the second ends. Else each worker has lanes of its own.
    """
    n, b, count, worker, workers = data.y.shape[0], span.batch_size, lanes.state.shape[0], span.worker, span.workers
    counters, late = halves.counters, False
    if halved:
        begin(counters, worker)
    for step in range(span.steps):
        start, t, turn = (span.batch + step) * b, span.t + step, (span.t + step) % 2
        stop, at = min(start + b, n), min(step, lanes.scheduled.shape[0] - 1)
        rows, scale = stop - start, data.X.dtype.type(1.0 / (stop - start))
        if not halved:
            for index in range(worker, count, workers):
                check = sum_rows(shape, data, calls.losses, start, stop, stop, scale, lanes.state[index], scratch)
                take_step(calls, shape, data, lanes, scratch, index, at, t, rows, check)
            continue
        for half in range(worker, 2, workers):
            sum_half(shape, data, calls.losses, start, stop, b, half, turn, scale, lanes, scratch, halves)
        if workers == 2:
            late = meet(counters, worker, 1 - worker, t, late) and step > 0  # they begin as the threads do
            if parted(counters, worker, 1 - worker, t):
                if worker > 0:
                    return
                workers = 1
        for index in range(count):
            add(shape, halves.gradients[turn, 0, index], halves.gradients[turn, 1, index], scratch.G)
            scratch.loss[0] = halves.losses[turn, 0, index] + halves.losses[turn, 1, index]
            check = halves.checks[turn, 0, index] + halves.checks[turn, 1, index]
            take_step(calls, shape, data, lanes, scratch, index, at, t, rows, check)


@jit(inner=True)
def sum_half(shape, data, losses, start, stop, b, half, turn, scale, lanes, scratch, halves):
    """Sum one half of the batch order[start:stop] for all lanes; that of the next batch is prefetched."""
    middle = start + (stop - start + 1) // 2
    first, last = (start, middle) if half == 0 else (middle, stop)
    following = stop if half == 0 else stop + (min(b, data.y.shape[0] - stop) + 1) // 2
    for index in range(lanes.state.shape[0]):
        check = sum_rows(shape, data, losses, first, last, following, scale, lanes.state[index], scratch)
        copy(shape, scratch.G, halves.gradients[turn, half, index])
        halves.losses[turn, half, index], halves.checks[turn, half, index] = scratch.loss[0], check


@jit(inner=True)
def copy(shape, source, target):
    """Copy whole vectors."""
    for v in range(0, target.shape[0], static(shape, "width")):
        store(target, v, load(shape, source, v))


@jit(inner=True)
def add(shape, a, b, out):
    """Add whole vectors up."""
    for v in range(0, a.shape[0], static(shape, "width")):
        store(out, v, load(shape, a, v) + load(shape, b, v))
