"""Newton's method for smooth convex objectives: exact steps of few parameters, conjugate gradients of many."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgd.optima.objective import EPSILON, Objective

Array = NDArray[np.float64]
MOST_EXACT = 1500  # parameters whose Hessian is factored
MOST_STEPS = 200
MOST_PRODUCTS = 4000  # of Hessians and vectors, where the Hessian is not factored
HALVINGS = 50
ENOUGH = 1e-4  # of the decrease that the slope promises


class Found(NamedTuple):
    """Where a solve ended: the parameters, the steps taken, and the method in words."""

    theta: Array
    steps: int
    method: str


def newton(objective: Objective, theta: Array) -> Found:
    """Minimise a smooth convex objective from a start, until rounding lets it fall no further.

    Steps are halved until the objective falls (Armijo, 1966). At the end full steps are taken as long as the Newton
    decrement `g' H^-1 g`, which is twice the decrease that is left, still falls: there the objective itself cannot tell
    two points apart any more.

    Parameters
    ----------
    objective : Objective
    theta : ndarray (size,)
    """
    exact = objective.size <= MOST_EXACT
    direction = _factored if exact else _ConjugateGradients().direction
    best, least, stuck, taken = theta, np.inf, 0, 0
    while taken <= MOST_STEPS:
        z = objective.margins(theta)
        value, gradient = objective.value(theta, z), objective.gradient(theta, z)
        step = direction(objective, z, gradient)
        decrement = float(-gradient @ step)
        if not np.isfinite(decrement):
            break
        stuck = 0 if decrement < 0.25 * least else stuck + 1
        if decrement < least:
            best, least = theta, decrement
        noise = 64 * EPSILON * max(abs(value), EPSILON)
        if decrement <= EPSILON * noise or (decrement <= noise and stuck > 2) or not step.any():
            break
        moved = _searched(objective, theta, step, value, decrement, noise)
        if moved is None:
            break
        theta, taken = moved, taken + 1
    method = "Newton, Cholesky" if exact else "Newton, conjugate gradients"
    return Found(best, taken, method)


def _searched(
    objective: Objective, theta: Array, step: Array, value: float, decrement: float, noise: float
) -> Array | None:
    """Return the first of theta + step, theta + step / 2, ... at which the objective has fallen; None: at none."""
    length = 1.0
    for _ in range(HALVINGS):
        trial = theta + length * step
        if objective.value(trial) <= value - ENOUGH * length * decrement + (noise if decrement <= noise else 0.0):
            return np.asarray(trial)
        length /= 2
    return None


def _factored(objective: Objective, z: Array, gradient: Array) -> Array:
    """Return the step by Cholesky of the Hessian, scaled to a diagonal of ones, with a ridge where it is singular."""
    return solve_scaled(objective.hessian(z), -gradient)


def solve_scaled(H: Array, right: Array) -> Array:
    """Solve `H x = right` for a positive semi-definite H, whose null space x has little of."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    scale = scale_of(H)
    scaled, ridge = H / scale[:, None] / scale, EPSILON * len(H)
    for _ in range(12):
        try:
            factor = cho_factor(scaled + ridge * np.eye(len(H)), lower=True)
            return np.asarray(cho_solve(factor, right / scale) / scale)
        except (LinAlgError, ValueError):
            ridge *= 100
    return np.zeros_like(right)


def scale_of(H: Array) -> Array:
    """Return the roots of a diagonal, and 1 where that is 0: divided by these on both sides, it is ones."""
    diagonal = np.sqrt(np.maximum(np.diag(H), 0.0))
    return np.where(diagonal > 0, diagonal, 1.0)


class _ConjugateGradients:
    """Steps by conjugate gradients, each as exact as the gradient is small, within a number of products in all."""

    def __init__(self) -> None:
        self._left = MOST_PRODUCTS
        self._first: float | None = None

    def direction(self, objective: Objective, z: Array, gradient: Array) -> Array:
        """Return the step."""
        size = float(np.linalg.norm(gradient))
        self._first = self._first or size
        if self._left <= 0 or not size:
            return np.zeros_like(gradient)
        wanted = max(1e-10, min(0.1, np.sqrt(size / self._first)))
        if objective.convex.loss.name == "squared":
            wanted = 1e-10  # one step is all
        step, products = _solved(objective.product(z), -gradient, wanted, self._left)
        self._left -= products
        return step


def _solved(times: Callable[[Array], Array], right: Array, wanted: float, most: int) -> tuple[Array, int]:
    """Solve by conjugate gradients to a relative residual; return the solution and the products that it took."""
    from scipy.sparse.linalg import LinearOperator, cg

    count = 0

    def counted(v: Array) -> Array:
        nonlocal count
        count += 1
        return times(v)

    operator = LinearOperator((len(right), len(right)), matvec=counted, dtype=np.float64)
    step, _ = cg(operator, right, rtol=wanted, atol=0.0, maxiter=most)
    return np.asarray(step), count
