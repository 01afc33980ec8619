"""The few functions that rules and losses need beside NumPy's own: plain NumPy here, vector instructions in a kernel.

Rules, losses and landscapes are written with these and with `np.sqrt, np.square, np.abs, np.sign, np.where, np.maximum,
np.minimum, np.floor, np.exp, np.log, np.sin, np.cos, np.tanh`, `x ** p` and, of what is not negative, `np.log1p,
np.cbrt`; all work on numbers, on arrays and, inside a kernel, on vectors of lanes (`fastgd.core.vectors`). A whole
exponent that is written down costs a few products, any other one a call of the C library's `pow` for each lane; as in
NumPy, a negative number to a power that is not whole is NaN.
"""

from typing import Any

import numpy as np

from fastgd.user_code.kernel_values import Symbol


def power(x: Any, t: int) -> Any:
    """Return `x ** t` for a whole t >= 0 by repeated squaring.

    All lanes share t, so this is some 2 log2(t) multiplications for a whole vector of lanes; a `pow` for each lane
    costs more than the rest of a small step.
    """
    return x**t if isinstance(t, Symbol) else whole_power(x, t)  # symbols: a proof holds for all t


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


SMALLEST_NORMAL = 2.0**-126  # of float32: as a least divisor it keeps 0 / 0 from being NaN

# Squares of large floats overflow and those of small ones become 0, unless the floats are scaled before.
SCALE_UP, SCALE_DOWN = 2.0**600, 2.0**-600
LARGEST_SUM, SMALLEST_SUM = 2.0**1000, 2.0**-900  # of squares that are not scaled


def squares(x: Any) -> tuple[Any, Any, Any]:
    """Return the square of a number scaled down, as it is, and scaled up; each is summed by itself: see `root`."""
    with np.errstate(over="ignore", under="ignore"):
        return in_units(x)


def in_units(x: Any) -> tuple[Any, Any, Any]:
    """Return the same in kernels: computing all three squares is cheaper than choosing one."""
    large, small = x * SCALE_DOWN, x * SCALE_UP
    return large * large, x * x, small * small


def root(sums: Any) -> Any:
    """Return the root of a sum of squares from the three sums of `squares`, by the one that is exact."""
    large, rest, small = np.sqrt(sums[0]) * SCALE_UP, np.sqrt(sums[1]), np.sqrt(sums[2]) * SCALE_DOWN
    return np.where(sums[1] > LARGEST_SUM, large, np.where(sums[1] < SMALLEST_SUM, small, rest))  # NaN: `rest`


def hypot(x: Any, y: Any) -> Any:
    """Return `sqrt(x^2 + y^2)`, also where a square would overflow or become 0."""
    a, b = squares(x), squares(y)
    return root((a[0] + b[0], a[1] + b[1], a[2] + b[2]))


def sigmoid(z: Any) -> Any:
    """Return `1 / (1 + e^-z)`, exact to rounding at both ends."""
    return 1 / (1 + exp(-z))


def erf(z: Any) -> Any:
    """Return the error function."""
    from scipy.special import erf  # the few that call this in Python have time to import it

    return erf(z)
