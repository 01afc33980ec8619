"""The steps of dense cohorts with few lanes, where two threads share each batch.

Batches of some rows are cut into two halves, whose gradients two threads sum side by side; they meet once a step, and
each takes the rule's step by itself, on its own copy of the lanes. The halves are there with one thread too, so that
bits do not depend on it.
"""

from typing import Any, NamedTuple

from numba.extending import intrinsic

from fastgd.core.barrier import begin, meet, parted
from fastgd.core.compile import jit
from fastgd.core.static import static, typed_call, with_parameters_of
from fastgd.core.vectors import load, store
from fastgd.engine.linear import single_steps, tile_steps
from fastgd.engine.rule_steps import take_step


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


def _of_shape(typingctx, shape, *others):
    chosen = single_steps.sum_rows if shape.value.single else tile_steps.sum_rows
    return typed_call(typingctx, chosen, (shape, *others), range(1 + len(others)))


sum_rows = intrinsic(with_parameters_of(tile_steps.sum_rows.py_func, _of_shape))


@jit
def advance(calls, shape, data, lanes, scratch, halves, span):
    """Take the steps of a `StepSpan`.

    Each worker sums one half of every batch for all tiles. If one has to wait for long, the first goes on alone and the
    second ends.
    """
    n, b, worker, workers = data.y.shape[0], span.batch_size, span.worker, span.workers
    counters, late = halves.counters, False
    begin(counters, worker)
    for step in range(span.steps):
        start, t, turn = (span.batch + step) * b, span.t + step, (span.t + step) % 2
        stop, at = min(start + b, n), min(step, lanes.scheduled.shape[0] - 1)
        for half in range(worker, 2, workers):
            sum_half(shape, data, calls.losses, start, stop, b, half, turn, lanes, scratch, halves)
        if workers == 2:
            late = meet(counters, worker, 1 - worker, t, late) and step > 0  # they begin as the threads do
            if parted(counters, worker, 1 - worker, t):
                if worker > 0:
                    return
                workers = 1
        for tile in range(lanes.state.shape[0]):
            add(shape, halves.gradients[turn, 0, tile], halves.gradients[turn, 1, tile], scratch.G)
            add(shape, halves.losses[turn, 0, tile], halves.losses[turn, 1, tile], scratch.loss)
            add(shape, halves.checks[turn, 0, tile], halves.checks[turn, 1, tile], scratch.check)
            take_step(calls, shape, lanes, scratch, scratch.check, tile, at, t, stop - start)


@jit
def sum_half(shape, data, losses, start, stop, b, half, turn, lanes, scratch, halves):
    """Sum one half of the batch order[start:stop] for all tiles; that of the next batch is prefetched."""
    middle, scale = start + (stop - start + 1) // 2, data.X.dtype.type(1.0 / (stop - start))
    first, last = (start, middle) if half == 0 else (middle, stop)
    following = stop if half == 0 else stop + (min(b, data.y.shape[0] - stop) + 1) // 2
    for tile in range(lanes.state.shape[0]):
        loss, check = halves.losses[turn, half, tile], halves.checks[turn, half, tile]
        sum_rows(shape, data, losses, first, last, following, scale, lanes.state[tile], loss, check, scratch)
        copy(shape, scratch.G, halves.gradients[turn, half, tile])


@jit
def copy(shape, source, target):
    """Copy whole vectors."""
    for v in range(0, target.shape[0], static(shape, "width")):
        store(target, v, load(shape, source, v))


@jit
def add(shape, a, b, out):
    """Add whole vectors up."""
    for v in range(0, a.shape[0], static(shape, "width")):
        store(out, v, load(shape, a, v) + load(shape, b, v))
