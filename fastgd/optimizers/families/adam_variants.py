"""Variations on Adam: another second moment, another momentum, another order."""

from typing import NamedTuple

import numpy as np

from fastgd.core.math import power
from fastgd.optimizers.adam_series import decayed_terms, steps_to_vanish, sum_of_terms
from fastgd.optimizers.record import Decay, NonNegative, Rate, Slots, Step, Value, optimizer


@optimizer(
    name="nadamw",
    quotients=((0, 1),),
    slots=("mean", "mean_square"),
    family="adam",
    witness="optax.nadamw",
    reference="Dozat (2016), https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ; Loshchilov & Hutter (2019)",
)
class NAdamW(NamedTuple):
    """NAdamW, AdamW with Nesterov's momentum: `w -= lr ((beta1 m^ + (1 - beta1) g^) / (sqrt(v^) + eps) + decay)`.

    `m^ = m / (1 - beta1^(t + 1))`, `g^ = g / (1 - beta1^t)`, `v^ = v / (1 - beta2^t)` with Adam's m and v, and
    `decay = weight_decay w`, which is not part of the objective that is reported.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 1e-4

    def prepare(h, t: int) -> Slots:
        beta1_t = power(h.beta1, t)
        of_mean = h.lr * h.beta1 / (1 - h.beta1 * beta1_t)
        of_gradient = h.lr * (1 - h.beta1) / (1 - beta1_t)
        return of_mean, of_gradient, 1 / (1 - power(h.beta2, t)), 1 - h.beta1, 1 - h.beta2

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + c[3] * g
        v = h.beta2 * s[1] + c[4] * g * g
        w = w - h.lr * h.weight_decay * w
        return w - (c[0] * m + c[1] * g) / (np.sqrt(v * c[2]) + h.eps), (m, v)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (np.sqrt(s[1] / (1 - power(h.beta2, t))) + h.eps)

    def horizon(h) -> Value:
        return steps_to_vanish(h.beta1, h.beta2)

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        q = decayed_terms(y[2:], h.beta1, 1 / np.sqrt(h.beta2))
        w = w - h.lr * h.weight_decay * w
        return w - c[0] * sum_of_terms(q, 1 / np.sqrt(c[2])), (h.beta1 * y[0], h.beta2 * y[1], *q)


@optimizer(
    name="adabelief",
    lazy=("cutoff", "none"),
    slots=("mean", "mean_square_surprise"),
    family="adam",
    witness="optax.adabelief",
    reference="Zhuang et al. (2020), https://arxiv.org/abs/2010.07468",
)
class AdaBelief(NamedTuple):
    """AdaBelief: Adam over the squared surprise, `v = beta2 v + (1 - beta2) (g - m)^2 + eps_root`.

    `w -= lr m^ / (sqrt(v^) + eps)` with Adam's m and corrections: steps are long where gradients are as expected. Near
    a minimum with full batches there is no surprise left, and steps grow: let the rate fall there.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-16
    eps_root: NonNegative = 1e-16

    def prepare(h, t: int) -> Slots:
        return h.lr / (1 - power(h.beta1, t)), 1 / (1 - power(h.beta2, t)), 1 - h.beta1, 1 - h.beta2

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + c[2] * g
        v = h.beta2 * s[1] + c[3] * (g - m) * (g - m) + h.eps_root
        return w - c[0] * m / (np.sqrt(v * c[1]) + h.eps), (m, v)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (np.sqrt(s[1] / (1 - power(h.beta2, t))) + h.eps)

    def horizon(h) -> Value:
        return steps_to_vanish(h.beta1, h.beta2)

    # v does not fall by a constant factor, so that there is no series (NaN): steps are taken one by one.
    def lift(h, w: Value, s: Slots) -> Slots:
        return *s, s[0] * s[0], s[0] * 0 + 1, s[0] * np.nan

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        square = h.beta1 * h.beta1 * y[2]
        v = h.beta2 * y[1] + c[3] * square + h.eps_root * y[3]
        return w, (h.beta1 * y[0], v, square, y[3], y[4])


