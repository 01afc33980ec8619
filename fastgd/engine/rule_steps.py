"""What every step does once the gradient of a tile's batch is known, whatever the model is.

The rule is called by address on one group of parameters after another; see `engine.rule_kernels`.
"""

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import load, store, total, zeros
from fastgd.engine.arrays import FIRST, HALF, LAYER, NUMBERS, PLAIN, ROWS, SAGA
from fastgd.engine.row_sums import rounded
from fastgd.optimizers.record import ALL_PARAMETERS, EACH_GROUP


@jit(inline="always")
def parameter_rows(groups):
    """Return the rows of L lanes that hold all parameters."""
    return groups[-1, FIRST] + groups[-1, ROWS]


@jit(inner=True)
def blend(shape, estimator, mean, at, count, share, G, g):
    """Complete an estimate: to the gradients of `count` parameters at G[g] comes the table's, at mean[at].

    For SAGA the table's gradient then follows the rows that changed, a `share` of all.
    """
    if estimator == PLAIN:
        return
    for v in range(0, count * static(shape, "lanes"), static(shape, "width")):
        new, old = load(shape, G, g + v), load(shape, mean, at + v)
        store(G, g + v, new + old)
        if estimator == SAGA:
            store(mean, at + v, old + new * share)


@jit(inline="always")
def weigh_group(shape, weigh, state, own, exact_c, groups, k, stride, G, v, sums, across):
    """Add what a round measures over a group to the sums of the lanes at v.

    across : a row holds parameters of a single lane, and the last row of a group may not be full
    """
    width = static(shape, "width")
    of_row = width if across else 1
    first, whole, rest = groups[k, FIRST], groups[k, NUMBERS] // of_row, groups[k, NUMBERS] % of_row
    call_at(weigh, shape, state, own, exact_c, first, whole, stride, G, v, width, sums)
    if rest > 0:
        call_at(weigh, shape, state, own, exact_c, first + whole, 1, stride, G, v, rest, sums)


@jit(inline="always")
def sum_round(calls, shape, lanes, tile, r, memory, exact_c, c, t, G, scratch, across):
    """Sum what round r of the rule measures over all groups, and conclude its quantities of the step.

    memory, exact_c, c : where the rule's numbers and quantities stand
    across : a row holds parameters of a single lane, and the last row of a group may not be full
    """
    state, exact, groups = lanes.state[tile], lanes.exact[tile], lanes.groups
    L, width, half = static(shape, "lanes"), static(shape, "width"), exact.shape[0] // 2
    sums, stride = scratch.sums, parameter_rows(groups) * L
    weigh, conclude = calls.rounds[r, 0], calls.rounds[r, 1]
    for v in range(0, L, width):
        for k in range(groups.shape[0]):
            own = exact[groups[k, HALF] * half : (groups[k, HALF] + 1) * half]
            weigh_group(shape, weigh, state, own, exact_c, groups, k, stride, G, v, sums, across)
        call_at(conclude, shape, exact, memory, exact_c, c, t, v, sums, scratch.loss, across)


@jit(inline="always")
def apply_to(calls, shape, lanes, tile, k, c, G):
    """Take the rule's step with a group, whose quantities are c, from the gradient G (parameters, L)."""
    state, hyper, groups, L = lanes.state[tile], lanes.hyper[tile], lanes.groups, static(shape, "lanes")
    half, stride, first = hyper.shape[0] // 2, parameter_rows(lanes.groups) * L, groups[k, FIRST]
    own = hyper[groups[k, HALF] * half : (groups[k, HALF] + 1) * half]
    call_at(calls.apply, shape, state, own, c, first, groups[k, ROWS], stride, G, first * L)


@jit(inline="always")
def finish_batch(calls, shape, lanes, tile, index, t, share, G, scratch, across):
    """Hand the whole gradient G (parameters, L) of a tile's batch, a `share` of all rows, to the rule.

    index : where the step's scheduled values stand
    """
    # What is not needed is not looked up: each view of an array costs a count of references.
    if lanes.estimator != PLAIN:
        blend(shape, lanes.estimator, lanes.mean[tile], 0, parameter_rows(lanes.groups), share, G, 0)
    if calls.apart:
        finish_apart(calls, shape, lanes, tile, index, t, G, scratch)
        return
    if calls.rounds.shape[0] > 0:
        memory, exact_c, c = lanes.memory[tile], scratch.exact_c, scratch.c
        for r in range(calls.rounds.shape[0]):
            sum_round(calls, shape, lanes, tile, r, memory, exact_c, c, t, G, scratch, across)
    for k in range(lanes.groups.shape[0]):
        apply_to(calls, shape, lanes, tile, k, scratch.c, G)


@jit(inner=True)
def finish_apart(calls, shape, lanes, tile, index, t, G, scratch):
    """The same where some rounds sum over one layer, or one group of parameters, alone.

    So each group has its own quantities, which are all known before the first group moves, and its own memory.
    """
    count, size = lanes.groups.shape[0], scratch.c.shape[0] // lanes.groups.shape[0]
    wide, numbers = scratch.exact_c.shape[0] // count, lanes.memory.shape[1] // count
    for k in range(1, count if calls.begin else 1):  # the first group's step has begun
        hyper, exact, scheduled = lanes.hyper[tile], lanes.exact[tile], lanes.scheduled[index, tile]
        c, exact_c = scratch.c[k * size : (k + 1) * size], scratch.exact_c[k * wide : (k + 1) * wide]
        memory = lanes.memory[tile, k * numbers : (k + 1) * numbers]
        call_at(calls.begin, shape, hyper, exact, scheduled, 0, lanes.which, memory, t, exact_c, c)
    for r in range(calls.rounds.shape[0]):
        first = 0
        while first < count:
            end = end_of_scope(lanes.groups, first, calls.rounds[r, 2])
            sum_apart(calls, shape, lanes, tile, r, (first, end), t, G, scratch)
            first = end
    for k in range(count):
        apply_to(calls, shape, lanes, tile, k, scratch.c[k * size : (k + 1) * size], G)


