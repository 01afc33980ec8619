"""exp, log, log1p, tanh, erf, sin, cos and the cube root of vectors of lanes, by polynomials and Halley's method.

Calling the C library for each lane takes six times as long. Importing this module teaches Numba the functions.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir

from fastgd.core import math
from fastgd.core.vectors import call_llvm, constant, elementwise, normal_quotient, reciprocal

# Polynomials that interpolate at Chebyshev's nodes, to less than the type's rounding, found by mpmath in 60 digits.
# The highest power stands first: e^r for |r| <= log(2) / 2, and log((1 + s) / (1 - s)) / s in s^2 for 0 <= s <= 1/3.
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
# What is left of a series once its first terms, which are exact, are taken out: (log((1 + s) / (1 - s)) / s - 2) / s^2
# in s^2 for s <= (sqrt(2) - 1) / (sqrt(2) + 1), (e^r - 1 - r) / r^2 in r for |r| <= log(2) / 2, (sin(r) / r - 1) / r^2
# and (cos(r) - 1 + r^2 / 2) / r^4 in r^2 for r <= 1.005 pi / 4, the latter with its exact terms.
_LOG = {
    "double": [
        0.14616449685043406, 0.15331721600556042, 0.18182889125261723, 0.2222221113479508, 0.28571428625975487,
        0.39999999999899505, 0.666666666666667,
    ],
    "float": [0.2957994939197279, 0.3998878056602198, 0.6666668503957586],
}  # fmt: skip
_EXPM1 = {
    "double": [
        2.0914686968086876e-09, 2.5105217004720745e-08, 2.75572736431103e-07, 2.7557255400206422e-06,
        2.4801587325547743e-05, 0.00019841269874820627, 0.0013888888888883748, 0.008333333333326136,
        0.04166666666666667, 0.1666666666666667, 0.5,
    ],
    "float": [
        0.00019890990824673654, 0.0013933649996309251, 0.0083333109254809, 0.041666464925285904, 0.16666666681623232,
        0.500000001346581,
    ],
}  # fmt: skip
_SIN = {
    "double": [
        1.591672268628647e-10, -2.5051112223400198e-08, 2.755731600793325e-06, -0.00019841269836575246,
        0.008333333333330827, -0.16666666666666666,
    ],
    "float": [-0.00019585366912907003, 0.00833273652975426, -0.16666664601601208],
}  # fmt: skip
_COS = {
    "double": [
        -1.1381752459316457e-11, 2.0876133993327844e-09, -2.755731721253751e-07, 2.4801587298651e-05,
        -0.0013888888888887322, 0.041666666666666664, -0.5, 1.0,
    ],
    "float": [2.4545412771168977e-05, -0.0013888291271073755, 0.04166666459867479, -0.5, 1.0],
}  # fmt: skip
# erf(x) / x in x^2 for x <= 1, and (1 - erf(x)) e^(x^2) in 1 / (1 + x) from there to where erf is 1 to rounding.
_ERF = {
    "double": [
        -7.795898827002142e-10, 1.3720064546777686e-08, -1.6208483801871705e-07, 1.6447424703317362e-06,
        -1.492473690741966e-05, 0.00012055294904839707, -0.0008548325975389692, 0.0052239776071164225,
        -0.02686617064323777, 0.11283791670945006, -0.37612638903183543, 1.1283791670955126,
    ],
    "float": [
        7.875875062685488e-05, -0.000801686428716587, 0.005189087423433974, -0.026854212010626412,
        0.11283594715160218, -0.37612626666720334, 1.1283791658483509,
    ],
}  # fmt: skip
_ERFC = {
    "double": [
        -28.231579075693528, 138.67327936287074, -299.84397092012944, 362.0627959498556, -242.13681254424364,
        47.333338885110805, 66.87770739326942, -69.53273016054939, 30.747071262913916, -6.807729700999206,
        1.6512408753784762, -0.9870545775083382, -0.2494392025702309, 0.2793742094340424, 0.5643441130288434,
        0.5641842187021698, 8.595040708929234e-08,
    ],
    "float": [
        -0.6001618682216739, 1.2948187677886192, -0.6082527041509581, -0.6362528816219543, 0.4295974293776426,
        0.5344549640891313, 0.5672638044301219, -0.00013082421153501371,
    ],
}  # fmt: skip
_FARTHEST_ERF = {"double": 6.0, "float": 4.0}


class _Format(NamedTuple):
    """Constants of a floating-point format.

    exp is finite and normal from `low` to `high`; log(2) is a sum of two numbers, and pi / 2 (`quarter`) of three; sin
    and cos are computed by these up to `far`. `bits` counts all bits, `mantissa` those of the fraction.
    """

    low: float
    high: float
    bits: int
    mantissa: int
    log2_high: float
    log2_low: float
    quarter: tuple[float, float, float]
    far: float

    @property
    def one(self) -> int:
        """The exponent's bias, which is the exponent of 1.0 as it is stored."""
        return (1 << (self.bits - self.mantissa - 2)) - 1


