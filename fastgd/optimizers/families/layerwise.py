"""Steps in proportion to norms over a layer's parameters.

A linear model is one layer, weights and intercept together; of a network, the weights of each layer are one, and its
biases another, as PyTorch's parameters are.
"""

from typing import NamedTuple

import numpy as np

from fastgd.core.math import SMALLEST_NORMAL, hypot, power, root, squares
from fastgd.optimizers.record import Decay, NonNegative, Rate, Slots, Step, Value, optimizer


@optimizer(
    name="lars",
    slots=("velocity",),
    family="layer-wise",
    witness="optax.lars",
    reference="You, Gitman & Ginsburg (2017), https://arxiv.org/abs/1708.03888",
)
class LARS(NamedTuple):
    """LARS, momentum with a trust ratio: `u = momentum u + lr r g; w -= u` with `r = trust |w| / (|g| + eps)`.

    `trust` is the `trust_coefficient`, and r is 1 where w or g is zero, as in optax. A step has the length of a
    fraction of the parameters, whatever the scale of the gradient: rates are some hundred times those of momentum. The
    paper's decay is part of g: `l2` of the problem. At a rate of 0 neither w nor the velocity, which contains the rate,
    changes. For large batches; from a start at zero its first step is one of plain momentum.
    """

    lr: Rate
    momentum: Decay = 0.9
    trust_coefficient: Rate = 0.001
    eps: NonNegative = 0.0

    def measure(h, c: Slots, w: Value, g: Value, s: Slots) -> Slots:
        return squares(w) + squares(g)

    def conclude(h, c: Slots, t: int, m: Slots, sums: Slots, loss: Value) -> tuple[Slots, Slots]:
        size, steepness = root(sums[:3]), root(sums[3:])
        ratio = h.trust_coefficient * size / np.where(steepness > 0, steepness + h.eps, 1)
        ratio = np.where(size > 0, np.where(steepness > 0, ratio, 1), 1)
        return (np.sqrt(h.lr * ratio),), m  # the root does not underflow in float32 where lr times the ratio may

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        u = h.momentum * s[0] + c[0] * (c[0] * g)
        return np.where(h.lr > 0, w - u, w), (np.where(h.lr > 0, u, s[0]),)


