"""How parameters that a batch does not touch are brought up to date: many steps as one product of small matrices.

A window of steps is kept as a tree of products: a leaf is the matrix of one step, a node that of its two children. The
product over any range is then made of a few nodes, without a division or a difference: exact to rounding for any
schedule, also where a factor is zero or negative. At the window's end all parameters are brought up to date.

Many steps are one product of matrices (`engine/coast/tree.py`). The matrices of a window of steps are the leaves of a
tree, a node is the product of its children, and a parameter that missed k steps needs at most `2 log2(k)` nodes; half
of them, those at the end of the range, are the same for all parameters, and are multiplied once a step. A first design
took differences of prefix sums and quotients of prefix products: they lose digits where decay is strong, and fail where
a factor is zero or negative, as `1 - lr l2` may be. A product needs neither, knows nothing of schedules to come, and is
the same wherever calls are cut. At a window's end all parameters are brought up to date, which costs a sixteenth of
what the entries do.

Where nothing that a step depends on changes, its matrix is the same in every step, and there is no tree: many steps are
a power of it (`engine/coast/powers.py`). Where these are powers of a positive number, a parameter is kept as what it
was when the window began, and the steps that touch it multiply by one power and divide by the next (`put_frame`).
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.extending import overload

from fastgd.core.address_calls import address_of
from fastgd.core.compile import jit
from fastgd.core.static import Static, static
from fastgd.core.vectors import load, store
from fastgd.engine.coast.matrices import (
    any_lane,
    bit_length,
    choose,
    compose,
    identity,
    node,
    pick,
    put_node,
    state_of_parameter,
    trailing_zeros,
    transform,
    unit,
    unknown_lanes,
)
from fastgd.engine.coast.powers import apply_power, power, put_powers
from fastgd.engine.shapes import Shape
from fastgd.optimizers.coasting import Coast, lift_of, lower_of
from fastgd.optimizers.rule_calls import lane, load_slots, readout, rows, store_slots, update
from fastgd.optimizers.rule_functions import jitable

# --- what the rule says -----------------------------------------------------------------------------------------------


def columns(coast, h, c, l2):
    """Return the step's matrix: what it does to each unit state."""
    raise NotImplementedError("called from kernels only")


def lift(coast, h, w, s):
    """Return what stands behind the parameter in the state: what the rule makes of its slots."""
    raise NotImplementedError("called from kernels only")


def lower(coast, h, s, y):
    """Return the slots that a state y stands for."""
    raise NotImplementedError("called from kernels only")


def drift(coast, shape, mean, at):
    """Return (the constant gradient that an estimator adds,), or ()."""
    raise NotImplementedError("called from kernels only")


@overload(columns, strict=False)
def _columns(coast, h, c, l2):
    step, size = jitable(coast.value.step), coast.value.size

    def from_column(k):
        second = k + 1
        if second > size:
            return lambda coast, h, c, l2: ()
        if second == size:
            return lambda coast, h, c, l2: (step(h, c, l2, unit(coast, l2, k)),)
        following = jitable(from_column(k + 2))  # two at a time: each of these is optimised with all that follow
        return lambda coast, h, c, l2: (
            step(h, c, l2, unit(coast, l2, k)),
            step(h, c, l2, unit(coast, l2, second)),
            *following(coast, h, c, l2),
        )

    return from_column(0)


@overload(lift, strict=False)
def _lift(coast, h, w, s):
    function = jitable(lift_of(coast.value.rule))
    return lambda coast, h, w, s: function(h, w, s)


@overload(lower, strict=False)
def _lower(coast, h, s, y):
    function = jitable(lower_of(coast.value.rule))
    return lambda coast, h, s, y: function(h, s, y)


@overload(drift, strict=False)
def _drift(coast, shape, mean, at):
    if coast.value.drift:
        return lambda coast, shape, mean, at: (load(shape, mean, at),)
    return lambda coast, shape, mean, at: ()


# --- the tree ---------------------------------------------------------------------------------------------------------


class Missed(NamedTuple):
    """The steps start <= i < end of a window of `size` steps, which a parameter at `at` of the state has missed."""

    start: Any
    end: Any
    size: Any
    at: Any


