"""The products of a network's layers: where nearly all of its multiply-adds happen.

A tile is one vector of lanes, so that each number of a layer is a vector, and no lane waits for another. What a layer
multiplies is always `out[i, j] += sum_k left[i, k] right[k, j]`: of units with weights on the way forward, of deltas
with weights on the way back, of units with deltas for the gradient. They differ in where their numbers lie, which
strides say. In the first layer the left numbers are rows of data, which all lanes share: a scalar is spread there.

4 x 4 sums stay in registers: 16 multiply-adds then need 8 loads. What is left over at the edges is summed in strips.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastgd.core.vectors import address, splat
from fastgd.engine.blocks import alignment, emit_block

INDEX = types.int64
PLACE = types.UniTuple(INDEX, 3)  # where vectors lie: start, and steps by the first index and by the second


class _Vectors:
    """Emits the addresses of vectors of lanes in a flat array, at a `PLACE`."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any, place: Any, width: int) -> None:
        start, *self.steps = cgutils.unpack_tuple(builder, place)
        self.builder, self.origin = builder, address(context, builder, array_type, array, start)
        self.kind = ir.PointerType(ir.VectorType(self.origin.type.pointee, width))

    def at(self, first: Any, second: Any) -> Any:
        """Return the address of a vector."""
        pointer = self.origin
        for index, step in zip((first, second), self.steps, strict=True):
            pointer = self.builder.gep(pointer, [self.builder.mul(index, step)])
        return self.builder.bitcast(pointer, self.kind)


def _emit_product(builder: Any, shape: Any, sizes: Any, left: Callable[..., Any], right: Any, out: Any, times: bool):
    """Emit a whole product of some (rows, columns, inner): blocks, and strips where these do not fit.

    `left(k, i)` emits the vector of row i; `right` and `out` are `_Vectors`.
    """
    rows, columns, inner = sizes

    def loop(first: Any, end: Any, size: int) -> Any:
        return cgutils.for_range_slice(builder, first, end, ir.Constant(first.type, size), first.type)

    for high, first, end in _cuts(builder, rows, shape.rows):
        with loop(first, end, high) as (i, _):
            for wide, begin, stop in _cuts(builder, columns, shape.columns):
                with loop(begin, stop, wide) as (j, _):
                    _emit_part(builder, (high, wide), (i, j), inner, left, right, out, times)


def _emit_part(builder: Any, size: Any, place: Any, inner: Any, left: Any, right: Any, out: Any, times: bool) -> None:
    """Emit the block of some (rows, columns) that begins at a place."""
    i, j = place

    def plus(index: Any, number: int) -> Any:
        return builder.add(index, ir.Constant(index.type, number))

    emit_block(
        builder,
        size,
        inner,
        lambda k: lambda r: left(k, plus(i, r)),
        lambda k, v: right.at(k, plus(j, v)),
        lambda r, v: out.at(plus(i, r), plus(j, v)),
        alignment(out.origin.type.pointee),
        times=times,
    )


def _cuts(builder: Any, count: Any, size: int) -> list[tuple[int, Any, Any]]:
    """Return how a count is cut: whole blocks of a size, then ones; each with its first place and its end."""
    zero = ir.Constant(count.type, 0)
    whole = builder.sub(count, builder.srem(count, ir.Constant(count.type, size)))
    return [(size, zero, whole), (1, whole, count)]


@intrinsic(prefer_literal=True)
def vector_product(typingctx, shape, how, sizes, left, a, right, b, out, c):
    """`out[c(i, j)] += sum_k left[a(i, k)] right[b(k, j)]` for `sizes` (rows, columns, inner); how "times": `*=`."""

    def codegen(context, builder, sig, args):
        width = shape.value.width
        units, weights, sums = (
            _Vectors(context, builder, sig.args[at], args[at], args[at + 1], width) for at in (3, 5, 7)
        )
        align = alignment(units.origin.type.pointee)

        def row(k: Any, i: Any) -> Any:
            return builder.load(units.at(i, k), align=align)

        sizes = cgutils.unpack_tuple(builder, args[2])
        _emit_product(builder, shape.value, sizes, row, weights, sums, how.literal_value == "times")
        return context.get_dummy_value()

    return types.void(shape, how, PLACE, left, PLACE, right, PLACE, out, PLACE), codegen


@intrinsic(prefer_literal=True)
def data_product(typingctx, shape, which, sizes, X, offsets, column, right, b, out, c):
    """The same with data on the left, which all lanes share, from rows that begin at some offsets.

    which "rows": left[i, k] is X[offsets[i] + column + k]; "columns": it is X[offsets[k] + column + i].
    """

    def codegen(context, builder, sig, args):
        width = shape.value.width
        weights, sums = (_Vectors(context, builder, sig.args[at], args[at], args[at + 1], width) for at in (6, 8))
        by_rows = which.literal_value == "rows"

        def row(k: Any, i: Any) -> Any:
            begins, number = (i, k) if by_rows else (k, i)
            offset = builder.load(address(context, builder, sig.args[4], args[4], begins))
            place = address(context, builder, sig.args[3], args[3], builder.add(builder.add(offset, args[5]), number))
            return splat(builder, builder.load(place), width)

        sizes = cgutils.unpack_tuple(builder, args[2])
        _emit_product(builder, shape.value, sizes, row, weights, sums, times=False)
        return context.get_dummy_value()

    return types.void(shape, which, PLACE, X, offsets, INDEX, right, PLACE, out, PLACE), codegen
