"""The steps of a swarm: many starts on a landscape, a vector of lanes at a time, many steps without touching memory.

A **group** is a vector of lanes with all that it needs in one contiguous block: d coordinates, the rule's slots of
each, and two marks of the tolerance. Where there are few coordinates the block is copied to registers, steps are taken
there, and it is written back. The numbers that the rule keeps for each trial are float64, and stand elsewhere.

A group is a vector of lanes, four or eight registers wide, with all that it needs in one block of memory: coordinates,
slots, the numbers of a trial (`engine/swarm/steps.py`). The kernel is compiled for a rule *and* a landscape, so value,
gradient and step are one piece of straight code; of up to four coordinates the block is copied to registers, where it
stays for 128 steps. A step of plain descent on Rosenbrock's valley is then some ten instructions for four starts, and
no memory is touched. With a scalar kernel a start at a time, each step would wait for the one before it; with calls by
address, as the drivers of data have them, a call would cost more than the step. What depends on the step and not on the
start (bias corrections, scheduled values) stands in a table of 128 rows, made once for all groups that share their
hyper-parameters. Chunks of 32 steps, and views of arrays in place of numbers for places in them, cost plain descent two
thirds more. Telling the kernel that such groups need one number for all lanes, and not a vector, gained nothing on a
machine with 16 registers.

Nothing is checked within a step. After 128 steps a group's coordinates are looked at; where one is not finite that was
before, the group goes back to its copy and takes these steps one by one, which tells the step. Steps to the tolerance
are counted in registers: three instructions and the value, most of which the gradient has computed anyway.

Bits do not depend on where calls are cut, which took some care: LLVM unrolls and peels such loops, and where `a b + c
d` is left to it, copies of one text contract different products into multiply-adds. So vectors contract products when
they are added (`_add` in `core/vectors.py`), by one rule, and LLVM is allowed none.
"""

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from fastgd.core.compile import jit
from fastgd.core.math import root, squares
from fastgd.core.random import normal
from fastgd.core.static import static
from fastgd.core.vectors import cast, load, store, total, wide, zeros
from fastgd.engine.swarm.groups import GROUPS_PER_TABLE, STEPS_PER_TABLE, GroupPlaces, StepArrays, StepRange
from fastgd.engine.swarm.points import Point, point
from fastgd.optimizers.rule_calls import (
    add_terms,
    cast_all,
    conclude,
    lane,
    measure,
    no_sums,
    prepare,
    prepare_step,
    rows,
    store_rows,
    update,
)
from fastgd.optimizers.rule_functions import jitable
from fastgd.problems import Landscape

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
    """The quantities and the memory after a round of sums, all of them in float64 as `like` is."""
    d, nothing = len(x), zeros(shape, like)
    sums = no_sums(step, shape)
    for j in range(d):
        terms = measure(step, h, c, wide(x[j]), wide(g[j]), cast_all(pick(step, s, j, d), like), nothing)
        sums = add_terms(sums, terms, static(shape, "width"))
    return conclude(step, h, c, t, m, sums, f)


def after_rounds(rule, first, second, shape, like, h, t, m, x, g, s, f):
    """Return the quantities of a step and the memory after it, for a rule with one round of sums or two."""
    raise NotImplementedError("called from kernels only")


@overload(after_rounds, strict=False)
def _after_rounds(rule, first, second, shape, like, h, t, m, x, g, s, f):
    def one(rule, first, second, shape, like, h, t, m, x, g, s, f):
        c, m = prepare(rule, h, t, m)
        return one_round(first, shape, like, h, c, t, m, x, g, s, f)

    def two(rule, first, second, shape, like, h, t, m, x, g, s, f):
        c, m = prepare(rule, h, t, m)
        concluded, kept = one_round(first, shape, like, h, c, t, m, x, g, s, f)
        return one_round(second, shape, like, h, concluded, t, kept, x, g, s, f)

    return one if isinstance(second, types.NoneType) else two


