"""Dual averaging: rules that compute the iterate anew in each step, from sums of all gradients."""

from typing import NamedTuple

import numpy as np

from fastgd.optimizers.record import Decay, NonNegative, Rate, Slots, Step, Value, optimizer

SMALLEST_RATE = 2.0**-100  # its inverse fits into float32, with room for a factor


@optimizer(
    name="ftrl",
    slots=("linear", "sum_of_squares"),
    memory={"inverse_rate": 0.0, "lambda1": 0.0, "lambda2": 0.0},
    family="dual averaging",
    witness="the paper",
    reference="McMahan et al. (2013), https://doi.org/10.1145/2487575.2488200",
)
class FTRL(NamedTuple):
    """FTRL-Proximal: `z += g - sigma w; n += g^2; w = (sign(z) lambda1 - z) / (q + lambda2)`, 0 if `|z| <= lambda1`.

    Here `q = (beta + sqrt(n)) / lr` is the inverse of the parameter's rate and `sigma` its change in this step, also
    under a schedule. The proximal point w is recomputed from (z, n) in each step: zeros are exact, which makes it the
    rule for sparse models. In the first step sigma is q, so that the rule begins at the start, also if that is not 0.
    With lambda1 = lambda2 = 0 it is AdaGrad. A rate of 0 (or below 1e-30) is the limit of small ones: w stands still, n
    sums, and the gradient is not in z, where q is that of the last rate above it. beta is the paper's; lambda1 and
    lambda2 weigh an intercept as well, and are not part of the objective that is reported.
    """

    lr: Rate
    beta: NonNegative = 1.0
    lambda1: NonNegative = 0.0
    lambda2: NonNegative = 0.0

    def prepare(h, t: int, m: Slots) -> tuple[Slots, Slots]:
        moves = np.where(h.lr > SMALLEST_RATE, h.lr * 0 + 1, 0)
        inverse = np.where(h.lr > SMALLEST_RATE, 1 / np.where(h.lr > SMALLEST_RATE, h.lr, 1), m[0])
        lambda1, lambda2 = np.where(moves > 0, h.lambda1, m[1]), np.where(moves > 0, h.lambda2, m[2])
        return (inverse, moves, m[1], m[2]), (inverse, lambda1, lambda2)

    # z + (the last q) w follows from the formula that gave w. Added up it would lose its digits where q was large: q
    # falls when the rate rises again.
    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        n = s[1] + g * g
        q = (h.beta + np.sqrt(n)) * c[0]
        rest = np.where(np.abs(s[0]) <= c[2], s[0], np.sign(s[0]) * c[2] - c[3] * w)
        z = rest + c[1] * g - q * w
        placed = np.where(np.abs(z) <= h.lambda1, 0, (np.sign(z) * h.lambda1 - z) / (q + h.lambda2))
        return np.where(c[1] > 0, placed, w), (z, n)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (h.beta + np.sqrt(s[1]))

    # Without a gradient w stays and z follows the rate; but the first step thresholds a start that is not 0 (NaN).
    def lift(h, w: Value, s: Slots) -> Slots:
        started = np.where(np.abs(s[0]) > 0, w * 0, np.where(np.abs(w) > 0, w * np.nan, 0.0))
        rest = np.where(np.abs(s[0]) <= h.lambda1, s[0], np.sign(s[0]) * h.lambda1 - h.lambda2 * w)
        return *s, (h.beta + np.sqrt(s[1])) * w + started, rest

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        return w, (y[3] - c[0] * y[2], y[1], y[2], y[3])


@optimizer(
    name="madgrad",
    slots=("start", "sum", "sum_of_squares"),
    family="dual averaging",
    witness="the paper and optax.contrib.madgrad",
    reference="Defazio & Jelassi (2022), https://arxiv.org/abs/2101.11075",
)
class MADGRAD(NamedTuple):
    """MADGRAD: `s += a g; v += a g^2; w = momentum w + (1 - momentum) (x0 - s / (cbrt(v) + eps))`.

    x0 is the start, and `a = (lr + eps) sqrt(t)`: later gradients weigh more, which the cube root makes up for. Good
    rates are found by a search of their own: they are not those of Adam or of plain descent. At a rate of 0, `a` is 0,
    and w does not change either, though the sums may define another point.
    """

    lr: Rate
    momentum: Decay = 0.9
    eps: NonNegative = 1e-6

    def prepare(h, t: int) -> Slots:
        return np.where(h.lr > 0, (h.lr + h.eps) * np.sqrt(t), 0), 1 - h.momentum

    def start(h, w: Value) -> Slots:
        return w, 0.0, 0.0

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        total = s[1] + c[0] * g
        v = s[2] + c[0] * g * g
        z = s[0] - total / (np.cbrt(v) + h.eps)
        return np.where(h.lr > 0, h.momentum * w + c[1] * z, w), (s[0], total, v)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return (h.lr + h.eps) * np.sqrt(t) / (np.cbrt(s[2]) + h.eps)

    def lift(h, w: Value, s: Slots) -> Slots:
        return (s[0] - s[1] / (np.cbrt(s[2]) + h.eps),)

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        return np.where(h.lr > 0, h.momentum * w + c[1] * y[0], w), y

    def lower(h, s: Slots, y: Slots) -> Slots:
        return s
