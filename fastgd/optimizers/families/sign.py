"""Steps of the rate's size along the signs of gradients or of their averages."""

from typing import NamedTuple

import numpy as np

from fastgd.optimizers.record import Decay, NonNegative, Rate, Slots, Step, Value, optimizer

SMALLEST_FLOAT32 = 1e-45  # above 0


@optimizer(
    name="signsgd",
    family="sign",
    witness="optax.sign_sgd",
    reference="Bernstein et al. (2018), https://arxiv.org/abs/1802.04434",
)
class SignSGD(NamedTuple):
    """SignSGD: `w -= lr sign(g)`.

    The size of a gradient does not matter, so a step needs one bit a parameter from elsewhere. With a constant rate it
    ends up bouncing within `lr` of the minimum: use it with a falling one.
    """

    lr: Rate

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        return w - h.lr * np.sign(g), s


@optimizer(
    name="signum",
    slots=("mean",),
    family="sign",
    witness="optax.signum",
    reference="Bernstein et al. (2018), https://arxiv.org/abs/1802.04434",
)
class Signum(NamedTuple):
    """Signum, the sign of momentum: `m = beta m + (1 - beta) g; w -= lr sign(m)`.

    Averaging first keeps noise from turning signs, which costs signSGD its convergence with small batches.
    """

    lr: Rate
    beta: Decay = 0.9

    def prepare(h, t: int) -> Slots:
        return (1 - h.beta,)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        m = h.beta * s[0] + c[0] * g
        return w - h.lr * np.sign(m), (m,)

    # A mean keeps its sign for ever if beta > 1 / 2: it is rounded to the smallest float, not to zero.
    def lift(h, w: Value, s: Slots) -> Slots:
        return s[0], np.where(np.abs(s[0]) > 0, np.where(h.beta > 0.5, np.sign(s[0]), np.nan), 0.0)

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        return w - h.lr * y[1], (h.beta * y[0], y[1])

    def lower(h, s: Slots, y: Slots) -> Slots:
        return (np.where(np.abs(y[0]) > SMALLEST_FLOAT32, y[0], SMALLEST_FLOAT32 * np.sign(s[0])),)


@optimizer(
    name="lion",
    slots=("mean",),
    family="sign",
    witness="optax.lion",
    reference="Chen et al. (2023), https://arxiv.org/abs/2302.06675",
)
class Lion(NamedTuple):
    """Lion: `w -= lr (sign(beta1 m + (1 - beta1) g) + weight_decay w); m = beta2 m + (1 - beta2) g`.

    The step weighs the newest gradient more than the average that is kept. The paper advises rates 3 to 10 times
    smaller than AdamW's, and a decay larger by as much. The decay is not part of the objective that is reported.
    """

    lr: Rate
    beta1: Decay = 0.9
    beta2: Decay = 0.99
    weight_decay: NonNegative = 1e-3

    def prepare(h, t: int) -> Slots:
        return 1 - h.beta1, 1 - h.beta2

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        direction = np.sign(h.beta1 * s[0] + c[0] * g)
        m = h.beta2 * s[0] + c[1] * g
        w = w - h.lr * h.weight_decay * w
        return w - h.lr * direction, (m,)

    # A mean keeps its sign for ever if beta > 1 / 2: it is rounded to the smallest float, not to zero.
    def lift(h, w: Value, s: Slots) -> Slots:
        return s[0], np.where(np.abs(s[0]) > 0, np.where(h.beta2 > 0.5, np.sign(s[0]), np.nan), 0.0)

    def coast(h, c: Slots, w: Value, y: Slots) -> Step:
        w = w - h.lr * h.weight_decay * w
        return w - h.lr * np.sign(h.beta1) * y[1], (h.beta2 * y[0], y[1])

    def lower(h, s: Slots, y: Slots) -> Slots:
        return (np.where(np.abs(y[0]) > SMALLEST_FLOAT32, y[0], SMALLEST_FLOAT32 * np.sign(s[0])),)
