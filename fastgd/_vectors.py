"""Vectors of lanes as Numba values, with NumPy's element-wise functions on them.

A kernel that names its vectors keeps a register block of accumulators where LLVM would spill an array, and needs no
alias analysis to come out as packed code: rules and losses are called on vectors, so what they compile to does not
depend on what the optimizer can prove. LLVM splits a vector on machines whose registers are narrower.
"""

import operator
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import (
    intrinsic,
    lower_builtin,
    models,
    register_model,
)

_CONTRACT = ("contract",)
I32, I64 = ir.IntType(32), ir.IntType(64)


# --- the vector type --------------------------------------------------------------------------------------------------


class Vector(types.Type):
    """`count` floats of one type, in registers."""

    def __init__(self, element: Any, count: int) -> None:
        self.element = element
        self.count = count
        super().__init__(name=f"Vector({element} x {count})")


class Mask(types.Type):
    """The outcome of comparing two vectors: one bit a lane, for `np.where`."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Mask({count})")


def _ir_element(element):
    return ir.DoubleType() if element == types.float64 else ir.FloatType()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Vector) -> None:
        super().__init__(manager, fe_type, ir.VectorType(_ir_element(fe_type.element), fe_type.count))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Mask) -> None:
        super().__init__(manager, fe_type, ir.VectorType(ir.IntType(1), fe_type.count))


def splat(builder, scalar, count: int):
    vector = ir.VectorType(scalar.type, count)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, I32(0))
    return builder.shuffle_vector(
        first, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(I32, count), [0] * count)
    )


def _as_vector(context, builder, value, found, wanted: Vector):
    if isinstance(found, Vector):
        return value
    return splat(builder, context.cast(builder, value, found, wanted.element), wanted.count)


def llvm_function(builder, name: str, result, arguments: list[Any]):
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def vector_suffix(vector) -> str:
    return f"v{vector.count}{'f64' if isinstance(vector.element, ir.DoubleType) else 'f32'}"


def call_llvm(builder, name: str, *values):
    vector = values[0].type
    function = llvm_function(builder, f"llvm.{name}.{vector_suffix(vector)}", vector, [vector] * len(values))
    return builder.call(function, list(values))


def _elementwise(functions: tuple[Any, ...], arity: int, emit: Callable[..., Any], mask: bool = False):
    """Teach Numba an operator or a NumPy function on vectors, with numbers mixed in.

    At the level of types and instructions: an overload is a function more to compile for each use.
    """

    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            vectors = [a for a in args if isinstance(a, Vector)]
            numbers = all(isinstance(a, (Vector, types.Number)) for a in args)
            if kws or len(args) != arity or not vectors or not numbers or any(v != vectors[0] for v in vectors):
                return None
            return signature(Mask(vectors[0].count) if mask else vectors[0], *args)

    def lower(context, builder, sig, args):
        wanted = next(a for a in sig.args if isinstance(a, Vector))
        values = [_as_vector(context, builder, v, t, wanted) for v, t in zip(args, sig.args, strict=True)]
        return emit(builder, *values)

    for function in functions:
        kind = type("VectorTemplate", (Template,), {"key": function})
        infer_global(function)(kind) if _is_operator(function) else infer_global(function, types.Function(kind))
        if arity == 1:
            lower_builtin(function, Vector)(lower)
        else:
            for pair in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
                lower_builtin(function, *pair)(lower)


def _is_operator(function) -> bool:
    return getattr(function, "__module__", "") == "_operator"


def _compare(predicate: str) -> Callable[..., Any]:
    return lambda builder, a, b: builder.fcmp_ordered(predicate, a, b)


def _select(predicate: str) -> Callable[..., Any]:
    # NaN must win, as in np.maximum: a diverged lane may not be clamped back to life.
    def emit(builder, a, b):
        chosen = builder.select(builder.fcmp_ordered(predicate, a, b), a, b)
        return builder.select(builder.fcmp_unordered("uno", a, a), a, chosen)

    return emit


def _sign(builder, a):
    zero = ir.Constant(a.type, [0.0] * a.type.count)
    unit = call_llvm(builder, "copysign", ir.Constant(a.type, [1.0] * a.type.count), a)
    return builder.select(builder.fcmp_ordered("!=", a, zero), unit, a)  # a NaN stays one


_elementwise((operator.add, operator.iadd), 2, lambda b, x, y: b.fadd(x, y, flags=_CONTRACT))
_elementwise((operator.sub, operator.isub), 2, lambda b, x, y: b.fsub(x, y, flags=_CONTRACT))
_elementwise((operator.mul, operator.imul), 2, lambda b, x, y: b.fmul(x, y, flags=_CONTRACT))
_elementwise((operator.truediv, operator.itruediv), 2, lambda b, x, y: b.fdiv(x, y))
_elementwise((operator.neg,), 1, lambda b, x: b.fneg(x))
_elementwise((operator.lt,), 2, _compare("<"), mask=True)
_elementwise((operator.le,), 2, _compare("<="), mask=True)
_elementwise((operator.gt,), 2, _compare(">"), mask=True)
_elementwise((operator.ge,), 2, _compare(">="), mask=True)
_elementwise((np.sqrt,), 1, lambda b, x: call_llvm(b, "sqrt", x))
_elementwise((np.abs, abs), 1, lambda b, x: call_llvm(b, "fabs", x))
_elementwise((np.floor,), 1, lambda b, x: call_llvm(b, "floor", x))
_elementwise((np.sign,), 1, _sign)
_elementwise((np.maximum,), 2, _select(">"))
_elementwise((np.minimum,), 2, _select("<"))


@infer_global(np.where)
class _Where(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        vectors = [a for a in args[1:] if isinstance(a, Vector)]
        if kws or len(args) != 3 or not isinstance(args[0], Mask) or not vectors:
            return None
        return signature(vectors[0], *args)


def _lower_where(context, builder, sig, args):
    values = [_as_vector(context, builder, v, t, sig.return_type) for v, t in zip(args[1:], sig.args[1:], strict=True)]
    return builder.select(args[0], *values)


for _pair in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
    lower_builtin(np.where, Mask, *_pair)(_lower_where)


# --- memory -----------------------------------------------------------------------------------------------------------


def address(context, builder, array_type, array, index, pointee=None):
    """The address of `array.data[index]`, as a pointer to `pointee`."""
    pointer = builder.gep(context.make_array(array_type)(context, builder, array).data, [index])
    return builder.bitcast(pointer, ir.PointerType(pointee)) if pointee is not None else pointer


@intrinsic
def load(typingctx, shape, array, index):
    """`load(shape, array, index)`: the vector at flat `index`; aligned storage is what makes it fast."""
    vector = Vector(array.dtype, shape.value.width)

    def codegen(context, builder, sig, args):
        kind = context.get_value_type(vector)
        return builder.load(
            address(context, builder, sig.args[1], args[1], args[2], kind), align=array.dtype.bitwidth // 8
        )

    return vector(shape, array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """`store(array, index, vector)` at a flat index."""
    if value.element != array.dtype:
        raise TypingError(f"a {value} would not fit into an array of {array.dtype}")

    def codegen(context, builder, sig, args):
        kind = context.get_value_type(sig.args[2])
        builder.store(
            args[2], address(context, builder, sig.args[0], args[0], args[1], kind), align=array.dtype.bitwidth // 8
        )
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def spread(typingctx, shape, scalar):
    """`spread(shape, scalar)`: a vector of equal elements."""
    vector = Vector(scalar, shape.value.width)

    def codegen(context, builder, sig, args):
        return splat(builder, args[1], vector.count)

    return vector(shape, scalar), codegen


@intrinsic
def zeros(typingctx, shape, like):
    """`zeros(shape, array)`: a vector of the array's type."""
    vector = Vector(like.dtype, shape.value.width)

    def codegen(context, builder, sig, args):
        return _constant(context.get_value_type(vector), 0.0)

    return vector(shape, like), codegen


