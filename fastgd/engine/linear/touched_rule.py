"""What sparse mini-batches call by address: the rule's step on the features of a row or a batch, and coasting."""

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from fastgd.core.address_calls import address_of
from fastgd.core.compile import jit
from fastgd.core.static import Static, static
from fastgd.core.vectors import load, prefetch_lanes, store, zeros
from fastgd.engine.coast.tree import CoastCalls, coast_calls_of
from fastgd.engine.rule_kernels import calls_of
from fastgd.engine.shapes import Shape
from fastgd.optimizers.coasting import Coast
from fastgd.optimizers.rule import Rule
from fastgd.optimizers.rule_calls import lane, load_slots, rows, store_slots, update

# Cache lines of lanes at a time where a rule has no slots: what is looked up for an entry serves them all.
LINES_OF_PLAIN_RULES = 2


@jit(inner=True)
def apply_row(rule, shape, state, hyper, c, features, first, count, stride, frame, X, R, ahead, more):
    """Take the step of the features of one row, whose gradients are X[first + u] R, with R (L,) the row's residuals.

    frame : (2 * L,), by what a parameter is multiplied that is read, and written, where they are kept in a frame
    ahead, more : the parameters of the row that follows, features[ahead : ahead + more], are prefetched meanwhile
    """
    L = static(shape, "lanes")
    l2_row = static(rule, "hyper") * L
    # Slices, since an index that might be negative costs a test.
    own, others, values = features[first : first + count], features[ahead : ahead + more], X[first : first + count]
    for v in range(0, L, static(shape, "width")):
        # What all features share is loaded before the loop: LLVM cannot know that the stores below do not change it.
        h, quantities = lane(rule, shape, hyper, v), rows(rule, shape, c, v, "coefficients")
        l2, residual = load(shape, hyper, l2_row + v), load(shape, R, v)
        inside, outside = load(shape, frame, v), load(shape, frame, L + v)
        for u in range(count):
            if u < more:
                for part in range(1 + static(rule, "slots")):
                    prefetch_lanes(shape, "width", state, part * stride + np.int64(others[u]) * L + v)
            at = np.int64(own[u]) * L + v
            w = load(shape, state, at)
            if static(rule, "framed"):
                w = w * inside
            gradient = residual * values[u] + l2 * w
            new, slots = update(rule, h, quantities, w, gradient, load_slots(rule, shape, state, at, stride))
            if static(rule, "framed"):
                new = new * outside
            store(state, at, new)
            store_slots(rule, shape, state, at, stride, slots)


@jit(inner=True)
def add_row(rule, shape, state, hyper, c, features, first, count, stride, frame, X, R, ahead, more):
    """The same where a step adds a multiple of the row, whatever the parameters are: see `CohortSpec.adds_rows`."""
    L = static(shape, "lanes")
    own, others, values = features[first : first + count], features[ahead : ahead + more], X[first : first + count]
    for v in range(0, L, static(shape, "width")):
        h, quantities = lane(rule, shape, hyper, v), rows(rule, shape, c, v, "coefficients")
        residual = load(shape, R, v)
        multiple, _ = update(rule, h, quantities, zeros(shape, R), residual, load_slots(rule, shape, state, v, stride))
        if static(rule, "framed"):
            multiple = multiple * load(shape, frame, L + v)
        for u in range(count):
            if u < more:
                prefetch_lanes(shape, "width", state, np.int64(others[u]) * L + v)
            at = np.int64(own[u]) * L + v
            store(state, at, load(shape, state, at) + multiple * values[u])


@jit(inner=True)
def apply_touched(rule, shape, state, hyper, c, features, first, count, stride, frame, G):
    """Take the step of some features, from their gradients G (features, L); for `frame` see `apply_row`."""
    L = static(shape, "lanes")
    l2_row = static(rule, "hyper") * L
    own = features[first : first + count]
    for v in range(0, L, static(shape, "width")):
        h, quantities = lane(rule, shape, hyper, v), rows(rule, shape, c, v, "coefficients")
        l2 = load(shape, hyper, l2_row + v)
        inside, outside = load(shape, frame, v), load(shape, frame, L + v)
        for u in range(count):
            at = np.int64(own[u]) * L + v
            w = load(shape, state, at)
            if static(rule, "framed"):
                w = w * inside
            gradient = load(shape, G, u * L + v) + l2 * w
            new, slots = update(rule, h, quantities, w, gradient, load_slots(rule, shape, state, at, stride))
            if static(rule, "framed"):
                new = new * outside
            store(state, at, new)
            store_slots(rule, shape, state, at, stride, slots)


class SparseCalls(NamedTuple):
    """What sparse mini-batches call by address; 0 where there is nothing to do.

    rule : Calls
    row, touched : the rule's step on the features of a row, or of a batch
    coast : CoastCalls
    shared : whether the lanes share their matrices (see `engine.coast`)
    """

    rule: Any
    row: Any
    touched: Any
    coast: Any
    shared: Any


def sparse_calls_of(
    rule: Rule, shape: Shape, dtype: Any, *, scheduled: bool, rows: bool, adds: bool, coast: Coast | None
) -> SparseCalls:
    """Compile, or load, what sparse mini-batches call of a rule.

    rows, adds : whether a batch is one row, and a step adds a multiple of it
    """
    array = types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")
    features, n = types.Array(types.int32, 1, "C"), types.int64
    how = coast if coast and coast.framed else rule
    lines = 1 if rule.slots else LINES_OF_PLAIN_RULES * (1 + adds)
    wide = shape.of_lanes._replace(width=min(shape.lanes, lines * shape.width))
    kinds = (numba.typeof(Static(how)), numba.typeof(Static(wide)))
    common = (*kinds, array, array, array, features, n, n, n, array)
    calls = calls_of(rule, shape, dtype, scheduled=scheduled)
    row = address_of(add_row if adds else apply_row, (*common, array, array, n, n)) if rows else 0
    touched = 0 if rows else address_of(apply_touched, (*common, array))
    of_coast = coast_calls_of(coast, shape, dtype) if coast else CoastCalls()
    return SparseCalls(calls, row, touched, of_coast, bool(coast and coast.shared))
