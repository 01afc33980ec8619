"""Adam's steps without a gradient, as a sum that coasts.

Between two gradients, Adam's `m / (sqrt(c v) + eps)` falls by no constant factor. With `x = eps / sqrt(v)` it is
`sum_p m / sqrt(v) (-x)^p c^(-(p + 1) / 2)`: each term falls by a factor of its own, and those beyond the sixth are lost
in rounding while x is small. Where x is not, the steps are taken one by one, until they vanish.
"""

from typing import Any

import numpy as np

TERMS = 6
LARGEST = 2e-3  # x at which the first term left out is 1e-16 of the sum
VANISHED = 50.0  # -log of what is left of a step that no longer counts


def quotients(m: Any, v: Any, eps: Any, reach: Any) -> Any:
    """Return the six terms of `m / (sqrt(v) + eps)`: NaN where `eps / sqrt(v) < reach` fails, and 0 where m is."""
    some, inverse = np.abs(m) > 0, 1 / np.sqrt(v)
    x = np.where(some, eps * inverse, 0.0)
    q = np.where(some, np.where(x < reach, m * inverse, np.nan), 0.0)
    x2 = x * x
    return q, -q * x, q * x2, -q * (x * x2), q * (x2 * x2), -q * (x * x2 * x2)


def decayed(q: Any, beta: Any, growth: Any) -> Any:
    """Return the terms after a step: m falls by `beta`, and `1 / sqrt(v)` grows by `growth`.

    Terms that would grow belong to series that do not reach anywhere.
    """
    g2 = growth * growth
    a, b, c, cube = beta * growth, beta * g2, beta * (g2 * growth), g2 * growth
    factors = (a, b, c, a * cube, b * cube, c * cube)
    return (
        np.minimum(factors[0], 1.0) * q[0],
        np.minimum(factors[1], 1.0) * q[1],
        np.minimum(factors[2], 1.0) * q[2],
        np.minimum(factors[3], 1.0) * q[3],
        np.minimum(factors[4], 1.0) * q[4],
        np.minimum(factors[5], 1.0) * q[5],
    )


def quotient(q: Any, scale: Any) -> Any:
    """Return `m / (sqrt(v) / scale + eps)`, the sum of the terms."""
    return scale * (q[0] + scale * (q[1] + scale * (q[2] + scale * (q[3] + scale * (q[4] + scale * q[5])))))


def vanishing(beta1: Any, beta2: Any) -> Any:
    """Return the steps after which `m / sqrt(v)` has vanished; infinite where it does not fall."""
    with np.errstate(all="ignore"):
        rate = 0.5 * np.log(beta2) - np.log(beta1)
        return np.where(rate > 0, VANISHED / rate, np.inf)


def series_reach(beta1: Any, beta2: Any) -> Any:
    """Return the largest `eps / sqrt(v)` for which six terms do; 0 unless the first that is left out falls too."""
    with np.errstate(all="ignore"):
        return np.where(beta1 * beta2 ** (-0.5 * (TERMS + 1)) < 1 - 1e-3 * (1 - beta1), LARGEST, 0.0)
