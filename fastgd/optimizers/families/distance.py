"""Rules that need no rate: they estimate the distance from the start to the minimum, and step accordingly.

A small distance over a large norm is 0 in float32, where its root is not: gradients are multiplied by the root twice.
"""

from typing import NamedTuple

import numpy as np

from fastgd.core.math import SMALLEST_NORMAL, hypot, power, root, squares
from fastgd.optimizers.record import Decay, NonNegative, Rate, Slots, Step, Value, optimizer


@optimizer(
    name="dog",
    slots=("start",),
    memory={"distance": 0.0, "norm": 0.0},
    family="parameter-free",
    witness="optax.contrib.dog",
    reference="Ivgi, Hinder & Carmon (2023), https://arxiv.org/abs/2302.12022",
)
class DoG(NamedTuple):
    """DoG, distance over gradients: `w -= lr r / sqrt(G + eps) g` with `r = max(r, |w - w0|)` and `G += |g|^2`.

    r starts at `init_step (1 + |w0|)`, small enough for the first steps to be harmless, and multiplies itself until it
    is about the distance to the minimum. The defaults are optax's; `lr` is a factor to leave at 1. For convex problems
    and fine-tuning without a search over rates; the authors advise to average the iterates.
    """

    lr: Rate = 1.0
    init_step: Rate = 1e-6
    eps: NonNegative = 1e-8

    def start(h, w: Value) -> Slots:
        return (w,)

    def measure(h, c: Slots, w: Value, g: Value, s: Slots) -> Slots:
        return squares(w - s[0]) + squares(g) + squares(s[0])

    def conclude(h, c: Slots, t: int, m: Slots, sums: Slots, loss: Value) -> tuple[Slots, Slots]:
        distance = np.maximum(m[0], np.maximum(h.init_step * (1 + root(sums[6:])), root(sums[:3])))
        norm = hypot(m[1], root(sums[3:6]))
        scale = hypot(norm, np.sqrt(h.eps))
        return (np.sqrt(h.lr * distance / np.where(scale > 0, scale, 1)),), (distance, norm)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        return w - c[0] * (c[0] * g), s

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr * m[0] / hypot(m[1], np.sqrt(h.eps))


@optimizer(
    name="dowg",
    slots=("start",),
    memory={"distance": 0.0, "weighted_norm": 0.0},
    family="parameter-free",
    witness="optax.contrib.dowg",
    reference="Khaled, Mishchenko & Jin (2023), https://arxiv.org/abs/2305.16284",
)
class DoWG(NamedTuple):
    """DoWG, distance over weighted gradients: `w -= lr q / (sqrt(V) + eps) g; q = max(q, |w - w0|^2); V += q |g|^2`.

    q starts at `init_estim_sq_dist`, whose default is optax's, 1e-4. Gradients count by the distance at which they were
    seen, so that those of the short first steps are forgotten: steps are longer than DoG's, and adapt to smooth
    functions too. `lr` is a factor to leave at 1.
    """

    lr: Rate = 1.0
    init_estim_sq_dist: Rate = 1e-4
    eps: NonNegative = 1e-4

    def start(h, w: Value) -> Slots:
        return (w,)

    def measure(h, c: Slots, w: Value, g: Value, s: Slots) -> Slots:
        return squares(w - s[0]) + squares(g)

    def conclude(h, c: Slots, t: int, m: Slots, sums: Slots, loss: Value) -> tuple[Slots, Slots]:
        distance = np.maximum(m[0], np.maximum(np.sqrt(h.init_estim_sq_dist), root(sums[:3])))
        norm = hypot(m[1], distance * root(sums[3:]))
        scale = norm + h.eps
        return (np.sqrt(h.lr * distance * (distance / np.where(scale > 0, scale, 1))),), (distance, norm)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        return w - c[0] * (c[0] * g), s

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr * m[0] * (m[0] / (m[1] + h.eps))


