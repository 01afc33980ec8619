"""The steps of one or two lanes with batches of one dense row: all of a step in one kernel.

With few features a step takes tens of nanoseconds, of which each call would take five. So rule and loss are compiled
into the loop, at a second or two for each pair of them. As in `engine/linear/sweep_steps.py`, the update and the next
row's margin are one sweep over the parameters, here with vectors over features.
"""

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import load, load_some, spread, store, total, zeros
from fastgd.engine.linear.dense import turn_steps
from fastgd.engine.linear.single.feature_blocks import alone
from fastgd.engine.loss_kernels import derivative, weighed
from fastgd.engine.row_places import place_of, prefetch_rows, prefetch_targets
from fastgd.optimizers.rule_calls import lane, load_slots, rows, store_slots, update


@jit(inline="always")
def move(rule, shape, h, quantities, l2, state, at, stride, x, residual):
    """Take the step of a vector of parameters at `at`, whose gradient is x times the residual, and return them."""
    w = load(shape, state, at)
    w, slots = update(rule, h, quantities, w, x * residual + l2 * w, load_slots(rule, shape, state, at, stride))
    store(state, at, w)
    store_slots(rule, shape, state, at, stride, slots)
    return w


@jit(inner=True)
def margin(shape, X, first, d, W, bias):
    """Return the product of a row with the parameters W, and the intercept at `bias` where that is not negative.

    The sums are those of `lane_steps`, in the same order: where calls are cut changes no bits.
    """
    width = static(shape, "width")
    whole = d - d % width
    one = two = three = four = zeros(shape, W)
    j = 0
    while j + 4 * width <= whole:
        one, j = one + load(shape, X, first + j) * load(shape, W, j), j + width
        two, j = two + load(shape, X, first + j) * load(shape, W, j), j + width
        three, j = three + load(shape, X, first + j) * load(shape, W, j), j + width
        four, j = four + load(shape, X, first + j) * load(shape, W, j), j + width
    while j < whole:
        one, j = one + load(shape, X, first + j) * load(shape, W, j), j + width
    if j < d:
        two = two + load_some(shape, X, first + j, d - j) * load_some(shape, W, j, d - j)
    return total((one + two) + (three + four)) + (W[bias] if bias >= 0 else W.dtype.type(0))


@jit(inner=True)
def lane_steps(rule, loss, shape, begin_step, data, lanes, scratch, span, index, taken, steps):
    """Take some steps with one lane, from the one that is `taken` steps behind the span's first."""
    X, y, order, n, d, width = data.X, data.y, data.order, data.order.shape[0], data.d, static(shape, "width")
    state, hyper, exact, memory = lanes.state[index], lanes.hyper[index], lanes.exact[index], lanes.memory[index]
    bad = lanes.bad[index]
    scheduled, which, exact_c, c = lanes.scheduled.reshape(-1), lanes.which, scratch.exact_c, scratch.c
    of_weights, of_intercept = hyper[: hyper.shape[0] // 2], hyper[hyper.shape[0] // 2 :]
    numbers, columns = y.reshape(-1), static(loss, "columns")
    values, count, last = which.shape[1], lanes.state.shape[0], lanes.scheduled.shape[0] - 1
    whole, l2_at = d - d % width, static(rule, "hyper") * width
    padded = -(-d // width) * width
    stride, bias = padded + data.intercept * width, padded if data.intercept else -1
    now, slot = place_of(data, span.batch + taken, 0), 1
    z = margin(shape, X, now, d, state, bias)
    for step in range(taken, taken + steps):
        row = span.batch + step
        residual = derivative(loss, spread(shape, z), spread(shape, numbers[order[row] * columns]))
        check = total((spread(shape, z) + residual) * 0)
        if check != check and bad[0] == 0:
            bad[0] = span.t + step
        residual = residual * weighed(loss, numbers, order[row], 1.0)
        if begin_step:
            at = (min(step, last) * count + index) * values * width
            call_at(begin_step, shape, hyper, exact, scheduled, at, which, memory, span.t + step, exact_c, c)
        following, slot = place_of(data, min(row + 1, n - 1), slot), 1 - slot
        prefetch_rows(data.source, order, d, 0, padded, min(row + 4, n), min(row + 5, n))
        prefetch_targets(y, order, min(row + 4, n), min(row + 5, n))
        h, quantities = lane(rule, shape, of_weights, 0), rows(rule, shape, c, 0, "coefficients")
        l2 = load(shape, of_weights, l2_at)
        # Four sums: one would wait for each of its multiply-adds.
        one = two = three = four = zeros(shape, state)
        j = 0
        while j + 4 * width <= whole:
            w = move(rule, shape, h, quantities, l2, state, j, stride, load(shape, X, now + j), residual)
            one, j = one + load(shape, X, following + j) * w, j + width
            w = move(rule, shape, h, quantities, l2, state, j, stride, load(shape, X, now + j), residual)
            two, j = two + load(shape, X, following + j) * w, j + width
            w = move(rule, shape, h, quantities, l2, state, j, stride, load(shape, X, now + j), residual)
            three, j = three + load(shape, X, following + j) * w, j + width
            w = move(rule, shape, h, quantities, l2, state, j, stride, load(shape, X, now + j), residual)
            four, j = four + load(shape, X, following + j) * w, j + width
        while j < whole:
            w = move(rule, shape, h, quantities, l2, state, j, stride, load(shape, X, now + j), residual)
            one, j = one + load(shape, X, following + j) * w, j + width
        if j < d:
            x = load_some(shape, X, now + j, d - j)
            move(rule, shape, h, quantities, l2, state, j, stride, x, residual)
            # What stands behind the last parameter may be anything, where a rule divides by what is zero there.
            two = two + load_some(shape, X, following + j, d - j) * load_some(shape, state, j, d - j)
        z = total((one + two) + (three + four))
        if bias >= 0:
            own, of_all = lane(rule, shape, of_intercept, 0), load(shape, of_intercept, l2_at)
            gradient = alone(residual)
            move(rule, shape, own, quantities, of_all, state, bias, stride, gradient * 0 + 1, gradient)
            z = z + state[bias]
        now = following


@jit
def advance(rule, loss, shape, begin_step, data, lanes, scratch, span):
    """Take the steps of a `StepSpan`; a worker with several lanes takes some at a time with one after another."""
    some, taken = turn_steps(data, 1) if lanes.state.shape[0] > span.workers else span.steps, 0
    while taken < span.steps:
        steps = min(some, span.steps - taken)
        for index in range(span.worker, lanes.state.shape[0], span.workers):
            lane_steps(rule, loss, shape, begin_step, data, lanes, scratch, span, index, taken, steps)
        taken += steps
