"""exp, log1p and the cube root on vectors of lanes, as polynomials and steps of Halley's.

A call a lane takes six times as long. Importing this module teaches Numba the functions.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir

from fastgd._vectors import call_llvm, constant, elementwise

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


def _horner(builder, x, coefficients):
    total = constant(x.type, coefficients[0])
    for coefficient in coefficients[1:]:
        total = call_llvm(builder, "fma", total, x, constant(x.type, coefficient))
    return total


def _emit_exp(builder, x):
    """`2^k e^r`: 1 ulp, at a sixth of the time of a call a lane; 0 where the result would not be normal.

    Adding 1.5 2^mantissa rounds x / log(2) to a whole k and leaves it in the lowest bits, from where it is shifted into
    the exponent: no conversion to integers.
    """
    kind = x.type
    form = _FORMATS[str(kind.element)]
    low, high = constant(kind, form.low), constant(kind, form.high)
    clamped = builder.select(builder.fcmp_ordered("<", x, high), x, high)
    clamped = builder.select(builder.fcmp_ordered(">", clamped, low), clamped, low)
    magic = constant(kind, 1.5 * 2.0**form.mantissa)
    shifted = call_llvm(builder, "fma", clamped, constant(kind, 1.4426950408889634), magic)
    k = builder.fsub(shifted, magic)
    r = call_llvm(builder, "fma", k, constant(kind, -form.log2_high), clamped)
    r = call_llvm(builder, "fma", k, constant(kind, -form.log2_low), r)
    whole = ir.VectorType(ir.IntType(form.bits), kind.count)
    exponent = builder.shl(builder.bitcast(shifted, whole), ir.Constant(whole, [form.mantissa] * kind.count))
    p = builder.bitcast(_horner(builder, r, _EXP[str(kind.element)]), whole)
    result = builder.bitcast(builder.add(p, exponent), kind)
    result = builder.select(builder.fcmp_ordered("<", x, low), constant(kind, 0.0), result)
    beyond = builder.fcmp_unordered(">", x, high)  # or not a number
    return builder.select(beyond, builder.fadd(x, constant(kind, float("inf"))), result)


def _emit_log1p(builder, x):
    """`log(1 + x)` for finite x >= 0: `k log(2) + log(1 + f)` with 1 + x = 2^k (1 + f), and s = f / (2 + f).

    Below 1, f is x itself, so that small values keep all their places.
    """
    kind = x.type
    form, one = _FORMATS[str(kind.element)], constant(kind, 1.0)
    whole = ir.VectorType(ir.IntType(form.bits), kind.count)
    bias = constant(whole, (1 << (form.bits - form.mantissa - 2)) - 1)
    mantissa = constant(whole, form.mantissa)
    u = builder.fadd(x, one)
    k = builder.sub(builder.lshr(builder.bitcast(u, whole), mantissa), bias)
    scale = builder.bitcast(builder.shl(builder.sub(bias, k), mantissa), kind)
    reduced = call_llvm(builder, "fma", u, scale, constant(kind, -1.0))
    f = builder.select(builder.icmp_signed(">", k, constant(whole, 0)), reduced, x)
    s = builder.fdiv(f, builder.fadd(f, constant(kind, 2.0)))
    log = builder.fmul(s, _horner(builder, builder.fmul(s, s), _LOG1P[str(kind.element)]))
    return call_llvm(builder, "fma", builder.sitofp(k, kind), constant(kind, form.log2_high), log)


def _emit_cbrt(builder, x):
    """The cube root for x >= 0, to a place or two; 0 where x is not normal.

    A third of the bits, as a number, is within some 5 % of the root; each of Halley's steps cubes that.
    """
    kind = x.type
    form, two = _FORMATS[str(kind.element)], constant(kind, 2.0)
    whole = ir.VectorType(ir.IntType(form.bits), kind.count)
    one = (1 << (form.bits - form.mantissa - 2)) - 1  # the bits of 1.0, but for their place
    third = builder.fmul(builder.sitofp(builder.bitcast(x, whole), kind), constant(kind, 1 / 3))
    guess = builder.fadd(third, constant(kind, (one * 2 / 3 - 0.033) * 2.0**form.mantissa))
    y = builder.bitcast(builder.fptosi(guess, whole), kind)
    for _ in range(3 if form.bits == 64 else 2):
        cube = builder.fmul(y, builder.fmul(y, y))
        error = builder.fdiv(builder.fsub(cube, x), call_llvm(builder, "fma", two, cube, x))
        y = call_llvm(builder, "fma", builder.fneg(y), error, y)
    tiny = builder.fcmp_ordered("<", x, constant(kind, 2.0 ** (1 - one)))
    return builder.select(tiny, constant(kind, 0.0), y)


elementwise((np.exp,), 1, _emit_exp)
elementwise((np.log1p,), 1, _emit_log1p)
elementwise((np.cbrt,), 1, _emit_cbrt)
