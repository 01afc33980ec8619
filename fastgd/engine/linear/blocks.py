"""The register blocks of a tile: where nearly all multiply-adds of a dense cohort happen.

Both products of a step, the margins `Z += X W` of some rows and the gradient `G += X' R` of some features, spread a
scalar of X over a vector of lanes and multiply it into a row of W or R; they differ in where that scalar lies.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastgd.core.vectors import address, call_llvm, constant, splat
from fastgd.engine.blocks import alignment, emit_block
from fastgd.engine.shapes import sparse_sums


def _emit_block(builder, shape, count: int, inner, out, right, scalars: Callable[[Any], Callable[[int], Any]]):
    """Emit `out[r, :] += sum_k scalar(k, r) right[k, :]` for `count` rows r and `shape.vectors` vectors.

    `out` and `right` are pointers to elements, with rows of `shape.lanes`; a scalar is spread over its vector.
    """
    element = out.type.pointee

    def at(pointer, row, vector: int):
        row = ir.Constant(inner.type, row) if isinstance(row, int) else row
        offset = builder.add(
            builder.mul(row, ir.Constant(row.type, shape.lanes)), ir.Constant(row.type, vector * shape.width)
        )
        return builder.bitcast(builder.gep(pointer, [offset]), ir.PointerType(ir.VectorType(element, shape.width)))

    def left(k):
        scalar = scalars(k)
        return lambda r: splat(builder, builder.load(scalar(r)), shape.width)

    size = (count, shape.vectors)
    emit_block(builder, size, inner, left, lambda k, v: at(right, k, v), lambda r, v: at(out, r, v), alignment(element))


@intrinsic(prefer_literal=True)
def margin_block(typingctx, shape, count, X, offsets, row, column, inner, W, w, Z, z):
    """`Z[z + r, :] += sum_k X.flat[offsets[row + r] + column + k] W[w + k, :]` for `count` rows r, k < inner.

    W and Z are flat, with rows of `shape.lanes`; w and z are flat indices.
    """

    def codegen(context, builder, sig, args):
        _, _, x, table, row, column, inner, weights, w, margins, z = args
        starts = []
        for r in range(getattr(shape.value, count.literal_value)):
            place = address(context, builder, sig.args[3], table, builder.add(row, ir.Constant(row.type, r)))
            offset = builder.add(builder.load(place), column)
            starts.append(address(context, builder, sig.args[2], x, offset))
        _emit_block(
            builder,
            shape.value,
            getattr(shape.value, count.literal_value),
            inner,
            address(context, builder, sig.args[9], margins, z),
            address(context, builder, sig.args[7], weights, w),
            lambda k: lambda r: builder.gep(starts[r], [k]),
        )
        return context.get_dummy_value()

    n = types.intp
    return types.void(shape, count, X, offsets, n, n, n, W, n, Z, n), codegen


@intrinsic(prefer_literal=True)
def gradient_block(typingctx, shape, count, X, offsets, row, column, inner, R, r, G, g):
    """`G[g + c, :] += sum_k X.flat[offsets[row + k] + column + c] R[r + k, :]` for `count` features c, k < inner."""

    def codegen(context, builder, sig, args):
        _, _, x, table, row, column, inner, residuals, r, gradient, g = args
        first = address(context, builder, sig.args[3], table, row)
        origin = address(context, builder, sig.args[2], x, column)

        def scalars(k: Any) -> Callable[[int], Any]:
            place = builder.gep(origin, [builder.load(builder.gep(first, [k]))])
            return lambda c: builder.gep(place, [ir.Constant(k.type, c)])

        _emit_block(
            builder,
            shape.value,
            getattr(shape.value, count.literal_value),
            inner,
            address(context, builder, sig.args[9], gradient, g),
            address(context, builder, sig.args[7], residuals, r),
            scalars,
        )
        return context.get_dummy_value()

    n = types.intp
    return types.void(shape, count, X, offsets, n, n, n, R, n, G, n), codegen


# --- sweeps: the rows of a batch whose residuals and margins stay in registers ----------------------------------------


@intrinsic
def row_starts(typingctx, shape, offsets, first):
    """`row_starts(shape, offsets, i)`: offsets[i : i + rows] as a tuple."""
    count = shape.value.rows
    result = types.UniTuple(types.int64, count)

    def codegen(context, builder, sig, args):
        start = address(context, builder, sig.args[1], args[1], args[2])
        values = [builder.load(builder.gep(start, [ir.Constant(ir.IntType(64), i)])) for i in range(count)]
        return context.make_tuple(builder, result, values)

    return result(shape, offsets, types.intp), codegen


def _row_scalars(context, builder, sig, args, count: int) -> Callable[[int], Any]:
    """Return what emits X[starts[i] + j] as a vector, of an intrinsic's (X, starts, j, ...)."""
    starts = cgutils.unpack_tuple(builder, args[1])

    def scalar(i):
        place = address(context, builder, sig.args[0], args[0], builder.add(starts[i], args[2]))
        return splat(builder, builder.load(place), count)

    return scalar


@intrinsic
def weighted_rows(typingctx, X, starts, j, R):
    """`weighted_rows(X, starts, j, R)`: the sum over a batch's rows of feature j times the residuals R."""
    vector = R.dtype

    def codegen(context, builder, sig, args):
        scalar = _row_scalars(context, builder, sig, args, vector.count)
        total = constant(context.get_value_type(vector), 0.0)
        for i, residual in enumerate(cgutils.unpack_tuple(builder, args[3])):
            total = call_llvm(builder, "fma", scalar(i), residual, total)
        return total

    return vector(X, starts, types.intp, R), codegen