_FORMATS = {
    "double": _Format(
        -708.0, 709.782712893384, 64, 52, 0.6931471805599453, 2.3190468138462996e-17,
        (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33), 2.0**40,
    ),
    "float": _Format(
        -86.9, 88.72283935546875, 32, 23, 0.693147182464599609375, -1.904654323148236e-09,
        (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15), 2.0**16,
    ),
}  # fmt: skip


def _integers(kind):
    return ir.VectorType(ir.IntType(_FORMATS[str(kind.element)].bits), kind.count)


def _horner(builder, x, coefficients):
    total = constant(x.type, coefficients[0])
    for coefficient in coefficients[1:]:
        total = call_llvm(builder, "fma", total, x, constant(x.type, coefficient))
    return total


def _power_of_two(builder, x, scale: float):
    """Return r and the bits of 2^k in an exponent's place with `scale x = k log(2) + r`, |r| <= log(2) / 2.

    Adding 1.5 2^mantissa rounds x / log(2) to a whole k and leaves it in the lowest bits, from where it is shifted into
    the exponent: no conversion to integers.
    """
    kind = x.type
    form, whole = _FORMATS[str(kind.element)], _integers(kind)
    magic = constant(kind, 1.5 * 2.0**form.mantissa)
    shifted = call_llvm(builder, "fma", x, constant(kind, scale * 1.4426950408889634), magic)
    k = builder.fsub(shifted, magic)
    r = x if scale == 1.0 else builder.fneg(x)
    r = call_llvm(builder, "fma", k, constant(kind, -form.log2_high), r)
    r = call_llvm(builder, "fma", k, constant(kind, -form.log2_low), r)
    return r, builder.shl(builder.bitcast(shifted, whole), constant(whole, form.mantissa))


def _exp_between(builder, x, scale: float = 1.0):
    """`2^k e^r = e^(scale x)` where that is normal, for a scale of 1 or -1: 1 ulp, at a sixth of a call a lane."""
    r, exponent = _power_of_two(builder, x, scale)
    p = builder.bitcast(_horner(builder, r, _EXP[str(x.type.element)]), exponent.type)
    return builder.bitcast(builder.add(p, exponent), x.type)


def _clamp(builder, x, low: float, high: float):
    """Bring x between two numbers, by one instruction each; NaN stays."""
    low, high = constant(x.type, low), constant(x.type, high)
    x = builder.select(builder.fcmp_ordered(">", low, x), low, x)
    return builder.select(builder.fcmp_ordered("<", high, x), high, x)


def _emit_exp(builder, x):
    """e^x; 0 where the result would not be normal."""
    kind = x.type
    form = _FORMATS[str(kind.element)]
    low, high = constant(kind, form.low), constant(kind, form.high)
    result = _exp_between(builder, _clamp(builder, x, form.low, form.high))
    result = builder.select(builder.fcmp_ordered("<", x, low), constant(kind, 0.0), result)
    beyond = builder.fcmp_unordered(">", x, high)  # or not a number
    return builder.select(beyond, builder.fadd(x, constant(kind, float("inf"))), result)


