"""Which learning rates to try next: from a coarse grid to the two neighbours of the best rate, in pure numbers."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fastgd.common.errors import InputError

LEAST_FACTOR, MOST_FACTOR, FEWEST_POINTS, MOST_POINTS = 1.01, 1e6, 3, 1_000
LEAST_RATE, MOST_RATE = 1e-100, 1e100  # of a first grid, or a range test: ratios of rates are numbers, too
REACH = 1e6  # how far beyond an end of the first grid a search may go
FLAT = 0.05  # of the way from the best loss to that at the start


@dataclass(frozen=True)
class RateGrid:
    """The first grid of a search, and how fine its last one is to be.

    Attributes
    ----------
    low, high : float
        The ends of the first grid.
    points : int
        Its number of rates; a finer grid has as many, its ends and its middle included, which are known already.
    factor : float
        The search ends where the rates next to the best one are at most this ratio apart.

    Raises
    ------
    InputError
        One of them makes no grid.
    """

    low: float
    high: float
    points: int = 9
    factor: float = 1.3

    def __post_init__(self) -> None:
        if fault := range_fault(self.low, self.high):
            raise InputError(f"rates from {self.low:g} to {self.high:g} are no grid: {fault}")
        if self.points < FEWEST_POINTS:
            raise InputError(f"points must be at least {FEWEST_POINTS}, found {self.points}")
        if self.points > MOST_POINTS:
            raise InputError(f"points must be at most {MOST_POINTS:,}, found {self.points:,}")
        if not LEAST_FACTOR <= self.factor <= MOST_FACTOR:
            raise InputError(
                f"factor must be at least {LEAST_FACTOR} and at most {MOST_FACTOR:g}, found {self.factor:g}"
            )

    @property
    def step(self) -> float:
        """The ratio of neighbours in the first grid."""
        return float((self.high / self.low) ** (1 / (self.points - 1)))

    def first(self) -> list[float]:
        """Return the rates of the first grid."""
        inner = np.geomspace(self.low, self.high, self.points)[1:-1]
        return [self.low, *_tidy(inner), self.high]

    def around(self, rate: float) -> list[float]:
        """Return five rates about one, so close that it is bracketed if it is the best of them."""
        return _tidy(rate * self.factor ** (k / 2) for k in range(-2, 3))

    def after(self, tried: Mapping[float, float]) -> list[float]:
        """Return the rates to try next; none where the search is over.

        Parameters
        ----------
        tried : mapping of float to float
            The loss at each rate so far; infinite where the trial diverged.
        """
        rates = sorted(tried)
        best = best_rate(tried)
        if best is None or best == rates[0]:  # where every rate diverged, a smaller one may not
            return self._beyond(rates[::-1], up=False)
        if best == rates[-1]:
            return self._beyond(rates, up=True)
        low, high = neighbours(tried, best)
        if high / low <= self.factor * (1 + 1e-4):
            return []
        needed = math.ceil(math.log(high / low) / math.log(self.factor) - 1e-3) - 1
        inner = max(1, min(needed, (self.points - 3) // 2))
        return _tidy(rate for ends in ((low, best), (best, high)) for rate in np.geomspace(*ends, inner + 2)[1:-1])

    def foreseen(self) -> tuple[int, int]:
        """Return how many rates a search tries where the best one lies inside: from the first grid, and about the best.

        The second are those that have the whole budget, after a search with a part of it.
        """
        best = math.sqrt(self.low * self.high) * self.step**0.25
        return self._tries(self.first(), best), self._tries(self.around(best), best)

    def _tries(self, rates: list[float], best: float) -> int:
        tried: dict[float, float] = {}
        while rates:
            tried |= {rate: abs(math.log(rate / best)) for rate in rates}
            rates = self.after(tried)
        return len(tried)

    def _beyond(self, towards: list[float], up: bool) -> list[float]:
        """Rates beyond the last one: as far apart as the last two, in steps that grow.

        They grow to those of the first grid, or to the factor: a narrow grid is left in few rounds.
        """
        rate = towards[-1]
        ratio = max(towards[-2:]) / min(towards[-2:]) if len(towards) > 1 else self.step
        ratio = self.step if math.isclose(ratio, self.step, rel_tol=1e-3) else ratio
        found = []
        for _ in range(max(1, (self.points - 1) // 2)):
            rate = rate * ratio if up else rate / ratio
            if not self.low / REACH * 0.999 <= rate <= self.high * REACH * 1.001:
                break
            found.append(rate)
            ratio = min(ratio**2, max(self.step, ratio, self.factor))
        return _tidy(found)


def range_fault(low: float, high: float) -> str:
    """Say what is wrong with the ends of a range of rates; empty: nothing."""
    if not 0 < low < high < math.inf:
        return "0 < low < high must hold"
    if not LEAST_RATE <= low < high <= MOST_RATE:
        return f"both must be from {LEAST_RATE:g} to {MOST_RATE:g}"
    return f"high must be at least {LEAST_FACTOR} low" if high < LEAST_FACTOR * low else ""


def best_rate(tried: Mapping[float, float]) -> float | None:
    """Return the rate of the least loss, the lowest of equals; None where every one diverged."""
    rate = min(sorted(tried), key=lambda rate: tried[rate])
    return rate if tried[rate] < math.inf else None


def neighbours(tried: Iterable[float], rate: float) -> tuple[float, float]:
    """Return the rates next to one among those tried: 0 or infinity, where it is at an end."""
    below, above = [r for r in tried if r < rate], [r for r in tried if r > rate]
    return max(below, default=0.0), min(above, default=math.inf)


def excess(tried: Mapping[float, float], start: float) -> dict[float, float]:
    """Return by how much each loss is above the least one, as a share of what the best rate gained from the start on.

    Parameters
    ----------
    tried : mapping of float to float
        The loss at each rate, after the same budget.
    start : float
        The loss before the first step. Where the best rate gained nothing, each higher loss is infinitely worse.
    """
    least = min(tried.values())
    gained = start - least if math.isfinite(start) and math.isfinite(least) else 0.0
    shares = {}
    for rate, loss in tried.items():
        above = loss - least if loss < math.inf else math.inf
        shares[rate] = 0.0 if above == 0 else above / gained if gained > 0 else math.inf
    return shares


def flat_range(shares: Mapping[float, float], best: float) -> tuple[float, float]:
    """Return the lowest and highest rate of those about the best one that are all less than `FLAT` worse."""
    rates = sorted(shares)
    low = high = rates.index(best)
    while low > 0 and shares[rates[low - 1]] <= FLAT:
        low -= 1
    while high + 1 < len(rates) and shares[rates[high + 1]] <= FLAT:
        high += 1
    return rates[low], rates[high]


def _tidy(rates: Iterable[float]) -> list[float]:
    """Rates that are readable in a study file, and the same on every machine."""
    return [float(f"{rate:.6g}") for rate in rates]
