"""Where the rows of a batch are: looked up through the order of the epoch, and asked for before they are needed.

Rows that take a study's form, standardised or rounded, do so when they are looked up, in a buffer of the worker's.
There they stay in its first caches for as long as they are needed, and memory is read as where rows are multiplied as
they lie. A value has the bits that it has in a copy of all rows: (x - mean) / deviation in float64, rounded.

Divisions would take a third of the time of the products with 32 lanes. Products make the nearest number to a quotient,
too: x times the rounded reciprocal of d is less than two units in the last place from x / d. A correction by the
remainder, from a fused multiply-add, brings it within one, and a second one, whose remainder is exact, to the nearest
number (P. W. Markstein, Computation of elementary functions on the IBM RISC System/6000 processor, IBM Journal of
Research and Development 34, 1990). Where remainders may not be exact, or overflow, the processor divides.
"""

import numpy as np

from fastgd.core.compile import jit
from fastgd.core.vectors import (
    DOUBLES,
    cast,
    doubles,
    load,
    load_some,
    prefetch,
    prefetch_lines,
    store,
    total,
    wide,
    zeros,
)
from fastgd.engine.arrays import RowRange

MOST_PREFETCHED_BYTES = 2048  # of a row: half a page, of which the hardware sees enough to go on by itself


@jit(inner=True, inline="late")
def takes_form(data):
    """Whether rows take their form when they are looked up."""
    return data.form.inverse.shape[0] > 0


@jit(inner=True, inline="late")
def slot_values(d):
    """Return the numbers of a slot: whole vectors, so that what is stored behind a row is in no other's place."""
    return (d + DOUBLES - 1) // DOUBLES * DOUBLES


@jit(inner=True, inline="late")
def look_up(data, low, count, rows, offsets, at, targets):
    """Look up where the rows order[low : low + count] begin, at offsets[at:], and their numbers of y (N, columns).

    The last row stands in for others, of which there are `rows` in all; where none is left, that of the order does.
    """
    order, y, d, last = data.order, data.y, data.d, low + count - 1
    if takes_form(data):
        first = min(low, last)
        form_rows(data.source, order, first, last + 1 - first, data.form, d, data.X, at)
        for i in range(rows):
            place = min(low + i, last)
            offsets[at + i] = (at + place - first) * slot_values(d)
            put_numbers(y, order[place], targets, i)
    else:
        for i in range(rows):
            row = order[min(low + i, last)]
            offsets[at + i] = np.int64(row) * d
            put_numbers(y, row, targets, i)


@jit(inner=True, inline="late")
def place_of(data, place, slot):
    """Return where in X the row order[place] begins; one that takes its form now is put in a slot of the buffer."""
    if not takes_form(data):
        return np.int64(data.order[place]) * data.d
    form_rows(data.source, data.order, place, 1, data.form, data.d, data.X, slot)
    return slot * slot_values(data.d)


@jit(inner=True, inline="late")
def put_numbers(y, row, targets, i):
    """Put a row's target, and its weight where rows have some, behind those of i other rows."""
    if y.shape[1] == 1:
        targets[i] = y[row, 0]
    else:
        targets[2 * i] = y[row, 0]
        targets[2 * i + 1] = y[row, 1]


@jit(inner=True, inline="late")
def to_prefetch(source, d, ahead):
    """Return the rows of a `RowRange` ahead if they are worth asking for, else none.

    The hardware sees long rows coming by itself, and faster: it keeps more requests than a program may have.
    """
    return ahead if d * source.itemsize <= MOST_PREFETCHED_BYTES else RowRange(ahead.first, ahead.first)


@jit(inner=True, inline="late")
def prefetch_rows(source, order, d, first, count, low, high):
    """Ask for `count` features, from `first` on, of the rows order[low : high], which are needed soon.

    Shuffled rows then cost 1.1 times sequential ones.
    """
    for i in range(low, high):
        prefetch_lines(source, np.int64(order[i]) * d + first, count)


@jit(inner=True, inline="late")
def prefetch_targets(y, order, low, high):
    """Ask for the targets of the rows order[low : high]: short shuffled rows would take twice as long without."""
    for i in range(low, high):
        prefetch(y, np.int64(order[i]) * y.shape[1])


@jit(inner=True, inline="late")
def quotient(x, deviation, inverse):
    """Return x / deviation, to the nearest number; NaN where products do not give it."""
    q = x * inverse
    q = q - (q * deviation - x) * inverse
    return q - (q * deviation - x) * inverse


@jit(inner=True, inline="late")
def formed(source, place, shape, form, j, whole):
    """Return a vector of source[place:] in the form of features from j on; `whole`: whether as many are there."""
    if whole:
        x = wide(load(shape, source, place)) - load(shape, form.mean, j)
    else:
        x = wide(load_some(shape, source, place, source.shape[0] - place)) - load(shape, form.mean, j)
    return quotient(x, load(shape, form.deviation, j), load(shape, form.inverse, j))


@jit(inner=True)
def form_rows(source, order, low, count, form, d, X, slot):
    """Put the rows order[low : low + count] of the source in slots of X, from one on, standardised and rounded.

    `doubts` become NaN where products do not make a quotient.
    """
    shape, values = doubles(), slot_values(d)
    doubts = zeros(shape, form.mean)
    for i in range(count):
        first, to = np.int64(order[low + i]) * d, (slot + i) * values
        for j in range(0, values, DOUBLES):
            q = formed(source, first + j, shape, form, j, first + values <= source.shape[0])
            doubts = doubts + q * 0
            store(X, to + j, cast(q, X))
    if total(doubts) != 0:
        divide_rows(source, order, low, count, form, d, X, slot)


@jit(inner=True)
def divide_rows(source, order, low, count, form, d, X, slot):
    """Do the same by divisions."""
    for i in range(count):
        first, to = np.int64(order[low + i]) * d, (slot + i) * slot_values(d)
        for j in range(d):
            X[to + j] = X.dtype.type((np.float64(source[first + j]) - form.mean[j]) / form.deviation[j])