@optimizer(
    name="dadapt_sgd",
    slots=("start", "sum"),
    memory={"distance": 0.0, "first_norm": 0.0, "products": 0.0},
    family="parameter-free",
    witness="the paper",
    reference="Defazio & Mishchenko (2023), https://arxiv.org/abs/2301.07733",
)
class DAdaptSGD(NamedTuple):
    """D-Adaptation SGD: `s += k g; w = momentum w + (1 - momentum) (w0 - s)` with the step `k = lr d / |g0|`.

    d, an estimate of the distance from the start w0 to the minimum, starts at `d0` and never falls:
    `d = max(d, 2 P / |s|)` with `P += k g.s`, s before it is changed; the next step is the first to have it. The 2 is
    that of the authors' code, where the paper's bound has 1: without noise and momentum, d is at most twice the
    distance. g0 is the first gradient that is not zero. With momentum 0, the default of their code, w is `w0 - s`. `lr`
    is a factor to leave at 1, and a schedule's. For convex problems without a search over rates.
    """

    lr: Rate = 1.0
    momentum: Decay = 0.0
    d0: Rate = 1e-6

    def start(h, w: Value) -> Slots:
        return w, 0.0

    def measure(h, c: Slots, w: Value, g: Value, s: Slots) -> Slots:
        return (*squares(g), g * s[1], s[1] * s[1])

    def conclude(h, c: Slots, t: int, m: Slots, sums: Slots, loss: Value) -> tuple[Slots, Slots]:
        distance = np.maximum(m[0], h.d0)
        norm = root(sums[:3])
        first: Value = np.where(m[1] > 0, m[1], norm)
        step = h.lr * distance / np.where(first > 0, first, 1)
        products = m[2] + step * sums[3]
        # |s + k g|^2, expanded since k is known after the sums only. No digits cancel where the products are positive.
        squared: Value = np.maximum(sums[4] + 2 * step * sums[3] + (step * norm) * (step * norm), 0)
        bound = 2 * products / np.where(squared > 0, np.sqrt(squared), 1)
        return (np.sqrt(step), 1 - h.momentum), (np.maximum(distance, bound), first, products)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        sum_ = s[1] + c[0] * (c[0] * g)
        return np.where(h.lr > 0, h.momentum * w + c[1] * (s[0] - sum_), w), (s[0], sum_)


@optimizer(
    name="dadapt_adam",
    slots=("mean", "mean_square", "sum"),
    memory={"distance": 0.0, "products": 0.0},
    family="parameter-free",
    witness="optax.contrib.dadapt_adamw",
    reference="Defazio & Mishchenko (2023), https://arxiv.org/abs/2301.07733",
)
class DAdaptAdam(NamedTuple):
    """D-Adaptation Adam: `m = beta1 m + (1 - beta1) k g; w -= m / (sqrt(v) + eps) + weight_decay k w`.

    `v = beta2 v + (1 - beta2) g^2`, `k = lr d sqrt(1 - beta2^t) / (1 - beta1^t)`, and d, which starts at `d0` and never
    falls, is the rate: with `b = sqrt(beta2)`, `P = b P + (1 - b) k sum g s / (sqrt(v) + eps)` from s and v before they
    are changed and `s = b s + (1 - b) k g`, `d = max(d, P / ((1 - b) |s|_1))`; the next step is the first to have it.
    The decay is not part of the objective that is reported; where it keeps w from the minimum, d grows for ever: leave
    it small. The defaults are optax's; `lr` is a factor to leave at 1, and a schedule's; where it is 0, neither m nor w
    changes. For Adam without a search over rates.
    """

    lr: Rate = 1.0
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: Rate = 1e-8
    weight_decay: NonNegative = 0.0
    d0: Rate = 1e-6

    def prepare(h, t: int, m: Slots) -> tuple[Slots, Slots]:
        distance = np.maximum(m[0], h.d0)
        step = h.lr * distance * np.sqrt(1 - power(h.beta2, t)) / (1 - power(h.beta1, t))
        root_beta = np.sqrt(h.beta2)
        return (step, root_beta, 1 - root_beta, 1 - h.beta1, 1 - h.beta2), (distance, m[1])

    def measure(h, c: Slots, w: Value, g: Value, s: Slots) -> Slots:
        return g * s[2] / (np.sqrt(s[1]) + h.eps), np.abs(c[1] * s[2] + c[2] * c[0] * g)

    def conclude(h, c: Slots, t: int, m: Slots, sums: Slots, loss: Value) -> tuple[Slots, Slots]:
        products = c[1] * m[1] + c[2] * c[0] * sums[0]
        bound = products / np.where(sums[1] > 0, c[2] * sums[1], 1)
        return c, (np.maximum(m[0], bound), products)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = np.where(h.lr > 0, h.beta1 * s[0] + c[3] * c[0] * g, s[0])
        v = h.beta2 * s[1] + c[4] * g * g
        sum_ = c[1] * s[2] + c[2] * c[0] * g
        moved = w - h.weight_decay * c[0] * w - m / (np.sqrt(v) + h.eps)
        return np.where(h.lr > 0, moved, w), (m, v, sum_)