def _emit_sigmoid(builder, x):
    """`1 / (1 + e^-x)`: 2 ulp, and 0 below where it would not be normal."""
    kind = x.type
    low = _FORMATS[str(kind.element)].low
    one = constant(kind, 1.0)
    e = _exp_between(builder, _clamp(builder, x, low, -low), -1.0)
    result = reciprocal(builder, builder.fadd(one, e))
    return builder.select(builder.fcmp_ordered("<", x, constant(kind, low)), constant(kind, 0.0), result)


def _emit_log1p(builder, x):
    """`log(1 + x)` for finite x >= 0: `k log(2) + log(1 + f)` with 1 + x = 2^k (1 + f), and s = f / (2 + f).

    Below 1, f is x itself, so that small values keep all their places.
    """
    kind = x.type
    form, one = _FORMATS[str(kind.element)], constant(kind, 1.0)
    whole = _integers(kind)
    bias = constant(whole, form.one)
    mantissa = constant(whole, form.mantissa)
    u = builder.fadd(x, one)
    k = builder.sub(builder.lshr(builder.bitcast(u, whole), mantissa), bias)
    scale = builder.bitcast(builder.shl(builder.sub(bias, k), mantissa), kind)
    reduced = call_llvm(builder, "fma", u, scale, constant(kind, -1.0))
    f = builder.select(builder.icmp_signed(">", k, constant(whole, 0)), reduced, x)
    s = normal_quotient(builder, f, builder.fadd(f, constant(kind, 2.0)))
    log = builder.fmul(s, _horner(builder, builder.fmul(s, s), _LOG1P[str(kind.element)]))
    return call_llvm(builder, "fma", builder.sitofp(k, kind), constant(kind, form.log2_high), log)


def _emit_cbrt(builder, x):
    """The cube root for x >= 0, to a place or two; 0 where x is not normal.

    A third of the bits, as a number, is within some 5 % of the root; each of Halley's steps cubes that.
    """
    kind = x.type
    form, two = _FORMATS[str(kind.element)], constant(kind, 2.0)
    whole = _integers(kind)
    third = builder.fmul(builder.sitofp(builder.bitcast(x, whole), kind), constant(kind, 1 / 3))
    guess = builder.fadd(third, constant(kind, (form.one * 2 / 3 - 0.033) * 2.0**form.mantissa))
    y = builder.bitcast(builder.fptosi(guess, whole), kind)
    for _ in range(3 if form.bits == 64 else 2):
        cube = builder.fmul(y, builder.fmul(y, y))
        error = builder.fdiv(builder.fsub(cube, x), call_llvm(builder, "fma", two, cube, x))
        y = call_llvm(builder, "fma", builder.fneg(y), error, y)
    tiny = builder.fcmp_ordered("<", x, constant(kind, 2.0 ** (1 - form.one)))
    return builder.select(tiny, constant(kind, 0.0), y)


def _emit_log(builder, x):
    """`k log(2) + log(1 + f)` with x = 2^k (1 + f) and 1 + f around 1: 1 ulp; NaN where x < 0.

    log(1 + f) is put together as in fdlibm's e_log.c, f - f^2 / 2 + ..., so that the division's error stays small.
    """
    kind = x.type
    form = _FORMATS[str(kind.element)]
    f, k = _split_for_log(builder, x)
    s = normal_quotient(builder, f, builder.fadd(f, constant(kind, 2.0)))
    z, half = builder.fmul(s, s), builder.fmul(f, builder.fmul(f, constant(kind, 0.5)))
    rest = call_llvm(builder, "fma", z, _horner(builder, z, _LOG[str(kind.element)]), half)
    tail = call_llvm(builder, "fma", k, constant(kind, form.log2_low), builder.fmul(s, rest))
    log = builder.fsub(f, builder.fsub(half, tail))
    log = call_llvm(builder, "fma", k, constant(kind, form.log2_high), log)
    log = builder.select(builder.fcmp_ordered("<", x, constant(kind, float("inf"))), log, x)
    zero, nan = constant(kind, 0.0), constant(kind, float("nan"))
    ends = builder.select(builder.fcmp_ordered("==", x, zero), constant(kind, float("-inf")), nan)
    return builder.select(builder.fcmp_ordered(">", x, zero), log, ends)


