"""Sums of many rows: chunk by chunk in the cohort's type, and the chunks in float64.

A float32 has seven digits, of which a sum over a million rows would lose three. Where the total is of the type of a
chunk's gradient, as in float64 and for sparse rows, it is summed where it stands, and nothing here is done.
"""

from numba.extending import overload

from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import cast, load, store, zeros
from fastgd.engine.arrays import SparseRows


def place_of(data, total, G):
    """Return where a chunk's gradient is summed: in G, or in the total itself."""
    raise NotImplementedError("called from kernels only")


def clear_chunk(shape, G, total, count):
    """Set `count` rows of L lanes of G to zero, unless it is the total."""
    raise NotImplementedError("called from kernels only")


def add_chunk(shape, G, total, count):
    """Add `count` rows of L lanes of G to the total, unless it is the total."""
    raise NotImplementedError("called from kernels only")


def rounded(shape, total, G, count):
    """Return `count` rows of L lanes of the total in G's type: in G, or the total itself."""
    raise NotImplementedError("called from kernels only")


@overload(place_of, strict=False)
def _place_of(data, total, G):
    if total.dtype == G.dtype or getattr(data, "instance_class", None) is SparseRows:
        return lambda data, total, G: total
    return lambda data, total, G: G


@overload(clear_chunk, strict=False)
def _clear_chunk(shape, G, total, count):
    if total.dtype == G.dtype:
        return lambda shape, G, total, count: None
    return lambda shape, G, total, count: clear(shape, G, 0, count)


@overload(add_chunk, strict=False)
def _add_chunk(shape, G, total, count):
    if total.dtype == G.dtype:
        return lambda shape, G, total, count: None

    def add(shape, G, total, count):
        for v in range(0, count * static(shape, "lanes"), static(shape, "width")):
            store(total, v, load(shape, total, v) + cast(load(shape, G, v), total))

    return add


@overload(rounded, strict=False)
def _rounded(shape, total, G, count):
    if total.dtype == G.dtype:
        return lambda shape, total, G, count: total

    def round_all(shape, total, G, count):
        for v in range(0, count * static(shape, "lanes"), static(shape, "width")):
            store(G, v, cast(load(shape, total, v), G))
        return G

    return round_all


@jit(inner=True)
def clear(shape, array, start, count):
    """Set `count` rows of L lanes to zero."""
    for v in range(0, count * static(shape, "lanes"), static(shape, "width")):
        store(array, start + v, zeros(shape, array))
