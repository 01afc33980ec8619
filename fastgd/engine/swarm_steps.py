"""The steps of a swarm: many starts on a landscape, a vector of lanes at a time, many steps without touching memory.

A **group** is a vector of lanes with all that it needs in one contiguous block: d coordinates, the rule's slots of
each, the numbers that the rule keeps for each trial, and two marks of the tolerance. Where there are few coordinates
the block is copied to registers, steps are taken there, and it is written back.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from fastgd._jit import jit
from fastgd._noise import normal
from fastgd._static import static
from fastgd._vectors import load, store, wide, zeros
from fastgd.engine.points import Point, point
from fastgd.optimizers._compose import jitable
from fastgd.optimizers._kernels import (
    add_terms,
    conclude,
    lane,
    measure,
    narrow,
    no_sums,
    prepare,
    prepare_step,
    rows,
    store_rows,
    update,
)
from fastgd.problems import Landscape

CHUNK = 32  # steps of which a table of hyper-parameters and quantities is made: it stays in the first-level cache
BLOCK = 64  # groups that go through the chunks together: their states stay in the second-level cache
SMALL = 4  # coordinates that are copied to registers


class SwarmShape(NamedTuple):
    """The shape of a group: a compile-time constant.

    Attributes
    ----------
    lanes, width : int
        Lanes of a group, which is one vector.
    dimension : int
        The landscape's, where its coordinates are copied to registers; else 0.
    slots : int
        Of the rule.
    noisy, tracked, projected : bool
        Whether gradients have noise; whether steps to the tolerance are counted; whether points stay in the box.
    """

    lanes: int
    width: int
    dimension: int
    slots: int
    noisy: bool
    tracked: bool
    projected: bool

    @property
    def one(self) -> int:
        """A number for each coordinate."""
        return 1


class Groups(NamedTuple):
    """The arrays of a swarm that the kernels work on.

    Attributes
    ----------
    state : ndarray (groups, numbers * width)
        The groups' blocks.
    hyper : ndarray (owners, hyper * width)
        The hyper-parameters of the lanes.
    owner : ndarray (groups,) int64
        The row of `hyper` that is a group's.
    keys : ndarray (groups * width,) uint64
        What the lanes' noise is keyed by.
    died : ndarray (groups * width,) int64
        The first step after which a lane was not finite, or 0.
    """

    state: Any
    hyper: Any
    owner: Any
    keys: Any
    died: Any


class Terrain(NamedTuple):
    """A landscape's numbers.

    Attributes
    ----------
    p : NamedTuple
        Its parameters.
    box : ndarray (d, 2)
        Where points stay, if they are to.
    noise : float
        The scale of the gradient's noise.
    threshold : float
        The value at which the tolerance is reached.
    """

    p: Any
    box: Any
    noise: Any
    threshold: Any


class Work(NamedTuple):
    """What a worker works in.

    Attributes
    ----------
    table : ndarray (CHUNK * stride,)
        A row for each step: hyper-parameters, then quantities.
    stride : int
    saved : ndarray
        A group's block before a chunk of steps.
    scratch : ndarray (d * width,)
        A gradient.
    memory : ndarray (numbers * width,)
        What the rule keeps for each trial.
    """

    table: Any
    stride: Any
    saved: Any
    scratch: Any
    memory: Any


class Values(NamedTuple):
    """The scheduled hyper-parameters of the steps from some step on.

    Attributes
    ----------
    values : ndarray (steps, m)
        A value, or of the rate a factor.
    which : ndarray (m,) int64
        The rows of the hyper-parameters.
    rate : int
        The column that is a factor of the rate, or -1.
    """

    values: Any
    which: Any
    rate: Any


# --- landscapes on vectors --------------------------------------------------------------------------------------------


def value(landscape, p, x):
    """Return a landscape's value, a Static, at x."""
    raise NotImplementedError("called from kernels only")


def gradient(landscape, p, x, g):
    """Fill g with the gradient at x."""
    raise NotImplementedError("called from kernels only")


def step_gradient(landscape, p, x, t, g):
    """Fill g with the gradient that step t gets at x."""
    raise NotImplementedError("called from kernels only")


def _compiled(landscape: Landscape, function: Any) -> Any:
    """Return a landscape's function for kernels, and make those known that it calls."""
    for helper in landscape.helpers:
        jitable(helper)
    return jitable(function)


@overload(value, strict=False)
def _value(landscape, p, x):
    function = _compiled(landscape.value, landscape.value.value)
    return lambda landscape, p, x: function(p, x)


@overload(gradient, strict=False)
def _gradient(landscape, p, x, g):
    dtype = str(x.vector.element)
    function = _compiled(landscape.value, landscape.value.gradient_for(dtype))
    return lambda landscape, p, x, g: function(p, x, g)


