"""The steps of a swarm: many starts on a landscape, a vector of lanes at a time, many steps without touching memory.

A **group** is a vector of lanes, four or eight registers wide, with all that it needs in one contiguous block: d
coordinates, the rule's slots of each, and two marks of the tolerance. Of up to four coordinates the block is copied to
registers, where it stays for 128 steps, and is written back. The numbers that the rule keeps for each trial are
float64, and stand elsewhere.

`run_group` is compiled for a rule *and* a landscape, so value, gradient and step are one piece of straight code: a step
of plain descent on Rosenbrock's valley is some ten instructions for four starts, and no memory is touched. With a
scalar kernel a start at a time, each step would wait for the one before it; with a call by address for each step, the
call would cost more than the step. What depends on the step and not on the start (bias corrections, scheduled values)
stands in a table of 128 rows, made once for all groups that share their hyper-parameters. Chunks of 32 steps, and views
of arrays in place of numbers for places in them, cost plain descent two thirds more. Telling the kernel that such
groups need one number for all lanes, and not a vector, gained nothing on a machine with 16 registers.

Nothing is checked within a step. After 128 steps a group's coordinates are looked at; where one is not finite that was
before, the group goes back to its copy and takes these steps one by one, which tells the step. Steps to the tolerance
are counted in registers: three instructions and the value, most of which the gradient has computed anyway.

Bits do not depend on where calls are cut, which took some care: LLVM unrolls and peels such loops, and where `a b + c
d` is left to it, copies of one text contract different products into multiply-adds. So vectors contract products when
they are added (`_add` in `core/vectors.py`), by one rule, and LLVM is allowed none.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from fastgd.core.address_calls import address_of
from fastgd.core.compile import jit
from fastgd.core.math import root, squares
from fastgd.core.random import normal
from fastgd.core.static import Static, part, static
from fastgd.core.vectors import cast, load, store, total, wide, zeros
from fastgd.engine.swarm.groups import Groups, LandscapeNumbers, ScheduledValues, StepRange, SwarmShape, Workspace
from fastgd.engine.swarm.landscape_calls import gradient, parameters, step_gradient, value
from fastgd.engine.swarm.points import Point, point
from fastgd.optimizers.rule import Round, Rule
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
from fastgd.problems import Landscape


class SwarmTask(NamedTuple):
    """What the steps of a swarm are specialised by, beside their shape."""

    rule: Rule
    landscape: Landscape

    @property
    def first(self) -> Round | None:
        """The first round of sums over the coordinates."""
        return self._round(0)

    @property
    def second(self) -> Round | None:
        """The second one."""
        return self._round(1)

    def _round(self, index: int) -> Round | None:
        return Round(self.rule, index) if index < len(self.rule.functions.rounds) else None


class SwarmCalls(NamedTuple):
    """What the driver of a swarm calls by address, and needs to know of a rule.

    Attributes
    ----------
    fill, run : int
        `fill_table` and `run_group`.
    hyper : int
        Numbers of a row of hyper-parameters.
    sums : bool
        Whether the rule sums over coordinates.
    """

    fill: Any
    run: Any
    hyper: Any
    sums: Any


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


@jit(inner=True)
def one_round(step, shape, like, h, c, t, m, x, g, s, f):
    """The quantities and the memory after a round of sums, all of them in float64 as `like` is."""
    d, nothing = len(x), zeros(shape, like)
    sums = no_sums(step, shape)
    for j in range(d):
        terms = measure(step, h, c, wide(x[j]), wide(g[j]), cast_all(pick(step, s, j, d), like), nothing)
        sums = add_terms(sums, terms, static(shape, "width"))
    return conclude(step, h, c, t, m, sums, f)


def quantities_of(rule, first, second, shape, table, exact, at, t, m, x, g, s, f):
    """Return the quantities of step t, whose row is at `at`, and the memory after it.

    They stand in the table, unless the rule sums over coordinates: in one round, `first`, or in two.
    """
    raise NotImplementedError("called from kernels only")


@overload(quantities_of, strict=False)
def _quantities_of(rule, first, second, shape, table, exact, at, t, m, x, g, s, f):
    def known(rule, first, second, shape, table, exact, at, t, m, x, g, s, f):
        return rows(rule, shape, table, at + static(rule, "hyper") * static(shape, "width"), "coefficients"), m

    def one(rule, first, second, shape, table, exact, at, t, m, x, g, s, f):
        h = lane(rule, shape, exact, at)
        c, m = prepare(rule, h, t, m)
        return one_round(first, shape, exact, h, c, t, m, x, g, s, wide(f))

    def two(rule, first, second, shape, table, exact, at, t, m, x, g, s, f):
        h = lane(rule, shape, exact, at)
        c, m = prepare(rule, h, t, m)
        concluded, kept = one_round(first, shape, exact, h, c, t, m, x, g, s, wide(f))
        return one_round(second, shape, exact, h, concluded, t, kept, x, g, s, wide(f))

    return known if isinstance(first, types.NoneType) else one if isinstance(second, types.NoneType) else two


# --- steps ------------------------------------------------------------------------------------------------------------
# Arrays are flat, and places in them are numbers: a view of an array costs what a vector's whole step does.


@jit(inner=True)
def copy(shape, array, first, x):
    """Copy the numbers of an array to a point; nothing, where that is where they are."""
    if static(shape, "dimension"):
        for j in range(len(x)):
            x[j] = load(shape, array, first + j * static(shape, "width"))


@jit(inner=True)
def copy_back(shape, x, array, first):
    """Copy a point to where it came from."""
    if static(shape, "dimension"):
        for j in range(len(x)):
            store(array, first + j * static(shape, "width"), x[j])


@jit(inner=True)
def run_group(task, shape, land, groups, work, group, row, t, steps):
    """Take steps t + 1 ... t + steps of a group, and note in `work.alive` whether all coordinates are finite then.

    task : the Static of a SwarmTask; land : LandscapeNumbers; groups : Groups; work : Workspace.
    row : the first step's row in the tables.
    """
    rule, landscape, first, second = (
        part(task, "rule"),
        part(task, "landscape"),
        part(task, "first"),
        part(task, "second"),
    )
    state, memory, table, exact = groups.state, groups.memory, work.table, work.exact
    W, d, p = static(shape, "width"), land.box.shape[0], parameters(landscape, land.p)
    block, of_memory = group * work.saved.shape[0], group * work.memory.shape[0]
    slots = static(rule, "slots")
    marks = block + (1 + slots) * d * W
    x = point(shape, state, block, d, "one")
    s = point(shape, state, block + d * W, slots * d, "slots")
    g = point(shape, work.scratch, 0, d, "one")
    copy(shape, state, block, x)
    copy(shape, state, block + d * W, s)
    d = len(x)
    m = rows(rule, shape, memory, of_memory, "numbers")
    waits, count = load(shape, state, marks), load(shape, state, marks + W)
    h = lane(rule, shape, table, row * work.stride)
    for k in range(steps):
        at = (row + k) * work.stride
        if static(shape, "rereads"):
            h = lane(rule, shape, table, at)
        f = zeros(shape, state)
        if static(shape, "tracked") or static(rule, "batch_loss"):
            f = value(landscape, p, x)
        if static(shape, "tracked"):
            waits = np.where(f <= land.threshold, 0, waits)  # a value that is no number is not within it
            count = count + waits
        step_gradient(landscape, p, x, t + k + 1, g)
        if static(shape, "noisy"):
            for j in range(d):
                g[j] = g[j] + land.noise * normal(shape, state, groups.keys, group * W, (t + k) * d + j)
        made, m = quantities_of(rule, first, second, shape, table, exact, at, t + k + 1, m, x, g, s, f)
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
    work.alive[0] = total(finite) == 0


@jit(inner=True)
def fill_table(rule, shape, hyper, first, scheduled, steps, work, sums):
    """Write the hyper-parameters and the rule's quantities of a range of steps into the tables, a row a step.

    hyper : those that stand at `first`; scheduled : ScheduledValues; steps : StepRange; work : Workspace, whose memory
    is that before the first step and is advanced; sums : whether the rule sums over coordinates.

    `exact` is float64 as hyper-parameters are, and rounded to `table`, which may be the same. Where it is not, rows of
    it are needed only of a rule that sums over coordinates, or for scheduled values: rules with few slots would wait
    for this memory.
    """
    table, exact, stride, t = work.table, work.exact, work.stride, steps.t
    W, size = static(shape, "width"), static(rule, "hyper") * static(shape, "width")
    rounds, own = table.itemsize != exact.itemsize, hyper[first : first + size]
    changing = sums or not rounds or scheduled.which.shape[0] > 0
    for k in range(steps.count):
        row, rounded = exact[k * stride :], table[k * stride :]
        if changing:
            for i in range(0, size, W):
                store(row, i, load(shape, own, i))
        for m in range(scheduled.which.shape[0]):
            at, number = scheduled.which[m] * W, scheduled.values[steps.row + k, m]
            for i in range(at, at + W):
                row[i] = number * row[i] if m == scheduled.rate else number
        values = row if changing else own
        prepare_step(rule, shape, values, work.memory, row[size:], rounded[size:], 0, t + k + 1)
        if rounds:
            for i in range(0, size, W):
                store(rounded, i, cast(load(shape, values, i), rounded))


def swarm_calls_of(
    task: SwarmTask,
    shape: SwarmShape,
    land: LandscapeNumbers,
    groups: Groups,
    scheduled: ScheduledValues,
    work: Workspace,
) -> SwarmCalls:
    """Compile, or load from the cache, what the driver calls; the arrays tell the types of all others."""
    rule, n = Static(task.rule), types.int64
    lanes = numba.typeof(Static(shape.of_lanes))
    ahead = types.NamedUniTuple(n, len(StepRange._fields), StepRange)
    kinds = (numba.typeof(scheduled), ahead, numba.typeof(work), types.boolean)
    fill = address_of(fill_table, (numba.typeof(rule), lanes, numba.typeof(groups.hyper), n, *kinds))
    given = (Static(task), Static(shape), land, groups, work)
    run = address_of(run_group, (*(numba.typeof(each) for each in given), n, n, n, n))
    return SwarmCalls(fill, run, task.rule.hyper * shape.width, bool(task.rule.functions.rounds))


@jit(inner=True)
def store_first(out, first, count, vector, scratch):
    """Store the first numbers of a vector: all, unless the last places of a group hold no lane."""
    if count == scratch.shape[0]:
        store(out, first, vector)
    else:
        store(scratch, 0, vector)
        for i in range(count):
            out[first + i] = scratch[i]


@jit
def measure_groups(landscape, shape, land, positions, stride, scratch, firsts, out, share):
    """Write what is read of groups: their points, the values there, and the norms of the gradients.

    positions : flat; those of a group, d * width, stand `stride` apart.
    scratch : ReadingSpace of this worker.
    firsts : the lane that is each group's first, and the number of all lanes.
    out : flat, of (d + 2, lanes) float64: a row for each coordinate, the values, the norms.
    share : GroupRange.
    """
    d, p = land.box.shape[0], parameters(landscape, land.p)
    lanes = firsts[firsts.shape[0] - 1]
    for group in range(share.low, share.high):
        x = point(shape, positions, group * stride, d, "one")
        g = point(shape, scratch.gradient, 0, d, "one")
        copy(shape, positions, group * stride, x)
        gradient(landscape, p, x, g)
        large, rest, small = squares(wide(g[0]))
        for j in range(1, len(x)):
            own = squares(wide(g[j]))
            large, rest, small = large + own[0], rest + own[1], small + own[2]
        count = firsts[group + 1] - firsts[group]
        for j in range(len(x)):
            store_first(out, j * lanes + firsts[group], count, wide(x[j]), scratch.wide)
        store_first(out, d * lanes + firsts[group], count, wide(value(landscape, p, x)), scratch.wide)
        store_first(out, (d + 1) * lanes + firsts[group], count, root((large, rest, small)), scratch.wide)
