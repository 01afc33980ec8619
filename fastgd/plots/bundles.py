"""The curves of a study, all evaluated at common points, so that a picture can show 100,000 of them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastgd.analysis import LOST, METRICS, Results, with_methods
from fastgd.common.errors import InputError, nearest
from fastgd.plots.limits import Array
from fastgd.plots.readings import ranking_of, settings, varied
from fastgd.plots.scales import Scale, scale_of

AXES = ("epoch", "step", "samples_seen", "train_seconds")

# Points at which curves are evaluated; more of them could not be told apart.
_POINTS = 200
# Trials that are evaluated at once, which bounds the memory.
_AT_ONCE = 8192


@dataclass(frozen=True)
class Bundle:
    """The curves of one optimizer on one problem.

    Parameters
    ----------
    problem, method, optimizer : str
        Their names.
    x : ndarray of shape (points,)
        Where the curves are evaluated.
    values : ndarray of shape (trials, points)
        The metric. A trial that ended early keeps its last value, or is infinite where it diverged or failed.
    best : ndarray of shape (points,)
        The best configuration: the median over its seeds.
    low, high : ndarray of shape (points,)
        Its quartiles over the seeds.
    end : float
        Where the last of those seeds ended.
    settings : str
        The best configuration in words: those of its hyper-parameters that vary in the study.
    noise : float
        By how much those seeds differ at their ends; 0 of a single one, or where one is lost.
    configurations, seeds : int
        The number of configurations, and of the best one's seeds.
    diverged : float
        The share of the trials that diverged.
    """

    problem: str
    method: str
    optimizer: str
    x: Array
    values: Array
    best: Array
    low: Array
    high: Array
    end: float
    settings: str
    noise: float
    configurations: int
    seeds: int
    diverged: float

    def quantiles(self, shares: tuple[float, ...]) -> Array:
        """Return the values below which these shares of the trials are, of shape (shares, points)."""
        # Quantiles are not interpolated: there is nothing between a number and infinity.
        return np.quantile(self.values, shares, axis=0, method="inverted_cdf")


def bundles_of(
    results: Results, metric: str, x: str, problems: Collection[str] | None = None, scale: Scale | None = None
) -> dict[str, list[Bundle]]:
    """Return for each problem, or for those named, the curves of its optimizers, in the order of the study.

    On landscapes a trial is a configuration from one start, and starts take the place of seeds. Without a scale the
    values are those of the metric.

    Raises
    ------
    InputError
        The metric or axis does not exist or was not measured.
    """
    names = results.curves_dataset.schema.names
    if x not in (known := [name for name in AXES if name in names]):
        raise InputError(f"curves have no horizontal axis {x!r}; {nearest(x, known)}")
    measured = [name for name in names if name not in ("trial_id", "start", *AXES)]
    if metric not in measured:
        raise InputError(f"the curves have no metric {metric!r}; {nearest(metric, measured)}")
    trials = with_methods(results.trials[results.trials["in_study"]].reset_index(drop=True))
    if results.on_landscapes:
        trials = trials.astype(dict.fromkeys(("problem", "status"), object))
    checkpoints = Checkpoints.read(results, trials, x, metric, scale or scale_of(results, metric, "loss"))
    ranking = ranking_of(results, metric if metric in METRICS else None, "final")
    found = {}
    for problem, members in trials.groupby("problem", sort=False):
        if problems is None or str(problem) in problems:
            own = ranking[ranking["problem"] == problem]
            found[str(problem)] = list(_bundles(results, trials.loc[members.index], checkpoints, own))
    return found


def _bundles(
    results: Results, trials: pd.DataFrame, checkpoints: "Checkpoints", ranking: pd.DataFrame
) -> Iterator[Bundle]:
    points = checkpoints.points(trials.index.to_numpy())
    trials = trials[checkpoints.counts(trials.index.to_numpy()) > 0]
    for method, own in trials.groupby("method", sort=False):
        best = ranking[ranking["method"] == method].iloc[0]
        seeds = own["trial_id"].isin(results.seeds_of(best["trial_id"])).to_numpy()
        lost = own["status"].isin(LOST).to_numpy()
        values = checkpoints.at(own.index.to_numpy(), points, lost)
        yield Bundle(
            problem=str(best["problem"]),
            method=str(method),
            optimizer=str(best["optimizer"]),
            x=points,
            values=values,
            best=np.median(values[seeds], axis=0) if seeds.any() else np.full(len(points), np.inf),
            **_quartiles(values[seeds]),
            end=checkpoints.end(own.index.to_numpy()[seeds]),
            settings=settings(best, varied(results, own)),
            noise=_range(values[seeds, -1]),
            configurations=int((ranking["method"] == method).sum()),
            seeds=int(seeds.sum()),
            diverged=float((own["status"] == "diverged").mean()),
        )


def _quartiles(values: Array) -> dict[str, Array]:
    """Return the quartiles of seeds, which are not interpolated: see `Bundle.quantiles`."""
    if not len(values):
        return dict.fromkeys(("low", "high"), np.full(values.shape[1], np.inf))
    low, high = np.quantile(values, (0.25, 0.75), axis=0, method="inverted_cdf")
    return {"low": low, "high": high}


def _range(ends: Array) -> float:
    return float(np.ptp(ends)) if len(ends) and np.isfinite(ends).all() else 0.0


def _positions(trials: pd.DataFrame, rows: pd.DataFrame) -> NDArray[np.int64]:
    """Return for each row of the curves the position of its trial; -1 where its trial is not among them."""
    names = rows["trial_id"].cat.categories
    if "start" not in trials:
        places: NDArray[np.int64] = pd.Index(trials["trial_id"]).get_indexer(names)
        return places[rows["trial_id"].cat.codes.to_numpy()]
    most = 1 + max(int(trials["start"].max()), int(rows["start"].max()))
    own = pd.Index(names).get_indexer(trials["trial_id"].astype(str)) * most + trials["start"].to_numpy()
    order = np.argsort(own)
    wanted = rows["trial_id"].cat.codes.to_numpy(dtype=np.int64) * most + rows["start"].to_numpy()
    place = np.minimum(np.searchsorted(own[order], wanted), len(own) - 1)
    return np.where(own[order][place] == wanted, order[place], -1)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of trials, one after the other, sorted by trial.

    Parameters
    ----------
    x, y : ndarray of shape (checkpoints,)
        Where they are on the axis, and the metric there.
    starts : ndarray of shape (trials + 1,)
        The first checkpoint of each trial.
    """

    x: Array
    y: Array
    starts: NDArray[np.int64]

    @classmethod
    def read(cls, results: Results, trials: pd.DataFrame, x: str, metric: str, scale: Scale) -> "Checkpoints":
        """Read a metric of trials against an axis, as a scale shows it."""
        start = ["start"] if "start" in trials else []
        table = results.table("curves", columns=["trial_id", *start, x, metric])
        frame = table.to_pandas(categories=["trial_id"])
        trial = _positions(trials, frame)
        order = np.argsort(trial, kind="stable")[np.count_nonzero(trial < 0) :]  # -1: not in the study
        starts = np.searchsorted(trial[order], np.arange(len(trials) + 1))
        y = frame[metric].to_numpy(dtype=np.float64)[order]
        if np.isnan(y).all():
            raise InputError(f"the metric {metric!r} was not measured in this study")
        if scale.is_gap:
            y = scale.shown(y, scale.least(trials)[trial[order]])
        return cls(frame[x].to_numpy(dtype=np.float64)[order], y, starts)

    def counts(self, trials: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of checkpoints of each of these trials."""
        return self.starts[trials + 1] - self.starts[trials]

    def end(self, trials: NDArray[np.int64]) -> float:
        """Return where on the axis the last of these trials ended; minus infinity if there are none."""
        return float(np.max(self.x[self.starts[trials + 1] - 1], initial=-np.inf))

    def points(self, trials: NDArray[np.int64]) -> Array:
        """Return where to evaluate the curves of these trials: at all of their checkpoints, or at some of many."""
        points = np.unique(self.x[self._rows(trials)])
        if len(points) > _POINTS:
            points = points[np.linspace(0, len(points) - 1, _POINTS).round().astype(np.int64)]
        return points

    def at(self, trials: NDArray[np.int64], points: Array, lost: NDArray[np.bool_]) -> Array:
        """Return the metric at common points, on straight lines between checkpoints.

        Parameters
        ----------
        trials : ndarray of shape (k,)
            The positions of trials.
        points : ndarray of shape (p,)
            Where to evaluate.
        lost : ndarray of shape (k,)
            Which trials are infinite after their last checkpoint; the others keep their last value.

        Returns
        -------
        ndarray of shape (k, p)
            The values.
        """
        parts = [slice(start, start + _AT_ONCE) for start in range(0, len(trials), _AT_ONCE)]
        return np.concatenate([self._at(trials[part], points, lost[part]) for part in parts])

    def _at(self, trials: NDArray[np.int64], points: Array, lost: NDArray[np.bool_]) -> Array:
        rows, counts = self._rows(trials), self.counts(trials)
        x, y = self.x[rows], self.y[rows]
        known = np.unique(x)
        # With one sorted array of keys (trial, x), a single search finds the places in all curves.
        owner = np.repeat(np.arange(len(trials)), counts) * len(known)
        wanted = np.arange(len(trials))[:, None] * len(known) + np.searchsorted(known, points, side="right") - 1
        before = np.searchsorted(owner + np.searchsorted(known, x), wanted, side="right") - 1
        last = (np.cumsum(counts) - 1)[:, None]
        after = np.minimum(before + 1, last)
        with np.errstate(invalid="ignore", divide="ignore"):
            weight = np.where(after > before, (points - x[before]) / (x[after] - x[before]), 0.0)
            between = y[before] + weight * (y[after] - y[before])
        values = np.where(weight > 0, between, y[before])
        infinite = lost[:, None] & (np.isnan(values) | (points > x[last]))
        return np.where(infinite, np.inf, values)

    def _rows(self, trials: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of the checkpoints of trials."""
        counts = self.counts(trials)
        rows: NDArray[np.int64] = np.repeat(self.starts[trials] - (np.cumsum(counts) - counts), counts)
        return rows + np.arange(len(rows))