@jit(inner=True)
def keep_quantities(coast, shape, hyper, c, kept_c, kept_h, at):
    """Keep the quantities of the step `at` of the window, and the hyper-parameters where they are scheduled."""
    L = static(shape, "lanes")
    counts = (static(coast, "coefficients") * L, (static(coast, "hyper") + 1) * L)
    for v in range(0, counts[0], static(shape, "width")):
        store(kept_c, at * counts[0] + v, load(shape, c, v))
    if kept_h.shape[0] > 0:
        for v in range(0, counts[1], static(shape, "width")):
            store(kept_h, at * counts[1] + v, load(shape, hyper, v))


@jit(inner=True)
def matrix_of_step(coast, shape, hyper, c, nodes, v):
    """Return the matrix of a step in the lanes at v, from `hyper`, the half for weights, and the quantities c."""
    h, quantities = lane(coast, shape, hyper, v), rows(coast, shape, c, v, "coefficients")
    l2 = load(shape, hyper, static(coast, "hyper") * static(shape, "lanes") + v)
    return pick(coast, shape, nodes, columns(coast, h, quantities, l2))


@jit(inner=True)
def keep_matrix(coast, shape, hyper, c, nodes, rights, at, size):
    """Keep the matrix of the step `at` (from 0) of the window of `size` steps, with the products that it completes.

    `hyper` is the half for weights, after its scheduled values of the step, and c the step's quantities. Steady coasts
    know all of their products in the window's first step.
    """
    if static(coast, "steady") and at > 0:
        return
    ends, end = at + 1, 1 if static(coast, "shared") else static(shape, "lanes")
    for v in range(0, end, static(shape, "width")):
        leaf = matrix_of_step(coast, shape, hyper, c, nodes, v)
        if static(coast, "steady"):
            put_powers(coast, shape, nodes, size, v, leaf)
            continue
        put_node(coast, shape, nodes, size + at, v, leaf)
        level, completed = 1, trailing_zeros(ends)
        while level <= completed:
            later = node(coast, shape, nodes, (size + at) >> (level - 1), v)
            earlier = node(coast, shape, nodes, (size + at - (1 << (level - 1))) >> (level - 1), v)
            put_node(coast, shape, nodes, (size + at) >> level, v, compose(coast, later, earlier))
            level += 1
        # A range up to now ends with the nodes of its length's bits.
        right, end_, level = identity(coast, shape, nodes), ends, 0
        put_node(coast, shape, rights, 0, v, right)
        while end_ > 0:
            if end_ & 1:
                right = compose(coast, right, node(coast, shape, nodes, (size >> level) + end_ - 1, v))
            end_, level = end_ >> 1, level + 1
            put_node(coast, shape, rights, level, v, right)


@jit(inner=True)
def put_frame(coast, shape, powers, frame, now):
    """Put into frame (2 * L,) by what a parameter is multiplied that is read in the step `now` of a window, or written.

    What is kept of it is what it was when the window began.
    """
    L = static(shape, "lanes")
    for v in range(0, L, static(shape, "width")):
        store(frame, v, power(coast, shape, powers, now, v)[0])
        store(frame, L + v, 1 / power(coast, shape, powers, now + 1, v)[0])


@jit(inline="always")
def product_of_nodes(coast, shape, nodes, rights, start, end, size, v):
    """Return the matrix of the steps start <= i < end of the window, where `end` is now.

    From the start on, the nodes are as large as its last bits allow; where only the end's bits are left, their product
    is known. A loop over all levels would branch on bits, which no processor foresees.
    """
    matrix = identity(coast, shape, nodes)
    level, last = trailing_zeros(start), bit_length(start ^ end)
    while level < last:
        matrix = compose(coast, node(coast, shape, nodes, (size + start) >> level, v), matrix)
        start += 1 << level
        level, last = trailing_zeros(start), bit_length(start ^ end)
    return compose(coast, node(coast, shape, rights, last, v), matrix)


@jit(inner=True)
def apply_nodes(coast, shape, nodes, rights, start, end, size, v, x):
    """Return the state x after the steps start <= i < end, where each lane has its own matrices."""
    level, last = trailing_zeros(start), bit_length(start ^ end)
    while level < last:
        x = transform(coast, node(coast, shape, nodes, (size + start) >> level, v), x)
        start += 1 << level
        level, last = trailing_zeros(start), bit_length(start ^ end)
    return transform(coast, node(coast, shape, rights, last, v), x)


def product(coast, shape, nodes, rights, start, end, size, v):
    """Return the matrix of the steps start <= i < end of the window, where `end` is now."""
    raise NotImplementedError("called from kernels only")


