"""Rules that need no rate: they find the size of their steps themselves."""

from typing import NamedTuple

import numpy as np

from fastgd.optimizers.record import NonNegative, Rate, Slots, Step, Value, optimizer


@optimizer(
    name="cocob",
    slots=("start", "sum", "largest", "sum_of_sizes", "reward"),
    family="parameter-free",
    witness="optax.contrib.cocob",
    reference="Orabona & Tommasi (2017), https://arxiv.org/abs/1705.07795",
)
class COCOB(NamedTuple):
    """COCOB-Backprop, a bet of wealth on coins -g: `w = w0 + C / (L max(G + L, alpha L)) (L + R)`.

    L is the largest `|g|` so far, `G += |g|`, `C -= g`, and the reward is `R = max(R - (w - w0) g, 0)`; all of these
    are of a parameter. The wealth `L + R` grows while gradients agree, and with it the distance from the start w0.
    `alpha` holds back the first bets: a parameter moves by at most `1 / alpha` at first. It needs no rate: `lr`
    multiplies the gradients, whose scale cancels.
    """

    lr: Rate = 1.0
    alpha: NonNegative = 100.0
    eps: NonNegative = 1e-8

    def start(h, w: Value) -> Slots:
        return w, 0.0, h.eps, 0.0, 0.0

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        g = h.lr * g
        size = np.abs(g)
        sum_ = s[1] - g
        largest = np.maximum(s[2], size)
        sizes = s[3] + size
        reward = np.maximum(s[4] - g * (w - s[0]), 0)
        stake = largest * np.maximum(sizes + largest, h.alpha * largest)
        bet = sum_ / np.where(stake > 0, stake, 1)
        return s[0] + bet * (largest + reward), (s[0], sum_, largest, sizes, reward)

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        return w, y
