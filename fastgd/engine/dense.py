"""Dense cohorts: tiles of lanes that walk the rows together.

A mini-batch step of a tile is `Z = X_b W`, `R = loss'(Z, y) / b`, `G = X_b' R`, and then the rule on each feature. Rows
are read where they lie, through the order of the epoch, while the next batch's rows are prefetched.
"""

from typing import Any, NamedTuple

import numpy as np

from fastgd._jit import jit
from fastgd._static import only_if, static
from fastgd._vectors import load, prefetch, store, zeros
from fastgd.engine.blocks import gradient_block, margin_block
from fastgd.engine.losses import add_losses, residuals
from fastgd.optimizers._kernels import (
    add_terms,
    conclude,
    lane,
    load_slots,
    measure,
    narrow,
    no_sums,
    prepare,
    readout,
    rows,
    store_rows,
    store_slots,
    update,
)

CHUNK = 256  # rows whose residuals stay in the cache beside the tile; larger batches are added up chunk by chunk
MOST_ROWS = 8  # of a register block
COLUMNS = 128  # features whose weights stay in the cache while all rows of a chunk pass over them


class Rows(NamedTuple):
    """Rows of data: X flat, y (n,), the order (n,) in which they are visited, d, and the loss's number."""

    X: Any
    y: Any
    order: Any
    d: Any
    loss: Any


class Lanes(NamedTuple):
    """A cohort's tiles.

    state : (tiles, (1 + slots) * (d + intercept) * L), the parameters first
    hyper : (tiles, 2 * (hyper + 1) * L): for the weights, then for the intercept; the last row of each is l2
    scheduled : (1 or steps, tiles, m * L), the values of the m scheduled hyper-parameters at each step
    which : (2, m), their rows in each half of hyper, or -1: an intercept's decay stays zero
    memory : (tiles, memory * L), what the rule keeps for each lane
    bad : (tiles, L), the first step with a residual that is not finite, or 0
    """

    state: Any
    hyper: Any
    scheduled: Any
    which: Any
    memory: Any
    bad: Any


class Scratch(NamedTuple):
    """A thread's memory: offsets (CHUNK,), targets (CHUNK,), margins, gradient, the step's quantities, check (L,) and
    the batch's loss (L,) float64.
    """

    offsets: Any
    y: Any
    Z: Any
    G: Any
    c: Any
    check: Any
    loss: Any


class Need(NamedTuple):
    """What a large batch's sums are for: whether the rule needs its loss, a compile-time constant."""

    batch_loss: bool


