"""The few functions that rules and losses need beside NumPy's own: plain NumPy here, vector instructions in a kernel.

Rules, losses and landscapes are written with these and with `np.sqrt, np.square, np.abs, np.sign, np.where, np.maximum,
np.minimum, np.floor, np.exp, np.log, np.sin, np.cos, np.tanh`, `x ** p` and, of what is not negative, `np.log1p,
np.cbrt`; all work on numbers, on arrays and, inside a kernel, on vectors of lanes (`fastgd._vectors`). A whole exponent
that is written down costs a few products, any other one a call of the C library's `pow` for each lane; as in NumPy, a
negative number to a power that is not whole is NaN.
"""

from typing import Any

import numpy as np

from fastgd._lanes import Symbol


def power(x: Any, t: int) -> Any:
    """Return `x ** t` for a whole t >= 0 by repeated squaring.

    All lanes share t, so this is some 2 log2(t) multiplications for a whole vector of lanes; a `pow` for each lane
    costs more than the rest of a small step.
    """
    return x**t if isinstance(t, Symbol) else whole_power(x, t)  # a proof is for all t


def whole_power(x: Any, t: int) -> Any:
    """The same for kernels."""
    result = x * 0 + 1
    while t > 0:
        if t & 1:
            result = result * x
        x = x * x
        t >>= 1
    return result


def exp(z: Any) -> Any:
    """Return `e^z`; infinity where that is too large, without a warning."""
    with np.errstate(over="ignore"):
        return np.exp(z)


TINY = 2.0**-126  # the smallest normal number of float32: what keeps 0 / 0 from being no number

# Squares of numbers beyond these are kept in units of their own: those of the largest floats would be infinite, and
# those of the smallest ones zero.
LARGE, SMALL = 2.0**480, 2.0**-480
UP, DOWN = 2.0**600, 2.0**-600


def squares(x: Any) -> tuple[Any, Any, Any]:
    """Return the square of a number of any size in three parts, which are to be summed each by itself: see `root`."""
    size = np.abs(x)
    large, small = np.where(size > LARGE, x * DOWN, 0), np.where(size < SMALL, x * UP, 0)
    rest = np.where(size > LARGE, 0, np.where(size < SMALL, 0, x))
    return large * large, rest * rest, small * small


def root(sums: Any) -> Any:
    """Return the root of summed squares, from the sums of the three parts that `squares` returns."""
    large, rest, small = sums[0], sums[1], sums[2]
    above = np.sqrt(large + rest * DOWN * DOWN) * UP
    among = np.sqrt(rest + small * DOWN * DOWN)
    return np.where(large > 0, above, np.where(rest <= 0, np.sqrt(small) * DOWN, among))  # a NaN is not <= 0


def hypot(x: Any, y: Any) -> Any:
    """Return `sqrt(x^2 + y^2)`, also where the squares have no place among floats."""
    a, b = squares(x), squares(y)
    return root((a[0] + b[0], a[1] + b[1], a[2] + b[2]))


def sigmoid(z: Any) -> Any:
    """Return `1 / (1 + e^-z)`, exact to rounding at both ends."""
    return 1 / (1 + exp(-z))
