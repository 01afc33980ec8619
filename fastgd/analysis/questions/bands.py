"""Medians and quantiles over the seeds: of a metric along the training, and of the time that it takes to a value."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastgd.analysis.criteria import LOST, direction
from fastgd.analysis.curve_pieces import AXES, Array, check_metric, pieces
from fastgd.analysis.minima.least_known import minima
from fastgd.analysis.questions.ranking import numbers_of, ranking, winners
from fastgd.analysis.stored_study import METRICS, StoredStudy, with_methods
from fastgd.common.errors import InputError, nearest

OVER = ("value", "time")
POINTS = 200  # of an axis
MOST_TRIALS = 100_000  # whose curves are in memory at once


@dataclass(frozen=True)
class _Curve:
    """The checkpoints of one trial, and whether it diverged or failed after the last of them."""

    x: Array
    y: Array
    lost: bool

    def at(self, points: Array) -> Array:
        """Return the metric at points, on straight lines between checkpoints; see `Results.bands`."""
        with np.errstate(invalid="ignore"):
            values = np.interp(points, self.x, self.y)
        return np.where(self.lost & (np.isnan(values) | (points > self.x[-1])), np.inf, values)

    def when(self, levels: Array) -> Array:
        """Return the first checkpoint at which the metric is at most each level; infinite where it never is."""
        least = np.minimum.accumulate(np.where(np.isnan(self.y), np.inf, self.y))
        place = np.searchsorted(-least, -levels)
        return np.where(place < len(self.x), self.x[np.minimum(place, len(self.x) - 1)], np.inf)


def bands(
    study: StoredStudy,
    metric: str | None = None,
    x: str | None = None,
    over: str = "value",
    quantiles: tuple[float, float] = (0.25, 0.75),
    trials: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return medians and quantiles over the seeds of configurations: see `Results.bands`."""
    metric, x = metric or study.metric(), x or ("step" if study.on_landscapes else "epoch")
    check_metric(study, metric)
    axes = [name for name in study.curves_dataset.schema.names if name in AXES[2:]]
    if x not in axes:
        raise InputError(f"curves have no axis {x!r}; {nearest(x, axes)}")
    if over not in OVER:
        raise InputError(f"there are no bands over the {over!r}; {nearest(over, OVER)}")
    if not 0 <= quantiles[0] <= quantiles[1] <= 1:
        raise InputError(f"quantiles must be two numbers from 0 to 1 that rise, found {quantiles}")
    best = _chosen(study, metric, trials)
    sign = direction(metric) if over == "time" else 1.0
    curves = _curves(study, best, x, metric, sign)
    least = dict(minima(study).groupby("problem", observed=True)["minimum"].min()) if metric == "loss" else {}
    found = []
    for problem, rows in best.groupby("problem", sort=False):
        own = [curves[row] for row in rows.index]
        if over == "value":
            found += list(_along(rows, own, x, metric, quantiles))
        else:
            found += list(_times(rows, own, (x, metric), sign, quantiles, least.get(str(problem))))
    table = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["problem", "method", "trial_id"])
    table.attrs |= {"metric": metric, "x": x, "over": over, "quantiles": quantiles}
    return table


def _chosen(study: StoredStudy, metric: str, trials: Sequence[str] | None) -> pd.DataFrame:
    """Return rows of the ranking: the best of each method on each problem, or those that are named by a trial."""
    table = ranking(study, metric if metric in METRICS else None)
    if trials is None:
        best = winners(table)
    else:
        table = with_methods(table).assign(problem=table["problem"].astype(str), number=numbers_of(study, table))
        everyone, configuration, _ = study.configurations
        places = pd.Index(everyone["trial_id"].astype(str)).get_indexer_for(pd.Index(list(trials)))
        if len(unknown := [name for name in trials if name not in set(everyone["trial_id"].astype(str))]):
            raise InputError(f"there is no trial {unknown[0]!r} in the study of {study.path}")
        best = table[table["number"].isin(configuration[places])].reset_index(drop=True)
    count = int(best["starts"].sum() if "starts" in best else best["seeds"].sum())
    if count > MOST_TRIALS:
        raise InputError(f"bands of {count:,} trials do not fit into memory; name some in `trials`")
    return best


