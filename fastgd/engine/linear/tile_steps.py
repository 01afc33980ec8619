"""The steps of tiles of lanes that walk the rows together.

A mini-batch step of a tile is `Z = X_b W`, `R = loss'(Z, y) / b`, `G = X_b' R`, and then the rule on each feature.
"""

import numpy as np

from fastgd.core.compile import jit
from fastgd.core.static import call_at, static
from fastgd.core.vectors import load, store
from fastgd.engine.arrays import CHUNK, PLAIN, SAGA, SNAPSHOT, SVRG, Points, by_rows
from fastgd.engine.linear import dense, sparse
from fastgd.engine.linear.dense import add_feature_gradients, add_intercept_gradient
from fastgd.engine.linear.sums import add_chunk, clear, clear_chunk, place_of, rounded

BLOCKS = 4  # register blocks of features whose gradient is handed to the rule at once

gather = by_rows(dense.gather, sparse.gather)
margins = by_rows(dense.margins, sparse.margins)
add_gradient = by_rows(dense.add_gradient, sparse.add_gradient)
in_blocks = by_rows(dense.in_blocks, sparse.in_blocks)


@jit
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
def apply_all(calls, shape, state, hyper, c, d, intercept, G):
    """Every parameter's step, from the gradient G (d + intercept, L)."""
    L, half = static(shape, "lanes"), hyper.shape[0] // 2
    call_at(calls.apply, shape, (state, hyper[:half], c, 0, d, (d + intercept) * L, G, 0))
    if intercept:
        call_at(calls.apply, shape, (state, hyper[half:], c, d, 1, (d + intercept) * L, G, d * L))


@jit(inline="always")
def sum_rounds(calls, shape, state, exact, memory, scratch, t, d, intercept, G):
    """Sum what the rule measures over all parameters, and conclude its quantities of the step, round by round."""
    L, half, exact_c, c, sums = static(shape, "lanes"), exact.shape[0] // 2, scratch.exact_c, scratch.c, scratch.sums
    width, stride = static(shape, "width"), (d + intercept) * L
    for r in range(calls.rounds.shape[0]):
        weigh, conclude = calls.rounds[r, 0], calls.rounds[r, 1]
        for v in range(0, L, width):
            call_at(weigh, shape, (state, exact[:half], exact_c, 0, d, stride, G, v, width, sums))
            if intercept:
                call_at(weigh, shape, (state, exact[half:], exact_c, d, 1, stride, G, v, width, sums))
            call_at(conclude, shape, (exact, memory, exact_c, c, t, v, sums, scratch.loss, False))


@jit
def note_bad(check, bad, t):
    """Note step t in the lanes whose check is not a number, where no earlier step was noted."""
    for index in range(bad.shape[0]):
        if check[index] != check[index] and bad[index] == 0:
            bad[index] = t


@jit
def recall(shape, estimator, table, order, low, count, scale, Z):
    """Take from the residuals Z of the rows order[low : low + count] what the table has for them, and scale them.

    SAGA's table then holds the new ones. A snapshot takes nothing.
    """
    L = static(shape, "lanes")
    for i in range(count):
        row = np.int64(order[low + i]) * L
        for v in range(0, L, static(shape, "width")):
            r = load(shape, Z, i * L + v)
            old = r * 0 if estimator == SNAPSHOT else load(shape, table, row + v)
            store(Z, i * L + v, (r - old) * scale)
            if estimator != SVRG:
                store(table, row + v, r)


@jit(inline="always")
def residual_chunk(shape, data, low, count, scale, points, t, ahead, intercept, scratch):
    """Leave in Z the scaled residuals of the rows order[low : low + count]; prefetch what follows up to `ahead`."""
    gather(data, low, count, scratch)
    margins(shape, data, count, points.W, intercept, scratch, (low + count, ahead))
    if points.losses:
        call_at(data.losses, shape, (scratch.Z, scratch.y, count, points.loss))
    plain = points.estimator == PLAIN
    unscaled = data.X.dtype.type(1.0)
    call_at(data.residuals, shape, (scratch.Z, scratch.y, count, scale if plain else unscaled, scratch.check))
    note_bad(scratch.check, points.bad, t)
    if not plain:
        recall(shape, points.estimator, points.table, data.order, low, count, scale, scratch.Z)


