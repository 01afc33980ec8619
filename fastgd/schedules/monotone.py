"""Schedules that fall (or rise) from `start` to an end, piece by piece or as a whole, and the constant one."""

# ruff: noqa: D102, ARG002 (each class's docstring is its equation; every schedule takes the same arguments)

import itertools
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge

from fastgd.common.numbers import number
from fastgd.schedules.record import Index, NonNegative, Positive, schedule

Places = tuple[NonNegative, ...]


def rising(places: Places) -> bool:
    """Whether each number is greater than the one before."""
    return all(a < b for a, b in itertools.pairwise(places))


def _beyond(what: str, places: Places, count: int) -> str:
    """Say which places the first `count` indices do not reach."""
    late = [place for place in places if place > count - 1]
    subject, verb = (f"{what}s", "are") if len(late) > 1 else (what, "is")
    return f"its {subject} at {', '.join(map(number, late))} {verb} never reached" if late else ""


@schedule("constant", witness="torch.optim.lr_scheduler.ConstantLR")
class Constant(NamedTuple):
    """Constant: `value`; without it the rate as it stands.

    `value` is 1 unless it is given. The yardstick: a study of schedules should have it as one of its alternatives.
    """

    value: NonNegative | None = None

    def factors(self, i: Index, span: int) -> Index:
        return np.full_like(i, 1.0 if self.value is None else self.value)


@schedule("linear", witness="torch.optim.lr_scheduler.LinearLR", example={"final": 0.1})
class Linear(NamedTuple):
    """Linear: `start + (final - start) i / end`.

    The defaults fall from the rate to 0. Use it where the budget is known in advance: with the end at 0 it is hard to
    beat for stochastic gradients (Defazio et al. 2023, https://arxiv.org/abs/2310.07831).
    """

    final: NonNegative = 0.0
    start: NonNegative = 1.0

    def factors(self, i: Index, span: int) -> Index:
        share = i / span
        return self.start * (1 - share) + self.final * share  # both ends are exact


@schedule("polynomial", witness="torch.optim.lr_scheduler.PolynomialLR", example={"power": 2.0})
class Polynomial(NamedTuple):
    """Polynomial: `final + (start - final) (1 - i / end)^power`.

    `power = 1`, PyTorch's default, is linear; 0.9 is usual in segmentation (Chen et al. 2017,
    https://arxiv.org/abs/1606.00915). A power above 1 spends more of the budget at low rates.
    """

    power: Positive = 1.0
    final: NonNegative = 0.0
    start: NonNegative = 1.0

    def factors(self, i: Index, span: int) -> Index:
        return self.final + (self.start - self.final) * np.maximum(1 - i / span, 0.0) ** self.power


@schedule(
    "exponential",
    witness="torch.optim.lr_scheduler.ExponentialLR",
    one_of=("gamma", "final", "k"),
    example={"final": 0.01},
)
class Exponential(NamedTuple):
    """Exponential: `start gamma^i`, or by its end `start (final / start)^(i / end)`, or `start exp(-k i)` at index i.

    Exactly one of `gamma` (from one epoch to the next), `final` (the value at the end) and `k` (the exponent) is given.
    By its end it spends the same time in every decade of rates: a way to look for a good one.
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


@schedule("step", witness="torch.optim.lr_scheduler.StepLR", example={"every": 25.0})
class Step(NamedTuple):
    """Step drop: `start factor^floor(i / every)`; `every = 5, factor = 0.5` halves every 5 epochs.

    Use it where the rate should stay at a level until progress there is exhausted, and when that is, is known.
    """

    every: Annotated[float, Ge(1)]
    factor: Positive = 0.5
    start: Positive = 1.0

    def factors(self, i: Index, span: int) -> Index:
        return self.start * self.factor ** np.floor(i / self.every)

    def unreached(self, count: int) -> str:
        return f"its first drop, at {number(self.every)}, never comes" if count <= self.every else ""


@schedule("multistep", witness="torch.optim.lr_scheduler.MultiStepLR", example={"milestones": (50.0, 75.0)})
class MultiStep(NamedTuple):
    """Drops at milestones: `start factor^(number of milestones <= i)`.

    `milestones` is one list of rising indices (a list of such lists makes several schedules); `factor` is PyTorch's.
    The classic recipe of image classifiers drops at 50 % and 75 % of the budget (He et al. 2016,
    https://arxiv.org/abs/1512.03385).
    """

    milestones: Places
    factor: Positive = 0.1
    start: Positive = 1.0

    def fault(self) -> str:
        return "" if rising(self.milestones) else "milestones must rise"

    def factors(self, i: Index, span: int) -> Index:
        return self.start * self.factor ** np.searchsorted(self.milestones, i, side="right").astype(np.float64)

    def unreached(self, count: int) -> str:
        return _beyond("milestone", self.milestones, count)


@schedule(
    "piecewise",
    witness="optax.schedules.piecewise_interpolate_schedule",
    example={"at": (0.0, 20.0, 60.0, 90.0), "values": (0.2, 1.0, 0.3, 0.05), "form": "linear"},
)
class Piecewise(NamedTuple):
    """Any shape by points: `values[j]` from the index `at[j]` on; `form` says how it goes from point to point.

    `form`: "constant" (optax's `piecewise_constant_schedule`), "linear" or "cosine". Before the first point it has the
    first value, after the last one the last. Lists of lists make several schedules. Use it for a schedule that has no
    name here.
    """

    at: Places
    values: Places
    form: Literal["constant", "linear", "cosine"] = "constant"

    def fault(self) -> str:
        if len(self.at) != len(self.values):
            return f"at and values must have the same length; they have {len(self.at)} and {len(self.values)}"
        return "" if rising(self.at) else "at must rise"

    def unreached(self, count: int) -> str:
        return _beyond("point", self.at, count)

    def factors(self, i: Index, span: int) -> Index:
        at, values = np.array(self.at), np.array(self.values)
        here = np.maximum(np.searchsorted(at, i, side="right") - 1, 0)
        if self.form == "constant":
            return np.asarray(values[here])
        then = np.minimum(here + 1, len(at) - 1)
        share = np.clip((i - at[here]) / np.maximum(at[then] - at[here], 1e-300), 0.0, 1.0)
        if self.form == "cosine":
            share = 0.5 * (1 - np.cos(np.pi * share))
        return np.asarray(values[here] * (1 - share) + values[then] * share)
