"""Losses with kinks: hinge, by interior points or by smoothing, and huber, by parabolas that become narrower."""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgd.optima.certificates import duality_gap
from fastgd.optima.convex_losses import CONVEX, ConvexLoss
from fastgd.optima.newton import MOST_EXACT, Found, newton, solve_scaled
from fastgd.optima.objective import Objective

Array = NDArray[np.float64]
MOST_STEPS = 100
STEP = 0.995  # of the way to the nearest bound that a step takes
CLOSE_ENOUGH = 1e-7  # of the objective, at which smoothing ends
CLOSE = 1e-15  # of the mean complementarity, at which interior points end
WIDTHS = tuple(10.0 ** (-k / 2) for k in range(13))  # over which smoothed losses bend


class WithDual(NamedTuple):
    """Where a solve ended, with the derivative u (n,) that each row's loss has there: a point of the dual problem."""

    theta: Array
    u: Array
    steps: int
    method: str


def hinge(objective: Objective, theta: Array) -> WithDual:
    """Minimise the hinge loss with its penalty."""
    return interior_point(objective) if objective.size <= MOST_EXACT else smoothed(objective, theta)


class _State(NamedTuple):
    """Parameters; slack t of `s z >= 1 - xi`, the shortfall xi >= 0, and their multipliers a and b = 1 - a."""

    beta: Array
    t: Array
    xi: Array
    a: Array
    b: Array


def interior_point(objective: Objective) -> WithDual:
    """Solve `min l2/2 |w|^2 + 1/n sum xi, s_i (x_i w + c) + xi_i - 1 = t_i >= 0, xi >= 0` by interior points.

    Mehrotra's predictor and corrector (1992, https://doi.org/10.1137/0802028); each step solves one system of as many
    equations as there are parameters (Ferris and Munson, 2002, https://doi.org/10.1137/S1052623400374379). Where rows
    have weights, multipliers and complementarity are those of rows of weight 1, and sums over rows weigh them.
    """
    n, sign = objective.n, 2 * objective.y - 1
    state = _State(np.zeros(objective.size), np.ones(n), np.full(n, 2.0), np.full(n, 0.5), np.full(n, 0.5))
    for taken in range(MOST_STEPS):
        mu = _complementarity(objective, state)
        if mu <= CLOSE or taken == MOST_STEPS - 1:
            break
        system = _System(objective, sign, state)
        predicted = system.direction(-state.a * state.t, -state.b * state.xi)
        after = _complementarity(objective, _moved(state, predicted, _longest(state, predicted)))
        centre = (after / mu) ** 3 * mu
        corrected = system.direction(
            centre - state.a * state.t - predicted.a * predicted.t,
            centre - state.b * state.xi - predicted.b * predicted.xi,
        )
        moved = _moved(state, corrected, STEP * _longest(state, corrected))
        if not all(np.isfinite(each).all() for each in moved):
            break
        state = moved
    return WithDual(state.beta, -sign * np.clip(state.a, 0.0, 1.0), taken, "interior points")


class _System:
    """The linearised optimality conditions at a state."""

    def __init__(self, objective: Objective, sign: Array, state: _State) -> None:
        self._objective, self._sign, self._state = objective, sign, state
        self._weights = 1 / (state.t / state.a + state.xi / state.b)
        self._H = objective.squares(self._weights)
        self._H[np.diag_indices(objective.size)] += objective.penalty
        rows = sign * objective.margins(state.beta)
        self._of_rows = rows + state.xi - 1 - state.t
        self._of_dual = objective.penalty * state.beta - objective.transposed(sign * state.a)

    def direction(self, first: Array, second: Array) -> _State:
        """Return the step that changes `a t` by `first` and `b xi` by `second`, to first order."""
        objective, state = self._objective, self._state
        e = first / state.a - second / state.b - self._of_rows
        right = -self._of_dual + objective.transposed(self._sign * self._weights * e)
        beta = solve_scaled(self._H, right)
        a = self._weights * (e - self._sign * objective.margins(beta))
        return _State(beta, (first - state.t * a) / state.a, (second + state.xi * a) / state.b, a, -a)


