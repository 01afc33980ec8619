"""Adam and its close relatives: averaged gradients over the root of averaged squares."""

import math
from typing import NamedTuple

import numpy as np

from fastgd.core.math import exp, power
from fastgd.optimizers.adam_series import NEGLIGIBLE, decayed_terms, steps_to_vanish, sum_of_terms
from fastgd.optimizers.record import Decay, NonNegative, Rate, Slots, Step, Value, optimizer

LOG_NADAM = math.log(0.96)  # NAdam's momentum approaches beta1 as 0.96 to a power


@optimizer(
    name="adam",
    quotients=((0, 1),),
    slots=("mean", "mean_square"),
    family="adam",
    witness="torch.optim.Adam",
    reference="Kingma & Ba (2015), https://arxiv.org/abs/1412.6980",
)
class Adam(NamedTuple):
    """Adam: `m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; w -= lr m^ / (sqrt(v^) + eps)`.

    `m^ = m / (1 - beta1^t)` and `v^ = v / (1 - beta2^t)`; `bias_correction = false` leaves them out, to show why they
    are there. `eps_inside` divides by `sqrt(v^ + eps)`, as the lectures do. `eps_hat` adds eps to the root of v before
    its correction, as the paper's remark and PyTorch's SparseAdam do: masked trials take this form.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    eps_inside: bool = False
    bias_correction: bool = True
    eps_hat: bool = False

    def prepare(h, t: int) -> Slots:
        rest = 1 - h.beta1, 1 - h.beta2
        if h.bias_correction and h.eps_hat:
            return h.lr * np.sqrt(1 - power(h.beta2, t)) / (1 - power(h.beta1, t)), h.lr * 0 + 1, *rest
        if h.bias_correction:
            return h.lr / (1 - power(h.beta1, t)), 1 / (1 - power(h.beta2, t)), *rest
        return h.lr, h.lr * 0 + 1, *rest

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + c[2] * g
        v = h.beta2 * s[1] + c[3] * g * g
        if h.eps_inside:
            return w - c[0] * m / np.sqrt(v * c[1] + h.eps), (m, v)
        return w - c[0] * m / (np.sqrt(v * c[1]) + h.eps), (m, v)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        corrected = 1 - power(h.beta2, t) if h.bias_correction else 1.0
        if h.eps_hat:
            return h.lr * np.sqrt(corrected) / (np.sqrt(s[1] + h.eps) if h.eps_inside else np.sqrt(s[1]) + h.eps)
        v = s[1] / corrected
        return h.lr / (np.sqrt(v + h.eps) if h.eps_inside else np.sqrt(v) + h.eps)

    def horizon(h) -> Value:
        return steps_to_vanish(h.beta1, h.beta2)

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        q = decayed_terms(y[2:], h.beta1, 1 / np.sqrt(h.beta2))
        return w - c[0] * sum_of_terms(q, 1 / np.sqrt(c[1])), (h.beta1 * y[0], h.beta2 * y[1], *q)


@optimizer(
    name="amsgrad",
    quotients=((0, 2),),
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
        return h.lr / (1 - power(h.beta1, t)), 1 / (1 - power(h.beta2, t)), 1 - h.beta1, 1 - h.beta2

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + c[2] * g
        v = h.beta2 * s[1] + c[3] * g * g
        u = np.maximum(s[2], v)
        return w - c[0] * m / (np.sqrt(u * c[1]) + h.eps), (m, v, u)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (np.sqrt(s[2] / (1 - power(h.beta2, t))) + h.eps)

    def horizon(h) -> Value:
        return steps_to_vanish(h.beta1, 1.0)

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        q = decayed_terms(y[3:], h.beta1, 1.0)
        return w - c[0] * sum_of_terms(q, 1 / np.sqrt(c[1])), (h.beta1 * y[0], h.beta2 * y[1], y[2], *q)


@optimizer(
    name="adamw",
    quotients=((0, 1),),
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
        return h.lr / (1 - power(h.beta1, t)), 1 / (1 - power(h.beta2, t)), 1 - h.beta1, 1 - h.beta2

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + c[2] * g
        v = h.beta2 * s[1] + c[3] * g * g
        w = w - h.lr * h.weight_decay * w
        return w - c[0] * m / (np.sqrt(v * c[1]) + h.eps), (m, v)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (np.sqrt(s[1] / (1 - power(h.beta2, t))) + h.eps)

    def horizon(h) -> Value:
        return steps_to_vanish(h.beta1, h.beta2)

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        q = decayed_terms(y[2:], h.beta1, 1 / np.sqrt(h.beta2))
        w = w - h.lr * h.weight_decay * w
        return w - c[0] * sum_of_terms(q, 1 / np.sqrt(c[1])), (h.beta1 * y[0], h.beta2 * y[1], *q)


@optimizer(
    name="adamax",
    slots=("mean", "largest"),
    family="adam",
    witness="torch.optim.Adamax",
    reference="Kingma & Ba (2015), section 7.1, https://arxiv.org/abs/1412.6980",
)
class Adamax(NamedTuple):
    """Adamax: `m = beta1 m + (1 - beta1) g; u = max(beta2 u, |g| + eps); w -= lr m^ / u`.

    Adam with the infinity norm in the place of the root of averaged squares; `m^ = m / (1 - beta1^t)`, and u, a largest
    value, needs no correction. For gradients with rare large values.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8

    def prepare(h, t: int) -> Slots:
        return h.lr / (1 - power(h.beta1, t)), 1 - h.beta1

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + c[1] * g
        u = np.maximum(h.beta2 * s[1], np.abs(g) + h.eps)
        return w - c[0] * m / u, (m, u)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / np.maximum(s[1], h.eps)

    def horizon(h) -> Value:
        return steps_to_vanish(h.beta1, h.beta2 * h.beta2)

    def lift(h, w: Value, s: Slots) -> Slots:
        # u falls by the factor beta2 until it is as small as eps; by then m / u must have vanished.
        of_mean = np.log1p((1 - h.beta1) / np.maximum(h.beta1, 1e-30))
        of_largest = np.log1p((1 - h.beta2) / np.maximum(h.beta2, 1e-30))
        left = np.where(of_mean > of_largest, np.exp(-NEGLIGIBLE * of_largest / (of_mean - of_largest)), 0.0)
        q = np.where(s[1] * left > h.eps, s[0] / s[1], np.nan)
        return *s, np.where(np.abs(s[0]) > 0, q, 0.0)

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        q = h.beta1 / h.beta2 * y[2]
        return w - c[0] * q, (h.beta1 * y[0], h.beta2 * y[1], q)

    def lower(h, s: Slots, y: Slots) -> Slots:
        return y[0], np.maximum(y[1], h.eps)


