"""What certificates need of a convex loss beside value and derivative: curvature, its bounds, and the conjugate."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgd.problems import CLASS_LOSSES, LOSSES, Loss

Array = NDArray[np.float64]
Of = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class ConvexLoss:
    """A convex loss f(z) of a row's margin z, or of its margins (n, classes).

    Attributes
    ----------
    loss : Loss
        Value and derivative.
    curvature : callable
        The second derivative at margins z with targets y: at kinks of the derivative the smaller of the two.
    steepest : float
        The largest second derivative at any margin; infinite where there is none, NaN where the derivative jumps.
    fenchel_young : callable
        `fenchel_young(z, u, y) = f(z) + f*(u) - u z` with the conjugate f*, written without differences of large
        numbers: 0 where u is the derivative at z, and never below.
    self_concordant : bool
        Whether `|f'''| <= s f''` along every direction, with s = 1 for one margin and the spread of the direction's
        margins for classes (Bach, 2010, https://doi.org/10.1214/09-EJS521); else f is made of parabolas and lines.
    room : callable, optional
        Of parabolas: how far z may move before its curvature may be less.
    attained : bool
        Whether the sum over rows attains its least value whatever the rows are. Convex functions made of parabolas and
        lines do (Frank and Wolfe, 1956); the logistic loss of separable rows falls for ever.
    """

    loss: Loss
    curvature: Of
    steepest: float
    fenchel_young: Callable[[Array, Array, Array], Array]
    self_concordant: bool = False
    room: Of | None = None
    attained: bool = True

    def values(self, z: Array, y: Array) -> Array:
        """Return the losses (n,) of rows."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self.loss.value(z, y))

    def derivatives(self, z: Array, y: Array) -> Array:
        """Return the derivatives by each margin, in the shape of z."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self.loss.derivative(z, y))

    @property
    def smooth(self) -> bool:
        """Whether it has a derivative everywhere."""
        return not np.isnan(self.steepest)


def _sign(y: Array) -> Array:
    return 2 * y - 1


def _relative_entropy(p: Array, q: Array) -> Array:
    """Return `p log(p / q) - p + q`, which is never below 0."""
    from scipy.special import kl_div

    return np.asarray(np.maximum(kl_div(p, q), 0.0))


def _probability(z: Array) -> Array:
    from scipy.special import expit

    return np.asarray(expit(z))


def _logistic_gap(z: Array, u: Array, y: Array) -> Array:
    # u = p - y; 1 - p is -u where y = 1, without a difference
    p = np.where(y > 0.5, 1 + u, u)
    rest = np.where(y > 0.5, -u, 1 - u)
    return _relative_entropy(p, _probability(z)) + _relative_entropy(rest, _probability(-z))


def _hinge_gap(z: Array, u: Array, y: Array) -> Array:
    short, a = 1 - _sign(y) * z, -_sign(y) * u
    return np.maximum(short, 0.0) * (1 - a) + np.maximum(-short, 0.0) * a


def _squared_hinge_gap(z: Array, u: Array, y: Array) -> Array:
    short, a = 1 - _sign(y) * z, -_sign(y) * u
    return np.square(np.maximum(short, 0.0) - a / 2) + np.maximum(-short, 0.0) * a


def _huber_gap(z: Array, u: Array, y: Array) -> Array:
    r = np.abs(z - y)
    own = np.sign(z - y) * u
    return np.where(r <= 1, np.square(r - own) / 2, (1 - own) * (r - (1 + own) / 2))


def _softmax_probabilities(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _softmax_gap(z: Array, u: Array, y: Array) -> Array:
    p = np.maximum(u + (np.arange(z.shape[1]) == y[:, None]), 0.0)
    return np.asarray(_relative_entropy(p, _softmax_probabilities(z)).sum(axis=1))


def _exp(z: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(z))


CONVEX: dict[str, ConvexLoss] = {
    each.loss.name: each
    for each in (
        ConvexLoss(
            LOSSES["squared"],
            curvature=lambda z, _: np.ones_like(z),
            steepest=1.0,
            fenchel_young=lambda z, u, y: np.square(u - (z - y)) / 2,
            room=lambda z, _: np.full_like(z, np.inf),
        ),
        ConvexLoss(
            LOSSES["logistic"],
            curvature=lambda z, _: _probability(z) * _probability(-z),
            steepest=0.25,
            fenchel_young=_logistic_gap,
            self_concordant=True,
            attained=False,
        ),
        ConvexLoss(
            LOSSES["hinge"],
            curvature=lambda z, _: np.zeros_like(z),
            steepest=float("nan"),
            fenchel_young=_hinge_gap,
        ),
        ConvexLoss(
            LOSSES["squared_hinge"],
            curvature=lambda z, y: np.where(_sign(y) * z < 1, 2.0, 0.0),
            steepest=2.0,
            fenchel_young=_squared_hinge_gap,
            room=lambda z, y: np.maximum(1 - _sign(y) * z, 0.0),
        ),
        ConvexLoss(
            LOSSES["huber"],
            curvature=lambda z, y: np.where(np.abs(z - y) < 1, 1.0, 0.0),
            steepest=1.0,
            fenchel_young=_huber_gap,
            room=lambda z, y: np.maximum(1 - np.abs(z - y), 0.0),
        ),
        ConvexLoss(
            LOSSES["poisson"],
            curvature=lambda z, _: _exp(z),
            steepest=float("inf"),
            fenchel_young=lambda z, u, y: _relative_entropy(np.maximum(u + y, 0.0), _exp(z)),
            self_concordant=True,
            attained=False,
        ),
        ConvexLoss(
            CLASS_LOSSES["softmax"],
            curvature=lambda z, _: _softmax_probabilities(z),  # of classes the objective makes matrices of these
            steepest=0.5,
            fenchel_young=_softmax_gap,
            self_concordant=True,
            attained=False,
        ),
    )
}
