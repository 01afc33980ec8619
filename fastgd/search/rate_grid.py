"""Which learning rates a search tries next, from a coarse grid to the two neighbours of the best rate."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fastgd.common.errors import InputError

LEAST_FACTOR, MOST_FACTOR, FEWEST_POINTS, MOST_POINTS = 1.01, 1e6, 3, 1_000
LEAST_RATE, MOST_RATE = 1e-100, 1e100  # of a first grid and of range tests; their ratios do not overflow
REACH = 1e6  # how far beyond an end of the first grid a search may go
FLAT = 0.05  # a rate is about as good as the best one if it loses at most this share of what that one gained


@dataclass(frozen=True)
class RateGrid:
    """The first grid of a search, and how fine its last one is to be.

    Attributes
    ----------
    low, high : float
        The ends of the first grid.
    points : int
        Its number of rates. A finer grid has as many, of which the two ends and the middle have been tried before.
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
        """Return five rates around one, close enough to bracket it if it is the best of them."""
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
        """Return how many rates a search is expected to try, if the best rate lies inside the first grid.

        The first number counts the rates of a search from the first grid on. The second counts the rates around the
        best one that get the whole budget after a search with a part of it.
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
        """Return rates beyond the last of those in `towards`, at ratios that begin with that of the last two.

        The ratios grow up to that of the first grid, or to `factor`, so that few rounds lead far out of a narrow grid.
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
    """Return what is wrong with the ends of a range of rates, or an empty text."""
    if not 0 < low < high < math.inf:
        return "0 < low < high must hold"
    if not LEAST_RATE <= low < high <= MOST_RATE:
        return f"both must be from {LEAST_RATE:g} to {MOST_RATE:g}"
    return f"high must be at least {LEAST_FACTOR} low" if high < LEAST_FACTOR * low else ""


def best_rate(tried: Mapping[float, float]) -> float | None:
    """Return the rate with the least loss, the lowest one of equals; None if every trial diverged."""
    rate = min(sorted(tried), key=lambda rate: tried[rate])
    return rate if tried[rate] < math.inf else None


def neighbours(tried: Iterable[float], rate: float) -> tuple[float, float]:
    """Return the next lower and the next higher rate that was tried; 0 or infinity where there is none."""
    below, above = [r for r in tried if r < rate], [r for r in tried if r > rate]
    return max(below, default=0.0), min(above, default=math.inf)


def excess(tried: Mapping[float, float], start: float) -> dict[float, float]:
    """Return by how much each loss exceeds the least one, as a share of what the best rate gained since the start.

    Parameters
    ----------
    tried : mapping of float to float
        The loss at each rate, after the same budget.
    start : float
        The loss before the first step. Where the best rate gained nothing, each higher loss is infinitely worse.
    """
    least = min(tried.values())
    gained = start - least if math.isfinite(start) and math.isfinite(least) else 0.0
    excesses = {}
    for rate, loss in tried.items():
        above = loss - least if loss < math.inf else math.inf
        excesses[rate] = 0.0 if above == 0 else above / gained if gained > 0 else math.inf
    return excesses


def flat_range(excesses: Mapping[float, float], best: float) -> tuple[float, float]:
    """Return the ends of the range around the best rate in which every rate that was tried is about as good."""
    rates = sorted(excesses)
    low = high = rates.index(best)
    while low > 0 and excesses[rates[low - 1]] <= FLAT:
        low -= 1
    while high + 1 < len(rates) and excesses[rates[high + 1]] <= FLAT:
        high += 1
    return rates[low], rates[high]


def _tidy(rates: Iterable[float]) -> list[float]:
    """Return rates with six digits, which are readable in a study file and the same on every machine."""
    return [float(f"{rate:.6g}") for rate in rates]
