"""What the drivers call of a rule: a few kernels, compiled for each rule and called by their addresses.

A driver walks the rows, and is the same machine code for every rule; only these kernels are compiled for a rule, in a
second, where the driver takes several. A call by address costs what any call does.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from fastgd.core.compile import jit
from fastgd.core.static import Static, address_of, static
from fastgd.core.vectors import cast, load, prefetch, spread, store, wide
from fastgd.engine.coast.tree import CoastCalls, coast_calls_of
from fastgd.engine.shapes import Shape
from fastgd.optimizers.coasting import Coast
from fastgd.optimizers.rule import Round, Rule
from fastgd.optimizers.rule_calls import (
    add_terms,
    cast_all,
    conclude_sums,
    lane,
    load_slots,
    measure,
    no_sums,
    prepare_step,
    readout,
    rows,
    store_rows,
    store_slots,
    update,
)


class Calls(NamedTuple):
    """A rule's kernels by their addresses, and what it needs of a driver.

    begin, apply : int
        `begin` is 0 where there is nothing to do before a step.
    rounds : ndarray (rounds, 2) int64
        `weigh` and `conclude_round` of each round of sums.
    losses : bool
        Whether the batch's loss is needed.
    """

    begin: Any
    rounds: Any
    apply: Any
    losses: Any


@jit
def begin_step(rule, shape, hyper, exact, scheduled, first, which, memory, t, exact_c, c):
    """Put a step's values scheduled[first:] into both halves of `hyper`, and prepare the quantities of step t.

    What is exact is float64, and so are `scheduled` and `memory`.
    """
    L, half = static(shape, "lanes"), hyper.shape[0] // 2
    for v in range(0, L, static(shape, "width")):
        for part in range(2):
            for m in range(which.shape[1]):
                if which[part, m] >= 0:
                    at, number = part * half + which[part, m] * L + v, load(shape, scheduled, first + m * L + v)
                    store(exact, at, number)
                    store(hyper, at, cast(number, hyper))
        prepare_step(rule, shape, exact, memory, exact_c, c, v, t)


@jit
def weigh(step, shape, state, exact, exact_c, feature, count, stride, G, v, used, sums):
    """Add to `sums` (sums * width,) float64 the terms of some parameters in the lanes at v; the first `used` count.

    The terms are float64: squares of float32 numbers leave the range of these.
    """
    L = static(shape, "lanes")
    l2_row = static(step, "hyper") * L
    totals = rows(step, shape, sums, 0, "sums")
    for j in range(feature, feature + count):
        at = j * L + v
        w, l2 = wide(load(shape, state, at)), load(shape, exact, l2_row + v)
        slots = cast_all(load_slots(step, shape, state, at, stride), exact)
        quantities = rows(step, shape, exact_c, v, "quantities")
        h, gradient = lane(step, shape, exact, v), wide(load(shape, G, at)) + l2 * w
        totals = add_terms(totals, measure(step, h, quantities, w, gradient, slots, l2), used)
    store_rows(step, shape, sums, 0, totals)


@jit
def conclude_round(step, shape, exact, memory, exact_c, c, t, v, sums, loss, across):
    """Conclude a round in the lanes at v from its sums and the batch's loss (L,) float64, and clear the sums.

    Where `across`, the lanes of a vector are parts of one lane.
    """
    totals = rows(step, shape, sums, 0, "sums")
    batch = spread(shape, loss[0]) if across else load(shape, loss, v)
    conclude_sums(step, shape, exact, memory, exact_c, c, v, t, totals, batch, across)
    store_rows(step, shape, sums, 0, no_sums(step, shape))


@jit
def apply_rule(rule, shape, state, hyper, c, feature, count, stride, G, g):
    """The step of `count` parameters in all lanes, from the gradient at G[g]; `hyper` is the half for them.

    Called for several parameters at a time: a call passes some forty words.
    """
    L = static(shape, "lanes")
    l2_row = static(rule, "hyper") * L
    for j in range(count):
        for v in range(0, L, static(shape, "width")):
            at = (feature + j) * L + v
            w = load(shape, state, at)
            gradient = load(shape, G, g + j * L + v) + load(shape, hyper, l2_row + v) * w
            slots = load_slots(rule, shape, state, at, stride)
            quantities = rows(rule, shape, c, v, "coefficients")
            new, slots = update(rule, lane(rule, shape, hyper, v), quantities, w, gradient, slots)
            store(state, at, new)
            store_slots(rule, shape, state, at, stride, slots)


@jit
def apply_row(rule, shape, state, hyper, c, features, first, count, stride, X, R, ahead, more):
    """The step of the features of one row, whose gradients are X[first + u] R, with R (L,) the row's residuals.

    The parameters of the row that follows, features[ahead : ahead + more], are prefetched meanwhile.
    """
    L = static(shape, "lanes")
    l2_row, line = static(rule, "hyper") * L, 64 // state.itemsize
    # Slices: an index that might be negative costs a test.
    own, others, values = features[first : first + count], features[ahead : ahead + more], X[first : first + count]
    for v in range(0, L, static(shape, "width")):
        # What all features share is loaded once: the stores below might be to anywhere, for all that LLVM knows.
        h, quantities = lane(rule, shape, hyper, v), rows(rule, shape, c, v, "coefficients")
        l2, residual = load(shape, hyper, l2_row + v), load(shape, R, v)
        wanted = more if v % line == 0 else 0
        for u in range(count):
            if u < wanted:
                following = np.int64(others[u]) * L + v
                for part in range(1 + static(rule, "slots")):
                    prefetch(state, part * stride + following)
            at = np.int64(own[u]) * L + v
            w = load(shape, state, at)
            gradient = residual * values[u] + l2 * w
            new, slots = update(rule, h, quantities, w, gradient, load_slots(rule, shape, state, at, stride))
            store(state, at, new)
            store_slots(rule, shape, state, at, stride, slots)


@jit
def apply_touched(rule, shape, state, hyper, c, features, first, count, stride, G):
    """The step of some features, from their gradients G (features, L)."""
    L = static(shape, "lanes")
    l2_row = static(rule, "hyper") * L
    own = features[first : first + count]
    for v in range(0, L, static(shape, "width")):
        h, quantities = lane(rule, shape, hyper, v), rows(rule, shape, c, v, "coefficients")
        l2 = load(shape, hyper, l2_row + v)
        for u in range(count):
            at = np.int64(own[u]) * L + v
            w = load(shape, state, at)
            gradient = load(shape, G, u * L + v) + l2 * w
            new, slots = update(rule, h, quantities, w, gradient, load_slots(rule, shape, state, at, stride))
            store(state, at, new)
            store_slots(rule, shape, state, at, stride, slots)


@jit
def read_iterate(rule, shape, state, hyper, out, first, step):
    """Put the iterates that are reported into out (tiles, parameters * L), tiles first, first + step, ...

    state : (tiles, (1 + slots) * parameters * L); the state is not changed.
    """
    L, stride = static(shape, "lanes"), out.shape[1]
    for tile in range(first, out.shape[0], step):
        for at in range(0, stride, L):
            for v in range(0, L, static(shape, "width")):
                s = load_slots(rule, shape, state[tile], at + v, stride)
                h = lane(rule, shape, hyper[tile], v)
                store(out[tile], at + v, readout(rule, h, load(shape, state[tile], at + v), s))


def calls_of(rule: Rule, shape: Shape, dtype: Any, *, scheduled: bool = True) -> Calls:
    """Compile, or load, what drivers of this shape call of a rule."""
    array = types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")
    table, exact = types.Array(types.int64, 2, "C"), types.Array(types.float64, 1, "C")
    n, kinds = types.int64, [numba.typeof(Static(rule)), numba.typeof(Static(shape))]
    begin = address_of(begin_step, (*kinds, array, exact, exact, n, table, exact, n, exact, array))
    apply = address_of(apply_rule, (*kinds, array, array, array, n, n, n, array, n))
    rounds = np.zeros((len(rule.functions.rounds), 2), np.int64)
    for index, addresses in enumerate(rounds):
        step = (numba.typeof(Static(Round(rule, index))), kinds[1])
        addresses[0] = address_of(weigh, (*step, array, exact, exact, n, n, n, array, n, n, exact))
        conclude = (exact, exact, exact, array, n, n, exact, exact, types.boolean)
        addresses[1] = address_of(conclude_round, (*step, *conclude))
    prepares = scheduled or rule.counts.quantities[0] or rule.memory
    return Calls(begin if prepares else 0, rounds, apply, rule.batch_loss)


class SparseCalls(NamedTuple):
    """What sparse mini-batches call: the same, the rule's step on the features of a row or of a batch, and coasting.

    begin, row, touched, catch_up, remember, keep, read : int
        0 where there is nothing to do.
    shared : bool
        Whether the lanes share their matrices: see `engine.coast`.
    """

    begin: Any
    rounds: Any
    apply: Any
    losses: Any
    row: Any
    touched: Any
    catch_up: Any
    remember: Any
    keep: Any
    read: Any
    shared: Any


def sparse_calls_of(
    rule: Rule, shape: Shape, dtype: Any, *, scheduled: bool, rows: bool, coast: Coast | None
) -> SparseCalls:
    """Compile, or load, what sparse mini-batches call of a rule; `rows`: whether a batch is one row."""
    array = types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")
    features, n = types.Array(types.int32, 1, "C"), types.int64
    common = (numba.typeof(Static(rule)), numba.typeof(Static(shape)), array, array, array, features, n, n, n)
    calls = calls_of(rule, shape, dtype, scheduled=scheduled)
    row = address_of(apply_row, (*common, array, array, n, n)) if rows else 0
    touched = 0 if rows else address_of(apply_touched, (*common, array))
    more = coast_calls_of(coast, shape, dtype) if coast else CoastCalls(0, 0, 0, 0)
    return SparseCalls(*calls, row, touched, *more, bool(coast and coast.shared))
