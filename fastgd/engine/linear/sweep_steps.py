"""The steps of tiles with batches of a few dense rows: one sweep over the parameters a step.

With b = 1 a step has four operations a parameter, and walking the parameters twice, for the margins and for the update,
would cost more than these. So a sweep takes the rule's step of one batch and, with the parameters that it has just
made, the margins of the next: each parameter is loaded and stored once, and residuals and margins stay in registers. A
step of a row and 32 lanes takes some 0.3 microseconds, so what it works with is looked up before the first, and a tile
takes many steps at a time while their rows are in the cache.

The sums run in the order of `engine/linear/dense.py`: a sweep has the bits that its products have.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from fastgd.core.address_calls import address_of, call_at
from fastgd.core.compile import jit
from fastgd.core.static import Static, static
from fastgd.core.vectors import load, store, zeros
from fastgd.engine.arrays import RowRange
from fastgd.engine.linear.blocks import add_products, repeated, row_starts, weighted_rows
from fastgd.engine.linear.dense import add_intercept_gradient, products, turn_steps
from fastgd.engine.row_places import look_up, prefetch_rows, prefetch_targets
from fastgd.engine.row_sums import clear
from fastgd.engine.rule_kernels import calls_of
from fastgd.engine.rule_steps import not_finite, note_bad
from fastgd.engine.shapes import Shape
from fastgd.optimizers.rule import Rule
from fastgd.optimizers.rule_calls import lane, load_slots, rows, store_rows, store_slots, update

SWEEP_VECTORS = 2  # of lanes at a time: with more, what a rule knows of its lanes leaves the registers


class SweepShape(NamedTuple):
    """A compile-time constant of sweeps.

    lanes : of a tile, L
    width : lanes of a sweep; they divide the tile
    rows : of a batch
    """

    lanes: int
    width: int
    rows: int


@jit(inner=True)
def sweep(rule, shape, state, hyper, c, X, offsets, own, following, d, bias, stride, Z):
    """Take the step of the rows at offsets[own:], and leave the margins of those at offsets[following:] in Z (rows, L).

    Z holds the scaled residuals of the former. `bias`: where the intercept stands, or -1; it has taken its step.
    """
    L = static(shape, "lanes")
    l2_row = static(rule, "hyper") * L
    now, then = row_starts(shape, offsets, own), row_starts(shape, offsets, following)
    for v in range(0, L, static(shape, "width")):
        # What all parameters share is loaded before the loop: LLVM cannot know that the stores below do not change it.
        h, quantities = lane(rule, shape, hyper, v), rows(rule, shape, c, v, "coefficients")
        l2, residuals = load(shape, hyper, l2_row + v), rows(shape, shape, Z, v, "rows")
        sums = repeated(shape, load(shape, state, bias + v) if bias >= 0 else zeros(shape, state))
        for j in range(d):
            at = j * L + v
            w = load(shape, state, at)
            gradient = weighted_rows(X, now, j, residuals) + l2 * w
            w, slots = update(rule, h, quantities, w, gradient, load_slots(rule, shape, state, at, stride))
            store(state, at, w)
            store_slots(rule, shape, state, at, stride, slots)
            sums = add_products(X, then, j, w, sums)
        store_rows(shape, shape, Z, v, sums)


class SweepCalls(NamedTuple):
    """What sweeps call of a rule by address.

    rule : Calls
    sweep : the rule's step on a batch's features, and the next batch's margins
    """

    rule: Any
    sweep: Any


def sweep_calls_of(rule: Rule, shape: Shape, dtype: Any, b: int, *, scheduled: bool) -> SweepCalls:
    """Compile, or load from the cache, what sweeps of batches of b rows call of a rule."""
    array, offsets = (types.Array(each, 1, "C") for each in (numba.from_dtype(np.dtype(dtype)), types.int64))
    n = types.int64
    kind = numba.typeof(Static(SweepShape(shape.lanes, min(SWEEP_VECTORS * shape.width, shape.lanes), b)))
    given = (numba.typeof(Static(rule)), kind, array, array, array, array, offsets, n, n, n, n, n, array)
    return SweepCalls(calls_of(rule, shape, dtype, scheduled=scheduled), address_of(sweep, given))


@jit(inner=True)
def turn(calls, shape, data, lanes, scratch, span, tile, taken, steps):
    """Take some steps with one tile, from the one that is `taken` steps behind the span's first."""
    X, y, order, n, d, b = data.X, data.y, data.order, data.order.shape[0], data.d, span.batch_size
    residuals, begin_step, apply_rule, sweep_address = data.residuals, calls.rule.begin, calls.rule.apply, calls.sweep
    state, hyper, exact, memory = lanes.state[tile], lanes.hyper[tile], lanes.exact[tile], lanes.memory[tile]
    bad, scheduled, which, exact_c = lanes.bad[tile], lanes.scheduled.reshape(-1), lanes.which, scratch.exact_c
    of_weights, of_intercept = hyper[: hyper.shape[0] // 2], hyper[hyper.shape[0] // 2 :]
    Z, c, check, offsets, targets, G = scratch.Z, scratch.c, scratch.check, scratch.offsets, scratch.y, scratch.G
    L, kind, tiles, values = static(shape, "lanes"), X.dtype.type, lanes.state.shape[0], which.shape[1]
    intercept, last, ahead = data.intercept, lanes.scheduled.shape[0] - 1, tile == span.worker
    stride, bias = (d + intercept) * L, d * L if intercept else -1
    own, following = 0, b
    first = (span.batch + taken) * b
    look_up(data, first, min(b, n - first), b, offsets, own, targets)
    products(shape, X, offsets, b, d, state, bias, Z, data.source, order, RowRange(0, 0))
    for step in range(taken, taken + steps):
        start, t = (span.batch + step) * b, span.t + step
        count = min(b, n - start)
        call_at(residuals, shape, Z, targets, count, kind(1.0 / count), check)
        if not_finite(shape, check):
            note_bad(check, bad, t)
        clear(shape, Z, count * L, b - count)
        if begin_step:
            at = (min(step, last) * tiles + tile) * values * L
            call_at(begin_step, shape, hyper, exact, scheduled, at, which, memory, t, exact_c, c)
        if intercept:
            clear(shape, G, 0, 1)
            add_intercept_gradient(shape, b, Z, G, 0)
            call_at(apply_rule, shape, state, of_intercept, c, d, 1, stride, G, 0)
        look_up(data, start + b, min(b, n - start - b), b, offsets, following, targets)
        if ahead:
            prefetch_rows(data.source, order, d, 0, d, min(start + 2 * b, n), min(start + 3 * b, n))
            prefetch_targets(y, order, min(start + 2 * b, n), min(start + 3 * b, n))
        call_at(sweep_address, shape, state, of_weights, c, X, offsets, own, following, d, bias, stride, Z)
        own, following = following, own


@jit
def advance(calls, shape, data, lanes, scratch, span):
    """Take the steps of a `StepSpan`, some at a time with one tile after another."""
    some, taken = turn_steps(data, span.batch_size), 0
    while taken < span.steps:
        steps = min(some, span.steps - taken)
        for tile in range(span.worker, lanes.state.shape[0], span.workers):
            turn(calls, shape, data, lanes, scratch, span, tile, taken, steps)
        taken += steps
