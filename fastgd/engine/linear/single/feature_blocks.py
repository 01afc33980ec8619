"""The register blocks of a single lane, whose vectors run over features: dot products of rows, and sums of scaled rows.

The last features of a row that do not fill a vector are loaded under a mask, so that no row needs padding.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastgd.core.vectors import I32, address, call_llvm, load_masked, mask_of, splat


def _load(builder, pointer, kind, mask):
    if mask is not None:
        return load_masked(builder, pointer, kind, mask)
    align = 8 if isinstance(kind.element, ir.DoubleType) else 4
    return builder.load(builder.bitcast(pointer, ir.PointerType(kind)), align=align)


def _counted_loop(builder, start, stop, step, totals, body):
    """Emit `for k in range(start, stop, step)` with carried values; `body(k, values)` returns the next values."""
    before = builder.block
    head, inside, done = (builder.append_basic_block(name) for name in ("head", "inside", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(stop.type)
    carried = [builder.phi(total.type) for total in totals]
    builder.cbranch(builder.icmp_signed("<", k, stop), inside, done)
    builder.position_at_end(inside)
    results = body(k, carried)
    following = builder.add(k, ir.Constant(k.type, step))
    builder.branch(head)
    k.add_incoming(start, before)
    k.add_incoming(following, inside)
    for phi, total, result in zip(carried, totals, results, strict=True):
        phi.add_incoming(total, before)
        phi.add_incoming(result, inside)
    builder.position_at_end(done)
    return carried


def _folded(builder, vectors, half):
    """Return a pair of vectors, or one, as one: elements that stand `half` apart in runs of twice that are added.

    Of a pair, the runs of the one alternate with those of the other.
    """
    count, kind = vectors[0].type.count, vectors[0].type
    runs = [at + count * which for at in range(0, count, 2 * half) for which in range(len(vectors))]
    low = [run + k for run in runs for k in range(half)]
    right = vectors[1] if len(vectors) > 1 else ir.Constant(kind, ir.Undefined)
    chosen = [ir.Constant(ir.VectorType(I32, len(low)), [k + offset for k in low]) for offset in (0, half)]
    return builder.fadd(*(builder.shuffle_vector(vectors[0], right, each) for each in chosen))


def _sums_within(builder, vectors):
    """Return a vector with the sum of the elements of each of at most `width` vectors, a power of two.

    Pairs are folded into one vector: to sum each by itself would take more than twice the instructions.
    """
    order = [0]
    while len(order) < len(vectors):  # folding pairs of them leaves their sums in order
        order = [2 * i for i in order] + [2 * i + 1 for i in order]
    vectors, half = [vectors[i] for i in order], vectors[0].type.count // 2
    while half > 0:
        vectors = [_folded(builder, vectors[i : i + 2], half) for i in range(0, len(vectors), 2)]
        half //= 2
    return vectors[0]


@intrinsic(prefer_literal=True)
def dot_block(typingctx, shape, count, X, offsets, row, w, d, Z):
    """`Z[row + r] += X.flat[offsets[row + r] :][:d] @ w[:d]` for `count` rows r."""

    def codegen(context, builder, sig, args):
        _, _, x, table, row, weights, d, out = args
        number, width = getattr(shape.value, count.literal_value), shape.value.width
        kind = ir.VectorType(context.get_value_type(X.dtype), width)
        origin = address(context, builder, sig.args[5], weights, ir.Constant(d.type, 0))
        places = [builder.add(row, ir.Constant(row.type, r)) for r in range(number)]
        starts = [
            address(context, builder, X, x, builder.load(address(context, builder, offsets, table, place)))
            for place in places
        ]

        def products(k, totals, mask=None):
            right = _load(builder, builder.gep(origin, [k]), kind, mask)
            left = [_load(builder, builder.gep(start, [k]), kind, mask) for start in starts]
            return [call_llvm(builder, "fma", a, right, t) for a, t in zip(left, totals, strict=True)]

        zero = ir.Constant(d.type, 0)
        tail = builder.srem(d, ir.Constant(d.type, width))
        whole = builder.sub(d, tail)
        totals = [ir.Constant(kind, [0.0] * width)] * number
        totals = _counted_loop(builder, zero, whole, width, totals, products)
        before = builder.block
        with builder.if_then(builder.icmp_signed(">", tail, zero)):
            more, inside = products(whole, totals, mask_of(builder, width, tail)), builder.block
        merged = []
        for total, with_tail in zip(totals, more, strict=True):
            phi = builder.phi(kind)
            phi.add_incoming(total, before)
            phi.add_incoming(with_tail, inside)
            merged.append(phi)
        align = 8 if isinstance(kind.element, ir.DoubleType) else 4
        for r in range(0, number, width):
            sums = _sums_within(builder, merged[r : r + width])
            pointer = address(context, builder, sig.args[7], out, places[r], sums.type)
            builder.store(builder.fadd(builder.load(pointer, align=align), sums), pointer, align=align)
        return context.get_dummy_value()

    n = types.intp
    return types.void(shape, count, X, offsets, n, w, n, Z), codegen


@intrinsic(prefer_literal=True)
def outer_block(typingctx, shape, count, X, offsets, column, inner, R, G, g, remaining):
    """`G[g + c] += sum_k R[k] X.flat[offsets[k] + column + c]` for `count` vectors of features c, k < inner.

    Where `count` is one vector, it has `remaining` features and is loaded under a mask. Several rows are summed side by
    side, in eight chains of sums in all: one would wait for each of its multiply-adds.
    """

    def codegen(context, builder, sig, args):
        _, _, x, table, column, inner, residuals, gradient, g, remaining = args
        number, width = getattr(shape.value, count.literal_value), shape.value.width
        chains = max(1, 8 // number)
        kind = ir.VectorType(context.get_value_type(X.dtype), width)
        mask = mask_of(builder, width, remaining) if number == 1 else None
        zero = ir.Constant(column.type, 0)
        origin = address(context, builder, X, x, column)
        first = address(context, builder, offsets, table, zero)
        scalars = address(context, builder, sig.args[6], residuals, zero)
        out = [
            address(context, builder, sig.args[7], gradient, builder.add(g, ir.Constant(g.type, c * width)), kind)
            for c in range(number)
        ]
        align = 8 if isinstance(kind.element, ir.DoubleType) else 4

        def row(k, totals):
            start = builder.gep(origin, [builder.load(builder.gep(first, [k]))])
            r = splat(builder, builder.load(builder.gep(scalars, [k])), width)
            left = [
                _load(builder, builder.gep(start, [ir.Constant(k.type, c * width)]), kind, mask) for c in range(number)
            ]
            return [call_llvm(builder, "fma", a, r, t) for a, t in zip(left, totals, strict=True)]

        def several(k, totals):
            results = []
            for chain in range(chains):
                at = builder.add(k, ir.Constant(k.type, chain))
                results += row(at, totals[chain * number : (chain + 1) * number])
            return results

        whole = builder.sub(inner, builder.srem(inner, ir.Constant(inner.type, chains)))
        empty = ir.Constant(kind, [0.0] * width)
        totals = [builder.load(pointer, align=align) for pointer in out] + [empty] * (number * (chains - 1))
        totals = _counted_loop(builder, zero, whole, chains, totals, several)
        rest = _counted_loop(builder, whole, inner, 1, totals[:number], row)
        for c, pointer in enumerate(out):
            sums = [rest[c], *totals[number + c :: number]]
            while len(sums) > 1:
                pairs = [builder.fadd(a, b) for a, b in zip(sums[::2], sums[1::2], strict=False)]
                sums = pairs + ([sums[-1]] if len(sums) % 2 else [])
            builder.store(sums[0], pointer, align=align)
        return context.get_dummy_value()

    n = types.intp
    return types.void(shape, count, X, offsets, n, n, R, G, n, n), codegen


@intrinsic
def alone(typingctx, vector):
    """`alone(vector)`: its first element, with zeros behind it."""

    def codegen(context, builder, sig, args):
        zero = ir.Constant(I32, 0)
        first = builder.extract_element(args[0], zero)
        return builder.insert_element(ir.Constant(args[0].type, [0.0] * vector.count), first, zero)

    return vector(vector), codegen
