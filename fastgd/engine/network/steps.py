"""The steps of networks: forward and back through the layers with a batch, then the rule.

Where a batch is passed at once, the gradient never leaves the first-level cache: it is finished for a few inputs of a
layer at a time and handed to the rule there, behind the deltas of the layer below, which need the weights as they were.
Rules that sum over all parameters first, and batches of more rows than are passed at once, have it whole.
"""

import numpy as np

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import load, spread, store
from fastgd.engine.arrays import PARTIAL_SUM_ROWS, by_shape
from fastgd.engine.network.first_layer import known_in_parts, look_up_batch, prefetch
from fastgd.engine.network.passes import (
    BIAS,
    INPUTS,
    OUTPUTS,
    STRIDE,
    UNITS,
    WEIGHTS,
    add_bias_gradient,
    add_gradients,
    add_weight_gradient,
    forward,
    send_back,
    take_margins,
)
from fastgd.engine.row_sums import add_chunk, clear, clear_chunk, place_of, rounded
from fastgd.engine.rule_steps import begin_step, note_bad, parameter_rows, take_step


@jit(inline="always")
def take_deltas(shape, layers, data, low, rows, W, scale, loss, losses, scratch, units):
    """Make deltas of the last layer's units for the rows order[low : low + rows]; add their losses to `loss` (L,)."""
    look_up_batch(data, layers.targets, low, rows, scratch)
    forward(shape, layers, data, scratch.offsets, rows, W, units, True)
    if losses:
        call_at(data.losses, shape, units.margins, scratch.y, rows, loss)
    call_at(data.residuals, shape, units.margins, scratch.y, rows, scale, scratch.check)
    take_margins(shape, layers.table, rows, units)


@jit(inline="always")
def add_checks(shape, check, out):
    """Add what tells of residuals that are not finite."""
    for v in range(0, static(shape, "lanes"), static(shape, "width")):
        store(out, v, load(shape, out, v) + load(shape, check, v))


@jit
def advance(calls, shape, layers, data, lanes, scratch, units, span):
    """Take the steps of a `StepSpan` with one tile of the worker after another.

    A network's parameters and slots are more than the rows of a batch: they stay in the cache from step to step.
    """
    n, b = data.order.shape[0], span.batch_size
    at_once = b <= data.chunk and calls.rounds.shape[0] == 0
    for tile in range(span.worker, lanes.state.shape[0], span.workers):
        for step in range(span.steps):
            start, t = (span.batch + step) * b, span.t + step
            stop, at = min(start + b, n), min(step, lanes.scheduled.shape[0] - 1)
            scale = data.X.dtype.type(1.0 / (stop - start))
            prefetch(data, stop, min(stop + b, n))
            step_with(shape, calls, layers, data, lanes, tile, start, stop, scale, at, t, scratch, units, at_once)


@jit(inner=True)
def step_of_tile(shape, calls, layers, data, lanes, tile, start, stop, scale, at, t, scratch, units, at_once):
    """Take step t with one tile; `at_once`: batches are passed at once, and nothing needs the whole gradient."""
    if at_once and known_in_parts(data):
        step_at_once(calls, shape, layers, data, lanes, tile, start, stop, scale, at, t, scratch, units)
    else:
        step_as_a_whole(shape, calls, layers, data, lanes, tile, start, stop, scale, at, t, scratch, units, False)


@jit(inner=True)
def step_as_a_whole(shape, calls, layers, data, lanes, tile, start, stop, scale, at, t, scratch, units, _):
    """Take step t with one tile, or with a single lane, when the whole gradient is there."""
    bad = lanes.bad[tile]
    sum_rows(shape, layers, data, lanes.state[tile], start, stop, scale, calls.losses, scratch, units)
    note_bad(scratch.batch_check, bad, t)
    take_step(calls, shape, lanes, scratch, tile, at, t, stop - start, data.X.dtype.type(1.0))


step_with = by_shape(step_of_tile, step_as_a_whole)


