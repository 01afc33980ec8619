"""Cosine annealing: once, with dips, and with restarts."""

# ruff: noqa: D102, ARG002 (each class's docstring is its equation; every schedule takes the same arguments)

from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from fastgd.common.numbers import number
from fastgd.schedules.record import Index, NonNegative, Positive, schedule


@schedule(
    "cosine",
    witness="torch.optim.lr_scheduler.CosineAnnealingLR",
    reference="Loshchilov & Hutter (2017), https://arxiv.org/abs/1608.03983",
    example={"dips": 2.0},
)
class Cosine(NamedTuple):
    """Cosine annealing: `final + (start - final) (1 + cos(pi i / Tmax)) / 2`, `Tmax = end / (2 dips - 1)`.

    `dips`, 1 unless it is given, is how often the rate reaches `final`; it ends there with any number of them. One dip
    is the usual choice for a known budget: gentle at both ends, no key that must be tuned. With more, the rate climbs
    back in between, smoothly where `cosine_restarts` jumps.
    """

    final: NonNegative = 0.0
    start: Positive = 1.0
    dips: Annotated[float, Ge(1)] | None = None

    def fault(self) -> str:
        return "" if self.dips is None or self.dips == round(self.dips) else "dips must be a whole number"

    def factors(self, i: Index, span: int) -> Index:
        halves = 2 * (self.dips or 1) - 1
        return self.final + (self.start - self.final) * 0.5 * (1 + np.cos(np.pi * i * halves / span))


@schedule(
    "cosine_restarts",
    witness="torch.optim.lr_scheduler.CosineAnnealingWarmRestarts",
    reference="Loshchilov & Hutter (2017), https://arxiv.org/abs/1608.03983",
    example={"period": 15.0, "growth": 2.0},
)
class CosineRestarts(NamedTuple):
    """SGDR: `final + (start - final) (1 + cos(pi c / p)) / 2`, c indices after the last restart, in a period of p.

    The first period is `period` (no default), each next one `growth` times as long; PyTorch's growth is 1, the paper
    recommends 2. A restart throws the iterate out of a narrow minimum, and the losses just before restarts can be
    compared without knowing the budget.
    """

    period: Annotated[float, Ge(1)]
    growth: Annotated[float, Ge(1)] = 1.0
    final: NonNegative = 0.0
    start: Positive = 1.0

    def factors(self, i: Index, span: int) -> Index:
        if self.growth == 1:
            share = i % self.period / self.period
        else:
            edges = self._restarts(float(i.max(initial=0.0)))
            cycle = np.searchsorted(edges, i, side="right") - 1
            share = (i - edges[cycle]) / (edges[cycle + 1] - edges[cycle])
        return self.final + (self.start - self.final) * 0.5 * (1 + np.cos(np.pi * share))

    def unreached(self, count: int) -> str:
        edges = self._restarts(float(count))
        cycle = int(np.searchsorted(edges, count * (1 + 1e-12), side="right")) - 1
        done, period = count - edges[cycle], edges[cycle + 1] - edges[cycle]
        return f"its last period is cut after {number(done)} of {number(period)}" if done > 1e-9 * period else ""

    def _restarts(self, last: float) -> NDArray[np.float64]:
        """Return 0 and the indices of the restarts, up to the first after the last index."""
        if self.growth == 1:
            return np.asarray(self.period * np.arange(int(last / self.period) + 3), np.float64)
        count = int(np.log1p(last * (self.growth - 1) / self.period) / np.log(self.growth)) + 3
        return np.concatenate([[0.0], np.cumsum(self.period * self.growth ** np.arange(count))])