def apply_product(coast, shape, nodes, rights, start, end, size, v, x):
    """Return the state x after these steps, where each lane has its own matrices."""
    raise NotImplementedError("called from kernels only")


def shared_matrix(coast, shape, nodes, rights, start, end, size):
    """Return the matrix of a range of steps where all lanes share it, else ()."""
    raise NotImplementedError("called from kernels only")


def state_after(coast, shape, nodes, rights, shared, ratio, start, end, size, v, x):
    """Return the state x after a range of steps."""
    raise NotImplementedError("called from kernels only")


@overload(product, strict=False, inline="always")
def _product(coast, shape, nodes, rights, start, end, size, v):
    if coast.value.steady:
        return lambda coast, shape, nodes, rights, start, end, size, v: power(coast, shape, nodes, end - start, v)
    return lambda coast, shape, nodes, rights, start, end, size, v: product_of_nodes(
        coast, shape, nodes, rights, start, end, size, v
    )


@overload(apply_product, strict=False, inline="always")
def _apply_product(coast, shape, nodes, rights, start, end, size, v, x):
    if coast.value.steady:
        return lambda coast, shape, nodes, rights, start, end, size, v, x: apply_power(
            coast, shape, nodes, end - start, v, x
        )
    return lambda coast, shape, nodes, rights, start, end, size, v, x: apply_nodes(
        coast, shape, nodes, rights, start, end, size, v, x
    )


@overload(shared_matrix, strict=False, inline="always")
def _shared_matrix(coast, shape, nodes, rights, start, end, size):
    if coast.value.shared:
        return lambda coast, shape, nodes, rights, start, end, size: product(
            coast, shape, nodes, rights, start, end, size, 0
        )
    return lambda coast, shape, nodes, rights, start, end, size: ()


@overload(state_after, strict=False, inline="always")
def _state_after(coast, shape, nodes, rights, shared, ratio, start, end, size, v, x):
    if not coast.value.shared and coast.value.series_starts:  # a series is summed over the whole range
        return lambda coast, shape, nodes, rights, shared, ratio, start, end, size, v, x: transform(
            coast, product(coast, shape, nodes, rights, start, end, size, v), x
        )
    if not coast.value.shared:
        return lambda coast, shape, nodes, rights, shared, ratio, start, end, size, v, x: apply_product(
            coast, shape, nodes, rights, start, end, size, v, x
        )

    def scaled(coast, shape, nodes, rights, shared, ratio, start, end, size, v, x):
        # The matrices are for a rate of 1; a step is the rate times a direction. It is taken from zero: the difference
        # of two parameters would lose digits, and large rates would show it.
        moved = transform(coast, shared, (x[0] * 0, *x[1:]))
        return (x[0] + moved[0] * load(shape, ratio, v), *moved[1:])

    return scaled


@jit(inner=True)
def replay(coast, shape, hyper, kept_c, kept_h, start, end, v, w, s):
    """Return a parameter and its slots after steps that are taken one by one."""
    L = static(shape, "lanes")
    scheduled = kept_h.shape[0] > 0
    for i in range(start, end):
        c = rows(coast, shape, kept_c, i * static(coast, "coefficients") * L + v, "coefficients")
        h = (
            lane(coast, shape, kept_h, i * (static(coast, "hyper") + 1) * L + v)
            if scheduled
            else lane(coast, shape, hyper, v)
        )
        w, s = update(coast, h, c, w, w * 0, s)
    return w, s


def replay_unknown(coast, shape, nodes, rights, kept_c, kept_h, horizon, hyper, missed, v, y, before, after):
    """Return `after`, a parameter and its slots; where the state y was unknown, take the steps one by one instead."""
    raise NotImplementedError("called from kernels only")


@overload(replay_unknown, strict=False, inline="always")
def _replay_unknown(coast, shape, nodes, rights, kept_c, kept_h, horizon, hyper, missed, v, y, before, after):
    if not coast.value.replays:
        return lambda coast, shape, nodes, rights, kept_c, kept_h, horizon, hyper, missed, v, y, before, after: after
    rests = 0 in coast.value.ones  # a parameter stays where it is once its slots no longer move it

    def mended(coast, shape, nodes, rights, kept_c, kept_h, horizon, hyper, missed, v, y, before, after):
        unknown = unknown_lanes(before[0], y, after[0])
        if not any_lane(unknown):
            return after
        start, end, size, _ = missed
        stop = min(end, start + horizon)
        w, s = replay(coast, shape, hyper, kept_c, kept_h, start, stop, v, before[0], before[1])
        if stop < end:
            s = after[1]
            if not rests:
                w = apply_product(coast, shape, nodes, rights, stop, end, size, v, state_of_parameter(coast, w))[0]
        return np.where(unknown, w, after[0]), choose(unknown, s, after[1])

    return mended