# --- steps ------------------------------------------------------------------------------------------------------------
# Arrays are flat, and places in them are numbers: a view of an array costs what a vector's whole step does.


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
def run_group(rule, landscape, first, second, shape, land, arrays, places, t, steps):
    """Take steps t + 1 ... t + steps of a group; whether all coordinates are finite then.

    first, second : the Statics of two rounds of sums, or None.
    land : LandscapeNumbers; arrays : StepArrays; places : GroupPlaces.
    """
    state, memory, table, exact, keys, scratch = arrays
    block, of_memory, row, stride, key = places
    W, d = static(shape, "width"), land.box.shape[0]
    hyper, slots = static(rule, "hyper") * W, static(rule, "slots")
    marks = block + (1 + slots) * d * W
    x = point(shape, state, block, d, "one")
    s = point(shape, state, block + d * W, slots * d, "slots")
    g = point(shape, scratch, 0, d, "one")
    copy(shape, state, block, x)
    copy(shape, state, block + d * W, s)
    d = len(x)
    m = rows(rule, shape, memory, of_memory, "numbers")
    waits, count = load(shape, state, marks), load(shape, state, marks + W)
    h = lane(rule, shape, table, row)
    for k in range(steps):
        at = row + k * stride
        if static(shape, "rereads"):
            h = lane(rule, shape, table, at)
        f = zeros(shape, state)
        if static(shape, "tracked") or static(rule, "batch_loss"):
            f = value(landscape, land.p, x)
        if static(shape, "tracked"):
            waits = np.where(f <= land.threshold, 0, waits)  # a value that is no number is not within it
            count = count + waits
        step_gradient(landscape, land.p, x, t + k + 1, g)
        if static(shape, "noisy"):
            for j in range(d):
                g[j] = g[j] + land.noise * normal(shape, state, keys, key, (t + k) * d + j)
        if first is None:
            c = rows(rule, shape, table, at + hyper, "coefficients")
        else:
            known = lane(rule, shape, exact, at)
            made, m = after_rounds(rule, first, second, shape, exact, known, t + k + 1, m, x, g, s, wide(f))
            c = cast_all(made, state)
        for j in range(d):
            moved, kept = update(rule, h, c, x[j], g[j], pick(rule, s, j, d))
            if static(shape, "projected"):
                moved = np.minimum(np.maximum(moved, land.box[j, 0]), land.box[j, 1])
            x[j] = moved
            put(rule, s, j, d, kept)
    finite = x[0] * 0
    for j in range(1, d):
        finite = finite + x[j] * 0
    copy_back(shape, x, state, block)
    copy_back(shape, s, state, block + d * W)
    store_rows(rule, shape, memory, of_memory, m)
    store(state, marks, waits)
    store(state, marks + W, count)
    return total(finite) == 0


@jit
def copy_numbers(source, first, count, target, to):
    """Copy numbers between flat arrays; an assignment of slices compiles to much more."""
    for i in range(count):
        target[to + i] = source[first + i]


@jit
def fill_table(rule, shape, hyper, first, memory, scheduled, steps, table, exact, stride, sums):
    """Write the hyper-parameters and the rule's quantities of a range of steps, a row a step.

    hyper : those that stand at `first`; memory : that before the first step; it is advanced. `exact` is float64 as they
    are, and rounded to the table, which may be the same. Where it is not, rows of it are needed only of a rule that
    sums over coordinates, or for scheduled values: rules with few slots would wait for this memory.
    scheduled : ScheduledValues; steps : StepRange.
    """
    low, t, count = steps
    W, size = static(shape, "width"), static(rule, "hyper") * static(shape, "width")
    rounds, own = table.itemsize != exact.itemsize, hyper[first : first + size]
    changing = sums or not rounds or scheduled.which.shape[0] > 0
    for k in range(count):
        row, rounded = exact[k * stride :], table[k * stride :]
        if changing:
            copy_numbers(own, 0, size, row, 0)
        for m in range(scheduled.which.shape[0]):
            at, number = scheduled.which[m] * W, scheduled.values[low + k, m]
            for i in range(at, at + W):
                row[i] = number * row[i] if m == scheduled.rate else number
        values = row if changing else own
        prepare_step(rule, shape, values, memory, row[size:], rounded[size:], 0, t + k + 1)
        if rounds:
            for i in range(0, size, W):
                store(rounded, i, cast(load(shape, values, i), rounded))


