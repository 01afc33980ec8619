"""Certificates: bounds of `F(w) - F*` that hold whatever solved for w, from convexity alone.

Three kinds, of which the least counts, written here for rows that all weigh the same; else sums over rows are weighted:

- **The duality gap**, where `l2 > 0`: by Fenchel's and Young's inequality `f(z) + f*(u) >= u z` of each row, so that
  with `v = 1/n sum u_i x_i` and any u with `sum u_i = 0` (which the unpenalised intercept asks of a dual point)
  `F(w) - F* <= 1/n sum (f(z_i) + f*(u_i) - u_i z_i) + |l2 w + v|^2 / (2 l2)`. All of its terms are at least 0: it loses
  no digits to a difference of two large numbers. Where u is the derivative at w, it is `|grad|^2 / (2 l2)`.
- **The Newton decrement**, `lambda^2 = g' H^-1 g` with the Hessian on the range of the rows. With a curvature that is
  the same everywhere (squared), `F(w) - F* = lambda^2 / 2`, at most `|g|^2 / (2 mu)`. Curvature of a self-concordant
  loss falls at most by `e^-s` over s units of margin, that of parabolas not within the room of margins: see `_bound`.
- **No loss is negative**: `F(w) - F* <= F(w)`, where a minimum exists.

Rounding comes on top: `Objective.rounding`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgd.optima.newton import MOST_EXACT
from fastgd.optima.objective import EPSILON, Objective

Array = NDArray[np.float64]
LEAST_ROOM = 1e-7  # of a margin, relative to its size: rows with less do not count as curved
USEFUL = 1e-2  # of the decrease from zero parameters: a bound above it says too little


class Certificate(NamedTuple):
    """A bound of `F(w) - F*`, without rounding, and what it rests on, in words."""

    bound: float
    basis: str


def certified(objective: Objective, theta: Array, u: Array | None = None) -> Certificate | None:
    """Return the least bound for parameters (size,); None: none is to be had.

    Parameters
    ----------
    objective : Objective
    theta : ndarray (size,)
    u : ndarray (n,), optional
        A dual point: a derivative that each row's loss may have; by default that at theta.
    """
    value = objective.value(theta)
    if not np.isfinite(value):
        return None
    found = [duality_gap(objective, theta, u)] if objective.l2 > 0 else []
    if objective.convex.smooth and objective.size <= MOST_EXACT:
        found.append(newton_decrement(objective, theta))
    if objective.convex.attained:
        found.append(Certificate(value, "no loss is negative"))
    finite = [each for each in found if each is not None and np.isfinite(each.bound)]
    return min(finite, default=None, key=lambda each: each.bound)


def says_enough(objective: Objective, theta: Array, bound: float) -> bool:
    """Whether a bound is small against the decrease from zero parameters, or near rounding."""
    fallen = objective.value(np.zeros(objective.size)) - objective.value(theta)
    return bool(bound <= max(USEFUL * fallen, 4 * objective.rounding(theta)))


# --- the duality gap --------------------------------------------------------------------------------------------------


def duality_gap(objective: Objective, theta: Array, u: Array | None = None) -> Certificate | None:
    """Return the duality gap of parameters and a dual point, which is made one that the intercept permits."""
    z = objective.margins(theta)
    u = objective.convex.derivatives(z, objective.y) if u is None else u
    if not np.isfinite(u).all():
        return None
    if objective.intercept:
        u = balanced(objective, u)
    v = objective.transposed(u).reshape(objective.columns, objective.outputs)
    W = theta.reshape(objective.columns, objective.outputs)
    weights = objective.l2 * W[: objective.d] + v[: objective.d]
    with np.errstate(over="ignore", invalid="ignore"):
        rows = objective.mean(objective.convex.fenchel_young(z, u, objective.y))
        gap = rows + float(np.square(weights).sum()) / (2 * objective.l2)
    # the sums of u are 0 but for rounding, which an intercept of about this size multiplies
    left = float(np.abs(v[objective.d :] * (1 + np.abs(W[objective.d :]))).sum())
    return Certificate(gap + left, "duality gap") if np.isfinite(gap + left) and gap >= 0 else None


def balanced(objective: Objective, u: Array) -> Array:
    """Return a dual point u whose weighted sum is 0, or of classes each column's: an unpenalised intercept asks for it.

    Of one margin, the derivatives of one sign are brought nearer to 0, which all conjugates permit. Of classes, the
    probabilities `p = u + (y is the class)` become `(1 - e) p + e q`, with the same q for all rows and the least e
    with which q is not negative: these are probabilities whose sums are the numbers of the classes' rows.
    """
    if objective.outputs == 1:
        own = objective.weighed(u)
        up, down = float(own[u > 0].sum()), float(-own[u < 0].sum())
        if up == 0 or down == 0:
            return np.zeros_like(u)
        return np.where(u > 0, u * min(1.0, down / up), u * min(1.0, up / down))
    own = np.arange(objective.outputs) == objective.y[:, None]
    p, wanted = u + own, objective.weighed(own).sum(axis=0)
    found = objective.weighed(p).sum(axis=0)
    share = float(np.max(np.where(found > 0, (found - wanted) / np.where(found > 0, found, 1.0), 0.0)))
    if share <= 0:
        return u
    q = np.maximum((wanted - (1 - share) * found) / (share * objective.n), 0.0)
    return np.asarray((1 - share) * p + share * q / q.sum() - own)


# --- the Newton decrement ---------------------------------------------------------------------------------------------


def newton_decrement(objective: Objective, theta: Array) -> Certificate | None:
    """Return the bound by the Newton decrement on the range of the rows."""
    z = objective.margins(theta)
    weights, room = _curved(objective, z)
    H = objective.hessian(z, weights)
    scale, basis = objective.range
    if not basis.shape[1]:
        return Certificate(0.0, "the objective does not depend on the parameters")
    own = basis.T @ (H / scale[:, None] / scale) @ basis
    least, largest = _ends(own)
    error = EPSILON * len(own) * largest
    mu = least - 4 * error
    if not mu > 4 * error:
        return None  # in some direction of the range the curvature cannot be told from 0
    gradient = objective.gradient(theta, z)
    slopes = basis.T @ (gradient / scale)
    rounding = np.linalg.norm(objective.gradient_rounding(z, theta) / scale) / np.sqrt(mu)
    square = float(slopes @ np.linalg.solve(own, slopes)) * (1 + 8 * error / mu)
    decrement = float(np.sqrt(max(square, 0.0)) + rounding)
    reach = _reach(objective, scale) / np.sqrt(mu)  # the most that a margin changes over a unit of the Hessian's norm
    bound = _bound(objective, decrement, reach, room)
    rank = basis.shape[1]
    on = "" if rank == objective.size else f" on the range of the rows ({rank:,} of {objective.size:,} dimensions)"
    what = "Gram eigenvalues" if objective.convex.loss.name == "squared" else "Newton decrement"
    return None if bound is None else Certificate(bound, what + on)


def _curved(objective: Objective, z: Array) -> tuple[Array | None, float]:
    """Return the rows' curvatures that stay as they are while no margin moves by more than the returned room."""
    if objective.convex.room is None:
        return None, float("inf")
    room = objective.convex.room(z, objective.y)
    far = room > LEAST_ROOM * (1 + np.abs(z))
    weights = np.where(far, objective.convex.curvature(z, objective.y), 0.0)
    return weights, float(room[far].min(initial=np.inf))