@jit(inline="always")
def coasted(coast, shape, nodes, rights, ratio, kept_c, kept_h, horizon, shared, mean, hyper, missed, v, w, s):
    """Return a parameter and its slots after the steps that it has missed, in the lanes at v.

    nodes, rights, ratio, kept_c, kept_h are the tile's rows of `WindowArrays`. They are arguments of their own, since
    taking an array out of a tuple would count its references.
    """
    start, end, size, at = missed
    h = lane(coast, shape, hyper, v)
    y = lift(coast, h, w, s)
    x = (w, *y, *drift(coast, shape, mean, at))
    x = state_after(coast, shape, nodes, rights, shared, ratio, start, end, size, v, x)
    after = (x[0], lower(coast, h, s, x[1:]))
    return replay_unknown(coast, shape, nodes, rights, kept_c, kept_h, horizon, hyper, missed, v, y, (w, s), after)


@jit(inner=True)
def catch_up(
    coast, shape, state, hyper, mean, features, first, count, stride, last, nodes, rights, ratio, kept_c, kept_h,
    horizon, now, size,
):  # fmt: skip
    """Bring the parameters of some features up to date: to `now` steps of the window; they take the next step, too."""
    L = static(shape, "lanes")
    own = features[first : first + count]
    for u in range(count):
        j = np.int64(own[u])
        start = np.int64(last[np.uint64(j)])
        last[np.uint64(j)] = now + 1
        if start < now:
            shared = shared_matrix(coast, shape, nodes, rights, start, now, size)
            for v in range(0, L, static(shape, "width")):
                at = j * L + v
                w, s = load(shape, state, at), load_slots(coast, shape, state, at, stride)
                missed = Missed(start, now, size, at)
                w, s = coasted(
                    coast,
                    shape,
                    nodes,
                    rights,
                    ratio,
                    kept_c,
                    kept_h,
                    horizon,
                    shared,
                    mean,
                    hyper,
                    missed,
                    v,
                    w,
                    s,
                )
                store(state, at, w)
                store_slots(coast, shape, state, at, stride, s)


@jit(inner=True)
def read_block(coast, shape, state, hyper, count, stride, out, at):
    """Put the iterates of `count` parameters that are reported into out[at:]."""
    L = static(shape, "lanes")
    for v in range(0, L, static(shape, "width")):
        h = lane(coast, shape, hyper, v)
        for j in range(0, count * L, L):
            slots = load_slots(coast, shape, state, j + v, stride)
            store(out, at + j + v, readout(coast, h, load(shape, state, j + v), slots))


class CoastCalls(NamedTuple):
    """What is called where parameters coast, by address; 0 where there is nothing to do."""

    catch_up: Any = 0
    keep_matrix: Any = 0
    keep_quantities: Any = 0
    read_block: Any = 0
    put_frame: Any = 0


def coast_calls_of(coast: Coast, shape: Shape, dtype: Any) -> CoastCalls:
    """Compile, or load from the cache, what drivers of this shape call."""
    array, n = types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C"), types.int64
    features, kinds = (
        types.Array(types.int32, 1, "C"),
        (numba.typeof(Static(coast)), numba.typeof(Static(shape.of_lanes))),
    )
    window, whole = (array,) * 5, numba.typeof(Static(shape.of_lanes._replace(width=shape.lanes)))
    touched = (array, array, array, features, n, n, n, features, *window, n, n, n)
    return CoastCalls(
        address_of(catch_up, (*kinds, *touched)),
        address_of(keep_matrix, (*kinds, array, array, array, array, n, n)),
        address_of(keep_quantities, (*kinds, array, array, array, array, n)) if coast.replays else 0,
        address_of(read_block, (*kinds, array, array, n, n, array, n)),
        address_of(put_frame, (kinds[0], whole, array, array, n)) if coast.framed else 0,
    )