def part_rows(rows: int, parts: int) -> int:
    """Return the rows of each part of a large batch: whole chunks, so that no cut between calls changes a sum."""
    return -(-rows // (parts * CHUNK)) * CHUNK


@jit
def gather(data, low, count, scratch):
    """Look up where the rows order[low : low + count] begin, and their targets.

    The last row stands in for what a register block takes along beyond them.
    """
    for i in range(count):
        row = data.order[low + i]
        scratch.offsets[i] = np.int64(row) * data.d
        scratch.y[i] = data.y[row]
    for i in range(count, count + MOST_ROWS):
        scratch.offsets[i] = scratch.offsets[count - 1]


@jit
def prefetch_rows(data, low, high):
    """Ask for the rows order[low : high], which are needed soon: shuffled rows then cost 1.1 times sequential ones."""
    per_line = 64 // data.X.itemsize
    for i in range(low, high):
        start = np.int64(data.order[i]) * data.d
        for line in range(0, data.d + per_line - 1, per_line):
            prefetch(data.X, start + line)


@jit
def margins(shape, data, count, W, intercept, scratch, ahead):
    """Z (count, L) = X W + intercept, for the rows that were gathered.

    Meanwhile rows ahead[0] : ahead[1] are prefetched, at most as many as are passed.
    """
    L, block, Z, d = static(shape, "lanes"), static(shape, "rows"), scratch.Z, data.d
    whole = -(-count // block) * block if count >= block else 0
    for v in range(0, L, static(shape, "width")):
        bias = load(shape, W, d * L + v) if intercept else zeros(shape, W)
        for i in range(max(count, whole)):
            store(Z, i * L + v, bias)
    for j in range(0, d, COLUMNS):
        inner = min(COLUMNS, d - j)
        for g in range(0, L, static(shape, "group")):
            for i in range(0, whole, block):
                if j + g == 0:
                    prefetch_rows(data, ahead[0] + i, min(ahead[0] + i + block, ahead[1]))
                margin_block(shape, "rows", data.X, scratch.offsets, i, j, inner, W, j * L + g, Z, i * L + g)
            for i in range(whole, count):
                if j + g == 0:
                    prefetch_rows(data, ahead[0] + i, min(ahead[0] + i + 1, ahead[1]))
                margin_block(shape, "one", data.X, scratch.offsets, i, j, inner, W, j * L + g, Z, i * L + g)


@jit
def add_feature_gradients(shape, data, j, features, count, scratch, G, g):
    """Add to G[g:] (features, L) the gradient of features j ... of the rows that were gathered; R is in Z."""
    for v in range(0, static(shape, "lanes"), static(shape, "group")):
        if features == static(shape, "rows"):
            gradient_block(shape, "rows", data.X, scratch.offsets, 0, j, count, scratch.Z, v, G, g + v)
        else:
            gradient_block(shape, "one", data.X, scratch.offsets, 0, j, count, scratch.Z, v, G, g + v)


@jit
def add_intercept_gradient(shape, count, scratch, G, g):
    """Add to G[g:] (L) the intercept's gradient: the sum of the residuals."""
    L = static(shape, "lanes")
    for v in range(0, L, static(shape, "width")):
        total = load(shape, G, g + v)
        for i in range(count):
            total = total + load(shape, scratch.Z, i * L + v)
        store(G, g + v, total)


@jit
def add_gradient(shape, data, count, intercept, scratch, G):
    """Add to G (d + intercept, L) the whole gradient of the rows that were gathered."""
    L, block, d = static(shape, "lanes"), static(shape, "rows"), data.d
    j = 0
    while j < d:
        features = block if j + block <= d else 1
        add_feature_gradients(shape, data, j, features, count, scratch, G, j * L)
        j += features
    if intercept:
        add_intercept_gradient(shape, count, scratch, G, d * L)


@jit
def clear(shape, array, start, count):
    """Set `count` rows of L lanes to zero."""
    for v in range(0, count * static(shape, "lanes"), static(shape, "width")):
        store(array, start + v, zeros(shape, array))


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
def apply_all(rule, shape, state, hyper, c, d, intercept, G):
    """Every parameter's step, from the gradient G (d + intercept, L)."""
    L, half = static(shape, "lanes"), hyper.shape[0] // 2
    apply_rule(rule, shape, state, hyper[:half], c, 0, d, (d + intercept) * L, G, 0)
    if intercept:
        apply_rule(rule, shape, state, hyper[half:], c, d, 1, (d + intercept) * L, G, d * L)


@jit
def weigh(rule, shape, state, hyper, c, feature, count, stride, G, v, used, sums):
    """Add to `sums` the terms of some parameters in the lanes at v, of which the first `used` count."""
    L = static(shape, "lanes")
    l2_row = static(rule, "hyper") * L
    for j in range(feature, feature + count):
        at = j * L + v
        w, l2 = load(shape, state, at), load(shape, hyper, l2_row + v)
        slots, quantities = load_slots(rule, shape, state, at, stride), rows(rule, shape, c, v, "prepared")
        h, gradient = lane(rule, shape, hyper, v), load(shape, G, at) + l2 * w
        sums = add_terms(sums, measure(rule, h, quantities, w, gradient, slots, l2), used)
    return sums


@only_if("sums")
def conclude_step(rule, shape, tile, c, t, d, intercept, G, loss, scale):
    """Sum what the rule measures over all parameters, and conclude its quantities of the step.

    tile: (state, hyper, memory); `loss` (L,) float64 is the batch's, `scale` one over its rows.
    """
    state, hyper, memory = tile
    L, half, width = static(shape, "lanes"), hyper.shape[0] // 2, static(shape, "width")
    stride = (d + intercept) * L
    for v in range(0, L, width):
        sums = no_sums(rule, shape)
        sums = weigh(rule, shape, state, hyper[:half], c, 0, d, stride, G, v, width, sums)
        sums = weigh(rule, shape, state, hyper[half:], c, d, int(intercept), stride, G, v, width, sums)
        totals = narrow(state, sums, False)
        h, m = lane(rule, shape, hyper, v), rows(rule, shape, memory, v, "memory")
        batch = narrow(state, (load(shape, loss, v) * scale,), False)[0]
        quantities, kept = conclude(rule, h, rows(rule, shape, c, v, "prepared"), t, m, totals, batch)
        store_rows(rule, shape, c, v, quantities)
        store_rows(rule, shape, memory, v, kept)


@jit
def begin_step(rule, shape, hyper, scheduled, which, memory, t, c):
    """Put a step's scheduled values into both halves of `hyper`, and prepare the rule's quantities of step t."""
    L, half = static(shape, "lanes"), hyper.shape[0] // 2
    for v in range(0, L, static(shape, "width")):
        for part in range(2):
            for m in range(which.shape[1]):
                if which[part, m] >= 0:
                    store(hyper, part * half + which[part, m] * L + v, load(shape, scheduled, m * L + v))
        kept = rows(rule, shape, memory, v, "memory")
        quantities, kept = prepare(rule, lane(rule, shape, hyper, v), t, kept)
        store_rows(rule, shape, c, v, quantities)
        store_rows(rule, shape, memory, v, kept)


@jit
def note_bad(check, bad, t):
    """Note step t in the lanes whose check is not a number, where no earlier step was noted."""
    for index in range(bad.shape[0]):
        if check[index] != check[index] and bad[index] == 0:
            bad[index] = t


@only_if("batch_loss")
def note_losses(_need, loss, shape, Z, y, rows, out):
    """Add the losses of Z (rows, L) to `out` (L)."""
    add_losses(loss, shape, Z, y, rows, 1, out)


@jit
def residual_chunk(rule, shape, data, low, count, scale, W, intercept, scratch, bad, t, ahead, loss):
    """Leave in Z the scaled residuals of the rows order[low : low + count]; prefetch what follows up to `ahead`.

    Where the rule needs it, the rows' losses are added to `loss` (L,) float64.
    """
    gather(data, low, count, scratch)
    margins(shape, data, count, W, intercept, scratch, (low + count, ahead))
    note_losses(rule, data.loss, shape, scratch.Z, scratch.y, count, loss)
    residuals(data.loss, shape, scratch.Z, scratch.y, count, scale, scratch.check)
    note_bad(scratch.check, bad, t)


@jit
def finish_small_batch(rule, shape, data, count, state, hyper, intercept, scratch):
    """Finish the gradient of a few features and hand it to the rule: it never leaves the first-level cache."""
    L, block, d, G = static(shape, "lanes"), static(shape, "rows"), data.d, scratch.G
    half, stride = hyper.shape[0] // 2, (d + intercept) * L
    j = 0
    while j < d:
        features = block if j + block <= d else 1
        clear(shape, G, 0, features)
        add_feature_gradients(shape, data, j, features, count, scratch, G, 0)
        apply_rule(rule, shape, state, hyper[:half], scratch.c, j, features, stride, G, 0)
        j += features
    if intercept:
        clear(shape, G, 0, 1)
        add_intercept_gradient(shape, count, scratch, G, 0)
        apply_rule(rule, shape, state, hyper[half:], scratch.c, d, 1, stride, G, 0)


@jit
def tile_step(rule, shape, data, lanes, scratch, batch, tile, intercept):
    """One step of one tile.

    batch: (first row, end, end of the rows to prefetch, step t, index of the scheduled values)
    """
    start, stop, ahead, t, index = batch
    state, hyper, bad = lanes.state[tile], lanes.hyper[tile], lanes.bad[tile]
    scale = data.X.dtype.type(1.0 / (stop - start))
    begin_step(rule, shape, hyper, lanes.scheduled[index, tile], lanes.which, lanes.memory[tile], t, scratch.c)
    if stop - start <= CHUNK and static(rule, "sums") == 0:
        count = stop - start
        residual_chunk(rule, shape, data, start, count, scale, state, intercept, scratch, bad, t, ahead, scratch.loss)
        finish_small_batch(rule, shape, data, stop - start, state, hyper, intercept, scratch)
        return
    clear(shape, scratch.G, 0, data.d + intercept)
    clear(shape, scratch.loss, 0, 1)
    for low in range(start, stop, CHUNK):
        count = min(CHUNK, stop - low)
        residual_chunk(rule, shape, data, low, count, scale, state, intercept, scratch, bad, t, ahead, scratch.loss)
        add_gradient(shape, data, count, intercept, scratch, scratch.G)
    kept = (state, hyper, lanes.memory[tile])
    conclude_step(rule, shape, kept, scratch.c, t, data.d, intercept, scratch.G, scratch.loss, 1.0 / (stop - start))
    apply_all(rule, shape, state, hyper, scratch.c, data.d, intercept, scratch.G)


@jit
def advance(rule, shape, data, lanes, scratch, span, intercept):
    """Take steps with the tiles of one worker.

    The worker walks the batches once and applies each to all of its tiles while the rows are in its cache.

    span: (worker, workers, first batch of the epoch, number of steps, t of the first step in the run, batch size)
    """
    worker, workers, first, steps, t, b = span
    tiles, n = lanes.state.shape[0], data.y.shape[0]
    for step in range(steps):
        start = (first + step) * b
        stop = min(start + b, n)
        index = min(step, lanes.scheduled.shape[0] - 1)
        for tile in range(worker, tiles, workers):
            ahead = min(stop + b, n) if tile == worker else stop
            tile_step(rule, shape, data, lanes, scratch, (start, stop, ahead, t + step, index), tile, intercept)


@jit
def accumulate(need, shape, data, W, bad, gradients, losses, scratch, span, intercept):
    """Add part of a large batch to gradients (parts, tiles, (d + intercept) * L), and to losses (parts, tiles, L).

    The batch is cut into parts, each summed by itself: a fixed order whatever the number of threads. One call takes the
    rows `low` to `high` of every part, so that it stays short.

    span: (worker, workers, rows of a part, low, high, end of the batch, t); the gradient's mean is over `end` rows.
    """
    worker, workers, size, low, high, end, t = span
    parts, tiles = gradients.shape[0], gradients.shape[1]
    scale = data.X.dtype.type(1.0 / end)
    for item in range(worker, parts * tiles, workers):
        part, tile = item // tiles, item % tiles
        last = min((part + 1) * size, end, part * size + high)
        for start in range(part * size + low, last, CHUNK):
            count = min(CHUNK, last - start)
            loss = losses[part, tile]
            residual_chunk(
                need, shape, data, start, count, scale, W[tile], intercept, scratch, bad[tile], t, last, loss
            )
            add_gradient(shape, data, count, intercept, scratch, gradients[part, tile])


@jit
def apply_gradients(rule, shape, lanes, gradients, losses, scratch, span, d, intercept):
    """Add a large batch's gradient part by part, and take the rule's step; span: (worker, workers, t, rows)."""
    worker, workers, t, count = span
    L = static(shape, "lanes")
    for tile in range(worker, gradients.shape[1], workers):
        total = gradients[0, tile]
        for part in range(1, gradients.shape[0]):
            for at in range(0, (d + intercept) * L, static(shape, "width")):
                store(total, at, load(shape, total, at) + load(shape, gradients[part, tile], at))
        clear(shape, scratch.loss, 0, 1)
        for part in range(losses.shape[0]):
            for v in range(0, L, static(shape, "width")):
                store(scratch.loss, v, load(shape, scratch.loss, v) + load(shape, losses[part, tile], v))
        state, hyper = lanes.state[tile], lanes.hyper[tile]
        begin_step(rule, shape, hyper, lanes.scheduled[0, tile], lanes.which, lanes.memory[tile], t, scratch.c)
        kept = (state, hyper, lanes.memory[tile])
        conclude_step(rule, shape, kept, scratch.c, t, d, intercept, total, scratch.loss, 1.0 / count)
        apply_all(rule, shape, state, hyper, scratch.c, d, intercept, total)


@jit
def read_iterate(rule, shape, lanes, out, span, count):
    """Put the iterate that is reported into out (tiles, count * L); span: (worker, workers)."""
    L = static(shape, "lanes")
    for tile in range(span[0], out.shape[0], span[1]):
        state, hyper, to = lanes.state[tile], lanes.hyper[tile], out[tile]
        for j in range(count):
            for v in range(0, L, static(shape, "width")):
                at = j * L + v
                h, s = lane(rule, shape, hyper, v), load_slots(rule, shape, state, at, count * L)
                store(to, at, readout(rule, h, load(shape, state, at), s))