@jit(inline="always")
def step_at_once(calls, shape, layers, data, lanes, tile, start, stop, scale, at, t, scratch, units):
    """Take step t with one tile, from a batch that is passed at once."""
    begin_step(calls, shape, lanes, tile, at, t, scratch)
    L, table, rows, state, bad = static(shape, "lanes"), layers.table, stop - start, lanes.state[tile], lanes.bad[tile]
    take_deltas(shape, layers, data, start, rows, state, scale, scratch.loss, False, scratch, units)
    note_bad(scratch.check, bad, t)
    hyper, stride, deltas, G = lanes.hyper[tile], parameter_rows(lanes.groups) * L, units.values, scratch.G
    of_weights, of_biases = hyper[: hyper.shape[0] // 2], hyper[hyper.shape[0] // 2 :]
    for k in range(table.shape[0] - 1, -1, -1):
        if k > 0:
            send_back(shape, table, k, rows, state, deltas, units)
        outputs = table[k, OUTPUTS]
        for first in range(0, table[k, INPUTS], static(shape, "rows")):
            some = min(static(shape, "rows"), table[k, INPUTS] - first)
            clear(shape, G, 0, some * outputs)
            add_weight_gradient(shape, table, k, data, scratch.offsets, rows, units, deltas, first, some, G, 0)
            row = table[k, WEIGHTS] + first * outputs
            call_at(calls.apply, shape, state, of_weights, scratch.c, row, some * outputs, stride, G, 0)
        if table[k, BIAS] >= 0:
            clear(shape, G, 0, outputs)
            add_bias_gradient(shape, table, k, rows, deltas, G, 0)
            call_at(calls.apply, shape, state, of_biases, scratch.c, table[k, BIAS], outputs, stride, G, 0)
        deltas = units.slopes


@jit(inline="always")
def sum_rows(shape, layers, data, W, first, last, scale, losses, scratch, units):
    """Leave in `scratch.G` the gradient of the rows order[first:last] at W, and in `scratch.loss` their losses.

    `scratch.batch_check` is NaN where a residual was not finite.
    """
    G, total, parameters, many = scratch.G, scratch.total, layers.parameters, last - first > data.chunk
    clear(shape, G, 0, parameters)
    if many:
        clear(shape, total, 0, parameters)
    clear(shape, scratch.loss, 0, 1)
    clear(shape, scratch.batch_check, 0, 1)
    for low in range(first, last, data.chunk):
        rows = min(data.chunk, last - low)
        take_deltas(shape, layers, data, low, rows, W, scale, scratch.loss, losses, scratch, units)
        add_checks(shape, scratch.check, scratch.batch_check)
        if many:
            sum_chunk(shape, layers, data, rows, W, scratch, units, total)
        else:
            add_gradients(shape, layers, data, scratch.offsets, rows, W, units, G)
    if many:
        rounded(shape, total, G, parameters)


@jit(inline="always")
def sum_chunk(shape, layers, data, rows, W, scratch, units, total):
    """Add to a float64 total (parameters, L) the gradient of the rows whose deltas have been taken."""
    G = place_of(data.X, total, scratch.G)  # chunk by chunk also of sparse rows: other layers' products know one type
    clear_chunk(shape, G, total, layers.parameters)
    add_gradients(shape, layers, data, scratch.offsets, rows, W, units, G)
    add_chunk(shape, G, total, layers.parameters)


@jit
def accumulate(shape, layers, data, sums, scratch, units, span):
    """Add part of a large batch to its `GradientSums`: some rows of every part, those of a `PartSpan`."""
    worker, workers, size, low, high, end, t = span
    parts, tiles = sums.gradients.shape[0], sums.gradients.shape[1]
    scale = data.X.dtype.type(1.0 / end)
    for item in range(worker, parts * tiles, workers):
        part, tile = item // tiles, item % tiles
        last, bad = min((part + 1) * size, end, part * size + high), sums.bad[tile]
        loss, total, W = sums.losses[part, tile], sums.gradients[part, tile], sums.W[tile]
        for start in range(part * size + low, last, data.chunk):
            rows = min(data.chunk, last - start)
            take_deltas(shape, layers, data, start, rows, W, scale, loss, sums.wants_losses, scratch, units)
            note_bad(scratch.check, bad, t)
            sum_chunk(shape, layers, data, rows, W, scratch, units, total)


@jit(inline="always")
def add_measure(shape, measure, target, rows, out, scratch, units):
    """Add the measure of some rows, by address, to out (lanes,); that of a single lane stands in a whole vector.

    `target`: which of a row's targets it begins with.
    """
    margins, y = units.margins[target * static(shape, "lanes") :], scratch.y[target:]
    if static(shape, "single") > 0:
        store(scratch.loss, 0, spread(shape, out[0]))
        call_at(measure, shape, margins, y, rows, scratch.loss)
        out[0] = scratch.loss[0]
    else:
        call_at(measure, shape, margins, y, rows, out)


@jit
def evaluate_blocks(shape, layers, data, W, measures, totals, scratch, units, span):
    """Write the sums of some measures over blocks of rows to totals (blocks, tiles, measures, L) float64.

    measures: (measures, 2), the kernels that sum them, by address, and the target that each begins with. The worker's
    blocks are those of a `BlockSpan`.
    """
    worker, workers, first = span
    blocks, tiles, n = totals.shape[0], totals.shape[1], data.order.shape[0]
    for item in range(worker, blocks * tiles, workers):
        block, tile = item // tiles, item % tiles
        start = (first + block) * PARTIAL_SUM_ROWS
        stop = min(start + PARTIAL_SUM_ROWS, n)
        totals[block, tile] = 0
        for low in range(start, stop, data.chunk):
            rows = min(data.chunk, stop - low)
            look_up_batch(data, layers.targets, low, rows, scratch)
            forward(shape, layers, data, scratch.offsets, rows, W[tile], units, False)
            for k in range(measures.shape[0]):
                add_measure(shape, measures[k, 0], measures[k, 1], rows, totals[block, tile, k], scratch, units)


@jit
def raise_slopes(shape, layers, data, W, steepest, scratch, units, span):
    """Raise steepest (parts, tiles, hidden units * L) to the largest |slope| of each unit at the rows of a `PartSpan`.

    A slope that is no number makes its unit's NaN.
    """
    worker, workers, size, low, high, end, _ = span
    parts, tiles = steepest.shape[0], steepest.shape[1]
    for item in range(worker, parts * tiles, workers):
        part, tile = item // tiles, item % tiles
        last = min((part + 1) * size, end, part * size + high)
        for start in range(part * size + low, last, data.chunk):
            rows = min(data.chunk, last - start)
            look_up_batch(data, layers.targets, start, rows, scratch)
            forward(shape, layers, data, scratch.offsets, rows, W[tile], units, True)
            keep_steepest(shape, layers.table, rows, units.slopes, steepest[part, tile])


@jit(inner=True)
def keep_steepest(shape, table, rows, slopes, out):
    """Raise out (hidden units, L) to the largest |slope| of each at some rows, which have passed forward."""
    L, to = static(shape, "lanes"), 0
    for k in range(table.shape[0] - 1):
        at, stride = table[k, UNITS] * L, table[k, STRIDE] * L
        for j in range(table[k, OUTPUTS]):
            found = load(shape, out, to)
            for i in range(rows):
                found = np.maximum(found, abs(load(shape, slopes, at + i * stride + j * L)))
            store(out, to, found)
            to += L
