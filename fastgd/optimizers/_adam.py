"""Adam and its close relatives: averaged gradients over the root of averaged squares."""

from typing import NamedTuple

import numpy as np

from fastgd._math import power
from fastgd.optimizers._record import Decay, NonNegative, Rate, Slots, Step, Value, optimizer


@optimizer(
    name="adam",
    slots=("mean", "mean_square"),
    family="adam",
    witness="torch.optim.Adam",
    reference="Kingma & Ba (2015), https://arxiv.org/abs/1412.6980",
)
class Adam(NamedTuple):
    """Adam: `m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; w -= lr m^ / (sqrt(v^) + eps)`.

    `m^ = m / (1 - beta1^t)` and `v^ = v / (1 - beta2^t)`; `bias_correction = false` leaves them out, to show why they
    are there. `eps_inside` divides by `sqrt(v^ + eps)`, as the lectures do.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    eps_inside: bool = False
    bias_correction: bool = True

    def prepare(h, t: int) -> Slots:
        if h.bias_correction:
            return h.lr / (1 - power(h.beta1, t)), 1 / (1 - power(h.beta2, t))
        return h.lr, h.lr * 0 + 1

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + (1 - h.beta1) * g
        v = h.beta2 * s[1] + (1 - h.beta2) * g * g
        if h.eps_inside:
            return w - c[0] * m / np.sqrt(v * c[1] + h.eps), (m, v)
        return w - c[0] * m / (np.sqrt(v * c[1]) + h.eps), (m, v)


@optimizer(
    name="amsgrad",
    slots=("mean", "mean_square", "largest_mean_square"),
    family="adam",
    witness="torch.optim.Adam(amsgrad=True)",
    reference="Reddi, Kale & Kumar (2018), https://openreview.net/forum?id=ryQu7f-RZ",
)
class AMSGrad(NamedTuple):
    """AMSGrad: Adam whose second moment never falls, `u = max(u, v); w -= lr m^ / (sqrt(u^) + eps)`.

    The correction of the bias is applied to the largest v, as in PyTorch.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8

    def prepare(h, t: int) -> Slots:
        return h.lr / (1 - power(h.beta1, t)), 1 / (1 - power(h.beta2, t))

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + (1 - h.beta1) * g
        v = h.beta2 * s[1] + (1 - h.beta2) * g * g
        u = np.maximum(s[2], v)
        return w - c[0] * m / (np.sqrt(u * c[1]) + h.eps), (m, v, u)


@optimizer(
    name="adamw",
    slots=("mean", "mean_square"),
    family="adam",
    witness="torch.optim.AdamW",
    reference="Loshchilov & Hutter (2019), https://arxiv.org/abs/1711.05101",
)
class AdamW(NamedTuple):
    """AdamW: Adam with decoupled weight decay, `w -= lr weight_decay w` before Adam's step.

    The decay is not part of the objective that is reported. An intercept does not decay.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.01

    def prepare(h, t: int) -> Slots:
        return h.lr / (1 - power(h.beta1, t)), 1 / (1 - power(h.beta2, t))

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + (1 - h.beta1) * g
        v = h.beta2 * s[1] + (1 - h.beta2) * g * g
        w = w - h.lr * h.weight_decay * w
        return w - c[0] * m / (np.sqrt(v * c[1]) + h.eps), (m, v)
