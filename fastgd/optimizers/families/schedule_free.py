"""Schedule-free learning: an average of the iterates in the place of a falling rate."""

from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Gt, Le

from fastgd.core.math import power
from fastgd.optimizers.record import Decay, NonNegative, Rate, Slots, Step, Value, optimizer

Share = Annotated[float, Gt(0), Le(1)]


@optimizer(
    name="schedule_free_sgd",
    lazy=("closed", "closed"),
    slots=("z",),
    memory={"largest_rate": 0.0, "weights": 0.0},
    family="schedule-free",
    witness="optax.contrib.schedule_free_sgd",
    reference="Defazio et al. (2024), https://arxiv.org/abs/2405.15682",
)
class ScheduleFreeSGD(NamedTuple):
    """Schedule-free SGD: `y = (1 - beta) z + beta x; z -= lr g(y); x = (1 - c) x + c z`.

    x is the average of all z, weighted by the largest rate so far to the power `weight_lr_power`: `c = 1 / t` while the
    rate is constant, and a warm-up counts for less. The state is y, where gradients are taken; x is reported. For runs
    whose length is not known beforehand; large rates suit it. A schedule should warm up, and not fall; a step at a rate
    of 0 has no weight.
    """

    lr: Rate
    beta: Share = 0.9
    weight_lr_power: NonNegative = 2.0

    # For float32: the sum of the weights is kept in units of the newest weight, and is t while the rate is constant.
    # The rule changes the small difference y - z = beta (x - z): in a weighted sum of x and z, rounded factors would
    # not add up to 1, and x would drift with every step.
    def prepare(h, t: int, m: Slots) -> tuple[Slots, Slots]:
        rate = np.maximum(m[0], h.lr)
        growth = np.where(m[0] > 0, (rate - m[0]) / np.where(m[0] > 0, m[0], 1), 0)
        weights = m[1] * np.exp(-h.weight_lr_power * np.log1p(growth)) + np.where(h.lr > 0, h.lr * 0 + 1, 0)
        share = np.where(h.lr > 0, 1 / np.maximum(weights, 1), 0)
        return (1 - share,), (rate, weights)

    def start(h, w: Value) -> Slots:
        return (w,)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        step = h.lr * g
        z = s[0] - step
        return np.where(h.lr > 0, z + c[0] * (w - s[0] + h.beta * step), w), (z,)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr

    def readout(h, w: Value, s: Slots) -> Value:
        return s[0] + (w - s[0]) / h.beta


@optimizer(
    name="schedule_free_adamw",
    slots=("z", "mean_square"),
    memory={"largest_rate": 0.0, "weights": 0.0},
    family="schedule-free",
    witness="optax.contrib.schedule_free_adamw",
    reference="Defazio et al. (2024), https://arxiv.org/abs/2405.15682",
)
class ScheduleFreeAdamW(NamedTuple):
    """Schedule-free AdamW: `y = (1 - beta1) z + beta1 x; z -= lr (g / (sqrt(v^) + eps) + weight_decay y)`.

    `v = beta2 v + (1 - beta2) g(y)^2`, `v^ = v / (1 - beta2^t)`, and `x = (1 - c) x + c z` is the weighted average of
    all z as in schedule_free_sgd: it takes the place of Adam's first moment. The decay is not part of the objective
    that is reported.
    """

    lr: Rate
    beta1: Share = 0.9
    beta2: Decay = 0.999
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    weight_lr_power: NonNegative = 2.0

    def prepare(h, t: int, m: Slots) -> tuple[Slots, Slots]:
        rate = np.maximum(m[0], h.lr)
        growth = np.where(m[0] > 0, (rate - m[0]) / np.where(m[0] > 0, m[0], 1), 0)
        weights = m[1] * np.exp(-h.weight_lr_power * np.log1p(growth)) + np.where(h.lr > 0, h.lr * 0 + 1, 0)
        share = np.where(h.lr > 0, 1 / np.maximum(weights, 1), 0)
        return (1 - share, 1 / (1 - power(h.beta2, t)), 1 - h.beta2), (rate, weights)

    def start(h, w: Value) -> Slots:
        return w, 0.0

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        v = h.beta2 * s[1] + c[2] * g * g
        step = h.lr * (g / (np.sqrt(v * c[1]) + h.eps) + h.weight_decay * w)
        z = s[0] - step
        return np.where(h.lr > 0, z + c[0] * (w - s[0] + h.beta1 * step), w), (z, v)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / (np.sqrt(s[1] / (1 - power(h.beta2, t))) + h.eps)

    def readout(h, w: Value, s: Slots) -> Value:
        return s[0] + (w - s[0]) / h.beta1
