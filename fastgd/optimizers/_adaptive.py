"""Rates that adapt to each parameter's past gradients, without momentum."""

from typing import NamedTuple

import numpy as np

from fastgd.optimizers._record import Decay, NonNegative, Rate, Slots, Step, Value, optimizer


@optimizer(
    name="adagrad",
    slots=("sum_of_squares",),
    family="adaptive",
    witness="torch.optim.Adagrad",
    reference="Duchi, Hazan & Singer (2011), https://jmlr.org/papers/v12/duchi11a.html",
)
class Adagrad(NamedTuple):
    """AdaGrad: `v += g^2; w -= lr g / (sqrt(v) + eps)`.

    `eps_inside` divides by `sqrt(v + eps)`; `root = false` divides by `v + eps`, to show why the root is there.
    """

    lr: Rate
    eps: NonNegative = 1e-10
    eps_inside: bool = False
    root: bool = True

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        v = s[0] + g * g
        if not h.root:
            return w - h.lr * g / (v + h.eps), (v,)
        if h.eps_inside:
            return w - h.lr * g / np.sqrt(v + h.eps), (v,)
        return w - h.lr * g / (np.sqrt(v) + h.eps), (v,)


@optimizer(
    name="rmsprop",
    slots=("mean_square",),
    family="adaptive",
    witness="torch.optim.RMSprop",
    reference="Tieleman & Hinton (2012), lecture 6.5",
)
class RMSprop(NamedTuple):
    """RMSProp: `v = alpha v + (1 - alpha) g^2; w -= lr g / (sqrt(v) + eps)`.

    `eps_inside` divides by `sqrt(v + eps)`, as the lectures do.
    """

    lr: Rate
    alpha: Decay = 0.99
    eps: NonNegative = 1e-8
    eps_inside: bool = False

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        v = h.alpha * s[0] + (1 - h.alpha) * g * g
        if h.eps_inside:
            return w - h.lr * g / np.sqrt(v + h.eps), (v,)
        return w - h.lr * g / (np.sqrt(v) + h.eps), (v,)


@optimizer(
    name="adadelta",
    slots=("mean_square", "mean_square_step"),
    family="adaptive",
    witness="torch.optim.Adadelta",
    reference="Zeiler (2012), https://arxiv.org/abs/1212.5701",
)
class Adadelta(NamedTuple):
    """AdaDelta: `v = rho v + (1 - rho) g^2; x = sqrt(e + eps) / sqrt(v + eps) g; e = rho e + (1 - rho) x^2; w -= lr x`.

    It needs no rate: `lr` is 1 in the paper, and by default.
    """

    lr: Rate = 1.0
    rho: Decay = 0.9
    eps: NonNegative = 1e-6

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        v = h.rho * s[0] + (1 - h.rho) * g * g
        x = np.sqrt(s[1] + h.eps) / np.sqrt(v + h.eps) * g
        return w - h.lr * x, (v, h.rho * s[1] + (1 - h.rho) * x * x)