def _bound(objective: Objective, decrement: float, reach: float, room: float) -> float | None:
    """Return the most that an objective with this decrement may still fall.

    Along a direction v with `v' H v = 1`, h(t) = F(w + t v) has h'(0) >= -lambda and h''(0) = 1. Where no margin moves
    by more than its room, h'' >= 1 for t <= room / reach: if lambda is less than that, h rises from there on, and falls
    by at most lambda^2 / 2 before. Of self-concordant losses h''(t) >= e^(-reach t): the least value of
    `-lambda t + (e^(-r t) + r t - 1) / r^2` is `-(lambda r + (1 - lambda r) log(1 - lambda r)) / r^2`, if lambda r < 1;
    else nothing bounds it, as it must be where classes are separable.
    """
    if not objective.convex.self_concordant:
        return decrement**2 / 2 if decrement * reach < room else None
    spread = np.sqrt(2.0) if objective.outputs > 1 else 1.0  # of two classes' margins along a direction
    x = decrement * reach * spread
    if not x < 1:
        return None
    # (x + (1 - x) log(1 - x)) / x^2 is 1/2 + x/6 + x^2/12 + ..., which small x need
    factor = 0.5 + x / 6 + x * x / 6 if x < 1e-3 else (x + (1 - x) * np.log1p(-x)) / (x * x)
    return float(decrement**2 * factor)


def _ends(H: Array) -> tuple[float, float]:
    values = np.linalg.eigvalsh(H)
    return float(values[0]), float(values[-1])


def _reach(objective: Objective, scale: Array) -> float:
    """Return the largest norm of a row in scaled parameters."""
    by = scale.reshape(objective.columns, objective.outputs).min(axis=1)
    if objective.sparse or not objective.intercept:
        X = objective.X.multiply(1 / by[: objective.d]).tocsr() if objective.sparse else objective.X / by
        squares = X.multiply(X).sum(axis=1) if objective.sparse else np.square(X).sum(axis=1)
        extra = float(by[objective.d] ** -2) if objective.intercept else 0.0
        return float(np.sqrt(np.max(np.asarray(squares)) + extra))
    return float(np.sqrt(max(np.square(rows / by).sum(axis=1).max() for _, rows in objective.blocks())))
