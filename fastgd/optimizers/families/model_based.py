"""Rules that solve a model of the objective, which needs its value: Polyak's step and its momentum forms."""

from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Gt

from fastgd.core.math import hypot, power, root, squares
from fastgd.optimizers.record import Decay, NonNegative, Rate, Slots, Step, Value, optimizer

ZERO_SQUARED_NORM = float(np.finfo(float).eps)  # a squared norm of at most this is a zero gradient, as in optax


@optimizer(
    name="polyak",
    memory={"first_gap": 0.0, "sum_of_gaps": 0.0, "step": 0.0},
    batch_loss=True,
    family="model-based",
    witness="optax.polyak_sgd",
    reference=(
        "Polyak (1987); Loizou et al. (2021), https://arxiv.org/abs/2002.10542; "
        "AdaSPS: Jiang & Stich (2023), https://arxiv.org/abs/2308.06058"
    ),
)
class Polyak(NamedTuple):
    """Polyak's step, no longer than a maximal rate: `w -= lr min((f - optimum) / (|g|^2 + eps), max_lr) g`.

    f is the objective of the batch, with the penalty, and `optimum` its least value, or a bound below it: 0 suits a
    model that fits every batch. `form = "sps+"` takes the positive part of `f - optimum`, where "sps" climbs if f is
    below the value given. Both stay at a distance from the solution where `optimum` is not the batches' least value:
    for that, `form = "adasps"` takes `optimum` as a bound only (0 is one for every loss here without negative values)
    and lets steps shrink by the gaps so far, `step = min((f - optimum) / |g|^2 sqrt(gap_1 / sum of gaps), last step)`:
    long steps as long as the gaps fall quickly, else as in AdaGrad. `gap_1` is the first gap above 0: this constant of
    the paper's is chosen so that the first step is Polyak's own, at most `max_lr`.

    `lr` is a factor, and what a schedule multiplies: as optax's text has it, whose code divides by it instead (the norm
    there is that of the scaled gradient). The defaults are optax's. Use it with full batches and a known optimum, or
    for models that interpolate; with "adasps" if nothing is known.
    """

    lr: Rate = 1.0
    max_lr: Rate = 1.0
    optimum: float = 0.0
    eps: NonNegative = 0.0
    form: Literal["sps", "sps+", "adasps"] = "sps"

    def measure(h, c: Slots, w: Value, g: Value, s: Slots) -> Slots:
        return squares(g)

    def conclude(h, c: Slots, t: int, m: Slots, sums: Slots, loss: Value) -> tuple[Slots, Slots]:
        norm = hypot(root(sums), np.sqrt(h.eps))
        still = norm * norm <= ZERO_SQUARED_NORM
        norm = np.where(still, 1.0, norm)
        if h.form == "sps":
            return (h.lr * np.where(still, 0.0, np.minimum((loss - h.optimum) / norm / norm, h.max_lr)),), m
        gap = np.maximum(loss - h.optimum, 0)
        if h.form == "sps+":
            return (h.lr * np.where(still, 0.0, np.minimum(gap / norm / norm, h.max_lr)),), m
        first, total = np.where(m[0] > 0, m[0], gap), m[1] + gap
        last = h.max_lr if t == 1 else m[2]
        step = np.minimum(gap / norm / norm * np.sqrt(first / np.where(total > 0, total, 1.0)), last)
        # A batch whose gradient is zero must not limit the next steps.
        return (h.lr * np.where(still, 0.0, step),), (first, total, np.where(still, last, step))

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        return w - c[0] * g, s


@optimizer(
    name="momo",
    slots=("mean",),
    memory={"objective": 0.0, "product": 0.0, "bound": 0.0},
    batch_loss=True,
    family="model-based",
    witness="optax.contrib.momo",
    reference="Schaipp, Ohana, Eickenberg, Defazio & Gower (2024), https://arxiv.org/abs/2305.07583",
)
class MoMo(NamedTuple):
    """MoMo, momentum with a Polyak step: `w -= min(lr, max(a(f) - lower_bound - a(<g, w>) + <d, w>, 0) / |d|^2) d`.

    `a(x) = beta a(x) + (1 - beta) x` is the average of the batches so far, which starts as the first; `d = a(g)`. So
    the averaged tangents of the objective (with its penalty) make a model, and the step goes to where the model
    reaches the bound, at a rate of at most `lr`. `adapt_lower_bound` estimates the least value from the steps and never
    goes below `lower_bound`: for objectives whose least value is well above the bound.

    The decay divides: `w / (1 + lr weight_decay)` before the step, and the model is that of the decayed parameters.
    As in optax the step itself is not divided, where the authors' own code divides it too. An intercept does not
    decay. Defaults are optax's. Use it as a momentum whose rate may be chosen too large.
    """

    lr: Rate = 1.0
    beta: Decay = 0.9
    lower_bound: float = 0.0
    weight_decay: NonNegative = 0.0
    adapt_lower_bound: bool = False

    def prepare(h, t: int, m: Slots) -> tuple[Slots, Slots]:
        beta = h.beta * 0 if t == 1 else h.beta
        return (beta, 1 - beta), m

    def measure(h, c: Slots, w: Value, g: Value, s: Slots) -> Slots:
        d = c[0] * s[0] + c[1] * g
        shrink = 1 / (1 + h.lr * h.weight_decay)  # of this parameter: 1 for an intercept
        return (g * w, d * w, shrink * d * w, *squares(d), *squares(np.sqrt(shrink) * d))

    def conclude(h, c: Slots, t: int, m: Slots, sums: Slots, loss: Value) -> tuple[Slots, Slots]:
        beta, along, along_decayed = c[0], sums[1], sums[2]
        norm, norm_decayed = root(sums[3:6]), root(sums[6:])
        objective = beta * m[0] + c[1] * loss
        product = beta * m[1] + c[1] * sums[0]
        bound = h.lower_bound if t == 1 else m[2]
        model = objective - product + along_decayed
        if h.adapt_lower_bound:
            bound = np.where(model < bound, np.maximum(model / 2, h.lower_bound), bound)
        still = norm * norm <= ZERO_SQUARED_NORM
        norm_decayed = np.where(still, 1.0, norm_decayed)
        step = np.maximum(model - bound, 0) / norm_decayed / norm_decayed
        step = np.minimum(h.lr, np.where(still, 0.0, step))
        if h.adapt_lower_bound:
            reached = np.maximum(objective - product + along - step * norm * norm / 2, h.lower_bound)
            bound = np.where(h.lr > 0, reached, bound)  # a step that is not taken reaches nothing
        return (beta, c[1], step), (objective, product, bound)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        d = c[0] * s[0] + c[1] * g
        decay = h.lr * h.weight_decay
        return w - decay / (1 + decay) * w - c[2] * d, (d,)


