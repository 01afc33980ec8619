"""The steps of tiles on sparse mini-batches: only the parameters of features that occur are touched.

A step of one row takes some 200 ns, so a tile takes many at a time, and what a step works with is looked up before the
first: a view of an array, or an array in a tuple, costs a count of references each time.

Dense and sparse rows share every driver but one: `by_rows` chooses the products by the rows' type, so large batches,
evaluations, line searches and dense updates are the same text. The driver of sparse mini-batches (`sparse_steps.py`)
takes many steps of one tile at a time and looks up what it works with before the first: with b = 1 a step takes some
300 ns, and each view of an array, or array taken from a tuple, would cost 5 to 10 (its references are counted). A row's
margins stay in registers, spread over several sums, because a chain of 75 multiply-adds would take as long as
everything else together; the parameters of the next row, and the entries of the one behind it, are prefetched while
this one's are updated: in shuffled order a row took half as long again without.
"""

from typing import Any, NamedTuple

import numpy as np

from fastgd.core.address_calls import call_at
from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import load, store, zeros
from fastgd.engine.arrays import CHUNK_ROWS, PLAIN
from fastgd.engine.linear.dense import add_intercept_gradient
from fastgd.engine.linear.sparse import prefetch_entries, row_margins
from fastgd.engine.linear.tile_steps import recall
from fastgd.engine.row_places import put_numbers
from fastgd.engine.row_sums import clear
from fastgd.engine.rule_steps import blend, not_finite, note_bad

LISTED_STEPS = 256  # steps whose features are listed before the worker turns to its next tile
TURN_STEPS = 4096  # steps of one row each before it does so: what the tile uses most then stays in the cache


class Touched(NamedTuple):
    """A worker's lists of the features of its batches; where a batch is one row, the row's own list is used.

    places : (d,) int32, where a feature stands in the list of its batch, while that is made; else -1
    features : (most,) int32, the lists of some batches, one after another
    local : (most,) int32, for each entry of their rows the place of its feature in its batch's list
    ends : (LISTED_STEPS + 1, 2) int64, where each batch's list and entries begin
    G : (most * L,), the gradients of a batch's features
    frame : (2 * L,), by what a parameter is multiplied that is read in a step, and written, where it is kept in the
        frame of the window's first step
    """

    places: Any
    features: Any
    local: Any
    ends: Any
    G: Any
    frame: Any


@jit(inner=True)
def collect(data, first, steps, b, touched):
    """List the features of batches, each once, for as many of the steps as there is room for; return their number."""
    features, entries, n, most = 0, 0, data.order.shape[0], touched.local.shape[0]
    for step in range(min(steps, LISTED_STEPS)):
        start = (first + step) * b
        begin, entry = features, entries
        for i in range(start, min(start + b, n)):
            entry += data.indptr[data.order[i] + 1] - data.indptr[data.order[i]]
        if entry > most:
            return step
        touched.ends[step, 0], touched.ends[step, 1] = features, entries
        for i in range(start, min(start + b, n)):
            row = data.order[i]
            for k in range(data.indptr[row], data.indptr[row + 1]):
                j = data.indices[k]
                if touched.places[j] < 0:
                    touched.places[j] = features - begin
                    touched.features[features] = j
                    features += 1
                touched.local[entries] = touched.places[j]
                entries += 1
        for u in range(begin, features):
            touched.places[touched.features[u]] = -1
        touched.ends[step + 1, 0], touched.ends[step + 1, 1] = features, entries
    return min(steps, LISTED_STEPS)


@jit(inner=True, inline="late")
def entries_of(indptr, order, at):
    """Return where the entries of the row order[at] begin, and their number; none behind the last row."""
    if at >= order.shape[0]:
        return 0, 0
    row = order[at]
    return indptr[row], indptr[row + 1] - indptr[row]


@jit(inner=True, inline="late")
def batch_margins(shape, X, indices, indptr, order, y, low, rows, W, bias, Z, targets):
    """Z (rows, L) = X W of the rows order[low : low + rows], with W[bias:] (L) where there is an intercept."""
    for i in range(rows):
        first, entries = entries_of(indptr, order, low + i)
        put_numbers(y, order[low + i], targets, i)
        row_margins(shape, X, indices, first, entries, W, bias, Z, i * static(shape, "lanes"))