@intrinsic
def total(typingctx, vector):
    """`total(vector)`: the sum of its elements, in order."""

    def codegen(context, builder, sig, args):
        element = context.get_value_type(vector.element)
        name = f"llvm.vector.reduce.fadd.{vector_suffix(args[0].type)}"
        function = llvm_function(builder, name, element, [element, args[0].type])
        return builder.call(function, [ir.Constant(element, 0.0), args[0]])

    return vector.element(vector), codegen


@intrinsic
def wide(typingctx, vector):
    """`wide(vector)`: its elements in float64."""
    result = Vector(types.float64, vector.count)

    def codegen(context, builder, sig, args):
        if vector.element == types.float64:
            return args[0]
        return builder.fpext(args[0], context.get_value_type(result))

    return result(vector), codegen


@intrinsic
def prefetch(typingctx, array, index):
    """Ask for the cache line of `array.data[index]`, into the second-level cache."""

    def codegen(context, builder, sig, args):
        pointer = address(context, builder, sig.args[0], args[0], args[1], ir.IntType(8))
        function = llvm_function(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer.type, I32, I32, I32])
        builder.call(function, [pointer, I32(0), I32(3), I32(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


# --- exp, log1p and the cube root -------------------------------------------------------------------------------------

# Polynomials that interpolate at Chebyshev's nodes, to less than the type's rounding: e^r for |r| <= log(2) / 2, and
# log((1 + s) / (1 - s)) / s in s^2 for 0 <= s <= 1/3. The highest power stands first.
_EXP = {
    "double": [
        2.5110049204818658e-08, 2.763265472252779e-07, 2.755724088722987e-06, 2.4801485441561313e-05,
        0.00019841269890076403, 0.0013888888952352863, 0.008333333333319589, 0.04166666666648795,
        0.1666666666666668, 0.5000000000000019, 1.0, 1.0,
    ],
    "float": [
        0.0013941118895837, 0.008375134774624326, 0.04166635277111221, 0.16666415414041177, 0.5000000047146057,
        1.0000000377388714, 1.0,
    ],
}  # fmt: skip
_LOG1P = {
    "double": [
        0.17044163562781398, 0.0832450651186082, 0.12110168728069218, 0.13300374032674625, 0.1538661404230401,
        0.18181740832504806, 0.22222224080747674, 0.28571428545454114, 0.4000000000018575, 0.6666666666666615, 2.0,
    ],
    "float": [
        0.24393908084023025, 0.21398560506678543, 0.28620207408437237, 0.39998711246862334, 0.6666667902643397, 2.0,
    ],
}  # fmt: skip


class _Format(NamedTuple):
    """What exp needs of a floating-point format: where results are finite and normal, bits, log(2) in two pieces."""

    low: float
    high: float
    bits: int
    mantissa: int
    log2_high: float
    log2_low: float


_FORMATS = {
    "double": _Format(-708.0, 709.782712893384, 64, 52, 0.6931471805599453, 2.3190468138462996e-17),
    "float": _Format(-86.9, 88.72283935546875, 32, 23, 0.693147182464599609375, -1.904654323148236e-09),
}


def _constant(vector, value):
    return ir.Constant(vector, [value] * vector.count)


def _horner(builder, x, coefficients):
    total = _constant(x.type, coefficients[0])
    for coefficient in coefficients[1:]:
        total = call_llvm(builder, "fma", total, x, _constant(x.type, coefficient))
    return total


def _emit_exp(builder, x):
    """`2^k e^r`: 1 ulp, at a sixth of the time of a call a lane; 0 where the result would not be normal.

    Adding 1.5 2^mantissa rounds x / log(2) to a whole k and leaves it in the lowest bits, from where it is shifted into
    the exponent: no conversion to integers.
    """
    kind = x.type
    form = _FORMATS[str(kind.element)]
    low, high = _constant(kind, form.low), _constant(kind, form.high)
    clamped = builder.select(builder.fcmp_ordered("<", x, high), x, high)
    clamped = builder.select(builder.fcmp_ordered(">", clamped, low), clamped, low)
    magic = _constant(kind, 1.5 * 2.0**form.mantissa)
    shifted = call_llvm(builder, "fma", clamped, _constant(kind, 1.4426950408889634), magic)
    k = builder.fsub(shifted, magic)
    r = call_llvm(builder, "fma", k, _constant(kind, -form.log2_high), clamped)
    r = call_llvm(builder, "fma", k, _constant(kind, -form.log2_low), r)
    whole = ir.VectorType(ir.IntType(form.bits), kind.count)
    exponent = builder.shl(builder.bitcast(shifted, whole), ir.Constant(whole, [form.mantissa] * kind.count))
    p = builder.bitcast(_horner(builder, r, _EXP[str(kind.element)]), whole)
    result = builder.bitcast(builder.add(p, exponent), kind)
    result = builder.select(builder.fcmp_ordered("<", x, low), _constant(kind, 0.0), result)
    beyond = builder.fcmp_unordered(">", x, high)  # or not a number
    return builder.select(beyond, builder.fadd(x, _constant(kind, float("inf"))), result)


def _emit_log1p(builder, x):
    """`log(1 + x)` for finite x >= 0: `k log(2) + log(1 + f)` with 1 + x = 2^k (1 + f), and s = f / (2 + f).

    Below 1, f is x itself, so that small values keep all their places.
    """
    kind = x.type
    form, one = _FORMATS[str(kind.element)], _constant(kind, 1.0)
    whole = ir.VectorType(ir.IntType(form.bits), kind.count)
    bias = _constant(whole, (1 << (form.bits - form.mantissa - 2)) - 1)
    mantissa = _constant(whole, form.mantissa)
    u = builder.fadd(x, one)
    k = builder.sub(builder.lshr(builder.bitcast(u, whole), mantissa), bias)
    scale = builder.bitcast(builder.shl(builder.sub(bias, k), mantissa), kind)
    reduced = call_llvm(builder, "fma", u, scale, _constant(kind, -1.0))
    f = builder.select(builder.icmp_signed(">", k, _constant(whole, 0)), reduced, x)
    s = builder.fdiv(f, builder.fadd(f, _constant(kind, 2.0)))
    log = builder.fmul(s, _horner(builder, builder.fmul(s, s), _LOG1P[str(kind.element)]))
    return call_llvm(builder, "fma", builder.sitofp(k, kind), _constant(kind, form.log2_high), log)


def _emit_cbrt(builder, x):
    """The cube root for x >= 0, to a place or two; 0 where x is not normal.

    A third of the bits, as a number, is within some 5 % of the root; each of Halley's steps cubes that.
    """
    kind = x.type
    form, two = _FORMATS[str(kind.element)], _constant(kind, 2.0)
    whole = ir.VectorType(ir.IntType(form.bits), kind.count)
    one = (1 << (form.bits - form.mantissa - 2)) - 1  # the bits of 1.0, but for their place
    third = builder.fmul(builder.sitofp(builder.bitcast(x, whole), kind), _constant(kind, 1 / 3))
    guess = builder.fadd(third, _constant(kind, (one * 2 / 3 - 0.033) * 2.0**form.mantissa))
    y = builder.bitcast(builder.fptosi(guess, whole), kind)
    for _ in range(3 if form.bits == 64 else 2):
        cube = builder.fmul(y, builder.fmul(y, y))
        error = builder.fdiv(builder.fsub(cube, x), call_llvm(builder, "fma", two, cube, x))
        y = call_llvm(builder, "fma", builder.fneg(y), error, y)
    tiny = builder.fcmp_ordered("<", x, _constant(kind, 2.0 ** (1 - one)))
    return builder.select(tiny, _constant(kind, 0.0), y)


_elementwise((np.exp,), 1, _emit_exp)
_elementwise((np.log1p,), 1, _emit_log1p)
_elementwise((np.cbrt,), 1, _emit_cbrt)


# --- the machine ------------------------------------------------------------------------------------------------------


@cache
def register_bits() -> tuple[int, int]:
    """Return the width of this machine's vector registers in bits and their number."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 512, 32
    if features.get("avx"):
        return 256, 16
    return 128, 32 if "aarch64" in llvm.get_process_triple() else 16


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """Return zeros that start on a cache line: 1.4 times in the dense tile."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)
