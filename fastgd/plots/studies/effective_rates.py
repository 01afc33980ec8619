"""Effective rates: what the best trial of each optimizer multiplies gradients by, for rare and frequent features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastgd.analysis import Results, with_methods
from fastgd.common.errors import InputError
from fastgd.plots.limits import Array, drawable, frame_of, mark_outside, tell_outside
from fastgd.plots.pages import note, only, page_of
from fastgd.plots.readings import label, methods, settings, varied
from fastgd.plots.style import GREY, dress, head, key, key_band, key_line, looks, multiples, name_axes, scale_x, style

METRIC = "effective_lr"
# Each class of features with its colour, its dashes and what it is; the most frequent is drawn last.
_CLASSES: dict[str, tuple[str, Any, str]] = {
    "rare": ("#D55E00", (0, (1.2, 1.2)), "rare: under 0.1 % of the rows"),
    "medium": ("#009E73", (0, (5, 1.5)), "medium: 0.1 % to 5 %"),
    "frequent": ("#0072B2", "solid", "frequent: over 5 %"),
}
_QUANTILES = ("q10", "q50", "q90")


@dataclass(frozen=True)
class Rates:
    """The effective rates of one trial, the best of its optimizer.

    Parameters
    ----------
    problem, method, optimizer : str
        Their names.
    settings : str
        The trial's configuration in words.
    x : ndarray of shape (checkpoints,)
        The epochs after the start, where no rule has seen a gradient yet.
    classes : mapping of str to ndarray of shape (3, checkpoints)
        The 10 %, 50 % and 90 % quantiles over the features of each class that has any.
    """

    problem: str
    method: str
    optimizer: str
    settings: str
    x: Array
    classes: Mapping[str, Array]

    @property
    def alike(self) -> bool:
        """Whether the rates of all features are equal, as far as the quantiles show them."""
        values = np.concatenate(list(self.classes.values()))
        return bool((values == values[0]).all())


def rates(results: Results, problem: str | None = None, page: int = 1) -> Figure:
    """Plot the effective rates over the training: axes for the best trial of each optimizer.

    A line is the median over the features of a class, its band their middle 80 %. The start is left out, since only eps
    bounds an adaptive rate until the rule has seen a gradient; limits suit what follows the first epoch. Optimizers
    whose rules have no effective rate are left out too.

    Parameters
    ----------
    results : Results
        The study's results, with the metric `effective_lr`.
    problem : str, optional
        The only one to draw.
    page : int
        Of many panels, which to draw: the first ones, the next ones, ...

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    InputError
        The metric was not recorded; or there is no such problem or page.
    """
    every, chosen = rates_of(results), looks(methods(results))
    named = only((one.problem for one in every), problem)
    found, words = page_of([one for one in every if one.problem in named], page, "panels")
    several = len({one.problem for one in every}) > 1
    with style():
        figure, grid, width = multiples(len(found), (2.9, 2.3), 2.2, (0.6, 0.8))
        for axes, one in zip(grid, found, strict=True):
            _draw(axes, one)
            remark = one.problem if several else ""
            head(axes, one.optimizer, one.settings, remark, chosen[one.method].color, width - 0.3)
        _scale(figure.axes[0], found)
        for axes, one in zip(figure.axes, found, strict=True):
            _mark_beyond(axes, one)
        name_axes(figure.axes, label("epoch"), label(METRIC))
        key(figure, _handles(found))
        note(figure, words)
    return figure


def rates_of(results: Results) -> list[Rates]:
    """Return the rates of the best trial of each optimizer, in the order of the study.

    Raises
    ------
    InputError
        The metric was not recorded.
    """
    order = methods(results)
    if results.on_landscapes:
        raise InputError(
            f"{results.path} holds a study on landscapes, which has no rare features: the picture of kind 'traces' "
            "shows the effective rate of each parameter"
        )
    ranking = with_methods(results.best()).drop_duplicates(["problem", "method"])
    columns = [f"{METRIC}.{name}.{quantile}" for name in _CLASSES for quantile in _QUANTILES]
    if missing := set(columns) - set(results.curves_dataset.schema.names):
        recorded = "none of them" if len(missing) == len(columns) else "not all of them"
        raise InputError(
            f"the curves in {results.path} have no effective rates ({recorded} recorded); "
            f'run the study with [record] metrics = ["{METRIC}"]'
        )
    chosen = (pc.field("step") > 0) & pc.field("trial_id").isin(ranking["trial_id"].tolist())
    curves = results.table("curves", columns=["trial_id", "epoch", *columns], filter=chosen).to_pandas()
    places = [order.index(method) for method in ranking["method"]]
    best = [row for _, row in ranking.iloc[np.argsort(places, kind="stable")].iterrows()]
    trials = with_methods(results.trials[results.trials["in_study"]])
    named = {key: varied(results, own) for key, own in trials.groupby(["problem", "method"], observed=True)}
    found = [
        _rates(row, curves[curves["trial_id"] == row["trial_id"]], named[row["problem"], row["method"]]) for row in best
    ]
    if not any(one.classes for one in found):
        raise InputError(f"no effective rate was recorded in {results.path}: the best trials have none")
    return [one for one in found if one.classes]


def _rates(row: "pd.Series[str]", curve: pd.DataFrame, named: Sequence[str]) -> Rates:
    """Return the rates of a trial from its curve; `named`: the columns in which trials of its method differ."""
    curve = curve.sort_values("epoch")
    values = {
        name: curve[[f"{METRIC}.{name}.{quantile}" for quantile in _QUANTILES]].to_numpy(dtype=np.float64).T
        for name in _CLASSES
    }
    return Rates(
        problem=str(row["problem"]),
        method=str(row["method"]),
        optimizer=str(row["optimizer"]),
        settings=settings(row, named),
        x=curve["epoch"].to_numpy(dtype=np.float64),
        classes={name: rates for name, rates in values.items() if np.isfinite(rates).any()},
    )


def _draw(axes: Axes, one: Rates) -> None:
    dress(axes)
    if one.alike:
        axes.plot(one.x, next(iter(one.classes.values()))[1], color=GREY, linewidth=1.8, zorder=3)
        return
    for name, (low, median, high) in one.classes.items():
        color, dashes, _ = _CLASSES[name]
        axes.fill_between(one.x, drawable(low), drawable(high), color=color, alpha=0.15, linewidth=0, zorder=2)
        axes.plot(one.x, drawable(median), color=color, linestyle=dashes, linewidth=1.8, zorder=3)


def _mark_beyond(axes: Axes, one: Rates) -> None:
    """Mark where medians leave the axes, and count those that do."""
    medians = {name: values[1] for name, values in one.classes.items()}
    for name, median in medians.items():
        mark_outside(axes, one.x, drawable(median), GREY if one.alike else _CLASSES[name][0], first=True)
    shown = list(medians.values())[: 1 if one.alike else None]
    seen = [np.where(np.isfinite(median), median, np.nan) for median in shown]
    tell_outside(axes, np.array([np.nanmin(v) for v in seen]), np.array([np.nanmax(v) for v in seen]), "line")


def _scale(axes: Axes, found: Sequence[Rates]) -> None:
    """Set the limits that all axes share, to suit the rates after the first epoch if there are any."""
    settled = any(one.x.max() > 1 for one in found)
    seen = [values[:, (one.x >= 1) | (not settled)].ravel() for one in found for values in one.classes.values()]
    frame = frame_of(np.concatenate(seen), log=True)
    axes.set_yscale("log")
    axes.set_ylim(frame.low / 1.5, frame.high * 1.5)
    x = np.concatenate([one.x for one in found])
    scale_x(axes, x if len(np.unique(x)) > 1 else np.append(0, x))


def _handles(found: Sequence[Rates]) -> list[Artist]:
    shown = {name for one in found if not one.alike for name in one.classes}
    handles: list[Artist] = [
        key_line(color=color, linestyle=dashes, linewidth=1.8, label=text)
        for name, (color, dashes, text) in _CLASSES.items()
        if name in shown
    ]
    if any(one.alike for one in found):
        handles.append(key_line(linewidth=1.8, label="the middle 80 % of all features alike"))
    if shown:
        handles.append(key_band("middle 80 % of the features"))
    return handles