@optimizer(
    name="adan",
    lazy=("cutoff", "none"),
    slots=("mean", "mean_difference", "mean_square", "gradient"),
    family="adam",
    witness="optax.adan",
    reference="Xie et al. (2022), https://arxiv.org/abs/2208.06677",
)
class Adan(NamedTuple):
    """Adan, Nesterov's momentum from differences of gradients: `w -= lr ((m^ + beta2' d^) / (root + eps) + decay)`.

    With `d = g - (last g)`, 0 at first, and `beta2' = 1 - beta2`: m averages g (beta1), the mean difference averages d
    (beta2), n averages `(g + beta2' d)^2` (beta3), all corrected for their bias, and `root = sqrt(n^ + eps_root)`.
    The betas are decays as Adam's are: the paper's are one minus these. `decay = weight_decay w` is added to the step
    (the paper divides by `1 + lr weight_decay`), and is not part of the objective that is reported.
    """

    lr: Rate
    beta1: Decay = 0.98
    beta2: Decay = 0.92
    beta3: Decay = 0.99
    eps: NonNegative = 1e-8
    eps_root: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0

    def prepare(h, t: int) -> Slots:
        of_mean = h.lr / (1 - power(h.beta1, t))
        of_difference = h.lr * (1 - h.beta2) / (1 - power(h.beta2, t))
        has_last = h.lr * 0 + (0.0 if t == 1 else 1.0)
        rest = 1 - h.beta1, 1 - h.beta2, 1 - h.beta3
        return of_mean, of_difference, 1 / (1 - power(h.beta3, t)), has_last, *rest

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        difference = c[3] * (g - s[3])
        ahead = g + c[5] * difference
        m = h.beta1 * s[0] + c[4] * g
        d = h.beta2 * s[1] + c[5] * difference
        n = h.beta3 * s[2] + c[6] * ahead * ahead
        w = w - h.lr * h.weight_decay * w
        return w - (c[0] * m + c[1] * d) / (np.sqrt(n * c[2] + h.eps_root) + h.eps), (m, d, n, g)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (np.sqrt(s[2] / (1 - power(h.beta3, t)) + h.eps_root) + h.eps)

    def horizon(h) -> Value:
        return np.maximum(steps_to_vanish(h.beta1, h.beta3), steps_to_vanish(h.beta2, h.beta3))

    # The series does not hold for a root of n + eps_root (NaN). The last gradient has an effect on one more step.
    def lift(h, w: Value, s: Slots) -> Slots:
        return *s, s[3] * s[3], s[0] * np.nan

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        difference, share = -c[3] * y[3], c[5] * c[3]
        d = h.beta2 * y[1] + c[5] * difference
        n = h.beta3 * y[2] + c[6] * share * share * y[4]
        return w - h.lr * h.weight_decay * w, (h.beta1 * y[0], d, n, y[3] * 0, y[4] * 0, y[5])