@overload(step_gradient, strict=False)
def _step_gradient(landscape, p, x, t, g):
    if not landscape.value.online:
        return lambda landscape, p, x, t, g: gradient(landscape, p, x, g)
    function = _compiled(landscape.value, landscape.value.gradient_at)
    return lambda landscape, p, x, t, g: function(p, x, t, g)


# --- slots of a coordinate --------------------------------------------------------------------------------------------


@intrinsic
def pick(typingctx, rule, s, j, d):
    """`pick(rule, s, j, d)`: the slots of coordinate j, from a point of d numbers for each slot."""
    count = rule.value.slots
    result = types.UniTuple(s.vector, count)

    def codegen(context, builder, sig, args):
        pointers = _slots_at(context, builder, s, args[1:], count)
        align = s.vector.element.bitwidth // 8
        return context.make_tuple(builder, result, [builder.load(pointer, align=align) for pointer in pointers])

    return result(rule, s, types.intp, types.intp), codegen


@intrinsic
def put(typingctx, rule, s, j, d, slots):
    """Store what `pick` loads."""
    count = rule.value.slots

    def codegen(context, builder, sig, args):
        values = cgutils.unpack_tuple(builder, args[4]) if count else ()
        align = s.vector.element.bitwidth // 8
        for pointer, item in zip(_slots_at(context, builder, s, args[1:4], count), values, strict=True):
            builder.store(item, pointer, align=align)
        return context.get_dummy_value()

    return types.void(rule, s, types.intp, types.intp, slots), codegen


def _slots_at(context, builder, kind: Point, args, count: int):
    struct = cgutils.create_struct_proxy(kind)(context, builder, value=args[0])
    at, pointers = args[1], []
    for _ in range(count):
        pointers.append(builder.gep(struct.data, [at]))
        at = builder.add(at, args[2])
    return pointers


# --- rules that sum over the coordinates ------------------------------------------------------------------------------


@jit
def one_round(step, shape, like, h, c, t, m, x, g, s, f):
    """The quantities and the memory after a round of sums."""
    d, nothing = len(x), zeros(shape, like)
    sums = no_sums(step, shape)
    for j in range(d):
        terms = measure(step, h, c, x[j], g[j], pick(step, s, j, d), nothing)
        sums = add_terms(sums, terms, static(shape, "width"))
    return conclude(step, h, c, t, m, narrow(like, sums, False), f)


@jit
def after_rounds(rule, first, second, shape, like, h, t, m, x, g, s, f):
    """The quantities of a step and the memory after it, for a rule with one round of sums or two."""
    c, m = prepare(rule, h, t, m)
    concluded, kept = one_round(first, shape, like, h, c, t, m, x, g, s, f)
    if second is None:
        return concluded, kept
    return one_round(second, shape, like, h, concluded, t, kept, x, g, s, f)


# --- steps ------------------------------------------------------------------------------------------------------------


@jit
def copy(shape, array, first, x):
    """Copy the numbers of an array to a point; nothing, where that is where they are."""
    if static(shape, "dimension"):
        for j in range(len(x)):
            x[j] = load(shape, array, first + j * static(shape, "width"))


@jit
def copy_back(shape, x, array, first):
    """Copy a point to where it came from."""
    if static(shape, "dimension"):
        for j in range(len(x)):
            store(array, first + j * static(shape, "width"), x[j])


@jit
def run_group(rule, landscape, first, second, shape, terrain, state, table, stride, keys, scratch, t, steps):
    """Take steps t + 1 ... t + steps of a group.

    state : the group's block; table : a row for each step, `stride` apart: hyper-parameters, then quantities.
    keys : (width,); scratch : room for a gradient.
    """
    W = static(shape, "width")
    d = terrain.box.shape[0]
    hyper = static(rule, "hyper") * W
    slots, numbers = static(rule, "slots"), static(rule, "numbers")
    x = point(shape, state, 0, d, "one")
    s = point(shape, state, d * W, slots * d, "slots")
    g = point(shape, scratch, 0, d, "one")
    d = len(x)
    memory = state[(1 + slots) * d * W :]
    copy(shape, state, 0, x)
    copy(shape, state, d * W, s)
    m = rows(rule, shape, memory, 0, "numbers")
    waits, count = load(shape, memory, numbers * W), load(shape, memory, (numbers + 1) * W)
    for k in range(steps):
        h = lane(rule, shape, table, k * stride)
        f = zeros(shape, state)
        if static(shape, "tracked") or static(rule, "batch_loss"):
            f = value(landscape, terrain.p, x)
        if static(shape, "tracked"):
            waits = np.where(f > terrain.threshold, waits, 0)
            count = count + waits
        step_gradient(landscape, terrain.p, x, t + k + 1, g)
        if static(shape, "noisy"):
            for j in range(d):
                g[j] = g[j] + terrain.noise * normal(shape, state, keys, 0, (t + k) * d + j)
        if first is None:
            c = rows(rule, shape, table, k * stride + hyper, "coefficients")
        else:
            c, m = after_rounds(rule, first, second, shape, state, h, t + k + 1, m, x, g, s, f)
        for j in range(d):
            moved, kept = update(rule, h, c, x[j], g[j], pick(rule, s, j, d))
            if static(shape, "projected"):
                moved = np.minimum(np.maximum(moved, terrain.box[j, 0]), terrain.box[j, 1])
            x[j] = moved
            put(rule, s, j, d, kept)
    copy_back(shape, x, state, 0)
    copy_back(shape, s, state, d * W)
    store_rows(rule, shape, memory, 0, m)
    store(memory, numbers * W, waits)
    store(memory, (numbers + 1) * W, count)