def _split_for_log(builder, x):
    """Return f and k of `x = 2^k (1 + f)`, 1 + f between the roots of 1/2 and 2. Subnormal numbers are scaled first."""
    kind = x.type
    form, whole = _FORMATS[str(kind.element)], _integers(kind)
    mantissa, power = constant(whole, form.mantissa), 2.0 ** (form.mantissa + 1)
    tiny = builder.fcmp_ordered("<", x, constant(kind, 2.0 ** (1 - form.one)))
    x = builder.select(tiny, builder.fmul(x, constant(kind, power)), x)
    root = ((form.one - 1) << form.mantissa) + int((2**0.5 - 1) * 2.0**form.mantissa)  # the bits of sqrt(1/2)
    bits = builder.add(builder.bitcast(x, whole), constant(whole, (form.one << form.mantissa) - root))
    # The biased exponent becomes a number as the last bits of 2^mantissa: AVX2 has no conversion of 64-bit integers.
    magic = constant(whole, (form.one + form.mantissa) << form.mantissa)
    k = builder.bitcast(builder.or_(builder.lshr(bits, mantissa), magic), kind)
    bias = 2.0**form.mantissa + form.one
    k = builder.fsub(k, builder.select(tiny, constant(kind, bias + form.mantissa + 1), constant(kind, bias)))
    fraction = builder.and_(bits, constant(whole, (1 << form.mantissa) - 1))
    near_one = builder.bitcast(builder.add(fraction, constant(whole, root)), kind)
    return builder.fsub(near_one, constant(kind, 1.0)), k


def _emit_tanh(builder, x):
    """`e / (e + 2)` with `e = exp(2 |x|) - 1 = 2^k (exp(r) - 1) + (2^k - 1)`: small x keep all their places."""
    kind = x.type
    form, whole = _FORMATS[str(kind.element)], _integers(kind)
    size = call_llvm(builder, "fabs", x)
    a, top = builder.fadd(size, size), constant(kind, 40.0)  # from where tanh is 1
    a = builder.select(builder.fcmp_ordered(">", a, top), top, a)  # NaN stays
    magic = constant(kind, 1.5 * 2.0**form.mantissa)
    shifted = call_llvm(builder, "fma", a, constant(kind, 1.4426950408889634), magic)
    k = builder.fneg(builder.fsub(shifted, magic))
    r = call_llvm(builder, "fma", k, constant(kind, form.log2_high), a)
    r = call_llvm(builder, "fma", k, constant(kind, form.log2_low), r)
    exponent = builder.shl(builder.bitcast(shifted, whole), constant(whole, form.mantissa))
    scale = builder.bitcast(builder.add(exponent, constant(whole, form.one << form.mantissa)), kind)
    p = call_llvm(builder, "fma", builder.fmul(r, r), _horner(builder, r, _EXPM1[str(kind.element)]), r)
    e = call_llvm(builder, "fma", scale, p, builder.fsub(scale, constant(kind, 1.0)))
    return call_llvm(builder, "copysign", normal_quotient(builder, e, builder.fadd(e, constant(kind, 2.0))), x)