@optimizer(
    name="prodigy",
    slots=("mean", "mean_square", "sum", "start"),
    memory={"distance": 0.0, "products": 0.0},
    family="parameter-free",
    witness="optax.contrib.prodigy",
    reference="Mishchenko & Defazio (2024), https://arxiv.org/abs/2306.06101",
)
class Prodigy(NamedTuple):
    """Prodigy: `m = beta1 m + (1 - beta1) d g; w -= k (m / (sqrt(v) + d eps) + weight_decay w)`.

    `v = beta2 v + (1 - beta2) d^2 g^2` and `k = lr d sqrt(1 - beta2^t) / (1 - beta1^t)`. d, an estimate of the distance
    from the start w0 to the minimum, starts at `d0` and never falls: with `b = sqrt(beta2)`,
    `P = b P + d / d0 k g.(w0 - w)` and `s = b s + d / d0 k g`, `d = max(d, d_coef P / |s|_1)`; the next step is the
    first to have it, but for d eps. `safeguard_warmup` has d in the place of k in s, for schedules that warm up. The
    decay is not part of the objective that is reported. The defaults are optax's; `lr` is a factor to leave at 1, and a
    schedule's. Finds Adam's rate faster than dadapt_adam.
    """

    lr: Rate = 1.0
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    d0: Rate = 1e-6
    d_coef: Rate = 1.0
    safeguard_warmup: bool = False

    def start(h, w: Value) -> Slots:
        return 0.0, 0.0, 0.0, w

    def prepare(h, t: int, m: Slots) -> tuple[Slots, Slots]:
        distance = np.maximum(m[0], h.d0)
        step = h.lr * distance * np.sqrt(1 - power(h.beta2, t)) / (1 - power(h.beta1, t))
        weight = distance / h.d0 * (distance if h.safeguard_warmup else step)
        return (distance, step, weight, np.sqrt(h.beta2), 1 - h.beta1, 1 - h.beta2), (distance, m[1])

    def measure(h, c: Slots, w: Value, g: Value, s: Slots) -> Slots:
        return g * (s[3] - w), np.abs(c[3] * s[2] + c[2] * g)

    def conclude(h, c: Slots, t: int, m: Slots, sums: Slots, loss: Value) -> tuple[Slots, Slots]:
        products = c[3] * m[1] + c[0] / h.d0 * c[1] * sums[0]
        distance = np.maximum(m[0], h.d_coef * products / np.where(sums[1] > 0, sums[1], 1))
        return (*c, np.maximum(distance * h.eps, SMALLEST_NORMAL)), (distance, products)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta1 * s[0] + c[4] * c[0] * g
        v = h.beta2 * s[1] + c[5] * c[0] * c[0] * g * g
        sum_ = c[3] * s[2] + c[2] * g
        w = w - h.weight_decay * c[1] * w
        return w - c[1] * m / (np.sqrt(v) + c[6]), (m, v, sum_, s[3])
