"""Gradient descent, its momentum forms and its average."""

from typing import Literal, NamedTuple

import numpy as np

from fastgd.core.math import exp
from fastgd.optimizers.record import Decay, NonNegative, Rate, Slots, Step, Value, optimizer


@optimizer(
    name="sgd",
    lazy=("closed", "closed"),
    family="momentum",
    witness="torch.optim.SGD",
    reference="Robbins & Monro (1951)",
)
class SGD(NamedTuple):
    """Gradient descent: `w -= lr (g + weight_decay w)`.

    The decay is not part of the objective that is reported. An intercept does not decay.
    """

    lr: Rate
    weight_decay: NonNegative = 0.0

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        return w - h.lr * (g + h.weight_decay * w), s

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr


@optimizer(
    name="momentum",
    lazy=("closed", "closed"),
    slots=("velocity",),
    family="momentum",
    witness="torch.optim.SGD(momentum=)",
    reference="Polyak (1964); Sutskever et al. (2013)",
)
class Momentum(NamedTuple):
    """Heavy-ball momentum: `u = momentum u + (1 - dampening) g; w -= lr (u + weight_decay w)`.

    As in PyTorch, the first step is not dampened: the velocity starts as the gradient. The decay is decoupled: it does
    not enter the velocity, where PyTorch's does. `form = "lecture"` keeps the rate inside the velocity,
    `u = momentum u + lr g; w -= u`: the same while the rate is constant. At a rate of 0 neither this u nor w changes.
    """

    lr: Rate
    momentum: Decay = 0.9
    dampening: Decay = 0.0
    weight_decay: NonNegative = 0.0
    form: Literal["torch", "lecture"] = "torch"

    def prepare(h, t: int) -> Slots:
        return (h.dampening * 0 + 1 if t == 1 else 1 - h.dampening,)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        if h.form == "lecture":
            u = np.where(h.lr > 0, h.momentum * s[0] + h.lr * c[0] * g, s[0])
            return np.where(h.lr > 0, w - u - h.lr * h.weight_decay * w, w), (u,)
        u = h.momentum * s[0] + c[0] * g
        return w - h.lr * (u + h.weight_decay * w), (u,)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr


@optimizer(
    name="nesterov",
    lazy=("closed", "closed"),
    slots=("velocity",),
    memory={"momentum": 0.0, "rate": 0.0},
    family="momentum",
    witness="torch.optim.SGD(nesterov=True)",
    reference="Nesterov (1983); Sutskever et al. (2013)",
)
class Nesterov(NamedTuple):
    """Nesterov's accelerated gradient, taken at the look-ahead point: `u = momentum u + g; x -= lr (g + momentum u)`.

    The state x is the look-ahead point, as in PyTorch; the iterate that is reported is `w = x + lr momentum u`. With
    `form = "lecture"`: `u' = momentum u + lr g(x); w -= u'` with `x = w - momentum u`. Under a schedule of the momentum
    the point x, at which the next gradient is taken, is made with the momentum of its own step, the last one known. The
    decay `lr weight_decay x` is taken at the look-ahead point too, and does not enter the velocity. A rate of 0 looks
    ahead by nothing: x goes back to w, which does not change; in the lectures' form nothing changes.
    """

    lr: Rate
    momentum: Decay = 0.9
    weight_decay: NonNegative = 0.0
    form: Literal["torch", "lecture"] = "torch"

    def prepare(h, t: int, m: Slots) -> tuple[Slots, Slots]:
        ahead = np.where(h.lr > 0, 0, m[1])
        return (m[0], ahead), (h.momentum, h.lr)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        if h.form == "lecture":
            u = np.where(h.lr > 0, h.momentum * s[0] + h.lr * g, s[0])
            moved = w + c[0] * s[0] - u - h.momentum * u - h.lr * h.weight_decay * w
            return np.where(h.lr > 0, moved, w), (u,)
        u = h.momentum * s[0] + g
        return w + c[1] * c[0] * s[0] - h.lr * (g + h.momentum * u + h.weight_decay * w), (u,)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr

    def readout(h, w: Value, s: Slots) -> Value:
        if h.form == "lecture":
            return w + h.momentum * s[0]
        return w + h.lr * h.momentum * s[0]


@optimizer(
    name="asgd",
    lazy=("closed", "closed"),
    slots=("average",),
    family="momentum",
    witness="torch.optim.ASGD",
    reference="Polyak & Juditsky (1992), https://doi.org/10.1137/0330046; Xu (2011), https://arxiv.org/abs/1107.2490",
)
class ASGD(NamedTuple):
    """Averaged descent: `w -= eta (g + lambd w)` with `eta = lr / (1 + lambd lr (t - 1))^alpha`, averaged.

    The average is that of the iterates from step `t0 + 2` on, and the iterate itself until then: with PyTorch's default
    of a million nothing is averaged in a short run. `lambd` shrinks an intercept too. A step at a rate of 0 has no
    share in the average.
    """

    lr: Rate
    lambd: NonNegative = 1e-4
    alpha: NonNegative = 0.75
    t0: NonNegative = 1e6

    def prepare(h, t: int) -> Slots:
        eta = h.lr * exp(-h.alpha * np.log1p(h.lambd * h.lr * (t - 1)))
        return eta, np.where(h.lr > 0, 1 / np.maximum(t - 1 - h.t0, 1), 0)

    def start(h, w: Value) -> Slots:
        return (w,)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        w = w - c[0] * (g + h.lambd * w)
        return w, (np.where(c[1] < 1, s[0] + c[1] * (w - s[0]), w),)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr * exp(-h.alpha * np.log1p(h.lambd * h.lr * (t - 1)))

    def readout(h, w: Value, s: Slots) -> Value:
        return s[0]
