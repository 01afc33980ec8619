"""The matrices of coasting parameters as tuples of numbers: of scalars where all lanes share them, else of vectors.

Only the entries that may differ from the identity's are numbers; the rest is known while compiling, and costs nothing.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastgd._vectors import Mask, Vector, address, splat

CONTRACT = ("contract",)


def _number(coast, shape, array):
    """The type of a matrix's numbers: one for all lanes, or a vector of lanes."""
    return array.dtype if coast.value.shared else Vector(array.dtype, shape.value.width)


def _cell(coast, values, i: int, k: int):
    """An entry of a matrix: its value, 1.0 or None for zero."""
    if (i, k) in coast.entries:
        return values[coast.entries.index((i, k))]
    return 1.0 if i == k and i in coast.ones else None


def _sum_products(builder, pairs):
    """The sum of products of entries, which may be 1.0 or None."""
    total = None
    for a, b in pairs:
        if a is None or b is None:
            continue
        term = b if isinstance(a, float) else a if isinstance(b, float) else builder.fmul(a, b, flags=CONTRACT)
        total = term if total is None else builder.fadd(total, term, flags=CONTRACT)
    return total


@intrinsic
def identity(typingctx, coast, shape, array):
    """`identity(coast, shape, array)`: the matrix of no steps."""
    number = _number(coast, shape, array)
    result = types.UniTuple(number, len(coast.value.entries))

    def codegen(context, builder, sig, args):
        kind = context.get_value_type(number)
        one, zero = (ir.Constant(kind, v if coast.value.shared else [v] * kind.count) for v in (1.0, 0.0))
        return context.make_tuple(builder, result, [one if i == k else zero for i, k in coast.value.entries])

    return result(coast, shape, array), codegen


@intrinsic
def compose(typingctx, coast, later, earlier):
    """`compose(coast, later, earlier)`: the matrix of some steps and then others."""

    def codegen(context, builder, sig, args):
        after, before = (cgutils.unpack_tuple(builder, each) for each in args[1:])
        about = coast.value
        results = [
            _sum_products(builder, [(_cell(about, after, i, m), _cell(about, before, m, k)) for m in range(about.size)])
            for i, k in about.entries
        ]
        return context.make_tuple(builder, later, results)

    return later(coast, later, earlier), codegen


@intrinsic
def transform(typingctx, coast, matrix, x):
    """`transform(coast, M, x)`: the state M x, with a number or a vector for each entry of M."""

    def codegen(context, builder, sig, args):
        numbers, state = cgutils.unpack_tuple(builder, args[1]), cgutils.unpack_tuple(builder, args[2])
        if not isinstance(matrix.dtype, Vector):
            numbers = [splat(builder, number, x.dtype.count) for number in numbers]
        about, zero = coast.value, ir.Constant(state[0].type, [0.0] * x.dtype.count)
        results = [
            _sum_products(builder, [(_cell(about, numbers, i, k), state[k]) for k in range(about.size)]) or zero
            for i in range(about.size)
        ]
        return context.make_tuple(builder, x, results)

    return x(coast, matrix, x), codegen


