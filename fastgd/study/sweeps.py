"""What a learning-rate range test shows: loss against a rate that grew, and the rates that stand out. Without Numba."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd._errors import InputError
from fastgd.analysis import Results, with_methods

Array = NDArray[np.float64]
POINTS = 400  # of the common grid of rates
# The loss lags behind the rate: when it is least, the rate is too large already. A tenth is fast.ai's rule, and lies in
# the flat range that `fastgd tune` finds, for every optimizer of studies/first, flights and ill_conditioned.
SUGGESTED = 0.1
WIDTH = 0.1  # decades: the standard deviation of the smoothing


@dataclass(frozen=True)
class Sweep:
    """One configuration's loss along a rate that grew: the median over its seeds.

    Attributes
    ----------
    configuration : dict
        Its columns of `Results.best`, and `method`.
    rates : ndarray (k,)
        Equally spaced on a logarithmic axis.
    loss : ndarray (k,)
        As recorded; infinite from where the median seed diverged.
    smooth : ndarray (k,)
        The same, averaged over neighbouring rates.
    start : float
        The loss before the first step.
    """

    configuration: dict[str, Any]
    rates: Array
    loss: Array
    smooth: Array
    start: float

    @property
    def least(self) -> float:
        """The rate of the least smoothed loss; NaN where it never fell below the start's."""
        return self._rate(self._least)

    @property
    def steepest(self) -> float:
        """The rate at which the smoothed loss falls most within a factor of the rate, before it is least."""
        if self._least is None:
            return math.nan
        return self._rate(int(np.argmin(np.diff(self.smooth[: self._least + 1]))) + 1)

    @property
    def blow_up(self) -> float:
        """The first rate above that of the least loss at which the loss is above the start's; NaN where there is none."""
        first = self._least or 0
        above = np.flatnonzero(self.loss[first:] > self.start)
        return self._rate(first + int(above[0]) if len(above) else None)

    @property
    def suggestion(self) -> float:
        """The rate to try: a tenth of that of the least loss."""
        return self.least * SUGGESTED

    @property
    def _least(self) -> int | None:
        place = int(np.argmin(self.smooth))
        return place if place and self.smooth[place] < self.start else None

    def _rate(self, place: int | None) -> float:
        return math.nan if place is None else float(f"{self.rates[place]:.4g}")


def sweeps_of(results: Results, by: str | None = None) -> list[Sweep]:
    """Return the sweeps of a range test, those of one problem and optimizer the lowest first.

    Raises
    ------
    InputError
        The results hold no sweep: no rate grew during a trial.
    """
    metric = results.metric(by)
    ranking = with_methods(results.best(by).astype({"variant": object}))
    if ranking.empty:
        raise InputError(f"{results.path} holds no trials of its study yet: there is nothing to draw")
    found = list(_sweeps(results, ranking, metric))
    if not found:
        raise InputError(f"no rate grew in the study of {results.path}: `fastgd tune STUDY.toml --range-test` makes one")
    return sorted(found, key=lambda sweep: (str(sweep.configuration["problem"]), float(np.min(sweep.smooth))))


def _sweeps(results: Results, ranking: pd.DataFrame, metric: str) -> Iterator[Sweep]:
    # on landscapes the trials of a configuration are told apart by their starts
    start = [name for name in ("start",) if name in results.curves]
    curves = results.curves[["trial_id", *start, "step", "lr", metric]].sort_values(["trial_id", *start, "step"])
    by_trial = dict(iter(curves.groupby("trial_id", sort=False, observed=True)))
    for configuration in ranking.to_dict("records"):
        trials = [by_trial[trial] for trial in dict.fromkeys(results.seeds_of(configuration["trial_id"]))]
        seeds = [own for trial in trials for own in ([group for _, group in trial.groupby("start")] if start else [trial])]
        low, high = min(own["lr"].min() for own in seeds), max(own["lr"].max() for own in seeds)
        if low > 0 and high > 1.5 * low and all(own["lr"].is_monotonic_increasing for own in seeds):
            rates = np.geomspace(low, high, POINTS)
            loss = np.median([_resampled(own, metric, rates) for own in seeds], axis=0)
            before = float(np.median([own[metric].iloc[0] for own in seeds]))
            about = {str(name): value for name, value in configuration.items()}
            yield Sweep(about, rates, loss, _smoothed(loss, rates, before), before)


def _resampled(curve: pd.DataFrame, metric: str, rates: Array) -> Array:
    """A trial's loss at common rates; infinite beyond its end."""
    after = curve.iloc[1:]  # the first row is the start, before any step
    loss = after[metric].fillna(np.inf).to_numpy()
    lr = np.log(after["lr"].to_numpy())
    known = np.isfinite(loss)
    if not known.any():
        return np.full(len(rates), np.inf)
    values = np.interp(np.log(rates), lr[known], loss[known])
    values[np.log(rates) > lr[known][-1] + 1e-9] = np.inf
    return np.asarray(values)


def _smoothed(loss: Array, rates: Array, start: float) -> Array:
    """Averages over neighbouring rates, in which a loss above twice the start's counts as that."""
    capped = np.minimum(loss, start + abs(start))
    spacing = math.log10(rates[1] / rates[0])
    reach = math.ceil(3 * WIDTH / spacing)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) * spacing / WIDTH) ** 2)
    padded = np.pad(capped, reach, mode="edge")
    return np.asarray(np.convolve(padded, weights / weights.sum(), mode="valid"))
