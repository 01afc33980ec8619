"""What the drivers call of a rule: a few kernels, compiled for each rule and called by their addresses.

A driver (`engine/linear/block_steps.py`, `tile_steps.py`, `evaluation_steps.py`) walks the rows: register blocks,
gathering, prefetching, some seconds to compile. It is compiled once for a tile's shape, and calls what differs by
address (`call_at` in `core/address_calls.py`): of a rule `begin_step`, `weigh`, `conclude_round` and `apply_rule`, of a
loss `residuals` and `add_losses` (`engine/loss_kernels.py`). These are small kernels, specialised by the rule or the
loss as a compile-time constant: a rule compiles in a second instead of seven, and 45 rules share a driver. A call by
address costs what any call does, some ten times a batch; the times of an epoch did not move by more than what two runs
differ by. It also keeps users' classes out of the types of kernels that other processes load.

The address of a kernel is known once it is compiled or loaded in this process, and arrives as a number: the driver's
machine code is cached as any other. `call_at` checks that arrays are C-contiguous and makes whole numbers int64, which
is what `address_of` compiles for. The number leads to a row of two: where the code stands, and whether it has failed.
`call_at` notes an error there, and `Threads.run` raises it when the calls have ended: to leave the driver at once would
cost it a tenth.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from fastgd.core.address_calls import address_of
from fastgd.core.compile import jit
from fastgd.core.static import Static, static
from fastgd.core.vectors import cast, load, spread, store, wide
from fastgd.engine.shapes import Shape
from fastgd.optimizers.record import ALL_PARAMETERS
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
    rounds : ndarray (rounds, 3) int64
        `weigh` and `conclude_round` of each round of sums, and the scope of its sums, as `Rule.scopes` has it.
    losses : bool
        Whether the batch's loss is needed.
    apart : bool
        Whether groups of parameters have quantities of their own: a round does not sum over all of them.
    """

    begin: Any
    rounds: Any
    apply: Any
    losses: Any
    apart: Any


@jit(inner=True)
def put_scheduled(shape, hyper, exact, scheduled, first, which):
    """Put a step's values scheduled[first:] into both halves of `hyper`; `exact` and `scheduled` are float64."""
    L, half = static(shape, "lanes"), hyper.shape[0] // 2
    for v in range(0, L, static(shape, "width")):
        for part in range(2):
            for m in range(which.shape[1]):
                if which[part, m] >= 0:
                    at, number = part * half + which[part, m] * L + v, load(shape, scheduled, first + m * L + v)
                    store(exact, at, number)
                    store(hyper, at, cast(number, hyper))


@jit(inner=True)
def begin_step(rule, shape, hyper, exact, scheduled, first, which, memory, t, exact_c, c):
    """Put the scheduled values of step t, and prepare its quantities; what is exact is float64, and so is `memory`."""
    put_scheduled(shape, hyper, exact, scheduled, first, which)
    for v in range(0, static(shape, "lanes"), static(shape, "width")):
        prepare_step(rule, shape, exact, memory, exact_c, c, v, t)


@jit(inner=True)
def begin_unprepared_step(rule, shape, hyper, exact, scheduled, first, which, memory, t, exact_c, c):
    """Begin a step of a rule that prepares nothing: the same kernel for all of them."""
    put_scheduled(shape, hyper, exact, scheduled, first, which)


@jit(inner=True)
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


@jit(inner=True)
def conclude_round(step, shape, exact, memory, exact_c, c, t, v, sums, loss, across):
    """Conclude a round in the lanes at v from its sums and the batch's loss (L,) float64, and clear the sums.

    Where `across`, the lanes of a vector are parts of one lane.
    """
    totals = rows(step, shape, sums, 0, "sums")
    batch = spread(shape, loss[0]) if across else load(shape, loss, v)
    conclude_sums(step, shape, exact, memory, exact_c, c, v, t, totals, batch, across)
    store_rows(step, shape, sums, 0, no_sums(step, shape))


@jit(inner=True)
def apply_rule(rule, shape, state, hyper, c, feature, count, stride, G, g):
    """Take the step of `count` parameters in all lanes, from the gradient at G[g]; `hyper` is the half for them.

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


def calls_of(rule: Rule, shape: Shape, dtype: Any, *, scheduled: bool = True, layers: bool = False) -> Calls:
    """Compile, or load, what drivers of this shape call of a rule; `layers`: of a model that has some."""
    array = types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")
    table, exact = types.Array(types.int64, 2, "C"), types.Array(types.float64, 1, "C")
    n, kinds = types.int64, [numba.typeof(Static(rule)), numba.typeof(Static(shape.of_lanes))]
    apply = address_of(apply_rule, (*kinds, array, array, array, n, n, n, array, n))
    rounds = np.zeros((len(rule.functions.rounds), 3), np.int64)
    rounds[:, 2] = rule.scopes if layers else ALL_PARAMETERS
    for index, addresses in enumerate(rounds):
        step = (numba.typeof(Static(Round(rule, index))), kinds[1])
        addresses[0] = address_of(weigh, (*step, array, exact, exact, n, n, n, array, n, n, exact))
        conclude = (exact, exact, exact, array, n, n, exact, exact, types.boolean)
        addresses[1] = address_of(conclude_round, (*step, *conclude))
    given = (kinds[1], array, exact, exact, n, table, exact, n, exact, array)
    if rule.counts.quantities[0] or rule.memory:
        begin = address_of(begin_step, (kinds[0], *given))
    else:  # compiled where nothing is scheduled too, so that a schedule compiles nothing
        unprepared = address_of(begin_unprepared_step, (numba.typeof(Static("any rule")), *given))
        begin = unprepared if scheduled else 0
    return Calls(begin, rounds, apply, rule.batch_loss, layers and rule.apart)
