"""Rates that adapt to each parameter's past gradients."""

from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Gt, Lt

from fastgd.optimizers.record import Decay, NonNegative, Rate, Slots, Step, Value, optimizer


@optimizer(
    name="adagrad",
    slots=("sum_of_squares",),
    family="adaptive",
    witness="torch.optim.Adagrad",
    reference="Duchi, Hazan & Singer (2011), https://jmlr.org/papers/v12/duchi11a.html",
)
class Adagrad(NamedTuple):
    """AdaGrad: `v += g^2; w -= lr / (1 + lr_decay (t - 1)) g / (sqrt(v) + eps)`.

    v starts at `initial_accumulator_value`. `eps_inside` divides by `sqrt(v + eps)`; `root = false` divides by
    `v + eps`, to show why the root is there.
    """

    lr: Rate
    lr_decay: NonNegative = 0.0
    initial_accumulator_value: NonNegative = 0.0
    eps: NonNegative = 1e-10
    eps_inside: bool = False
    root: bool = True

    def prepare(h, t: int) -> Slots:
        return (h.lr / (1 + h.lr_decay * (t - 1)),)

    def start(h, w: Value) -> Slots:
        return (h.initial_accumulator_value,)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        v = s[0] + g * g
        if not h.root:
            return w - c[0] * g / (v + h.eps), (v,)
        if h.eps_inside:
            return w - c[0] * g / np.sqrt(v + h.eps), (v,)
        return w - c[0] * g / (np.sqrt(v) + h.eps), (v,)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        lr = h.lr / (1 + h.lr_decay * (t - 1))
        if not h.root:
            return lr / (s[0] + h.eps)
        return lr / (np.sqrt(s[0] + h.eps) if h.eps_inside else np.sqrt(s[0]) + h.eps)


@optimizer(
    name="rmsprop",
    slots=("mean_square",),
    family="adaptive",
    witness="torch.optim.RMSprop",
    reference="Tieleman & Hinton (2012), lecture 6.5",
)
class RMSprop(NamedTuple):
    """RMSProp: `v = alpha v + (1 - alpha) g^2; w -= lr g / (sqrt(v) + eps)`.

    `eps_inside` divides by `sqrt(v + eps)`, as the lectures do. Momentum and centring need more slots: they are the
    rules `rmsprop_momentum` and `rmsprop_centered`.
    """

    lr: Rate
    alpha: Decay = 0.99
    eps: NonNegative = 1e-8
    eps_inside: bool = False

    def prepare(h, t: int) -> Slots:
        return (1 - h.alpha,)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        v = h.alpha * s[0] + c[0] * g * g
        if h.eps_inside:
            return w - h.lr * g / np.sqrt(v + h.eps), (v,)
        return w - h.lr * g / (np.sqrt(v) + h.eps), (v,)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (np.sqrt(s[0] + h.eps) if h.eps_inside else np.sqrt(s[0]) + h.eps)


@optimizer(
    name="rmsprop_momentum",
    slots=("mean_square", "velocity"),
    family="adaptive",
    witness="torch.optim.RMSprop(momentum=)",
    reference="Graves (2013), https://arxiv.org/abs/1308.0850",
)
class RMSpropMomentum(NamedTuple):
    """RMSProp with momentum: `v = alpha v + (1 - alpha) g^2; u = momentum u + g / (sqrt(v) + eps); w -= lr u`."""

    lr: Rate
    alpha: Decay = 0.99
    eps: NonNegative = 1e-8
    momentum: Decay = 0.9

    def prepare(h, t: int) -> Slots:
        return (1 - h.alpha,)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        v = h.alpha * s[0] + c[0] * g * g
        u = h.momentum * s[1] + g / (np.sqrt(v) + h.eps)
        return w - h.lr * u, (v, u)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (np.sqrt(s[0]) + h.eps)


@optimizer(
    name="rmsprop_centered",
    slots=("mean_square", "mean", "velocity"),
    family="adaptive",
    witness="torch.optim.RMSprop(centered=True)",
    reference="Graves (2013), https://arxiv.org/abs/1308.0850",
)
class RMSpropCentered(NamedTuple):
    """Centred RMSProp: `u = momentum u + g / (sqrt(v - m^2) + eps); w -= lr u`.

    `v = alpha v + (1 - alpha) g^2` and `m = alpha m + (1 - alpha) g`: gradients are divided by the root of their
    variance, so that steady ones take longer steps. The momentum is 0 by default, as in PyTorch.
    """

    lr: Rate
    alpha: Decay = 0.99
    eps: NonNegative = 1e-8
    momentum: Decay = 0.0

    def prepare(h, t: int) -> Slots:
        return (1 - h.alpha,)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        v = h.alpha * s[0] + c[0] * g * g
        m = h.alpha * s[1] + c[0] * g
        variance = np.maximum(v - m * m, 0)  # rounding may make the difference negative
        u = h.momentum * s[2] + g / (np.sqrt(variance) + h.eps)
        return w - h.lr * u, (v, m, u)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (np.sqrt(np.maximum(s[0] - s[1] * s[1], 0)) + h.eps)


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

    def prepare(h, t: int) -> Slots:
        return (1 - h.rho,)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        v = h.rho * s[0] + c[0] * g * g
        x = np.sqrt(s[1] + h.eps) / np.sqrt(v + h.eps) * g
        return w - h.lr * x, (v, h.rho * s[1] + c[0] * x * x)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr * np.sqrt(s[1] + h.eps) / np.sqrt(s[0] + h.eps)


@optimizer(
    name="rprop",
    slots=("gradient", "step"),
    family="adaptive",
    witness="torch.optim.Rprop",
    reference="Riedmiller & Braun (1993), https://doi.org/10.1109/ICNN.1993.298623",
)
class Rprop(NamedTuple):
    """Rprop: `w -= step sign(g)`, with a step of each parameter's own, `step *= eta_plus` or `eta_minus`.

    It grows while the gradient keeps its sign. Where the sign changes it shrinks, and the parameter and its next step
    stay as they are. `lr` is the step at the start alone, so a schedule of it has no effect, except that nothing moves
    while it is 0. For full batches: the noise of small ones changes signs.
    """

    lr: Rate
    eta_minus: Annotated[float, Gt(0), Lt(1)] = 0.5
    eta_plus: Annotated[float, Gt(1)] = 1.2
    step_min: NonNegative = 1e-6
    step_max: Rate = 50.0

    def start(h, w: Value) -> Slots:
        return 0.0, h.lr

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        agree = g * s[0]
        factor = np.where(agree > 0, h.eta_plus, np.where(agree < 0, h.eta_minus, 1))
        step = np.minimum(np.maximum(s[1] * factor, h.step_min), h.step_max)
        g = np.where(agree < 0, 0, g)
        return np.where(h.lr > 0, w - step * np.sign(g), w), (g, np.where(h.lr > 0, step, s[1]))

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        return w, (y[0] * 0, y[1])
