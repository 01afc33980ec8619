"""Adaptive rules that keep less than a number for each parameter, where parameters form matrices."""

from typing import NamedTuple

import numpy as np

from fastgd.optimizers.record import Decay, NonNegative, Rate, Slots, Step, Value, optimizer


@optimizer(
    name="sm3",
    slots=("sum_of_squares", "mean_step"),
    family="memory-efficient",
    witness="optax.sm3",
    reference="Anil, Gupta, Koren & Singer (2019), https://arxiv.org/abs/1901.11150",
)
class SM3(NamedTuple):
    """SM3 on a vector: `v += g^2; u = momentum u + (1 - momentum) g / sqrt(v + eps); w -= lr u`.

    On a matrix SM3 keeps one v for each row and column, and shares them; a vector's cover has a set for each
    parameter, so here it is AdaGrad with averaged steps, and saves no memory. Every array counts as a vector.
    """

    lr: Rate
    momentum: Decay = 0.9
    eps: NonNegative = 1e-8

    def prepare(h, t: int) -> Slots:
        return (1 - h.momentum,)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        v = s[0] + g * g
        u = h.momentum * s[1] + c[0] * g / np.sqrt(v + h.eps)
        return w - h.lr * u, (v, u)

    def effective(h, t: int, m: Slots, s: Slots) -> Value:
        return h.lr / np.sqrt(s[0] + h.eps)
