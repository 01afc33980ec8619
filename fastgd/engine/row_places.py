"""Where the rows of a batch are: looked up through the order of the epoch, and asked for before they are needed."""

import numpy as np

from fastgd.core.compile import jit
from fastgd.core.vectors import prefetch, prefetch_lines
from fastgd.engine.arrays import RowRange
from fastgd.engine.row_forms import form_rows, slot_values

MOST_PREFETCHED_BYTES = 2048  # of a row: half a page, of which the hardware sees enough to go on by itself


@jit(inner=True, inline="late")
def look_up(data, low, count, rows, offsets, at, targets):
    """Look up where the rows order[low : low + count] begin, at offsets[at:], and their numbers of y (N, columns).

    The last row stands in for others, of which there are `rows` in all.
    """
    takes_form, stride = data.form.inverse.shape[0] > 0, slot_values(data.d)
    first, last = (low, low + count - 1) if count > 0 else (low - 1, low - 1)
    if takes_form:
        form_rows(data.source, data.order, first, last + 1 - first, data.form, data.d, data.X, at)
    for i in range(rows):
        place = min(low + i, last)
        row = data.order[place]
        offsets[at + i] = (at + place - first) * stride if takes_form else np.int64(row) * data.d
        put_numbers(data.y, row, targets, i)


@jit(inner=True, inline="late")
def place_of(data, place, slot):
    """Return where in X the row order[place] begins; one that takes its form now is put in a slot of the buffer."""
    first = np.int64(data.order[place]) * data.d
    if data.form.inverse.shape[0] == 0:
        return first
    to = slot * slot_values(data.d)
    form_rows(data.source, data.order, place, 1, data.form, data.d, data.X, slot)
    return to


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