@optimizer(
    name="yogi",
    quotients=((0, 1),),
    slots=("mean", "mean_square"),
    family="adam",
    witness="optax.yogi",
    reference="Zaheer et al. (2018), https://papers.nips.cc/paper/8186-adaptive-methods-for-nonconvex-optimization",
)
class Yogi(NamedTuple):
    """Yogi: Adam whose second moment changes by steps of g^2, `v -= (1 - beta2) sign(v - g^2) g^2`.

    `w -= lr m^ / (sqrt(v^) + eps)` with Adam's m and corrections. v can not fall quickly, so the rate can not rise
    quickly as Adam's does after large gradients. m and v start at `initial`.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-3
    initial: NonNegative = 1e-6

    def start(h, w: Value) -> Slots:
        return h.initial, h.initial

    def prepare(h, t: int) -> Slots:
        return h.lr / (1 - power(h.beta1, t)), 1 / (1 - power(h.beta2, t)), 1 - h.beta1, 1 - h.beta2

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + c[2] * g
        square = g * g
        v = s[1] - c[3] * np.sign(s[1] - square) * square
        return w - c[0] * m / (np.sqrt(v * c[1]) + h.eps), (m, v)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (np.sqrt(s[1] / (1 - power(h.beta2, t))) + h.eps)

    def horizon(h) -> Value:
        return steps_to_vanish(h.beta1, 1.0)

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        q = decayed_terms(y[2:], h.beta1, 1.0)
        return w - c[0] * sum_of_terms(q, 1 / np.sqrt(c[1])), (h.beta1 * y[0], y[1], *q)


@optimizer(
    name="adopt",
    slots=("mean", "mean_square"),
    family="adam",
    witness="optax.contrib.adopt",
    reference="Taniguchi et al. (2024), https://arxiv.org/abs/2411.02853",
)
class ADOPT(NamedTuple):
    """ADOPT: `m = beta1 m + (1 - beta1) g / max(sqrt(v), eps); w -= lr m; v = beta2 v + (1 - beta2) g^2`.

    A gradient is divided by the root of the second moment before it, and only then averaged: this converges with any
    beta2. The first step sets `v = g^2` and does not move. What is averaged is clipped to `(t - 1)^(1/4)` in size
    unless `clipping = false`, which is the paper's first form.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.9999
    eps: NonNegative = 1e-6
    clipping: bool = True

    def prepare(h, t: int) -> Slots:
        if t == 1:
            return h.beta1 * 0 + 1, h.beta2 * 0, h.lr * 0, h.beta1 * 0, h.beta2 * 0 + 1
        return h.beta1, h.beta2, h.lr * 0 + np.sqrt(np.sqrt(t - 1)), 1 - h.beta1, 1 - h.beta2

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        scaled = g / np.maximum(np.sqrt(s[1]), h.eps)
        if h.clipping:
            scaled = np.where(np.abs(scaled) > c[2], c[2] * np.sign(scaled), scaled)
        m = c[0] * s[0] + c[3] * scaled
        v = c[1] * s[1] + c[4] * g * g
        return w - h.lr * m, (m, v)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / np.maximum(np.sqrt(s[1]), h.eps)


