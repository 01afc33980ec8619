"""The products of dense rows: margins `Z = X_b W` and the gradient `G = X_b' R`.

Rows are read where they lie, through the order of the epoch, while those that follow are prefetched.
"""

from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import cast, load, store, zeros
from fastgd.engine.arrays import MOST_BLOCK_ROWS
from fastgd.engine.linear.blocks import gradient_block, margin_block
from fastgd.engine.row_places import look_up, prefetch_rows, prefetch_targets, to_prefetch

TURN_BYTES = 1 << 18  # of the rows that a tile's turn passes over
CACHED_FEATURES = 128  # features whose weights stay in the cache while all rows of a chunk pass over them


@jit(inner=True)
def turn_steps(data, b):
    """Return the steps of a tile between two turns of its worker: their rows stay in the second-level cache."""
    return max(1, TURN_BYTES // (b * data.d * data.X.itemsize))


@jit(inner=True)
def gather(data, low, count, scratch):
    """Look up the rows order[low : low + count], and what a register block takes along beyond them."""
    look_up(data, low, count, count + MOST_BLOCK_ROWS, scratch.offsets, 0, scratch.y)


@jit(inner=True)
def products(shape, X, offsets, count, d, W, bias, Z, source, order, ahead):
    """Z (count, L) = X W + W[bias:], for the rows at some offsets; without an intercept `bias` is -1.

    Meanwhile the rows of the `RowRange` ahead are prefetched from the source, at most as many as are passed.
    """
    L, block, ahead = static(shape, "lanes"), static(shape, "rows"), to_prefetch(source, d, ahead)
    whole = -(-count // block) * block if count >= block else 0
    for v in range(0, L, static(shape, "width")):
        start = load(shape, W, bias + v) if bias >= 0 else zeros(shape, W)
        for i in range(max(count, whole)):
            store(Z, i * L + v, start)
    for j in range(0, d, CACHED_FEATURES):
        inner = min(CACHED_FEATURES, d - j)
        for g in range(0, L, static(shape, "group")):
            for i in range(0, whole, block):
                if g == 0:
                    prefetch_rows(source, order, d, j, inner, ahead.first + i, min(ahead.first + i + block, ahead.end))
                margin_block(shape, "rows", X, offsets, i, j, inner, W, j * L + g, Z, i * L + g)
            for i in range(whole, count):
                if g == 0:
                    prefetch_rows(source, order, d, j, inner, ahead.first + i, min(ahead.first + i + 1, ahead.end))
                margin_block(shape, "one", X, offsets, i, j, inner, W, j * L + g, Z, i * L + g)


@jit(inner=True)
def margins(shape, data, count, W, scratch, ahead):
    """Z (count, L) = X W + intercept, for the rows that were gathered; the rows ahead are prefetched."""
    bias = data.d * static(shape, "lanes") if data.intercept else -1
    prefetch_targets(data.y, data.order, ahead.first, min(ahead.first + count, ahead.end))
    products(shape, data.X, scratch.offsets, count, data.d, W, bias, scratch.Z, data.source, data.order, ahead)


@jit(inner=True)
def add_feature_gradients(shape, X, offsets, j, features, count, R, G, g):
    """Add to G[g:] (features, L) the gradient of features j ... of the rows at some offsets, with residuals R."""
    for v in range(0, static(shape, "lanes"), static(shape, "group")):
        if features == static(shape, "rows"):
            gradient_block(shape, "rows", X, offsets, 0, j, count, R, v, G, g + v)
        else:
            gradient_block(shape, "one", X, offsets, 0, j, count, R, v, G, g + v)


@jit(inner=True)
def add_gradients(shape, X, offsets, d, first, most, count, R, G):
    """Add to G (most, L) the gradient of at most so many of the d features, from `first` on."""
    L, block, features, j = static(shape, "lanes"), static(shape, "rows"), min(most, d - first), 0
    while j < features:
        some = block if j + block <= features else 1
        add_feature_gradients(shape, X, offsets, first + j, some, count, R, G, j * L)
        j += some


@jit(inner=True)
def add_intercept_gradient(shape, count, Z, G, g):
    """Add to G[g:] (L) the intercept's gradient: the sum of the residuals."""
    L = static(shape, "lanes")
    for v in range(0, L, static(shape, "width")):
        total = load(shape, G, g + v)
        for i in range(count):
            total = total + cast(load(shape, Z, i * L + v), G)
        store(G, g + v, total)


@jit(inner=True)
def add_gradient(shape, data, count, scratch, G):
    """Add to G (d + intercept, L) the whole gradient of the rows that were gathered."""
    add_gradients(shape, data.X, scratch.offsets, data.d, 0, data.d, count, scratch.Z, G)
    if data.intercept:
        add_intercept_gradient(shape, count, scratch.Z, G, data.d * static(shape, "lanes"))
