"""What a range test shows: the loss along a rate that grew, and the rates that stand out. It needs no Numba."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.analysis import Results, with_methods
from fastgd.common.errors import InputError

Array = NDArray[np.float64]
GROWING = "exponential (per=step)"  # the schedule of a range test, by its name in the results
POINTS = 400  # of the common grid of rates
# The loss follows the rate with a delay: when the loss is least, the rate is too large already. A tenth of that rate is
# fast.ai's rule. It lies in the flat range that `fastgd tune` finds for every optimizer of studies/first, flights and
# ill_conditioned.
SUGGESTED = 0.1
RATES = ("suggestion", "steepest", "least", "blow_up")  # those that stand out in a sweep
DECADES = 30  # from this ratio of losses on, they are averaged as logarithms, as plots show them
WIDTH = 0.1  # the standard deviation of the smoothing, in decades of the rate


@dataclass(frozen=True)
class RateSweep:
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
        """The rate at which the smoothed loss is least; NaN if it never fell below the loss at the start."""
        return self._rate(self._least)

    @property
    def steepest(self) -> float:
        """The rate at which the smoothed loss falls fastest along the logarithm of the rate, before it is least."""
        if self._least is None:
            return math.nan
        return self._rate(int(np.argmin(np.diff(self.smooth[: self._least + 1]))) + 1)

    @property
    def blow_up(self) -> float:
        """The first rate above `least` at which the loss exceeds the loss at the start; NaN if there is none."""
        first = self._least or 0
        above = np.flatnonzero(self.loss[first:] > self.start)
        return self._rate(first + int(above[0]) if len(above) else None)

    @property
    def suggestion(self) -> float:
        """The rate to try: a tenth of `least`."""
        return _readable(self.least * SUGGESTED)

    @property
    def _least(self) -> int | None:
        place = int(np.argmin(self.smooth))
        return place if place and self.smooth[place] < self.start else None

    def _rate(self, place: int | None) -> float:
        return math.nan if place is None else _readable(float(self.rates[place]))


@np.errstate(over="ignore", invalid="ignore")  # trials that diverge are data
def sweeps_of(results: Results, by: str | None = None) -> list[RateSweep]:
    """Return the sweeps of a range test, by problem, and within a problem by their least loss.

    Raises
    ------
    InputError
        The results hold no sweep: no rate grew during a trial.
    """
    metric = results.metric(by)
    ranking = with_methods(results.best(by))
    if ranking.empty:
        raise InputError(f"{results.path} holds no trials of its study yet: there is nothing to draw")
    found = list(_sweeps(results, ranking, metric))
    if not found:
        raise InputError(
            f"no rate grew in the study of {results.path}: `fastgd tune STUDY.toml --range-test` makes one"
        )
    return sorted(found, key=lambda sweep: (str(sweep.configuration["problem"]), float(np.min(sweep.smooth))))


def _sweeps(results: Results, ranking: pd.DataFrame, metric: str) -> Iterator[RateSweep]:
    # on landscapes the trials of a configuration are told apart by their starts
    keys = [name for name in ("trial_id", "start") if name in results.curves]
    curves = results.curves[[*keys, "step", "lr", metric]].sort_values([*keys, "step"])
    by_trial = dict(iter(curves.groupby("trial_id", sort=False, observed=True)))
    for configuration in ranking.to_dict("records"):
        rates = _rates(configuration)
        if rates is not None:
            trials = pd.concat([by_trial[trial] for trial in results.seeds_of(configuration["trial_id"])])
            seeds = [own for _, own in trials.groupby(keys, observed=True)]
            loss = np.median([_resampled(own, metric, rates) for own in seeds], axis=0)
            start = float(np.median([own[metric].iloc[0] for own in seeds]))
            about = {str(name): value for name, value in configuration.items()}
            yield RateSweep(about, rates, loss, _smoothed(loss, rates, start), start)


def _rates(configuration: Mapping[Any, Any]) -> Array | None:
    """Return the rates of a configuration whose rate grows by equal ratios from step to step; None for any other."""
    low, high = (configuration.get(f"schedule.{key}", math.nan) for key in ("start", "final"))
    if configuration["schedule"] != GROWING or not low < high:
        return None
    rates: Array = configuration["lr"] * np.geomspace(low, high, POINTS)
    return rates


def _resampled(curve: pd.DataFrame, metric: str, rates: Array) -> Array:
    """Return a trial's loss at common rates; infinite beyond its end."""
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
    """Return averages of the loss over neighbouring rates.

    Losses above the start count as no higher above it than the least loss is below it. Where losses span decades, their
    logarithms are averaged: else the first high values would hide the low ones.
    """
    least = float(np.min(loss))
    values = np.minimum(loss, start + max(start - least, 0.0)) if np.isfinite(least) else np.full_like(loss, start)
    decades = values.min() > 0 and values.max() > DECADES * values.min()
    spacing = math.log10(rates[1] / rates[0])
    reach = min(math.ceil(3 * WIDTH / spacing), POINTS - 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) * spacing / WIDTH) ** 2)
    padded = np.pad(np.log(values) if decades else values, reach, mode="reflect")
    smooth = np.convolve(padded, weights / weights.sum(), mode="valid")
    return np.asarray(np.exp(smooth) if decades else smooth)


def _readable(rate: float) -> float:
    return float(f"{rate:.4g}")