@optimizer(
    name="momo_adam",
    slots=("mean", "mean_square"),
    memory={"objective": 0.0, "product": 0.0, "bound": 0.0},
    batch_loss=True,
    family="model-based",
    witness="optax.contrib.momo_adam",
    reference="Schaipp, Ohana, Eickenberg, Defazio & Gower (2024), https://arxiv.org/abs/2305.07583",
)
class MoMoAdam(NamedTuple):
    """MoMo-Adam, Adam with a Polyak step: `w -= min(lr / b, max(a(f) - b bound - a(<g, w>) + <d, w>, 0) / n) d / p`.

    `a(x) = beta1 a(x) + (1 - beta1) x` from 0, for which `b = 1 - beta1^t` corrects; `d = a(g)`, `p = eps + sqrt(v^)`
    of Adam, `n = sum of d^2 / p`, and the bound is `lower_bound`. At the rate `lr` the steps are Adam's; they are
    shorter where the model of the objective, made of averaged tangents, reaches the bound sooner. `adapt_lower_bound`
    and the decay are those of `momo`. Defaults are optax's. Use it as an Adam whose rate may be chosen too large.
    """

    lr: Rate = 1e-2
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: Annotated[float, Gt(0)] = 1e-8  # with 0, a parameter that has had no gradient would become 0 / 0
    lower_bound: float = 0.0
    weight_decay: NonNegative = 0.0
    adapt_lower_bound: bool = False

    def prepare(h, t: int, m: Slots) -> tuple[Slots, Slots]:
        return (1 - power(h.beta1, t), 1 / (1 - power(h.beta2, t)), 1 - h.beta1, 1 - h.beta2), m

    def measure(h, c: Slots, w: Value, g: Value, s: Slots) -> Slots:
        d = h.beta1 * s[0] + c[2] * g
        v = h.beta2 * s[1] + c[3] * g * g
        square = d * d / (h.eps + np.sqrt(v * c[1]))
        shrink = 1 / (1 + h.lr * h.weight_decay)  # of this parameter: 1 for an intercept
        return g * w, d * w, square, shrink * d * w, shrink * square

    def conclude(h, c: Slots, t: int, m: Slots, sums: Slots, loss: Value) -> tuple[Slots, Slots]:
        b, along, norm, along_decayed, norm_decayed = c[0], sums[1], sums[2], sums[3], sums[4]
        objective = h.beta1 * m[0] + c[2] * loss
        product = h.beta1 * m[1] + c[2] * sums[0]
        bound = h.lower_bound if t == 1 else m[2]
        model = objective - product + along_decayed
        if h.adapt_lower_bound:
            bound = np.where(model < b * bound, np.maximum(model / (2 * b), h.lower_bound), bound)
        still = norm <= ZERO_SQUARED_NORM
        step = np.maximum(model - b * bound, 0) / np.where(still, 1.0, norm_decayed)
        step = np.minimum(h.lr / b, np.where(still, 0.0, step))
        if h.adapt_lower_bound:
            reached = np.maximum((objective - product + along - step * norm / 2) / b, h.lower_bound)
            bound = np.where(h.lr > 0, reached, bound)  # a step that is not taken reaches nothing
        return (c[1], step, c[2], c[3]), (objective, product, bound)

    def rule(h, c: Slots, w: Value, g: Value, s: Slots) -> Step:
        d = h.beta1 * s[0] + c[2] * g
        v = h.beta2 * s[1] + c[3] * g * g
        decay = h.lr * h.weight_decay
        return w - decay / (1 + decay) * w - c[1] * d / (h.eps + np.sqrt(v * c[0])), (d, v)
