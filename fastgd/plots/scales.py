"""The scales of pictures: a metric as it is, or how far it is from the best known value, and the floors of that."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator

from fastgd.analysis import METRICS, Results
from fastgd.analysis.criteria import sign_of
from fastgd.analysis.curve_pieces import least_values
from fastgd.analysis.minima.least_known import BEST_SEEN, CONTRADICTED, over_splits
from fastgd.common.errors import InputError, nearest
from fastgd.common.numbers import number
from fastgd.plots.limits import Array
from fastgd.plots.readings import measure
from fastgd.plots.style import GREY

SCALES = ("gap", "loss", "log")
# Of metrics of which less is better, only losses have a best value that gaps say something from.
_LOSSES = (*METRICS, "composite_loss")
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
    def more_is_better(self) -> bool:
        """Whether high values are good as they are shown; gaps are good where they are low."""
        return not self.is_gap and sign_of(self.metric) < 0

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

        Gaps of lost trials, whose values are infinite, are so too; missing values stay missing.
        """
        if not self.is_gap:
            return values
        gaps = sign_of(self.metric) * (values - least)
        return np.where(np.isinf(values), np.inf, gaps)

    def ranking(self, ranking: pd.DataFrame) -> pd.DataFrame:
        """Return a ranking with `value`, `value_min` and `value_max` as they are shown."""
        if not self.is_gap:
            return ranking
        least, turned = self.least(ranking), sign_of(self.metric) < 0
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
        seen = own["source"].isin([BEST_SEEN, CONTRADICTED]).to_numpy()
        origin = "the best seen" if seen.all() else "the least known" if seen.any() else "the minimum"
        return f"{name}\n{'below' if sign_of(self.metric) < 0 else 'above'} {origin}"

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
    measured = metric in _LOSSES or sign_of(str(metric)) < 0  # what is no name is told by who reads it
    minima = _minima(results, metric) if measured else _NONE
    if len(minima) and np.isfinite(minima["minimum"]).all():
        return Scale("gap", metric, minima)
    if scale is None:
        return Scale("loss", metric, _NONE)
    why = "has no finite value in this study" if measured else f"has no best value; {', '.join(_LOSSES)} have"
    raise InputError(f"scale = 'gap' shows how far a metric is from its best value, and {metric!r} {why}")


_NONE = pd.DataFrame({"problem": [], "minimum": [], "error": [], "source": []})


def _minima(results: Results, metric: str) -> pd.DataFrame:
    if metric == "loss":
        return over_splits(results.minima).astype({"problem": object})
    return best_seen(results, metric)


def over_problems(scale: Scale) -> Scale:
    """Return a scale that measures gaps from the least minimum of each problem, whatever its other objectives are."""
    if not scale.is_gap:
        return scale
    least = scale.minima.sort_values("minimum", kind="stable").drop_duplicates("problem")
    return replace(scale, minima=least[["problem", "minimum", "error", "source"]].reset_index(drop=True))


def best_seen(results: Results, metric: str) -> pd.DataFrame:
    """Return the best value of a metric that any trial in the study had at a checkpoint, for each problem."""
    trials, configuration, identities = results.configurations
    sign, stored = sign_of(metric), f"best_{metric}"
    if metric in METRICS and stored in trials:
        least = trials[stored].to_numpy(dtype=np.float64)
    elif metric in results.curves_dataset.schema.names:
        least = least_values(results, metric, sign)
    else:  # who reads the curves tells that it was not measured
        return _NONE
    problem = identities["problem"].astype(str).to_numpy()[configuration]
    found = pd.Series(sign * np.where(np.isfinite(least), least, np.inf)).groupby(problem, sort=False)
    best = found.min() if sign > 0 else found.max()
    table = pd.DataFrame({"problem": best.index.astype(object), "minimum": best.to_numpy(dtype=np.float64)})
    return table.assign(error=np.nan, source=BEST_SEEN)


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


def mark_floors(axes: Axes, scale: Scale, problem: str, noise: float, over: str) -> None:
    """Mark the floors of gaps: by how much trials differ over seeds, and the error of the minimum."""
    if scale.is_gap:
        mark_floor(axes, noise, f"{over} differ by")
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