@jit(inner=True, inline="late")
def unframe(shape, rows, frame, W, bias, Z):
    """Make margins Z (rows, L) those of the parameters that are kept in a frame, with W[bias:] (L) for bias >= 0."""
    L = static(shape, "lanes")
    for v in range(0, L, static(shape, "width")):
        factor, b = load(shape, frame, v), load(shape, W, bias + v) if bias >= 0 else zeros(shape, W)
        for i in range(rows):
            store(Z, i * L + v, load(shape, Z, i * L + v) * factor + b)


@jit(inner=True)
def add_gradients(shape, X, indptr, order, low, rows, local, entry, Z, G):
    """Add to G (features, L) the gradient of rows whose entries' features stand at local[entry:]; return their end."""
    L = static(shape, "lanes")
    for i in range(rows):
        first, entries = entries_of(indptr, order, low + i)
        for k in range(entries):
            x, at = X[np.uint64(first + k)], np.int64(local[np.uint64(entry + k)]) * L
            for v in range(0, L, static(shape, "width")):
                store(G, at + v, load(shape, G, at + v) + load(shape, Z, i * L + v) * x)
        entry += entries
    return entry


class TileSpan(NamedTuple):
    """Steps of one tile between two turns of its worker.

    batch : the first batch, counted within the epoch
    t : the first step, counted within the run from 1
    place : its place among the scheduled values
    taken, size : the steps of the window that were taken before the first, and those that it has room for
    """

    batch: Any
    steps: Any
    t: Any
    place: Any
    batch_size: Any
    taken: Any
    size: Any


