"""The scales of pictures: a metric as it is, or how far it is from the best known value, and the floors of that."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator

from fastgd.analysis import METRICS, Results
from fastgd.common.errors import InputError, nearest
from fastgd.common.numbers import number
from fastgd.plots.limits import Array
from fastgd.plots.readings import measure
from fastgd.plots.style import GREY

SCALES = ("gap", "loss", "log")
# Metrics of which more is better. Of the others only losses have a best value that a gap can be measured from.
RISING = ("accuracy", "validation_accuracy", "top_5", "validation_top_5", "r2", "validation_r2")
BEST_SEEN = "best seen"
_FALLING = (*METRICS, "composite_loss")
_FEW_DECADES = 3
_FLOOR_GREY = "#8c8c8c"


@dataclass(frozen=True, eq=False)
class Scale:
    """How values of a metric are shown.

    Parameters
    ----------
    name : {"gap", "loss", "log"}
        "gap": the distance from the best known value, on a logarithmic axis; "loss": the values, on an axis that is
        logarithmic where they span decades; "log": the values on a logarithmic axis.
    metric : str
        The metric.
    minima : pandas.DataFrame
        Of gaps, the best known value of each objective: `minimum`, `error` and `source` as in `Results.minima`, and the
        columns of trials that name the objective.
    """

    name: str
    metric: str
    minima: pd.DataFrame

    @property
    def log(self) -> bool | None:
        """Whether axes are logarithmic; None: where the values span decades."""
        return None if self.name == "loss" else True

    @property
    def is_gap(self) -> bool:
        """Whether distances from the best known value are shown."""
        return self.name == "gap"

    @property
    def by(self) -> list[str]:
        """The columns of trials that say from which value a gap is measured."""
        return [name for name in self.minima.columns if name not in ("minimum", "error", "source")]

    def least(self, rows: pd.DataFrame) -> Array:
        """Return the best known value of the objective of each trial or configuration, of shape (rows,)."""
        own = rows[self.by].reset_index(drop=True)
        found = own.astype({"problem": object}).merge(self.minima, on=self.by, how="left")["minimum"]
        return found.to_numpy(dtype=np.float64)

    def shown(self, values: Array, least: Array | float) -> Array:
        """Return values as they are shown: gaps are never negative where the best value is one of them.

        Infinite values, of lost trials, and missing ones stay as they are.
        """
        if not self.is_gap:
            return values
        sign = -1.0 if self.metric in RISING else 1.0
        return np.where(np.isfinite(values), sign * (values - least), values)

    def ranking(self, ranking: pd.DataFrame) -> pd.DataFrame:
        """Return a ranking with `value`, `value_min` and `value_max` as they are shown."""
        if not self.is_gap:
            return ranking
        least, turned = self.least(ranking), self.metric in RISING
        ends = {"value": "value", "value_min": f"value_{'max' if turned else 'min'}"}
        ends["value_max"] = f"value_{'min' if turned else 'max'}"
        shown = {
            name: self.shown(ranking[of].to_numpy(dtype=np.float64), least)
            for name, of in ends.items()
            if of in ranking.columns
        }
        return ranking.assign(**shown)

    def words(self, results: Results, problems: Collection[str]) -> str:
        """Return the name of the axis of some problems: "training loss", and below it "above the best seen"."""
        name = measure(results, self.metric)
        if not self.is_gap:
            return name
        own = self.minima[self.minima["problem"].isin(list(problems))]
        seen = (own["source"] == BEST_SEEN).to_numpy()
        origin = "the best seen" if seen.all() else "the least known" if seen.any() else "the minimum"
        return f"{name}\n{'below' if self.metric in RISING else 'above'} {origin}"

    def error(self, problem: str) -> float:
        """Return by how much the gaps of a problem may be wrong; 0 where that is not known, or they are no gaps."""
        if not self.is_gap:
            return 0.0
        errors = self.minima.loc[self.minima["problem"] == problem, "error"].to_numpy(dtype=np.float64)
        return float(np.max(errors, initial=0.0, where=np.isfinite(errors)))


def scale_of(results: Results, metric: str, scale: str | None) -> Scale:
    """Return the scale of a metric: the one that is asked for, or gaps where the metric has a best value.

    The training loss is measured from `Results.minima`; other losses, accuracies and r2 from the best value that any
    trial of the problem had at a checkpoint.

    Raises
    ------
    InputError
        There is no such scale, or nothing is known that gaps could be measured from.
    """
    if scale is not None and scale not in SCALES:
        raise InputError(f"there is no scale {scale!r}; {nearest(scale, SCALES)}")
    if scale in ("loss", "log"):
        return Scale(scale, metric, _NONE)
    measured = metric in (*_FALLING, *RISING)
    minima = _minima(results, metric) if measured else _NONE
    if len(minima) and np.isfinite(minima["minimum"]).all():
        return Scale("gap", metric, minima)
    if scale is None:
        return Scale("loss", metric, _NONE)
    why = "has no finite value in this study" if measured else f"has no best value; {', '.join(_FALLING)} have"
    raise InputError(f"scale = 'gap' shows how far a metric is from its best value, and {metric!r} {why}")


_NONE = pd.DataFrame({"problem": [], "minimum": [], "error": [], "source": []})


def _minima(results: Results, metric: str) -> pd.DataFrame:
    if metric == "loss":
        return results.minima.astype({"problem": object})
    return best_seen(results, metric)


def best_seen(results: Results, metric: str) -> pd.DataFrame:
    """Return the best value of a metric that any trial in the study had at a checkpoint, for each problem."""
    rows = _best_of_trials(results, metric)
    grouped = rows.groupby("problem", sort=False)["value"]
    best = grouped.max() if metric in RISING else grouped.min()
    found = pd.DataFrame({"problem": best.index.astype(object), "minimum": best.to_numpy(dtype=np.float64)})
    return found.assign(error=np.nan, source=BEST_SEEN)


def _best_of_trials(results: Results, metric: str) -> pd.DataFrame:
    """Return the `problem` of trials in the study, and the best `value` of a metric at their checkpoints."""
    own = [f"best_{metric}"] if metric in METRICS else []
    trials = results.table("trials", columns=["trial_id", "problem", *own], filter=pc.field("in_study")).to_pandas()
    trials = trials.astype({"trial_id": str, "problem": str})
    if own:
        return trials.rename(columns={own[0]: "value"}).loc[lambda rows: np.isfinite(rows["value"])]
    how, parts = "max" if metric in RISING else "min", [pd.DataFrame({"trial_id": [], "value": []})]
    if metric in results.curves_dataset.schema.names:  # there may be millions of checkpoints: they are read in pieces
        finite = pc.is_finite(pc.field(metric))
        for batch in results.curves_dataset.to_batches(columns=["trial_id", metric], filter=finite):
            rows = pa.table({"trial_id": batch["trial_id"].cast(pa.string()), "value": batch[metric]})
            best = rows.group_by("trial_id").aggregate([("value", how)]).to_pandas()
            parts.append(best.rename(columns={f"value_{how}": "value"}))
    return pd.concat(parts, ignore_index=True).merge(trials.drop_duplicates("trial_id"), on="trial_id")


def start_of(results: Results, scale: Scale) -> dict[str, float]:
    """Return for each problem the metric before the first step, as it is shown: the median over the trials."""
    start = results.table("curves", columns=["trial_id", scale.metric], filter=pc.field("step") == 0).to_pandas()
    about = list(dict.fromkeys(["problem", *scale.by]))
    trials = results.table("trials", columns=["trial_id", *about], filter=pc.field("in_study")).to_pandas()
    trials = trials.drop_duplicates("trial_id")  # on landscapes several starts share a name
    trials = trials.astype(dict.fromkeys(trials.select_dtypes("category"), str)).set_index("trial_id")
    own = trials.reindex(start["trial_id"].astype(str)).reset_index(drop=True)
    values = start[scale.metric].to_numpy(dtype=np.float64)
    shown = scale.shown(values, scale.least(own)) if scale.is_gap else values
    medians = pd.Series(shown).groupby(own["problem"], sort=False).median()
    return {str(problem): float(value) for problem, value in medians.items()}


def mark_floor(axes: Axes, floor: float, words: str) -> None:
    """Shade what lies below a floor, where gaps tell nothing, with a thin line and words at it.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Their limits must not change later. A floor outside of them is not drawn.
    floor : float
        The height of the floor.
    words : str
        What sets it.
    """
    low, high = sorted(axes.get_ylim())
    if not low < floor < high:
        return
    axes.axhspan(low, floor, color=_FLOOR_GREY, alpha=0.12, linewidth=0, zorder=0.6)
    axes.axhline(floor, color=_FLOOR_GREY, linewidth=0.7, zorder=0.7)
    axes.annotate(
        f"{words} {number(floor, 2)}", (1, floor), (-3, -2), xycoords=axes.get_yaxis_transform(),
        textcoords="offset points", ha="right", va="top", fontsize=7, color=GREY, annotation_clip=True, zorder=6,
    )  # fmt: skip


def mark_floors(axes: Axes, scale: Scale, problem: str, noise: float) -> None:
    """Mark the floors of gaps: by how much seeds differ, and the error of the minimum."""
    if scale.is_gap:
        mark_floor(axes, noise, "seeds differ by")
        mark_floor(axes, scale.error(problem), "the minimum is known to")


def noise_of(results: Results, ranking: pd.DataFrame) -> dict[str, float]:
    """Return for each problem by how much the seeds of a good configuration differ; 0 where there is one seed.

    It is the median over the optimizers, as one of them may have had a seed that went astray.

    Parameters
    ----------
    results : Results
        The study's results.
    ranking : pandas.DataFrame
        Its configurations, the best of each method first, with `value_min` and `value_max`.
    """
    if results.repeats != "seeds":  # starts differ by more than chance
        return {}
    best = ranking.drop_duplicates(["problem", "method"])
    spread = (best["value_max"] - best["value_min"]).where(best["seeds"] > 1)
    medians = spread[np.isfinite(spread)].groupby(best["problem"], sort=False).median()
    return {str(problem): float(value) for problem, value in medians.items()}


def label_ticks(axis: Axis, limits: tuple[float, float]) -> None:
    """Label the ticks of a logarithmic axis that spans few decades with plain numbers, also between powers of ten."""
    decades = np.log10(limits[1] / limits[0])
    if decades > _FEW_DECADES:
        return
    between = (2, 5) if decades > 1 else (2, 3, 5) if decades > 0.6 else tuple(range(2, 10))
    for locate, write, places in (
        (axis.set_major_locator, axis.set_major_formatter, (1,)),
        (axis.set_minor_locator, axis.set_minor_formatter, between),
    ):
        locate(LogLocator(subs=places, numticks=50))
        write(FuncFormatter(lambda value, _: number(value, 2)))
