"""Adam's steps without a gradient, as a series whose terms fall by constant factors.

Between two gradients of a parameter, `m / (sqrt(c v) + eps)` does not fall by a constant factor; c corrects the bias of
v. With `x = eps / sqrt(v)` it is `sum_p m / sqrt(v) (-x)^p c^(-(p + 1) / 2)`, where each term does: the sums of these
powers of c over many steps do not depend on m and v, and six of them serve all parameters. The kernel rewrites them
as powers of the differences from their mean, so that the series converges for any x, as long as `sqrt(c v)` changes
little before m has vanished (`engine.coast.matrices`). Otherwise the steps are taken one by one.
"""

from typing import Any

import numpy as np

TERMS = 6
NEGLIGIBLE = 50.0  # -log of the share of a step that may be left out


def terms_of(m: Any, v: Any, eps: Any) -> Any:
    """Return how the state keeps the terms of `m / (sqrt(v) + eps)`: the first, x, and room for the other four."""
    some, inverse, zero = np.abs(m) > 0, 1 / np.sqrt(v), m * 0
    return np.where(some, m * inverse, 0.0), np.where(some, eps * inverse, 0.0), zero, zero, zero, zero


def decayed_terms(q: Any, beta: Any, growth: Any) -> Any:
    """Return the terms after a step: m falls by `beta`, and `1 / sqrt(v)` grows by `growth`."""
    g2 = growth * growth
    a, b, c, cube = beta * growth, beta * g2, beta * (g2 * growth), g2 * growth
    return a * q[0], b * q[1], c * q[2], a * cube * q[3], b * cube * q[4], c * cube * q[5]


def sum_of_terms(q: Any, scale: Any) -> Any:
    """Return `m / (sqrt(v) / scale + eps)`, the sum of the terms."""
    return scale * (q[0] + scale * (q[1] + scale * (q[2] + scale * (q[3] + scale * (q[4] + scale * q[5])))))


def steps_to_vanish(beta1: Any, beta2: Any) -> Any:
    """Return after how many steps `m / sqrt(v)` has vanished; infinity where it does not fall."""
    with np.errstate(all="ignore"):
        rate = 0.5 * np.log(beta2) - np.log(beta1)
        return np.where(rate > 0, NEGLIGIBLE / rate, np.inf)
