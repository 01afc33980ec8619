"""The steps of tiles and single lanes with batches of some dense rows, whose gradient stays in the first-level cache.

The gradient is finished for a few features at a time and handed to the rule there. What a step works with is looked up
before the first, and a tile takes steps for as long as their rows stay in the second-level cache.

A row of L elements holds a feature of all lanes of a tile, or L features of a single lane.
"""

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.engine.arrays import MOST_BLOCK_ROWS, PLAIN, RowRange, by_shape
from fastgd.engine.linear import dense
from fastgd.engine.linear.dense import turn_steps
from fastgd.engine.linear.single import single_steps
from fastgd.engine.linear.tile_steps import recall
from fastgd.engine.row_places import look_up, prefetch_targets, takes_form
from fastgd.engine.row_sums import clear
from fastgd.engine.rule_steps import blend, not_finite, note_bad

BLOCKS_AT_ONCE = 4  # register blocks of features whose gradient is handed to the rule at once

products = by_shape(dense.products, single_steps.products)
add_gradients = by_shape(dense.add_gradients, single_steps.add_gradients)
add_intercept_gradient = by_shape(dense.add_intercept_gradient, single_steps.add_intercept_gradient)


@jit(inner=True)
def turn(calls, shape, data, lanes, scratch, span, tile, taken, steps):
    """Take some steps with one tile, from the one that is `taken` steps behind the span's first."""
    X, y, order, n, d, b = data.X, data.y, data.order, data.order.shape[0], data.d, span.batch_size
    intercept, residuals, begin_step, apply_rule = data.intercept, data.residuals, calls.begin, calls.apply
    state, hyper, exact, memory = lanes.state[tile], lanes.hyper[tile], lanes.exact[tile], lanes.memory[tile]
    bad, estimator, table, mean = lanes.bad[tile], lanes.estimator, lanes.table[tile], lanes.mean[tile]
    scheduled, which, exact_c = lanes.scheduled.reshape(-1), lanes.which, scratch.exact_c
    of_weights, of_intercept = hyper[: hyper.shape[0] // 2], hyper[hyper.shape[0] // 2 :]
    Z, c, check, offsets, targets, G = scratch.Z, scratch.c, scratch.check, scratch.offsets, scratch.y, scratch.G
    L, kind, tiles, values = static(shape, "lanes"), X.dtype.type, lanes.state.shape[0], which.shape[1]
    weights, last = d, lanes.scheduled.shape[0] - 1  # rows of L weights
    if static(shape, "single"):
        weights = single_steps.vectors_of(shape, d)
    stride, bias = (weights + intercept) * L, weights * L if intercept else -1
    at_once = static(shape, "rows") * BLOCKS_AT_ONCE
    for step in range(taken, taken + steps):
        start, t = (span.batch + step) * b, span.t + step
        count = min(b, n - start)
        scale, share = kind(1.0 / count), kind(count / n)
        if begin_step:
            at = (min(step, last) * tiles + tile) * values * L
            call_at(begin_step, shape, hyper, exact, scheduled, at, which, memory, t, exact_c, c)
        rows = single_steps.whole_vectors(shape, count) if static(shape, "single") else count + MOST_BLOCK_ROWS
        if steps > 1 or tile == span.worker:  # else they were looked up for the tile before
            look_up(data, start, count, rows, offsets, 0, targets)
        ahead = min(start + b + b, n) if tile == span.worker else 0
        prefetch_targets(y, order, start + b, ahead)
        products(shape, X, offsets, count, d, state, bias, Z, data.source, order, RowRange(start + b, ahead))
        call_at(residuals, shape, Z, targets, count, scale if estimator == PLAIN else kind(1.0), check)
        if not_finite(shape, check):
            note_bad(check, bad, t)
        if estimator != PLAIN:
            recall(shape, estimator, table, data.numbers, start, count, scale, Z)
        for first in range(0, weights, at_once):
            some = min(at_once, weights - first)
            clear(shape, G, 0, some)
            add_gradients(shape, X, offsets, d, first, some, count, Z, G)
            blend(shape, estimator, mean, first * L, some, share, G, 0)
            call_at(apply_rule, shape, state, of_weights, c, first, some, stride, G, 0)
        if intercept:
            clear(shape, G, 0, 1)
            add_intercept_gradient(shape, count, Z, G, 0)
            blend(shape, estimator, mean, weights * L, 1, share, G, 0)
            call_at(apply_rule, shape, state, of_intercept, c, weights, 1, stride, G, 0)


@jit
def advance(calls, shape, data, lanes, scratch, span):
    """Take the steps of a `StepSpan`, some at a time with one tile after another; where rows take their form, each."""
    some, taken = 1 if takes_form(data) else turn_steps(data, span.batch_size), 0
    while taken < span.steps:
        steps = min(some, span.steps - taken)
        for tile in range(span.worker, lanes.state.shape[0], span.workers):
            turn(calls, shape, data, lanes, scratch, span, tile, taken, steps)
        taken += steps