def _complementarity(objective: Objective, state: _State) -> float:
    return objective.mean(state.a * state.t + state.b * state.xi) / 2


def _longest(state: _State, step: _State) -> float:
    """Return the longest step, at most 1, that keeps all that must not be negative so."""
    longest = 1.0
    for value, change in zip(state[1:], step[1:], strict=True):
        falling = change < 0
        if falling.any():
            longest = min(longest, float(np.min(-value[falling] / change[falling])))
    return longest


def _moved(state: _State, step: _State, length: float) -> _State:
    return _State(*(value + length * change for value, change in zip(state, step, strict=True)))


def smoothed(objective: Objective, theta: Array) -> WithDual:
    """Minimise losses that bend over smaller and smaller widths, each from where the one before ended.

    The derivative of such a loss is one that the hinge loss may have, so that each gives a point of the dual. What
    counts is the pair with the least duality gap: at small widths conjugate gradients may end too early.
    """
    steps, least = 0, math.inf
    best = WithDual(theta, objective.convex.derivatives(objective.margins(theta), objective.y), 0, "")
    for width in WIDTHS:
        loss = _bent(width)
        found = newton(objective.with_loss(loss), theta)
        theta, steps = found.theta, steps + found.steps
        u = loss.derivatives(objective.margins(theta), objective.y)
        gap = duality_gap(objective, theta, u) if objective.l2 > 0 else None
        left = objective.value(theta) if gap is None else gap.bound
        if left < least:
            best, least = WithDual(theta, u, steps, ""), left
        if left > 2 * least or least <= CLOSE_ENOUGH * abs(objective.value(theta)):
            break
    return best._replace(steps=steps, method="smoothing, Newton, conjugate gradients")


def _bent(width: float) -> ConvexLoss:
    """Return the hinge loss with a parabola of a width in place of its kink (Huber's, one-sided)."""

    def short(z: Array, y: Array) -> Array:
        return 1 - (2 * y - 1) * z

    def value(z: Array, y: Array) -> Array:
        m = np.clip(short(z, y), 0.0, width)
        return np.asarray(m * m / (2 * width) + np.maximum(short(z, y) - width, 0.0))

    def derivative(z: Array, y: Array) -> Array:
        return np.asarray(-(2 * y - 1) * np.clip(short(z, y) / width, 0.0, 1.0))

    def curvature(z: Array, y: Array) -> Array:
        return ((short(z, y) > 0) & (short(z, y) < width)) / width

    loss = replace(CONVEX["hinge"].loss, name="bent_hinge", value=value, derivative=derivative)
    return replace(CONVEX["hinge"], loss=loss, curvature=curvature, steepest=1 / width)


def huber(objective: Objective, theta: Array) -> Found:
    """Minimise the Huber loss, from least squares on: with parabolas of smaller and smaller widths, at last 1.

    Where most residuals are larger than 1, few rows have a curvature, and Newton's method needs a start that is near.
    """
    largest = float(np.abs(objective.y).max(initial=0.0))
    steps = 0
    for power in range(1 + math.ceil(math.log2(max(largest, 1.0))), 0, -1):
        found = newton(objective.with_loss(_wide(2.0**power)), theta)
        theta, steps = found.theta, steps + found.steps
    found = newton(objective, theta)
    return found._replace(steps=steps + found.steps)


def _wide(width: float) -> ConvexLoss:
    """Return the Huber loss with a parabola of another width, over the width: its slopes are between -1 and 1, too."""

    def value(z: Array, y: Array) -> Array:
        r = np.abs(z - y)
        m = np.minimum(r, width)
        return np.asarray(m * (r - 0.5 * m) / width)

    loss = replace(
        CONVEX["huber"].loss,
        name="wide_huber",
        value=value,
        derivative=lambda z, y: np.clip((z - y) / width, -1.0, 1.0),
    )
    return replace(CONVEX["huber"], loss=loss, curvature=lambda z, y: (np.abs(z - y) < width) / width)
