"""Schedules that fall with a power of time: those of the theory of stochastic gradients."""

# ruff: noqa: D102, ARG002 (each class's docstring is its equation; every schedule takes the same arguments)

from typing import NamedTuple

import numpy as np

from fastgd.schedules.record import Index, NonNegative, Positive, schedule


@schedule(
    "inverse_time",
    witness="Robbins & Monro (1951)",
    reference="https://doi.org/10.1214/aoms/1177729586",
    example={"k": 0.1},
)
class InverseTime(NamedTuple):
    """1/t: `start / (1 + k i)`.

    `k` has no default: 1/k is the number of epochs after which the rate has halved. The sum of the rates diverges and
    that of their squares does not, which is what stochastic gradients need to converge.
    """

    k: NonNegative
    start: NonNegative = 1.0

    def factors(self, i: Index, span: int) -> Index:
        return self.start / (1 + self.k * i)


@schedule(
    "inverse_sqrt",
    witness="transformers.get_inverse_sqrt_schedule",
    reference="Vaswani et al. (2017), https://arxiv.org/abs/1706.03762",
    per="step",
    example={"timescale": 5.0},
)
class InverseSqrt(NamedTuple):
    """Inverse square root: `start / sqrt(1 + i / timescale)`.

    10,000 is the witness's default. After `warmup` over `timescale` steps it is the schedule of the first
    transformers, `min(t / w, sqrt(w / t))`. It needs no budget: training can go on for as long as it helps.
    """

    timescale: Positive = 10_000.0
    start: NonNegative = 1.0

    def factors(self, i: Index, span: int) -> Index:
        return self.start / np.sqrt(1 + i / self.timescale)


@schedule(
    "invscaling",
    witness='sklearn.linear_model.SGDRegressor(learning_rate="invscaling")',
    reference="https://scikit-learn.org/stable/modules/sgd.html",
    per="step",
)
class InvScaling(NamedTuple):
    """scikit-learn's inverse scaling: `start / (i + 1)^power`.

    The optimizer's rate is scikit-learn's `eta0`, and `power` its `power_t`: 0.25 in SGDRegressor, whose default this
    schedule is, and 0.5 in SGDClassifier. scikit-learn's steps are batches of one row.
    """

    power: NonNegative = 0.25
    start: NonNegative = 1.0

    def factors(self, i: Index, span: int) -> Index:
        return self.start / (i + 1) ** self.power


@schedule(
    "optimal",
    witness='sklearn.linear_model.SGDClassifier(learning_rate="optimal")',
    reference="Bottou (2012), https://doi.org/10.1007/978-3-642-35289-8_25",
    per="step",
    example={"alpha": 0.05},
)
class Optimal(NamedTuple):
    """scikit-learn's default for classifiers: `1 / (alpha (t0 + i))`.

    The witness's rate has no factor to tune. Here, as for every schedule, the formula multiplies the optimizer's `lr`:
    with `lr = 1` the rate is scikit-learn's, and a grid of `lr` tells whether a multiple of it does better. `alpha` is
    the penalty's strength (scikit-learn's default 1e-4): use the problem's `l2`. `t0` is by default Bottou's
    `alpha^(-3/4)`, so that the first rate is `alpha^(-1/4)`: the size that the weights are expected to have.
    """

    alpha: Positive = 1e-4
    t0: Positive | None = None

    def factors(self, i: Index, span: int) -> Index:
        t0 = self.alpha**-0.75 if self.t0 is None else self.t0
        return 1 / (self.alpha * (t0 + i))


@schedule(
    "pegasos",
    witness="Shalev-Shwartz et al. (2011), figure 1",
    reference="https://doi.org/10.1007/s10107-010-0420-4",
    per="step",
    example={"alpha": 0.2},
)
class Pegasos(NamedTuple):
    """Pegasos: `1 / (alpha (i + 1))`.

    The paper's rate has no factor to tune. Here it multiplies the optimizer's `lr`: `lr = 1` is the paper's. `alpha` is
    its lambda, the penalty's strength, and has no default: use the problem's `l2`. For a hinge loss with a penalty; the
    first steps are long (1 / alpha), so compare losses at the end only.
    """

    alpha: Positive

    def factors(self, i: Index, span: int) -> Index:
        return 1 / (self.alpha * (i + 1))
