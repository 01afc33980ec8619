"""What a network does with rows of data, dense or sparse: looks them up, and multiplies them in its first layer.

The products of sparse rows cost what the entries cost, not what d costs. Each step still updates all weights of the
layer: what a feature that no row of a batch has would do in steps of its own is known of linear models alone.
"""

import numpy as np

from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import load, store
from fastgd.engine.arrays import by_rows
from fastgd.engine.network.products import data_product
from fastgd.engine.row_places import form_rows, prefetch_rows, slot_values, takes_form

OUTPUTS_AT_ONCE = 4  # sums of a row that stay in the registers


@jit(inner=True, inline="late")
def put_targets(data, targets, place, scratch, i):
    """Put the targets of the row order[place] behind those of i other rows."""
    row = np.int64(data.order[place])
    for j in range(targets):
        scratch.y[i * targets + j] = data.y[row * targets + j]


@jit(inner=True, inline="late")
def look_up_rows(data, targets, low, rows, scratch):
    """Look up where the rows order[low : low + rows] begin, and their targets."""
    formed, stride = takes_form(data), slot_values(data.d)
    if formed:
        form_rows(data.source, data.order, low, rows, data.form, data.d, data.X, 0)
    for i in range(rows):
        scratch.offsets[i] = i * stride if formed else np.int64(data.order[low + i]) * data.d
        put_targets(data, targets, low + i, scratch, i)


@jit(inner=True, inline="late")
def look_up_sparse(data, targets, low, rows, scratch):
    """Look up which rows order[low : low + rows] are, and their targets."""
    for i in range(rows):
        scratch.offsets[i] = data.order[low + i]
        put_targets(data, targets, low + i, scratch, i)


@jit(inner=True, inline="late")
def prefetch_batch(data, low, high):
    """Ask for the rows order[low : high], which are needed soon."""
    prefetch_rows(data.source, data.order, data.d, 0, data.d, low, high)


@jit(inner=True, inline="late")
def prefetch_sparse(data, low, high):
    """Ask for nothing: few rows' entries are found as fast as they are asked for."""


@jit(inner=True, inline="late")
def in_parts(data):  # noqa: ARG001 (chosen by its type)
    """Whether the gradient of a few features can be had before that of others: of dense rows."""
    return True


@jit(inner=True, inline="late")
def not_in_parts(data):  # noqa: ARG001 (as for dense rows)
    """Whether it can be of sparse rows: they are not sorted by features."""
    return False


@jit(inner=True)
def add_sums_of_rows(shape, data, offsets, sizes, W, weights, values, sums):
    """Add to the first layer's sums (rows, outputs) the products of data with its weights."""
    data_product(shape, "rows", sizes, data.X, offsets, 0, W, weights, values, sums)


@jit(inner=True)
def add_products_of_rows(shape, data, offsets, first, sizes, deltas, right, G, sums):
    """Add to the gradient of the first layer's weights, from a feature on, the products of data with its deltas."""
    data_product(shape, "columns", sizes, data.X, offsets, first, deltas, right, G, sums)


@jit(inner=True)
def add_entries(shape, data, offsets, sizes, W, weights, values, sums):
    """Add to the first layer's sums (rows, outputs) of a tile the products of entries with the weights."""
    L, outputs = static(shape, "lanes"), sizes[1]
    whole = outputs - outputs % OUTPUTS_AT_ONCE
    for i in range(sizes[0]):
        first, end, at = data.indptr[offsets[i]], data.indptr[offsets[i] + 1], sums[0] + i * sums[1]
        for j in range(0, whole, OUTPUTS_AT_ONCE):
            add_row(shape, data.X, data.indices, first, end, W, weights[0] + j * L, weights[1], values, at + j * L)
        for j in range(whole, outputs):
            total = load(shape, values, at + j * L)
            for k in range(first, end):
                w = weights[0] + np.int64(data.indices[k]) * weights[1] + j * L
                total = total + load(shape, W, w) * data.X[k]
            store(values, at + j * L, total)


@jit(inner=True)
def add_row(shape, X, indices, first, end, W, w, stride, values, at):
    """Add to four sums at values[at:] the products of a row's entries, whose weights stand `stride` apart."""
    L = static(shape, "lanes")
    a, b = load(shape, values, at), load(shape, values, at + L)
    c, d = load(shape, values, at + 2 * L), load(shape, values, at + 3 * L)
    for k in range(first, end):
        x, own = X[k], w + np.int64(indices[k]) * stride
        a, b = a + load(shape, W, own) * x, b + load(shape, W, own + L) * x
        c, d = c + load(shape, W, own + 2 * L) * x, d + load(shape, W, own + 3 * L) * x
    store(values, at, a)
    store(values, at + L, b)
    store(values, at + 2 * L, c)
    store(values, at + 3 * L, d)


@jit(inner=True)
def add_entry_products(shape, data, offsets, first, sizes, deltas, right, G, sums):  # noqa: ARG001 (as for dense rows)
    """Add to the gradient of all weights of the first layer of a tile the products of entries with the deltas."""
    L, outputs = static(shape, "lanes"), sizes[1]
    for i in range(sizes[2]):
        begin, end, row = data.indptr[offsets[i]], data.indptr[offsets[i] + 1], right[0] + i * right[1]
        for k in range(begin, end):
            x, at = data.X[k], sums[0] + np.int64(data.indices[k]) * sums[1]
            for j in range(0, outputs * L, L):
                store(G, at + j, load(shape, G, at + j) + load(shape, deltas, row + j) * x)


look_up_batch = by_rows(look_up_rows, look_up_sparse)
prefetch = by_rows(prefetch_batch, prefetch_sparse)
known_in_parts = by_rows(in_parts, not_in_parts)
add_first_sums = by_rows(add_sums_of_rows, add_entries)
add_data_products = by_rows(add_products_of_rows, add_entry_products)