@optimizer(
    name="ademamix",
    quotients=((0, 2), (1, 2)),
    slots=("mean", "slow_mean", "mean_square"),
    family="adam",
    witness="optax.contrib.ademamix",
    reference="Pagliardini, Ablin & Grangier (2024), https://arxiv.org/abs/2409.03137",
)
class AdEMAMix(NamedTuple):
    """AdEMAMix, Adam with a second, slow momentum: `w -= lr ((m1^ + alpha m2) / (sqrt(v^) + eps) + weight_decay w)`.

    `m2 = beta3 m2 + (1 - beta3) g` is not corrected for its bias: it fills slowly. For long runs (with fewer than some
    thousand steps take beta3 = 0.999 or less). Over the first `warmup` steps, the paper's schedules raise alpha from 0
    in proportion to the step, and beta3 from beta1 so that `1 / log(beta3)` is linear in the step; with 0, the default
    as in optax, both are constant. The decay is not part of the objective that is reported.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    beta3: Decay = 0.9999
    alpha: NonNegative = 5.0
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    warmup: NonNegative = 0.0

    def prepare(h, t: int) -> Slots:
        done = np.minimum(t / np.maximum(h.warmup, 1), 1)
        # 1 / log(beta) of both ends: -log(beta) = log(1 + (1 - beta) / beta)
        first = -1 / np.log1p((1 - h.beta1) / np.maximum(h.beta1, 1e-30))
        last = -1 / np.log1p((1 - h.beta3) / np.maximum(h.beta3, 1e-30))
        beta3 = np.where(done < 1, np.exp(1 / ((1 - done) * first + done * last)), h.beta3)
        of_mean = h.lr / (1 - power(h.beta1, t))
        rest = 1 - h.beta1, 1 - beta3, 1 - h.beta2
        return of_mean, h.lr * h.alpha * done, beta3, 1 / (1 - power(h.beta2, t)), *rest

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + c[4] * g
        slow = c[2] * s[1] + c[5] * g
        v = h.beta2 * s[2] + c[6] * g * g
        w = w - h.lr * h.weight_decay * w
        return w - (c[0] * m + c[1] * slow) / (np.sqrt(v * c[3]) + h.eps), (m, slow, v)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (np.sqrt(s[2] / (1 - power(h.beta2, t))) + h.eps)

    def horizon(h) -> Value:
        return np.maximum(steps_to_vanish(h.beta1, h.beta2), steps_to_vanish(h.beta3, h.beta2))

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        growth, scale = 1 / np.sqrt(h.beta2), 1 / np.sqrt(c[3])
        q, slow = decayed_terms(y[3:9], h.beta1, growth), decayed_terms(y[9:], c[2], growth)
        w = w - h.lr * h.weight_decay * w - c[0] * sum_of_terms(q, scale) - c[1] * sum_of_terms(slow, scale)
        return w, (h.beta1 * y[0], c[2] * y[1], h.beta2 * y[2], *q, *slow)


@optimizer(
    name="optimistic_adam",
    quotients=((0, 1),),
    slots=("mean", "mean_square", "direction"),
    family="adam",
    witness="optax.optimistic_adam_v2",
    reference="Daskalakis, Ilyas, Syrgkanis & Zeng (2018), https://arxiv.org/abs/1711.00141",
)
class OptimisticAdam(NamedTuple):
    """Optimistic Adam: `w -= lr ((alpha + beta) r - beta (last r))` with Adam's direction `r = m^ / (sqrt(v^) + eps)`.

    It extrapolates by the change of the direction, 0 at first: for games and saddle points, where gradients turn.
    `nesterov`, the witness's default, has NAdam's `m^ = beta1 m / (1 - beta1^(t + 1)) + (1 - beta1) g / (1 - beta1^t)`;
    `nesterov = false` is the paper's.
    """

    lr: Rate
    alpha: NonNegative = 1.0
    beta: NonNegative = 1.0
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    nesterov: bool = True

    def prepare(h, t: int) -> Slots:
        beta1_t = power(h.beta1, t)
        beta = h.beta * (0.0 if t == 1 else 1.0)
        of_square, rest = 1 / (1 - power(h.beta2, t)), (1 - h.beta1, 1 - h.beta2)
        if h.nesterov:
            of_mean = h.beta1 / (1 - h.beta1 * beta1_t)
            return of_mean, (1 - h.beta1) / (1 - beta1_t), of_square, beta, *rest
        return 1 / (1 - beta1_t), h.beta1 * 0, of_square, beta, *rest

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + c[4] * g
        v = h.beta2 * s[1] + c[5] * g * g
        r = (c[0] * m + c[1] * g) / (np.sqrt(v * c[2]) + h.eps)
        return w - h.lr * ((h.alpha + c[3]) * r - c[3] * s[2]), (m, v, r)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr * h.alpha / (np.sqrt(s[1] / (1 - power(h.beta2, t))) + h.eps)

    def horizon(h) -> Value:
        return steps_to_vanish(h.beta1, h.beta2)

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        q = decayed_terms(y[3:], h.beta1, 1 / np.sqrt(h.beta2))
        r = c[0] * sum_of_terms(q, 1 / np.sqrt(c[2]))
        w = w - h.lr * ((h.alpha + c[3]) * r - c[3] * y[2])
        return w, (h.beta1 * y[0], h.beta2 * y[1], r, *q)

    def lower(h, s: Slots, y: Slots) -> Slots:
        return y[0], y[1], np.where(np.abs(y[2]) >= 0, y[2], 0.0)  # NaN: there was no series, and r has vanished