@intrinsic
def add_products(typingctx, X, starts, j, w, Z):
    """`add_products(X, starts, j, w, Z)`: the margins Z with feature j of each row times w added."""

    def codegen(context, builder, sig, args):
        scalar = _row_scalars(context, builder, sig, args, w.count)
        margins = cgutils.unpack_tuple(builder, args[4])
        sums = [call_llvm(builder, "fma", scalar(i), args[3], z) for i, z in enumerate(margins)]
        return context.make_tuple(builder, sig.return_type, sums)

    return Z(X, starts, types.intp, w, Z), codegen


@intrinsic
def repeated(typingctx, shape, vector):
    """`repeated(shape, vector)`: a tuple with the vector for each row of a batch."""
    count = shape.value.rows
    result = types.UniTuple(vector, count)

    def codegen(context, builder, sig, args):
        return context.make_tuple(builder, result, [args[1]] * count)

    return result(shape, vector), codegen


# --- sparse rows ------------------------------------------------------------------------------------------------------


@intrinsic
def sparse_margin_block(typingctx, shape, X, indices, first, inner, W, Z, z):
    """`Z[z, :] += sum_k X[first + k] W[indices[first + k], :]` for k < inner, for one row in CSR form.

    W and Z are flat, with rows of `shape.lanes`. A multiply-add waits for the one
    before it, so the entries are dealt out to some sums, which are added at the end.
    """

    def codegen(context, builder, sig, args):
        _, x, columns, first, inner, weights, margins, z = args
        tile = shape.value
        pointers = [
            address(context, builder, sig.args[1], x, first),
            address(context, builder, sig.args[2], columns, first),
            address(context, builder, sig.args[5], weights, ir.Constant(first.type, 0)),
        ]
        place = address(context, builder, sig.args[6], margins, z)
        vectors = [_vector_at(builder, place, ir.Constant(z.type, v * tile.width), tile) for v in range(tile.vectors)]
        sums = [builder.load(vector, align=X.dtype.bitwidth // 8) for vector in vectors]
        chains = sparse_sums(tile.lanes, X.dtype.bitwidth // 8)
        done = ir.Constant(inner.type, 0)
        if chains > 1:
            end = builder.sub(inner, builder.srem(inner, ir.Constant(inner.type, chains)))
            sums = _emit_sparse_sums(builder, tile, pointers, done, end, sums, chains)
            done = end
        sums = _emit_sparse_sums(builder, tile, pointers, done, inner, sums, 1)
        for vector, value in zip(vectors, sums, strict=True):
            builder.store(value, vector, align=X.dtype.bitwidth // 8)
        return context.get_dummy_value()

    n = types.intp
    return types.void(shape, X, indices, n, n, W, Z, n), codegen


def _vector_at(builder, pointer, offset, shape):
    kind = ir.VectorType(pointer.type.pointee, shape.width)
    return builder.bitcast(builder.gep(pointer, [offset]), ir.PointerType(kind))


def _emit_sparse_sums(builder, shape, pointers, start, end, sums, chains: int):
    """Emit the sums over entries start <= k < end, a whole number of `chains`; return the sums of all chains."""
    x, columns, weights = pointers
    align = 8 if isinstance(x.type.pointee, ir.DoubleType) else 4
    kind, before = sums[0].type, builder.block
    loop, done = builder.append_basic_block("entries"), builder.append_basic_block("entries.done")
    builder.cbranch(builder.icmp_signed("<", start, end), loop, done)
    builder.position_at_end(loop)
    k = builder.phi(start.type)
    k.add_incoming(start, before)
    cells = [(chain, v) for chain in range(chains) for v in range(shape.vectors)]
    zero = ir.Constant(kind, [0.0] * kind.count)
    begin = {cell: sums[cell[1]] if cell[0] == 0 else zero for cell in cells}
    totals = {cell: builder.phi(kind) for cell in cells}
    results = {}
    for chain in range(chains):
        entry = builder.add(k, ir.Constant(k.type, chain))
        scalar = splat(builder, builder.load(builder.gep(x, [entry])), kind.count)
        feature = builder.sext(builder.load(builder.gep(columns, [entry])), k.type)
        row = builder.gep(weights, [builder.mul(feature, ir.Constant(k.type, shape.lanes))])
        for v in range(shape.vectors):
            vector = builder.load(_vector_at(builder, row, ir.Constant(k.type, v * shape.width), shape), align=align)
            results[chain, v] = call_llvm(builder, "fma", scalar, vector, totals[chain, v])
    following = builder.add(k, ir.Constant(k.type, chains))
    k.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, end), loop, done)
    builder.position_at_end(done)
    for cell in cells:
        totals[cell].add_incoming(begin[cell], before)
        totals[cell].add_incoming(results[cell], loop)
        final = builder.phi(kind)
        final.add_incoming(begin[cell], before)
        final.add_incoming(results[cell], loop)
        results[cell] = final
    return [_add_all(builder, [results[chain, v] for chain in range(chains)]) for v in range(shape.vectors)]


def _add_all(builder, values):
    """Return the sum of the chains, added in pairs."""
    while len(values) > 1:
        values = [builder.fadd(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]
