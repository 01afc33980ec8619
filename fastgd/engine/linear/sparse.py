"""The products of sparse rows: they cost what the entries cost, not what d costs."""

import numpy as np

from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import cast, load, prefetch_lanes, prefetch_lines, store, zeros
from fastgd.engine.linear.blocks import sparse_margin_block
from fastgd.engine.linear.dense import add_intercept_gradient
from fastgd.engine.row_places import put_numbers


@jit(inner=True)
def gather(data, low, count, scratch):
    """Look up the rows order[low : low + count] and their targets."""
    for i in range(count):
        row = data.order[low + i]
        scratch.offsets[i] = row
        put_numbers(data.y, row, scratch.y, i)


@jit(inner=True, inline="late")
def row_margins(shape, X, indices, first, entries, W, bias, Z, z):
    """Z[z:] (L) = x W, with W[bias:] (L) where there is an intercept (bias >= 0), for the entries of one row."""
    for v in range(0, static(shape, "lanes"), static(shape, "width")):
        store(Z, z + v, load(shape, W, bias + v) if bias >= 0 else zeros(shape, W))
    sparse_margin_block(shape, X, indices, first, entries, W, Z, z)


@jit(inner=True, inline="late")
def prefetch_entries(X, indices, first, entries):
    """Ask for the entries of a row that is needed soon: in shuffled order it may stand anywhere in memory."""
    if entries > 0:
        prefetch_lines(X, first, entries)
        prefetch_lines(indices, first, entries)


@jit(inner=True)
def prefetch_parameters(shape, indices, first, entries, W):
    """Ask for the parameters of the entries of a row that is needed next."""
    L = static(shape, "lanes")
    own = indices[first : first + entries]
    for k in range(entries):
        prefetch_lanes(shape, "lanes", W, np.int64(own[k]) * L)


@jit(inner=True)
def margins(shape, data, count, W, scratch, ahead):
    """Z (count, L) = X W + intercept, for the rows that were gathered."""
    L = static(shape, "lanes")
    bias = data.d * L if data.intercept else -1
    for i in range(count):
        first, end = data.indptr[scratch.offsets[i]], data.indptr[scratch.offsets[i] + 1]
        if i + 2 < count:
            begin = data.indptr[scratch.offsets[i + 2]]
            prefetch_entries(data.X, data.indices, begin, data.indptr[scratch.offsets[i + 2] + 1] - begin)
        if i + 1 < count:
            begin = data.indptr[scratch.offsets[i + 1]]
            prefetch_parameters(shape, data.indices, begin, data.indptr[scratch.offsets[i + 1] + 1] - begin, W)
        row_margins(shape, data.X, data.indices, first, end - first, W, bias, scratch.Z, i * L)


@jit(inner=True)
def add_gradient(shape, data, count, scratch, G):
    """Add to G (d + intercept, L), which may be float64, the gradient of the rows that were gathered; R is in Z."""
    L, Z = static(shape, "lanes"), scratch.Z
    for i in range(count):
        first, end = data.indptr[scratch.offsets[i]], data.indptr[scratch.offsets[i] + 1]
        values, features = data.X[first:end], data.indices[first:end]
        for k in range(end - first):
            x, at = values[k], np.int64(features[k]) * L
            for v in range(0, L, static(shape, "width")):
                store(G, at + v, load(shape, G, at + v) + cast(load(shape, Z, i * L + v), G) * x)
    if data.intercept:
        add_intercept_gradient(shape, count, Z, G, data.d * L)