@jit(inline="always")
def sum_chunk(shape, data, count, intercept, scratch, total):
    """Add to a float64 total (d + intercept, L) the gradient of the rows that were gathered."""
    G, parameters = place_of(data, total, scratch.G), data.d + intercept
    clear_chunk(shape, G, total, parameters)
    add_gradient(shape, data, count, intercept, scratch, G)
    add_chunk(shape, G, total, parameters)


@jit(inline="always")
def finish_small_batch(calls, shape, data, count, lanes, tile, share, intercept, scratch):
    """Finish the gradient of some features and hand it to the rule: it never leaves the first-level cache."""
    L, block, d, G = static(shape, "lanes"), static(shape, "rows"), data.d, scratch.G
    state, hyper, mean = lanes.state[tile], lanes.hyper[tile], lanes.mean[tile]
    half, stride = hyper.shape[0] // 2, (d + intercept) * L
    for first in range(0, d, block * BLOCKS):
        features = min(block * BLOCKS, d - first)
        clear(shape, G, 0, features)
        j = 0
        while j < features:
            some = block if j + block <= features else 1
            add_feature_gradients(shape, data, first + j, some, count, scratch, G, j * L)
            j += some
        blend(shape, lanes.estimator, mean, first * L, features, share, G, 0)
        call_at(calls.apply, shape, (state, hyper[:half], scratch.c, first, features, stride, G, 0))
    if intercept:
        clear(shape, G, 0, 1)
        add_intercept_gradient(shape, count, scratch.Z, G, 0)
        blend(shape, lanes.estimator, mean, d * L, 1, share, G, 0)
        call_at(calls.apply, shape, (state, hyper[half:], scratch.c, d, 1, stride, G, 0))


@jit(inline="always")
def finish_large_batch(calls, shape, lanes, tile, t, share, d, intercept, G, scratch):
    """Hand a whole gradient G (d + intercept, L) to the rule."""
    state, hyper = lanes.state[tile], lanes.hyper[tile]
    blend(shape, lanes.estimator, lanes.mean[tile], 0, d + intercept, share, G, 0)
    sum_rounds(calls, shape, state, lanes.exact[tile], lanes.memory[tile], scratch, t, d, intercept, G)
    apply_all(calls, shape, state, hyper, scratch.c, d, intercept, G)


@jit
def begin_step(calls, shape, lanes, tile, index, t, scratch):
    """Put a step's scheduled values into their places, and prepare the rule's quantities of step t."""
    if calls.begin == 0:
        return
    hyper, exact, memory = lanes.hyper[tile], lanes.exact[tile], lanes.memory[tile]
    scheduled = lanes.scheduled[index, tile]
    call_at(calls.begin, shape, (hyper, exact, scheduled, 0, lanes.which, memory, t, scratch.exact_c, scratch.c))


@jit
def scale_losses(shape, loss, scale):
    """Make means of a batch's summed losses (L,)."""
    for index in range(static(shape, "lanes")):
        loss[index] *= scale


