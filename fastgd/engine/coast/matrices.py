"""The matrices of coasting parameters as tuples of numbers: of scalars where all lanes share them, else of vectors.

Only the entries that may differ from the identity's are numbers; the rest is known while compiling, and costs nothing.

Only entries that can differ from the identity's are numbers at all (`engine/coast/matrices.py`): a product of Adam's
matrices takes some 25 multiply-adds. Where lanes differ by their rates alone, which is the common study, they share the
matrices: those of a rate of 1, as single numbers; each lane's movement is multiplied by its rate.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastgd.core.vectors import Mask, Vector, address, call_llvm, splat
from fastgd.optimizers.adam_series import TERMS

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
    """`transform(coast, M, x)`: the state M x, with a number or a vector for each entry of M.

    A series stands in the state by its first term and by x: its terms are summed here, and not kept.
    """

    def codegen(context, builder, sig, args):
        numbers, state = cgutils.unpack_tuple(builder, args[1]), cgutils.unpack_tuple(builder, args[2])
        about, zero = coast.value, ir.Constant(state[0].type, [0.0] * x.dtype.count)
        of_series = {first + p for first in about.series_starts for p in range(TERMS)}

        def wide(number):
            return number if number is None or isinstance(number, float) else _as_vector(builder, number, x.dtype.count)

        results = []
        for i in range(about.size):
            if i in of_series:
                results.append(zero)
                continue
            plain = [(wide(_cell(about, numbers, i, k)), state[k]) for k in range(about.size) if k not in of_series]
            total = _sum_products(builder, plain)
            for first in about.series_starts:
                sums = [_cell(about, numbers, i, first + p) for p in range(TERMS)]
                if any(each is not None for each in sums):
                    term = _sum_series(builder, sums, state[first], state[first + 1])
                    total = term if total is None else builder.fadd(total, term)
            results.append(zero if total is None else total)
        return context.make_tuple(builder, x, results)

    return x(coast, matrix, x), codegen


def _as_vector(builder, number, count: int):
    return number if isinstance(number.type, ir.VectorType) else splat(builder, number, count)


def _sum_series(builder, sums, first, x):
    """The sum of `a_i / (u_i + x)` over steps, times the first term, from the sums of `a_i u_i^-(p + 1)`.

    With t the weighted mean of 1 / u and z = x t, it is `sum_i a_i / u_i / (1 + r e_i) / (1 + z)`. There
    r = z / (1 + z) is below 1 for any x, and `e_i = 1 / (u_i t) - 1` is small: the means of its powers come from the
    sums. Where the last of them is not small, the result is no number.
    """
    kind, count = sums[0].type, first.type.count
    double = isinstance(first.type.element, ir.DoubleType)

    def constant(value, like):
        return ir.Constant(like, [value] * like.count if isinstance(like, ir.VectorType) else value)

    some = builder.fcmp_unordered("!=", sums[0], constant(0.0, kind))
    mean = builder.select(some, builder.fdiv(sums[1], sums[0]), constant(0.0, kind))
    step = builder.select(some, builder.fdiv(sums[0], sums[1]), constant(0.0, kind))
    power = builder.select(some, builder.fdiv(constant(1.0, kind), sums[0]), constant(0.0, kind))
    power = builder.fmul(power, step)
    raw = []  # means of (1 / (u t))^p, from p = 2
    for value in sums[2:]:
        power = builder.fmul(power, step)
        raw.append(builder.fmul(value, power))

    def central(whole, *weights):
        total = constant(whole, kind)
        for weight, value in zip(weights, raw, strict=False):
            total = builder.fadd(total, builder.fmul(constant(weight, kind), value, flags=CONTRACT), flags=CONTRACT)
        return _as_vector(builder, total, count)

    means = [central(-1.0, 1.0), central(-2.0, 3.0, -1.0), central(-3.0, 6.0, -4.0, 1.0)]
    last = central(-4.0, 10.0, -10.0, 5.0, -1.0)
    one, none = constant(1.0, first.type), constant(0.0, first.type)
    z = builder.fmul(x, _as_vector(builder, mean, count))
    inverse = builder.fdiv(one, builder.fadd(one, z))
    r = builder.fmul(z, inverse)
    square = builder.fmul(r, r)
    total = last
    for value in reversed(means):
        total = call_llvm(builder, "fma", total, r, value)
    total = call_llvm(builder, "fma", total, square, one)
    left = call_llvm(builder, "fabs", builder.fmul(builder.fmul(last, r), builder.fmul(square, square)))
    total = builder.fmul(builder.fmul(total, inverse), builder.fmul(first, _as_vector(builder, sums[0], count)))
    enough = builder.fcmp_ordered("<=", left, constant(3e-10 if double else 1e-4, first.type))
    total = builder.select(enough, total, constant(float("nan"), first.type))
    return builder.select(builder.fcmp_ordered("==", first, none), none, total)


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
def state_of_parameter(typingctx, coast, w):
    """`state_of_parameter(coast, w)`: the state of a parameter whose slots are all zero."""
    result = types.UniTuple(w, coast.value.size)

    def codegen(context, builder, sig, args):
        zero = ir.Constant(args[1].type, [0.0] * w.count)
        return context.make_tuple(builder, result, [args[1]] + [zero] * (coast.value.size - 1))

    return result(coast, w), codegen


@intrinsic
def unknown_lanes(typingctx, w, y, after):
    """`unknown_lanes(w, y, after)`: the lanes where w is finite, and `after` or something in the tuple y is NaN."""

    def codegen(context, builder, sig, args):
        zero = ir.Constant(args[0].type, [0.0] * w.count)
        values = cgutils.unpack_tuple(builder, args[1])
        total = args[2]
        for value in values:
            total = builder.fadd(total, value)
        none = builder.fmul(args[0], zero)
        return builder.and_(builder.fcmp_ordered("==", none, zero), builder.fcmp_unordered("uno", total, total))

    return Mask(w.element, w.count)(w, y, after), codegen


@intrinsic
def any_lane(typingctx, mask):
    """`any_lane(mask)`: whether it is true somewhere."""

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], ir.IntType(mask.count))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(mask), codegen


# --- bits -------------------------------------------------------------------------------------------------------------


@intrinsic
def trailing_zeros(typingctx, x):
    """`trailing_zeros(x)`: the zeros behind the last one of a whole number's bits; 64 for 0."""

    def codegen(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), codegen


@intrinsic
def bit_length(typingctx, x):
    """`bit_length(x)`: as Python's, of a whole number that is not negative."""

    def codegen(context, builder, sig, args):
        return builder.sub(ir.Constant(args[0].type, 64), builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0)))

    return types.int64(types.int64), codegen
