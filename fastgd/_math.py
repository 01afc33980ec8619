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


def sigmoid(z: Any) -> Any:
    """Return `1 / (1 + e^-z)`, exact to rounding at both ends."""
    return 1 / (1 + exp(-z))