@jit(inline="always")
def tile_step(calls, shape, data, lanes, scratch, batch, tile, intercept):
    """One step of one tile.

    batch: (first row, end, end of the rows to prefetch, step t, index of the scheduled values)
    """
    start, stop, ahead, t, index = batch
    kind = data.X.dtype.type
    scale, share = kind(1.0 / (stop - start)), kind((stop - start) / data.y.shape[0])
    points = Points(lanes.state[tile], lanes.bad[tile], scratch.loss, calls.losses, lanes.estimator, lanes.table[tile])
    begin_step(calls, shape, lanes, tile, index, t, scratch)
    if in_blocks(data) and stop - start <= CHUNK and calls.rounds.shape[0] == 0:
        residual_chunk(shape, data, start, stop - start, scale, points, t, ahead, intercept, scratch)
        finish_small_batch(calls, shape, data, stop - start, lanes, tile, share, intercept, scratch)
        return
    parameters, total, many = data.d + intercept, scratch.total, stop - start > CHUNK
    clear(shape, scratch.G, 0, parameters)
    if many:
        clear(shape, total, 0, parameters)
    clear(shape, scratch.loss, 0, 1)
    for low in range(start, stop, CHUNK):
        count = min(CHUNK, stop - low)
        residual_chunk(shape, data, low, count, scale, points, t, ahead, intercept, scratch)
        if many:
            sum_chunk(shape, data, count, intercept, scratch, total)
        else:
            add_gradient(shape, data, count, intercept, scratch, scratch.G)
    if many:
        rounded(shape, total, scratch.G, parameters)
    scale_losses(shape, scratch.loss, 1.0 / (stop - start))
    finish_large_batch(calls, shape, lanes, tile, t, share, data.d, intercept, scratch.G, scratch)


@jit
def advance(calls, shape, data, lanes, scratch, span, intercept):
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
            tile_step(calls, shape, data, lanes, scratch, (start, stop, ahead, t + step, index), tile, intercept)


@jit
def accumulate(how, shape, data, W, lanes, gradients, losses, scratch, span, intercept):
    """Add part of a large batch to gradients (parts, tiles, (d + intercept) * L), and to losses (parts, tiles, L).

    Both are float64.

    The batch is cut into parts, each summed by itself: a fixed order whatever the number of threads. One call takes the
    rows `low` to `high` of every part, so that it stays short.

    how: (whether losses are needed, the estimator)
    span: (worker, workers, rows of a part, low, high, end of the batch, t); the gradient's mean is over `end` rows.
    """
    worker, workers, size, low, high, end, t = span
    parts, tiles = gradients.shape[0], gradients.shape[1]
    scale = data.X.dtype.type(1.0 / end)
    for item in range(worker, parts * tiles, workers):
        part, tile = item // tiles, item % tiles
        last = min((part + 1) * size, end, part * size + high)
        points = Points(W[tile], lanes.bad[tile], losses[part, tile], how[0], how[1], lanes.table[tile])
        for start in range(part * size + low, last, CHUNK):
            count = min(CHUNK, last - start)
            residual_chunk(shape, data, start, count, scale, points, t, last, intercept, scratch)
            sum_chunk(shape, data, count, intercept, scratch, gradients[part, tile])


@jit
def add_parts(shape, parts, tile):
    """Add the parts (parts, tiles, values) of a tile up, in order, into the first."""
    total = parts[0, tile]
    for part in range(1, parts.shape[0]):
        for at in range(0, parts.shape[2], static(shape, "width")):
            store(total, at, load(shape, total, at) + load(shape, parts[part, tile], at))
    return total


@jit
def apply_gradients(calls, shape, lanes, gradients, losses, scratch, span, d, intercept):
    """Add a large batch's gradient part by part, and take the rule's step; span: (worker, workers, t, rows, n)."""
    worker, workers, t, count, n = span
    for tile in range(worker, gradients.shape[1], workers):
        total, loss = add_parts(shape, gradients, tile), add_parts(shape, losses, tile)
        for index in range(loss.shape[0]):
            scratch.loss[index] = loss[index] * (1.0 / count)
        begin_step(calls, shape, lanes, tile, 0, t, scratch)
        G, share = rounded(shape, total, scratch.G, d + intercept), lanes.state.dtype.type(count / n)
        finish_large_batch(calls, shape, lanes, tile, t, share, d, intercept, G, scratch)