@jit
def some_died(shape, state, block, d, died, first, t):
    """Whether the coordinates of a lane are not finite that was alive; where t > 0, it is noted to have died then."""
    W, found = static(shape, "width"), False
    for i in range(W):
        check = state[block + i] * 0
        for j in range(1, d):
            check += state[block + j * W + i] * 0
        if check != 0 and died[first + i] == 0:
            found = True
            if t:
                died[first + i] = t
    return found


@jit
def advance_groups(rule, landscape, rounds, shape, land, groups, scheduled, work, t, steps, share):
    """Take `steps` steps after step t with a share of the groups.

    rounds : the Statics of two rounds of sums, or None; land : LandscapeNumbers; groups : Groups.
    scheduled : ScheduledValues from step t + 1 on; work : Workspace of this worker; share : GroupRange.
    """
    W, d = static(shape, "width"), land.box.shape[0]
    hyper_size, memory_size = static(rule, "hyper") * W, static(rule, "numbers") * W
    state, kept, hyper, owners = groups.state, groups.memory, groups.hyper, groups.owner
    keys, died = groups.keys, groups.died
    table, exact, stride, saved, memory = work.table, work.exact, work.stride, work.saved, work.memory
    arrays, size = StepArrays(state, kept, table, exact, keys, work.scratch), saved.shape[0]
    one, two = rounds
    for first in range(share.low, share.high, GROUPS_PER_TABLE):
        for begin in range(0, steps, STEPS_PER_TABLE):
            filled, count = -1, min(STEPS_PER_TABLE, steps - begin)
            for group in range(first, min(first + GROUPS_PER_TABLE, share.high)):
                block, owner = group * size, owners[group]
                if owner != filled:
                    # The memory of lanes that share their hyper-parameters is the same unless sums are in it.
                    copy_numbers(kept, group * memory_size, memory_size, memory, 0)
                    ahead, own = StepRange(begin, t + begin, count), owner * hyper_size
                    fill_table(rule, shape, hyper, own, memory, scheduled, ahead, table, exact, stride, one is not None)
                    filled = owner
                copy_numbers(state, block, size, saved, 0)
                if one is not None:
                    copy_numbers(kept, group * memory_size, memory_size, memory, 0)
                done, many = 0, count
                while done < count:
                    places = GroupPlaces(block, group * memory_size, done * stride, stride, group * W)
                    now = t + begin + done
                    alive = run_group(rule, landscape, one, two, shape, land, arrays, places, now, many)
                    if many > 1 and not alive and some_died(shape, state, block, d, died, group * W, 0):
                        copy_numbers(saved, 0, size, state, block)  # once more, step by step, to see when
                        if one is not None:
                            copy_numbers(memory, 0, memory_size, kept, group * memory_size)
                        done, many = 0, 1
                        continue
                    done += many
                    if many == 1:
                        some_died(shape, state, block, d, died, group * W, now + 1)
                if static(rule, "numbers") and one is None:
                    copy_numbers(memory, 0, memory_size, kept, group * memory_size)


@jit
def measure_groups(landscape, shape, land, positions, stride, scratch, out, share):
    """Write what is read of groups: their points, the values there, and the norms of the gradients.

    positions : flat; those of a group, d * width, stand `stride` apart.
    out : flat, of (d + 2, groups * width) float64: a row for each coordinate, the values, the norms.
    share : GroupRange.
    """
    W, d = static(shape, "width"), land.box.shape[0]
    lanes = out.shape[0] // (d + 2)
    for group in range(share.low, share.high):
        x = point(shape, positions, group * stride, d, "one")
        g = point(shape, scratch, 0, d, "one")
        copy(shape, positions, group * stride, x)
        gradient(landscape, land.p, x, g)
        large, rest, small = squares(wide(g[0]))
        for j in range(1, len(x)):
            own = squares(wide(g[j]))
            large, rest, small = large + own[0], rest + own[1], small + own[2]
        for j in range(len(x)):
            store(out, j * lanes + group * W, wide(x[j]))
        store(out, d * lanes + group * W, wide(value(landscape, land.p, x)))
        store(out, (d + 1) * lanes + group * W, root((large, rest, small)))
