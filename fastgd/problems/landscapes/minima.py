"""Minima to the last digit: bisection along a coordinate, Newton's method where coordinates do not separate."""

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

MOST_MINIMA = 2000
_GRID = 20_001
_HALVINGS = 70
_NEWTON_STEPS = 50
_CLOSE = 1e-10  # Newton's method has converged when its step, relative to x, is as small


def line_minima(derivative: Callable[[Any], Any], low: float, high: float) -> Array:
    """Return where a derivative passes zero upwards between low and high: the minima along a coordinate, in order."""
    grid = np.linspace(low, high, _GRID)
    slopes = np.asarray(derivative(grid))
    at = np.flatnonzero((slopes[:-1] < 0) & (slopes[1:] >= 0))
    left, right = grid[at], grid[at + 1]
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        falls = np.asarray(derivative(middle)) < 0
        left, right = np.where(falls, middle, left), np.where(falls, right, middle)
    return _whole(right)


def _whole(x: Array) -> Array:
    """Return x, rounded where it is almost whole: in floats the sine of a multiple of pi is not exactly zero."""
    near = np.round(x)
    return np.where(np.abs(x - near) <= 4e-15 * np.maximum(np.abs(near), 1), near, x)


def combinations(coordinates: Sequence[Array]) -> Array:
    """Return all combinations (k, d) of the minima (n_i,) along each coordinate; of too many, only the first of each.

    For sums of functions of one coordinate: their minima are those along every coordinate. The lowest come first.
    """
    if prod(len(each) for each in coordinates) > MOST_MINIMA:
        return np.array([[each[0] for each in coordinates]])
    return np.array(list(product(*coordinates)), float).reshape(-1, len(coordinates))


def coordinate_minima(cls: Any, p: Any, d: int, i: int, domain: tuple[float, float]) -> Array:
    """Return the minima along coordinate i, the lowest first, where the others are zero."""

    def line(t: Any) -> Array:
        X = np.zeros((d, len(t)))
        X[i] = t
        return X

    def derivative(t: Any) -> Array:
        g = np.empty((d, len(t)))
        cls.gradient(p, line(t), g)
        slopes: Array = g[i]
        return slopes

    found = line_minima(derivative, *domain)
    return found[np.argsort(cls.value(p, line(found)), kind="stable")]


def polish(gradient: Callable[..., None], p: Any, guesses: Any) -> Array:
    """Return the minima (k, d) that Newton's method finds from guesses (n, d); some guesses may lead to none."""
    found = [_newton(gradient, p, np.array(guess, float)) for guess in guesses]
    return np.array([x for x in found if x is not None]).reshape(-1, len(guesses[0]))


def _newton(gradient: Callable[..., None], p: Any, x: Array) -> Array | None:
    g, size = np.empty_like(x), np.inf
    for _ in range(_NEWTON_STEPS):
        gradient(p, x, g)
        try:
            step = np.linalg.solve(_hessian(gradient, p, x), g)
        except np.linalg.LinAlgError:
            return None
        x = x - step
        size = float(np.max(np.abs(step) / np.maximum(np.abs(x), 1)))
        if size <= _CLOSE or not np.isfinite(size):
            break
    # on a plateau gradients are tiny too, but Newton's steps are not
    return x if size <= _CLOSE and np.min(np.linalg.eigvalsh(_hessian(gradient, p, x))) > 0 else None


def _hessian(gradient: Callable[..., None], p: Any, x: Array) -> Array:
    """Return the Hessian by central differences of the gradient."""
    h = 1e-5 * np.maximum(np.abs(x), 1)
    up, down = (x[:, None] + sign * np.diag(h) for sign in (1, -1))
    above, below = np.empty_like(up), np.empty_like(down)
    gradient(p, up, above)
    gradient(p, down, below)
    H = (above - below) / (2 * h)
    return (H + H.T) / 2
