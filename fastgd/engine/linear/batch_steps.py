"""Mini-batch steps one by one: the gradient of a batch is summed, then the rule takes its step.

Of tiles, of which each thread has some, or of lanes one at a time. Where there is a lane or a tile alone, two threads
share its batches: each is cut into two halves, whose gradients they sum side by side. They meet once a step, and each
takes the rule's step by itself, on its own copy of the lanes. The halves are there with one thread too, so that bits do
not depend on it.
"""

from typing import Any, NamedTuple

from fastgd.core.barrier import begin, meet, parted
from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import load, store
from fastgd.engine.arrays import PLAIN, Points, RowRange, by_shape
from fastgd.engine.linear import tile_steps
from fastgd.engine.linear.single import single_steps
from fastgd.engine.rule_steps import note_bad, take_step


class Halves(NamedTuple):
    """What two workers know of each other's half of a batch; two steps have their sums in turn.

    counters : see `core.barrier`
    gradients : (2, halves, tiles, parameters * L)
    losses : (2, halves, tiles, L) float64, the sum over the half's rows
    checks : (2, halves, tiles, L), NaN where a residual was not finite
    """

    counters: Any
    gradients: Any
    losses: Any
    checks: Any


sum_rows = by_shape(tile_steps.sum_rows, single_steps.sum_rows)


@jit
def advance(calls, shape, data, lanes, scratch, span):
    """Take the steps of a `StepSpan`.

    The worker walks the batches once and applies each to all of its tiles while the rows are in its cache.
    """
    tiles, n, b, check = lanes.state.shape[0], data.order.shape[0], span.batch_size, scratch.batch_check
    for step in range(span.steps):
        start, t = (span.batch + step) * b, span.t + step
        stop, at = min(start + b, n), min(step, lanes.scheduled.shape[0] - 1)
        scale, share = data.X.dtype.type(1.0 / (stop - start)), data.X.dtype.type((stop - start) / n)
        for tile in range(span.worker, tiles, span.workers):
            fresh = tile == span.worker
            ahead = RowRange(stop, min(stop + b, n) if fresh else stop)
            state, bad, table = lanes.state[tile], lanes.bad[tile], lanes.table[tile]
            points = Points(state, scratch.loss, calls.losses, lanes.estimator, table)
            sum_rows(shape, data, start, stop, ahead, scale, points, check, scratch, fresh)
            note_bad(check, bad, t)
            take_step(calls, shape, lanes, scratch, tile, at, t, stop - start, share)


@jit
def advance_halves(calls, shape, data, lanes, scratch, halves, span):
    """Take the steps of a `StepSpan`.

    Each worker sums one half of every batch for all tiles. If one has to wait for long, the first goes on alone and the
    second ends.
    """
    n, b, worker, workers = data.order.shape[0], span.batch_size, span.worker, span.workers
    counters, late, share = halves.counters, 0, data.X.dtype.type(1.0)  # no estimator needs the share of the rows
    begin(counters, worker)
    for step in range(span.steps):
        start, t, turn = (span.batch + step) * b, span.t + step, (span.t + step) % 2
        stop, at = min(start + b, n), min(step, lanes.scheduled.shape[0] - 1)
        for half in range(worker, 2, workers):
            sum_half(shape, data, calls.losses, start, stop, b, half, turn, lanes, scratch, halves)
        if workers == 2:
            late += meet(counters, worker, 1 - worker, t, late) and step > 0  # they begin as the threads do
            if parted(counters, worker, 1 - worker, t):
                if worker > 0:
                    return
                workers = 1
        for tile in range(lanes.state.shape[0]):
            bad = lanes.bad[tile]
            add(shape, halves.gradients[turn, 0, tile], halves.gradients[turn, 1, tile], scratch.G)
            add(shape, halves.losses[turn, 0, tile], halves.losses[turn, 1, tile], scratch.loss)
            add(shape, halves.checks[turn, 0, tile], halves.checks[turn, 1, tile], scratch.check)
            note_bad(scratch.check, bad, t)
            take_step(calls, shape, lanes, scratch, tile, at, t, stop - start, share)


@jit(inner=True)
def sum_half(shape, data, losses, start, stop, b, half, turn, lanes, scratch, halves):
    """Sum one half of the batch order[start:stop] for all tiles; that of the next batch is prefetched."""
    middle, scale, n = start + (stop - start + 1) // 2, data.X.dtype.type(1.0 / (stop - start)), data.order.shape[0]
    first, last = (start, middle) if half == 0 else (middle, stop)
    following = stop if half == 0 else stop + (min(b, n - stop) + 1) // 2
    for tile in range(lanes.state.shape[0]):
        loss, check = halves.losses[turn, half, tile], halves.checks[turn, half, tile]
        points = Points(lanes.state[tile], loss, losses, PLAIN, lanes.table[tile])
        sum_rows(shape, data, first, last, RowRange(following, n), scale, points, check, scratch, tile == 0)
        copy(shape, scratch.G, halves.gradients[turn, half, tile])


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