@intrinsic
def node(typingctx, coast, shape, array, index, v):
    """`node(coast, shape, array, i, v)`: the i-th matrix, of the lanes at v."""
    number = _number(coast, shape, array)
    result = types.UniTuple(number, len(coast.value.entries))

    def codegen(context, builder, sig, args):
        pointers = _pointers(context, builder, sig, args, number)
        values = [builder.load(pointer, align=array.dtype.bitwidth // 8) for pointer in pointers]
        return context.make_tuple(builder, result, values)

    return result(coast, shape, array, types.intp, types.intp), codegen


@intrinsic
def put_node(typingctx, coast, shape, array, index, v, matrix):
    """Store what `node` loads."""
    number = _number(coast, shape, array)

    def codegen(context, builder, sig, args):
        pointers = _pointers(context, builder, sig, args, number)
        for pointer, value in zip(pointers, cgutils.unpack_tuple(builder, args[5]), strict=True):
            builder.store(value, pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(coast, shape, array, types.intp, types.intp, matrix), codegen


def _pointers(context, builder, sig, args, number):
    """Where the numbers of a matrix stand: rows of L lanes, or single numbers."""
    coast, shape, kind = sig.args[0].value, sig.args[1].value, context.get_value_type(number)
    row = 1 if coast.shared else shape.lanes
    count = len(coast.entries)
    first = builder.mul(args[3], ir.Constant(args[3].type, count * row))
    first = first if coast.shared else builder.add(first, args[4])
    places = [builder.add(first, ir.Constant(first.type, e * row)) for e in range(count)]
    return [address(context, builder, sig.args[2], args[2], place, kind) for place in places]


@intrinsic
def unit(typingctx, coast, like, index):
    """`unit(coast, vector, i)`: a state of zeros with a one at i."""
    result = types.UniTuple(like, coast.value.size)

    def codegen(context, builder, sig, args):
        kind = context.get_value_type(like)
        values = []
        for i in range(coast.value.size):
            here = builder.icmp_signed("==", args[2], ir.Constant(args[2].type, i))
            values.append(
                builder.select(here, ir.Constant(kind, [1.0] * kind.count), ir.Constant(kind, [0.0] * kind.count))
            )
        return context.make_tuple(builder, result, values)

    return result(coast, like, types.intp), codegen


@intrinsic
def pick(typingctx, coast, shape, array, columns):
    """`pick(coast, shape, array, columns)`: a matrix's entries from its columns, a tuple of states."""
    number = _number(coast, shape, array)
    result = types.UniTuple(number, len(coast.value.entries))

    def codegen(context, builder, sig, args):
        states = [cgutils.unpack_tuple(builder, state) for state in cgutils.unpack_tuple(builder, args[3])]
        values = [states[k][i] for i, k in coast.value.entries]
        if coast.value.shared:
            values = [builder.extract_element(value, ir.Constant(ir.IntType(32), 0)) for value in values]
        return context.make_tuple(builder, result, values)

    return result(coast, shape, array, columns), codegen


# --- states ----------------------------------------------------------------------------------------------------------


@intrinsic
def choose(typingctx, mask, some, others):
    """`choose(mask, a, b)`: np.where for tuples."""

    def codegen(context, builder, sig, args):
        pairs = zip(*(cgutils.unpack_tuple(builder, each) for each in args[1:]), strict=True) if len(some) else ()
        return context.make_tuple(builder, some, [builder.select(args[0], a, b) for a, b in pairs])

    return some(mask, some, others), codegen


@intrinsic
def alone(typingctx, coast, w):
    """`alone(coast, w)`: the state of a parameter behind which nothing stands."""
    result = types.UniTuple(w, coast.value.size)

    def codegen(context, builder, sig, args):
        zero = ir.Constant(args[1].type, [0.0] * w.count)
        return context.make_tuple(builder, result, [args[1]] + [zero] * (coast.value.size - 1))

    return result(coast, w), codegen


@intrinsic
def lost(typingctx, w, y, after):
    """`lost(w, y, after)`: the lanes in which w is finite, and `after` or something in the tuple y is no number."""

    def codegen(context, builder, sig, args):
        zero = ir.Constant(args[0].type, [0.0] * w.count)
        values = cgutils.unpack_tuple(builder, args[1])
        total = args[2]
        for value in values:
            total = builder.fadd(total, value)
        none = builder.fmul(args[0], zero)
        return builder.and_(builder.fcmp_ordered("==", none, zero), builder.fcmp_unordered("uno", total, total))

    return Mask(w.count)(w, y, after), codegen


@intrinsic
def any_lane(typingctx, mask):
    """`any_lane(mask)`: whether it is true somewhere."""

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], ir.IntType(mask.count))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(mask), codegen