def _emit_erf(builder, x):
    """`x p(x^2)` near 0, and `1 - e^(-x^2) q(1 / (1 + |x|))`: 4e-16 in float64, 1e-7 in float32."""
    kind, name = x.type, str(x.type.element)
    one, farthest = constant(kind, 1.0), constant(kind, _FARTHEST_ERF[name])
    size = call_llvm(builder, "fabs", x)
    size = builder.select(builder.fcmp_ordered(">", size, farthest), farthest, size)  # NaN stays
    square = builder.fmul(size, size)
    near = builder.fmul(size, _horner(builder, square, _ERF[name]))
    rest = _horner(builder, reciprocal(builder, builder.fadd(one, size)), _ERFC[name])
    far = builder.fsub(one, builder.fmul(_exp_between(builder, square, -1.0), rest))
    result = builder.select(builder.fcmp_ordered("<", size, one), near, far)
    return call_llvm(builder, "copysign", result, x)


def _emit_sin(builder, x):
    return _or_library(builder, "sin", x, _wave(builder, x, 0))


def _emit_cos(builder, x):
    return _or_library(builder, "cos", x, _wave(builder, x, 1))


def _wave(builder, x, ahead: int):
    """`sin(x + ahead pi / 2)`: 1.5 ulp, by sin or cos of `r = x - k pi / 2` with the nearest k; never beyond 1.

    The first fma is exact: x and k times the first piece are multiples of the piece's last place, and their difference
    has no more places than a number has. So r is right to its last place, however close x comes to a multiple of pi.
    """
    kind = x.type
    form, whole = _FORMATS[str(kind.element)], _integers(kind)
    magic = constant(kind, 1.5 * 2.0**form.mantissa)  # leaves k in the lowest bits, as in exp
    shifted = call_llvm(builder, "fma", x, constant(kind, 2 / np.pi), magic)
    k, r = builder.fsub(magic, shifted), x
    for piece in form.quarter:
        r = call_llvm(builder, "fma", k, constant(kind, piece), r)
    z = builder.fmul(r, r)
    sin = call_llvm(builder, "fma", builder.fmul(r, z), _horner(builder, z, _SIN[str(kind.element)]), r)
    cos = _horner(builder, z, _COS[str(kind.element)])
    quarters = builder.add(builder.bitcast(shifted, whole), constant(whole, ahead))
    odd = builder.shl(quarters, constant(whole, form.bits - 1))
    value = builder.select(builder.icmp_signed("<", odd, constant(whole, 0)), cos, sin)
    negative = builder.shl(builder.and_(quarters, constant(whole, 2)), constant(whole, form.bits - 2))
    return builder.bitcast(builder.xor(builder.bitcast(value, whole), negative), kind)


def _or_library(builder, name: str, x, near):
    """Return `near`, and for lanes beyond `far` the C library's function in float64."""
    kind = x.type
    limit = constant(kind, _FORMATS[str(kind.element)].far)
    far = builder.fcmp_ordered(">", call_llvm(builder, "fabs", x), limit)
    some = builder.icmp_unsigned("!=", builder.bitcast(far, ir.IntType(kind.count)), ir.IntType(kind.count)(0))
    before = builder.block
    with builder.if_then(some, likely=False):
        double = ir.VectorType(ir.DoubleType(), kind.count)
        called = call_llvm(builder, name, x if kind == double else builder.fpext(x, double))
        chosen = builder.select(far, called if kind == double else builder.fptrunc(called, kind), near)
        after = builder.block
    result = builder.phi(kind)
    result.add_incoming(near, before)
    result.add_incoming(chosen, after)
    return result


elementwise((np.exp,), 1, _emit_exp)
elementwise((math.sigmoid,), 1, _emit_sigmoid)
elementwise((np.log1p,), 1, _emit_log1p)
elementwise((np.cbrt,), 1, _emit_cbrt)
elementwise((np.log,), 1, _emit_log)
elementwise((np.tanh,), 1, _emit_tanh)
elementwise((math.erf,), 1, _emit_erf)
elementwise((np.sin,), 1, _emit_sin)
elementwise((np.cos,), 1, _emit_cos)