@jit(inner=True)
def tile_steps(calls, shape, data, lanes, window, touched, scratch, span, tile):
    """Take the steps of a `TileSpan`."""
    first_batch, steps, t, place, b, taken, size = span
    X, indices, indptr, y, order, n, d = (
        data.X,
        data.indices,
        data.indptr,
        data.y,
        data.order,
        data.order.shape[0],
        data.d,
    )
    begin_step, apply_rule, catch_up, intercept = (
        calls.rule.begin,
        calls.rule.apply,
        calls.coast.catch_up,
        data.intercept,
    )
    keep_matrix, keep_quantities, shared = calls.coast.keep_matrix, calls.coast.keep_quantities, calls.shared
    residuals, row_step, touched_step = data.residuals, calls.row, calls.touched
    state, hyper, memory, bad = lanes.state[tile], lanes.hyper[tile], lanes.memory[tile], lanes.bad[tile]
    scheduled, which, estimator = lanes.scheduled.reshape(-1), lanes.which, lanes.estimator
    exact, exact_c = lanes.exact[tile], scratch.exact_c
    table, mean = lanes.table[tile], lanes.mean[tile]
    of_weights, of_intercept = hyper[: hyper.shape[0] // 2], hyper[hyper.shape[0] // 2 :]
    Z, c, check, targets, bias_gradient = scratch.Z, scratch.c, scratch.check, scratch.y, scratch.G
    features, local, ends, G, frame = touched.features, touched.local, touched.ends, touched.G, touched.frame
    put_frame = calls.coast.put_frame
    L, kind, tiles, values = static(shape, "lanes"), X.dtype.type, lanes.state.shape[0], which.shape[1]
    stride, bias, last = (d + intercept) * L, d * L if intercept else -1, lanes.scheduled.shape[0] - 1
    single = b == 1 and estimator == PLAIN
    last_steps, nodes, rights, ratio = window.last[tile], window.nodes[tile], window.rights[tile], window.ratio[tile]
    kept_c, kept_h, horizon = window.kept_c[tile], window.kept_h[tile], window.horizon
    of_one, memory_of_one, c_of_one = window.hyper[tile], window.memory[tile], window.c[tile]
    exact_of_one, exact_c_of_one = window.exact[tile], window.exact_c[tile]
    scheduled_of_one, weights_of_one = window.scheduled.reshape(-1), of_one[: of_one.shape[0] // 2]
    for step in range(steps):
        now, start = taken + step, (first_batch + step) * b
        rows = min(b, n - start)
        scale, share = kind(1.0 / rows), kind(rows / n)
        at = (min(place + step, last) * tiles + tile) * values * L
        if begin_step:
            call_at(begin_step, shape, hyper, exact, scheduled, at, which, memory, t + step, exact_c, c)
        begin, count = (
            entries_of(indptr, order, start) if single else (ends[step, 0], ends[step + 1, 0] - ends[step, 0])
        )
        if put_frame:
            if now == 0:
                call_at(keep_matrix, shape, of_weights, c, nodes, rights, 0, size)
            call_at(put_frame, shape, nodes, frame, now)
        elif catch_up:
            call_at(
                catch_up, shape, state, of_weights, mean, indices if single else features, begin, count, stride,
                last_steps, nodes, rights, ratio, kept_c, kept_h, horizon, now, size,
            )  # fmt: skip
        if not single:
            clear(shape, G, 0, count)
            clear(shape, bias_gradient, 0, 1)
        entry = ends[step, 1]
        for low in range(start, start + rows, CHUNK_ROWS):
            some = min(CHUNK_ROWS, start + rows - low)
            outside = -1 if put_frame else bias
            batch_margins(shape, X, indices, indptr, order, y, low, some, state, outside, Z, targets)
            if put_frame:
                unframe(shape, some, frame, state, bias, Z)
            call_at(residuals, shape, Z, targets, some, scale if estimator == PLAIN else kind(1.0), check)
            if not_finite(shape, check):
                note_bad(check, bad, t + step)
            if estimator != PLAIN:
                recall(shape, estimator, table, data.numbers, low, some, scale, Z)
            if not single:
                entry = add_gradients(shape, X, indptr, order, low, some, local, entry, Z, G)
                if intercept:
                    add_intercept_gradient(shape, some, Z, bias_gradient, 0)
        if single:
            ahead, more = entries_of(indptr, order, start + 1)
            prefetch_entries(X, indices, *entries_of(indptr, order, start + 2))
            call_at(row_step, shape, state, of_weights, c, indices, begin, count, stride, frame, X, Z, ahead, more)
            if intercept:  # whose gradient is the row's residual
                call_at(apply_rule, shape, state, of_intercept, c, d, 1, stride, Z, 0)
        else:
            for u in range(count):
                blend(shape, estimator, mean, np.int64(features[begin + u]) * L, 1, share, G, u * L)
            call_at(touched_step, shape, state, of_weights, c, features, begin, count, stride, frame, G)
            if intercept:
                blend(shape, estimator, mean, d * L, 1, share, bias_gradient, 0)
                call_at(apply_rule, shape, state, of_intercept, c, d, 1, stride, bias_gradient, 0)
        if keep_quantities:
            call_at(keep_quantities, shape, of_weights, c, kept_c, kept_h, now)
        if put_frame:
            continue
        if keep_matrix and shared:
            if begin_step:
                call_at(
                    begin_step, shape, of_one, exact_of_one, scheduled_of_one, at, which, memory_of_one, t + step,
                    exact_c_of_one, c_of_one,
                )  # fmt: skip
            call_at(keep_matrix, shape, weights_of_one, c_of_one, nodes, rights, now, size)
        elif keep_matrix:
            call_at(keep_matrix, shape, of_weights, c, nodes, rights, now, size)


@jit
def advance(calls, shape, data, lanes, window, touched, scratch, span, taken_before, size):
    """Take the steps of a `StepSpan`, some at a time with one tile after another; the window's as in `TileSpan`."""
    steps, b = span.steps, span.batch_size
    taken, of_one_row = 0, span.batch_size == 1 and lanes.estimator == PLAIN
    while taken < steps:
        left = steps - taken
        some = min(TURN_STEPS, left) if of_one_row else collect(data, span.batch + taken, left, b, touched)
        for tile in range(span.worker, lanes.state.shape[0], span.workers):
            part = TileSpan(span.batch + taken, some, span.t + taken, taken, b, taken_before + taken, size)
            tile_steps(calls, shape, data, lanes, window, touched, scratch, part, tile)
        taken += some