def _curves(study: StoredStudy, best: pd.DataFrame, x: str, metric: str, sign: float) -> list[list[_Curve]]:
    """Return the curves of the trials of each configuration, the metric times `sign`."""
    trials, configuration, identities = study.configurations
    place = np.full(len(identities), -1)
    place[numbers_of(study, best)] = np.arange(len(best))
    owner = place[configuration]
    ids = trials["trial_id"][owner >= 0].astype(str).unique().tolist()
    parts = list(pieces(study, [x, metric], owner >= 0, only=pc.field("trial_id").isin(ids)))
    if not parts:
        raise InputError(f"{study.path} holds no curves of these trials")
    trial = np.concatenate([part.trial for part in parts])
    order = np.argsort(trial, kind="stable")
    at, values = (np.concatenate([part.values[name] for part in parts])[order] for name in (x, metric))
    first = np.flatnonzero(np.diff(trial[order], prepend=-1))
    lost = trials["status"].isin(LOST).to_numpy()
    found: list[list[_Curve]] = [[] for _ in range(len(best))]
    for begin, end in zip(first, [*first[1:], len(order)], strict=True):
        own = trial[order[begin]]
        found[owner[own]].append(_Curve(at[begin:end], sign * values[begin:end], bool(lost[own])))
    return found


def _along(
    rows: pd.DataFrame, curves: list[list[_Curve]], x: str, metric: str, quantiles: tuple[float, float]
) -> Iterator[pd.DataFrame]:
    for (_, row), own in zip(rows.iterrows(), curves, strict=True):
        if own:
            points = _thinned(np.unique(np.concatenate([curve.x for curve in own])))
            values = np.array([curve.at(points) for curve in own])
            yield _table(row, {x: points}, metric, values, quantiles)


def _times(
    rows: pd.DataFrame,
    curves: list[list[_Curve]],
    names: tuple[str, str],
    sign: float,
    quantiles: tuple[float, float],
    least: float | None,
) -> Iterator[pd.DataFrame]:
    levels = _levels([curve for own in curves for curve in own], least)
    for (_, row), own in zip(rows.iterrows(), curves, strict=True):
        if own:
            values = np.array([curve.when(levels) for curve in own])
            about = {names[1]: sign * levels} | ({} if least is None else {"gap": levels - least})
            table = _table(row, about, names[0], values, quantiles)
            yield table.assign(reached=np.isfinite(values).sum(axis=0))


def _levels(curves: list[_Curve], least: float | None) -> Array:
    """Return levels from the median start to the least value: equally far apart, in the logarithm of a gap."""
    start = float(np.median([curve.y[0] for curve in curves]))
    values = np.concatenate([curve.y for curve in curves])
    values = values[np.isfinite(values) & (values <= start)]
    if least is None or not np.isfinite(least) or not (values > least).any() or start <= least:
        return np.linspace(start, float(values.min(initial=start)), POINTS)
    lowest = float(values[values > least].min()) - least
    return least + np.geomspace(start - least, lowest, POINTS)


def _table(
    row: "pd.Series[float]",
    about: dict[str, Array],
    name: str,
    values: Array,
    quantiles: tuple[float, float],
) -> pd.DataFrame:
    # Quantiles are not interpolated: there is nothing between a number and infinity.
    low, high = np.quantile(values, quantiles, axis=0, method="inverted_cdf")
    keys = {key: row[key] for key in ("problem", "method", "trial_id")}
    columns = {name: np.median(values, axis=0), f"{name}_low": low, f"{name}_high": high}
    return pd.DataFrame({**keys, **about, **columns, "trials": len(values)})


def _thinned(points: Array) -> Array:
    if len(points) <= POINTS:
        return points
    places: NDArray[np.int64] = np.linspace(0, len(points) - 1, POINTS).round().astype(np.int64)
    return points[places]
