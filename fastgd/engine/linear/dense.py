"""The products of dense rows: margins `Z = X_b W` and the gradient `G = X_b' R`.

Rows are read where they lie, through the order of the epoch, while those that follow are prefetched.
"""

import numpy as np

from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import cast, load, prefetch, store, zeros
from fastgd.engine.arrays import MOST_BLOCK_ROWS
from fastgd.engine.linear.blocks import gradient_block, margin_block

CACHED_FEATURES = 128  # features whose weights stay in the cache while all rows of a chunk pass over them


@jit
def gather(data, low, count, scratch):
    """Look up where the rows order[low : low + count] begin, and their targets.

    The last row stands in for what a register block takes along beyond them.
    """
    for i in range(count):
        row = data.order[low + i]
        scratch.offsets[i] = np.int64(row) * data.d
        scratch.y[i] = data.y[row]
    for i in range(count, count + MOST_BLOCK_ROWS):
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
def margins(shape, data, count, W, scratch, ahead):
    """Z (count, L) = X W + intercept, for the rows that were gathered.

    Meanwhile the rows of the `RowRange` ahead are prefetched, at most as many as are passed.
    """
    L, block, Z, d = static(shape, "lanes"), static(shape, "rows"), scratch.Z, data.d
    whole = -(-count // block) * block if count >= block else 0
    for v in range(0, L, static(shape, "width")):
        bias = load(shape, W, d * L + v) if data.intercept else zeros(shape, W)
        for i in range(max(count, whole)):
            store(Z, i * L + v, bias)
    for j in range(0, d, CACHED_FEATURES):
        inner = min(CACHED_FEATURES, d - j)
        for g in range(0, L, static(shape, "group")):
            for i in range(0, whole, block):
                if j + g == 0:
                    prefetch_rows(data, ahead.first + i, min(ahead.first + i + block, ahead.end))
                margin_block(shape, "rows", data.X, scratch.offsets, i, j, inner, W, j * L + g, Z, i * L + g)
            for i in range(whole, count):
                if j + g == 0:
                    prefetch_rows(data, ahead.first + i, min(ahead.first + i + 1, ahead.end))
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
def add_intercept_gradient(shape, count, Z, G, g):
    """Add to G[g:] (L) the intercept's gradient: the sum of the residuals."""
    L = static(shape, "lanes")
    for v in range(0, L, static(shape, "width")):
        total = load(shape, G, g + v)
        for i in range(count):
            total = total + cast(load(shape, Z, i * L + v), G)
        store(G, g + v, total)


@jit
def add_gradient(shape, data, count, scratch, G):
    """Add to G (d + intercept, L) the whole gradient of the rows that were gathered."""
    L, block, d = static(shape, "lanes"), static(shape, "rows"), data.d
    j = 0
    while j < d:
        features = block if j + block <= d else 1
        add_feature_gradients(shape, data, j, features, count, scratch, G, j * L)
        j += features
    if data.intercept:
        add_intercept_gradient(shape, count, scratch.Z, G, d * L)


@jit
def in_blocks(data):
    """Whether the gradient of a few features at a time can be taken: rows lie in memory as a matrix."""
    return True
