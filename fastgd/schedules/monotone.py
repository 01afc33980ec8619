"""Schedules that fall (or rise) from `start` to an end, and the constant one."""

# ruff: noqa: D102, ARG002 (each class's docstring is its equation; every schedule takes the same arguments)

from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from fastgd.schedules._record import schedule

Index = NDArray[np.float64]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]


@schedule("constant", witness="torch.optim.lr_scheduler.ConstantLR(factor=1)")
class Constant(NamedTuple):
    """Constant: the rate as it stands."""

    def factors(self, i: Index, span: int) -> Index:
        return np.ones_like(i)


@schedule("exponential", witness="torch.optim.lr_scheduler.ExponentialLR", one_of=("gamma", "final", "k"))
class Exponential(NamedTuple):
    """Exponential: `start gamma^i`, or by its end `start (final / start)^(i / end)`, or `start exp(-k i)` at index i.

    Exactly one of `gamma` (from one epoch to the next), `final` (the value at the end) and `k` (the exponent) is given.
    """

    gamma: Positive | None = None
    final: Positive | None = None
    k: NonNegative | None = None
    start: Positive = 1.0

    def factors(self, i: Index, span: int) -> Index:
        if self.gamma is not None:
            return self.start * self.gamma**i
        if self.final is not None:
            # the weights, not a power of the ratio, so that both ends are exact
            return self.start ** (1 - i / span) * self.final ** (i / span)
        assert self.k is not None
        return self.start * np.exp(-self.k * i)


@schedule("step", witness="torch.optim.lr_scheduler.StepLR")
class Step(NamedTuple):
    """Step drop: `start factor^floor(i / every)`; `every = 5, factor = 0.5` halves every 5 epochs."""

    every: Annotated[float, Ge(1)]
    factor: Positive = 0.5
    start: Positive = 1.0

    def factors(self, i: Index, span: int) -> Index:
        return self.start * self.factor ** np.floor(i / self.every)


@schedule(
    "cosine",
    witness="torch.optim.lr_scheduler.CosineAnnealingLR",
    reference="Loshchilov & Hutter (2017), https://arxiv.org/abs/1608.03983",
)
class Cosine(NamedTuple):
    """Cosine annealing: `final + (start - final) (1 + cos(pi i / end)) / 2`."""

    final: NonNegative = 0.0
    start: Positive = 1.0

    def factors(self, i: Index, span: int) -> Index:
        return self.final + (self.start - self.final) * 0.5 * (1 + np.cos(np.pi * i / span))