@optimizer(
    name="nadam",
    quotients=((0, 1),),
    slots=("mean", "mean_square"),
    memory={"product": 1.0},
    family="adam",
    witness="torch.optim.NAdam",
    reference="Dozat (2016), https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ",
)
class NAdam(NamedTuple):
    """NAdam: Adam with Nesterov's look-ahead, `w -= lr (a g + b m) / (sqrt(v^) + eps)`.

    With `mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)` and P the product of these so far, `a = (1 - mu_t) / (1 - P)`
    and `b = mu_(t+1) / (1 - P mu_(t+1))`; m and v are Adam's. The decay is decoupled.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    momentum_decay: NonNegative = 0.004
    weight_decay: NonNegative = 0.0

    def prepare(h, t: int, m: Slots) -> tuple[Slots, Slots]:
        now = h.beta1 * (1 - 0.5 * exp(LOG_NADAM * t * h.momentum_decay))
        following = h.beta1 * (1 - 0.5 * exp(LOG_NADAM * (t + 1) * h.momentum_decay))
        product = m[0] * now
        of_gradient, of_mean = h.lr * (1 - now) / (1 - product), h.lr * following / (1 - product * following)
        return (of_gradient, of_mean, 1 / (1 - power(h.beta2, t)), 1 - h.beta1, 1 - h.beta2), (product,)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + c[3] * g
        v = h.beta2 * s[1] + c[4] * g * g
        w = w - h.lr * h.weight_decay * w
        return w - (c[0] * g + c[1] * m) / (np.sqrt(v * c[2]) + h.eps), (m, v)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (np.sqrt(s[1] / (1 - power(h.beta2, t))) + h.eps)

    def horizon(h) -> Value:
        return steps_to_vanish(h.beta1, h.beta2)

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        q = decayed_terms(y[2:], h.beta1, 1 / np.sqrt(h.beta2))
        w = w - h.lr * h.weight_decay * w
        return w - c[1] * sum_of_terms(q, 1 / np.sqrt(c[2])), (h.beta1 * y[0], h.beta2 * y[1], *q)


@optimizer(
    name="radam",
    quotients=((0, 1),),
    slots=("mean", "mean_square"),
    memory={"weights": 0.0, "ages": 0.0},
    family="adam",
    witness="torch.optim.RAdam",
    reference="Liu et al. (2020), https://arxiv.org/abs/1908.03265",
)
class RAdam(NamedTuple):
    """RAdam: Adam whose steps are rectified by `r` while v has seen few gradients, `w -= lr r m^ / (sqrt(v) + eps)`.

    With `rho = 2 / (1 - beta2) - 1` and `rho_t`, the length of the moving average so far,
    `r^2 = (1 - beta2^t) (rho_t - 4) (rho_t - 2) rho / ((rho - 4) (rho - 2) rho_t)`; while `rho_t <= 5` the step is
    `lr m^`, as with momentum. It does the work of a warm-up. The decay is decoupled.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0

    def prepare(h, t: int, m: Slots) -> tuple[Slots, Slots]:
        # The mean age of v's gradients, from sums of positive numbers: the closed form of rho_t is the difference of
        # two large numbers, and in float32 falls on the wrong side of 5.
        weights = h.beta2 * m[0] + 1
        ages = h.beta2 * m[1] + weights
        rho, now = 2 / (1 - h.beta2) - 1, 2 * ages / weights - 1
        known = np.maximum(now, 5)
        squared = (known - 4) * (known - 2) * rho / ((rho - 4) * (rho - 2) * known)
        lr = h.lr / (1 - power(h.beta1, t))
        adaptive = np.where(now > 5, lr * np.sqrt(squared * (1 - power(h.beta2, t))), 0)
        return (np.where(now > 5, 0, lr), adaptive, 1 - h.beta1, 1 - h.beta2), (weights, ages)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + c[2] * g
        v = h.beta2 * s[1] + c[3] * g * g
        w = w - h.lr * h.weight_decay * w
        return w - m * (c[0] + c[1] / (np.sqrt(v) + h.eps)), (m, v)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        weights, ages = m
        rho, now = 2 / (1 - h.beta2) - 1, 2 * ages / weights - 1
        known = np.maximum(now, 5)
        squared = (known - 4) * (known - 2) * rho / ((rho - 4) * (rho - 2) * known)
        adaptive = h.lr * np.sqrt(squared * (1 - power(h.beta2, t))) / (np.sqrt(s[1]) + h.eps)
        return np.where(now > 5, adaptive, h.lr)

    def horizon(h) -> Value:
        return steps_to_vanish(h.beta1, h.beta2)

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        q = decayed_terms(y[2:], h.beta1, 1 / np.sqrt(h.beta2))
        m, w = h.beta1 * y[0], w - h.lr * h.weight_decay * w
        return w - c[0] * m - c[1] * sum_of_terms(q, 1.0), (m, h.beta2 * y[1], *q)


@optimizer(
    name="laprop",
    slots=("mean", "mean_square"),
    family="adam",
    witness="the paper",
    reference="Ziyin, Wang & Ueda (2020), https://arxiv.org/abs/2002.04839",
)
class LaProp(NamedTuple):
    """LaProp: `v = beta2 v + (1 - beta2) g^2; m = beta1 m + (1 - beta1) g / (sqrt(v^) + eps); w -= lr m^`.

    `m^` and `v^` are corrected as Adam's are. The gradients are divided before they are averaged, so that no step is
    longer than `lr / sqrt(1 - beta2)`, whatever beta1 and beta2 are; Adam needs `beta1^2 < beta2`. eps is that of the
    authors' code.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-15

    def prepare(h, t: int) -> Slots:
        return h.lr / (1 - power(h.beta1, t)), 1 / (1 - power(h.beta2, t)), 1 - h.beta1, 1 - h.beta2

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        v = h.beta2 * s[1] + c[3] * g * g
        m = h.beta1 * s[0] + c[2] * g / (np.sqrt(v * c[1]) + h.eps)
        return w - c[0] * m, (m, v)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (np.sqrt(s[1] / (1 - power(h.beta2, t))) + h.eps)