@jit(inner=True)
def end_of_scope(groups, first, scope):
    """Return the end of the groups, from `first` on, over which a round sums together."""
    end, count = first + 1, groups.shape[0] if scope != EACH_GROUP else 0
    while end < count and (scope == ALL_PARAMETERS or groups[end, LAYER] == groups[first, LAYER]):
        end += 1
    return end


@jit(inner=True)
def sum_apart(calls, shape, lanes, tile, r, span, t, G, scratch):
    """Sum what round r of the rule measures over some groups, and conclude the quantities of each of them."""
    state, exact, groups, count = lanes.state[tile], lanes.exact[tile], lanes.groups, lanes.groups.shape[0]
    L, half, stride = static(shape, "lanes"), exact.shape[0] // 2, parameter_rows(groups) * static(shape, "lanes")
    size, wide, numbers = scratch.c.shape[0] // count, scratch.exact_c.shape[0] // count, lanes.memory.shape[1] // count
    weigh, conclude, sums, kept = calls.rounds[r, 0], calls.rounds[r, 1], scratch.sums, scratch.sums.shape[0] // 2
    for v in range(0, L, static(shape, "width")):
        for k in range(span[0], span[1]):
            own = exact[groups[k, HALF] * half : (groups[k, HALF] + 1) * half]
            exact_c = scratch.exact_c[k * wide : (k + 1) * wide]
            weigh_group(shape, weigh, state, own, exact_c, groups, k, stride, G, v, sums, False)
        for i in range(kept):  # to conclude clears the sums
            sums[kept + i] = sums[i]
        for k in range(span[0], span[1]):
            for i in range(kept):
                sums[i] = sums[kept + i]
            c, exact_c = scratch.c[k * size : (k + 1) * size], scratch.exact_c[k * wide : (k + 1) * wide]
            memory = lanes.memory[tile, k * numbers : (k + 1) * numbers]
            call_at(conclude, shape, exact, memory, exact_c, c, t, v, sums, scratch.loss, False)


@jit(inner=True)
def note_bad(check, bad, t):
    """Note step t in the lanes whose check is not a number, where no earlier step was noted."""
    for index in range(bad.shape[0]):
        if check[index] != check[index] and bad[index] == 0:
            bad[index] = t


@jit(inner=True)
def not_finite(shape, check):
    """Whether any lane's check is not a number."""
    checks = zeros(shape, check)
    for v in range(0, static(shape, "lanes"), static(shape, "width")):
        checks = checks + load(shape, check, v)
    whole = total(checks)
    return whole != whole


@jit(inner=True)
def begin_step(calls, shape, lanes, tile, index, t, scratch):
    """Put a step's scheduled values into their places, and prepare the rule's quantities of step t."""
    if calls.begin == 0:
        return
    hyper, exact, memory = lanes.hyper[tile], lanes.exact[tile], lanes.memory[tile]
    scheduled = lanes.scheduled[index, tile]
    call_at(calls.begin, shape, hyper, exact, scheduled, 0, lanes.which, memory, t, scratch.exact_c, scratch.c)


@jit(inner=True)
def take_step(calls, shape, lanes, scratch, tile, index, t, rows, share):
    """Take step t from the gradient and the losses of a batch's `rows`, which are in `scratch`: a `share` of all rows.

    index : where the step's scheduled values stand
    """
    begin_step(calls, shape, lanes, tile, index, t, scratch)
    scale_losses(shape, scratch.loss, 1.0 / rows)
    finish_batch(calls, shape, lanes, tile, index, t, share, scratch.G, scratch, static(shape, "single") > 0)


@jit(inner=True)
def scale_losses(shape, loss, scale):
    """Make means of a batch's summed losses (L,)."""
    for index in range(static(shape, "lanes")):
        loss[index] *= scale


@jit(inner=True)
def add_parts(shape, parts, tile):
    """Add the parts (parts, tiles, values) of a tile up, in order, into the first: views cannot be returned."""
    total = parts[0, tile]
    for part in range(1, parts.shape[0]):
        for at in range(0, parts.shape[2], static(shape, "width")):
            store(total, at, load(shape, total, at) + load(shape, parts[part, tile], at))


@jit
def apply_gradients(calls, shape, lanes, gradients, losses, scratch, span):
    """Add a large batch's gradient part by part, and take the rule's step, with the tiles of an `ApplySpan`."""
    rows = parameter_rows(lanes.groups)
    for tile in range(span.worker, gradients.shape[1], span.workers):
        add_parts(shape, gradients, tile)
        add_parts(shape, losses, tile)
        total, loss = gradients[0, tile], losses[0, tile]
        for index in range(loss.shape[0]):
            scratch.loss[index] = loss[index] * (1.0 / span.rows)
        begin_step(calls, shape, lanes, tile, 0, span.t, scratch)
        G, share = rounded(shape, total, scratch.G, rows), lanes.state.dtype.type(span.rows / span.n)
        finish_batch(calls, shape, lanes, tile, 0, span.t, share, G, scratch, False)