@optimizer(
    name="lamb",
    slots=("mean", "mean_square"),
    family="layer-wise",
    witness="optax.lamb",
    reference="You et al. (2020), https://arxiv.org/abs/1904.00962",
)
class LAMB(NamedTuple):
    """LAMB, Adam with a trust ratio: `u = m^ / (sqrt(v^) + eps) + weight_decay w; w -= lr |w| / |u| u`.

    `m^` and `v^` are Adam's; the ratio is 1 where w or u is zero, as in optax. The decay is part of the step whose
    length is set, as published, but not of the objective that is reported. A step is `lr` times as long as the
    parameters are. For large batches; from zero the first step is Adam's.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-6
    weight_decay: NonNegative = 0.0

    def prepare(h, t: int) -> Slots:
        return 1 / (1 - power(h.beta1, t)), 1 / (1 - power(h.beta2, t)), 1 - h.beta1, 1 - h.beta2

    def measure(h, c: Slots, w: Value, g: Value, s: Slots) -> Slots:
        m = h.beta1 * s[0] + c[2] * g
        v = h.beta2 * s[1] + c[3] * g * g
        u = c[0] * m / (np.sqrt(v * c[1]) + np.maximum(h.eps, SMALLEST_NORMAL)) + h.weight_decay * w
        return squares(w) + squares(u)

    def conclude(h, c: Slots, t: int, m: Slots, sums: Slots, loss: Value) -> tuple[Slots, Slots]:
        size, length = root(sums[:3]), root(sums[3:])
        ratio = np.where(length > 0, size, 1) / np.where(length > 0, length, 1)
        return (*c, h.lr * np.where(size > 0, ratio, 1)), m

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + c[2] * g
        v = h.beta2 * s[1] + c[3] * g * g
        u = c[0] * m / (np.sqrt(v * c[1]) + np.maximum(h.eps, SMALLEST_NORMAL)) + h.weight_decay * w
        return w - c[4] * u, (m, v)


@optimizer(
    name="novograd",
    slots=("velocity",),
    memory={"scale": 0.0},
    family="layer-wise",
    witness="optax.novograd",
    reference="Ginsburg et al. (2019), https://arxiv.org/abs/1905.11286",
)
class NovoGrad(NamedTuple):
    """NovoGrad: `v = beta2 v + (1 - beta2) |g|^2; u = beta1 u + g / (sqrt(v) + eps) + weight_decay w; w -= lr u`.

    v is one number for all parameters, which starts at the first `|g|^2`, so nothing is corrected. The decay joins the
    velocity, as published, but not the objective that is reported. The defaults are optax's. Needs half of Adam's
    memory, and no warm-up; with a constant rate it ends up circling the minimum at a distance in proportion to `lr`.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.25
    eps: NonNegative = 1e-6
    weight_decay: NonNegative = 0.0

    def measure(h, c: Slots, w: Value, g: Value, s: Slots) -> Slots:
        return squares(g)

    def conclude(h, c: Slots, t: int, m: Slots, sums: Slots, loss: Value) -> tuple[Slots, Slots]:
        norm = root(sums)
        scale = norm if t == 1 else hypot(np.sqrt(h.beta2) * m[0], np.sqrt(1 - h.beta2) * norm)
        divisor = scale + h.eps
        return (1 / np.where(divisor > 0, divisor, 1),), (scale,)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        u = h.beta1 * s[0] + c[0] * g + h.weight_decay * w
        return w - h.lr * u, (u,)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (m[0] + h.eps)


@optimizer(
    name="stable_adamw",
    slots=("mean", "mean_square"),
    family="layer-wise",
    witness="the paper",
    reference="Wortsman et al. (2023), https://arxiv.org/abs/2304.13013",
)
class StableAdamW(NamedTuple):
    """StableAdamW, AdamW with clipped updates: `w -= lr / max(1, RMS) m / (sqrt(v) + eps)`.

    `RMS = sqrt(mean of g^2 / max(v, eps^2))` over all parameters: a step is shortened when the gradients are larger
    than v expects, which is where AdamW's losses jump. The moments are AdamW's corrected ones, kept so by the paper's
    `beta^ = beta (1 - beta^(t-1)) / (1 - beta^t)`. The decay, `w -= lr weight_decay w` before the step, is not clipped
    and not part of the objective that is reported. The defaults are those of the authors' code. For AdamW where rare
    gradients make it unstable, in the place of clipping gradients.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.99
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.2

    def prepare(h, t: int) -> Slots:
        first = h.beta1 * (1 - power(h.beta1, t - 1)) / (1 - power(h.beta1, t))
        second = h.beta2 * (1 - power(h.beta2, t - 1)) / (1 - power(h.beta2, t))
        return first, second, 1 - first, 1 - second

    def measure(h, c: Slots, w: Value, g: Value, s: Slots) -> Slots:
        v = c[1] * s[1] + c[3] * g * g
        return g * g / np.maximum(v, np.maximum(h.eps * h.eps, SMALLEST_NORMAL)), g * 0 + 1  # the number of parameters

    def conclude(h, c: Slots, t: int, m: Slots, sums: Slots, loss: Value) -> tuple[Slots, Slots]:
        return (*c, h.lr / np.maximum(np.sqrt(sums[0] / sums[1]), 1)), m

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = c[0] * s[0] + c[2] * g
        v = c[1] * s[1] + c[3] * g * g
        w = w - h.lr * h.weight_decay * w
        return w - c[4] * m / (np.sqrt(v) + np.maximum(h.eps, SMALLEST_NORMAL)), (m, v)