@jit
def fill_table(rule, shape, hyper, memory, scheduled, first, t, steps, table, stride):
    """Write the hyper-parameters of steps t + 1 ... t + steps and the rule's quantities, a row a step.

    scheduled : Values; `first` is the row of its values for step t + 1. memory is that after step t, and is advanced.
    """
    W, size = static(shape, "width"), hyper.shape[0]
    for k in range(steps):
        row = table[k * stride :]
        row[:size] = hyper
        for m in range(scheduled.which.shape[0]):
            at, number = scheduled.which[m] * W, scheduled.values[first + k, m]
            for lane_ in range(W):
                row[at + lane_] = number * hyper[at + lane_] if m == scheduled.rate else number
        prepare_step(rule, shape, row, memory, row[size:], 0, t + k + 1)


@jit
def dying(shape, state, d, died, t):
    """Whether the coordinates of a lane are not finite that was alive; where t > 0, it is noted to have died then."""
    W, found = static(shape, "width"), False
    for i in range(W):
        total = state[i] * 0
        for j in range(1, d):
            total += state[j * W + i] * 0
        if total != 0 and died[i] == 0:
            found = True
            if t:
                died[i] = t
    return found


@jit
def advance_groups(rule, landscape, rounds, shape, terrain, groups, scheduled, work, t, steps, low, high):
    """Take `steps` steps after step t with the groups low ... high.

    rounds : the Statics of two rounds of sums, or None; work : (table, stride, saved, scratch, memory) of this worker.
    """
    W, d = static(shape, "width"), terrain.box.shape[0]
    numbers = static(rule, "numbers") * W
    at = (1 + static(rule, "slots")) * d * W
    table, stride, saved, scratch = work.table, work.stride, work.saved, work.scratch
    for block in range(low, high, BLOCK):
        for begin in range(0, steps, CHUNK):
            filled, count = -1, min(CHUNK, steps - begin)
            for group in range(block, min(block + BLOCK, high)):
                state, owner = groups.state[group], groups.owner[group]
                if owner != filled:
                    # The memory of lanes that share their hyper-parameters is the same unless sums are in it.
                    memory = work.memory
                    memory[:] = state[at : at + numbers]
                    fill_table(rule, shape, groups.hyper[owner], memory, scheduled, begin, t + begin, count, table, stride)
                    filled = owner
                keys, died = groups.keys[group * W : (group + 1) * W], groups.died[group * W : (group + 1) * W]
                saved[:] = state
                done, span = 0, count
                while done < count:
                    run_group(
                        rule, landscape, rounds[0], rounds[1], shape, terrain, state, table[done * stride :], stride,
                        keys, scratch, t + begin + done, span,
                    )  # fmt: skip
                    if dying(shape, state, d, died, 0) and span > 1:
                        state[:] = saved  # once more, step by step, to see when
                        done, span = 0, 1
                        continue
                    done += span
                    if span == 1:
                        dying(shape, state, d, died, t + begin + done)
                if static(rule, "numbers") and rounds[0] is None:
                    state[at : at + numbers] = work.memory


@jit
def measure_groups(landscape, shape, terrain, positions, scratch, losses, squares, low, high):
    """Write the values, and the squared norms of the gradients, at positions (groups, >= d * width).

    losses, squares : (groups * width,) float64.
    """
    W, d = static(shape, "width"), terrain.box.shape[0]
    for group in range(low, high):
        x = point(shape, positions[group], 0, d, "one")
        g = point(shape, scratch, 0, d, "one")
        copy(shape, positions[group], 0, x)
        store(losses, group * W, wide(value(landscape, terrain.p, x)))
        gradient(landscape, terrain.p, x, g)
        total = wide(g[0]) * wide(g[0])
        for j in range(1, len(x)):
            total = total + wide(g[j]) * wide(g[j])
        store(squares, group * W, total)
