"""Gradients by finite differences of the value, in the form in which landscapes write their own."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np


@cache
def differences(value: Callable[[Any, Any], Any], dtype: str) -> Callable[[Any, Any, Any], None]:
    """Return `gradient(p, x, g)` by central differences of fourth order, for numbers of this type.

    `g_j = (8 (f(x + h) - f(x - h)) - (f(x + 2h) - f(x - 2h))) / (12 h)`, along coordinate j, with
    `h = eps^(1/5) max(1, |x_j|)`, which balances the error of the formula, h^4, with that of rounding, eps / h.
    x is changed meanwhile, and restored. Source: Fornberg (1988), https://doi.org/10.1090/S0025-5718-1988-0935077-0.
    """
    step = float(np.finfo(dtype).eps) ** 0.2

    def gradient(p: Any, x: Any, g: Any) -> None:
        for j in range(len(x)):
            here = x[j] * 1  # a copy: with arrays x[j] is a view
            h = np.maximum(np.abs(here), 1.0) * step
            x[j] = here + h
            near = value(p, x)
            x[j] = here - h
            near = near - value(p, x)
            x[j] = here + 2 * h
            far = value(p, x)
            x[j] = here - 2 * h
            far = far - value(p, x)
            x[j] = here
            g[j] = (8 * near - far) / (12 * h)

    return gradient
