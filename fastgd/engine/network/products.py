"""The products of a network's layers: where nearly all of its multiply-adds happen.

A tile is one vector of lanes, so that each number of a layer is a vector, and no lane waits for another. What a layer
multiplies is always `out[i, j] += sum_k left[i, k] right[k, j]`: of units with weights on the way forward, of deltas
with weights on the way back, of units with deltas for the gradient. They differ in where their numbers lie, which
strides say. In the first layer the left numbers are rows of data, which all lanes share: a scalar is spread there.

Of a single lane, a vector holds neighbours of a row instead: the left numbers are always spread scalars, and the last
vector of a row is written in part.

4 x 4 sums stay in 32 registers: 16 multiply-adds then need 8 loads; in 16 registers 4 x 3. What is left over at the
edges is summed in strips.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastgd.core.compile import jit
from fastgd.core.static import static
from fastgd.core.vectors import I32, address, splat
from fastgd.engine.blocks import alignment, emit_block, first_elements

INDEX = types.int64
PLACE = types.UniTuple(INDEX, 3)  # where numbers lie: start, and steps by the first index and by the second
STRIP_ROWS = 16  # of a strip of single vectors, whose sums would wait for one another if they were few


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
    if shape.single:
        _emit_product_of_one(builder, shape, sizes, left, right, out, times)
        return
    for high, first, end in _cuts(builder, rows, shape.rows, 1):
        with _loop(builder, first, end, high) as (i, _):
            for wide, begin, stop in _cuts(builder, columns, shape.columns, 1):
                with _loop(builder, begin, stop, wide) as (j, _):
                    _emit_part(builder, (high, wide), (i, j), inner, left, right, out, times)


def _emit_product_of_one(builder: Any, shape: Any, sizes: Any, left: Any, right: Any, out: Any, times: bool) -> None:
    """Emit the product of a single lane: of vectors of columns, then of those that are left over."""
    rows, columns, inner = sizes
    width = shape.width
    for wide, begin, stop in _cuts(builder, columns, shape.columns * width, width, 1):
        some, step = max(1, wide // width), max(wide, width)
        heights = (shape.rows, 1) if some > 1 else (STRIP_ROWS, shape.rows, 1)
        with _loop(builder, begin, stop, step) as (j, _):
            mask = first_elements(builder, builder.sub(columns, j), width) if wide == 1 else None
            for high, first, end in _cuts(builder, rows, *heights):
                with _loop(builder, first, end, high) as (i, _):
                    _emit_part(builder, (high, some), (i, j), inner, left, right, out, times, width, mask)


def _loop(builder: Any, first: Any, end: Any, size: int) -> Any:
    return cgutils.for_range_slice(builder, first, end, ir.Constant(first.type, size), first.type)


def _emit_part(
    builder: Any,
    size: Any,
    place: Any,
    inner: Any,
    left: Any,
    right: Any,
    out: Any,
    times: bool,
    step: int = 1,
    mask: Any = None,
) -> None:
    """Emit the block of some (rows, vectors) that begins at a place; a vector holds `step` columns."""
    i, j = place

    def plus(index: Any, number: int) -> Any:
        return builder.add(index, ir.Constant(index.type, number))

    emit_block(
        builder,
        size,
        inner,
        lambda k: lambda r: left(k, plus(i, r)),
        lambda k, v: right.at(k, plus(j, v * step)),
        lambda r, v: out.at(plus(i, r), plus(j, v * step)),
        alignment(out.origin.type.pointee),
        times=times,
        mask=mask,
    )


def _cuts(builder: Any, count: Any, *sizes: int) -> list[tuple[int, Any, Any]]:
    """Return how a count is cut: whole blocks of one size after another; each with its first place and its end."""
    found, first = [], ir.Constant(count.type, 0)
    for size in sizes:
        rest = builder.srem(builder.sub(count, first), ir.Constant(count.type, size))
        end = builder.sub(count, rest)
        found.append((size, first, end))
        first = end
    return found


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
            if shape.value.single:
                pointer = builder.bitcast(units.at(i, k), ir.PointerType(units.origin.type.pointee))
                return splat(builder, builder.load(pointer), width)
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


@intrinsic
def turn_block(typingctx, shape, W, at, stride, rows, T, to, step):
    """`T[to + j * step + i] = W[at + i * stride + j]` for a square of as many numbers as a vector has.

    Of the rows i there are only so many; the last one stands for those that are not there.
    """

    def codegen(context, builder, sig, args):
        _, _, at, stride, rows, _, to, step = args
        width = shape.value.width
        element = address(context, builder, sig.args[1], args[1], at).type.pointee
        align, kind = alignment(element), ir.VectorType(element, width)

        def place(which: int, start: Any, number: Any, each: Any) -> Any:
            index = builder.add(start, builder.mul(number, each))
            return address(context, builder, sig.args[which], args[which], index, kind)

        last = builder.sub(rows, ir.Constant(rows.type, 1))
        vectors = []
        for i in range(width):
            number = ir.Constant(rows.type, i)
            number = builder.select(builder.icmp_signed("<", number, last), number, last)
            vectors.append(builder.load(place(1, at, number, stride), align=align))
        for j, vector in enumerate(_turned(builder, vectors)):
            builder.store(vector, place(5, to, ir.Constant(step.type, j), step), align=align)
        return context.get_dummy_value()

    return types.void(shape, W, INDEX, INDEX, INDEX, T, INDEX, INDEX), codegen


def _turned(builder: Any, vectors: list[Any]) -> list[Any]:
    """Emit the transpose of a square of vectors: in each turn, pairs of rows exchange halves of ever smaller blocks."""
    width, half = len(vectors), len(vectors) // 2
    while half:
        kept, moved = [], []
        for at in range(width):
            inside = at & half
            kept.append(at - half + width if inside else at)
            moved.append(at + width if inside else at + half)
        masks = [ir.Constant(ir.VectorType(I32, width), each) for each in (kept, moved)]
        for i in (i for i in range(width) if not i & half):
            pair = vectors[i], vectors[i + half]
            vectors[i], vectors[i + half] = (builder.shuffle_vector(*pair, mask) for mask in masks)
        half //= 2
    return vectors


@jit(inner=True)
def turn(shape, W, at, rows, columns, T, step):
    """Put the transpose of W[at:] (rows, columns), with what pads vectors, into T, whose rows are `step` apart."""
    width = static(shape, "width")
    for i in range(0, rows, width):
        for j in range(0, columns, width):
            turn_block(shape, W, at + i * columns + j, columns, min(width, rows - i), T, j * step + i, step)
